"""Rounds that were measured elsewhere arrive where they are asked for, once and whole."""

import pytest

from distilsearch.engine.job.preflight import check_target
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.work import tables
from distilsearch.errors import InputError, TableError
from distilsearch.profiling import LatencyTable, fingerprint
from distilsearch.profiling.device import Regime
from distilsearch.profiling.tables import rounds

DEVICE, STACK = {"kind": "cpu", "model": "of a test"}, {"torch": "0"}
NAMES = fingerprint(DEVICE), fingerprint(STACK)
NORM = "norm(batch=1,norm=layer,residual=1,sequence=8,width=64)"
REGIME = Regime(dtype="float32", mode="eager", threads=1, cache="hot")


def measure(store, session: str, device=DEVICE):
    """One round in a store, as a profiler leaves it; returns the table's folder."""
    folder = store / fingerprint(device) / fingerprint(STACK)
    row = rounds.Row("operator", NORM, REGIME, session, 0, 1e-3, 1e-3, None, None, None, 0.0)
    rounds.append(folder, [row], device, STACK)
    return folder


@pytest.fixture
def depot(tmp_path):
    return f"file://{tmp_path / 'depot'}"


def test_rounds_of_several_machines_of_one_kind_are_united(depot, tmp_path) -> None:
    for session in ("first", "second"):
        tables.send(depot, measure(tmp_path / session, session))
    folder = tables.receive(depot, *NAMES, tmp_path / "driver")
    assert folder == tmp_path / "driver" / NAMES[0] / NAMES[1]
    assert rounds.names(folder) == sorted(
        name for session in ("first", "second") for name in rounds.names(tmp_path / session / NAMES[0] / NAMES[1])
    )
    assert LatencyTable.read(folder).meta.device == DEVICE


def test_other_tables_stay_where_they_are(depot, tmp_path) -> None:
    other = {"kind": "cpu", "model": "another"}
    measure(tmp_path / "worker", "a", other)
    tables.send(depot, measure(tmp_path / "worker", "a"))
    assert [path.name for path in (tmp_path / "depot" / "tables").iterdir()] == [NAMES[0]]
    tables.send(depot, tmp_path / "worker" / fingerprint(other) / NAMES[1])
    tables.receive(depot, *NAMES, tmp_path / "driver")
    assert [path.name for path in (tmp_path / "driver").iterdir()] == [NAMES[0]]


def test_what_is_not_there_yet_is_no_error(depot, tmp_path) -> None:
    assert not tables.receive(depot, *NAMES, tmp_path / "driver").exists()
    folder = measure(tmp_path / "home", "a")
    tables.send("", folder)
    assert tables.receive("", *NAMES, tmp_path / "home") == folder
    assert not (tmp_path / "depot").exists()


@pytest.mark.parametrize("name", ["../..", "*", "", "/etc"])
def test_an_answer_that_is_no_fingerprint_is_refused(depot, tmp_path, name: str) -> None:
    with pytest.raises(TableError, match="expected the fingerprints"):
        tables.receive(depot, name, NAMES[1], tmp_path / "driver")


def test_damage_on_the_way_is_refused(depot, tmp_path) -> None:
    tables.send(depot, measure(tmp_path / "worker", "a"))
    (path,) = (tmp_path / "depot").rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TableError, match="damaged"):
        tables.receive(depot, *NAMES, tmp_path / "driver")


def test_each_runtime_of_another_machine_needs_a_table_of_its_own(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    measure(tmp_path / "home" / "tables", "by torch")
    one, two = ({"device": NAMES[0], "serving": {"runtime": own}} for own in ("torch", ["torch", "onnxruntime"]))
    run = Run.parse({"teacher": "quickstart", "text": ["python-docs"], "target": [one]})
    check_target(run.target[0])
    run = Run.parse({"teacher": "quickstart", "text": ["python-docs"], "target": [two]})
    with pytest.raises(InputError, match="under onnxruntime; run `distilsearch profile --runtime onnxruntime` on"):
        check_target(run.target[0])
