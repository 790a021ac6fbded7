"""Flash-VStream against numbers from running its code. Tolerances are those of the fixtures' description."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vidmem.memory.kmeans import Clusters, kmeans
from vidmem.memory.policies.flash_vstream_reference import (
    SemanticAttention,
    StarConfig,
    StarStream,
    abstract_memory,
    group_tokens,
    pool_tokens,
    star_memory,
    temporal_memory,
)
from vidmem.memory.policies.flash_vstream_sequence import KeptFrames, reduce_neighbours, reduce_pairs

from .check_flash_memory import check_flash, check_flash_stream, check_patches, check_synopsis
from .fixture import Fixture, padded
from .recorded import Recorded, rows_like

NAN = float("nan")


def group_of(name: str) -> str:
    return name.split("__")[0]


def check_of(group: str) -> Callable[[Fixture, str], None] | None:
    for prefix, check in {
        "wk_": check_weighted_kmeans,
        "seq": check_sequence,
        "csm_": check_synopsis,
        "flash_": check_flash,
        "star_": check_star,
    }.items():
        if group.startswith(prefix):
            return check
    return {
        "km": check_kmeans,
        "abs": check_abstract,
        "star": check_weights,
        "stream": check_star_stream,
        "pool": check_pooling,
        "fpool": check_patches,
        "rt": check_flash_stream,
    }.get(group)


def check_weighted_kmeans(fixture: Fixture, group: str) -> None:
    x, weight = fixture[f"{group}__x"], fixture[f"{group}__w_in"]
    (num_kept,) = fixture.ints(f"{group}__k")
    first, fill = fixture.ints(f"{group}__init_idx"), fixture.ints(f"{group}__fill_idx")
    draws = Recorded(first, fill)
    got = temporal_memory(x, num_kept, draws=draws, weight=weight)
    draws.assert_used_up()
    same_clusters(fixture, group, got)
    fixture.close(f"{group}__w_out", got.weight, atol=1e-5)
    # Stopped after each number of rounds: the centroids that the next round begins with, and the labels.
    rows, num_rounds = x.flatten(1), int(got.num_rounds)
    centroids, labels = [rows[first]], []
    for rounds in range(1, num_rounds + 1):
        partial = kmeans(
            rows, rows[first], weight=weight, rounds=rounds, tolerance=1e-4, refill=Recorded(repeated=fill).any
        )
        centroids.append(partial.centroids)
        labels.append(partial.label)
    trace, label_trace = fixture[f"{group}__trace"], fixture[f"{group}__label_trace"]
    fixture.close(f"{group}__trace", stacked(centroids[:num_rounds], trace), atol=1e-5)
    fixture.same(f"{group}__label_trace", stacked(labels, label_trace))


def check_kmeans(fixture: Fixture, group: str) -> None:
    rows = fixture[f"{group}__x"].flatten(1)
    same_clusters(fixture, group, kmeans(rows, rows[fixture.ints(f"{group}__init_idx")], tolerance=1e-4))


def same_clusters(fixture: Fixture, group: str, got: Clusters) -> None:
    shape = fixture[f"{group}__x"].shape[1:]
    fixture.close(f"{group}__centroids", got.centroids.unflatten(1, shape), atol=1e-5)
    fixture.same(f"{group}__labels", got.label)
    fixture.same(f"{group}__n_iter", got.num_rounds[None])


def check_sequence(fixture: Fixture, group: str) -> None:
    x = fixture["seq__x"]
    (num_kept,) = fixture.ints("seq__k")
    if group == "seq":
        return
    reduce = {"merge": reduce_neighbours, "drop": reduce_neighbours, "kmerge": reduce_pairs, "kdrop": reduce_pairs}[
        group.removeprefix("seq_")
    ]
    drop_later = None
    if f"{group}__coins" in fixture:
        later = 1 if group == "seq_drop" else 0
        drop_later = [coin == later for coin in fixture.ints(f"{group}__coins")]
    got = reduce(x, num_kept, drop_later=drop_later)
    fixture.close(f"{group}__out", got.frames, atol=1e-4 if group == "seq_kmerge" else 1e-5)
    if f"{group}__sim" in fixture:
        fixture.close(f"{group}__sim", torch.tensor(got.similarities), atol=1e-5)
    steps = [reduce(x[:num], num_kept, drop_later=drop_later) for num in range(num_kept, len(x) + 1)]
    fixture.same(f"{group}__members", members_of(steps, fixture[f"{group}__members"]))


def members_of(steps: Sequence[KeptFrames], like: Tensor) -> Tensor:
    assert len(steps) == len(like)
    return torch.stack([padded(step.members, table, -1) for step, table in zip(steps, like, strict=True)])


def check_abstract(fixture: Fixture, group: str) -> None:
    x, want = fixture[f"{group}__x"], fixture[f"{group}__steps"]
    (num_kept,) = fixture.ints(f"{group}__len")
    ratio, attention = float(fixture[f"{group}__ratio"]), attention_of(fixture, group)
    ends = [min(num_kept * (step + 2), len(x)) for step in range(len(want))]
    memories = [abstract_memory(x[:end], num_kept, ratio=ratio, attention=attention) for end in ends]
    fixture.close(f"{group}__steps", torch.stack(memories).reshape(want.shape), atol=1e-5)
    fixture.close(f"{group}__out", memories[-1], atol=1e-5)


def attention_of(fixture: Fixture, group: str) -> SemanticAttention:
    names = ("q_proj_weight", "q_proj_bias", "k_proj_weight", "k_proj_bias")
    return SemanticAttention(*(fixture[f"{group}__{name}"] for name in names))


def check_weights(fixture: Fixture, group: str) -> None:
    """They are used by the `star_*` and `stream` groups; here, that they are of one projection."""
    attention = attention_of(fixture, group)
    assert attention.query_weight.shape == attention.key_weight.shape
    assert len(attention.query_bias) == len(attention.key_bias) == len(attention.query_weight)


def star_config(fixture: Fixture) -> StarConfig:
    """Sizes of the STAR groups, which hold for all of them, as the longest video shows them."""
    shapes = {name: fixture[f"star_main__{name}"].shape for name in ("abstract", "temporal", "spatial", "key_idx")}
    (num_key,) = shapes["key_idx"]
    return StarConfig(
        frame_side=math.isqrt(shapes["spatial"][1]),
        num_current=shapes["spatial"][0] - num_key,
        num_key=num_key,
        temporal_frames=shapes["temporal"][0],
        temporal_side=math.isqrt(shapes["temporal"][1]),
        abstract_frames=shapes["abstract"][0],
        abstract_side=math.isqrt(shapes["abstract"][1]),
    )


def check_star(fixture: Fixture, group: str) -> None:
    x, config, attention = fixture[f"{group}__x"], star_config(fixture), attention_of(fixture, "star")
    first, fill = fixture.ints(f"{group}__init_idx"), fixture.ints(f"{group}__fill_idx")
    draws = Recorded(first, fill)
    got = star_memory(x, config, draws=draws, attention=attention)
    draws.assert_used_up()
    fixture.close(f"{group}__memory", got.sequence, atol=1e-5)
    for name in ("abstract", "temporal", "spatial"):
        fixture.close(f"{group}__{name}", getattr(got, name), atol=1e-5)
    if f"{group}__order" not in fixture:
        return
    fixture.same(f"{group}__order", got.order)
    fixture.close(f"{group}__weight", got.weight, atol=1e-5)
    fixture.same(f"{group}__key_idx", got.key_index)
    meant = star_memory(x, config, draws=Recorded(first, fill), attention=attention, key_rule="paper").key_index
    acceptable = fixture[f"{group}__paper_key_ok"]
    assert bool(acceptable[torch.arange(len(meant)), meant].all()), f"{group}: key frames {meant.tolist()}"
    if bool((acceptable.sum(1) == 1).all()):
        fixture.same(f"{group}__paper_key_idx", meant)
    else:  # The reference's own choice has to be acceptable too.
        assert bool(acceptable[torch.arange(len(meant)), fixture[f"{group}__paper_key_idx"]].all())


def check_star_stream(fixture: Fixture, group: str) -> None:
    x, config, attention = fixture[f"{group}__x"], star_config(fixture), attention_of(fixture, "star")
    clips = x.split(fixture.ints(f"{group}__chunks"))
    rows = zip(clips, fixture[f"{group}__init_idx"], fixture[f"{group}__fill_idx"], strict=True)
    stream, stars = None, []
    for clip, first, fill in rows:
        draws = Recorded(first.tolist(), fill.tolist())
        if stream is None:
            stream = StarStream(config, draws=draws, attention=attention)
        stream.draws = draws
        stars.append(stream.write(clip))
        draws.assert_used_up()
    for name, count, part in (
        ("long", "n_long", "temporal"),
        ("abs", "n_abs", "abstract"),
        ("spatial", "n_spatial", "spatial"),
    ):
        parts = [getattr(star, part) for star in stars]
        fixture.same(f"{group}__{count}", [len(one) for one in parts])
        fixture.close(f"{group}__{name}", torch.cat(parts), atol=1e-5)
    fixture.same(f"{group}__key_idx", rows_like(fixture, f"{group}__key_idx", [star.key_index for star in stars], -1))
    weight = rows_like(fixture, f"{group}__weight", [star.weight for star in stars], NAN)
    fixture.close(f"{group}__weight", weight, atol=1e-5)


def check_pooling(fixture: Fixture, group: str) -> None:
    x = fixture[f"{group}__x"]
    for name in ("to2", "to1"):
        side = math.isqrt(fixture[f"{group}__{name}"].shape[1])
        fixture.close(f"{group}__{name}", pool_tokens(x, side), atol=1e-5)
    fixture.close(f"{group}__regroup2x2", group_tokens(x), atol=0)


def stacked(tensors: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.stack(list(tensors)) if tensors else like.new_empty(like.shape)
