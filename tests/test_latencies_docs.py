"""docs/latencies.md is a worked example: its file is imported by its command, and its code runs on it."""

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.errors import InputError
from distilsearch.profiling.tables.store import all_tables

TEXT = (Path(__file__).parents[1] / "docs" / "latencies.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the page's file, and a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    (tmp_path / "phone.csv").write_text(blocks("csv")[0])
    return tmp_path


def test_the_command_makes_a_table_that_predicts(there: Path) -> None:
    run = CliRunner().invoke
    (command,) = blocks("sh")
    made = run(app, command.split()[1:], catch_exceptions=False)
    assert made.exit_code == 0
    (folder,) = all_tables()
    assert made.stdout.startswith(f"{folder}\nphone\n12 whole models; no peak was measured")
    asked = ["predict", "layers=5", "width=256", "heads=4", "ffn=512", "--device", folder.parent.name]
    answer = run(app, [*asked, "--sequence", "64"], catch_exceptions=False).stdout
    figures = re.search(r"([\d.]+) ms, 90 % interval ([\d.]+) to ([\d.]+) ms", answer)
    assert figures is not None
    mean, lower, upper = map(float, figures.groups())
    assert 8 < lower < mean < upper < 13
    assert mean == pytest.approx(10.97, rel=0.05)
    device = folder.parent.name
    for words in (["list"], ["show", device], ["check", device], ["diff", device, device]):
        assert run(app, ["tables", *words], catch_exceptions=False).exit_code == 0, words
    with pytest.raises(InputError, match="holds 12 whole models, and no operators to draw"):
        run(app, ["tables", "show", device, "--out", "page.html"], catch_exceptions=False)
    with pytest.raises(InputError, match=r"unknown kind of timings 'model': did you mean 'models'"):
        run(app, ["tables", "import", "phone.csv", "--kind", "model", "--device", "x"], catch_exceptions=False)
    with pytest.raises(InputError, match="leave --format vidur out"):
        run(app, [*command.split()[1:], "--format", "vidur"], catch_exceptions=False)


def test_the_code_of_the_page_runs(there: Path) -> None:
    names: dict[str, object] = {}
    for code in blocks("python"):
        exec(code, names)
    students, serving = names["students"], names["serving"]
    for one in ("phone", "pairs", "server"):
        predicted = names[one].predict(students, serving)  # type: ignore[attr-defined]
        np.testing.assert_allclose(predicted.mean_ms, [4.62, 10.97], rtol=0.1, err_msg=one)
