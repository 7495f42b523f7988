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
from distilsearch.errors import InputError
from distilsearch.predictors.threads import one_thread
from distilsearch.space import SearchSpace

from .beliefs import Beliefs
from .design import DESIGN, design
from .diagnostics import diagnose
from .feasibility import most_feasible
from .longer import Seconds, Training, best_training, checked_lengths, first_longer, longer_gain, tokens
from .objectives import (
    AnyLimit,
    Codes,
    Expensive,
    Known,
    Objective,
    Outcome,
    check_objectives,
    hypervolume,
    limited,
)
from .pool import candidates, one_of_twins
from .record import Record, Tell, checked_reference
from .refusals import check_genes, check_limits, check_members, check_spaces, check_values, schema_of
from .state import State, whole_reference
from .strategies import Strategy, find_strategy
from .strategies.ehvi import EHVI
from .values import architectures as checked_architectures
from .values import number, text, whole
from .view import Features, View


class Engine:
    """Proposes architectures; learns from what is told.

    Args:
        space: what may be proposed.
        objectives: at least one `Expensive`, any number of `Known`.
        seed: other seeds give other proposals.
        initial: size of the initial design, or its architectures; by default 3 where a cost is known, and one more
            where the reference of an expensive objective is not given; else one more than the parameters, 5 to 10.
        reference: the corner hypervolumes are measured from, by objective; what it leaves out follows the rule:
            a known objective's `at_most`, else the worst of the space; the worst told of a learnt one; each with a
            margin of a tenth of the range. Frozen once the initial design is complete.
        strategy: a name of `STRATEGIES`, or a strategy.
        features: codes (n, d) -> further surrogate features (n, k), such as the logarithm of parameters.
        first: architectures that an initial design which is not listed begins with; they count among its size.
        limits: what every candidate must keep beside the limits of objectives: of a function (`Limit`), or learnt from
            told values (`Expensive` with `at_most` or `at_least`), which is then kept and not improved.

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
        limits: Sequence[AnyLimit] = (),
        first: Sequence[Architecture] = (),
    ) -> None:
        checked = check_objectives(objectives, limits)
        if not isinstance(space, SearchSpace):
            raise InputError(f"an engine searches a SearchSpace; got {space!r:.60}")
        check_genes(space, (*checked, *limits))
        check_spaces(space, (*checked, *limits))
        self.space = space
        self.seed = whole("the seed", seed)
        self.strategy = find_strategy(strategy)
        self._features = features
        listed = () if initial is None or isinstance(initial, int) else initial
        self._listed = checked_architectures("the initial design, a whole number or a list,", listed)
        self._first = self._listed or checked_architectures("what the initial design begins with", first)
        given = checked_reference(reference, checked)
        self._open = any(isinstance(o, Expensive) and o.name not in given and o.edge is None for o in checked)
        has_known = any(isinstance(o, Known) for o in checked)
        usual = 3 + self._open if has_known else max(5, min(10, space.d + 1))
        size = initial if isinstance(initial, int) else len(self._listed) or usual
        if size < 1:
            raise InputError(f"an initial design needs at least one architecture; got initial={size}")
        self._record = Record(space, checked, max(size, len(self._first)), given, limits=tuple(limits))
        self._counter = 0
        self._lock = threading.RLock()
        check_members(self.space, self._first)
        check_limits(limited(checked, limits), self.space.encode(self._first), self._first)

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
        if whole("the number of architectures to ask for", n) < 1:
            raise InputError(f"ask for at least one architecture; got n={n}")
        with self._lock:
            rng = np.random.default_rng([self.seed, self._counter])
            self._record.freeze()
            proposals = self._from_design(n, rng)
            if len(proposals) < n:
                proposals += self.space.decode(self._proposed(self._view(proposals), n - len(proposals), rng))
            self._counter += 1
            self._record.pending.update(dict.fromkeys(proposals))
            return proposals

    def ask_training(self, lengths: Sequence[float], seconds: Seconds = tokens) -> Training | None:
        """What to train next, and for how long: a new student or one to train on; None when nothing is left.

        The architecture is pending until it is told, with its `fidelity`. While nothing is known of longer training,
        two members of the front are trained on.

        Args:
            lengths: the lengths of training there may be, rising, in the unit of `fidelity`.
            seconds: (architecture, from, to) -> how long that takes; every unit of length alike where not given.

        Raises:
            InputError: lengths do not rise, or there are more than three objectives.
        """
        lengths = checked_lengths(lengths)
        with self._lock:
            rng = np.random.default_rng([self.seed, self._counter])
            if not self._record.learnable or self._record.started < self._record.initial:
                return Training.start(self.ask(1), lengths[0], seconds)
            self._record.freeze()
            view = self._view([])
            with one_thread():
                training = first_longer(view, lengths, seconds)
                training = training or best_training(view, self._next(view, 1, rng), lengths, seconds)
            self._counter += 1
            if training is not None:
                self._record.pending[training.architecture] = None
            return training

    def tell(
        self,
        architecture: Architecture,
        values: Mapping[str, float],
        noise: float | None = None,
        fidelity: float | None = None,
        area: float | None = None,
    ) -> None:
        """A result, of an architecture asked or not; a second tell is a replicate.

        Args:
            architecture: a member of the space.
            values: at least one expensive objective or learnt limit; measured known ones too, which win over
                predictions. What breaks a limit is told, too: it teaches.
            noise: standard deviation of the expensive values; learnt where not given.
            fidelity: how long it was trained, on any positive scale.
            area: the mean of the one expensive objective over that training, as it fell: the area under its curve.
                It tells steep curves from flat ones, and so what longer training is worth.

        Raises:
            InputError: an unknown objective, a value that is not finite (use `fail`), or no member of the space.
        """
        check_members(self.space, [architecture])
        check_values((*self.objectives, *self._record.learnt_limits), values, noise, fidelity, area)
        plain = {name: number(name, value) for name, value in values.items()}
        tell = Tell(architecture, plain, *(None if x is None else float(x) for x in (noise, fidelity, area)))
        with self._lock:
            asked = architecture in self._record.pending
            self._record.tells.append(tell)
            self._record.pending.pop(architecture, None)
            self._record.failed.pop(architecture, None)
            if asked:  # where results come unasked there may be more of them: all count at the next proposal
                self._record.freeze()

    def fail(self, architecture: Architecture, reason: str, transient: bool = False) -> None:
        """It gave no result: never asked again and its neighbourhood avoided, unless the cause was transient.

        What was told of it before still counts; it is not trained on.
        """
        check_members(self.space, [architecture])
        text("the reason of a failure", reason)
        with self._lock:
            self._record.pending.pop(architecture, None)
            if not transient:
                self._record.failed[architecture] = reason

    def expect(self, architectures: Sequence[Architecture], counter: int | None = None, *, again: bool = False) -> None:
        """Count architectures as pending that somebody else has started.

        Args:
            architectures: members of the space; those already told are left as they are, unless `again` says that
                they are being trained on.
            counter: how many asks went before, where the caller counts them.
        """
        check_members(self.space, architectures)
        counter = self._counter if counter is None else whole("the counter of asks", counter)
        with self._lock:
            told = set() if again else {t.architecture for t in self._record.tells}
            self._record.pending.update(dict.fromkeys(a for a in architectures if a not in told))
            self._counter = counter

    # What came out

    def outcomes(self) -> list[Outcome]:
        """Every told architecture, replicates averaged, in the order of the first tell."""
        with self._lock:
            return self._record.outcomes()

    def front(self) -> list[Outcome]:
        """The outcomes within the limits that no other one dominates, the cheapest first."""
        with self._lock:
            best = self._record.front()
        first = next((o for o in self.objectives if isinstance(o, Known)), self.objectives[0])
        return sorted(best, key=lambda o: (first.sign * o.values[first.name], o.architecture.key))

    def hypervolume(self) -> float:
        """What the front dominates below the reference; zero before anything was told."""
        with self._lock:
            points = self._record.minimised(self._record.front())
            return hypervolume(points, self._record.corner(self.objectives)) if len(points) else 0.0

    def expected_improvement(self, lengths: Sequence[float] = ()) -> float:
        """Of the hypervolume, by the best next trial; infinite before there is enough to learn from, zero where nothing
        can be gained.

        It is infinite, too, while nothing told keeps the learnt limits.

        Args:
            lengths: the lengths of training there may be, as for `ask_training`; one alone where not given.

        Raises:
            InputError: lengths do not rise, or there are more than three objectives.
        """
        lengths = checked_lengths(lengths) if lengths else ()
        with self._lock:
            self._record.freeze()
            view, rng = self._view([]), np.random.default_rng([self.seed, self._counter, 1])
            if view.seeks or not self._record.learnable or self._record.started < self._record.initial:
                return math.inf if len(view.pending) or len(candidates(view, view.codes, rng, DESIGN)) else 0.0
        with one_thread():
            longer = longer_gain(view, lengths) if len(lengths) > 1 else 0.0
            return max(longer, EHVI().improvement(view, rng))

    def converged(self, share: float = 0.01, lengths: Sequence[float] = ()) -> bool:
        """Whether the best next trial is expected to add no more than a share of the hypervolume, or nothing at all."""
        return self.expected_improvement(lengths) <= number("the share", share) * self.hypervolume()

    @property
    def limits(self) -> tuple[AnyLimit, ...]:
        """What every candidate must keep, beside the limits of objectives."""
        return self._record.limits

    @property
    def counter(self) -> int:
        """How many asks went before; with seed, tells and what is pending it decides the next proposal."""
        return self._counter

    @property
    def frozen(self) -> dict[str, float] | None:
        """The reference, once the initial design is complete; None before."""
        with self._lock:
            return dict(self._record.frozen) if self._record.frozen else None

    def freeze(self, reference: Mapping[str, float]) -> None:
        """Go on with the reference that was frozen before, whatever the rule would make it now.

        Raises:
            InputError: it lacks an objective, or holds what is none.
        """
        frozen = whole_reference(reference, self.objectives)
        with self._lock:
            self._record.frozen = frozen

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
        if not view.learnable:
            return None
        with one_thread():
            return diagnose(view)

    # State

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, as plain JSON."""
        with self._lock:
            record = self._record
            return {
                "schema": schema_of(record.limits),
                "objectives": [[o.name, type(o).__name__, o.goal] for o in self.objectives],
                **({"limits": [limit.name for limit in record.limits]} if record.limits else {}),
                "seed": self.seed,
                "counter": self._counter,
                "initial": [a.to_json() for a in self._listed] or record.initial,
                **({"first": [a.to_json() for a in self._first]} if self._first and not self._listed else {}),
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
        limits: Sequence[AnyLimit] = (),
    ) -> "Engine":
        """The engine whose `state()` this is.

        Raises:
            InputError: the state is of another version, or of other objectives or limits.
        """
        read = State.read(state, check_objectives(objectives, limits), limits)
        rule = strategy or find_strategy(*read.strategy)
        about = (space, objectives, read.seed, read.initial, read.given)
        engine = cls(*about, strategy=rule, features=features, limits=limits, first=read.first)
        engine._counter = read.counter
        record = engine._record
        record.tells, record.failed, record.frozen = read.tells, read.failed, read.frozen
        record.pending = dict.fromkeys(read.pending)
        check_members(space, [*(t.architecture for t in record.tells), *record.pending, *record.failed])
        return engine

    # Inside

    def _from_design(self, n: int, rng: np.random.Generator) -> list[Architecture]:
        record = self._record
        if not self.strategy.needs_design:
            return []
        taken = {t.architecture for t in record.tells} | set(record.pending) | set(record.failed)
        members = [a for a in dict.fromkeys(self._first) if a not in taken][:n]
        missing = record.initial - record.started - len(members) if record.learnable else n
        wanted = min(n - len(members), missing)
        if wanted > 0:
            given = 0 if self._listed else len((taken | set(members)).intersection(self._first))
            members += self.space.decode(design(self._view(members), wanted, rng, self._open, given))
        return members

    def _proposed(self, view: View, n: int, rng: np.random.Generator) -> Codes:
        # Nothing to learn from yet although the design is used up: the space is exhausted.
        if self.strategy.needs_design and not self._record.learnable:
            return view.codes[:0]
        with one_thread():
            return one_of_twins(view, self._next(view, n, rng))

    def _next(self, view: View, n: int, rng: np.random.Generator) -> Codes:
        """What the strategy proposes; while nothing keeps the learnt limits, what is most likely to."""
        if self.strategy.needs_design and view.seeks:
            return most_feasible(Beliefs.of(view), n, rng)
        return self.strategy.propose(view, n, rng)

    def _view(self, extra: list[Architecture]) -> View:
        return self._record.view(extra, self._features)
