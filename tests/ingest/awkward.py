"""Awkward videos made on purpose, each with an FFmpeg command, so that none need be committed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
_SOURCE = "testsrc2=size={size}:rate={rate}:duration={seconds},noise=alls=12:allf=t"
_X264 = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
_VP9 = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-auto-alt-ref", "1"]
_X265 = ["-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-x265-params"]


def ffmpeg(*arguments: str | Path) -> None:
    command = [FFMPEG, "-v", "error", "-y", "-nostdin", "-threads", "1", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def encode(path: Path, *arguments: str, size: str = "192x108", rate: str = "25", seconds: float = 4) -> Path:
    source = _SOURCE.format(size=size, rate=rate, seconds=seconds)
    ffmpeg("-f", "lavfi", "-i", source, "-threads", "1", *arguments, path)
    return path


def _rewrapped(path: Path, *arguments: str, source: Callable[[Path], Path], before: tuple[str, ...] = ()) -> Path:
    original = source(path.with_name(f"{path.stem}-original.mp4"))
    ffmpeg(*before, "-i", original, "-c", "copy", *arguments, path)
    return path


def plain(path: Path) -> Path:
    return encode(path, *_X264, "-bf", "3", "-g", "30")


def _pyramid(path: Path) -> Path:
    return encode(path, *_X264, "-bf", "5", "-x264-params", "b-pyramid=normal:b-adapt=2:ref=4:keyint=250", seconds=6)


def _no_b(path: Path) -> Path:
    return encode(path, *_X264, "-bf", "0", "-g", "250")


def _short_gop(path: Path) -> Path:
    return encode(path, *_X264, "-bf", "2", "-g", "10", seconds=6)


def _open_h264(path: Path) -> Path:
    return encode(path, *_X264, "-bf", "3", "-g", "12", "-x264-params", "open-gop=1:scenecut=0", seconds=5)


def _open_hevc(path: Path) -> Path:
    return encode(path, *_X265, "open-gop=1:keyint=12:bframes=4:log-level=none:pools=1", seconds=5)


def _closed_hevc(path: Path) -> Path:
    return encode(path, *_X265, "open-gop=0:keyint=15:bframes=4:log-level=none:pools=1", seconds=5)


def _layered_hevc(path: Path) -> Path:
    return encode(path, *_X265, "temporal-layers=3:keyint=32:bframes=4:b-adapt=0:log-level=none:pools=1", seconds=4)


def _variable_rate(path: Path) -> Path:
    # Frames at growing distances: pts of frame n is n + n^2 / 40 frames of 1/25 s.
    growing = ["-vf", "setpts='(N+N*N/40)/25/TB'", "-fps_mode", "passthrough", "-enc_time_base", "1/1000"]
    return encode(path, *growing, *_X264)


def _rotated(path: Path) -> Path:
    return _rewrapped(path, source=plain, before=("-display_rotation:v:0", "90"))


def _mirrored(path: Path) -> Path:
    return _rewrapped(path, source=plain, before=("-display_rotation:v:0", "180", "-display_hflip:v:0"))


def _edit_list(path: Path) -> Path:
    # Cut by copying from between two key frames: the container hides the pictures before the cut.
    return _rewrapped(path, source=plain, before=("-ss", "0.7"))


def _late_ts(path: Path) -> Path:
    return _rewrapped(path, "-f", "mpegts", "-muxdelay", "1.5", source=plain)


def _joined_ts(path: Path) -> Path:
    one = _late_ts(path.with_name(f"{path.stem}-one.ts"))
    path.write_bytes(one.read_bytes() * 2)
    return path


def _cut_ts(path: Path) -> Path:
    whole = _late_ts(path.with_name(f"{path.stem}-whole.ts")).read_bytes()
    path.write_bytes(whole[len(whole) // 6 // 188 * 188 :])
    return path


def _late_mkv(path: Path) -> Path:
    return _rewrapped(path, "-output_ts_offset", "5", source=plain)


def _odd_10_bit(path: Path) -> Path:
    return encode(path, *_X264[:4], "-pix_fmt", "yuv444p10le", "-vf", "scale=191:107", seconds=2)


def _wide_pixels(path: Path) -> Path:
    return encode(path, "-vf", "setsar=2/1", *_X264, seconds=2)


def _interlaced(path: Path) -> Path:
    return encode(path, "-vf", "setfield=tff", "-flags", "+ildct+ilme", *_X264, "-x264-params", "tff=1:bframes=3")


def _damaged(path: Path) -> Path:
    data = bytearray(encode(path, *_X264, "-bf", "3", "-g", "25", seconds=5).read_bytes())
    middle = data.find(b"mdat") + (len(data) - data.find(b"mdat")) // 2
    data[middle : middle + 3000] = bytes(i * 89 % 251 for i in range(3000))
    path.write_bytes(data)
    return path


def _cut_off(path: Path) -> Path:
    data = encode(path, *_X264, "-bf", "3", "-g", "25", "-movflags", "+faststart", seconds=5).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def _holed_ts(path: Path) -> Path:
    data = bytearray(_late_ts(path).read_bytes())
    middle = len(data) // 2 // 188 * 188
    del data[middle : middle + 188 * 40]
    path.write_bytes(data)
    return path


def _codec(*arguments: str, **options: str | float) -> Callable[[Path], Path]:
    return lambda path: encode(path, *arguments, **options)  # type: ignore[arg-type]


AWKWARD: dict[str, Callable[[Path], Path]] = {
    "plain.mp4": plain,
    "pyramid.mp4": _pyramid,
    "no-b.flv": _no_b,
    "short-gop.mkv": _short_gop,
    "open-gop.mp4": _open_h264,
    "open-gop-hevc.mp4": _open_hevc,
    "closed-gop-hevc.mkv": _closed_hevc,
    "layered-hevc.mp4": _layered_hevc,
    "variable-rate.mp4": _variable_rate,
    "ntsc.mkv": _codec(*_X264, "-bf", "2", rate="30000/1001"),
    "rotated.mp4": _rotated,
    "mirrored.mp4": _mirrored,
    "edit-list.mp4": _edit_list,
    "late.ts": _late_ts,
    "joined.ts": _joined_ts,
    "cut.ts": _cut_ts,
    "holed.ts": _holed_ts,
    "late.mkv": _late_mkv,
    "program.mpg": _codec("-c:v", "mpeg2video", "-bf", "2", "-g", "12", "-f", "vob"),
    "divx.avi": _codec("-c:v", "mpeg4", "-bf", "2", "-g", "20"),
    "windows.wmv": _codec("-c:v", "wmv2", "-g", "12"),
    "motion.mov": _codec("-c:v", "mjpeg", "-pix_fmt", "yuvj420p", seconds=2),
    "prores.mov": _codec("-c:v", "prores_ks", seconds=1),
    "web.webm": _codec(*_VP9, "-g", "25"),
    "vp8.webm": _codec("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-auto-alt-ref", "1"),
    "av1.mp4": _codec("-c:v", "libsvtav1", "-preset", "12", "-g", "20", "-svtav1-params", "lp=1", seconds=2),
    "raw.h264": _codec(*_X264, "-bf", "0", seconds=2),
    "fragmented.mp4": _codec(*_X264, "-g", "25", "-movflags", "frag_keyframe+empty_moov"),
    "odd-10-bit.mp4": _odd_10_bit,
    "wide-pixels.mp4": _wide_pixels,
    "one-frame.mp4": _codec(*_X264, "-frames:v", "1"),
    "interlaced.mp4": _interlaced,
    "temporal-direct.mp4": _codec(*_X264, "-bf", "4", "-x264-params", "direct=temporal:weightp=2:ref=5:slices=3"),
    "intra-refresh.mp4": _codec(*_X264, "-x264-params", "intra-refresh=1:keyint=20:bframes=2"),
    "moving.gif": _codec("-pix_fmt", "rgb8", rate="10", size="64x48", seconds=2),
    "damaged.mp4": _damaged,
    "cut-off.mp4": _cut_off,
}
"""Name -> maker. All of them can be read."""


def make(name: str, folder: Path) -> Path:
    path = folder / name
    if not path.exists():
        made = AWKWARD[name](path.with_name(f"making-{name}"))
        shutil.move(made, path)
    return path
