"""A model before anything is distilled from it: its latency, its size, its scores, in words and as JSON."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.engine.job.commands.model import ModelFigures
from distilsearch.operators import Serving
from distilsearch.profiling.clock import Measured
from distilsearch.testing.teachers import write_teacher


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    write_teacher(tmp_path / "teacher")
    (tmp_path / "pairs.csv").write_text("aaa bbb,aaa bbb,5\naaa ccc,aaa bbb,3\nfee fed,aaa bbb,0\n")
    return tmp_path


def test_a_model_is_measured_and_scored(place: Path) -> None:
    words = ["measure", str(place / "teacher"), "--device", "cpu", "--sequence", "16", "--threads", "1", "--json"]
    done = CliRunner().invoke(app, [*words, "--on", str(place / "pairs.csv")], catch_exceptions=False)
    assert done.exit_code == 0
    figures = json.loads(done.stdout)
    assert figures["measured"]["seconds_p10"] > 0
    assert figures["serving"]["sequence"] == 16
    assert set(figures["scores"]) == {"pairs.csv"}


def test_a_line_of_lengths_needs_no_file_of_requests(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "distilsearch.profiling.measure", lambda models, *_, **__: [Measured(0.1, 0.1, 0.1, 8, 0.1, 1.0, "ok")]
    )
    line = "40 requests, p50 8, p99 16: 4 x 0.250000, 8 x 0.500000, 16 x 0.250000"
    words = ["measure", str(place / "teacher"), "--device", "cpu", "--lengths", line, "--threads", "1", "--json"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert json.loads(done.stdout)["serving"]["lengths"] == line


def test_disturbed_figures_say_so() -> None:
    calm, busy = (Measured(0.002, 0.003, 0.004, 8, 0.1, slowness, "ok") for slowness in (1.0, 3.0))
    lines = [
        "\n".join(ModelFigures("m", {"layers": 2}, 1_000, "cpu", Serving(threads=1), one).lines())
        for one in (calm, busy)
    ]
    assert "m: layers=2\n1,000 parameters\n2 ms on the cpu (batch 1, 128 tokens, float32, threads: 1)" in lines[0]
    assert "disturbed" not in lines[0]
    assert "ran 3.0 times slower" in lines[1]
