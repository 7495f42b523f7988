"""Tables that a newer version wrote, or somebody tampered with: refused as a `TableError`, or read whole."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.errors import TableError
from distilsearch.profiling import LatencyTable
from distilsearch.profiling.device import Regime
from distilsearch.profiling.tables import rounds as files
from distilsearch.profiling.tables.transfer import pull

(KEPT,) = (Path(__file__).parents[2] / "old" / "0.1.0" / "tables").glob("*/*")
ODD = [None, "", "odd", "odd(", "peak()", "norm(batch=1)", "{}", '{"architecture": 3, "serving": {}}', -1, 0, 7, 1e308]
STRINGS = ("kind", "signature", "dtype", "mode", "cache", "session", "status")
ATTENTION = "attention(batch=1,cached=0,causal=0,head_size=16,heads=1,kv_heads=1,sequence=8{})"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One file of rounds of a kept old table."""
    first = min((KEPT / files.ROUNDS).iterdir())
    (tmp_path / files.ROUNDS).mkdir()
    shutil.copy(first, tmp_path / files.ROUNDS)
    return tmp_path


def rewrite(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """The file of rounds with other content, properly named: only what it holds can give it away."""
    (path,) = (folder / files.ROUNDS).iterdir()
    content = files.parquet_bytes(change(pq.read_table(path)))
    path.unlink()
    path.with_name(hashlib.sha256(content).hexdigest() + ".parquet").write_bytes(content)


def put(table: pa.Table, column: str, values: list[Any], at: int = 0) -> pa.Table:
    """A table with some values of a column replaced, from row `at` on."""
    index = table.schema.get_field_index(column)
    before = table[column].to_pylist()
    after = [*before[:at], *values, *before[at + len(values) :]]
    return table.set_column(index, column, pa.array(after, table.schema.field(index).type))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("kind", "graph", "the kind 'graph'"),
        ("mode", "later", "the mode 'later'"),
        ("dtype", "int4", "the dtype 'int4'"),
        ("cache", "lukewarm", "the cache 'lukewarm'"),
        ("status", "late", "the status 'late'"),
        ("signature", "convolution(batch=1)", "the operator kind 'convolution'"),
        ("signature", ATTENTION.format(",window=4"), "the size 'window' of the operator kind 'attention'"),
    ],
)
def test_what_only_a_newer_version_knows_is_named(folder: Path, column: str, value: str, said: str) -> None:
    def change(table: pa.Table) -> pa.Table:
        return put(put(table, "kind", ["operator"]), column, [value])

    rewrite(folder, change)
    with pytest.raises(
        TableError, match=rf"{said}, which this version does not know: a newer .*Upgrade .*profile again"
    ):
        LatencyTable.read(folder)


def test_a_column_of_a_newer_version_is_named(folder: Path) -> None:
    rewrite(folder, lambda table: table.append_column("power_watts", pa.array([1.0] * len(table))))
    with pytest.raises(TableError, match=r"the column 'power_watts', which this version does not know"):
        LatencyTable.read(folder)


def test_a_later_column_is_written_only_where_it_says_something(folder: Path) -> None:
    (part,) = files.read_all(folder)
    assert set(part.rows["runtime"].to_pylist()) == {"torch"}
    fields: dict[str, Any] = {
        "session": "s",
        "round": 0,
        "seconds": 1e-3,
        "sentinel_seconds": 1e-4,
        "unix_seconds": 1.0,
    }
    fields |= {"prepare_seconds": None, "steal_share": None, "frequency_hertz": None, "kind": "operator"}
    for runtimes in (["torch"], ["torch", "other"]):
        regimes = [Regime("float32", "eager", 1, runtime=name) for name in runtimes]
        rows = [files.Row(signature=ATTENTION.format(""), regime=regime, **fields) for regime in regimes]
        name = files.append(folder, rows, part.device, part.stack)
        written = pq.read_schema(folder / files.ROUNDS / name).names
        assert ("runtime" in written) == ("other" in runtimes)
        assert files.read(folder / files.ROUNDS / name).rows["runtime"].to_pylist() == runtimes


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(column=st.sampled_from(files.COLUMNS.names), odd=st.sampled_from(ODD), at=st.integers(0, 30))
def test_a_changed_value_is_refused_or_read_whole(tmp_path: Path, column: str, odd: Any, at: int) -> None:
    folder = tmp_path / "table"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / files.ROUNDS).mkdir(parents=True)
    shutil.copy(min((KEPT / files.ROUNDS).iterdir()), folder / files.ROUNDS)
    if isinstance(odd, str) != (column in STRINGS) and odd is not None:
        return
    kind = files.COLUMNS.field(column).type
    value = int(min(odd, 2**31 - 1)) if pa.types.is_integer(kind) and odd is not None else odd
    rewrite(folder, lambda table: put(table, column, [value], at % len(table)))
    (path,) = (folder / files.ROUNDS).iterdir()
    rows = pq.read_table(path).num_rows
    try:
        LatencyTable.read(folder)
    except TableError as refusal:
        said = str(refusal)
    else:
        assert files.read(path).rows.num_rows == rows
        return
    assert "Delete the file" in said or "Upgrade distilsearch" in said


@pytest.mark.parametrize(
    "facts",
    [
        {"device": []},
        {"device": None},
        {"device": {"model": ["x"]}},
        {"device": {"model": {"model name": 3}}},
        {"device": {"model": "\x1b[2J"}},
        {"device": {"model": "x", "sm_count": "many"}},
        {"device": {"model": "x", "multiprocessors": 0}},
        {"device": {"model": "x", "deep": [[[[[1]]]]]}},
        {"stack": {"torch": "x" * 200_000}},
        {"stack": "torch"},
    ],
)
def test_facts_of_a_machine_that_cannot_be_used_are_refused_before_anything_is_stored(
    folder: Path, tmp_path: Path, facts: dict[str, Any]
) -> None:
    def change(table: pa.Table) -> pa.Table:
        said = json.loads(table.schema.metadata[b"distilsearch"]) | facts
        return table.replace_schema_metadata({"distilsearch": json.dumps(said)})

    rewrite(folder, change)
    place = tmp_path / "from" / "0123456789ab" / "0123456789ab"
    place.mkdir(parents=True)
    shutil.copytree(folder / files.ROUNDS, place / files.ROUNDS)
    with pytest.raises(TableError, match="is damaged"):
        pull(str(tmp_path / "from"), tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("seconds", 1e-320), ("seconds", 1e308), ("seconds", None), ("round", None), ("round", -1),
        ("unix_seconds", 1e300), ("unix_seconds", float("nan")), ("prepare_seconds", float("inf")),
        ("frequency_hertz", -1.0), ("session", "\x1b[2J"), ("session", "x" * 1000),
    ],
)  # fmt: skip
def test_figures_that_make_no_sense_are_refused_before_anything_is_stored(
    folder: Path, tmp_path: Path, column: str, value: Any
) -> None:
    rewrite(folder, lambda table: put(table, column, [value]))
    place = tmp_path / "from" / "0123456789ab" / "0123456789ab"
    place.mkdir(parents=True)
    shutil.copytree(folder / files.ROUNDS, place / files.ROUNDS)
    with pytest.raises(TableError, match="is damaged"):
        pull(str(tmp_path / "from"), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_one_damaged_table_hides_no_other(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for device in ("0123456789ab", "ba9876543210"):
        shutil.copytree(folder / files.ROUNDS, store / device / "0123456789ab" / files.ROUNDS)
    (damaged,) = (store / "0123456789ab" / "0123456789ab" / files.ROUNDS).iterdir()
    damaged.write_bytes(damaged.read_bytes()[:-1])
    done = CliRunner().invoke(app, ["tables", "list", "--store", str(store)])
    assert "ba9876543210/0123456789ab" in done.stdout
    assert isinstance(done.exception, TableError)
    assert damaged.name in str(done.exception)
