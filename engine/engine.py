"""Ask and tell: which architectures to train next, given all that was told. No files, no threads, no global state.

`ask` is a pure function of what was told, what is pending, the seed and how many asks went before: an engine
restored from its state proposes what the first one would have. Every method may be called from any thread.

>>> from distilsearch.space import Parameter, SearchSpace
>>> space = SearchSpace("generic", [Parameter("depth", (1, 2, 3)), Parameter("width", (8, 16, 32))])
>>> cost = Known("cost", lambda codes: 1.0 + codes[:, 0] + 2.0 * codes[:, 1])
>>> engine = Engine(space, [Expensive("loss"), cost], seed=0)
>>> trial, = engine.ask()
>>> engine.tell(trial, {"loss": 0.5})
>>> len(engine.front())
1
"""

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError, unknown
from distilsearch.predictors.threads import one_thread
from distilsearch.space import SearchSpace

from .diagnostics import diagnose
from .objectives import Codes, Expensive, Known, Objective, Outcome, check_objectives, hypervolume, nondominated
from .pool import design
from .record import Record, Tell, checked_reference
from .strategies import Strategy, find_strategy
from .view import Features, View

SCHEMA = 1


class Engine:
    """Proposes architectures; learns from what is told.

    Args:
        space: what may be proposed.
        objectives: at least one `Expensive`, any number of `Known`.
        seed: other seeds give other proposals.
        initial: size of the initial design, or its architectures; by default one more than the parameters,
            between 5 and 10.
        reference: the corner hypervolumes are measured from, by objective; what it leaves out follows the rule:
            a known objective's `at_most`, else the worst of the initial design. Frozen once that is complete.
        strategy: a name of `STRATEGIES`, or a strategy.
        features: codes (n, d) -> further surrogate features (n, k), such as the logarithm of parameters.

    Raises:
        InputError: objectives, reference or initial design make no sense.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        seed: int = 0,
        initial: int | Sequence[Architecture] | None = None,
        reference: Mapping[str, float] | None = None,
        *,
        strategy: str | Strategy = "ehvi",
        features: Features | None = None,
    ) -> None:
        checked = check_objectives(objectives)
        self.space = space
        self.seed = seed
        self.strategy = find_strategy(strategy)
        self._features = features
        self._first = [] if initial is None or isinstance(initial, int) else list(initial)
        size = initial if isinstance(initial, int) else len(self._first) or max(5, min(10, space.d + 1))
        self._record = Record(space, checked, size, checked_reference(reference, checked))
        self._counter = 0
        self._grid: Codes | None = None
        self._lock = threading.RLock()
        self._check_members(self._first)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is optimised."""
        return self._record.objectives

    # Ask, tell, fail

    def ask(self, n: int = 1) -> list[Architecture]:
        """The next n architectures, now pending; fewer when the space has no more that are free.

        Raises:
            InputError: n is not positive, or no architecture at all keeps the limits.
        """
        if n < 1:
            raise InputError(f"ask for at least one architecture; got n={n}")
        with self._lock:
            rng = np.random.default_rng([self.seed, self._counter])
            found = self._from_design(n, rng)
            if len(found) < n:
                found += self.space.decode(self._proposed(self._view(found), n - len(found), rng))
            self._counter += 1
            self._record.pending.update(dict.fromkeys(found))
            return found

    def tell(
        self,
        architecture: Architecture,
        values: Mapping[str, float],
        noise: float | None = None,
        fidelity: float | None = None,
    ) -> None:
        """A result, of an architecture asked or not; a second tell is a replicate.

        Args:
            architecture: a member of the space.
            values: at least one expensive objective; measured known ones too, which win over predictions.
            noise: standard deviation of the expensive values; learnt where not given.
            fidelity: how long it was trained, on any positive scale.

        Raises:
            InputError: an unknown objective, a value that is not finite (use `fail`), or no member of the space.
        """
        self._check_members([architecture])
        self._check_values(values, noise, fidelity)
        tell = Tell(architecture, {name: float(value) for name, value in values.items()}, noise, fidelity)
        with self._lock:
            self._record.tells.append(tell)
            self._record.pending.pop(architecture, None)
            self._record.failed.pop(architecture, None)
            self._record.freeze()

    def fail(self, architecture: Architecture, reason: str, transient: bool = False) -> None:
        """It gave no result: never asked again and its neighbourhood avoided, unless the cause was transient."""
        self._check_members([architecture])
        with self._lock:
            self._record.pending.pop(architecture, None)
            if not transient and all(t.architecture != architecture for t in self._record.tells):
                self._record.failed[architecture] = reason
            self._record.freeze()

    def expect(self, architectures: Sequence[Architecture], counter: int | None = None) -> None:
        """Count architectures as pending that somebody else has started.

        Args:
            architectures: members of the space; those already told are left as they are.
            counter: how many asks went before, where the caller counts them.
        """
        self._check_members(architectures)
        with self._lock:
            told = {t.architecture for t in self._record.tells}
            self._record.pending.update(dict.fromkeys(a for a in architectures if a not in told))
            self._counter = self._counter if counter is None else counter

    # What came out

    def outcomes(self) -> list[Outcome]:
        """Every told architecture, replicates averaged, in the order of the first tell."""
        with self._lock:
            return self._record.outcomes()

    def front(self) -> list[Outcome]:
        """The outcomes within the limits that no other one dominates, the cheapest first."""
        with self._lock:
            rows = self._record.complete()
            keep = nondominated(self._record.minimised(rows))
        first = next((o for o in self.objectives if isinstance(o, Known)), self.objectives[0])
        best = [o for o, kept in zip(rows, keep, strict=True) if kept]
        return sorted(best, key=lambda o: (first.sign * o.values[first.name], o.architecture.key))

    def hypervolume(self) -> float:
        """What the front dominates below the reference; zero before anything was told."""
        with self._lock:
            points = self._record.minimised(self._record.complete())
            return hypervolume(points, self._record.corner(self.objectives)) if len(points) else 0.0

    @property
    def reference(self) -> dict[str, float]:
        """The reference by objective, in the user's direction; provisional until the initial design is complete."""
        with self._lock:
            return dict(self._record.reference())

    def diagnostics(self) -> dict[str, Any] | None:
        """How well the first expensive objective is foreseen, as plain JSON; None before it can be learnt.

        `name`, `warped` and `considered` (log likelihood by kernel) say which surrogate the data chose; `r2`,
        `coverage` of 90 % intervals and `points` (key, measured, predicted, sd), in told units, are of predicting
        each architecture from all the others.
        """
        with self._lock:
            if not self._record.learnable:
                return None
            view = self._view([])
        with one_thread():
            return diagnose(view)

    # State

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, as plain JSON."""
        with self._lock:
            record = self._record
            return {
                "schema": SCHEMA,
                "objectives": [[o.name, type(o).__name__, o.goal] for o in self.objectives],
                "seed": self.seed,
                "counter": self._counter,
                "initial": [a.to_json() for a in self._first] or record.initial,
                "reference": {"given": dict(record.given), "frozen": record.frozen and dict(record.frozen)},
                "strategy": {"name": self.strategy.name, "options": self.strategy.options()},
                "tells": [t.to_json() for t in record.tells],
                "pending": [a.to_json() for a in record.pending],
                "failed": [{"architecture": a.to_json(), "reason": r} for a, r in record.failed.items()],
            }

    @classmethod
    def restore(
        cls,
        space: SearchSpace,
        objectives: Sequence[Objective],
        state: Mapping[str, Any],
        *,
        strategy: Strategy | None = None,
        features: Features | None = None,
    ) -> "Engine":
        """The engine whose `state()` this is.

        Raises:
            InputError: the state is of another version, or of other objectives.
        """
        _check_state(state, objectives)
        first = state["initial"]
        initial = first if isinstance(first, int) else [Architecture.from_json(a) for a in first]
        kept = strategy or find_strategy(state["strategy"]["name"], state["strategy"]["options"])
        given = state["reference"]["given"]
        engine = cls(space, objectives, state["seed"], initial, given, strategy=kept, features=features)
        engine._counter = state["counter"]
        record = engine._record
        record.tells = [Tell.from_json(t) for t in state["tells"]]
        record.pending = {Architecture.from_json(a): None for a in state["pending"]}
        record.failed = {Architecture.from_json(f["architecture"]): f["reason"] for f in state["failed"]}
        record.frozen = state["reference"]["frozen"] and dict(state["reference"]["frozen"])
        engine._check_members([*(t.architecture for t in record.tells), *record.pending, *record.failed])
        return engine

    # Inside

    def _from_design(self, n: int, rng: np.random.Generator) -> list[Architecture]:
        record = self._record
        if not self.strategy.needs_design:
            return []
        taken = {t.architecture for t in record.tells} | set(record.pending) | set(record.failed)
        found = [a for a in dict.fromkeys(self._first) if a not in taken][:n]
        missing = record.initial - record.started - len(found) if record.learnable else n
        wanted = min(n - len(found), missing)
        if wanted > 0:
            found += self.space.decode(design(self._view(found), wanted, rng))
        return found

    def _proposed(self, view: View, n: int, rng: np.random.Generator) -> Codes:
        # Nothing to learn from yet although the design is used up: the space is exhausted.
        if self.strategy.needs_design and not self._record.learnable:
            return view.codes[:0]
        with one_thread():
            return self.strategy.propose(view, n, rng)

    def _view(self, extra: list[Architecture]) -> View:
        return self._record.view(extra, self._all, self._features)

    def _all(self, limit: int) -> Codes:
        if self._grid is None:
            self._grid = self.space.grid(limit)
        return self._grid

    def _check_members(self, architectures: Sequence[Architecture]) -> None:
        codes = self.space.encode(architectures)
        for architecture, row, good in zip(architectures, codes, self.space.valid(codes), strict=True):
            if not good or self.space.decode(row[None])[0] != architecture:
                raise InputError(
                    f"{dict(architecture.values)} is no canonical member of this space: it breaks a constraint or"
                    " sets a gene that does not matter; take architectures from ask, or space.decode(space.canonical())"
                )

    def _check_values(self, values: Mapping[str, float], noise: float | None, fidelity: float | None) -> None:
        names = [o.name for o in self.objectives]
        for name, value in values.items():
            if name not in names:
                raise unknown("objective", name, names)
            if not math.isfinite(value):
                raise InputError(f"expected a finite {name}; got {value}; tell a failed trial with fail()")
        learnt = [o.name for o in self.objectives if isinstance(o, Expensive)]
        if not set(learnt) & set(values):
            raise InputError(f"a result must hold one of {learnt} at least; got {sorted(values)}")
        if noise is not None and not (math.isfinite(noise) and noise >= 0):
            raise InputError(f"noise is a standard deviation, not negative; got {noise}")
        if fidelity is not None and not (math.isfinite(fidelity) and fidelity > 0):
            raise InputError(f"fidelity is a positive amount of training; got {fidelity}")


def _check_state(state: Mapping[str, Any], objectives: Sequence[Objective]) -> None:
    if state.get("schema") != SCHEMA:
        got = state.get("schema")
        raise InputError(f"expected an engine state of schema {SCHEMA}; got {got!r}; use the version that wrote it")
    now = [[o.name, type(o).__name__, o.goal] for o in objectives]
    if [list(o) for o in state["objectives"]] != now:
        raise InputError(f"the state is of objectives {state['objectives']}; got {now}")
