"""The page of a table: a chart a kind, every measured operator in it, nothing fetched from elsewhere."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.operators import Serving
from distilsearch.profiling import LatencyTable, profile
from distilsearch.profiling.tables.pictures import page_parts
from distilsearch.space import SearchSpace


@pytest.fixture
def table(space: SearchSpace, serving: Serving, store: Path, make_fake: Callable[..., Any]) -> LatencyTable:
    device = make_fake()
    return profile(space, device, serving, store, models=2, clock=device.clock)


def test_every_operator_is_drawn(table: LatencyTable) -> None:
    title, body, figures = page_parts(table)
    assert title == "abacus"
    assert set(figures) == {"models", *(f"chart{i}" for i in range(5))}
    assert all(f'id="{name}"' in body for name in figures)
    drawn = [x for f in figures.values() for t in f["data"] if t["name"] == "measured" for x in t["x"]]
    assert len(drawn) == len(table.operators) + len(table.models)
    json.dumps(figures, allow_nan=False)


def test_the_diagonal_of_sums_is_in_the_picture(table: LatencyTable) -> None:
    figure = page_parts(table)[2]["models"]
    diagonal = next(trace for trace in figure["data"] if trace["name"] == "sum of operators")
    for axis in ("x", "y"):
        low, high = figure["layout"][f"{axis}axis"]["range"]
        assert all(low <= math.log10(end) <= high for end in diagonal[axis])


def test_a_band_goes_on_from_size_to_size(table: LatencyTable) -> None:
    bands = [trace for f in page_parts(table)[2].values() for trace in f["data"] if trace["name"].startswith("tenth")]
    assert bands
    for band in bands:
        there = band["x"][: len(band["x"]) // 2]
        assert there == sorted(set(there))


def test_the_page_is_one_file(table: LatencyTable, store: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["tables", "show", str(table.folder), "--out", str(tmp_path / "t.html")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "t.html").read_text()
    assert "default-src 'none'" in page
    assert "noise floor" in done.output


def test_commands_of_tables(table: LatencyTable, store: Path, tmp_path: Path) -> None:
    def run(*words: str) -> str:
        done = CliRunner().invoke(app, ["tables", *words])
        assert done.exit_code == 0, done.output
        return done.output

    folder = str(table.folder)
    assert "abacus" in run("list", "--store", str(store))
    assert "is sound" in run("check", folder)
    assert "linear" in run("diff", folder, folder)
    assert "files of rounds sent" in run("push", str(tmp_path / "there"), "--store", str(store))
    assert "abacus" in run("pull", str(tmp_path / "there"), "--store", str(tmp_path / "new"))
    assert "nothing new" in run("pull", str(tmp_path / "there"), "--store", str(tmp_path / "new"))
    assert "abacus" in run("merge", folder, "--store", str(tmp_path / "merged"))
    plain = tmp_path / "x.csv"
    plain.write_text(
        'signature,dtype,seconds\n"norm(batch=1,norm=layer,residual=0,sequence=8,width=64)",float32,1e-6\n'
    )
    plain.write_text(plain.read_text() + "fft(n=8),float32,1\n")
    out = run("import", str(plain), "--format", "csv", "--device", "board", "--store", str(tmp_path / "new"))
    assert "left out: 1 rows of fft" in out
