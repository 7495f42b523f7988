"""Which combinations of a serving's choices there are: those that some device could serve, and which this one can.

A combination that no machine has (int8 by torch, a mode of torch's under another runtime) is left out of the space, by
the run file alone: so a run has the same space wherever it goes on. One that this machine lacks is refused, and it is
said what to take out: a table that is silently not searched would be worse.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from distilsearch.errors import DistilSearchError, InputError
from distilsearch.operators import TORCH, Serving

TORCH_SERVES = ("float32", "bfloat16", "float16")  # of which a device may lack some


def possible(value: Mapping[str, Any]) -> tuple[Serving, ...]:
    """The servings of a serving's table whose lists are choices: every combination that there is, in order.

    Raises:
        InputError: a choice has no combination at all, or there is but one serving and it is none.
    """
    listed = {name: choices for name, choices in value.items() if isinstance(choices, list)}
    if not listed:
        return (Serving.from_json(value),)
    servings = []
    for combination in product(*listed.values()):
        one = {**value, **dict(zip(listed, combination, strict=True))}
        if not impossible(one):
            servings.append(Serving.from_json(one))
    for name, choices in listed.items():
        for choice in choices:
            if not any(getattr(serving, name) == choice for serving in servings):
                raise InputError(_nowhere(value, listed, name, choice))
    return tuple(servings)


def check_possible(serving: Serving) -> None:
    """Refuse a way of serving that no machine has, so that no table can hold it, and say who serves so.

    Raises:
        InputError: the runtime serves no such precision on any device.
    """
    from distilsearch.profiling.runtimes import runtime_names

    served = _served_by(serving.runtime)
    if serving.dtype not in served:
        others = [repr(name) for name in runtime_names() if serving.dtype in _served_by(name)]
        more = f" (runtime {' or '.join(others)} serves that)" if others else ""
        raise InputError(f"{serving.runtime} serves {' or '.join(served)}; got dtype {serving.dtype!r}{more}")


def impossible(one: Mapping[str, Any]) -> bool:
    """Whether no machine serves so: known of runtime, precision and mode alone; other mistakes are others' to name."""
    runtime = one.get("runtime", TORCH)
    if runtime != TORCH and one.get("mode", "eager") != "eager":
        return True
    return Serving.from_json({**one, "mode": "eager"}).dtype not in _served_by(runtime)


def _served_by(runtime: str) -> Sequence[str]:
    from distilsearch.profiling.runtimes import named

    return TORCH_SERVES if runtime == TORCH else named(runtime).dtypes or TORCH_SERVES


def _nowhere(value: Mapping[str, Any], listed: Mapping[str, Sequence[Any]], name: str, choice: Any) -> str:
    others = {**{other: value[other] for other in ("runtime", "dtype", "mode") if other in value}, **listed}
    with_ = ", ".join(f"{other} = {given!r}" for other, given in others.items() if other != name)
    return f"serving {name} {choice!r} is served with none of {with_ or 'the usual others'}; leave it out"


def refused(servings: Sequence[Serving], check: Callable[[Serving], object]) -> None:
    """Refuse choices of which this machine cannot serve one, saying which, and why.

    Args:
        check: raises one of our errors where it cannot serve so.
    """
    causes: dict[Serving, DistilSearchError] = {}
    for serving in servings:
        try:
            check(serving)
        except DistilSearchError as error:
            causes[serving] = error
    if not causes:
        return
    if len(servings) == 1:
        raise next(iter(causes.values()))
    listed = "; ".join(f"{in_short(serving)}: {error}" for serving, error in causes.items())
    raise InputError(f"of {len(servings)} ways of serving, this machine lacks {len(causes)} ({listed}); leave them out")


def in_short(serving: Serving) -> str:
    """Who runs it, and how: such as "torch bfloat16", "torch compile float32" or "onnxruntime int8"."""
    mode = f" {serving.mode}" if serving.mode != "eager" else ""
    return f"{serving.runtime}{mode} {serving.dtype}"
