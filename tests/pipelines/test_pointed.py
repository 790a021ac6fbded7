"""What somebody points at, in the pixels of a video and of pictures of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vidmem.pipelines.tracking import Pointed

SIDES = st.integers(16, 4096)


@given(width=SIDES, height=SIDES, top=st.integers(0, 15))
def test_what_reaches_to_the_edges_of_the_video_is_inside_its_picture(width: int, height: int, top: int) -> None:
    share = min(1.0, 640 / width, 640 / height)
    video_size, picture_size = (height, width), (max(1, round(height * share)), max(1, round(width * share)))
    for pointed in (Pointed(box=(0, top, width, height - top)), Pointed(point=(width, height))):
        prompt = pointed.prompt(1, video_size, picture_size, square=64)
        prompt.check(picture_size, square=64)
