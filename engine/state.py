"""States of engines as plain JSON, read with care: they come from files that others may have written or cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError

from .objectives import AnyLimit, Expensive, Objective
from .record import Tell, checked_reference
from .refusals import check_state, check_values
from .values import entry, items, mapping, maybe, number, text, whole


@dataclass(frozen=True)
class State:
    """What a state says, of values as they should be."""

    seed: int
    counter: int
    initial: int | list[Architecture]
    given: dict[str, float]
    frozen: dict[str, float] | None
    strategy: tuple[str, Mapping[str, Any]]
    tells: list[Tell]
    pending: list[Architecture]
    failed: dict[Architecture, str]
    first: list[Architecture]

    @classmethod
    def read(cls, state: object, objectives: Sequence[Objective], limits: Sequence[AnyLimit]) -> "State":
        """A state of these objectives and limits; an `InputError` says what is wrong with it."""
        what = "an engine state"
        held = mapping(what, state)
        check_state(held, objectives, limits)
        told = (*objectives, *(limit for limit in limits if isinstance(limit, Expensive)))
        reference, rule = entry(what, held, "reference", mapping), entry(what, held, "strategy", mapping)
        failures = [mapping("a failure", failure) for failure in entry(what, held, "failed", items)]
        return cls(
            seed=entry(what, held, "seed", whole),
            counter=entry(what, held, "counter", whole),
            initial=entry(what, held, "initial", _initial),
            given=checked_reference(entry("a reference", reference, "given", mapping), tuple(objectives)),
            frozen=_frozen(entry("a reference", reference, "frozen", maybe(mapping)), objectives),
            strategy=(entry("a strategy", rule, "name", text), entry("a strategy", rule, "options", mapping)),
            tells=[_tell(tell, told) for tell in entry(what, held, "tells", items)],
            pending=entry(what, held, "pending", _architectures),
            failed={
                Architecture.from_json(entry("a failure", f, "architecture", mapping)): entry(
                    "a failure", f, "reason", text
                )
                for f in failures
            },
            first=_architectures(what, held.get("first", [])),
        )


def _initial(what: str, value: object) -> int | list[Architecture]:
    if isinstance(value, int):
        return whole(what, value, 1)
    return _architectures(what, value)


def _architectures(what: str, value: object) -> list[Architecture]:
    return [Architecture.from_json(a) for a in items(what, value)]


def _frozen(frozen: Mapping[str, Any] | None, objectives: Sequence[Objective]) -> dict[str, float] | None:
    return None if frozen is None else whole_reference(frozen, tuple(objectives))


def whole_reference(reference: Mapping[str, float], objectives: tuple[Objective, ...]) -> dict[str, float]:
    """A reference that has a number for each objective."""
    numbers = checked_reference(reference, objectives)
    if missing := [o.name for o in objectives if o.name not in numbers]:
        raise InputError(f"a frozen reference needs a number for each objective; {missing} have none")
    return numbers


def _tell(told: object, objectives: Sequence[Objective]) -> Tell:
    what = "a tell"
    values = entry(what, told, "values", mapping)
    noise, fidelity, area = (
        None if mapping(what, told).get(name) is None else entry(what, told, name, number)
        for name in ("noise", "fidelity", "area")
    )
    check_values(objectives, values, noise, fidelity, area)
    architecture = Architecture.from_json(entry(what, told, "architecture", mapping))
    return Tell(architecture, {name: number(name, value) for name, value in values.items()}, noise, fidelity, area)
