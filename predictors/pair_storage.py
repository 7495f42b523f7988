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

from distilsearch.errors import InputError, TableError
from distilsearch.home import write_atomically
from distilsearch.operators import Operator

from . import operator_prior
from .intervals import Intervals
from .storage import read_content
from .totals import Lowered

if TYPE_CHECKING:
    from .pairs import PairPredictor

FORMAT = "distilsearch pair predictor"
SCHEMA = 1
FILE = "pairs.json"


def save(predictor: "PairPredictor", folder: Path) -> Path:
    """Write a predictor into a folder; returns it."""
    content = {
        "format": FORMAT,
        "schema": SCHEMA,
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__},
        "parts": [*operator_prior.PARTS, "noise"],
        "predictor": _to_json(predictor),
    }
    write_atomically(folder / FILE, json.dumps(content, allow_nan=False) + "\n")
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
    }


def load(folder: Path) -> "PairPredictor":
    """The predictor of a folder; `TableError` where it is missing, damaged, foreign or newer."""
    content = read_content(folder / FILE, FORMAT, SCHEMA)
    if content.get("parts") != [*operator_prior.PARTS, "noise"]:
        raise TableError(f"{folder} holds a predictor with another prior than this version's; fit it again")
    try:
        return _from_json(content["predictor"])
    except (KeyError, TypeError, ValueError, IndexError, InputError) as error:
        raise TableError(f"{folder / FILE} is damaged ({error!r}); fit the predictor again") from error


def _from_json(content: Mapping[str, Any]) -> "PairPredictor":
    from .pairs import PairPredictor, Pairs

    distinct = tuple(Operator.parse(signature) for signature in content["operators"])
    models = content["models"]
    parts = tuple(tuple((int(at), int(count)) for at, count in model["operators"]) for model in models)
    seconds, trust = (np.array([float(model[name]) for model in models]) for name in ("seconds", "trust"))
    centre = _from_json(content["centre"]) if content["centre"] else None
    units, rates = np.array(content["units_seconds"]), np.array(content["rates"])
    pairs = Pairs(Lowered(distinct, parts), seconds, units, rates, centre, float(content["pace"]))
    return PairPredictor(pairs, np.array(content["weights"]), trust, Intervals.from_json(content["intervals"]))
