"""Everything that makes up one SAM 2: the sizes of its parts and the switches of `sam2`'s own classes, as JSON.

The names are those of the parameters of `sam2` 1.1 (`SAM2Base`, `Hiera`, `FpnNeck`, `MemoryAttention`,
`MemoryEncoder`), so that its documentation tells what they do. Defaults are those of SAM 2.1 tiny's own file.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from vidmem.errors import BadInput

STRIDE = 16
"""Pixels of the image along a side of one feature that memory is made of."""
ARCHITECTURE = "sam2.SAM2Base"
"""What `config.json` names, for other models have files of that name too."""


@dataclass(frozen=True, slots=True)
class TrunkConfig:
    """Hiera, the image encoder's trunk."""

    embed_dim: int = 96
    num_heads: int = 1
    stages: tuple[int, ...] = (1, 2, 7, 2)
    """Blocks of each stage; features have strides of 4, 8, 16 and 32 pixels."""
    window_spec: tuple[int, ...] = (8, 4, 14, 7)
    """Side of a window in each stage, in features. `image_size / 4` must be a multiple of the first."""
    global_att_blocks: tuple[int, ...] = (5, 7, 9)
    """Blocks without windows, counted from 0. The first block of a stage can't be one."""
    window_pos_embed_bkg_spatial_size: tuple[int, int] = (7, 7)

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each stage's features: they double."""
        return tuple(self.embed_dim * 2**stage for stage in range(len(self.stages)))


@dataclass(frozen=True, slots=True)
class NeckConfig:
    """The feature pyramid over the trunk."""

    fpn_top_down_levels: tuple[int, ...] = (2, 3)
    fpn_interp_model: str = "nearest"
    scalp: int = 1
    """Coarsest levels that are left out of the result; the coarsest one left must have a stride of 16."""


@dataclass(frozen=True, slots=True)
class MemoryAttentionConfig:
    """What reads the memory: layers of self-attention, cross-attention to the memory, and a feed-forward part."""

    num_layers: int = 4
    num_heads: int = 1
    dim_feedforward: int = 2048
    dropout: float = 0.1
    rope_theta: float = 10000.0


@dataclass(frozen=True, slots=True)
class MemoryEncoderConfig:
    """What makes a frame and a mask into memory."""

    out_dim: int = 64
    """Channels of the memory; must divide `d_model`."""
    num_layers: int = 2
    kernel_size: int = 7
    layer_scale_init_value: float = 1e-6


@dataclass(frozen=True, slots=True)
class StabilityConfig:
    """Whether the single mask gives way to the best of three where it is not stable."""

    dynamic_multimask_via_stability: bool = False
    dynamic_multimask_stability_delta: float = 0.05
    dynamic_multimask_stability_thresh: float = 0.98


@dataclass(frozen=True, slots=True)
class BaseConfig:
    """`SAM2Base`'s own parameters besides its parts and the image size."""

    num_maskmem: int = 7
    """Memories of a frame's attention: the prompted frames count as one, the rest are recent frames."""
    max_cond_frames_in_attn: int = -1
    memory_temporal_stride_for_eval: int = 1
    sigmoid_scale_for_mem_enc: float = 20.0
    sigmoid_bias_for_mem_enc: float = -10.0
    binarize_mask_from_pts_for_mem_enc: bool = False
    non_overlap_masks_for_mem_enc: bool = False
    use_mask_input_as_output_without_sam: bool = True
    directly_add_no_mem_embed: bool = True
    no_obj_embed_spatial: bool = True
    use_high_res_features_in_sam: bool = True
    multimask_output_in_sam: bool = True
    multimask_min_pt_num: int = 0
    multimask_max_pt_num: int = 1
    multimask_output_for_tracking: bool = True
    use_multimask_token_for_obj_ptr: bool = True
    iou_prediction_use_sigmoid: bool = True
    use_obj_ptrs_in_encoder: bool = True
    max_obj_ptrs_in_encoder: int = 16
    add_tpos_enc_to_obj_ptrs: bool = True
    proj_tpos_enc_in_obj_ptrs: bool = True
    use_signed_tpos_enc_to_obj_ptrs: bool = True
    only_obj_ptrs_in_the_past_for_eval: bool = True
    pred_obj_scores: bool = True
    pred_obj_scores_mlp: bool = True
    fixed_no_obj_ptr: bool = True
    soft_no_obj_ptr: bool = False
    use_mlp_for_obj_ptr_proj: bool = True


@dataclass(frozen=True, slots=True)
class SamConfig:
    """One SAM 2 of any size. `image_size` is the side of the square in pixels that frames are squashed to."""

    image_size: int = 1024
    d_model: int = 256
    """Channels of features, tokens and pointers."""
    pixel_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Taken off RGB in [0, 1]."""
    pixel_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    neck: NeckConfig = field(default_factory=NeckConfig)
    memory_attention: MemoryAttentionConfig = field(default_factory=MemoryAttentionConfig)
    memory_encoder: MemoryEncoderConfig = field(default_factory=MemoryEncoderConfig)
    stability: StabilityConfig = field(default_factory=StabilityConfig)
    base: BaseConfig = field(default_factory=BaseConfig)

    def __post_init__(self) -> None:
        stages = len(self.trunk.stages)
        if stages - self.neck.scalp != 3 or len(self.trunk.window_spec) != stages:
            raise BadInput(
                f"a SAM 2 needs features of three strides, 4, 8 and 16, and a window for each stage: {stages} stages,"
                f" {len(self.trunk.window_spec)} windows and scalp = {self.neck.scalp} don't give that."
            )
        step = max(4 * self.trunk.window_spec[0], STRIDE)
        if self.image_size <= 0 or self.image_size % step:
            raise BadInput(f"image_size = {self.image_size} is no multiple of {step}, the pixels of a first window.")
        if self.d_model % 16 or self.d_model % self.memory_encoder.out_dim:
            raise BadInput(
                f"d_model = {self.d_model} must be a multiple of 16 and of the memory's {self.memory_encoder.out_dim}"
                " channels."
            )

    @property
    def feature_side(self) -> int:
        """Features along a side of what memory is made of."""
        return self.image_size // STRIDE


_PUBLISHED = SamConfig(
    stability=StabilityConfig(dynamic_multimask_via_stability=True),
    base=BaseConfig(binarize_mask_from_pts_for_mem_enc=True),
)
SAM2_1: dict[str, SamConfig] = {
    "tiny": _PUBLISHED,
    "small": replace(_PUBLISHED, trunk=TrunkConfig(stages=(1, 2, 11, 2), global_att_blocks=(7, 10, 13))),
    "base_plus": replace(
        _PUBLISHED,
        trunk=TrunkConfig(
            embed_dim=112,
            num_heads=2,
            stages=(2, 3, 16, 3),
            global_att_blocks=(12, 16, 20),
            window_pos_embed_bkg_spatial_size=(14, 14),
        ),
    ),
    "large": replace(
        _PUBLISHED,
        trunk=TrunkConfig(
            embed_dim=144,
            num_heads=2,
            stages=(2, 6, 36, 4),
            window_spec=(8, 4, 16, 8),
            global_att_blocks=(23, 33, 43),
        ),
    ),
}
"""The four published sizes of SAM 2.1, with what `sam2.build_sam.build_sam2_video_predictor` switches on beside what
their files say. It fills small holes, too, where its compiled extension is."""

EDGE_SIZED = SamConfig(
    trunk=TrunkConfig(embed_dim=40),
    memory_attention=MemoryAttentionConfig(num_layers=2),
)
"""As large as EdgeTAM (Zhou et al., CVPR 2025), whose published weights are 56 MB of float32, and at its 1024 pixels:
its two layers of memory attention, and a Hiera where it has a RepViT. It is not EdgeTAM itself: the `sam2` package has
neither RepViT nor the perceiver that shortens its memories, so its weights don't fit, and memory is read in full."""

SIZES: dict[str, SamConfig] = {**SAM2_1, "edge": EDGE_SIZED}
"""What a preset's `[tracker]` may name as its `size`."""

EMBEDDED = SamConfig(
    image_size=256,
    d_model=96,
    trunk=TrunkConfig(
        embed_dim=32,
        stages=(1, 2, 4),
        window_spec=(8, 4, 5),
        global_att_blocks=(4, 5, 6),
        window_pos_embed_bkg_spatial_size=(5, 5),
    ),
    neck=NeckConfig(fpn_top_down_levels=(2,), scalp=0),
    memory_attention=MemoryAttentionConfig(num_layers=2, dim_feedforward=256, dropout=0.0),
    memory_encoder=MemoryEncoderConfig(out_dim=48, layer_scale_init_value=0.1),
)
"""The one that comes with vidmem, trained on the sample world. Its third and last stage sees the whole frame. The
memory encoder's layer scale starts at a tenth, not a millionth: its training has thousands of steps."""


def write_config(config: SamConfig, path: Path) -> None:
    """Write `config.json`; `read_config` gives the same back."""
    document = {"architecture": ARCHITECTURE, **dataclasses.asdict(config)}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def read_config(path: Path) -> SamConfig:
    """Read `config.json`. What it leaves out is as in SAM 2.1 tiny's own file.

    Raises:
        BadInput: it is no JSON, describes another architecture, or says what no SAM 2 can be.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{path} is not valid JSON ({error}): write the model's configuration again.") from error
    named = document.pop("architecture", None) if isinstance(document, dict) else None
    if named != ARCHITECTURE:
        raise BadInput(f'{path} describes no SAM 2 ("architecture" is {named!r}, not {ARCHITECTURE!r}).')
    return _read(SamConfig, document, str(path))


Part = TypeVar("Part")


def _read(kind: type[Part], table: Any, where: str) -> Part:
    if not isinstance(table, dict):
        raise BadInput(f"{where} should hold names and values, not {table!r}.")
    hints = get_type_hints(kind)
    unknown = [name for name in table if name not in hints]
    if unknown:
        raise BadInput(f"{where} has no entry {unknown[0]!r}: choose among {', '.join(hints)}.")
    return kind(**{name: _value(hints[name], value, f"{where} {name}") for name, value in table.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _read(hint, value, where)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        inner, length = get_args(hint)[0], None if get_args(hint)[-1] is ... else len(get_args(hint))
        if isinstance(value, list) and length in (None, len(value)):
            return tuple(_value(inner, item, where) for item in value)
    elif type(value) is hint:
        return value
    elif hint is float and type(value) is int:
        return float(value)
    raise BadInput(f"{where} = {value!r} should be {_called(hint)}.")


def _called(hint: Any) -> str:
    if get_origin(hint) is not tuple:
        return {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word"}[hint.__name__]
    return "a list of numbers" if get_args(hint)[-1] is ... else f"a list of {len(get_args(hint))} numbers"
