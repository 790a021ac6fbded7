"""Flash-VStream's loops, transcribed: clusters compared one by one, a bank of all frames searched from end to end."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def difference(x: Tensor, y: Tensor) -> Tensor:
    """Distances of rows (N, C) and (M, C), as the first version takes them: (N, M)."""
    return (x[:, None] - y[None]).square().sum(2).sqrt()


def expansion(x: Tensor, y: Tensor) -> Tensor:
    """The same as the second version takes them; below 0 for equal rows before the root, which makes no number."""
    return (x.square().sum(1, keepdim=True) + y.square().sum(1) - 2 * x @ y.T).clamp(min=0).sqrt()


def naive_kmeans(
    x: Tensor,
    centroids: Tensor,
    weight: Tensor,
    *,
    distance: Callable[[Tensor, Tensor], Tensor] = difference,
    rounds: int = 10,
    tolerance: float = 1e-4,
    draw: Callable[[], int] | None = None,
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Rows (T, C) around (K, C): centroids, labels, weights and rounds. `draw` gives a row for an empty cluster."""
    num_rounds = 0
    while num_rounds < rounds:
        num_rounds += 1
        label = distance(x, centroids).argmin(1)
        means, totals = [], []
        for cluster in range(len(centroids)):
            members = label == cluster
            total = weight[members].sum()
            totals.append(total)
            if total > 0:
                means.append((weight[members, None] * x[members]).sum(0) / total)
            else:
                means.append(x[draw()] if draw else centroids[cluster])
        mean = torch.stack(means)
        shift = (centroids - mean).norm(dim=1).sum()
        if shift < tolerance or shift == 0:
            break
        centroids = mean
    return centroids, label, torch.stack(totals), num_rounds


def naive_synopsis(
    frames: Tensor, num_kept: int, weight: Tensor, first: list[int], draw: Callable[[], int]
) -> tuple[list[Tensor], list[float], list[float], list[list[int]]]:
    """Ordered weighted k-means: frames, weights, times and members. `first` are places among unique rows, sorted."""
    if len(frames) <= num_kept:
        places = range(len(frames))
        return list(frames), [1.0] * len(frames), [float(place) for place in places], [[place] for place in places]
    rows = [frame.flatten() for frame in frames]
    unique = sorted({tuple(row.tolist()) for row in rows})
    begin = torch.tensor(unique, dtype=frames.dtype)
    if len(unique) < num_kept:
        label = [unique.index(tuple(row.tolist())) for row in rows]
        centroids, total = begin, torch.ones(len(unique))
    else:
        centroids, labels, total, _ = naive_kmeans(
            torch.stack(rows), begin[first[:num_kept]], weight, distance=expansion, draw=draw
        )
        label = labels.tolist()
    clusters = []
    for number in range(len(centroids)):
        members = [place for place in range(len(rows)) if label[place] == number]
        if members:
            time = sum(members) / len(members)
            clusters.append((time, number, centroids[number].reshape(frames.shape[1:]), float(total[number]), members))
    clusters.sort(key=lambda cluster: cluster[:2])
    padding = range(max(0, num_kept - len(unique)))
    return (
        [frames[place] for place in padding] + [cluster[2] for cluster in clusters],
        [1.0 for _ in padding] + [cluster[3] for cluster in clusters],
        [float(place) for place in padding] + [cluster[0] for cluster in clusters],
        [[place] for place in padding] + [cluster[4] for cluster in clusters],
    )


class NaiveFlashStream:
    """v2 fed clip by clip: all frames in one tensor that is made anew with each clip, searched from end to end."""

    def __init__(self, synopsis_frames: int, detail_frames: int, draws: Callable[[int, int], list[int]]) -> None:
        self.synopsis_frames, self.detail_frames, self.draws = synopsis_frames, detail_frames, draws
        self.big = self.small = self.frames = self.weight = torch.empty(0)
        self.detail = self.big

    def write(self, big: Tensor, small: Tensor) -> tuple[Tensor, Tensor]:
        """The frames of the synopsis, and distances (n, N) of all frames from the heaviest of them."""
        self.big, self.small = torch.cat([self.big, big]), torch.cat([self.small, small])
        listed = torch.cat([self.frames, small])
        weight = torch.cat([self.weight, torch.ones(len(small))])
        num_unique = len(listed.flatten(1).unique(dim=0))
        first = self.draws(num_unique, self.synopsis_frames) if len(listed) > self.synopsis_frames else []
        frames, total, _, _ = naive_synopsis(listed, self.synopsis_frames, weight, first, lambda: 0)
        self.frames, self.weight = torch.stack(frames), torch.tensor(total)
        heaviest = self.weight.argsort(descending=True, stable=True)[: self.detail_frames]
        rows, centroids = self.small.flatten(1), self.frames[heaviest].flatten(1)
        distance = expansion(centroids, rows)
        self.detail = self.big[distance.argmin(1)]
        return self.frames, distance
