"""Colours and type. All text has a contrast of at least 4.5 to 1, in light and in dark."""

from __future__ import annotations

from typing import Any

import gradio as gr

_FONT = ("system-ui", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans", "sans-serif")
_MONO = ("ui-monospace", "DejaVu Sans Mono", "monospace")


def theme() -> Any:
    """The fonts are those of the person's machine: nothing is fetched."""
    return gr.themes.Default(
        primary_hue="teal", secondary_hue="teal", neutral_hue="slate", font=_FONT, font_mono=_MONO
    ).set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        color_accent="*primary_700",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
    )
