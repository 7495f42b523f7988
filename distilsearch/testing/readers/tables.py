"""Latency tables and the predictors that are fitted to them."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .reader import HOME


def made_table(samples: Path, folder: Path) -> None:
    """A store with one table of the kept rounds of fewest rows."""
    (source,) = (samples / "tables").glob("*/*")
    place = folder / source.parent.name / source.name / "rounds"
    place.mkdir(parents=True)
    for path in sorted((source / "rounds").iterdir(), key=lambda path: path.stat().st_size)[:2]:
        shutil.copy(path, place)


def named_rounds(folder: Path) -> None:
    """Each is called by its content, as it is now."""
    for path in folder.glob("*/*/rounds/*"):
        path.rename(path.with_name(hashlib.sha256(path.read_bytes()).hexdigest() + ".parquet"))


def read_table(folder: Path) -> None:
    """Pull it, and do with it what the commands do."""
    from ...home import home
    from ...profiling.tables.remarks import remarks
    from ...profiling.tables.sessions import sessions
    from ...profiling.tables.store import all_tables
    from ...profiling.tables.table import LatencyTable
    from ...profiling.tables.transfer import pull
    from ...profiling.told import table_facts

    store = home() / "pulled"
    shutil.rmtree(store, ignore_errors=True)
    try:
        pull(str(folder), store)
    finally:  # whatever was stored is fit to be used
        for place in all_tables(store):
            table = LatencyTable.read(place)
            json.dumps([table_facts(table), remarks(table)])
            for session in sessions(place):
                assert 0 <= session.began_unix < 1e11


def read_predictor(folder: Path) -> None:
    """As `predict` asks it."""
    from ...operators import Serving
    from ...predictors.latency import LatencyPredictor

    predictor = LatencyPredictor.load(folder)
    said = json.loads((folder.parent / HOME / "expected.json").read_text())
    prediction = predictor.predict(
        [_architecture(a) for a in said["architectures"]], Serving.from_json(said["serving"])
    )
    assert all(0 < ms < float("inf") for ms in prediction.mean_ms)


def hashed_trees(folder: Path) -> None:
    """The predictor's hash of its trees is that of the file as it is now."""
    path = folder / "predictor.json"
    try:
        content = json.loads(path.read_bytes())
        content["trees_sha256"] = hashlib.sha256((folder / "operators.ubj").read_bytes()).hexdigest()
        path.write_text(json.dumps(content))
    except (ValueError, TypeError, RecursionError):
        return


def read_pairs(folder: Path) -> None:
    """As `predict` asks it, of a table of pairs."""
    from ...lowering import operators
    from ...operators import Serving
    from ...predictors.pairs.pairs import PairPredictor

    predictor = PairPredictor.load(folder)
    said = json.loads((folder.parent / HOME / "expected.json").read_text())
    serving = Serving.from_json(said["serving"])
    predictor.predict_operators([operators(_architecture(a), serving) for a in said["architectures"]])


def with_expected(make: Callable[[Path, Path], object]) -> Callable[[Path, Path], object]:
    """With a predictor, what to ask of it."""

    def made(samples: Path, folder: Path) -> None:
        make(samples, folder)
        shutil.copy(samples / "expected.json", folder.parent / HOME)

    return made


def _architecture(data: Any) -> Any:
    from ...architecture import Architecture

    return Architecture.from_json(data)
