"""The state machine that decides whether a stream is alive, moved through time by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vidmem.ingest.live.address import parse_address
from vidmem.ingest.live.link import Link, Patience, Phase
from vidmem.ingest.live.loss import Loss, error_for

PATIENCE = Patience()


def live(now: float = 1.0) -> Link:
    return Link.begun(0.0, PATIENCE).heard(now).shown(now)


def test_silence_means_something_else_before_and_after_the_first_picture() -> None:
    connecting = Link.begun(0.0, PATIENCE)
    assert (connecting.phase, connecting.deadline, connecting.silence) == (Phase.CONNECTING, 10.0, Loss.SILENT)
    assert (live().phase, live().deadline, live().silence) == (Phase.LIVE, 6.0, Loss.FROZEN)


def test_every_packet_puts_the_deadline_off() -> None:
    assert live().heard(4.0).deadline == 9.0
    assert Link.begun(0.0, PATIENCE).heard(4.0).deadline == 14.0


def test_an_outage_lasts_from_the_loss_until_the_next_picture() -> None:
    lost = live().lost(50.0, Loss.CLOSED, luck=0.0)
    again = lost.retried(51.0).lost(52.0, Loss.REFUSED, luck=0.0).retried(53.0)
    assert (lost.phase, again.phase) == (Phase.WAITING, Phase.CONNECTING)
    assert lost.lost_since == again.lost_since == 50.0
    assert again.shown(54.0).lost_since is None
    assert again.shown(54.0).epoch == 2


def test_pauses_double_up_to_the_longest() -> None:
    link, pauses = live(), []
    for _ in range(8):
        link = link.lost(100.0, Loss.REFUSED, luck=1.0)
        pauses.append(link.deadline - 100.0)
        link = link.retried(100.0)
    assert pauses == [0.25, 0.5, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0]


def test_a_server_that_drops_whoever_comes_is_not_hammered() -> None:
    link = live()
    for _ in range(6):
        link = link.lost(100.0, Loss.CLOSED, luck=0.0).retried(100.0).shown(100.0).heard(100.5)
    assert link.lost(101.0, Loss.CLOSED, luck=1.0).deadline - 101.0 == 3.0
    assert link.heard(106.0).lost(107.0, Loss.CLOSED, luck=1.0).deadline - 107.0 == 0.25


def test_a_refused_password_is_not_tried_again_soon() -> None:
    assert live().lost(0.0, Loss.UNAUTHORIZED, luck=0.0).deadline >= 30.0


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Loss)), st.floats(0.0, 1.0, exclude_max=True), st.floats(0.0, 100.0)),
        max_size=50,
    )
)
def test_whoever_waits_for_a_server_never_waits_longer_than_the_longest_pause(
    losses: list[tuple[Loss, float, float]],
) -> None:
    link, now = live(), 1.0
    for why, luck, passed in losses:
        now += passed
        link = link.lost(now, why, luck=luck)
        is_refused = why in (Loss.UNAUTHORIZED, Loss.FORBIDDEN)
        assert 0.0 < link.deadline - now <= (60.0 if is_refused else 3.0)
        now = link.deadline
        link = link.retried(now)
    assert link.failures == len(losses)


def test_every_loss_has_an_error_of_one_sentence_that_names_the_stream() -> None:
    address = parse_address("rtsp://root:5ecr3t@cam/1")
    for why in Loss:
        message = str(error_for(why, address))
        assert message.startswith("rtsp://cam/1 ") and message.endswith((".", "?")) and "\n" not in message
        assert "5ecr3t" not in message
    there = str(error_for(Loss.NO_CAMERA, parse_address("webcam:7"), ("webcam:0 (Cam)",)))
    assert there == "webcam:7 is no camera of this machine: there is webcam:0 (Cam)."
