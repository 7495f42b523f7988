"""Rank fidelity: does a short distillation order students as a long one does?

A spread of students is distilled at several budgets; each budget's order is compared with that of the longest one,
and with what the number of parameters alone gives. The students are those of the archive, so that a measurement of
hours goes on where it stopped. A student whose training diverges is left out of all orders, and is told of.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Unpack

import numpy as np
from scipy.stats import kendalltau, spearmanr

from distilsearch.architecture import Architecture
from distilsearch.arrays import FloatArray
from distilsearch.errors import InputError, TrialError
from distilsearch.lowering import parameter_count, tabulate
from distilsearch.operators import Serving
from distilsearch.progress import Progress, silent
from distilsearch.space import SearchSpace

from .course import Course
from .flash import area
from .recipes import Recipe
from .store.archive import Archive
from .store.trial import Trial
from .training import Conditions

Rows = Sequence[Mapping[str, Any]]  # one a student
TREND = 2.0  # between 1 and 3 little changes: 12 students at 160,000 tokens against 640,000
RESAMPLES = 2_000
LEVEL = 0.9
FEWEST = 3  # students; two have an order too, and it says nothing
FEWEST_FOR_INTERVAL = 5  # of fewer, too many samples repeat the same order


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its bootstrap interval over students.

    All is NaN where one side is constant; the interval is NaN where there are fewer than five students.
    """

    value: float
    lower: float
    upper: float

    def to_json(self) -> dict[str, float | None]:
        """Plain JSON, which has no NaN: null instead."""
        return {name: None if math.isnan(number) else number for name, number in asdict(self).items()}


@dataclass(frozen=True)
class Fidelity:
    """How well one predictor (a short budget's loss, area or trend, or parameters) orders students as the longest does.

    `recipe` names that of the short runs, where it is another one than that of the longest.
    """

    predictor: str
    tokens: int
    students: int
    spearman: Correlation
    kendall: Correlation
    recipe: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self) | {"spearman": self.spearman.to_json(), "kendall": self.kendall.to_json()}


@dataclass(frozen=True)
class LeftOut:
    """A student whose training diverged, in which run, and why."""

    architecture: Architecture
    recipe: str
    tokens: int
    cause: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        plain = {"recipe": self.recipe, "tokens": self.tokens, "cause": self.cause}
        return {"architecture": self.architecture.to_json(), **plain}


def fidelity(
    course: Course,
    architectures: Sequence[Architecture],
    budgets: Sequence[int],
    archive: Archive | None = None,
    progress: Progress = silent,
    also: Sequence[Recipe] = (),
    **conditions: Unpack[Conditions],
) -> tuple[list[Fidelity], list[LeftOut]]:
    """Distil every architecture at every budget (what the archive holds costs nothing), and compare the orders.

    Args:
        course: what they learn from; its tokens give way to the budgets. The longest trainings are of the whole text,
            also where it is a course on a share of it.
        also: other recipes, distilled at the shortest budget alone: is one of them the better judge?

    Raises:
        TrialError: fewer than three students train without diverging.
    """
    budgets = sorted(set(budgets))
    if len(budgets) < 2 or len(architectures) < FEWEST:
        raise _too_few(budgets, len(architectures))
    if len({other.name for other in (course.recipe, *also)}) <= len(also):
        names = [course.recipe.name, *(other.name for other in also)]
        raise InputError(f"recipes to compare need names of their own; got {names}")
    runs = [replace(course, tokens=budget) for budget in budgets[:-1]]
    runs.append(replace(course, tokens=budgets[-1], share=1.0))
    runs += [replace(course, recipe=other, tokens=budgets[0]) for other in also]
    archive, results, left_out = archive or Archive(), {}, list[LeftOut]()
    archive.name_problems(progress)
    for place, run in enumerate(runs):
        progress("trainings", place, len(runs))
        name = "" if run.recipe is course.recipe else run.recipe.name
        diverged = [student.architecture for student in left_out]
        going = [architecture for architecture in architectures if architecture not in diverged]
        results[name, run.tokens] = _trained(archive, run, going, progress, conditions)
        failures = {a: t for a, t in results[name, run.tokens].items() if isinstance(t, TrialError)}
        left_out += [LeftOut(a, name, run.tokens, str(failure)) for a, failure in failures.items()]
        _check_enough(len(architectures), left_out)
    progress("trainings", len(runs), len(runs))
    diverged = [student.architecture for student in left_out]
    going = [architecture for architecture in architectures if architecture not in diverged]
    return compare({run: [_row(trials[a]) for a in going] for run, trials in results.items()}), left_out


def _trained(
    archive: Archive,
    course: Course,
    architectures: Sequence[Architecture],
    progress: Progress,
    conditions: Conditions,
) -> dict[Architecture, Trial | TrialError]:
    """What becomes of students in one training; those that are known to diverge in it do not do so again."""
    training = course.training
    failures = {a: archive.failure(training.key(a)) for a in architectures}
    going = [a for a, failure in failures.items() if failure is None]
    material = (course.teacher, course.text, going, course.recipe, training)
    trials = dict(zip(going, archive.distil(*material, progress=progress, **conditions), strict=True))
    return {a: failure or trials[a] for a, failure in failures.items()}


def _row(trial: Trial | TrialError) -> dict[str, Any]:
    assert isinstance(trial, Trial)
    return {"loss": trial.loss, "area": area(trial.curve), "parameters": parameter_count(trial.architecture)}


def _check_enough(students: int, left_out: Sequence[LeftOut]) -> None:
    if students - len(left_out) < FEWEST:
        raise TrialError(
            f"rank fidelity needs {FEWEST} students that train, and {len(left_out)} of {students} diverged, the last "
            f"because {left_out[-1].cause}"
        )


def compare(results: Mapping[tuple[str, int], Rows]) -> list[Fidelity]:
    """From rows with "loss", "area" and "parameters" to correlations with the longest run of the recipe named "".

    The trend guesses where a curve is heading: its last loss times (last / mean) to the power of `TREND`.

    Args:
        results: by recipe and budget, in one order of students.
    """
    longest = "", max(budget for recipe, budget in results if not recipe)
    truth = np.array([row["loss"] for row in results[longest]])
    fidelities = []
    for run in sorted(results):
        if run == longest:
            continue
        loss, mean = (np.array([row[name] for row in results[run]]) for name in ("loss", "area"))
        for name, guess in {"loss": loss, "area": mean, "trend": loss * (loss / mean) ** TREND}.items():
            fidelities.append(_fidelity(name, run[1], guess, truth, run[0]))
    fewer = np.array([-float(row["parameters"]) for row in results[longest]])
    return [*fidelities, _fidelity("parameters", 0, fewer, truth)]


def summary(found: Sequence[Fidelity], longest: int, left_out: Sequence[LeftOut] = ()) -> dict[str, Any]:
    """Plain JSON, as `result.json` carries it: the shortest budget's figures, all rows, and who is not in them."""
    losses = [entry for entry in found if entry.predictor == "loss" and not entry.recipe]
    flash = min(losses, key=lambda entry: entry.tokens)
    return {
        "spearman": flash.spearman.to_json()["value"],
        "kendall": flash.kendall.to_json()["value"],
        "pairs": flash.students,
        "note": f"measured: {flash.tokens:,} against {longest:,} tokens",
        "rows": [entry.to_json() for entry in found],
        "left_out": [entry.to_json() for entry in left_out],
    }


def spread(space: SearchSpace, n: int, seed: int = 0, fresh: int = 0) -> list[Architecture]:
    """Distinct architectures of a space, evenly over its range of sizes; `fresh` of them start from random weights."""
    if not 0 <= fresh <= n:
        raise InputError(f"of {n} students none to all may start from random weights, got {fresh}")
    rng = np.random.default_rng(seed)
    codes = np.unique(space.sample(max(200, 50 * n), rng), axis=0)
    size = tabulate(space, Serving(), lambda ops: np.array([[o.parameters] for o in ops], dtype=float))(codes)[:, 0]
    ranked = codes[np.argsort(size, kind="stable")]
    if len(ranked) < n:
        raise InputError(f"the space holds {len(ranked)} architectures, fewer than the {n} asked for")
    members = space.decode(ranked[np.linspace(0, len(ranked) - 1, n).round().astype(int)])
    for place in {(2 * i + 1) * n // (2 * fresh) for i in range(fresh)}:
        members[place] = Architecture(members[place].family, {**members[place].values, "inherit": "none"})
    return members


def _fidelity(name: str, budget: int, guess: FloatArray, truth: FloatArray, recipe: str = "") -> Fidelity:
    rho, tau = (correlation(measure, guess, truth) for measure in (_spearman, _kendall))
    return Fidelity(name, budget, len(truth), rho, tau, recipe)


def _spearman(x: FloatArray, y: FloatArray) -> float:
    return float(spearmanr(x, y).statistic)


def _kendall(x: FloatArray, y: FloatArray) -> float:
    return float(kendalltau(x, y).statistic)


def correlation(measure: Callable[[FloatArray, FloatArray], float], x: FloatArray, y: FloatArray) -> Correlation:
    """A correlation of (n,) and (n,) with the percentile interval over students drawn with replacement."""
    if not np.ptp(x) or not np.ptp(y):
        return Correlation(math.nan, math.nan, math.nan)
    if len(x) < FEWEST_FOR_INTERVAL:
        return Correlation(measure(x, y), math.nan, math.nan)
    rng = np.random.default_rng(0)
    drawn: list[float] = []
    while len(drawn) < RESAMPLES:
        rows = rng.integers(0, len(x), len(x))
        if np.ptp(x[rows]) and np.ptp(y[rows]):  # a constant sample has no order
            drawn.append(measure(x[rows], y[rows]))
    lower, upper = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Correlation(measure(x, y), float(lower), float(upper))


def _too_few(budgets: Sequence[int], students: int) -> InputError:
    got = f"the budgets {', '.join(map(str, budgets)) or 'none'} and {students} students"
    return InputError(
        f"rank fidelity needs at least two budgets and {FEWEST} students; got {got}: give --budgets twice or more"
    )
