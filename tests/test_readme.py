"""What the README shows is what is there."""

import re
from pathlib import Path

import pytest

from distilsearch.cli import app
from distilsearch.cli_distill import commands
from distilsearch.cli_predict import command
from distilsearch.cli_tables import tables

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_runs(capsys) -> None:
    code = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "Engine" in block)
    exec(code, {})
    assert "loss" in capsys.readouterr().out


def test_the_run_file_is_one(tmp_path) -> None:
    from distilsearch.engine.job.runfile.config import Run

    (tmp_path / "run.toml").write_text(re.findall(r"```toml\n(.*?)```", README, re.DOTALL)[0])
    assert Run.read(tmp_path / "run.toml").trials == 24


def test_every_command_named_is_there_and_every_command_is_named() -> None:
    rows = re.findall(r"^\| `(\w+)", README, re.MULTILINE)
    assert set(rows) == _names(app) | _names(commands) | _names(command) | {"tables"}
    named = re.search(r"`tables ([^`]*)`", README)
    assert named is not None
    assert set(named[1].replace("\\", "").split("|")) == _names(tables)


def _names(group) -> set[str]:
    return {c.name or c.callback.__name__ for c in group.registered_commands}


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!http)[^)]+)\)", README))
def test_links_lead_somewhere(path) -> None:
    assert (ROOT / path).exists()
