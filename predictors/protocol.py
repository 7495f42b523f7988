"""What any latency predictor offers, whether it was fitted to a table or to (model, latency) pairs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.operators import Serving
from distilsearch.space import Codes, SearchSpace


class Predicted(Protocol):
    """Latency of n architectures: mean, bounds and standard deviation (n,) in ms."""

    @property
    def mean_ms(self) -> FloatArray:
        """Mean (n,)."""
        ...

    @property
    def lower_ms(self) -> FloatArray:
        """Lower bound (n,) of the interval."""
        ...

    @property
    def upper_ms(self) -> FloatArray:
        """Upper bound (n,) of the interval."""
        ...

    @property
    def spread_ms(self) -> FloatArray:
        """Standard deviation (n,)."""
        ...


class OverSpace(Protocol):
    """Latency as a function over the codes (n, d) of one space; its intervals follow what the predictor learns."""

    def __call__(self, codes: Codes) -> FloatArray:
        """Mean (n,) in ms."""
        ...

    def spread(self, codes: Codes) -> FloatArray:
        """Standard deviation (n,) in ms."""
        ...

    def upper(self, codes: Codes) -> FloatArray:
        """Upper bound (n,) of the interval in ms: what a limit is held against."""
        ...


class Predictor(Protocol):
    """Latency of architectures nobody has run."""

    def predict(self, architectures: Sequence[Architecture], serving: Serving) -> Predicted:
        """Latency of n architectures under one serving."""
        ...

    def compile(self, space: SearchSpace, serving: Serving) -> OverSpace:
        """The same as a function of codes."""
        ...

    def save(self, folder: Path | str) -> Path:
        """Write it into a folder, which its class's `load` reads back; returns the folder."""
        ...
