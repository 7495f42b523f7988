"""A predictor on disk: `predictor.json`, readable by anyone, and the trees as XGBoost's own UBJ file beside it.

The JSON carries what the predictor was made of (device, stack, hash of the table, versions), the schema of the
features that the trees expect, and the hash of the tree file. Files of another program, of a newer schema or with
other features are refused. Floats are written with all their digits: a loaded predictor predicts the same to the
last bit.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost as xgb

from distilsearch.errors import InputError, TableError
from distilsearch.home import write_atomically
from distilsearch.operators import Operator

from . import features
from .composition import Composition
from .features import Sample, Setting
from .intervals import Intervals
from .roofline import Ceilings, Law
from .source import Machine
from .utilisation import OperatorModel

if TYPE_CHECKING:
    from .latency import LatencyPredictor

FORMAT = "distilsearch latency predictor"
SCHEMA = 1
FILE, TREES = "predictor.json", "operators.ubj"


def save(predictor: "LatencyPredictor", folder: Path) -> Path:
    """Write a predictor into a folder, the trees first; returns the folder."""
    trees = predictor.model.booster
    raw = bytes(trees.save_raw("ubj")) if trees is not None else None
    if raw is not None:
        write_atomically(folder / TREES, raw)
    content = {
        "format": FORMAT,
        "schema": SCHEMA,
        "versions": {"xgboost": xgb.__version__, "numpy": np.__version__},
        "features": {"schema": features.SCHEMA, "names": features.names()},
        "trees_sha256": hashlib.sha256(raw).hexdigest() if raw is not None else None,
        "machine": predictor.machine.to_json(),
        "intervals": predictor.intervals.to_json(),
        "within": predictor.within,
        **_model_json(predictor),
    }
    write_atomically(folder / FILE, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return folder


def load(folder: Path) -> "LatencyPredictor":
    """The predictor of a folder; `TableError` where it is missing, damaged, foreign or newer."""
    from .latency import LatencyPredictor

    content = read_content(folder / FILE, FORMAT, SCHEMA)
    _check_features(content, folder)
    try:
        settings = [Setting(**setting) for setting in content["settings"]]
        ceilings = Ceilings({(d, int(t)): (p, w, s) for d, t, p, w, s in content["ceilings"]})
        samples = tuple(Sample(Operator.parse(o), settings[at], t) for o, at, t in content["operators"])
        laws = {(settings[at], kind): Law((a, b, c), floor) for at, kind, a, b, c, floor in content["laws"]}
        booster = _trees(folder, content["trees_sha256"])
        model = OperatorModel(ceilings, samples, laws, booster, dict(content["spreads"]))
        compositions = {
            (settings[entry["setting"]], entry["phase"]): Composition.from_json(entry)
            for entry in content["compositions"]
        }
        intervals, machine = Intervals.from_json(content["intervals"]), Machine(**content["machine"])
        within = float(content["within"])
    except (KeyError, TypeError, ValueError, IndexError, InputError) as error:
        raise TableError(f"{folder / FILE} is damaged ({error!r}); fit the predictor again") from error
    return LatencyPredictor(model, compositions, intervals, machine, within)


def _model_json(predictor: "LatencyPredictor") -> dict[str, Any]:
    model = predictor.model
    settings = list(dict.fromkeys([*model.settings, *(setting for setting, _ in predictor.compositions)]))
    at = {setting: index for index, setting in enumerate(settings)}
    return {
        "settings": [vars(setting) for setting in settings],
        "ceilings": [[dtype, threads, *roof] for (dtype, threads), roof in model.ceilings.roofs.items()],
        "spreads": model.spreads,
        "laws": [[at[s], kind, *law.coefficients, law.floor] for (s, kind), law in model.laws.items()],
        "compositions": [
            {"setting": at[setting], "phase": phase, **fitted.to_json()}
            for (setting, phase), fitted in predictor.compositions.items()
        ],
        "operators": [[s.operator.signature, at[s.setting], s.seconds] for s in model.samples],
    }


def read_content(path: Path, kind: str, schema: int) -> Mapping[str, Any]:
    """The JSON of a predictor; `TableError` where it is missing, damaged, not a `kind`, or newer than `schema`."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise TableError(f"there is no predictor in {path.parent}: expected {path.name}") from None
    except (OSError, ValueError) as error:
        raise TableError(f"{path} is damaged ({error}); fit the predictor again") from error
    if not isinstance(content, dict) or content.get("format") != kind:
        raise TableError(f"{path} is not a {kind}; fit one again from its measurements")
    found = content.get("schema")
    if not isinstance(found, int) or found > schema:
        raise TableError(
            f"{path.parent} holds a predictor of schema {found}, this version reads {schema}: update distilsearch"
        )
    return content


def _check_features(content: Mapping[str, Any], folder: Path) -> None:
    expected = {"schema": features.SCHEMA, "names": features.names()}
    if content.get("features") != expected:
        raise TableError(f"{folder} holds a predictor with other features than this version's; fit it again")


def _trees(folder: Path, sha256: str | None) -> xgb.Booster | None:
    if sha256 is None:
        return None
    try:
        raw = (folder / TREES).read_bytes()
    except OSError as error:
        raise TableError(f"{folder / TREES} is missing or unreadable ({error}); fit the predictor again") from error
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise TableError(f"{folder / TREES} is damaged: it is not the file that was saved; fit the predictor again")
    booster = xgb.Booster({"nthread": 1})
    booster.load_model(bytearray(raw))
    return booster
