"""What 0.1.0 wrote still opens and says the same, also after sizes, genes, modes and fields have been added."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from distilsearch import (
    Architecture,
    Engine,
    Expensive,
    Known,
    LatencyPredictor,
    LatencyTable,
    Parameter,
    Recipe,
    SearchSpace,
    Serving,
    architecture,
)
from distilsearch import operators as ground
from distilsearch.distill import recipes
from distilsearch.distill.job import Training
from distilsearch.errors import InputError
from distilsearch.lowering import operators
from distilsearch.operators import KINDS, Kind
from distilsearch.predictors.pairs.pairs import PairPredictor
from distilsearch.profiling import merge
from distilsearch.profiling.tables.restate import META, MODELS, OPERATORS

OLD = Path(__file__).parents[1] / "old" / "0.1.0"
(TABLE,) = (OLD / "tables").glob("*/*")
EXPECTED = json.loads((OLD / "expected.json").read_text())
SERVING = Serving.from_json(EXPECTED["serving"])


@pytest.fixture(params=["as it is", "after growth"])
def house(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """This version, and a later one with a new kind, size, gene, mode, dtype and fields."""
    if request.param == "as it is":
        return
    kind = KINDS["attention"]
    monkeypatch.setitem(KINDS, "attention", replace(kind, sizes=(*kind.sizes, "window"), added={"window": 0}))
    monkeypatch.setitem(KINDS, "convolution", Kind(("batch",), lambda s: 1, lambda s: 1, lambda s: 0))
    monkeypatch.setitem(architecture.ADDED, "bert", {"window": 0})
    monkeypatch.setattr(ground, "MODES", (*ground.MODES, "later"))
    monkeypatch.setitem(ground.DTYPE_BYTES, "int4", 1)
    monkeypatch.setattr(recipes, "ADDED", {**recipes.ADDED, "later": 1.0})


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The kept table, where it may be written."""
    return Path(shutil.copytree(TABLE, tmp_path / "device" / "stack"))


@pytest.mark.usefixtures("house")
def test_an_old_table_is_read_and_left_as_it_is(table: Path) -> None:
    before = {path: path.read_bytes() for path in table.rglob("*.*")}
    read = LatencyTable.read(table)
    assert {path: path.read_bytes() for path in table.rglob("*.*")} == before
    said = pq.read_table(TABLE / OPERATORS)
    assert said["signature"].to_pylist() == [row.operator.signature for row in read.operators]
    assert said["seconds_p10"].to_pylist() == [row.measured.seconds_p10 for row in read.operators]
    assert said["roofline_seconds"].to_pylist() == [row.roofline_seconds for row in read.operators]
    assert len(read.models) == pq.read_table(TABLE / MODELS).num_rows > 0
    assert read.meta.additivity_error == json.loads((TABLE / META).read_text())["additivity_error"]


def test_an_old_table_keeps_its_place(table: Path, tmp_path: Path) -> None:
    (merged,) = merge([table], tmp_path / "store")
    assert merged.folder is not None
    assert merged.folder.parts[-2:] == TABLE.parts[-2:]


@pytest.mark.usefixtures("house")
def test_an_old_table_predicts_what_its_run_predicted(table: Path) -> None:
    run = LatencyPredictor.load(OLD / "run" / "predictor" / "latency_ms")
    fitted, read = LatencyPredictor.fit(LatencyTable.read(table)), LatencyTable.read(table)
    assert run.model.settings == fitted.model.settings
    models = [row.architecture for row in read.models]
    serving = read.models[0].serving
    ours, theirs = fitted.predict(models, serving).mean_ms, run.predict(models, serving).mean_ms
    assert np.allclose(ours, theirs, rtol=0.25)  # the run measured more models afterwards


@pytest.mark.usefixtures("house")
def test_an_old_predictor_predicts_the_same() -> None:
    students = [Architecture.from_json(data) for data in EXPECTED["architectures"]]
    assert [student.key for student in students] == EXPECTED["keys"]
    predictor = LatencyPredictor.load(OLD / "predictor")
    assert predictor.model.booster is not None
    _same(predictor.predict(students, SERVING), EXPECTED["predictor"])
    _same(
        PairPredictor.load(OLD / "pairs").predict_operators([operators(student, SERVING) for student in students]),
        EXPECTED["pairs"],
    )


def _same(prediction: Any, expected: dict[str, Any]) -> None:
    for name, values in expected.items():
        ours = getattr(prediction, name)
        assert ours.tolist() == values if name == "tier" else np.allclose(ours, values, rtol=1e-6)


@pytest.mark.usefixtures("house")
def test_old_recipes_keep_their_keys() -> None:
    for kept in json.loads((OLD / "recipes.json").read_text()):
        assert Recipe.from_json(kept["recipe"]).key == kept["key"]


@pytest.mark.usefixtures("house")
def test_old_trials_keep_their_keys() -> None:
    for path in (OLD / "trials").glob("*/trial.json"):
        data = json.loads(path.read_text())
        training = Training.from_json(data["context"])
        assert training.key(Architecture.from_json(data["architecture"])) == data["key"] == path.parent.name


@pytest.mark.usefixtures("house")
def test_an_old_engine_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine.restore(*_problem(), json.loads((OLD / "engine" / "state.json").read_text()))
    front = [{"architecture": o.architecture.to_json(), "values": dict(o.values)} for o in engine.front()]
    assert front == json.loads((OLD / "engine" / "front.json").read_text())
    assert engine.state() == json.loads((OLD / "engine" / "state.json").read_text())


def test_an_engine_state_of_a_newer_version_is_refused() -> None:
    state = json.loads((OLD / "engine" / "state.json").read_text()) | {"schema": 9}
    with pytest.raises(InputError, match=r"schema 1 to 3; got 9; use the version that wrote it"):
        Engine.restore(*_problem(), state)


def _problem() -> tuple[SearchSpace, list[Expensive | Known]]:
    genes = [Parameter("depth", (1, 2, 3, 4)), Parameter("kind", ("a", "b", "c"), ordered=False)]
    latency = Known("latency_ms", lambda codes: 1.0 + codes[:, 0] + 0.1 * codes[:, 1], at_most=6.0)
    return SearchSpace("generic", genes), [Expensive("loss"), latency]
