"""How a prediction is to be served: as a run's target serves, but for what is given instead. Loads no library."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distilsearch import profiling
from distilsearch.distill.teachers.named import check_names
from distilsearch.errors import InputError
from distilsearch.operators import TORCH, USUAL_SEQUENCE, Serving, named_dtype
from distilsearch.places import FINGERPRINT
from distilsearch.profiling.device import Device, fingerprint
from distilsearch.profiling.devices import DEVICES
from distilsearch.request_lengths import RequestLengths, is_written

from ..runfile.config import Run
from ..runfile.sections import TargetSection
from ..runfile.serving import CHOICES, LENGTHS, OF_TEXT
from .combinations import impossible, in_short

AUTO = "auto"


@dataclass(frozen=True)
class Way:
    """One way of serving, on one device.

    Attributes:
        device: by any of its names.
        serving: of requests of one length, unless their lengths are known already.
        lengths: where the lengths of requests are still to be counted: "text", or a file of some.
        others: of the run's target that is meant, in short: what else it serves by.
        targets: how many of the run's it may have been, of which this is the first.
    """

    device: str
    serving: Serving
    lengths: str | None = None
    others: tuple[str, ...] = ()
    targets: int = 1

    def of(self, lengths: RequestLengths) -> Serving:
        """The serving with the lengths of requests counted."""
        return replace(self.serving, sequence=USUAL_SEQUENCE, padded=False, lengths=lengths)


def way_of(run: Run | None, device: str | None, given: Mapping[str, Any], store: Path | None = None) -> Way:
    """The way of serving that is asked for.

    Args:
        run: whose target says what is not given; without one it is a batch of 1, 128 tokens, float32 in torch.
        device: a name of it; the target's where none is given.
        given: fields of a serving; `lengths` as a user gives them: "text", a file, or a line of lengths.
        store: the folder of the tables by whose names a device may be called.

    Raises:
        InputError: fields are given that do not go together.
    """
    check_lengths(given)
    targets = [TargetSection()] if run is None else _targets(run, device, store)
    target = targets[0]
    serving, others = _chosen(target, {name: value for name, value in given.items() if name != LENGTHS})
    way = Way(device or target.device, serving, None, tuple(in_short(other) for other in others), len(targets))
    place = given.get(LENGTHS, None if "sequence" in given else target.lengths_from)
    if LENGTHS not in given and target.request_lengths is not None and serving.batch == target.conditions.batch:
        place = target.request_lengths if place is not None else None
    if place is None:
        return way
    counted = RequestLengths.parse(place) if is_written(place) else None
    return replace(way, lengths=place) if counted is None else replace(way, serving=way.of(counted))


def check_lengths(given: Mapping[str, Any]) -> None:
    """Refuse lengths of requests that cannot be had, or do not go with what else is given; nothing is loaded for it.

    Raises:
        InputError: they are neither those of a text, nor a file that is there, nor a line of lengths.
    """
    lengths = given.get(LENGTHS)
    if lengths is None:
        return
    if "sequence" in given:
        raise InputError("--sequence is one length for all requests, and --lengths are their own; give one of them")
    if not lengths.strip():
        raise InputError("--lengths should be text, or a file of requests, one a line; got nothing")
    if lengths != OF_TEXT and not is_written(lengths):
        check_names([], (), [Path(lengths)], "a file of requests, one a line")


def targets_on(run: Run, device: Device) -> list[TargetSection]:
    """A run's targets that a device of this machine is: by kind, by the fingerprint of its table, or auto."""
    return _targets_of(run, device.name, fingerprint(device.facts()), AUTO)


def _targets_of(run: Run, *names: str) -> list[TargetSection]:
    """The targets that are called so, or by the first digits of a fingerprint, whatever the stack."""
    return [target for target in run.target if any(_calls(target.device, name) for name in names)]


def _calls(device: str, name: str) -> bool:
    digits = device.partition("/")[0]
    return device == name or (FINGERPRINT.fullmatch(name) is not None and name.startswith(digits))


def _targets(run: Run, device: str | None, store: Path | None) -> list[TargetSection]:
    """The targets that may be meant: those of the device, else all of them."""
    same = [target for target in run.target if target.device == device]
    if same or device is None or len(run.target) == 1:
        return same or list(run.target)
    with suppress(InputError):  # whoever looks for its table says what to do
        if device in (*DEVICES, AUTO):
            same = targets_on(run, profiling.open_device(device))
        elif (table := profiling.find_table(device, store)) is not None:
            same = _targets_of(run, str(table.meta.device.get("kind")), fingerprint(table.meta.device))
    return same or list(run.target)


def _chosen(target: TargetSection, given: Mapping[str, Any]) -> tuple[Serving, list[Serving]]:
    """The target's first way of serving that has what is given, else the first one with that instead; and the others.

    What of the lengths of requests is known already is left out.
    """
    given = {name: named_dtype(value) if name == "dtype" else value for name, value in given.items()}
    ways = [way if way.lengths is None else replace(way, lengths=None, sequence=USUAL_SEQUENCE) for way in
            target.servings]  # fmt: skip
    fitting = [way for way in ways if all(getattr(way, name) == given[name] for name in CHOICES if name in given)]
    return with_given((fitting or ways)[:1], given)[0], fitting[1:]


def with_given(servings: Sequence[Serving], given: Mapping[str, Any]) -> list[Serving]:
    """Ways of serving with what is given instead of their own; those that no machine has then are left out.

    Where none is left, none is left out: whoever is asked for them says why it cannot be.
    """
    own: dict[str, Any] = {"mode": "eager"} if given.get("runtime", TORCH) != TORCH else {}  # mode is torch's
    own |= {"padded": False} if given.get("batch") == 1 else {}
    instead = own | dict(given)

    def choices(one: Serving) -> dict[str, Any]:
        return {name: instead.get(name, getattr(one, name)) for name in CHOICES}

    there = [one for one in servings if not impossible(choices(one))]
    return [replace(one, **instead) for one in there or servings]
