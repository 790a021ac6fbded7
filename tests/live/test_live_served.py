"""Streams over HTTP and RTMP, and what awkward ones do to the frames."""

from __future__ import annotations

import io
import random
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import av
import pytest
from kills import frames_until
from PIL import Image
from served import folder, free_port, http, playing, says, streams

from vidmem.bench.live_camera import held
from vidmem.ingest import open_source
from vidmem.ingest.live import Gap, LiveConfig, LiveFrame, Patience, Phase, open_live
from vidmem.ingest.live.loss import Loss
from vidmem.types import View
from vidmem.world.counted import FPS, SIZE, VIEW, counted_video, number_of

PATIENT = LiveConfig(policy="block", patience=Patience(connect_seconds=60.0, stall_seconds=60.0))


def _hls(path: Path, video: Path) -> playing:
    flags = ["-hls_time", "1", "-hls_list_size", "30", "-hls_flags", "delete_segments"]
    return playing(video, "-f", "hls", *flags, path / "live.m3u8")


def _wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.05)


def test_hls_comes_whole_and_in_order(video: Path, tmp_path: Path) -> None:
    with _hls(tmp_path, video), folder(tmp_path) as port:
        _wait_for(tmp_path / "live.m3u8")
        with open_live(f"http://127.0.0.1:{port}/live.m3u8", views=[VIEW], config=PATIENT) as source:
            frames, gaps = frames_until(source, 35)
            assert source.info.container == "hls"
    numbers = [number_of(frame.views[0]) for frame in frames]
    assert numbers == list(range(numbers[0], numbers[0] + 35))
    apart = [b.pts_seconds - a.pts_seconds for a, b in zip(frames, frames[1:], strict=False)]
    assert apart == pytest.approx([1 / FPS] * 34, abs=1e-3)
    assert not gaps


def test_hls_that_stops_and_comes_back_is_found_again(video: Path, tmp_path: Path) -> None:
    settings = LiveConfig(policy="block", patience=Patience(connect_seconds=60.0, stall_seconds=3.0))
    with _hls(tmp_path, video), folder(tmp_path) as port:
        _wait_for(tmp_path / "live.m3u8")
        source = open_live(f"http://127.0.0.1:{port}/live.m3u8", views=[VIEW], config=settings)
        before, _ = frames_until(source, 12)
    with source:
        while source.health().state is Phase.LIVE:
            before += [] if source.health().waiting == 0 else frames_until(source, 1)[0]
            time.sleep(0.02)
        before += frames_until(source, source.health().waiting)[0] if source.health().waiting else []
        for old in tmp_path.iterdir():
            old.unlink()
        with _hls(tmp_path, video), folder(tmp_path, port):
            after, gaps = frames_until(source, 5)
    assert [gap.start for gap in gaps] == [pytest.approx(before[-1].pts_seconds)]
    assert gaps[0].end == after[0].pts_seconds > before[-1].pts_seconds


def test_rtmp(video: Path) -> None:
    port = free_port()
    with playing(video, "-f", "flv", "-listen", "1", f"rtmp://127.0.0.1:{port}/live/one"):
        _wait_for_port(port)
        with open_live(f"rtmp://127.0.0.1:{port}/live/one", views=[VIEW], config=PATIENT) as source:
            frames, _ = frames_until(source, 15)
    numbers = [number_of(frame.views[0]) for frame in frames]
    assert numbers == list(range(numbers[0], numbers[0] + 15))


def _wait_for_port(port: int) -> None:
    """Without connecting: that server serves one connection only."""
    listening = f":{port:04X} 00000000:0000 0A"
    while listening not in Path("/proc/net/tcp").read_text():
        time.sleep(0.05)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Short transport streams, each with a clock that begins anew: small, and larger."""
    path = tmp_path_factory.mktemp("pieces")
    sizes = {"small": SIZE, "large": (480, 270)}
    return {name: counted_video(path / f"{name}.ts", seconds=3, size=size).read_bytes() for name, size in sizes.items()}


def test_a_stream_that_changes_its_size_and_its_clock_goes_on(pieces: dict[str, bytes]) -> None:
    with http(streams("video/mp2t", lambda: iter([pieces["small"], pieces["large"]]))) as port:
        views = [VIEW, View(1000, 1000, keep_aspect=True)]
        with open_live(f"http://127.0.0.1:{port}/x.ts", views=views, config=PATIENT) as source:
            frames, gaps = frames_until(source, 60)
    # A transport stream's last picture is only known to be whole when the next one begins.
    assert [number_of(frame.views[0]) for frame in frames] == [*range(30), *range(30)]
    assert [frame.views[1].shape for frame in frames] == [(180, 320, 3)] * 30 + [(270, 480, 3)] * 30
    times = [frame.pts_seconds for frame in frames]
    assert times == sorted(set(times))
    assert not gaps


def test_damage_is_counted_and_passed_over(pieces: dict[str, bytes]) -> None:
    good = pieces["small"]
    middle, noise = bytearray(good), random.Random(0)
    # The second key picture and what follows it; packet headers stay, so that it is the decoder's to notice.
    for at in range(len(good) // 3 // 188 * 188, len(good) // 2, 188):
        middle[at + 30 : at + 188] = noise.randbytes(158)
    with http(streams("video/mp2t", lambda: iter([good, bytes(middle), good]))) as port:
        with open_live(f"http://127.0.0.1:{port}/x.ts", views=[VIEW], config=PATIENT) as source:
            gap = None
            while gap is None:
                item = next(iter(source))
                gap = item if isinstance(item, Gap) else None
                frames = source.health().frames
            assert source.health().decode_errors > 0
    assert frames >= 60 and gap.reason in (Loss.CLOSED, Loss.BROKEN)


def _turning_undecodable(video: Path, num_good: int, num_bad: int) -> bytes:
    """FLV whose slices become, after some pictures, units of a kind that no decoder knows."""
    written = io.BytesIO()
    endless = {"flvflags": "no_duration_filesize"}  # as a live server's
    with av.open(str(video)) as source, av.open(written, "w", format="flv", options=endless) as target:
        packets = [bytes(packet) for packet in source.demux(video=0) if packet.size]
        stream = target.add_stream_from_template(source.streams.video[0])
        for index in range(num_good + num_bad):
            data = packets[index % len(packets)]
            packet = av.Packet(data if index < num_good else _renamed(data))
            packet.pts = packet.dts = index
            packet.time_base, packet.stream = Fraction(1, FPS), stream
            target.mux(packet)
    return written.getvalue()


def _renamed(access_unit: bytes) -> bytes:
    """Every unit, each behind four bytes that tell its length, with the type 24, which means nothing."""
    renamed, at = bytearray(access_unit), 0
    while at < len(renamed):
        size = int.from_bytes(renamed[at : at + 4], "big")
        renamed[at + 4] = 24
        at += 4 + size
    return bytes(renamed)


def test_a_stream_that_turns_undecodable_is_connected_to_anew(video: Path) -> None:
    data = _turning_undecodable(video, 30, 3200)
    with http(streams("video/x-flv", lambda: iter([data]))) as port:
        with open_live(f"http://127.0.0.1:{port}/x.flv", views=[VIEW], config=PATIENT) as source:
            gap = next(item for item in source if isinstance(item, Gap))
            frames, _ = frames_until(source, 3)
    assert gap.reason == Loss.UNDECODABLE
    assert [number_of(frame.views[0]) for frame in frames] == [0, 1, 2]


def test_what_is_not_wanted_is_left_out_and_changes_nothing(tmp_path: Path) -> None:
    path = counted_video(tmp_path / "bidirectional.ts", seconds=6, b_frames=3)
    with http(streams("video/mp2t", lambda: iter([path.read_bytes()]))) as port:
        with open_live(f"http://127.0.0.1:{port}/x.ts", fps=1.0, views=[VIEW], config=PATIENT) as source:
            frames, _ = frames_until(source, 6)
            decoded = source.health().pictures
    with open_source(path) as file:
        whole = list(file.frames(fps=None, views=[VIEW]))
    numbers = [number_of(frame.views[0]) for frame in frames]
    assert numbers == list(range(numbers[0], 60, FPS))
    assert all((frame.views[0] == whole[number].views[0]).all() for frame, number in zip(frames, numbers, strict=True))
    assert decoded < 50


def test_pictures_without_a_clock_lie_where_they_arrive() -> None:
    def jpegs() -> Iterator[bytes]:
        for index in range(1000):
            file = io.BytesIO()
            Image.new("RGB", (64, 48), (index * 10 % 250,) * 3).save(file, "JPEG")
            head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(file.getvalue())}\r\n\r\n"
            yield head.encode() + file.getvalue() + b"\r\n"
            time.sleep(0.2)

    with http(streams("multipart/x-mixed-replace; boundary=next", jpegs)) as port:
        with open_live(f"http://127.0.0.1:{port}/mjpeg", views=[View(8, 8)], config=PATIENT) as source:
            frames, _ = frames_until(source, 10)
    # FFmpeg would say 0.04 s each.
    lasted = frames[-1].pts_seconds - frames[0].pts_seconds
    assert lasted == pytest.approx(frames[-1].arrived - frames[0].arrived, abs=0.05)


def test_a_recording_is_played_at_its_own_pace_and_ends(tmp_path: Path) -> None:
    path = counted_video(tmp_path / "short.mp4", seconds=2)
    before = held()
    begun = time.monotonic()
    with folder(tmp_path) as port:
        with open_live(f"http://127.0.0.1:{port}/{path.name}", views=[VIEW], config=PATIENT) as source:
            frames = list(source)
    assert [number_of(frame.views[0]) for frame in frames if isinstance(frame, LiveFrame)] == list(range(20))
    assert time.monotonic() - begun > 1.8
    assert held() == before


def test_the_password_of_a_page_reaches_it(pieces: dict[str, bytes]) -> None:
    asked = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.headers.get("Authorization"))
        if asked[-1] is None:
            says(401, WWW_Authenticate='Basic realm="x"')(request)
        else:
            streams("video/mp2t", lambda: iter([pieces["small"]]))(request)

    with http(answer) as port:
        with open_live(
            f"http://127.0.0.1:{port}/x.ts", user="a", password="b c", views=[VIEW], config=PATIENT
        ) as source:
            frames_until(source, 3)
    assert asked[-1] == "Basic YTpiIGM="


def test_several_streams_at_once(pieces: dict[str, bytes]) -> None:
    before = held()

    def slowly() -> Iterator[bytes]:
        for name in ("small", "large") * 20:
            yield pieces[name]
            threading.Event().wait(0.5)

    with http(streams("video/mp2t", slowly)) as port:
        sources = [open_live(f"http://127.0.0.1:{port}/{index}.ts", views=[VIEW], config=PATIENT) for index in range(3)]
        taken = [[number_of(frame.views[0]) for frame in frames_until(source, 40)[0]] for source in sources]
        for source in sources:
            source.close()
    assert taken == [[*range(30), *range(10)]] * 3
    assert held() == before
