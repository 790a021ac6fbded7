"""SAMURAI's rules frame by frame over everything there was: the oracle of `Samurai` and `CodedSamurai`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


class NaiveFilter:
    """The textbook's filter, with 8 x 8 matrices."""

    def __init__(self) -> None:
        self.step = np.eye(8)
        self.step[:4, 4:] = np.eye(4)
        self.seen = np.eye(4, 8)

    def initiate(self, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = measured(box)
        h = z[3]
        deviation = [2 * h / 20, 2 * h / 20, 1e-2, 2 * h / 20, 10 * h / 160, 10 * h / 160, 1e-5, 10 * h / 160]
        return np.concatenate([z, np.zeros(4)]), np.diag(np.square(deviation))

    def predict(self, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h = mean[3]
        deviation = [h / 20, h / 20, 1e-2, h / 20, h / 160, h / 160, 1e-5, h / 160]
        return self.step @ mean, self.step @ covariance @ self.step.T + np.diag(np.square(deviation))

    def update(self, mean: np.ndarray, covariance: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h = mean[3]
        noise = np.diag(np.square([h / 20, h / 20, 1e-1, h / 20]))
        innovation = self.seen @ covariance @ self.seen.T + noise
        gain = covariance @ self.seen.T @ np.linalg.inv(innovation)
        return mean + gain @ (measured(box) - self.seen @ mean), covariance - gain @ innovation @ gain.T


def measured(box: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = (float(edge) for edge in box)
    width, height = x2 - x1, y2 - y1
    x, y = x1 + width / 2, y1 + height / 2
    if height == 0:
        height = 1.0
    return np.array([x, y, width / height, height])


def overlap(box: np.ndarray, other: np.ndarray) -> float:
    if all(edge == 0 for edge in other):
        return 0.0
    width = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
    height = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
    union = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1]) - width * height
    return 0.0 if union == 0 else width * height / union


@dataclass
class NaiveSamurai:
    """One object, prompted on frame 0 and tracked on every frame from then on."""

    coded: bool
    prompt_box: np.ndarray
    weight: float = 0.25
    num_stable: int = 15
    iou: dict[int, float] = field(default_factory=dict)
    score: dict[int, float] = field(default_factory=dict)
    motion: dict[int, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.filter = NaiveFilter()
        self.state: tuple[np.ndarray, np.ndarray] | None = None
        self.stable = 0
        if not self.coded and self.prompt_box.any():
            self.state, self.stable = self.filter.initiate(self.prompt_box), 1

    def read(self, frame: int) -> list[int]:
        frames: list[int] = []
        for index in range(frame - 1, 1 if self.coded else 0, -1):
            motion = self.motion[index]
            if self.iou[index] > 0.5 and self.score[index] > 0 and (motion is None or motion > 0):
                frames.insert(0, index)
            if len(frames) == 15:
                break
        if frame > 1 and frame - 1 not in frames:
            frames.append(frame - 1)
        return [0, *frames[-6:]]

    def choose(self, frame: int, ious: tuple[float, ...], boxes: np.ndarray, score: float) -> int:
        motion: list[float] | None = None
        begins = self.state is None or self.stable == 0
        if not begins:
            assert self.state is not None
            self.state = self.filter.predict(*self.state)
        if begins or self.stable < self.num_stable:
            chosen = ious.index(max(ious))
        else:
            x, y, aspect, height = self.state[0][:4]
            width = aspect * height
            predicted = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
            motion = [overlap(predicted, box) for box in boxes]
            mixed = [self.weight * k + (1 - self.weight) * q for k, q in zip(motion, ious, strict=True)]
            chosen = mixed.index(max(mixed))
        self._follow(boxes[chosen], ious[chosen], begins=begins, is_moving=motion is not None)
        self.iou[frame], self.score[frame] = ious[chosen], score
        self.motion[frame] = None if motion is None else motion[chosen]
        return chosen

    def _follow(self, box: np.ndarray, iou: float, *, begins: bool, is_moving: bool) -> None:
        if self.coded:
            threshold, value = np.float32(0.3), np.float32(iou)
            passes = value >= threshold if is_moving else value > threshold
        else:
            passes = iou > 0.3
        if not self.coded and not box.any():
            self.stable = 0
        elif begins:
            self.state, self.stable = self.filter.initiate(box), 1
        elif passes:
            assert self.state is not None
            self.state = self.filter.update(*self.state, box)
            self.stable = min(self.stable + 1, self.num_stable)
        else:
            self.stable = 0
