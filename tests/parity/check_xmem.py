"""XMem's pure functions against numbers from running its code; its memory is in `check_xmem_memory`."""

from __future__ import annotations

from collections.abc import Callable

import torch

from vidmem.memory.policies.xmem import above_threshold, counts_long_term_usage
from vidmem.memory.schedule import schedule_frames
from vidmem.memory.segmentation import (
    Convolution,
    aggregate_objects,
    fuse_scales,
    padding_to_stride,
    project_keys,
    update_sensory,
)
from vidmem.memory.similarity import affinity, anisotropic_similarity, readout

from .check_xmem_memory import check_memory
from .fixture import Fixture

ATOL, RTOL = 1e-5, 1e-4
VARIANTS = {"ms_qe": (True, True), "qe": (False, True), "ms": (True, False), "plain": (False, False)}


def group_of(name: str) -> str:
    return name.split("_")[0]


def check_of(group: str) -> Callable[[Fixture, str], None] | None:
    if group.startswith("obs") and group[3:].isdigit():
        return check_eviction
    return {
        "sim": check_similarity,
        "smx": check_affinity,
        "read": check_readout,
        "agg": check_aggregation,
        "gru": check_sensory,
        "kproj": check_projection,
        "pad": check_padding,
        "sched": check_schedule,
        "flag": check_usage_flag,
        "lt": check_memory,
        "mg": check_memory,
    }.get(group)


def check_similarity(fixture: Fixture, group: str) -> None:
    key, shrinkage = fixture["sim_mk"].mT, fixture["sim_ms"].squeeze(1)
    query, selection = fixture["sim_qk"].flatten(2).mT, fixture["sim_qe"].flatten(2).mT
    for name, (shrinks, selects) in VARIANTS.items():
        got = anisotropic_similarity(
            key, query, shrinkage=shrinkage if shrinks else None, selection=selection if selects else None
        )
        fixture.close(f"sim_out_{name}", got, atol=ATOL, rtol=RTOL)


def check_affinity(fixture: Fixture, group: str) -> None:
    (top_k,) = fixture.ints("smx_top_k")
    for variant in VARIANTS:
        similarity = fixture[f"sim_out_{variant}"]
        for kind, weight in (("full", affinity(similarity)), ("topk", affinity(similarity, top_k=top_k))):
            fixture.close(f"smx_{kind}_{variant}", weight, atol=ATOL, rtol=RTOL)
            fixture.close(f"smx_{kind}_usage_{variant}", weight.sum(-1), atol=ATOL, rtol=RTOL)
    low = fixture["smx_underflow_in"]
    fixture.close("smx_underflow_full", affinity(low), atol=ATOL, rtol=RTOL)
    # Where the reference has NaN, for want of subtracting the maximum, we have to be right instead.
    coded, ours = fixture["smx_underflow_top2"], affinity(low, top_k=2)
    torch.testing.assert_close(ours[~coded.isnan()], coded[~coded.isnan()], atol=ATOL, rtol=RTOL)
    torch.testing.assert_close(ours.sum(-2), torch.ones_like(ours.sum(-2)))


def check_readout(fixture: Fixture, group: str) -> None:
    value = fixture["read_mv"].flatten(2).mT
    height, width = fixture["read_mv"].shape[-2:]
    for variant in VARIANTS:
        for kind in ("full", "topk"):
            got = readout(fixture[f"smx_{kind}_{variant}"], value).mT.unflatten(2, (height, width))
            fixture.close(f"read_{kind}_{variant}", got, atol=ATOL, rtol=RTOL)


def check_aggregation(fixture: Fixture, group: str) -> None:
    got = aggregate_objects(fixture["agg_prob_in"])
    fixture.close("agg_logits", got.logits, atol=ATOL, rtol=RTOL)
    fixture.close("agg_prob_out", got.probability, atol=ATOL, rtol=RTOL)


def check_sensory(fixture: Fixture, group: str) -> None:
    def convolution(name: str) -> Convolution:
        return Convolution(fixture[f"gru_{name}_w"], fixture[f"gru_{name}_b"])

    state = fixture["gru_h_in"].flatten(0, 1)
    scales = [fixture[f"gru_g{stride}"].flatten(0, 1) for stride in (16, 8, 4)]
    fused = fuse_scales(scales, [convolution(f"g{stride}_conv") for stride in (16, 8, 4)])
    normal = update_sensory(state, fused, convolution("transform"))
    fixture.close("gru_h_out", normal.view_as(fixture["gru_h_in"]), atol=ATOL, rtol=RTOL)
    deep = update_sensory(state, fixture["gru_deep_g"].flatten(0, 1), convolution("deep"))
    fixture.close("gru_deep_h_out", deep.view_as(fixture["gru_h_in"]), atol=ATOL, rtol=RTOL)


def check_projection(fixture: Fixture, group: str) -> None:
    heads = [
        Convolution(fixture[f"kproj_{name}_proj_w"], fixture[f"kproj_{name}_proj_b"]) for name in ("key", "d", "e")
    ]
    got = project_keys(fixture["kproj_x"], *heads)
    fixture.close("kproj_key", got.key, atol=ATOL, rtol=RTOL)
    fixture.close("kproj_shrinkage", got.shrinkage, atol=ATOL, rtol=RTOL)
    fixture.close("kproj_selection", got.selection, atol=ATOL, rtol=RTOL)


def check_padding(fixture: Fixture, group: str) -> None:
    fixture.same("pad_lrtb", [padding_to_stride(height, width) for height, width in fixture["pad_hw"].tolist()])


def check_eviction(fixture: Fixture, group: str) -> None:
    frequency = fixture[f"{group}_use"] / fixture[f"{group}_life"]
    (num_kept,) = fixture.ints(f"{group}_max_size")
    fixture.same(f"{group}_survivors", above_threshold(frequency, num_kept))


def check_schedule(fixture: Fixture, group: str) -> None:
    logs = []
    num_frames = fixture["sched_log"].shape[1]
    for memory_every, deep_update_every, covers_all, second_mask in fixture["sched_cfg"].tolist():
        masks = {0: True} | ({second_mask: bool(covers_all)} if second_mask else {})
        steps = schedule_frames(num_frames, masks, memory_every=memory_every, deep_update_every=deep_update_every)
        logs.append(
            [
                [
                    step.reads,
                    step.updates_sensory,
                    step.writes,
                    step.writes,
                    step.updates_sensory_deeply,
                    step.encodes_selection,
                ]
                for step in steps
            ]
        )
    fixture.same("sched_log", logs)


def check_usage_flag(fixture: Fixture, group: str) -> None:
    flags = [
        counts_long_term_usage(length, max_frames=10, min_frames=5, num_prototypes=128, max_elements=10_000)
        for length in fixture.ints("flag_video_len")
    ]
    fixture.same("flag_count_usage", flags)
