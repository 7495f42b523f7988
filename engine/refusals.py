"""What an engine refuses to be told, and what to do instead."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError, unknown
from distilsearch.space import SearchSpace

from .objectives import AnyLimit, Cap, Codes, Expensive, Objective
from .values import architectures as checked_architectures
from .values import entry, items, mapping, number

SCHEMA = 1
WITH_LIMITS = 2  # of a state with limits: what would not hold them must not read it
WITH_LEARNT_LIMITS = 3  # of one that holds told values of limits, too


def check_members(space: SearchSpace, architectures: Sequence[Architecture]) -> None:
    """An `InputError` where one is no canonical member of the space."""
    architectures = checked_architectures("what an engine is told of", architectures)
    codes = space.encode(architectures)
    for architecture, row, good in zip(architectures, codes, space.valid(codes), strict=True):
        if not good or space.decode(row[None])[0] != architecture:
            raise InputError(
                f"{dict(architecture.values)} is no canonical member of this space: it breaks a constraint or"
                " sets a gene that does not matter; take architectures from ask, or space.decode(space.canonical())"
            )


def check_genes(space: SearchSpace, objectives: Sequence[Objective | AnyLimit]) -> None:
    """An `InputError` where an objective is to ignore, or to be told together for, what is no gene."""
    for name in (name for o in objectives if isinstance(o, Expensive) for name in (*o.ignores, *o.together)):
        space.column(name)


def check_limits(limited: Sequence[Cap], codes: Codes, architectures: Sequence[Architecture]) -> None:
    """An `InputError` where one of the architectures of `codes` (n, d) is not bound to keep every limit."""
    for limit in limited:
        if len(codes) and not (good := limit.within(codes)).all():
            broken = dict(architectures[int((~good).argmax())].values)
            raise InputError(f"the initial architecture {broken} breaks {limit}")


def check_values(
    objectives: Sequence[Objective],
    values: Mapping[str, float],
    noise: float | None,
    fidelity: float | None,
    area: float | None = None,
) -> None:
    """An `InputError` where a result names no objective, holds none to learn, or is not finite."""
    names = [o.name for o in objectives]
    for name, value in mapping("a result", values).items():
        if name not in names:
            raise unknown("objective", name, names)
        if not math.isfinite(number(name, value)):
            raise InputError(f"expected a finite {name}; got {value}; tell a failed trial with fail()")
    for what, given in (("noise", noise), ("fidelity", fidelity), ("area", area)):
        if given is not None:
            number(what, given)
    learnt = [o.name for o in objectives if isinstance(o, Expensive)]
    if not set(learnt) & set(values):
        raise InputError(f"a result must hold one of {learnt} at least; got {sorted(values)}")
    if noise is not None and not (math.isfinite(noise) and noise >= 0):
        raise InputError(f"noise is a standard deviation, not negative; got {noise}")
    if fidelity is not None and not (math.isfinite(fidelity) and fidelity > 0):
        raise InputError(f"fidelity is a positive amount of training; got {fidelity}")
    if area is not None and (len(learnt) > 1 or fidelity is None or not math.isfinite(area)):
        raise InputError(
            "an area is the finite mean of the one expensive objective over a training whose fidelity is told; got "
            f"{area} for {learnt} at fidelity {fidelity}"
        )


def check_spaces(space: SearchSpace, sources: Sequence[Objective | AnyLimit]) -> None:
    """An `InputError` where a function was compiled for codes of other genes, as a predictor's latency is."""
    for source in sources:
        for name in ("function", "spread", "upper", "lower"):
            function = getattr(source, name, None)
            while isinstance(function, partial):
                function = function.func
            other = getattr(getattr(function, "__self__", function), "space", None)
            if isinstance(other, SearchSpace) and (unlike := _unlike(space, other)):
                raise InputError(
                    f"the {name} of {source.name!r} was compiled for another space: {unlike}; compile it for the"
                    " engine's space, as in predictor.compile(space, serving)"
                )


def _unlike(space: SearchSpace, other: SearchSpace) -> str:
    """What codes of two spaces do not have in common, in words."""
    if (space.family, space.names) != (other.family, other.names):
        return (
            f"its genes are {', '.join(other.names)} of {other.family}, not {', '.join(space.names)} of {space.family}"
        )
    for own, foreign in zip(space.parameters, other.parameters, strict=True):
        if own.choices != foreign.choices:
            return f"{own.name} is one of {list(foreign.choices)} there and of {list(own.choices)} here"
    return ""


def schema_of(limits: Sequence[AnyLimit]) -> int:
    """The schema of a state with such limits: the first version that can read it."""
    learnt = any(isinstance(limit, Expensive) for limit in limits)
    return WITH_LEARNT_LIMITS if learnt else WITH_LIMITS if limits else SCHEMA


def check_state(state: Mapping[str, Any], objectives: Sequence[Objective], limits: Sequence[AnyLimit] = ()) -> None:
    """An `InputError` where a state is of another version, or of other objectives or limits."""
    if (got := state.get("schema")) not in (SCHEMA, WITH_LIMITS, WITH_LEARNT_LIMITS):
        expected = f"{SCHEMA} to {WITH_LEARNT_LIMITS}"
        raise InputError(f"expected an engine state of schema {expected}; got {got!r}; use the version that wrote it")
    now = [[o.name, type(o).__name__, o.goal] for o in objectives]
    told = entry("an engine state", state, "objectives", items)
    if [list(o) if isinstance(o, list | tuple) else o for o in told] != now:
        raise InputError(f"the state is of objectives {told}; got {now}")
    there, names = items("'limits' of an engine state", state.get("limits", [])), [limit.name for limit in limits]
    if there != names:
        raise InputError(f"the state is of the limits {there}; got {names}")
