"""Objects followed through a stream by SAM 2: frames come one by one, prompts at any time, memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidmem.errors import BadInput, NotFound
from vidmem.memory.tracking import Candidates, Dam4Sam, Limits, Sam2Long, Samurai, Selection
from vidmem.models.sam import load_sam
from vidmem.models.sam_config import SAM2_1
from vidmem.models.tracking.bank import Bank, Place
from vidmem.models.tracking.network import Decoded, Network, candidates_of, limits_of
from vidmem.models.tracking.plain import Plain
from vidmem.models.tracking.present import Present, check_picture, squashed
from vidmem.models.tracking.prompts import Click, Prompt
from vidmem.models.tracking.proposals import Proposal, ProposalConfig, propose
from vidmem.models.tracking.results import Change, FrameResult, ObjectResult, at_frame_size, pixel_boxes
from vidmem.models.tracking.track import Chosen, Held, Pathway, Shown, Track
from vidmem.types import View

__all__ = [
    "SELECTIONS",
    "Change",
    "Click",
    "FrameResult",
    "ObjectResult",
    "Prompt",
    "Proposal",
    "ProposalConfig",
    "Tracker",
    "selection_for",
]

SELECTIONS: dict[str, Callable[[Limits], Selection[Any]]] = {
    "sam2": Plain,
    "samurai": Samurai,
    "dam4sam": Dam4Sam,
    "sam2long": Sam2Long,
}
"""Ways to choose an object's memory, by name, as for models other than SAM 2.1 large; see `selection_for`."""

_LARGE_MOTION_WEIGHT = 0.15
"""What SAMURAI's authors take for the large model, where the others have 0.25."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Tracker:
    """Follows objects through one stream with a `sam2.modeling.sam2_base.SAM2Base`.

    With the selection `sam2` and in float32, masks are those of the `sam2` package's `SAM2VideoPredictor`, tracking
    forward through a video of `max_obj_ptrs_in_encoder` frames or more (it counts a pointer's age in parts of a
    shorter video). That package fills small holes only where its compiled extension is; here they are left.

    A call that raises `BadInput` or `NotFound` changes nothing: the stream goes on with the next call. Not for use from
    two threads at once.

    Args:
        model: in evaluation mode, with float32 weights.
        selection: how memory is chosen: a name out of `SELECTIONS`, or an object of one's own.
        overlap: whether objects may share pixels; if not, each belongs to the object that claims it most.
        dtype: what the model computes in; other than float32, by autocast.
        mean: taken off RGB in [0, 1].
        std: what that is divided by.

    Raises:
        BadInput: there is no selection of that name, or the model can't track.
    """

    def __init__(
        self,
        model: Any,
        *,
        selection: str | Selection[Any] = "samurai",
        overlap: bool = True,
        dtype: torch.dtype = torch.float32,
        mean: Sequence[float] = _MEAN,
        std: Sequence[float] = _STD,
    ) -> None:
        self._network = Network(model, dtype=dtype, mean=mean, std=std)
        self._bank = Bank(model, dtype=dtype)
        self._selection = selection_for(model, selection) if isinstance(selection, str) else selection
        self._overlap = overlap
        self._tracks: dict[int, Track[Any]] = {}
        self._present: Present | None = None
        self.view = View(self._network.square, self._network.square)

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        base: Path | None = None,
        revision: str = "",
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        selection: str | Selection[Any] = "samurai",
        overlap: bool = True,
    ) -> Tracker:
        """Load a model from a folder or from the local cache of the hub; see `vidmem.models.sam.load_sam`.

        Raises:
            MissingModel: files are not there, are damaged, or don't fit each other.
            ModelMismatch: they are of another revision.
            BadInput: `config.json` describes no SAM 2, or none that tracks.
        """
        model, config = load_sam(name, device=device, revision=revision, base=base)
        return cls(
            model, selection=selection, overlap=overlap, dtype=dtype, mean=config.pixel_mean, std=config.pixel_std
        )

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Objects that are followed, in the order in which they were first prompted."""
        return tuple(self._tracks)

    @property
    def memory_bytes(self) -> int:
        """What the memories of all objects take on the device, free slots included."""
        return self._bank.num_bytes

    def step(
        self,
        picture: np.ndarray | Tensor,
        seconds: float,
        *,
        frame_size: tuple[int, int] | None = None,
        prompts: Sequence[Prompt] = (),
    ) -> FrameResult:
        """Take in the next frame, and follow all objects to it.

        Args:
            picture: uint8 RGB (H, W, 3). It is squashed to `view`, unless it comes so; decoding it at that size is
                faster.
            seconds: its time, later than that of the frame before.
            frame_size: height and width of the frame, where `picture` is `view` of it. Masks, boxes and prompts are
                in its pixels.
            prompts: objects on this frame. What is already known of them is not looked at: each is found by its
                prompt alone, and this frame joins those that it is remembered by.

        Raises:
            BadInput: the picture is none, has another size than the first, or comes too late; a prompt does not fit.
        """
        check_picture(picture, seconds)
        size = frame_size or (picture.shape[0], picture.shape[1])
        if self._present is not None:
            self._present.check_next(size, seconds)
        self._check_prompts(prompts, size)
        with torch.inference_mode(), self._network.running():
            for track in self._tracks.values():
                track.settle(self._selection, self._bank)
            index = 0 if self._present is None else self._present.index + 1
            square = squashed(picture, self._network.square)
            self._present = present = Present(index, seconds, size, square, self._network)
            prompted = {prompt.object_id for prompt in prompts}
            self._follow(present, [track for track in self._tracks.values() if track.object_id not in prompted])
            for prompt in prompts:
                self._take(present, prompt)
            return self._result(present)

    def prompt(self, prompt: Prompt, *, seconds: float | None = None) -> FrameResult:
        """Add an object on the present frame, or correct one there.

        A correction starts from the mask that is shown, and looks at what is known of the object.

        Args:
            seconds: the time of the frame that the prompt is meant for; None for the present one.

        Returns:
            All objects of the present frame.

        Raises:
            BadInput: the prompt does not fit the frame, or its frame is gone or yet to come.
        """
        if self._present is None:
            raise BadInput("there is no frame to prompt yet: give one first.")
        if seconds is not None:
            self._present.check_at(seconds)
        self._check_prompts([prompt], self._present.size)
        with torch.inference_mode(), self._network.running():
            self._take(self._present, prompt)
            return self._result(self._present)

    def propose(self, config: ProposalConfig | None = None) -> list[Proposal]:
        """What there is on the present frame, whether it is followed or not, the best first. Changes nothing.

        Memory is not looked at. To follow a proposal, prompt with its mask; `unclaimed` in
        `vidmem.memory.tracking.novelty` says which show something new.

        Args:
            config: None for the defaults.

        Raises:
            BadInput: there is no frame yet.
        """
        if self._present is None:
            raise BadInput("there is no frame to look for objects on yet: give one first.")
        present, above = self._present, self._selection.present_above
        with torch.inference_mode(), self._network.running():
            return propose(
                self._network, present.features, present.size, config or ProposalConfig(), present_above=above
            )

    def remove(self, object_id: int) -> None:
        """Stop following an object and forget it. Raises NotFound if it is not followed."""
        if object_id not in self._tracks:
            raise NotFound(f"there is no object {object_id}: {_listed(self.object_ids)} are followed.")
        self._tracks.pop(object_id).leave(self._bank)

    def _check_prompts(self, prompts: Sequence[Prompt], size: tuple[int, int]) -> None:
        for prompt in prompts:
            prompt.check(size, square=self._network.square)
        ids = [prompt.object_id for prompt in prompts]
        if len(set(ids)) < len(ids):
            raise BadInput(f"several prompts are for one object ({_listed(ids)}): put its clicks into one.")

    def _follow(self, present: Present, tracks: Sequence[Track[Any]]) -> None:
        """Find objects by their memory, all in one batch."""
        if not tracks:
            return
        network, selection = self._network, self._selection
        places: list[Place] = []
        runs: dict[int, int] = {}  # of each distinct past, by identity, which run of the network is its
        for pathway in (pathway for track in tracks for pathway in track.before):
            if id(pathway.held) not in runs:
                runs[id(pathway.held)] = len(places)
                places.append(pathway.held.place(selection.read(pathway.state, present.index)))
        attended = network.with_memory(present.features, self._bank, places)
        decoded = network.decode(present.features, attended, present_above=selection.present_above)
        found = self._candidates(decoded, present)
        chosen = Chosen()
        for track in tracks:
            run_of = [runs[id(pathway.held)] for pathway in track.before]
            states = [pathway.state for pathway in track.before]
            chosen.add(track, run_of, selection.choose(states, [found[run] for run in run_of], present.index))
        self._write(present, decoded, found, chosen)

    def _write(self, present: Present, decoded: Decoded, found: Sequence[Candidates], chosen: Chosen) -> None:
        """Remember what was chosen: each distinct continuation once."""
        network, device = self._network, self._network.device
        run = torch.tensor([key.run for key in chosen.keys], device=device)
        candidate = torch.tensor([key.candidate for key in chosen.keys], device=device)
        low_res = decoded.masks[run, candidate][:, None]
        object_score = decoded.object_score[run]
        token = candidate if decoded.tokens.shape[1] > 1 else torch.zeros_like(candidate)
        present_above = self._selection.present_above
        pointers = network.pointer(decoded.tokens[run, token], object_score, present_above=present_above)
        binarise = [key.binarise for key in chosen.keys]
        slots = self._bank.memories.put(network.remember(present.features, low_res, object_score, binarise))
        pointer_slots = self._bank.pointers.put(pointers)
        for track, picks in chosen.picks:
            track.take(present.index, picks, slots, pointer_slots)
            first, at = picks[0]
            offered = found[chosen.keys[at].run]
            track.shown = Shown(low_res[at][None], offered.ious[first.candidate], offered.object_score)

    def _take(self, present: Present, prompt: Prompt) -> None:
        """Find one object by a prompt."""
        network, selection = self._network, self._selection
        track = self._tracks.get(prompt.object_id) or Track(prompt.object_id)
        # It is not followed to this frame, or was found here by a prompt alone.
        track.initial = track.initial or not track.before or track.after is track.before
        parent = track.before[track.parent] if track.before else None
        decoded, pointer = self._prompted(present, prompt, track, parent)
        (found,) = self._candidates(decoded, present)
        best = max(range(len(found.ious)), key=found.ious.__getitem__)
        low_res = decoded.masks[:, best : best + 1]
        box = found.boxes and found.boxes[best : best + 1]
        taken = Candidates((found.ious[best],), found.object_score, low_res[0], found.square, found.frame_size, box)
        if pointer is None:
            token = decoded.tokens[:, best if decoded.tokens.shape[1] > 1 else 0]
            pointer = network.pointer(token, decoded.object_score, present_above=selection.present_above)
        state = selection.prompted(parent and parent.state, present.index, taken, initial=track.initial)
        binarise = bool(network.model.binarize_mask_from_pts_for_mem_enc)
        memory = network.remember(present.features, low_res, decoded.object_score, [binarise])
        (slot,), (pointer_slot,) = self._bank.memories.put(memory), self._bank.pointers.put(pointer)
        held = parent.held if parent else Held()
        track.after = (Pathway(state, held.adding(present.index, slot, pointer_slot)),)
        track.own([slot], [pointer_slot])
        track.shown = Shown(low_res, taken.ious[0], taken.object_score)
        self._tracks[prompt.object_id] = track

    def _prompted(
        self, present: Present, prompt: Prompt, track: Track[Any], parent: Pathway[Any] | None
    ) -> tuple[Decoded, Tensor | None]:
        """Candidates of a prompt, and the object's pointer where it is not made of their tokens."""
        network, features, above = self._network, present.features, self._selection.present_above
        mask = None if prompt.mask is None else prompt.mask_input(network.square, network.device)
        if mask is not None and network.model.use_mask_input_as_output_without_sam:
            return network.given(features, mask, present_above=above)
        if track.initial or parent is None:
            attended = network.without_memory(features)
        else:
            place = parent.held.place(self._selection.read(parent.state, present.index))
            attended = network.with_memory(features, self._bank, [place])
        points = None
        if mask is None:
            points = prompt.points(present.size, square=network.square, device=network.device)
            mask = network.clamped(track.shown.low_res) if track.shown is not None else None
        decoded = network.decode(
            features, attended, present_above=above, points=points, mask=mask, initial=track.initial
        )
        return decoded, None

    def _candidates(self, decoded: Decoded, present: Present) -> list[Candidates]:
        return candidates_of(
            decoded, square=self._network.square, frame_size=present.size, boxes=self._selection.reads_boxes
        )

    def _result(self, present: Present) -> FrameResult:
        shown = {track: track.shown for track in self._tracks.values() if track.shown is not None}
        if not shown:
            return FrameResult(present.seconds, present.index, (), ())
        low_res = torch.cat([found.low_res for found in shown.values()])
        masks = at_frame_size(low_res, present.size, overlap=self._overlap)
        changes, objects = [], []
        for (track, found), mask, box in zip(shown.items(), masks, pixel_boxes(masks), strict=True):
            visible = box is not None and found.object_score > self._selection.present_above
            if visible == (track.lost_since is not None):
                track.lost_since = None if visible else present.seconds
                changes.append(Change(track.object_id, "back" if visible else "lost", present.seconds))
            objects.append(
                ObjectResult(
                    object_id=track.object_id,
                    mask=mask,
                    low_res_logits=found.low_res[0, 0],
                    box=box,
                    iou=found.iou,
                    object_score=found.object_score,
                    visible=visible,
                    lost_since=track.lost_since,
                )
            )
        return FrameResult(present.seconds, present.index, tuple(objects), tuple(changes))


def selection_for(model: Any, name: str) -> Selection[Any]:
    """One of `SELECTIONS` as its authors have it for a `sam2.modeling.sam2_base.SAM2Base` of that size.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in SELECTIONS:
        raise BadInput(f"there is no memory selection {name!r}: take one of {', '.join(SELECTIONS)}.")
    selection = SELECTIONS[name](limits_of(model))
    if isinstance(selection, Samurai) and _is_large(model):
        return replace(selection, motion_weight=_LARGE_MOTION_WEIGHT)
    return selection


def _is_large(model: Any) -> bool:
    """Whether it is SAM 2.1 large: no other published size has a trunk of that width."""
    return tuple(reversed(model.image_encoder.trunk.channel_list)) == SAM2_1["large"].trunk.channels


def _listed(ids: Sequence[int]) -> str:
    return ", ".join(str(object_id) for object_id in ids) or "none"
