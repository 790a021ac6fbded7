"""Draw what a command printed as a picture of a terminal (SVG, no outside fonts).

vidmem demo | python docs/terminal_picture.py "make demo" > docs/demo.svg
"""

from __future__ import annotations

import io
import sys

from rich.console import Console
from rich.text import Text

FRAME = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 16px; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def draw(command: str, printed: str) -> str:
    """The SVG of a terminal in which `command` was typed and `printed` came out."""
    lines = printed.rstrip().splitlines()
    width = max(80, min(120, max(map(len, lines), default=0) + 1))
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ ", style="green") + Text(command, style="bold"))
    for line in lines:
        console.print(Text(line), overflow="ellipsis", no_wrap=True)
    return console.export_svg(title="vidmem", code_format=FRAME, unique_id="vidmem")


if __name__ == "__main__":
    sys.stdout.write(draw(sys.argv[1], sys.stdin.read()))
