"""Whole models of others: read by their genes, refused by file, line and column, and enough for a predictor."""

from pathlib import Path

import numpy as np
import pytest

from distilsearch.errors import TableError
from distilsearch.families import family
from distilsearch.lowering import operators
from distilsearch.operators import Serving
from distilsearch.predictors.latency import LatencyPredictor
from distilsearch.profiling.foreign import import_tables
from distilsearch.profiling.tables.table import LatencyTable

HEADER = "layers,width,heads,ffn,sequence,milliseconds"
ROWS = ["1,128,4,256,64,1.1", "2,256,4,512,64,4.6", "4,384,12,1536,64,24.0"]
SERVING = Serving(sequence=64)
SPACE = family("bert").space(
    {"layers": [1, 2, 3, 4, 6], "width": [128, 256, 384], "heads": [4], "ffn": [256, 1024, 1536], "inherit": ["even"]}
)
MEMBERS = SPACE.decode(np.random.default_rng(0).permutation(SPACE.grid(100)))
GENES = ("layers", "width", "heads", "ffn")


def written(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "models.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def imported(path: Path) -> LatencyTable:
    return import_tables(path, "models", "phone", path.parent / "store").table


def truth(architecture) -> float:
    """Milliseconds on a device that nobody has probed."""
    listed = operators(architecture, SERVING)
    return 1e3 * sum(n * (3e-5 + o.flops / 6e10 + o.bytes("float32") / 8e9) for o, n in listed)


def test_rows_become_whole_models(tmp_path: Path) -> None:
    table = imported(written(tmp_path, *ROWS, "1.0,128,4,256,64,1.2"))
    assert not table.operators
    assert len(table.models) == 3
    smallest = min(table.models, key=lambda row: row.measured.seconds_p10)
    assert [smallest.architecture[gene] for gene in GENES] == [1, 128, 4, 256]
    assert (smallest.serving, smallest.measured.rounds) == (SERVING, 2)
    assert smallest.measured.seconds_p10 == pytest.approx(1.1e-3, rel=0.05)
    assert table.meta.device == {"kind": "foreign", "model": "phone"}


def test_conditions_and_families_are_columns_too(tmp_path: Path) -> None:
    header = "name,family,layers,width,heads,kv_heads,head_size,ffn,phase,batch,dtype,threads,mode,latency_ms"
    rows = [f"m{n},llama,{n},64,4,2,16,128,decode,2,bfloat16,3,compile,{n}.5" for n in (1, 2, 3)]
    table = imported(written(tmp_path, *rows, header=header))
    assert {row.architecture.family for row in table.models} == {"llama"}
    assert {row.serving for row in table.models} == {Serving(2, 128, "bfloat16", "decode", 3, "compile")}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",128,4,256,64,1.1", "names no layers"),
        ("0,128,4,256,64,1.1", "layers must be a positive whole number; got 0"),
        ("1.5,128,4,256,64,1.1", "layers must be a positive whole number; got 1.5"),
        ("many,128,4,256,64,1.1", "layers must be a positive whole number; got 'many'"),
        ("1,128,7,256,64,1.1", "heads must divide width"),
        ("1,128,4,256,0,1.1", "column 'sequence': expected a whole number of at least 1; got '0'"),
        ("1,128,4,256,64,", r"column 'milliseconds': .* got nothing \(the cell is blank\)"),
        ("1,128,4,256,64,fast", "column 'milliseconds': .* got 'fast'"),
        ("1,128,4,256,64,-3", "column 'milliseconds': .* got '-3'"),
        ("1,128,4,256,1000,1.1", "1000.* 512"),
        ("1,128,4,256,64,1,1", "has 7 cells, the header 6"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_written(tmp_path: Path, row: str, reason: str) -> None:
    with pytest.raises(TableError, match=rf"models.csv, line 5, .*{reason}" if "cells" not in reason else reason):
        imported(written(tmp_path, *ROWS, row))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("layers,width,heads,ffn,sequence,time", "needs exactly one column of times"),
        ("layers;width;heads;ffn;sequence;milliseconds", "parted by semicolons"),
        ("layers,width,heads,ffn,seconds,milliseconds", "needs exactly one column of times"),
        ("layers,width,heads,width,sequence,milliseconds", "more than one column 'width'"),
        ("layers,widht,heads,ffn,sequence,milliseconds", "line 2, .*names no width"),
        ("layers,width,heads,ffn,family,milliseconds", "line 2, column 'family': unknown family '64'"),
    ],
)
def test_a_header_that_is_off_is_explained(tmp_path: Path, header: str, reason: str) -> None:
    with pytest.raises(TableError, match=reason):
        imported(written(tmp_path, *ROWS, header=header))
    assert not (tmp_path / "store").exists()


def test_a_new_table_needs_some_models_and_an_old_one_takes_one(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="holds 2 different whole models; at least 3 are needed"):
        imported(written(tmp_path, *ROWS[:2], ROWS[0]))
    imported(written(tmp_path, *ROWS))
    assert len(imported(written(tmp_path, "6,128,4,256,64,6.0")).models) == 4


def test_a_predictor_is_fitted_to_whole_models_alone(tmp_path: Path) -> None:
    rows = [f"{','.join(str(m[gene]) for gene in GENES)},64,{truth(m):.5f}" for m in MEMBERS[:12]]
    predictor = LatencyPredictor.fit(imported(written(tmp_path, *rows)))
    p = predictor.predict(MEMBERS[12:], SERVING)
    expected = np.array([truth(member) for member in MEMBERS[12:]])
    assert np.median(np.abs(p.mean_ms / expected - 1)) < 0.03
    assert np.mean((p.lower_ms <= expected) & (expected <= p.upper_ms)) > 0.7
    assert np.median(p.upper_ms / p.lower_ms) < 1.5
    compiled = predictor.compile(SPACE, SERVING)
    np.testing.assert_allclose(compiled(SPACE.encode(MEMBERS[12:])), p.mean_ms)
    loaded = LatencyPredictor.load(predictor.save(tmp_path / "predictor"))
    np.testing.assert_allclose(loaded.predict(MEMBERS[12:], SERVING).upper_ms, p.upper_ms)


def test_three_models_say_little_and_their_intervals_know(tmp_path: Path) -> None:
    rows = [f"{','.join(str(m[gene]) for gene in GENES)},64,{truth(m):.5f}" for m in MEMBERS[:3]]
    p = LatencyPredictor.fit(imported(written(tmp_path, *rows))).predict(MEMBERS[3:], SERVING)
    expected = np.array([truth(member) for member in MEMBERS[3:]])
    assert np.mean((p.lower_ms <= expected) & (expected <= p.upper_ms)) > 0.7
    assert 1.2 < np.median(p.upper_ms / p.lower_ms) < 4
