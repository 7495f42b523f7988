"""What the trials of an Optuna study say to an engine: results, failures, what is under way, what may be tried again.

A trial tells its architecture by its parameters. Genes that do not matter there may be missing, for objectives suggest
many a gene only where it is used; a trial that ended before it had suggested all is known by what it was to try.
"""

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError
from distilsearch.space import SearchSpace

PROPOSAL = "distilsearch:proposal"
CONSTRAINTS = "constraints"  # where Optuna keeps them: a list, or one attribute each


@dataclass(frozen=True)
class Genes:
    """How trials name the architectures of a space."""

    space: SearchSpace

    def of(self, trial: FrozenTrial) -> Architecture | None:
        """What a trial tries or has tried; None where that is not known yet, or is not of this space.

        Raises:
            InputError: the trial tried a proposal and returned values, but its objective does not suggest every gene
                that matters, or suggests what is not in this space.
        """
        ended = trial.state.is_finished()
        values = trial.params if ended else trial.params | trial.system_attrs.get("fixed_params", {})
        claim, missing = self.claim(trial), self.missing(values)
        if missing and trial.state != TrialState.COMPLETE:
            return claim
        if missing and claim is None:
            names = ", ".join(map(repr, missing))
            warnings.warn(f"trials without a value of {names} are not learnt from", stacklevel=2)
            return None
        member = None if missing else self._member(values)
        if claim is not None and member is None and trial.state == TrialState.COMPLETE:
            raise _not_of_space(trial, missing)
        return member

    def claim(self, trial: FrozenTrial) -> Architecture | None:
        """What a trial was to try, where a sampler wrote that down."""
        text = trial.system_attrs.get(PROPOSAL)
        return Architecture.from_json(json.loads(text)) if text else None

    def missing(self, values: Mapping[str, Any]) -> list[str]:
        """The genes without a value that matter beside the others."""
        absent = [name for name in self.space.names if name not in values]
        if not absent or any(values[n] not in p.choices for n, p in self._named() if n in values):
            return absent
        codes = self._codes(values)
        other = np.repeat(codes, len(absent), axis=0)
        for row, name in zip(other, absent, strict=True):
            row[self.space.column(name)] = len(self._choices(name)) - 1
        matters = (self.space.canonical(other) != self.space.canonical(codes)).any(axis=1)
        return [name for name, matter in zip(absent, matters, strict=True) if matter]

    def canonical(self, values: Mapping[str, Any]) -> Architecture:
        """The architecture of some genes' values, the silent ones as the space has them."""
        return self.space.decode(self.space.canonical(self._codes(values)))[0]

    def _member(self, values: Mapping[str, Any]) -> Architecture | None:
        if any(values[n] not in p.choices for n, p in self._named() if n in values):
            return None
        architecture = self.canonical(values)
        return architecture if self.space.contains(architecture) else None

    def _named(self) -> Iterable[tuple[str, Any]]:
        return zip(self.space.names, self.space.parameters, strict=True)

    def _choices(self, name: str) -> tuple[Any, ...]:
        return self.space.parameters[self.space.column(name)].choices

    def _codes(self, values: Mapping[str, Any]) -> Any:
        row = [p.choices.index(values[n]) if n in values else 0 for n, p in self._named()]
        return np.array([row], dtype=np.int16)


def _not_of_space(trial: FrozenTrial, missing: Sequence[str]) -> InputError:
    if missing:
        return InputError(
            f"trial {trial.number} has no value of {', '.join(map(repr, missing))}, though it matters there: the"
            " objective must suggest every gene (`DistilSampler.suggest` does); take what it does not suggest out of"
            " the space"
        )
    return InputError(
        f"trial {trial.number} tried {trial.params}, which is no architecture of the sampler's space: the objective"
        " must suggest what the space holds (`DistilSampler.suggest` does; `distributions` are its ranges)"
    )


@dataclass
class Reading:
    """A study as an engine is to be told it, in the order of its trials."""

    told: list[tuple[Architecture, FrozenTrial]] = field(default_factory=list)  # with values, or ended without
    under_way: dict[int, Architecture] = field(default_factory=dict)  # by trial number
    again: dict[Architecture, int] = field(default_factory=dict)  # ended for a reason outside, so many times
    refused: list[Architecture] = field(default_factory=list)  # proposed, but the objective tried something else

    @property
    def taken(self) -> set[Architecture]:
        """What has been tried or is under way, without what may be tried again."""
        tried = {a for a, t in self.told if a not in self.again or t.state == TrialState.COMPLETE}
        return tried | set(self.under_way.values()) | set(self.refused)

    @property
    def waiting(self) -> list[Architecture]:
        """What may be tried again and is not under way."""
        busy = set(self.under_way.values())
        return [a for a in self.again if a not in busy]


def read(trials: Sequence[FrozenTrial], genes: Genes, retry: int, lost_after: float | None) -> Reading:
    """What trials say, those that are no member of the space left out.

    Args:
        retry: how many times an architecture may be tried again whose trial failed or was lost.
        lost_after: seconds after which a running trial is taken to be lost.
    """
    reading, failures, complete = Reading(), dict[Architecture, int](), set[Architecture]()
    for trial in trials:
        architecture = genes.of(trial)
        if architecture is None:
            continue
        lost = is_lost(trial, lost_after)
        if not trial.state.is_finished() and not lost:
            reading.under_way[trial.number] = architecture
            continue
        reading.told.append((architecture, trial))
        claim = genes.claim(trial)
        if claim not in (None, architecture) and trial.state == TrialState.COMPLETE:
            reading.refused.append(claim)
        if trial.state == TrialState.FAIL or lost:
            failures[architecture] = failures.get(architecture, 0) + 1
        else:
            complete.add(architecture)
    reading.again |= {a: n for a, n in failures.items() if n <= retry and a not in complete}
    return reading


def is_lost(trial: FrozenTrial, lost_after: float | None) -> bool:
    """Whether a running trial has been under way for too long."""
    if lost_after is None or trial.state != TrialState.RUNNING or trial.datetime_start is None:
        return False
    return datetime.now() - trial.datetime_start > timedelta(seconds=lost_after)


def constraints_of(trial: FrozenTrial) -> dict[str, float]:
    """The values of a trial's constraints by name, as this and every other sampler writes them."""
    listed = trial.system_attrs.get(CONSTRAINTS) or ()
    values = {str(i): float(value) for i, value in enumerate(listed)}
    prefix = f"{CONSTRAINTS}:"
    own = {k.removeprefix(prefix): float(v) for k, v in trial.system_attrs.items() if k.startswith(prefix)}
    return values | own


def finite_constraints(trials: Sequence[FrozenTrial]) -> dict[int, dict[str, float]]:
    """Of each trial by its number; an infinite value counts as the farthest finite one on its side."""
    rows = {t.number: constraints_of(t) for t in trials}
    told: dict[str, list[float]] = {}
    for row in rows.values():
        for name, value in row.items():
            told.setdefault(name, []).append(value)
    ends = {name: _ends(values) for name, values in told.items()}
    return {number: {n: float(np.clip(v, *ends[n])) for n, v in row.items()} for number, row in rows.items()}


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """The farthest finite values below and above zero; one away where there are none."""
    finite = [v for v in values if np.isfinite(v)]
    low = min((v for v in finite if v < 0), default=-1.0)
    return low, max((v for v in finite if v > 0), default=1.0)


def nothing_free(reading: Reading, number: int) -> str:
    """Why a study has nothing more to propose to trial `number`, in words."""
    numbers = sorted(n for n in reading.under_way if n != number)
    if not numbers:
        return "every architecture of the space has been tried: the study is at its end"
    some = ", ".join(map(str, numbers[:8])) + (", ..." if len(numbers) > 8 else "")
    return (
        f"no architecture is free: {len(numbers)} are held by trials that have not ended (numbers {some}), the others"
        " have been tried. If their workers are lost, say lost_after=SECONDS, or end them with"
        " study.tell(NUMBER, state=TrialState.FAIL); a storage with heartbeats does so by itself"
    )
