"""Figures of `vidmem bench policies`, of one seed or the means of several, as one table and as a plot.

`python -m vidmem.bench.policy_table PICTURE RESULT.json...` draws the picture and prints the table for a document.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SHARES = ("accuracy", "what", "when", "order", "how_many")
_HEADING = ("minutes", "policy", "right", "what", "when", "order", "how many", "MB", "ms a frame", "ms a read")
_NAME = re.compile(r"policy_(?P<policy>.+)_(?P<minutes>\d+)min_(?P<what>\w+)")
_STYLES = ("-", "--", ":")
_LINES_IN_STYLE = 6
_CODED = ":coded"


def by_policy(results: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, dict[str, float]]]:
    """Minutes, then policies, the best of these first, then what was measured: means over the results."""
    values: dict[int, dict[str, dict[str, list[float]]]] = {}
    for result in results:
        for name, figure in result["figures"].items():
            if found := _NAME.fullmatch(name):
                cells = values.setdefault(int(found["minutes"]), {}).setdefault(found["policy"], {})
                cells.setdefault(found["what"], []).append(figure["value"])
    table = {
        minutes: {policy: {what: statistics.mean(all_) for what, all_ in cells.items()} for policy, cells in of.items()}
        for minutes, of in values.items()
    }
    return {minutes: dict(sorted(of.items(), key=lambda entry: -entry[1]["accuracy"])) for minutes, of in table.items()}


def rows(results: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Cells as people read them, a heading first."""
    shown: list[tuple[str, ...]] = [_HEADING]
    for minutes, policies in by_policy(results).items():
        for policy, cells in policies.items():
            shares = (f"{cells[kind]:.2f}" if kind in cells else "" for kind in SHARES)
            costs = f"{cells['bytes'] / 1e6:.1f}", f"{cells['write']:.2f}", f"{cells['read']:.2f}"
            shown.append((str(minutes), policy.replace(_CODED, " (as coded)"), *shares, *costs))
    return shown


def others(result: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that are not in the table."""
    return {name: figure for name, figure in result["figures"].items() if not _NAME.fullmatch(name)}


def draw(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Right answers of each policy, less the coded forms, over the length of the video.

    The suffix of `path` says which kind of picture.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    table = by_policy(results)
    lengths = sorted(table)
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    ours = [policy for policy in table[lengths[-1]] if not policy.endswith(_CODED)]
    for place, policy in enumerate(ours):
        right = [table[minutes][policy]["accuracy"] for minutes in lengths]
        style, colour = _STYLES[place // _LINES_IN_STYLE % len(_STYLES)], f"C{place % _LINES_IN_STYLE}"
        axes.plot(lengths, right, style, color=colour, marker="o", label=policy)
    axes.set_xscale("log")
    axes.set_xticks(lengths, [str(minutes) for minutes in lengths], minor=False)
    axes.minorticks_off()
    axes.set(xlabel="minutes of video", ylabel="share of right answers", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(title="best at the end first", bbox_to_anchor=(1.0, 1.0), loc="upper left", frameon=False)
    figure.savefig(path)
    pyplot.close(figure)


def main(picture: str, *names: str) -> None:
    results = [json.loads(Path(name).read_text(encoding="utf-8")) for name in names]
    draw(results, Path(picture))
    heading, *body = rows(results)
    for cells in (heading, ("---",) * len(heading), *body):
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(*sys.argv[1:])
