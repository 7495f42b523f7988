"""What `profile` is to time for run files: their spaces, as their targets serve on this device. Loads no library."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from distilsearch.errors import InputError
from distilsearch.operators import TORCH, Serving
from distilsearch.profiling.device import Device, fingerprint
from distilsearch.space import SearchSpace

from .runfile.config import Run

SEVERAL = ("batch", "sequence")  # of what is given: lists of values


def covered(
    runs: Sequence[Run], device: Device, given: Mapping[str, Any], plain: bool = False
) -> dict[Serving, list[SearchSpace]]:
    """The spaces to time under each serving, in order.

    Args:
        runs: whose spaces, and how they are served.
        given: fields of a serving that stand instead of what the runs say; lists of batches and sequences.
        plain: the runs are only an example, and say nothing of how anybody serves.

    Raises:
        InputError: none of a run's targets is this device, and not all that matters is given.
    """
    parts: dict[Serving, list[SearchSpace]] = {}
    several = [[(name, value) for value in given[name]] for name in SEVERAL if name in given]
    single = {name: value for name, value in given.items() if name not in SEVERAL}
    for run in runs:
        space = run.students()
        said = [Serving()] if plain else servings_here(run, device, complete=len(several) == len(SEVERAL))
        for serving, changes in itertools.product(said, itertools.product(*several)):
            parts.setdefault(replace(serving, **single, **dict(changes)), []).append(space)
    return parts


def servings_here(run: Run, device: Device, complete: bool = False) -> list[Serving]:
    """How a run's targets on a device of this machine are served: named by kind, by its table's fingerprint, or auto.

    `complete`: sizes are given elsewhere, so that a run that serves on other machines will do.
    """
    own = fingerprint(device.facts())
    here = [t for t in run.target if t.device in ("auto", device.name) or own.startswith(t.device)]
    if not here and not complete:
        there = ", ".join(sorted({target.device for target in run.target}))
        raise InputError(
            f"the run {run.name!r} serves on {there}, and not on the {device.name} of this machine ({own}): name"
            " another --device, or say how it is served with --batch and --sequence"
        )
    return list(dict.fromkeys(serving for target in here for serving in target.servings)) or [Serving()]


def in_words(serving: Serving) -> str:
    """How something is served, in a line."""
    threads = f"{serving.threads} threads" if serving.threads else "all threads"
    issued = serving.mode if serving.runtime == TORCH else serving.runtime
    return f"batch {serving.batch}, {serving.sequence} tokens, {serving.dtype}, {threads}, {issued}"
