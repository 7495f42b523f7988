"""What spaces are made of: genes with their choices, conditions on them, and a count that says how sure it is."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .architecture import Value
from .errors import InputError


@dataclass(frozen=True)
class Parameter:
    """One gene: its name and choices. `ordered=False` makes it categorical."""

    name: str
    choices: tuple[Value, ...]
    ordered: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InputError(f"the name of a parameter is text; got {self.name!r}")
        if isinstance(self.choices, str | Mapping) or not isinstance(self.choices, Iterable):
            raise InputError(f"parameter {self.name!r} needs a list of choices; got {self.choices!r}")
        object.__setattr__(self, "choices", tuple(self.choices))
        for choice in self.choices:
            if not isinstance(choice, int | float | str | bool | np.generic):
                raise InputError(f"a choice of parameter {self.name!r} must be a number or text; got {choice!r}")
        if not self.choices:
            raise InputError(f"parameter {self.name!r} has no choices; give at least one")
        if len(set(self.choices)) < len(self.choices):  # 0, 0.0 and False are equal, and could not be told apart
            raise InputError(f"parameter {self.name!r} repeats a choice: {list(self.choices)}")


@dataclass(frozen=True)
class Constraint:
    """A condition on some genes: `holds(*values)` in the order of `reads`.

    A rule that reads many genes is asked row by row; what it leaves of the space is then an estimate.
    With `reads=None` it is opaque: `holds(values)` gets the mapping of all genes, row by row, and the size of
    the space becomes an estimate.
    """

    reads: tuple[str, ...] | None
    holds: Callable[..., bool]
    message: str = ""


class Size(int):
    """The number of distinct valid architectures; `exact` is False where it was estimated by sampling."""

    exact: bool

    def __new__(cls, value: int, exact: bool = True) -> "Size":
        size = super().__new__(cls, value)
        size.exact = exact
        return size

    def __str__(self) -> str:
        count = f"{int(self):,}" if self < 10**9 else f"{float(self):.3g}" if self < 10**300 else "over 1e300"
        return count if self.exact else f"about {count} (estimated)"
