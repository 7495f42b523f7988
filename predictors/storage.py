"""A predictor on disk: `predictor.json`, readable by anyone, and the trees as XGBoost's own UBJ file beside it.

The JSON carries what the predictor was made of (device, stack, hash of the table, versions), the schema of the
features that the trees expect, and the hash of the tree file. Files of another program, of a newer schema or with
other features are refused. Floats are written with all their digits: a loaded predictor predicts the same to the
last bit.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost as xgb

from distilsearch import strict
from distilsearch.errors import InputError, TableError
from distilsearch.growth import filled, grown
from distilsearch.home import write_atomically
from distilsearch.operators import DTYPE_BYTES, KINDS, MODES
from distilsearch.profiling.tables.rows import Roof

from .composition import COMPOSED, Composition
from .operators import features
from .operators.features import SETTING_ADDED, Sample, Setting
from .operators.roofline import Ceilings, Law
from .operators.utilisation import OperatorModel
from .reading import checked
from .reading.tree_file import load_trees
from .source import Machine
from .uncertainty.intervals import Intervals
from .uncertainty.liars import Distrusted

if TYPE_CHECKING:
    from .latency import LatencyPredictor

FORMAT = "distilsearch latency predictor"
SCHEMA = 1
FILE, TREES = "predictor.json", "operators.ubj"
CONTENT = (
    "format", "schema", "versions", "features", "trees_sha256", "machine", "intervals", "within", "settings",
    "ceilings", "spreads", "laws", "compositions", "operators", "distrusted", checked.HASH,
)  # fmt: skip
ADDED: Mapping[str, Any] = {
    "distrusted": []
}  # what came later: left out of a file while it has the value of the day it was added
DAMAGED = (ArithmeticError, AttributeError, IndexError, InputError, KeyError, TypeError, ValueError)
"""What reading values that make no sense raises; a `TableError` that names something newer passes."""


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
        **grown({"distrusted": distrusted_rows(predictor.distrusted)}, ADDED),
    }
    write_atomically(folder / FILE, json.dumps(checked.hashed(content), indent=1, allow_nan=False) + "\n")
    return folder


def load(folder: Path) -> "LatencyPredictor":
    """The predictor of a folder; `TableError` where it is missing, damaged, foreign or newer."""
    from .latency import LatencyPredictor

    content = read_content(folder / FILE, FORMAT, SCHEMA)
    _check_features(content, folder)
    try:
        checked.fields("the predictor", content, CONTENT, [checked.HASH, *ADDED])
        settings = [_setting(data) for data in content["settings"]]
        model = _model(content, settings, _trees(folder, content["trees_sha256"]))
        compositions = dict(_composition(entry, settings) for entry in content["compositions"])
        intervals, machine = Intervals.from_json(content["intervals"]), Machine.from_json(content["machine"])
        within = checked.positive(content["within"], 100.0)
        liars = distrusted_of(filled(content, ADDED)["distrusted"])
    except DAMAGED as error:
        raise damaged(folder / FILE, error) from error
    return LatencyPredictor(model, compositions, intervals, machine, within, liars)


def _setting(data: Any) -> Setting:
    said = checked.fields("a setting", data, Setting.__dataclass_fields__, SETTING_ADDED)
    return Setting(
        dtype=checked.known("dtype", said["dtype"], DTYPE_BYTES),
        mode=checked.known("mode", said["mode"], MODES),
        threads=checked.whole(said["threads"]),
        units=checked.whole(said["units"], 1),
        runtime=str(said.get("runtime", SETTING_ADDED["runtime"])),
    )


def _composition(entry: Any, settings: Sequence[Setting]) -> tuple[tuple[Setting, str], Composition]:
    setting = settings[checked.whole(entry["setting"], 0, len(settings))]
    return (setting, checked.known("phase", entry["phase"], COMPOSED)), Composition.from_json(entry)


def _model(content: Mapping[str, Any], settings: Sequence[Setting], booster: xgb.Booster | None) -> OperatorModel:
    def setting(at: Any) -> Setting:
        return settings[checked.whole(at, 0, len(settings))]

    ceilings = {
        (checked.known("dtype", dtype, DTYPE_BYTES), checked.whole(threads)): Roof(*map(checked.positive, figures))
        for dtype, threads, *figures in checked.rows(content["ceilings"], 5)
    }
    samples = tuple(
        Sample(checked.operator(signature), setting(at), checked.positive(seconds, checked.LONGEST_SECONDS))
        for signature, at, seconds in checked.rows(content["operators"], 3)
    )
    laws = {
        (setting(at), checked.known("operator kind", kind, KINDS)): _law(*(checked.number(x, 0.0) for x in figures))
        for at, kind, *figures in checked.rows(content["laws"], 6)
    }
    spreads = {
        checked.known("operator kind", kind, KINDS): checked.number(spread, 0.0)
        for kind, spread in content["spreads"].items()
    }
    if {(sample.setting, sample.operator.kind) for sample in samples} - set(laws):
        raise ValueError("an operator was measured whose kind has no law")
    return OperatorModel(Ceilings(ceilings), samples, laws, booster, spreads)


def _law(launch: float, work: float, moved: float, floor: float) -> Law:
    return Law((launch, work, moved), floor)


def _model_json(predictor: "LatencyPredictor") -> dict[str, Any]:
    model = predictor.model
    settings = list(dict.fromkeys([*model.settings, *(setting for setting, _ in predictor.compositions)]))
    at = {setting: index for index, setting in enumerate(settings)}
    return {
        "settings": [setting.to_json() for setting in settings],
        "ceilings": [[dtype, threads, *roof] for (dtype, threads), roof in model.ceilings.roofs.items()],
        "spreads": model.spreads,
        "laws": [[at[s], kind, *law.coefficients, law.floor] for (s, kind), law in model.laws.items()],
        "compositions": [
            {"setting": at[setting], "phase": phase, **fitted.to_json()}
            for (setting, phase), fitted in predictor.compositions.items()
        ],
        "operators": [[s.operator.signature, at[s.setting], s.seconds] for s in model.samples],
    }


def distrusted_rows(liars: Sequence[Distrusted]) -> list[list[Any]]:
    """Measurements that were left out, as plain JSON."""
    return [[liar.what, liar.times] for liar in liars]


def distrusted_of(data: Any) -> tuple[Distrusted, ...]:
    """The inverse of `distrusted_rows`; `ValueError` where it makes no sense."""
    return tuple(Distrusted(str(what), checked.positive(times)) for what, times in checked.rows(data, 2))


def read_content(path: Path, kind: str, schema: int) -> Mapping[str, Any]:
    """The JSON of a predictor; `TableError` where it is missing, damaged, not a `kind`, or newer than `schema`."""
    try:
        content = strict.read_json(path)
    except FileNotFoundError:
        raise TableError(f"there is no predictor in {path.parent}: expected {path.name}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not isinstance(content, dict) or content.get("format") != kind:
        raise TableError(f"{path} is not a {kind}; fit one again from its measurements")
    version = content.get("schema")
    if type(version) is not int or version < 1:
        raise damaged(path, ValueError(f"expected a schema number; got {version!r}"))
    if version > schema:
        raise TableError(
            f"{path.parent} holds a predictor of schema {version}, this version reads {schema}: update distilsearch"
        )
    if checked.HASH in content and content[checked.HASH] != checked.content_hash(content):
        raise damaged(path, ValueError("it is not what was saved"))
    return content


def damaged(path: Path, error: Exception) -> TableError:
    """The error for a file that makes no sense."""
    return TableError(f"{path} is damaged ({error!r}); fit the predictor again")


def _check_features(content: Mapping[str, Any], folder: Path) -> None:
    """Trees may lack columns that came after them; one that this version does not know makes them unreadable."""
    said = content.get("features")
    names = said.get("names") if isinstance(said, dict) and said.get("schema") == features.SCHEMA else None
    if not isinstance(names, list) or not all(name in features.names() for name in names):
        raise TableError(
            f"{folder} holds a predictor with other features than this version's; fit it again, or upgrade distilsearch"
        )


def _trees(folder: Path, sha256: str | None) -> xgb.Booster | None:
    if sha256 is None:
        return None
    try:
        raw = strict.read_bytes(folder / TREES)
    except (OSError, ValueError) as error:
        raise TableError(f"{folder / TREES} is missing or unreadable ({error}); fit the predictor again") from error
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise TableError(f"{folder / TREES} is damaged: it is not the file that was saved; fit the predictor again")
    return load_trees(raw, features.names())
