"""What `profile` is to time for run files: their spaces, as their targets serve on this device. Loads no library."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from distilsearch.errors import InputError
from distilsearch.operators import TORCH, USUAL_SEQUENCE, Serving
from distilsearch.profiling.device import Device, fingerprint
from distilsearch.progress import Progress, silent
from distilsearch.request_lengths import RequestLengths, is_written
from distilsearch.space import SearchSpace

from ..runfile.config import Run
from ..runfile.sections import TargetSection
from ..runfile.serving import LENGTHS
from ..serving.asked import check_lengths, targets_on, with_given

SEVERAL = ("batch", "sequence")  # of what is given: lists of values


def covered(
    runs: Sequence[Run],
    device: Device,
    given: Mapping[str, Any],
    plain: bool = False,
    progress: Progress = silent,
) -> dict[Serving, list[SearchSpace]]:
    """The spaces to time under each serving, in order.

    Args:
        runs: whose spaces, and how they are served.
        given: fields of a serving that stand instead of what the runs say; lists of batches and sequences; as `lengths`
            "text", a file of requests, or a line of lengths.
        plain: the runs are only an example, and say nothing of how anybody serves.

    Raises:
        InputError: none of a run's targets is this device, and not all that matters is given.
    """
    parts: dict[Serving, list[SearchSpace]] = {}
    several = [[(name, value) for value in given[name]] for name in SEVERAL if name in given]
    single = {name: value for name, value in given.items() if name not in (*SEVERAL, LENGTHS)}
    check_lengths(given)
    for run in runs:
        space = run.students()
        complete = "batch" in given and not given.keys().isdisjoint(("sequence", LENGTHS))
        targets = [TargetSection()] if plain else targets_here(run, device, complete)
        for target, changes in itertools.product(targets, itertools.product(*several)):
            servings = _servings(run, target, given.get(LENGTHS), dict(changes), progress)
            for serving in with_given(servings, single):
                spaces = parts.setdefault(serving, [])
                spaces += [] if space in spaces else [space]
    return parts


def _servings(
    run: Run, target: TargetSection, lengths: str | None, changes: Mapping[str, Any], progress: Progress
) -> list[Serving]:
    """How a target serves, with another batch and one length instead of its own, or with lengths that are given.

    Lengths that a run's folder has kept are of its own batch, and are not counted again for that.
    """
    own = list(target.servings)
    batches = {changes.get("batch", serving.batch) for serving in own}
    kept = target.request_lengths is not None and batches == {target.conditions.batch}
    if kept and not lengths and "sequence" not in changes:
        return own
    own = with_given([serving.of_one_length for serving in own], changes)
    place = lengths or (None if "sequence" in changes else target.lengths_from)
    if place is None:
        return own
    lengths_at = {batch: _lengths(run, place, batch, progress) for batch in batches}
    return [replace(one, sequence=USUAL_SEQUENCE, padded=False, lengths=lengths_at[one.batch]) for one in own]


def _lengths(run: Run, place: str, batch: int, progress: Progress) -> RequestLengths:
    """The lengths of requests that a user names: a line of them, or a text or a file that is counted."""
    if is_written(place):
        return RequestLengths.parse(place)
    from ..serving.lengths import counted_for  # which loads what reads a teacher

    return counted_for(run, place, batch, progress)


def targets_here(run: Run, device: Device, complete: bool = False) -> list[TargetSection]:
    """A run's targets on a device of this machine: named by kind, by its table's fingerprint, or auto.

    `complete`: sizes are given elsewhere, so that a run that serves on other machines will do.
    """
    here = targets_on(run, device)
    if not here and not complete:
        there, own = ", ".join(sorted({target.device for target in run.target})), fingerprint(device.facts())
        raise InputError(
            f"the run {run.name!r} serves on {there}, and not on the {device.name} of this machine ({own}): name"
            " another --device, or say how it is served with --batch and --sequence"
        )
    return here or [TargetSection()]


def in_words(serving: Serving) -> str:
    """How something is served, in a line."""
    threads = f"{serving.threads} thread{'s' * (serving.threads > 1)}" if serving.threads else "all threads"
    issued = serving.mode if serving.runtime == TORCH else serving.runtime
    return f"batch {serving.batch}, {serving.tokens}, {serving.dtype}, {threads}, {issued}"
