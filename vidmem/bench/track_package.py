"""The `sam2` package's own video predictor on a clip, with the weights of a tracker of ours, to compare with."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vidmem.models.sam import sam_image_encoder
from vidmem.models.sam_config import STRIDE, SamConfig
from vidmem.models.tracking.prompts import Prompt


def package_predictor(model: Any, config: SamConfig, **options: Any) -> Any:
    """A `SAM2VideoPredictor` that shares all weights of `model`, with the package's own image encoder."""
    from sam2.sam2_video_predictor import SAM2VideoPredictor

    predictor = SAM2VideoPredictor(
        image_encoder=sam_image_encoder(config, still=False),
        memory_attention=model.memory_attention,
        memory_encoder=model.memory_encoder,
        image_size=config.image_size,
        backbone_stride=STRIDE,
        sam_mask_decoder_extra_args=dataclasses.asdict(config.stability),
        **dataclasses.asdict(config.base),
        **options,
    )
    predictor.load_state_dict(model.state_dict(), assign=True)
    return predictor.to(model.device).eval()


def write_folder(frames: Iterable[np.ndarray], folder: Path) -> list[np.ndarray]:
    """Write frames as the JPEGs that the package reads; returns them as they are read back."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{index:05d}.jpg")
    return [np.array(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.jpg"))]


def propagated(
    predictor: Any, folder: Path, prompts: Sequence[Prompt], *, dtype: torch.dtype
) -> Iterator[Mapping[int, Tensor]]:
    """Track through a folder of JPEGs from prompts on its first frame: logits (H, W) by object id, frame by frame.

    The folder is read and prompted before the first frame is asked for.
    """
    precision = torch.autocast(predictor.device.type, dtype=dtype, enabled=dtype != torch.float32)
    with _quiet(), precision:
        stream = PackageStream(predictor, folder)
        for prompt in prompts:
            stream.prompt(prompt)
        frames = predictor.propagate_in_video(stream.state)

    def following() -> Iterator[Mapping[int, Tensor]]:
        while True:
            with _quiet(), precision:
                found = next(frames, None)
            if found is None:
                return
            yield dict(zip(found[1], found[2][:, 0], strict=True))

    return following()


class PackageStream:
    """The package's predictor, driven frame by frame over a folder of JPEGs that it has read as a whole."""

    def __init__(self, predictor: Any, folder: Path) -> None:
        self._predictor = predictor
        with _quiet():
            self.state = predictor.init_state(str(folder))
        self._frame = 0
        self._begun = False

    def step(self, prompts: Sequence[Prompt] = ()) -> Mapping[int, Tensor]:
        """Go to the next frame: logits (H, W) at the video's size by object id."""
        self._frame += self._begun
        self._begun = True
        for prompt in prompts:
            self.prompt(prompt)
        if not self.state["obj_ids"]:
            return {}
        with _quiet():
            ((_, ids, masks),) = self._predictor.propagate_in_video(self.state, self._frame, 0)
        return dict(zip(ids, masks[:, 0].clone(), strict=True))

    def prompt(self, prompt: Prompt) -> Mapping[int, Tensor]:
        """Prompt the present frame."""
        where = {"inference_state": self.state, "frame_idx": self._frame, "obj_id": prompt.object_id}
        if prompt.mask is not None:
            _, ids, masks = self._predictor.add_new_mask(mask=torch.as_tensor(prompt.mask), **where)
        else:
            _, ids, masks = self._predictor.add_new_points_or_box(
                points=[(click.x, click.y) for click in prompt.clicks] or None,
                labels=[int(click.on) for click in prompt.clicks] or None,
                box=prompt.box,
                **where,
            )
        return dict(zip(ids, masks[:, 0].clone(), strict=True))

    def remove(self, object_id: int) -> None:
        """Stop following an object."""
        self._predictor.remove_object(self.state, object_id, need_output=False)


@contextlib.contextmanager
def _quiet() -> Any:
    """Without the package's progress bars, and without its warning that its extension for holes is not there."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
