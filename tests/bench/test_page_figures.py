"""`vidmem bench page`, small, from end to end."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from vidmem.bench import page, page_browser
from vidmem.cli import app
from vidmem.errors import BadInput


@pytest.mark.browser
@pytest.mark.skipif(page_browser.missing() is not None, reason=f"THE PAGE IS NOT MEASURED: {page_browser.missing()}")
@pytest.mark.slow
def test_the_page_is_measured_in_a_browser() -> None:
    result = CliRunner().invoke(app, ["bench", "page", "--quick", "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)["figures"]
    targets = {name: figure["target"] for name, figure in figures.items() if figure["target"] is not None}
    assert targets == {
        "page_first_paint": 3.0,
        "page_usable": 3.0,
        "page_evidence_click": 0.3,
        "page_beside_screen": 0.5,
        "page_beside_open": 0.5,
        "page_beside_answers": 1,
    }
    assert all(figure["value"] > 0 for figure in figures.values())
    assert figures["page_first_paint"]["value"] <= figures["page_usable"]["value"]


def test_without_a_browser_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_browser, "CHROMIUM", None)
    monkeypatch.setattr(page_browser, "find_spec", lambda name: name)
    figures = page.run(parts=["click"], quick=True)["figures"]
    assert figures["page_click"]["value"] is None and "apt-get install chromium" in figures["page_click"]["unit"]


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(BadInput, match="'scroll' is no part of this: take some of paint, click, beside"):
        page.run(parts=["scroll"])
