"""VideoChat-Online's pyramid memory bank against numbers from running its code."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vidmem.memory.policies.pyramid_reference import CodedBank, Entry, coded_ratios, tokens_of, write_video
from vidmem.memory.pyramid import resize, space_to_channels

from .fixture import Fixture, padded


def group_of(name: str) -> str:
    return name.split("__")[0]


def check_of(group: str) -> Callable[[Fixture, str], None] | None:
    if group.startswith("bank_"):
        return check_bank
    return {
        "arrange": check_arrangement,
        "reduce": check_resize,
        "pixel_shuffle": check_shuffle,
        "stream": check_stream,
        "stream2": check_second_stream,
    }.get(group)


def check_arrangement(fixture: Fixture, group: str) -> None:
    for name in fixture.names:
        if group_of(name) == group:
            digits, num_frames = name.removeprefix("arrange__intervals_").split("_n")
            fixture.same(name, coded_ratios(int(num_frames), [int(digit) for digit in digits]))


def check_bank(fixture: Fixture, group: str) -> None:
    bank = CodedBank(fixture.ints(f"{group}__caps"), fixture.ints(f"{group}__sizes"))
    frames, trace = fixture[f"{group}__frames"], fixture[f"{group}__trace"]
    places: list[list[int]] = []
    indexes: list[Tensor] = []
    for index, (frame, ratio) in enumerate(zip(frames, fixture.ints(f"{group}__ratio"), strict=True)):
        places.append(bank.write(frame, index, ratio))
        held = [[entry.frame_index for entry in level] for level in bank.levels]
        indexes.append(padded(held, trace[index], -1))
    fixture.same(f"{group}__trace", torch.stack(indexes))
    if f"{group}__evict_pos" in fixture:
        fixture.same(f"{group}__evict_pos", padded(places, fixture[f"{group}__evict_pos"], -1))
    if f"{group}__out_index" in fixture:
        check_entries(fixture, bank.read(), f"{group}__out_index", f"{group}__out_ntok", f"{group}__out_tokens")


def check_entries(fixture: Fixture, entries: list[Entry], index: str, num_tokens: str, tokens: str) -> None:
    fixture.same(index, [entry.frame_index for entry in entries])
    fixture.same(num_tokens, [len(entry.tokens) for entry in entries])
    fixture.close(tokens, tokens_of(entries), atol=1e-5)


def check_resize(fixture: Fixture, group: str) -> None:
    for name in ("to64", "to16"):
        side = fixture[f"{group}__{name}"].shape[-1]
        fixture.close(f"{group}__{name}", resize(fixture[f"{group}__x"], side, mode="bilinear"), atol=1e-5)


def check_shuffle(fixture: Fixture, group: str) -> None:
    fixture.close(f"{group}__y", space_to_channels(fixture[f"{group}__x"]), atol=0)


def check_stream(fixture: Fixture, group: str) -> CodedBank:
    bank = CodedBank(fixture.ints("stream__caps"))
    write_video(bank, fixture["stream__vit"])
    check_entries(fixture, bank.read(), "stream__index", "stream__ntok", "stream__out")
    return bank


def check_second_stream(fixture: Fixture, group: str) -> None:
    bank = check_stream(fixture, "stream")
    write_video(bank, fixture[f"{group}__vit"], first_index=len(fixture["stream__vit"]))
    check_entries(fixture, bank.read(), f"{group}__index", f"{group}__ntok", f"{group}__out")
