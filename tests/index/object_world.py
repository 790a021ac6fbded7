"""Objects for these tests: every number of a piece follows from a seed and the piece's place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import store_world as world

from vidmem.index import Look, ObjectId, ObjectUpdate, Track, encode_mask
from vidmem.types import Span

HEIGHT, WIDTH = 9, 16
SAMPLES = 5
SIDE_ERROR = 1 / 65535


def track(seed: int, piece: int) -> Track:
    """Of the second that begins at `piece`; now and then the object is not seen."""
    rng = np.random.default_rng([seed, piece])
    corners = np.sort(rng.random((SAMPLES, 2, 2)), axis=1)
    boxes = np.concatenate([corners[:, 0], corners[:, 1]], axis=1)
    boxes[rng.random(SAMPLES) < 0.3] = np.nan
    return Track(piece + np.arange(SAMPLES) / 30, boxes, rng.standard_normal(SAMPLES))


def mask(seed: int, piece: int) -> np.ndarray:
    return np.random.default_rng([seed, piece, 1]).random((HEIGHT, WIDTH)) < 0.4


def vector(seed: int, piece: int) -> np.ndarray:
    found = np.random.default_rng([seed, piece, 2]).standard_normal(world.DIM).astype(np.float32)
    return found / np.linalg.norm(found)


def look(seed: int, piece: int) -> Look:
    left, top = np.random.default_rng([seed, piece, 3]).random(2) / 2
    crop = b"\xff\xd8" + f"{seed}/{piece}".encode()
    box = (left, top, left + 0.5, top + 0.5)
    return Look(piece + 0.5, box, (HEIGHT, WIDTH), encode_mask(mask(seed, piece)), crop, vector(seed, piece))


def update(object_id: ObjectId, seed: int, piece: int) -> ObjectUpdate:
    """Seen in the first half of every second, and to its end in every second one, where it goes on."""
    span = Span(piece, piece + (1.0 if piece % 2 else 0.5))
    return ObjectUpdate(object_id, track(seed, piece), [span], [look(seed, piece)])


def spans(num_pieces: int) -> tuple[Span, ...]:
    """Those of so many pieces, as the store must have joined them."""
    found: list[Span] = []
    for piece in range(num_pieces):
        if piece and piece % 2 == 0:
            found[-1] = Span(found[-1].start, piece + 0.5)
        else:
            found.append(Span(piece, piece + (1.0 if piece % 2 else 0.5)))
    return tuple(found)


def content(store) -> dict:  # type: ignore[no-untyped-def]
    """All that a store holds of objects, through its public methods, by object id."""
    found = {}
    for row in store.objects():
        assert store.object(row.object_id) == row
        track = store.track_of(row.object_id)
        looks = store.looks_of(row.object_id)
        assert row.num_looks == len(looks)
        assert row.thumbnail_path == (looks[-1].thumbnail_path if looks else None)
        ends = (float(track.seconds[0]), float(track.seconds[-1])) if len(track) else (None, None)
        assert (row.tracked_from, row.tracked_until) == ends
        found[row.object_id] = {
            "video": row.video_id,
            "label": (row.label, row.label_score, row.origin),
            "spans": row.spans,
            "seconds": track.seconds.tolist(),
            "boxes": np.where(np.isnan(track.boxes), -1, np.rint(track.boxes * 65534.0)).tolist(),
            "scores": track.scores.tobytes(),
            "looks": [(look.seconds, look.box, look.mask_size, look.mask, look.embedding.tobytes()) for look in looks],
            "crops": [Path(look.thumbnail_path).read_bytes() for look in looks],
        }
    return found


def expected(video_id: str, seed: int, num_pieces: int, label: tuple[str, float, str]) -> dict:
    """What `content` must say of an object with that many pieces."""
    tracks = [track(seed, piece) for piece in range(num_pieces)]
    looks = [look(seed, piece) for piece in range(num_pieces)]
    boxes = [box for piece in tracks for box in piece.boxes.tolist()]
    return {
        "video": video_id,
        "label": label,
        "spans": spans(num_pieces),
        "seconds": [seconds for piece in tracks for seconds in piece.seconds.tolist()],
        "boxes": [[-1 if np.isnan(side) else float(np.rint(side * 65534.0)) for side in box] for box in boxes],
        "scores": b"".join(piece.scores.tobytes() for piece in tracks),
        "looks": [(look.seconds, look.box, look.mask_size, look.mask, look.embedding.tobytes()) for look in looks],
        "crops": [look.crop for look in looks],
    }


def crop_files(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in (path / "crops").rglob("*") if file.is_file()}
