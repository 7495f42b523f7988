"""Strategies: who is trained next. One file each, all of the same shape; `STRATEGIES` lists them.

A strategy is a frozen value with a `name`, options that are plain JSON, and two methods: what it
can search, and what comes next.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from distilsearch.errors import InputError, unknown
from distilsearch.space import SearchSpace

from ..objectives import Codes, Objective
from ..view import View
from .ehvi import EHVI
from .enumerate import Enumerate
from .kdnas import KDNAS
from .random import Random
from .reward import Reward


class Strategy(Protocol):
    """Chooses what to train next."""

    @property
    def name(self) -> str:
        """The name it is listed under."""
        ...

    @property
    def needs_design(self) -> bool:
        """Whether an initial design comes first."""
        ...

    def check(self, space: SearchSpace, objectives: Sequence[Objective]) -> None:
        """An `InputError` where it cannot search this space for these objectives: told before anything is trained."""
        ...

    def propose(self, view: View, n: int, rng: np.random.Generator) -> Codes:
        """At most n distinct codes that are free; fewer when the space is exhausted."""
        ...

    def options(self) -> dict[str, Any]:
        """What to call it with to have it again: plain JSON."""
        ...


STRATEGIES: dict[str, Callable[..., Strategy]] = {
    "ehvi": EHVI,
    "reward": Reward,
    "enumerate": Enumerate,
    "random": Random,
    "kdnas": KDNAS,
}
"""How to make each known strategy from its options; a plugin may add its own."""


def find_strategy(given: str | Strategy, options: Mapping[str, Any] | None = None) -> Strategy:
    """A strategy by name, or the one given; an `InputError` names the known ones or the wrong option."""
    if not isinstance(given, str):
        if not callable(getattr(given, "propose", None)):
            raise InputError(f"a strategy is one of {', '.join(STRATEGIES)}, or an object like them; got {given!r}")
        return given
    if given not in STRATEGIES:
        raise unknown("strategy", given, STRATEGIES)
    try:
        return STRATEGIES[given](**(options or {}))
    except (TypeError, ValueError) as error:
        raise InputError(f"strategy {given!r} does not take these options: {error}") from error
