"""The names of the forms in which blocks are stored. Imports nothing, so that a preset can be read without torch."""

from __future__ import annotations

from typing import Literal

Format = Literal["none", "int8", "int4", "int2", "kivi2"]
"""How blocks are stored: as they are, or in 8, 4 or 2 bits with a step and a start for each group."""
