"""The coded forms of policies do what their lines say, by the numbers of the reference functions, and ours do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from vidmem.bench.coded_policies import CODED, coded_memory
from vidmem.memory import Elements, Memory, MemoryConfig, policies, policy_names
from vidmem.memory.kmeans import SeededDraws
from vidmem.memory.policies.event_reference import coded_boundaries
from vidmem.memory.policies.flash_vstream_reference import temporal_memory
from vidmem.memory.policies.hermes_reference import compress_windows
from vidmem.memory.policies.hippomm_reference import key_frames
from vidmem.memory.policies.infinity_video_reference import update
from vidmem.memory.policies.moviechat_reference import consolidate_windows
from vidmem.memory.policies.pyramid_reference import CodedBank
from vidmem.memory.resolution import resample

TOKENS, WIDTH, KEY = 16, 3, 8


def frames_of(key: Tensor, value: Tensor) -> Elements:
    starts = torch.arange(float(len(key)), dtype=torch.float64)
    return Elements.fresh(key, value, torch.stack([starts, starts + 1], dim=1))


def random_frames(num: int, seed: int = 0) -> Elements:
    generator = torch.Generator().manual_seed(seed)
    key = functional.normalize(torch.randn(num, KEY, generator=generator), dim=1)
    return frames_of(key, torch.randn(num, TOKENS, WIDTH, generator=generator))


def config(name: str, stretch: int, max_elements: int, **options: object) -> MemoryConfig:
    """All frames but one leave working memory, `stretch` at a time."""
    return MemoryConfig(
        working_max_frames=stretch,
        working_min_frames=1,
        max_elements=max_elements,
        policy=name,
        policy_options=options,
    )


def both(settings: MemoryConfig, frames: Elements) -> tuple[Memory, Memory]:
    """The coded form and ours, after the frames."""
    memories = coded_memory(settings), Memory(settings)
    for memory in memories:
        memory.write(frames)
    return memories


def starts(memory: Memory, level: int = 0) -> list[float]:
    return memory.long_term.held[level].span_seconds[:, 0].tolist()


def test_each_says_in_one_line_what_is_coded_and_is_in_no_public_list() -> None:
    ours = {info.name: info.summary for info in policies()}
    assert set(CODED) < set(policy_names())
    for name, kind in CODED.items():
        summary = (kind.__doc__ or "").partition("\n")[0]
        assert summary.endswith((".", ":")) and summary != ours[name]
        assert not isinstance(Memory(config(name, 4, 8)).policy, kind)
        assert isinstance(coded_memory(config(name, 4, 8)).policy, kind)
    with pytest.raises(KeyError):
        coded_memory(config("window", 4, 8))


@pytest.mark.parametrize("name", CODED)
def test_bounds_and_order_hold_and_a_read_is_whole(name: str) -> None:
    memory, frames = coded_memory(config(name, 7, 24)), random_frames(200)
    for first in range(0, 200, 9):
        memory.write(frames[first : first + 9])
        for held, level in zip(memory.long_term.held, memory.long_term.levels, strict=True):
            assert len(held) <= level.max_elements
            assert bool((held.span_seconds[1:, 0] >= held.span_seconds[:-1, 0]).all())
            assert bool((held.weight > 0).all())
    readout = memory.read(frames.key[190:192])
    torch.testing.assert_close(readout.affinity.sum(0), torch.ones(2))
    assert bool(readout.value.isfinite().all()) and len(memory.long_term) > 0


def test_moviechats_port_writes_the_averages_it_carries_again() -> None:
    frames = random_frames(19)
    coded = coded_memory(config("moviechat", 6, 50))
    coded.write(frames)
    told = consolidate_windows(frames.value[:18].split(6), short_capacity=8, merge_to=2).long
    torch.testing.assert_close(coded.long_term.elements.value, told)
    assert all(start >= 6 * (place // 2) for place, start in enumerate(starts(coded)))
    # One picture after another: what was carried of the first stays by itself, and the port tells it once more.
    pictures = torch.eye(WIDTH)[[0] * 6 + [1] * 7][:, None].repeat(1, TOKENS, 1)
    coded, ours = both(config("moviechat", 6, 50, carry_over=True), frames_of(frames.key[:13], pictures))
    assert coded.long_term.elements.value[:, 0].argmax(1).tolist() == [0, 0, 0, 1]
    assert ours.long_term.elements.value[:, 0].argmax(1).tolist() == [0, 0, 1]


@pytest.mark.parametrize(("stretch", "kept"), [(3, 3), (6, 1)])
def test_moviechat_pluss_gate_goes_by_the_number_of_frames(stretch: int, kept: int) -> None:
    frames = random_frames(stretch + 1)
    for question, ours_kept in ((frames.key[0], 3), (-frames.key[:stretch].sum(0), 1)):
        options = {"question": question, "relevance_threshold": 0.9}
        coded, ours = both(config("moviechat+", stretch, 50, **options), frames)
        assert len(coded.long_term) == kept
        assert len(ours.long_term) == ours_kept


def test_xmem_loses_all_that_was_never_read_when_it_is_full() -> None:
    settings, frames = config("xmem", 5, 8, num_prototypes=2, top_k=1), random_frames(26)
    coded, ours = both(settings, frames[:21])
    assert len(coded.long_term) == len(ours.long_term) == 8 and not coded.long_term.elements.usage.any()
    coded.read(coded.long_term.elements.key[3:4])
    read = starts(coded)[3]
    coded.write(frames[21:])
    ours.write(frames[21:])
    assert starts(coded) == [read, 20.0, 21.0]
    assert len(ours.long_term) == 8


def test_flash_vstreams_whole_frames_are_the_first_of_the_video() -> None:
    coded, ours = both(config("flash-vstream", 6, 30), random_frames(61))
    assert starts(coded, 1) == [*range(coded.long_term.levels[1].max_elements)]
    assert max(starts(ours, 1)) > 50


def test_flash_vstreams_clusters_begin_at_random_and_forget_their_weight() -> None:
    settings, frames = config("flash-vstream", 6, 9, max_clusters=10), random_frames(25)
    coded = coded_memory(settings)
    coded.write(frames[:19])
    before = coded.long_term.held[0]
    # What two clusterings made of 18 frames: the second counted ten clusters as one each, and six frames.
    assert before.weight.sum(0).tolist() == [16.0] * 4
    listed = torch.cat([before.value, resample(frames.value[18:24], 4)])
    draws = SeededDraws(torch.Generator().manual_seed(18))
    told = temporal_memory(listed, 10, draws=draws)
    coded.write(frames[19:])
    clusters = coded.long_term.held[0]
    of_value = clusters.value.flatten(1)[:, 0].sort()
    of_told = told.centroids[told.weight > 0][:, 0].sort()
    torch.testing.assert_close(of_value.values, of_told.values)
    assert torch.equal(clusters.weight[of_value.indices, 0], told.weight[told.weight > 0][of_told.indices])


def test_infinity_video_loses_the_newest_frame_of_a_later_stretch() -> None:
    first, other = random_frames(13), random_frames(13)
    other.value[11] += 5
    settings = config("infinity-video", 6, 8)
    (coded, ours), (coded_other, ours_other) = both(settings, first), both(settings, other)
    assert torch.equal(coded.long_term.elements.value, coded_other.long_term.elements.value)
    assert not torch.equal(ours.long_term.elements.value, ours_other.long_term.elements.value)
    one = coded_memory(settings)
    one.write(first[:7])
    fitted = update(None, first.value[:6].flatten(1), num_coefficients=8, tau=0.9)
    torch.testing.assert_close(one.long_term.elements.value.flatten(1), fitted)
    assert starts(coded) == sorted(starts(coded)) and starts(coded)[0] == 0


def test_infinity_video_shuffles_the_past() -> None:
    number = torch.arange(1.0, 42.0)
    frames = frames_of(random_frames(41).key, number[:, None, None].repeat(1, TOKENS, WIDTH))
    coded, ours = both(config("infinity-video", 20, 16), frames)
    of_past = {name: memory.long_term.elements.value[:8, 0, 0] for name, memory in (("coded", coded), ("ours", ours))}
    assert bool((of_past["ours"].diff() > 0).all())
    assert bool((of_past["coded"].diff() < 0).any())


def test_the_pyramid_loses_what_is_pushed_out_by_what_comes_down() -> None:
    frames = frames_of(torch.ones(31, KEY), torch.ones(31, TOKENS, WIDTH))
    settings = config("pyramid", 5, 4, intervals=(1, 1, 1), shares=(2, 1, 1))
    coded, ours = both(settings, frames)
    bank = CodedBank([level.max_elements for level in coded.long_term.levels], (16, 4, 1))
    for number in range(30):
        bank.write(torch.ones(WIDTH, 4, 4), number, ratio=1)
    assert [starts(coded, level) for level in range(3)] == [
        [entry.frame_index for entry in level] for level in bank.levels
    ]
    assert len(ours.long_term.held[2]) == ours.long_term.levels[2].max_elements and not starts(coded, 2)


def test_hippomm_keeps_what_is_below_nine_tenths_and_forgets_the_oldest() -> None:
    frames = random_frames(61)
    frames.key[:, 2:] = 0
    coded, ours = both(config("hippomm", 6, 100), frames)
    novel = key_frames(frames.key[:60])
    assert starts(coded) == [float(place) for place in novel]
    assert len(coded.long_term) < len(ours.long_term)
    bounded, ours = both(config("hippomm", 6, 4), frames)
    assert len(bounded.long_term) == 4 and min(starts(bounded)) > 20
    assert min(starts(ours)) == 0


def by_turns(turns: list[float]) -> Elements:
    """Frames whose keys turn from one to the next by so many radians."""
    angle = torch.tensor([0.0, *turns], dtype=torch.float64).cumsum(0)
    return frames_of(torch.stack([angle.cos(), angle.sin()], dim=1).float(), torch.ones(len(angle), TOKENS, WIDTH))


@pytest.mark.parametrize(
    ("turns", "event_starts"),
    [
        ([0.02] * 8 + [0.5, 0.6, 0.5] + [0.02] * 8, [0.0, 9.0, 10.0, 11.0]),  # slopes
        ([0.02, 0.02, 0.03, 0.02, 0.02, 0.02, 0.04, 0.02, 0.02], [0.0, 3.0, 7.0]),  # stillness
    ],
)
def test_scene_tilling_cuts_slopes_and_stillness(turns: list[float], event_starts: list[float]) -> None:
    frames = by_turns([*turns, 0.0])
    coded, ours = both(config("event", len(frames) - 1, 100, gist_share=0.5), frames)
    boundaries = coded_boundaries(frames.key[:-1])
    assert starts(coded, 1) == event_starts == [0.0, *(float(place + 1) for place in boundaries[:-1])]
    assert len(starts(ours, 1)) < len(event_starts)


def test_hermes_keeps_twenty_episodes_of_each_token_and_the_first_stretch_whole() -> None:
    settings, frames = config("hermes", 24, 200), random_frames(73)
    banks = list(compress_windows(frames.value[None, :72], window=24, capacity=20))
    coded = coded_memory(settings)
    for bank, part in zip(banks, (frames[:25], frames[25:49], frames[49:]), strict=True):
        coded.write(part)
        torch.testing.assert_close(coded.long_term.elements.value, bank[0])
    assert [bank.shape[1] for bank in banks] == [24, 20, 20]
    ours = Memory(settings)
    ours.write(frames)
    assert len(ours.long_term) == 72


def test_mc_vits_bounded_variant_forgets_the_oldest() -> None:
    coded, ours = both(config("mc-vit", 8, 16, num_memories=4), random_frames(81))
    assert min(starts(coded)) > 40 and min(starts(ours)) < 20
    forgetting = Memory(config("mc-vit", 8, 16, num_memories=4, when_full="forget"))
    forgetting.write(random_frames(81))
    assert torch.equal(forgetting.long_term.elements.value, coded.long_term.elements.value)
