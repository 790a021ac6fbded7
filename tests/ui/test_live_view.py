"""What the Live screen says of a stream: whether all is well, and if not, what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vidmem.index import AlertId, StoredAlert, Told, ToldId
from vidmem.ingest import Health
from vidmem.ingest.live import Phase
from vidmem.pipelines import WatchState
from vidmem.types import Hit, VideoId
from vidmem.ui.jobs import JobState
from vidmem.ui.live_view import Alert, Stream, live_view, mood

HEALTHY = Health(Phase.LIVE, 0.2, 25.0, pictures=1000, frames=40, width=640, height=360)
STATE = WatchState(
    VideoId("0" * 16), "rtsp://camera/", True, HEALTHY, taken=40, thinned=0, committed=39, clips=20, gaps=0, stride=1,
    fps_kept=1.0, lag_seconds=0.4, waited_seconds=None,
)  # fmt: skip


def stream(**source: object) -> Stream:
    return Stream("k", replace(STATE, source=replace(HEALTHY, **source)), 39.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "told, colour, says",
    [
        (stream(), "good", "All is well."),
        (stream(state=Phase.CONNECTING), "warning", "Connecting to it."),
        (
            stream(state=Phase.WAITING, outage_seconds=75.0, reason="the stream froze"),
            "bad",
            "Lost for 01:15: the stream froze. It is taken up again by itself.",
        ),
        (
            stream(state=Phase.CONNECTING, outage_seconds=75.0, reason="the stream froze"),
            "bad",
            "Lost for 01:15: the stream froze.",
        ),
        (stream(last_frame_age_seconds=4.0), "warning", "No picture came for 4.0 s."),
        (replace(stream(), state=replace(STATE, lag_seconds=9.0)), "warning", "It comes faster than"),
        (replace(stream(), state=replace(STATE, is_running=False)), "over", "It has ended"),
        (replace(stream(), failure="The disk is full."), "bad", "The disk is full."),
    ],
)
def test_a_stream_is_told_in_one_colour_and_one_sentence(told: Stream, colour: str, says: str) -> None:
    found = mood(told)
    assert found[0] == colour and found[1].startswith(says)


def test_what_the_page_gets_is_json_with_each_number_named() -> None:
    lossy = replace(stream(dropped=1200, reconnects=3), state=replace(STATE, source=replace(HEALTHY, dropped=1200)))
    jobs = [JobState(4, "connect", "s", "rtsp://other/", phase="failed", message="It refused the connection.")]
    told = live_view([stream(reconnects=3), lossy], jobs, chosen="k")
    assert json.loads(json.dumps(told)) == told
    first = {fact["name"]: fact["value"] for fact in told["streams"][0]["facts"]}
    assert first == {
        "Newest picture": "0.2 s ago", "Pictures in": "25.0 a second", "Frames kept": "1.0 a second", "Behind": "0.4 s",
        "Passed over": "0", "Lost and back": "3", "Gaps": "0", "Damaged": "0", "Size": "640 x 360",
    }  # fmt: skip
    assert {"name": "Passed over", "value": "1,200"}.items() <= told["streams"][1]["facts"][4].items()
    assert told["streams"][0]["chosen"] and told["streams"][0]["seen"] == "00:39 in memory"
    assert told["jobs"][0] == {
        "id": 4, "subject": "rtsp://other/", "phase": "failed", "message": "It refused the connection.", "over": True,
    }  # fmt: skip


def test_an_alert_is_told_with_its_latest_pictures_and_where_they_lead() -> None:
    row = StoredAlert(
        "a dog appears", "a dog", "appears", False, False, 2.0, None, "", AlertId(7), "2026-01-01T00:00:00Z", False, 0
    )

    def said(number: int) -> Told:
        hit = Hit(
            STATE.video_id, "rtsp://camera/", 10.0 * number, 10.0 * number + 1, 0.9, 0, thumbnail=f"/{number}.jpg"
        )
        return Told(ToldId(number), AlertId(7), "a dog appears", f"A dog appeared at 12:00:{number}0", "", hit)

    often = replace(row, told=1500)
    asked = replace(stream(), alerts=[Alert(often, [said(number) for number in range(5)]), Alert(row, [])])
    told = live_view([asked], [])["streams"][0]
    assert json.loads(json.dumps(told)) == told and told["video"] == STATE.video_id
    first, second = told["alerts"]
    assert (first["id"], first["text"], first["state"]) == (7, "a dog appears", "told 1,500 times")
    assert [(one["at"], one["thumbnail"]) for one in first["told"]] == [
        (40.0, "/4.jpg"), (30.0, "/3.jpg"), (20.0, "/2.jpg"),
    ]  # fmt: skip
    assert (second["state"], second["told"]) == ("not told yet", [])
    done = replace(stream(), alerts=[Alert(replace(row, is_done=True, told=1), [said(1)])])
    assert live_view([done], [])["streams"][0]["alerts"][0]["state"] == "told once, and asked no more"


def test_before_the_first_picture_nothing_is_claimed() -> None:
    bare = replace(STATE, source=Health(), lag_seconds=None, committed=0)
    told = live_view([Stream("k", bare, 0.0)], [])["streams"][0]
    facts = {fact["name"]: fact["value"] for fact in told["facts"]}
    assert (facts["Newest picture"], facts["Behind"], facts["Size"]) == ("none yet", "–", "–")
    assert told["thumbnail"] == "" and not told["chosen"]
