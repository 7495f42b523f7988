"""What docs/extending.md shows works as it stands: outside of the tree, in driver and children, under our contracts.

The contracts run beside the search: each takes one core most of the time.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distilsearch.plugins import PLACES
from distilsearch.testing.teachers import write_teacher, write_text

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCK = re.compile(r"```(?:python|toml)\n# (\S+)\n(.*?)```", re.DOTALL)
WITNESS = """
import os, sys
from pathlib import Path
from distilsearch.plugins import Plugin

PLUGIN = Plugin()
with Path(__file__).with_name("loaded.txt").open("a") as file:
    file.write(f"{os.getpid()} {Path(sys.argv[0]).stem}\\n")
"""
POINTS = "[distilsearch]\nrecall = recall_evaluation\nwitness = witness\n"
SMALL = """
[space]
layers = [1, 2]
width = [32]
heads = [2]
ffn = [48, 64]
inherit = ["even"]
[train]
flash_tokens = 4096
workers = 1
threads = 1
"""


def _site(folder: Path) -> Path:
    """A folder outside of the tree with every file of the page."""
    folder.mkdir()
    for name, text in BLOCK.findall(PAGE):
        (folder / name).write_text(text)
    return folder


def _start(site: Path, *command: str) -> subprocess.Popen[str]:
    """A command of somebody who has the page's modules on the path."""
    own = {"PYTHONPATH": str(site), "DISTILSEARCH_HOME": str(site / "home"), "HF_HUB_OFFLINE": "1"}
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *command], cwd=site, env=os.environ | own | threads, **pipes)  # type: ignore[call-overload]


def _output(process: subprocess.Popen[str]) -> str:
    """What a command has said, once it has succeeded."""
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """The suites of the page, under way."""
    site = _site(tmp_path_factory.mktemp("contracts") / "site")
    process = _start(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", ".")
    yield process
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def searched(contracts: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of somebody who has run the page's run file on a tiny teacher; some plugins are installed."""
    site = _site(tmp_path_factory.mktemp("search") / "site")
    write_teacher(site / "teacher", max_position_embeddings=128)
    write_text(site / "words.txt", count=8_000)
    (site / "pairs.csv").write_text("aaa bbb,aaa bbb,5\nfee fed,fee fed,5\n")
    (site / "witness.py").write_text(WITNESS)
    installed = site / "strangers-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(POINTS)
    with (site / "run.toml").open("a") as file:
        file.write(SMALL)
    _output(_start(site, "-m", "distilsearch", "search", "run.toml"))
    return site


def test_one_run_uses_what_plugins_add_wherever_they_are_needed(searched: Path) -> None:
    written, result = (searched / "runs/run/run.toml").read_text(), searched / "runs/run/result.json"
    assert 'name = "bands"\nbands = 3' in written
    assert sum(trial["state"] == "complete" for trial in json.loads(result.read_text())["trials"]) == 2
    cards = [path.read_text() for path in searched.glob("home/trials/*/student/README.md")]
    assert len(cards) == 2
    assert all('"margin": 5.0' in card for card in cards)
    (table,) = searched.glob("home/tables/*/*/meta.json")
    assert json.loads(table.read_text())["device"]["pinned"] is True


def test_installed_plugins_are_loaded_in_driver_trainer_and_meter(searched: Path) -> None:
    lines = (searched / "loaded.txt").read_text().splitlines()
    assert len(set(lines)) >= 3
    assert {line.split()[1] for line in lines} >= {"__main__", "worker"}


def test_an_installed_evaluation_scores_a_student_and_the_archive_keeps_it(searched: Path) -> None:
    student = next((searched / "runs/run/students").iterdir())
    words = ["evaluate", str(student), "--with", "recall", "--on", "pairs.csv"]
    said = _output(_start(searched, "-m", "distilsearch", *words))
    assert said.splitlines()[-1] == "pairs.csv: recall_at_1 1.0000"
    (score,) = searched.glob("home/trials/*/scores/*.json")
    assert json.loads(score.read_text())["values"] == {"recall_at_1": 1.0}


def test_the_examples_keep_the_contracts_of_their_kinds(contracts: subprocess.Popen[str]) -> None:
    output = _output(contracts)
    assert re.search(r"\d+ passed", output), output
    assert "error" not in output


def test_each_example_is_one_file_and_one_line() -> None:
    sections = dict(re.findall(r"^## An? (\w+)\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE))
    rows = re.findall(r"^\| (\w+).*? \| (\d) \| (\d) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert [row[0] for row in rows] == list(sections)
    for kind, files, lines, places, _ in rows:
        modules = {name: text for name, text in BLOCK.findall(sections[kind]) if not name.startswith("test_")}
        assert len(modules) == int(files) == 1
        assert "".join(modules.values()).count("PLUGIN = ") == int(lines) == 1
        assert all((ROOT / place.strip("`")).exists() for place in places.split(", "))
    dicts = {place.partition(":")[2] for place in PLACES.values()}
    assert {name.strip("`") for row in rows for name in row[4].split(", ")} == dicts
