"""MC-ViT's consolidation against numbers transcribed from its description: there is no official code."""

from __future__ import annotations

import torch

from vidmem.memory.coreset import farthest_points
from vidmem.memory.kmeans import kmeans

from .fixture import Fixture


def check(fixture: Fixture, group: str) -> None:
    z = fixture[f"{group}__z"]
    (start_index,) = fixture.ints(f"{group}__coreset_start")
    num_kept = len(fixture[f"{group}__coreset_idx"])
    fixture.same(f"{group}__coreset_idx", farthest_points(z, num_kept, start_index=start_index))
    clusters = kmeans(z, z[torch.tensor(fixture.ints(f"{group}__kmeans_init"))], rounds=5)
    fixture.close(f"{group}__kmeans_centroids", clusters.centroids, atol=1e-5)
    fixture.same(f"{group}__kmeans_labels", clusters.label)
