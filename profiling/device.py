"""What a device must offer to be profiled: facts to be found again by, and callables that can be timed.

A device is one file of this package and one line in `DEVICES`. It says what it is (`facts`, `stack`), turns
operators and whole models into `Prepared` work, and times that work itself, because only the device knows how
to wait for it: a loop on a CPU, a replayed graph on CUDA, the slope of a chained loop on XLA.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from distilsearch import strict
from distilsearch.architecture import Architecture
from distilsearch.growth import grown
from distilsearch.operators import TORCH, Operator, Serving

CACHES = ("hot", "cold")
PROBES = ("peak", "bandwidth", "launch")
REGIME_ADDED: Mapping[str, Any] = {"runtime": TORCH}  # fields of `Regime` that came later; see `distilsearch.growth`

Facts = Mapping[str, Any]
"""Plain JSON values that identify a machine or its software; anything that varies from boot to boot stays out."""

FINGERPRINT_DIGITS = 12
MOST_FACTS = 100_000  # characters
UNITS = ("multiprocessors", "sm_count", "cores_per_chip")  # facts of a device that count its parallel units


class Unsupported(Exception):  # noqa: N818  (a finding about one case, kept in the table, not a user's error)
    """The device cannot run this work; the table records it with the status `unsupported`."""


@dataclass(frozen=True)
class Regime:
    """The conditions of a timing beyond the signature: two rows compare only when these agree.

    `mode` is how torch issues kernels (`eager`, `compile`, `graph`). `cache` is `hot` where a call finds in the caches
    what the call before it left there, `cold` where nothing that it reads is in any. `runtime` is who ran the work.
    """

    dtype: str
    mode: str
    threads: int
    cache: str = "hot"
    runtime: str = TORCH

    def to_json(self) -> dict[str, Any]:
        """Plain JSON with every field; one that came later is left out while it has its first value."""
        return grown(asdict(self), REGIME_ADDED)


@dataclass(frozen=True)
class Probe:
    """A calibrating kernel of the device itself: what it computes and moves fixes a roof."""

    name: str
    dtype: str
    flops: int = 0
    bytes: int = 0

    @property
    def signature(self) -> str:
        """Canonical and parsable: `peak(bytes=0,dtype=float32,flops=2000000)`."""
        return f"{self.name}(bytes={self.bytes},dtype={self.dtype},flops={self.flops})"

    @classmethod
    def parse(cls, signature: str) -> "Probe":
        """The probe of a signature."""
        name, _, listed = signature.rstrip(")").partition("(")
        fields = dict(pair.split("=") for pair in listed.split(","))
        return cls(name, fields["dtype"], int(fields["flops"]), int(fields["bytes"]))


Work = Operator | Architecture | Probe


@dataclass(frozen=True)
class Costs:
    """About what one case takes beyond its own work: seconds until it is ready, and at least seconds of a visit."""

    prepare_seconds: float = 0.05
    visit_seconds: float = 5e-3


class Prepared(Protocol):
    """Work ready to run, its inputs and weights in place."""

    def seconds(self, calls: int) -> float:
        """Run `calls` times back to back, wait until all is done, and return the seconds of all calls together."""
        ...


class Device(Protocol):
    """One device of this machine."""

    name: str

    def facts(self) -> Facts:
        """What the hardware is: model, cores, memory, instruction set. Cheap; loads no library."""
        ...

    def stack(self) -> Facts:
        """What runs on it: versions and flags that change timings. Cheap; loads no library."""
        ...

    def regime(self, serving: Serving) -> Regime:
        """The regime that `serving` means here; `DeviceError` when the device cannot serve so."""
        ...

    def servings(self, serving: Serving) -> tuple[Serving, ...]:
        """The servings to time where this one is asked for: itself, and where the device has several clocks, others."""
        ...

    def cold(self) -> "Device":
        """This device with its caches emptied before each call, unseen by the clock; `DeviceError` if it cannot."""
        ...

    def costs(self, serving: Serving) -> Costs:
        """What cases cost here, for estimates and budgets."""
        ...

    def session(self, serving: Serving) -> AbstractContextManager[None]:
        """Threads and modes of `serving` hold inside; the process is as before afterwards."""
        ...

    def prepare(self, work: Work, serving: Serving) -> Prepared:
        """Work ready to be timed inside a session; raises `Unsupported` or `MemoryError`."""
        ...

    def sentinel(self, serving: Serving) -> Prepared:
        """A fixed kernel of some hundred microseconds that tells how disturbed the machine is."""
        ...

    def probes(self, serving: Serving) -> tuple[Probe, ...]:
        """The kernels named `peak`, `bandwidth` and `launch` that fix the roofline."""
        ...

    def conditions(self) -> Mapping[str, float]:
        """`steal_seconds` (cumulated) and `frequency_hertz`, where the system tells."""
        ...


def model_name(facts: Facts) -> str:
    """What people call a device with these facts.

    >>> model_name({"kind": "foreign", "model": "A100"})
    'A100'
    """
    model = facts.get("model", "unknown device")
    return str(model.get("model name", model) if isinstance(model, Mapping) else model)


def check_facts(facts: Any) -> None:
    """A `ValueError` where facts of a file can be none: what is printed, hashed and counted with must be plain."""
    strict.table(facts, "what it was measured on")
    if len(json.dumps(facts)) > MOST_FACTS:
        raise ValueError(f"what it was measured on has more than {MOST_FACTS:,} characters")
    _check_plain(facts, 0)
    for name in UNITS:
        if name in facts:
            strict.whole(facts[name], name, 1)
    named = facts["model"].get("model name", "") if isinstance(facts.get("model"), dict) else facts.get("model", "")
    strict.text(named, "the name of its model")


def _check_plain(value: Any, depth: int) -> None:
    """Words, numbers, and tables and lists of them, three deep; no word that moves a terminal's cursor."""
    if depth > 3:
        raise ValueError("what it was measured on is nested too deeply")
    if isinstance(value, str) and not value.isprintable():
        raise ValueError(f"{value!r:.60} cannot be printed")
    if isinstance(value, float):
        strict.number(value, "a figure of what it was measured on")
    members = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    for member in members:
        _check_plain(member, depth + 1)


def fingerprint(facts: Facts) -> str:
    """Twelve hexadecimal digits of the sha256 of canonical JSON.

    >>> fingerprint({"cores": 2, "model": "x"}) == fingerprint({"model": "x", "cores": 2})
    True
    """
    canonical = json.dumps(facts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:FINGERPRINT_DIGITS]
