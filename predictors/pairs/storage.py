"""A predictor fitted to pairs on disk: one JSON file, `pairs.json`, that holds the pairs and what was learnt of them.

The covariance is not kept: it follows from the pairs and the weights of its parts. Operators are written by their
signatures, so that a reader of another version knows what was meant, and refuses what it does not know.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from distilsearch.errors import TableError
from distilsearch.growth import filled, grown
from distilsearch.home import write_atomically

from ..operators.totals import Lowered
from ..reading import checked
from ..storage import DAMAGED, damaged, distrusted_of, distrusted_rows, read_content
from ..uncertainty.intervals import Intervals
from ..uncertainty.reach import Reach
from . import operator_prior

if TYPE_CHECKING:
    from .pairs import PairPredictor

FORMAT = "distilsearch pair predictor"
SCHEMA = 1
FILE = "pairs.json"
MOST_TRUST, MOST_RATE, MOST_WEIGHT = 10.0, 1e9, 1e3  # far beyond what a fit gives
CONTENT = ("format", "schema", "versions", "parts", "predictor", checked.HASH)
PREDICTOR = (
    "weights",
    "units_seconds",
    "rates",
    "intervals",
    "operators",
    "models",
    "centre",
    "pace",
    "reach",
    "distrusted",
)
ADDED: Mapping[str, Any] = {"reach": None, "distrusted": []}  # what came later, left out while it is this


def save(predictor: "PairPredictor", folder: Path) -> Path:
    """Write a predictor into a folder; returns it."""
    content = {
        "format": FORMAT,
        "schema": SCHEMA,
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__},
        "parts": [*operator_prior.PARTS, "noise"],
        "predictor": _to_json(predictor),
    }
    write_atomically(folder / FILE, json.dumps(checked.hashed(content), allow_nan=False) + "\n")
    return folder


def _to_json(predictor: "PairPredictor") -> dict[str, Any]:
    """One predictor, with the one it was calibrated from inside."""
    pairs = predictor.pairs
    return {
        "weights": predictor.weights.tolist(),
        "units_seconds": pairs.units.tolist(),
        "rates": pairs.rates.tolist(),
        "intervals": predictor.intervals.to_json(),
        "operators": [operator.signature for operator in pairs.lowered.distinct],
        "models": [
            {"seconds": seconds, "trust": trust, "operators": list(map(list, part))}
            for seconds, trust, part in zip(
                pairs.seconds.tolist(), predictor.trust.tolist(), pairs.lowered.parts, strict=True
            )
        ],
        "centre": _to_json(pairs.centre) if pairs.centre else None,
        "pace": pairs.pace,
        **grown({"reach": predictor.reach.to_json(), "distrusted": distrusted_rows(predictor.distrusted)}, ADDED),
    }


def load(folder: Path) -> "PairPredictor":
    """The predictor of a folder; `TableError` where it is missing, damaged, foreign or newer."""
    content = read_content(folder / FILE, FORMAT, SCHEMA)
    if content.get("parts") != [*operator_prior.PARTS, "noise"]:
        raise TableError(f"{folder} holds a predictor with another prior than this version's; fit it again")
    try:
        checked.fields("the predictor", content, CONTENT, [checked.HASH])
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            return _from_json(content["predictor"])
    except (*DAMAGED, RecursionError) as error:
        raise damaged(folder / FILE, error) from error


def _from_json(data: Any) -> "PairPredictor":
    from .pairs import PairPredictor, Pairs

    content = filled(checked.fields("a predictor", data, PREDICTOR, ADDED), ADDED)
    distinct = tuple(checked.operator(signature) for signature in content["operators"])
    models = [checked.fields("a model", model, ("seconds", "trust", "operators")) for model in content["models"]]
    seconds = np.array([checked.positive(model["seconds"], checked.LONGEST_SECONDS) for model in models])
    trust = np.array([checked.positive(model["trust"], MOST_TRUST) for model in models])
    parts = tuple(_part(model["operators"], len(distinct)) for model in models)
    centre = _from_json(content["centre"]) if content["centre"] is not None else None
    units = checked.positives(content["units_seconds"], 3, 1.0)
    (row,) = checked.rows([content["rates"]], 3 + (centre is not None))
    rates = np.array([checked.number(rate, 0.0, MOST_RATE) for rate in row])
    weights = checked.positives(content["weights"], len(operator_prior.PARTS) + 1, MOST_WEIGHT)
    pairs = Pairs(Lowered(distinct, parts), seconds, units, rates, centre, checked.positive(content["pace"], MOST_RATE))
    if not models or not (pairs.scale > 0).all():
        raise ValueError("its models take no time")
    intervals, liars = Intervals.from_json(content["intervals"]), distrusted_of(content["distrusted"])
    return PairPredictor(pairs, weights, trust, intervals, liars, Reach.from_json(content["reach"]))


def _part(data: Any, operators: int) -> tuple[tuple[int, int], ...]:
    """A model as (position of the operator, count)."""
    return tuple((checked.whole(at, 0, operators), checked.whole(count, 1)) for at, count in checked.rows(data, 2))
