"""Presets: a strategy by name, with what a run file may leave open.

A new preset is one line in `PRESETS`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """What a preset decides: the strategy of the search."""

    strategy: str


PRESETS: dict[str, Preset] = {"default": Preset("ehvi")}
