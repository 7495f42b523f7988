"""Presets by name, one short file each. A new one is one file of the same shape, and one line in `PRESETS`."""

from distilsearch.errors import unknown

from .default import DEFAULT
from .preset import CHOOSES, Preset, merged

__all__ = ["CHOOSES", "PRESETS", "Preset", "merged", "preset"]

PRESETS: dict[str, Preset] = {"default": DEFAULT}


def preset(name: str) -> Preset:
    """The preset of that name; an `InputError` names the nearest known one."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]
