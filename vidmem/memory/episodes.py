"""Episodes: frames merged into what they are most like, again and again, until few enough are left.

HERMES calls this the episodic compressor; MA-LMM's memory bank is one step of it for every frame. Token positions
are compressed independently: each merges its own frames, so that only the order in time is common to the tokens of
one episode. To merge whole frames, give them as one position (`whole_frames`).

`EpisodeBank` keeps a stream's episodes, `compress_episodes` compresses what is there at once.

Source: HERMES (Faure et al., arXiv 2408.17443) and its code; MA-LMM (He et al., CVPR 2024, arXiv 2404.05726). The
paper of HERMES compares whole frames, each with all others, and takes plain averages; its code and MA-LMM compare
neighbours, a token position at a time, and weigh by size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BESIDE = np.arange(-2, 2)
"""Places of a pair and its neighbours, counted from the later one of the pair."""
PRODUCTS_AT_ONCE = 1 << 16
"""Numbers multiplied at a time, so that the products stay in a core's cache."""
SMALLEST_SQUARE = 1e-16
"""Least square of a norm in a cosine, so that a vector of zeros has cosine 0 with all (as in the reference)."""


class Merge(NamedTuple):
    """One merge in each of R = B N rows: two episodes become one, in the place of the earlier."""

    place: NDArray[np.int64]
    """(R,) place of the earlier one in the row's order at that step."""
    kept: NDArray[np.int64]
    """(R,) slot of the earlier one, where the mean goes."""
    gone: NDArray[np.int64]
    """(R,) slot of the later one."""
    share: NDArray[np.float64]
    """(R,) share of the later one in the mean."""


def whole_frames(frames: Tensor) -> Tensor:
    """All tokens of a frame as one position: (B, T, N, C) to (B, T, 1, N C)."""
    return frames.flatten(2).unsqueeze(2)


def _precision(frames: Tensor) -> torch.dtype:
    return torch.float64 if frames.dtype == torch.float64 else torch.float32


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Dot products of rows (R, w, C): (R, w). Each is summed alike, not by BLAS, so that equal frames tie.

    In pieces: products of all at once go through fresh memory, with which appending 241 frames of 16 x 256 numbers
    took twice as long.
    """
    num_at_once = max(1, PRODUCTS_AT_ONCE // max(1, left.shape[0] * left.shape[2]))
    if left.shape[1] <= num_at_once:
        return (left * right).sum(-1)
    parts = zip(left.split(num_at_once, dim=1), right.split(num_at_once, dim=1), strict=True)
    return torch.cat([(one * other).sum(-1) for one, other in parts], dim=1)


class EpisodeBank:
    """Episodes of B streams at N token positions: neighbours are merged in place.

    After a merge only the similarities beside it are computed anew, and no other episode moves: each of the B N rows
    has an order of its own over its slots. So a merge costs O(N C) beside numbers of the bank's length, where the
    plain version (the oracle in the tests) compares all neighbours and moves all episodes.

    Numbers are kept on the CPU in numpy, tensors where the frames are. With the numbers in torch too, a frame took
    twice as long (bank of 20 at 16 positions of 256 channels): such small steps are all overhead. On a GPU each
    merge waits for the 4 B N products beside it.
    """

    def __init__(self, like: Tensor, *, max_episodes: int, weighted: bool = True) -> None:
        """Reserve room. Means are computed and kept in float32, in float64 if the frames are.

        Args:
            like: (B, any, N, C): sizes, dtype and device of the frames to come.
            max_episodes: how many can be there at a time, before they are compressed.
            weighted: whether an episode counts as the frames that it stands for, or as one.
        """
        num_streams, _, num_positions, num_channels = like.shape
        num_rows = num_streams * num_positions
        self._shape, self._dtype, self._weighted = (num_streams, num_positions), like.dtype, weighted
        self._room = torch.empty(num_rows * max_episodes, num_channels, dtype=_precision(like), device=like.device)
        # Numbers of the episodes, at places 1 to n of the row's order; free slots lie behind. The first and the last
        # place are never used, so that all episodes have neighbours to look at.
        places = np.arange(max_episodes + 2)
        row = np.arange(num_rows)[:, None]
        self._slot = row * max_episodes + (places - 1).clip(0, max_episodes - 1)
        self._size, self._square = np.ones(self._slot.shape), np.ones(self._slot.shape)
        self._similarity = np.full(self._slot.shape, -np.inf)  # of a place with the one before it
        self._first_place, self._places = row * len(places), places
        self._num = 0

    def __len__(self) -> int:
        """Number of episodes, the same at all positions."""
        return self._num

    @property
    def value(self) -> Tensor:
        """(B, n, N, C), in time order, in the dtype of the frames. A copy."""
        slots = torch.from_numpy(self._slot[:, 1 : self._num + 1]).to(self._room.device)
        return self._room[slots].unflatten(0, self._shape).transpose(1, 2).to(self._dtype).contiguous()

    @property
    def size(self) -> Tensor:
        """(B, n, N): how many frames each stands for. A copy."""
        sizes = torch.from_numpy(self._size[:, 1 : self._num + 1]).to(self._room)
        return sizes.unflatten(0, self._shape).transpose(1, 2).contiguous()

    def clear(self) -> None:
        self._num = 0
        self._similarity.fill(-np.inf)

    def append(self, frames: Tensor, size: Tensor | None = None) -> None:
        """Add frames (B, w, N, C), each an episode of `size` (B, w, N), above 0; None counts as 1.

        Raises:
            ValueError: there is no room for them.
        """
        num_old, num_new = self._num, frames.shape[1]
        if num_old + num_new > len(self._places) - 2:
            raise ValueError(
                f"{num_new} frames do not fit beside {num_old} episodes: the bank was made for {len(self._places) - 2}"
            )
        if not num_new:
            return
        new = frames.transpose(1, 2).flatten(0, 1).to(self._room.dtype)
        slots = torch.from_numpy(self._slot[:, num_old : num_old + num_new + 1]).to(self._room.device)
        self._room.index_copy_(0, slots[:, 1:].reshape(-1), new.flatten(0, 1))
        # Before the very first there is no episode, and what it is multiplied with does not matter.
        last = self._room.index_select(0, slots[:, 0])
        links = last.mul_(new[:, 0]).sum(-1, keepdim=True)
        if num_new > 1:
            links = torch.cat([links, _dot(new[:, 1:], new[:, :-1])], dim=1)
        products = torch.stack([_dot(new, new), links]).cpu().double().numpy()
        at = slice(num_old + 1, num_old + num_new + 1)
        self._square[:, at] = products[0].clip(SMALLEST_SQUARE)
        self._size[:, at] = 1 if size is None else size.transpose(1, 2).flatten(0, 1).cpu().double().numpy()
        squares = self._square[:, num_old : num_old + num_new]
        self._similarity[:, at] = products[1] / np.sqrt(self._square[:, at] * squares)
        self._similarity[:, 1] = -np.inf
        self._num += num_new

    def compress(self, num_kept: int) -> list[Merge]:
        """Merge the most similar neighbours until `num_kept` are left; of equals the first. Returns what was merged.

        Each row chooses its own pairs. Where `num_kept` or fewer are there already nothing is merged.
        """
        if num_kept < 1:
            raise ValueError(f"{num_kept=} must be at least 1")
        return [self._merge() for _ in range(self._num - num_kept)]

    def _merge(self) -> Merge:
        num = self._num
        later = self._similarity[:, : num + 1].argmax(axis=1)[:, None]
        # The pair between its neighbours; at the ends these are no episodes.
        near = self._first_place + later + BESIDE
        slots, sizes, squares = self._slot.take(near), self._size.take(near[:, 1:3]), self._square.take(near)
        total = sizes.sum(axis=1, keepdims=True)
        share = sizes[:, 1:] / total if self._weighted else np.full(total.shape, 0.5)
        products = self._average(slots, share)
        square = np.maximum(products[:, 1:2], SMALLEST_SQUARE)
        beside = products[:, ::3] / np.sqrt(squares[:, ::3] * square)
        beside[(later == (2, num))] = -np.inf
        self._size.put(near[:, 1:2], total)
        self._square.put(near[:, 1:2], square)
        self._similarity.put(near[:, 1::2], beside)
        # What lies behind the pair moves up; the slot that became free goes behind all.
        moved = self._first_place + self._places[:num] + (self._places[:num] >= later)
        for numbers in (self._slot, self._size, self._square, self._similarity):
            numbers[:, :num] = numbers.take(moved)
        self._slot[:, num] = slots[:, 2]
        self._num = num - 1
        return Merge(later[:, 0] - 2, slots[:, 1], slots[:, 2], share[:, 0])

    def _average(self, slots: NDArray[np.int64], share: NDArray[np.float64]) -> NDArray[np.float64]:
        """Put the mean of the 2nd and 3rd of four slots (R, 4) into the 2nd; dot products (R, 4) of all with it."""
        slot_index = torch.from_numpy(slots).to(self._room.device)
        near = self._room.index_select(0, slot_index.view(-1)).view(*slots.shape, -1)
        mean = near[:, 1].lerp(near[:, 2], torch.from_numpy(share).to(near))
        self._room.index_copy_(0, slot_index[:, 1], mean)
        near[:, 1] = mean
        return near.mul_(mean.unsqueeze(1)).sum(-1).cpu().double().numpy()


@dataclass(frozen=True, slots=True, eq=False)
class Episodes:
    """T frames compressed to K episodes, each of the N token positions by itself."""

    value: Tensor
    """(B, K, N, C), in the dtype of the frames."""
    size: Tensor
    """(B, K, N): how many frames each stands for."""
    merges: tuple[Merge, ...]
    """What was merged, step by step. Slots are numbers of frames, those of a row after those of the row before."""

    @property
    def merge_index(self) -> Tensor:
        """(T - K, B, N) place of the earlier of the two at each step, in the order as it was then."""
        num_streams, _, num_positions = self.size.shape
        places = np.array([merge.place for merge in self.merges], dtype=np.int64)
        return torch.from_numpy(places.reshape(-1, num_streams, num_positions))

    def membership(self) -> Membership:
        """Where each frame went, found by undoing the merges: O(T) numbers a position."""
        num_streams, num_kept, num_positions = self.size.shape
        num_slots = (num_kept + len(self.merges)) * num_streams * num_positions
        stays = np.ones(num_slots, dtype=bool)
        stays[[slot for merge in self.merges for slot in merge.gone]] = False
        episode = (stays.reshape(num_streams * num_positions, -1).cumsum(axis=1) - 1).reshape(-1)
        share = np.ones(num_slots)
        for merge in reversed(self.merges):
            share[merge.gone] = share[merge.kept] * merge.share
            share[merge.kept] *= 1 - merge.share
            episode[merge.gone] = episode[merge.kept]
        shape = (num_streams, num_positions, -1)
        of_episode, of_share = (torch.from_numpy(numbers.reshape(shape)).mT for numbers in (episode, share))
        return Membership(of_episode.to(self.size.device), of_share.to(self.size))


@dataclass(frozen=True, slots=True, eq=False)
class Membership:
    """Which episode each frame went to, so that what belongs to frames can be merged alike."""

    episode: Tensor
    """(B, T, N) int64: place of the episode."""
    share: Tensor
    """(B, T, N): share of the frame in its episode's mean; those of one episode sum to 1."""


def compress_episodes(
    frames: Tensor,
    num_kept: int,
    *,
    size: Tensor | None = None,
    pairs: Literal["adjacent", "all"] = "adjacent",
    weighted: bool = True,
) -> Episodes:
    """Merge the two most similar frames at each token position, again and again, until `num_kept` are left.

    Similarity is the cosine; the first of equals is taken. What is merged stands at the place of the earlier.

    Args:
        frames: (B, T, N, C), in time order. Not modified.
        num_kept: K, at least 1; from T on nothing is merged.
        size: (B, T, N), above 0: how many frames each stands for already; None counts as 1.
        pairs: neighbours alone may be merged, or any two; the latter compares all with all, O(T^2 N C).
        weighted: whether a mean counts each by its size, or is the plain mean of the two.

    Source: HERMES, section 3.2; see the head of this file for where its paper and its code differ.
    """
    if num_kept < 1:
        raise ValueError(f"{num_kept=} must be at least 1")
    if pairs == "all":
        return _compress_all_pairs(frames, num_kept, size, weighted)
    bank = EpisodeBank(frames, max_episodes=max(1, frames.shape[1]), weighted=weighted)
    bank.append(frames, size)
    merges = bank.compress(num_kept)
    return Episodes(bank.value, bank.size, tuple(merges))


def _compress_all_pairs(frames: Tensor, num_kept: int, size: Tensor | None, weighted: bool) -> Episodes:
    num_streams, num_frames, num_positions, _ = frames.shape
    shape = (num_streams, num_positions)
    means = frames.transpose(1, 2).flatten(0, 1).to(torch.float64, copy=True)
    sizes = torch.ones_like(means[..., 0])
    if size is not None:
        sizes.copy_(size.transpose(1, 2).flatten(0, 1))
    square = means.square().sum(-1)
    column = torch.arange(num_frames, device=means.device)
    row = torch.arange(len(means), device=means.device)
    similarity = _rounded_cosine(means @ means.mT, square.unsqueeze(2), square.unsqueeze(1))
    similarity.masked_fill_(column[:, None] >= column, -torch.inf)
    stays = torch.ones_like(sizes, dtype=torch.bool)
    merges = []
    for _ in range(num_frames - num_kept):
        best = similarity.flatten(1).argmax(dim=1)
        kept, gone = best // num_frames, best % num_frames
        total = sizes[row, kept] + sizes[row, gone]
        share = sizes[row, gone] / total if weighted else torch.full_like(total, 0.5)
        place = stays.cumsum(1)[row, kept] - 1
        numbers = (place, kept + row * num_frames, gone + row * num_frames, share)
        merges.append(Merge(*(number.cpu().numpy() for number in numbers)))
        mean = means[row, kept].lerp(means[row, gone], share.unsqueeze(1))
        means[row, kept], sizes[row, kept], square[row, kept] = mean, total, mean.square().sum(-1)
        stays[row, gone] = False
        product = (means @ mean.unsqueeze(2)).squeeze(2)
        cosine = _rounded_cosine(product, square, square[row, kept].unsqueeze(1)).masked_fill_(~stays, -torch.inf)
        similarity[row, kept] = cosine.masked_fill(column <= kept.unsqueeze(1), -torch.inf)
        similarity[row, :, kept] = cosine.masked_fill(column >= kept.unsqueeze(1), -torch.inf)
        similarity[row, gone] = -torch.inf
        similarity[row, :, gone] = -torch.inf
    value = means[stays].reshape(*shape, -1, means.shape[2]).transpose(1, 2).to(frames.dtype).contiguous()
    left = sizes[stays].reshape(*shape, -1).transpose(1, 2).to(_precision(frames)).contiguous()
    return Episodes(value, left, tuple(merges))


def _rounded_cosine(product: Tensor, square: Tensor, other_square: Tensor) -> Tensor:
    """Cosine of float64 numbers in float32: a matrix product adds in an order of its own, and equals must still tie."""
    least = square.clamp(min=SMALLEST_SQUARE) * other_square.clamp(min=SMALLEST_SQUARE)
    return (product / least.sqrt()).float()
