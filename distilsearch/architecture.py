"""An architecture is a frozen value with a canonical key, never a state of a model.

It names everything that fixes the shapes of a student, so that one key stands for one student in every
table, cache and ledger.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .errors import InputError
from .growth import filled, grown

Value = int | float | str | bool

ADDED: dict[str, Mapping[str, Value]] = {"llama": {"mlp_bias": 0, "window": 0}}
"""Genes that came later, by family, with the value that every architecture written before them means."""


@dataclass(frozen=True, eq=False)
class Architecture:
    """One student: its family and the value of each gene.

    A gene of `ADDED` that is missing has its first value, and while it has that it is in neither key nor JSON.

    >>> small = Architecture("bert", {"layers": 2, "width": 128})
    >>> small["layers"]
    2
    >>> small == Architecture("bert", {"width": 128, "layers": 2})
    True
    """

    family: str
    values: Mapping[str, Value]
    _canonical: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.family, str):
            raise InputError(f"the family of an architecture is a name; got {self.family!r}")
        if not isinstance(self.values, Mapping) or not all(isinstance(name, str) for name in self.values):
            raise InputError(f"the genes of an architecture are a mapping by name; got {self.values!r:.80}")
        added = ADDED.get(self.family, {})
        given = filled(self.values, added)
        values = {name: plain_value(name, given[name]) for name in sorted(given)}
        said = {"family": self.family, "values": grown(values, added)}
        canonical = json.dumps(said, sort_keys=True, allow_nan=False)
        object.__setattr__(self, "values", MappingProxyType(values))
        object.__setattr__(self, "_canonical", canonical)

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits of the sha256 of the canonical JSON."""
        return hashlib.sha256(self._canonical.encode()).hexdigest()[:12]

    def __getitem__(self, gene: str) -> Value:
        try:
            return self.values[gene]
        except KeyError:
            genes = ", ".join(self.values)
            raise InputError(f"a {self.family} architecture has no gene {gene!r}; it has {genes}") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Architecture) and self._canonical == other._canonical

    def __hash__(self) -> int:
        return hash(self._canonical)

    def __reduce__(self) -> tuple[Any, ...]:
        return Architecture, (self.family, dict(self.values))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: `{"family": ..., "values": {...}}`."""
        return {"family": self.family, "values": grown(self.values, ADDED.get(self.family, {}))}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Architecture":
        """The inverse of `to_json`; an `InputError` says what is missing."""
        if not isinstance(data, Mapping):
            raise InputError(f"an architecture is a mapping with 'family' and 'values'; got {data!r:.80}")
        if not {"family", "values"} <= set(data):
            raise InputError(f"an architecture needs 'family' and 'values'; got {sorted(data)}")
        return cls(data["family"], data["values"])


def plain_value(name: str, value: object) -> Value:
    """A Python scalar out of a Python or numpy scalar, so that equal values have equal JSON."""
    item = getattr(value, "item", None)
    plain = item() if callable(item) else value
    if isinstance(plain, float) and not math.isfinite(plain):
        raise InputError(f"gene {name!r} must be a finite number; got {plain}")
    if isinstance(plain, int | float | str | bool):
        return plain
    raise InputError(f"gene {name!r} must be a number, a string or a boolean; got {type(value).__name__}")
