"""How a family describes its models: places where an operator stands."""

from collections.abc import Callable
from dataclasses import dataclass

from .operators import Operator


@dataclass(frozen=True)
class Site:
    """A place in a model where an operator stands.

    `operator(*values)` and `repeats(*values)` are called with the values of the genes `reads`, in that order.
    """

    name: str
    reads: tuple[str, ...]
    operator: Callable[..., Operator]
    repeats: Callable[..., int] = lambda *values: 1
