"""Settings: how the page looks, what it may do, and a new store with a preset, policy and budgets of one's own."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import Any, get_args

import gradio as gr

from vidmem.errors import BadInput
from vidmem.kv.formats import Format
from vidmem.memory import policies
from vidmem.models.preset import Preset, load_preset, presets
from vidmem.models.preset_file import write_preset
from vidmem.pipelines.costing import Costs, costs
from vidmem.types import Mode, format_bytes
from vidmem.ui.jobs import sentence
from vidmem.ui.session import Session
from vidmem.ui.shell import PRIVATE, QUIET, Shell, failed, line, note

_FORMATS = {
    "none": "none: exact, twice the bytes of int8",
    "int8": "int8: exact enough to give the same answers",
    "int4": "int4: about half the bytes of int8",
    "int2": "int2: about a quarter of them, answers suffer",
    "kivi2": "kivi2: about a quarter of them, keys kept finer",
}
_MODES = {
    "kv": "kv: frames go through the model once, questions are answered at once",
    "tokens": "tokens: a tenth of the bytes, each question runs frames anew",
}


def lay_out(shell: Shell) -> None:
    session = shell.session
    gr.HTML('<h2 class="vm-way">How it looks</h2>')
    with gr.Row(elem_id="looks"):
        for look in ("Light", "Dark", "As the system"):
            button = gr.Button(look, size="sm", min_width=90)
            button.click(None, None, None, js=f"() => window.vidmem.look({look.split()[-1].lower()!r})", **PRIVATE)
    gr.HTML(
        '<h2 class="vm-way">A new store</h2><p class="vm-aside">What a store is made with it keeps: models, policy and'
        " budgets are chosen once, here.</p>"
    )
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            preset = gr.Dropdown(list(presets()), value=presets()[0], label="Preset", elem_id="preset")
            # Each choice is a sentence: in a menu's field, a telephone has room for half of it.
            mode = gr.Radio(
                [(text, name) for name, text in _MODES.items()], value="kv", label="What is kept of a frame"
            )
            form = gr.Radio([(_FORMATS[name], name) for name in get_args(Format)], value="int8", label="How it is kept")
            ratio = gr.Slider(0.1, 1.0, value=1.0, step=0.05, label="Part of the visual tokens that is kept")
        with gr.Column(min_width=300):
            policy = gr.Dropdown([one.name for one in policies()], value="hippomm", label="Policy of long-term memory")
            about = gr.HTML(_policy("hippomm"), elem_id="policy-about")
            elements = gr.Slider(64, 4096, value=1024, step=64, label="Elements of long-term memory")
            working = gr.Slider(8, 128, value=32, step=4, label="Frames of working memory")
            context = gr.Number(850, label="Tokens of video for one question", minimum=64, precision=0)
    cost = gr.HTML(elem_id="costs")
    name = line("Make a store with these", "kitchen.vidmem", "Make", elem_id="new-store")
    said = gr.HTML(elem_id="settings-said")
    gr.HTML(_limits(session), elem_id="limits")
    chosen: list[Any] = [preset, mode, form, ratio, policy, elements, working, context]
    events = _Events(session)
    policy.change(_policy, policy, about, **QUIET)
    preset.change(events.budget_of, preset, [mode, form, ratio, context], **QUIET)
    for part in chosen:
        part.change(events.cost, chosen, cost, **QUIET)
    shell.panes["settings"].select(events.cost, chosen, cost, **QUIET)
    name.submit(events.make, [name, *chosen], said, **PRIVATE)


class _Events:
    """What happens on the Settings of a page."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def cost(self, *chosen: Any) -> str:
        try:
            wanted = _wanted(*chosen)
            if missing := wanted.missing():
                return failed("This preset can't run here yet. " + " ".join(missing.values()))
            return _costs(costs(self._session.models_of(load_preset(wanted.origin)), wanted))
        except Exception as error:
            return failed(sentence(error))

    def budget_of(self, name: str) -> tuple[Any, ...]:
        """A preset's own settings, into the fields."""
        preset = load_preset(name)
        return preset.mode, preset.kv.format, preset.kv.keep_ratio, preset.budget.context_tokens

    def make(self, name: str, *chosen: Any) -> str:
        try:
            path = self._session.limits.path(name if name.endswith(".vidmem") else f"{name}.vidmem" if name else "")
            if path.exists():
                raise BadInput(f"{path.name} is there already: choose another name")
            made = write_preset(_wanted(*chosen), path.with_suffix(".toml"))
            store = self._session.open_store(path, made.origin)
        except Exception as error:
            return failed(sentence(error))
        return note(
            f"{store.name} is open: choose it in the Library, and add a video. Its settings are in {made.origin}."
        )


def _wanted(
    preset: str, mode: Mode, form: Format, ratio: float, policy: str, elements: float, working: float, context: float
) -> Preset:
    """The preset that is chosen, with what was changed. Raises BadInput."""
    base = load_preset(preset)
    kept = int(working)
    memory = {
        "max_elements": int(elements),
        "working_max_frames": kept,
        "working_min_frames": kept // 2,
        "policy": policy,
    }
    return replace(
        base,
        mode=mode,
        kv=replace(base.kv, format=form, keep_ratio=float(ratio)),
        budget=replace(base.budget, context_tokens=int(context)),
        memory={**base.memory, **memory},
    )


def _policy(name: str) -> str:
    for one in policies():
        if one.name == name:
            return f'<p class="vm-aside">{escape(one.summary)} <small>{escape(one.source)}</small></p>'
    return ""


def _costs(cost: Costs) -> str:
    rows = {
        "On disk, for an hour of video at a frame a second": format_bytes(cost.disk_bytes),
        "of that, keys and values": format_bytes(cost.kv_bytes),
        "In RAM, however long the video": format_bytes(cost.memory_bytes),
        "Read for one question, at most": f"{cost.question_tokens} tokens",
    }
    body = "".join(f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in rows.items())
    return f'<table class="vm-table vm-costs"><caption>What it costs</caption><tbody>{body}</tbody></table>'


def _limits(session: Session) -> str:
    limits = session.limits
    roots = ", ".join(f"<code>{escape(str(root))}</code>" for root in limits.roots)
    private = "addresses inside this network, too" if limits.allow_private else "public addresses only"
    return (
        '<h2 class="vm-way">What this page may do</h2><ul class="vm-limits">'
        f"<li>Open videos and stores in {roots}.</li><li>Take files of at most {format_bytes(limits.max_bytes)}.</li>"
        f"<li>Fetch files and watch streams from {private}.</li></ul>"
    )
