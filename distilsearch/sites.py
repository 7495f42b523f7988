"""How a family describes its models: places where an operator stands."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .operators import Operator


@dataclass(frozen=True)
class Site:
    """A place in a model where an operator stands.

    `operator` is called with the values of the genes `reads`, in that order, and says None of values that fit no
    model; `repeats` is called with those of `times`. What only repeats an operator stays out of its table that way.
    """

    name: str
    reads: tuple[str, ...]
    operator: Callable[..., Operator | None]
    times: tuple[str, ...] = ()
    repeats: Callable[..., int] = lambda: 1


def repeated(
    name: str,
    reads: tuple[str, ...],
    operator: Callable[..., Operator | None],
    count: int = 1,
    times: tuple[str, ...] = ("layers",),
) -> Site:
    """A site with `count` operators in each layer, or in each of the product of other genes."""
    return Site(name, reads, operator, times, lambda *values: count * math.prod(values))


def only(gene: str, choice: Any, name: str, reads: tuple[str, ...], operator: Callable[..., Operator | None]) -> Site:
    """A site of models that have one choice of a gene."""
    return Site(name, reads, operator, (gene,), lambda value: int(value == choice))
