"""`distilsearch report RUN` needs nothing but the result: where nothing heavy can be imported, it still works."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ABSENT = (
    "torch", "transformers", "xgboost", "botorch", "gpytorch", "optuna", "accelerate", "datasets", "safetensors",
    "tokenizers", "pyarrow", "scipy", "sklearn", "numpy",
)  # fmt: skip
ROOMS = ("engine.engine", "engine.job", "engine.adapters", "engine.strategies", "predictors", "profiling", "distill")

PROGRAM = """
import sys
from importlib.abc import MetaPathFinder

class Nothing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.startswith("distilsearch."):
            refused = any((name + ".").startswith(f"distilsearch.{room}.") for room in %(rooms)r)
        else:
            refused = name.partition(".")[0] in %(absent)r
        if refused:
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Nothing())
import distilsearch
from distilsearch.cli import main
sys.argv = ["distilsearch", *sys.argv[1:]]
main()
"""


def without(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = PROGRAM % {"rooms": ROOMS, "absent": ABSENT}
    environment = os.environ | {"COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_a_report_is_written_from_the_result_alone(result: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(result))
    done = without("report", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert result["knee"] in done.stdout
    page = (tmp_path / "report.html").read_text()
    assert all(member["key"] in page for member in result["front"])
    assert json.loads((tmp_path / "result.json").read_text()) == result


def test_what_cannot_be_read_is_one_line(result: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(result | {"schema": 2}))
    done = without("report", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "of schema 2, written by a newer distilsearch" in done.stderr
    assert not (tmp_path / "report.html").exists()


def test_the_check_can_fail() -> None:
    done = without("measure", "nowhere")
    assert "is not here" in done.stderr
