"""Objects of the sample world as a perfect tracker would put them into a store: their truth, sampled."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vidmem.index import Look, ObjectId, ObjectUpdate, Track, encode_mask
from vidmem.pipelines import VideoMemory
from vidmem.types import Span, VideoId
from vidmem.world.render import Renderer
from vidmem.world.script import Script, Stay
from vidmem.world.words import noun

FPS = 5
WIDTH, HEIGHT = 160, 90


def things_of(script: Script) -> dict[tuple[str, int], list[Stay]]:
    """Stays by thing, and by which copy of it: a thing that comes back is the same one."""
    found: dict[tuple[str, int], list[Stay]] = {}
    for stay in script.stays():
        together = [other for other in script.stays() if (other.thing, other.span) == (stay.thing, stay.span)]
        copy = next(index for index, other in enumerate(together) if other is stay)
        found.setdefault((stay.thing, copy), []).append(stay)
    return found


def follow(
    memory: VideoMemory,
    script: Script,
    video_id: str,
    stays: Sequence[Stay],
    label: str | None = None,
    *,
    start: float = 0.0,
    end: float | None = None,
) -> ObjectId:
    """Put one thing into a store that has its video, followed within `[start, end)` at `FPS`; by default all of it.

    `label` is its noun where none is given.
    """
    renderer = Renderer(WIDTH, HEIGHT)
    seconds = np.arange(round(start * FPS), round((script.duration if end is None else end) * FPS)) / FPS
    boxes = np.array([_box(renderer, script, stays, float(at)) for at in seconds], dtype=np.float32)
    object_id = memory._store.add_object(
        VideoId(video_id), label=noun(stays[0].thing) if label is None else label, label_score=1.0, origin="asked"
    )
    track = Track(seconds, boxes, np.ones(len(seconds)))
    seen = seconds[track.is_seen]
    looks = [_look(memory, renderer, script, stays, float(seen[len(seen) // 2]))]
    memory._store.extend_objects(VideoId(video_id), [ObjectUpdate(object_id, track, _spans(track), looks)])
    return object_id


def _box(renderer: Renderer, script: Script, stays: Sequence[Stay], at: float) -> tuple[float, ...]:
    for item in renderer.shown(script.chapter_at(at), at):
        if any(item.stay is stay for stay in stays) and item.mask.any():
            left, top, right, bottom = item.box
            return (left / WIDTH, top / HEIGHT, right / WIDTH, bottom / HEIGHT)
    return (np.nan,) * 4


def _spans(track: Track) -> list[Span]:
    """As samples stand until the next one."""
    return [Span(at, at + 1 / FPS) for at in track.seconds[track.is_seen].tolist()]


def _look(memory: VideoMemory, renderer: Renderer, script: Script, stays: Sequence[Stay], at: float) -> Look:
    """A crop with the frame's proportions, twice as large as the thing."""
    picture = Image.fromarray(renderer.frame(script, at))
    box = _box(renderer, script, stays, at)
    side = max(box[2] - box[0], box[3] - box[1])
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    window = ((x - side) * WIDTH, (y - side) * HEIGHT, (x + side) * WIDTH, (y + side) * HEIGHT)
    crop = picture.crop(tuple(round(edge) for edge in window))  # type: ignore[arg-type]
    jpeg = io.BytesIO()
    crop.save(jpeg, "JPEG")
    view = memory._models.encoder.view
    pixels = np.array(crop.resize((view.width, view.height)))[None]
    embedding = memory._models.encoder.encode_frames(pixels)[0].float().cpu().numpy()
    mask = next(item.mask for item in renderer.shown(script.chapter_at(at), at) if any(item.stay is s for s in stays))
    embedding /= np.linalg.norm(embedding)
    return Look(at, box, (HEIGHT, WIDTH), encode_mask(mask), jpeg.getvalue(), embedding)  # type: ignore[arg-type]
