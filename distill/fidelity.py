"""Rank fidelity: does a short distillation order students as a long one does?

A spread of students is distilled at several budgets; each budget's order is compared with that of the longest one,
and with what the number of parameters alone gives. Finished runs are kept by content, so that a measurement of
hours goes on where it stopped. A student whose training diverges is left out of all orders, and is told of.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau, spearmanr

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError, TrialError
from distilsearch.home import write_atomically
from distilsearch.lowering import parameter_count, tabulate
from distilsearch.operators import Serving
from distilsearch.progress import Progress, silent
from distilsearch.space import SearchSpace

from .data import Text
from .flash import area
from .recipes import Recipe
from .teacher import Teacher
from .training import CHECKPOINT, distill_student

FloatArray = npt.NDArray[np.float64]
Rows = Sequence[Mapping[str, Any]]  # one a student
TREND = 2.0  # between 1 and 3 little changes: 12 students at 160,000 tokens against 640,000
RESAMPLES = 2_000
LEVEL = 0.9
FEWEST = 3  # students; two have an order too, and it says nothing
FEWEST_FOR_INTERVAL = 5  # of fewer, too many samples repeat the same order


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its bootstrap interval over students.

    All NaN where one side puts them in no order, the interval where there are fewer than five.
    """

    value: float
    lower: float
    upper: float

    def to_json(self) -> dict[str, float | None]:
        """Plain JSON, which has no NaN: null instead."""
        return {name: None if math.isnan(number) else number for name, number in asdict(self).items()}


@dataclass(frozen=True)
class Fidelity:
    """How one predictor of the order (a budget's loss, area or trend, or parameters) agrees with the longest budget's.

    `recipe` names the one of the short runs where it is not that of the longest ones.
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
    teacher: Teacher,
    architectures: Sequence[Architecture],
    text: Text,
    recipe: Recipe,
    budgets: Sequence[int],
    folder: Path,
    seed: int = 0,
    precision: str = "auto",
    progress: Progress = silent,
    also: Sequence[Recipe] = (),
) -> tuple[list[Fidelity], list[LeftOut]]:
    """Distil every architecture at every budget (what `folder` holds is kept), and compare the orders.

    Other recipes, `also`, are distilled at the shortest budget alone: is one of them the better judge?

    Raises:
        TrialError: fewer than three students train without diverging.
    """
    budgets = sorted(set(budgets))
    if len(budgets) < 2 or len(architectures) < FEWEST:
        raise InputError("rank fidelity needs at least two budgets and three students")
    if len({other.name for other in (recipe, *also)}) <= len(also):
        raise InputError(f"recipes to compare need names of their own; got {[recipe.name, *(o.name for o in also)]}")
    runs = [(recipe, budget) for budget in budgets] + [(other, budgets[0]) for other in also]
    results: dict[tuple[str, int], dict[int, Mapping[str, Any]]] = {}  # by run, then by the student's place
    failed: dict[int, LeftOut] = {}
    for i, (chosen, budget) in enumerate(runs):
        rows = results["" if chosen is recipe else chosen.name, budget] = {}
        for j, architecture in enumerate(architectures):
            progress("students", i * len(architectures) + j, len(runs) * len(architectures))
            if j in failed:
                continue
            last = chosen is not recipe or budget == budgets[-1]
            rows[j] = _trained(teacher, architecture, text, chosen, budget, folder, seed, precision, last, progress)
            if cause := rows[j].get("cause"):
                failed[j] = LeftOut(architecture, "" if chosen is recipe else chosen.name, budget, cause)
                _check_enough(len(architectures), list(failed.values()))
    progress("students", len(runs) * len(architectures), len(runs) * len(architectures))
    ordered = {run: [row for j, row in rows.items() if j not in failed] for run, rows in results.items()}
    return compare(ordered), list(failed.values())


def _check_enough(students: int, left_out: Sequence[LeftOut]) -> None:
    if students - len(left_out) < FEWEST:
        raise TrialError(
            f"rank fidelity needs {FEWEST} students that train, and {len(left_out)} of {students} diverged, the last "
            f"because {left_out[-1].cause}"
        )


def compare(results: Mapping[tuple[str, int], Rows]) -> list[Fidelity]:
    """From rows with "loss", "area" and "parameters" to correlations with the longest run of the recipe named "".

    The trend is where a curve is heading: its end, less as much again as it lies below the curve's mean, `TREND` times.

    Args:
        results: by recipe and budget, in one order of students.
    """
    longest = "", max(budget for recipe, budget in results if not recipe)
    truth = np.array([row["loss"] for row in results[longest]])
    found = []
    for run in sorted(results):
        if run == longest:
            continue
        loss, mean = (np.array([row[name] for row in results[run]]) for name in ("loss", "area"))
        for name, guess in {"loss": loss, "area": mean, "trend": loss * (loss / mean) ** TREND}.items():
            found.append(_fidelity(name, run[1], guess, truth, run[0]))
    fewer = np.array([-float(row["parameters"]) for row in results[longest]])
    return [*found, _fidelity("parameters", 0, fewer, truth)]


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


def _trained(
    teacher: Teacher,
    architecture: Architecture,
    text: Text,
    recipe: Recipe,
    budget: int,
    folder: Path,
    seed: int,
    precision: str,
    last: bool,
    progress: Progress,
) -> dict[str, Any]:
    """The row of one student at one budget; of one that diverges, the cause alone."""
    content = [teacher.weights_sha256, text.sha256, recipe.key, architecture.to_json(), seed, precision]
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]
    path = folder / f"{key}-{budget}.json"
    checkpoint = folder / key  # of all budgets: a longer run goes on from a shorter's trunk
    try:
        known: dict[str, Any] = json.loads(path.read_text())
        if last:
            shutil.rmtree(checkpoint, ignore_errors=True)
        return known
    except (OSError, ValueError):
        pass
    row: dict[str, Any] = {"architecture": architecture.to_json(), "tokens": budget}
    try:
        job = (teacher, architecture, text, recipe, budget, seed, precision, checkpoint, progress)
        student = distill_student(*job, checkpoint_seconds=20.0)
        row |= {"loss": student.loss, "area": area(student.curve), "parameters": parameter_count(architecture)}
        row |= {"seconds": student.seconds, "curve": student.curve}
    except TrialError as error:
        row["cause"] = str(error)
    write_atomically(path, json.dumps(row))
    (checkpoint / CHECKPOINT).unlink(missing_ok=True)
    if last or "cause" in row:
        shutil.rmtree(checkpoint, ignore_errors=True)
    return row
