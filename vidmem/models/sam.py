"""SAM 2 out of the `sam2` package's own classes, of any size.

A model's folder holds `config.json` and `model.safetensors`, or a checkpoint of SAM 2.1 as its authors publish it,
whose name says its size. Where the caller says which size it is, weights are enough.
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from vidmem.errors import MissingModel
from vidmem.models.folders import Alternatives, find_model
from vidmem.models.sam_config import SAM2_1, SIZES, STRIDE, MemoryAttentionConfig, SamConfig, read_config

EMBEDDED_FOLDER = Path(__file__).with_name("tiny") / "sam"
"""The one that comes with vidmem."""
_WEIGHTS = "model.safetensors"
_CHECKPOINTS = {size: f"sam2.1_hiera_{size}.pt" for size in SAM2_1}
SAM_FILES: tuple[Alternatives, ...] = tuple((file, *_CHECKPOINTS.values()) for file in ("config.json", _WEIGHTS))
"""The hub's repositories of SAM 2.1 have a checkpoint, and a `config.json` of transformers' own port beside it."""


def build_sam(config: SamConfig) -> Any:
    """A `sam2.modeling.sam2_base.SAM2Base` with random weights, drawn from torch's global generator, on the CPU."""
    from sam2.modeling.sam2_base import SAM2Base

    return SAM2Base(
        image_encoder=sam_image_encoder(config),
        memory_attention=_memory_attention(config),
        memory_encoder=_memory_encoder(config),
        image_size=config.image_size,
        backbone_stride=STRIDE,
        sam_mask_decoder_extra_args=_named(config.stability),
        **_named(config.base),
    )


def load_sam(
    name: str | Path,
    *,
    size: str = "",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    revision: str = "",
    base: Path | None = None,
) -> tuple[Any, SamConfig]:
    """Load from a folder, or from the local cache of the hub: the model in evaluation mode, and its configuration.

    Weights that are not float32 need `torch.autocast` around the model's calls, as `sam2` itself does it.

    Args:
        size: of `SIZES`, that the weights are of; "" for what their name or the `config.json` beside them says.

    Raises:
        MissingModel: files are not there, are damaged, or are of another configuration.
        ModelMismatch: they are of another revision.
        BadInput: `config.json` describes no SAM 2, where it is needed.
    """
    checkpoints = {one: file for one, file in _CHECKPOINTS.items() if size in ("", one)}
    needed = ((_WEIGHTS, *checkpoints.values()),) if size else SAM_FILES
    folder = find_model(str(name), needed, revision=revision, base=base).path
    published = next((one for one, file in checkpoints.items() if (folder / file).exists()), "")
    config = SIZES[size or published] if size or published else read_config(folder / "config.json")
    path = folder / (checkpoints[published] if published else _WEIGHTS)
    weights = _read_weights(path)  # first: it fails sooner than a large model is built
    model = build_sam(config)
    _fill(model, weights, folder)
    return model.to(device=device, dtype=dtype).eval().requires_grad_(False), config


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name; of a checkpoint, nothing but tensors is unpickled."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".pt":
            return torch.load(path, map_location="cpu", weights_only=True)["model"]
        return load_file(path)
    except (SafetensorError, OSError, RuntimeError, UnpicklingError, EOFError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingModel(f"the weights {path} can't be read ({reason}): put the complete file there.") from error


def _fill(model: Any, weights: dict[str, Tensor], folder: Path) -> None:
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    wrong = [name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name)]
    if wrong:
        raise MissingModel(
            f"the tracker in {folder} can't be loaded: {len(wrong)} tensors, {min(wrong)} the first, are missing or not"
            " as its configuration describes them: put the weights there that belong to it."
        )
    model.load_state_dict(weights)


def sam_image_encoder(config: SamConfig, *, still: bool = True) -> Any:
    """Its image encoder alone, with random weights: of the parts in `sam_trunk`; the package's own if not `still`."""
    from sam2.modeling.backbones.hieradet import Hiera
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder

    from vidmem.models.sam_trunk import StillHiera

    trunk = config.trunk
    neck = FpnNeck(
        position_encoding=_positions(config.d_model, still=still),
        d_model=config.d_model,
        backbone_channel_list=list(reversed(trunk.channels)),
        fpn_top_down_levels=list(config.neck.fpn_top_down_levels),
        fpn_interp_model=config.neck.fpn_interp_model,
    )
    made = (StillHiera if still else Hiera)(q_pool=len(trunk.stages) - 1, **_named(trunk))
    return ImageEncoder(scalp=config.neck.scalp, trunk=made, neck=neck)


def _memory_attention(config: SamConfig) -> Any:
    from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer

    sizes = config.memory_attention
    layer = MemoryAttentionLayer(
        activation="relu",
        d_model=config.d_model,
        dim_feedforward=sizes.dim_feedforward,
        dropout=sizes.dropout,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        self_attention=_attention(config, sizes),
        cross_attention=_attention(config, sizes, rope_k_repeat=True, kv_in_dim=config.memory_encoder.out_dim),
    )
    return MemoryAttention(d_model=config.d_model, pos_enc_at_input=True, layer=layer, num_layers=sizes.num_layers)


def _attention(config: SamConfig, sizes: MemoryAttentionConfig, **more: Any) -> Any:
    from sam2.modeling.sam.transformer import RoPEAttention

    return RoPEAttention(
        rope_theta=sizes.rope_theta,
        feat_sizes=(config.feature_side, config.feature_side),
        embedding_dim=config.d_model,
        num_heads=sizes.num_heads,
        downsample_rate=1,
        dropout=sizes.dropout,
        **more,
    )


def _memory_encoder(config: SamConfig) -> Any:
    from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder

    sizes, channels = config.memory_encoder, config.d_model
    block = CXBlock(
        dim=channels,
        kernel_size=sizes.kernel_size,
        padding=sizes.kernel_size // 2,
        layer_scale_init_value=sizes.layer_scale_init_value,
    )
    return MemoryEncoder(
        out_dim=sizes.out_dim,
        in_dim=channels,
        position_encoding=_positions(sizes.out_dim),
        mask_downsampler=MaskDownSampler(embed_dim=channels, kernel_size=3, stride=2, padding=1, total_stride=STRIDE),
        fuser=Fuser(block, num_layers=sizes.num_layers),
    )


def _positions(channels: int, *, still: bool = True) -> Any:
    from sam2.modeling.position_encoding import PositionEmbeddingSine

    from vidmem.models.sam_trunk import StillPositions

    kind = StillPositions if still else PositionEmbeddingSine
    return kind(num_pos_feats=channels, normalize=True, scale=None, temperature=10000)


def _named(part: Any) -> dict[str, Any]:
    """A part's fields as arguments."""
    return {name: getattr(part, name) for name in part.__dataclass_fields__}
