"""Parts of the page that draw themselves in the browser: each is `NAME.html`, `NAME.css` and `NAME.js` beside this."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

_HERE = Path(__file__).parent


def drawn(
    name: str,
    elem_id: str,
    value: Any = None,
    *,
    scripts: Sequence[str] = (),
    replaced: tuple[str, str] = ("", ""),
    **properties: Any,
) -> gr.HTML:
    """One of them, which draws its value.

    Args:
        scripts: the parts of its script, `NAME_PART.js`, which follow each other; none is `NAME.js` alone.
        replaced: a word of its template, and what is to stand there. Gradio drops properties of a component that is
            written to before it was shown: what must not be lost stands in the template.
        properties: further ones that its script reads.
    """
    parts = ["drawn.js", *([f"{name}_{part}.js" for part in scripts] or [f"{name}.js"])]
    return gr.HTML(
        value,
        html_template=text_of(f"{name}.html").replace(*replaced) if replaced[0] else text_of(f"{name}.html"),
        css_template=text_of(f"{name}.css"),
        js_on_load="\n".join(map(text_of, parts)),
        apply_default_css=False,
        elem_id=elem_id,
        **properties,
    )


def text_of(name: str) -> str:
    """A file beside this."""
    return (_HERE / name).read_text(encoding="utf-8")
