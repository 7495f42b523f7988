"""Tables: what is written is read, what is damaged is refused with the reason, merging is a union of rounds."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilsearch.errors import InputError, TableError
from distilsearch.operators import Serving
from distilsearch.profiling import LatencyTable, find_table, merge, profile, table_folder
from distilsearch.profiling.device import Regime, fingerprint
from distilsearch.profiling.tables import rounds as files
from distilsearch.profiling.tables.restate import META, MODELS, OPERATORS
from distilsearch.space import SearchSpace

Fake = Callable[..., Any]
FACTS, STACK = {"kind": "fake", "model": "abacus"}, {"torch": "1"}


def row(signature: str = "x", number: int = 0, **changes: Any) -> files.Row:
    fields: dict[str, Any] = {
        "kind": "operator",
        "signature": signature,
        "regime": Regime("float32", "eager", 1),
        "session": "s",
        "round": number,
        "seconds": 1e-3 * (1 + number / 10),
        "sentinel_seconds": 2e-4,
        "prepare_seconds": 0.1,
        "steal_share": None,
        "frequency_hertz": 2e9,
        "unix_seconds": 1.7e9 + number,
    }
    return files.Row(**fields | changes)


NORM = "norm(batch=1,norm=layer,residual=1,sequence=8,width={})"


@pytest.fixture
def folder(space: SearchSpace, serving: Serving, store: Path, make_fake: Fake) -> Path:
    """A table on disk."""
    device = make_fake()
    profile(space, device, serving, store, models=1, clock=device.clock)
    return table_folder(device, store)


def test_derived_files_restate_the_table(folder: Path) -> None:
    table = LatencyTable.read(folder)
    operators, models = pq.read_table(folder / OPERATORS), pq.read_table(folder / MODELS)
    assert operators["signature"].to_pylist() == [r.operator.signature for r in table.operators]
    assert operators["seconds_p10"].to_pylist() == [r.measured.seconds_p10 for r in table.operators]
    expected = {"kind", "signature", "dtype", "mode", "threads", "cache", "seconds_p10", "seconds_p50", "seconds_p90"}
    expected |= {"rounds", "relative_iqr", "sentinel_ratio", "status", "flops", "bytes", "roofline_seconds"}
    assert set(operators.column_names) == expected
    assert models.num_rows == len(table.models) > 0
    meta = json.loads((folder / META).read_text())
    names = (
        "schema device stack peak_flops bandwidth launch_floor_seconds noise_floor additivity_error collector hashes"
    )
    assert set(names.split()) <= set(meta)
    assert meta["hashes"][OPERATORS] == hashlib.sha256((folder / OPERATORS).read_bytes()).hexdigest()


@pytest.mark.parametrize("name", [META, OPERATORS, MODELS])
def test_derived_files_are_made_anew(folder: Path, name: str) -> None:
    before, table = (folder / name).read_bytes(), LatencyTable.read(folder)
    for damage in (b"", before[:-9], None):
        (folder / name).unlink() if damage is None else (folder / name).write_bytes(damage)
        assert LatencyTable.read(folder) == table
        assert (folder / name).read_bytes() == before


def test_reading_twice_writes_nothing(folder: Path) -> None:
    LatencyTable.read(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    LatencyTable.read(folder)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_flipped_bit_and_a_cut_file_are_refused(folder: Path) -> None:
    path = next((folder / files.ROUNDS).iterdir())
    content = path.read_bytes()
    for damaged in (content[:-20], content[:200] + bytes([content[200] ^ 1]) + content[201:], b""):
        path.write_bytes(damaged)
        with pytest.raises(TableError, match=r"damaged: its content has sha256 .* Delete the file"):
            LatencyTable.read(folder)


def rewritten(folder: Path, change: Callable[[pa.Table], pa.Table]) -> Path:
    """A table whose rounds are changed and properly named: only its values can give it away."""
    path = next((folder / files.ROUNDS).iterdir())
    content = files.parquet_bytes(change(pq.read_table(path)))
    path.unlink()
    target = path.with_name(hashlib.sha256(content).hexdigest() + ".parquet")
    target.write_bytes(content)
    return target


@pytest.mark.parametrize("value", [-1.0, 0.0, math.nan, math.inf, None])
def test_times_that_make_no_sense_are_refused(folder: Path, value: float | None) -> None:
    def change(table: pa.Table) -> pa.Table:
        values = [value, *table["seconds"].to_pylist()[1:]]
        return table.set_column(table.schema.get_field_index("seconds"), "seconds", pa.array(values, pa.float64()))

    rewritten(folder, change)
    with pytest.raises(TableError, match="seconds must be positive and finite"):
        LatencyTable.read(folder)


def test_other_units_are_refused(folder: Path) -> None:
    def change(table: pa.Table) -> pa.Table:
        names = ["milliseconds" if name == "seconds" else name for name in table.column_names]
        return table.rename_columns(names).replace_schema_metadata(table.schema.metadata)

    rewritten(folder, change)
    with pytest.raises(TableError, match=r"columns differ.*milliseconds"):
        LatencyTable.read(folder)


def with_schema(table: pa.Table, number: Any) -> pa.Table:
    facts = json.loads(table.schema.metadata[b"distilsearch"]) | {"schema": number}
    return table.replace_schema_metadata({"distilsearch": json.dumps(facts)})


def test_a_newer_schema_is_refused(folder: Path) -> None:
    rewritten(folder, lambda table: with_schema(table, files.SCHEMA + 1))
    with pytest.raises(TableError, match="upgrade distilsearch"):
        LatencyTable.read(folder)


def test_a_newer_meta_is_refused_and_left_alone(folder: Path) -> None:
    meta = json.loads((folder / META).read_text()) | {"schema": files.SCHEMA + 1}
    (folder / META).write_text(json.dumps(meta))
    with pytest.raises(TableError, match="upgrade distilsearch"):
        LatencyTable.read(folder)
    assert json.loads((folder / META).read_text()) == meta


@pytest.mark.parametrize("number", [None, "1", 0])
def test_a_file_without_schema_is_refused(folder: Path, number: Any) -> None:
    rewritten(folder, lambda table: with_schema(table, number))
    with pytest.raises(TableError, match="expected a schema number"):
        LatencyTable.read(folder)


def test_a_foreign_parquet_file_is_refused(folder: Path) -> None:
    content = files.parquet_bytes(pa.table({"a": [1]}))
    (folder / files.ROUNDS / (hashlib.sha256(content).hexdigest() + ".parquet")).write_bytes(content)
    with pytest.raises(TableError, match="no file of rounds"):
        LatencyTable.read(folder)


def test_rounds_of_another_machine_are_refused(folder: Path) -> None:
    files.append(folder, [row(NORM.format(8))], FACTS | {"model": "slide rule"}, STACK)
    with pytest.raises(TableError, match="different devices or stacks"):
        LatencyTable.read(folder)


def test_no_table_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="distilsearch profile"):
        LatencyTable.read(tmp_path)


def test_tables_are_found_by_fingerprint(folder: Path, store: Path, fake: Any) -> None:
    assert find_table(fake, store) == LatencyTable.read(folder)
    assert find_table(fingerprint(fake.facts())[:8], store) == LatencyTable.read(folder)
    assert find_table("0" * 12, store) is None
    with pytest.raises(InputError, match="expected a device"):
        find_table("cup", store)


def test_another_stack_has_a_table_of_its_own(folder: Path, store: Path, make_fake: Fake) -> None:
    assert find_table(make_fake(torch="2"), store) is None
    assert find_table(make_fake(model="slide rule"), store) is None


PARTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=1, max_size=6)


def table_of(folder: Path, parts: list[tuple[int, int]]) -> Path:
    """A table with one file of rounds for each part."""
    shutil.rmtree(folder, ignore_errors=True)
    for width, number in parts:
        files.append(folder, [row(NORM.format(8 + width), number)], FACTS, STACK)
    return folder


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PARTS, PARTS, PARTS)
def test_merge_is_a_union(tmp_path: Path, a: Any, b: Any, c: Any) -> None:
    """Commutative, associative, idempotent: any way of merging gives the same table."""
    one, two, three = (table_of(tmp_path / name, parts) for name, parts in zip("abc", (a, b, c), strict=True))
    orders = [[one, two, three], [three, one, two], [two, two, three, one, one]]
    merged = []
    for i, order in enumerate(orders):
        shutil.rmtree(tmp_path / f"store{i}", ignore_errors=True)
        merged.append(merge(order, tmp_path / f"store{i}")[0])
    shutil.rmtree(tmp_path / "nested", ignore_errors=True)
    inner = merge([two, three], tmp_path / "nested")[0].folder
    assert inner is not None
    merged.append(merge([inner, one], tmp_path / "store1")[0])
    names = {name for part in (one, two, three) for name in files.names(part)}
    for table in merged:
        assert table.folder is not None
        assert set(files.names(table.folder)) == names
        assert table.operators == merged[0].operators
        assert table.meta == merged[0].meta


def test_merge_refuses_what_is_damaged_before_copying(folder: Path, tmp_path: Path) -> None:
    path = next((folder / files.ROUNDS).iterdir())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TableError, match="damaged"):
        merge([folder], tmp_path / "other")
    assert not list((tmp_path / "other").rglob("*.parquet"))


def test_two_writers_lose_nothing(folder: Path, fake: Any) -> None:
    """Rounds appended between deriving and reading are found: the derived files never hide them."""
    before = LatencyTable.read(folder)
    width = 8
    files.append(folder, [row(NORM.format(width), i) for i in range(3)], fake.facts(), fake.stack())
    after = LatencyTable.read(folder)
    assert len(after.operators) == len(before.operators) + 1
    assert len(pq.read_table(folder / OPERATORS)) == len(after.operators)
