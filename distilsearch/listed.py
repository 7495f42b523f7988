"""A space that is a list of architectures: results that somebody has, sub-networks of a table, a hand-picked few."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .architecture import Architecture, Value
from .errors import InputError
from .space import Codes, Parameter, SearchSpace, Size


class ListedSpace(SearchSpace):
    """Exactly some architectures; made by `SearchSpace.of`.

    Raises:
        InputError: there are none, or they differ in family or in the names of their genes.
    """

    def __init__(self, architectures: Sequence[Architecture], unordered: Sequence[str] = ()) -> None:
        members = list(dict.fromkeys(_checked(architectures)))
        names = list(members[0].values)
        parameters = [_parameter(name, [member[name] for member in members], unordered) for name in names]
        places = [{choice: code for code, choice in enumerate(parameter.choices)} for parameter in parameters]
        codes = [[place[a[p.name]] for place, p in zip(places, parameters, strict=True)] for a in members]
        self._members: Codes = np.unique(np.array(codes, dtype=np.int16), axis=0)
        self._members.flags.writeable = False
        super().__init__(members[0].family, parameters)

    @cached_property
    def size(self) -> Size:
        """The number of architectures; exact."""
        return Size(len(self._members))

    @cached_property
    def _keys(self) -> frozenset[bytes]:
        return frozenset(row.tobytes() for row in self._members)

    def valid(self, codes: Codes) -> npt.NDArray[np.bool_]:
        """Which rows (n,) are of the list."""
        rows = np.ascontiguousarray(codes, dtype=np.int16)
        return np.array([row.tobytes() in self._keys for row in rows], dtype=bool)

    def sample(self, n: int, rng: np.random.Generator) -> Codes:
        """Codes (n, d), each row uniform over the list; rows may repeat."""
        return np.asarray(self._members[rng.integers(len(self._members), size=n)])

    def grid(self, limit: int) -> Codes:
        """Every row, in lexicographic order; not to be written to."""
        self._check_limit(limit)
        return self._members


def _checked(architectures: Sequence[Architecture]) -> Sequence[Architecture]:
    if not len(architectures):
        raise InputError("a space of a list needs at least one architecture")
    for one in architectures:
        if not isinstance(one, Architecture):
            raise InputError(f"a space of a list is made of Architecture values; got {one!r:.80}")
        first = architectures[0]
        if (one.family, set(one.values)) != (first.family, set(first.values)):
            raise InputError(
                f"the architectures of a space must have one family and the same genes; {dict(first.values)} of"
                f" {first.family} and {dict(one.values)} of {one.family} do not"
            )
    return architectures


def _parameter(name: str, values: Sequence[Value], unordered: Sequence[str]) -> Parameter:
    """A gene of numbers is ordered unless it is said not to be; one that holds text never is."""
    choices = list(dict.fromkeys(values))
    numbers = all(isinstance(choice, int | float) for choice in choices)
    return Parameter(name, tuple(sorted(choices, key=float if numbers else str)), numbers and name not in unordered)
