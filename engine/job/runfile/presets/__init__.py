"""Presets by name, one short file each. A new one is one file of the same shape, and one line in `PRESETS`."""

from distilsearch.errors import InputError, unknown

from .autodistil import AUTODISTIL
from .autodistill import AUTODISTILL
from .default import DEFAULT
from .kdnas import KDNAS
from .preset import CHOOSES, KINDS, Preset, merged

__all__ = ["CHOOSES", "KINDS", "PRESETS", "Preset", "check_serves", "merged", "preset"]

PRESETS: dict[str, Preset] = {
    "default": DEFAULT,
    "autodistill": AUTODISTILL,
    "autodistil": AUTODISTIL,
    "kdnas": KDNAS,
}


def preset(name: str) -> Preset:
    """The preset of that name; an `InputError` names the nearest known one."""
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]


def check_serves(name: str, teacher: str, kind: str) -> None:
    """An `InputError` where a preset does not serve a kind of teacher; it names those that do."""
    served = preset(name).kinds
    if kind in served:
        return
    fitting = ", ".join(repr(other) for other, one in PRESETS.items() if kind in one.kinds)
    raise InputError(
        f"the preset {name!r} serves {' and '.join(KINDS[one] for one in served)} teachers, and {teacher} is "
        f"{'an' if kind == 'embedding' else 'a'} {KINDS[kind]} model; presets that serve it: {fitting}"
    )
