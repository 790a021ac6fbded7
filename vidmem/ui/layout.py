"""What stands on the page: a player with its progress on the left, the question and its evidence on the right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from vidmem.models.preset import Preset
from vidmem.samples import Sample
from vidmem.ui import timeline, words
from vidmem.ui.session import Progress

POLL_SECONDS = 0.4


@dataclass(frozen=True)
class Page:
    """The components that events read and write."""

    video: gr.State
    """Path of the video in the player, or None."""
    poll: gr.Timer
    player: gr.Video
    timeline: gr.HTML
    status: gr.HTML
    sample: gr.Radio
    upload: gr.UploadButton
    watch: gr.Button
    question: gr.Textbox
    examples: list[gr.Button]
    answer: gr.HTML
    evidence: gr.HTML
    below: gr.HTML


def lay_out(preset: Preset, samples: list[Sample]) -> Page:
    """Put the components on the page that is being built. `samples` are offered by name; there may be none."""
    gr.Markdown("# vidmem\nLet it watch a video once, then ask. Every answer shows where it was seen.")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5):
            left = _player_side(preset, samples)
        with gr.Column(scale=4):
            right = _question_side()
    return Page(gr.State(None), gr.Timer(POLL_SECONDS, active=False), **left, **right)


def timeline_of(player: str) -> gr.HTML:
    """A timeline that shows, and moves, what plays in the element at a CSS selector.

    Its value is a video's `timeline.timeline`, its property `evidence` that of an answer; either may be None.
    """
    return gr.HTML(
        None,
        html_template=timeline.HTML,
        css_template=timeline.CSS,
        js_on_load=timeline.JS,
        apply_default_css=False,
        elem_id="timeline",
        evidence=None,
        player=player,
    )


def _player_side(preset: Preset, samples: list[Sample]) -> dict[str, Any]:
    player = gr.Video(label="Video", interactive=False, elem_id="player", height=380)
    under = timeline_of("#player video")
    status = gr.HTML(words.status(Progress()), elem_id="status")
    choices = [(words.label(sample), str(sample.path)) for sample in samples]
    sample = gr.Radio(choices, value=None, label="Samples", elem_id="sample", visible=bool(samples))
    with gr.Row():
        upload = gr.UploadButton("Upload a video", file_types=["video"], elem_id="upload", size="md")
        watch = gr.Button("Watch", variant="primary", elem_id="watch", size="md", interactive=False)
    gr.HTML(words.models(preset), elem_id="models")
    return {
        "player": player,
        "timeline": under,
        "status": status,
        "sample": sample,
        "upload": upload,
        "watch": watch,
    }


def _question_side() -> dict[str, Any]:
    question = gr.Textbox(
        label="Question",
        placeholder="Once the video is watched, ask here",
        elem_id="question",
        max_length=500,
        max_lines=1,
        submit_btn="Ask",
        interactive=False,
    )
    with gr.Row():
        examples = [gr.Button(text, size="sm", interactive=False) for text in words.EXAMPLES]
    answer = gr.HTML(elem_id="answer")
    evidence = gr.HTML(elem_id="evidence")
    below = gr.HTML(elem_id="below")
    return {"question": question, "examples": examples, "answer": answer, "evidence": evidence, "below": below}
