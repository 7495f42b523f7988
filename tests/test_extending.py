"""What docs/extending.md shows works as it stands: outside of the tree, in driver and children, under our contracts.

The contracts run beside the search: each takes one core most of the time.
"""

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.engine.job.executors import Options
from distilsearch.engine.job.executors.local import Local
from distilsearch.engine.job.jobs import Job
from distilsearch.engine.job.run import search
from distilsearch.engine.job.runfile.config import Run
from distilsearch.plugins import PLACES
from distilsearch.profiling import LatencyTable
from distilsearch.progress import Progress, silent
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
QUIET = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
SMALL = """
[space]
layers = [1, 2]
width = [32]
heads = [2]
ffn = [48, 64]
inherit = ["even"]
[train]
precision = "float32"
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


def _output(process: "subprocess.Popen[str]") -> str:
    """What a command has said, once it has succeeded."""
    output, _ = process.communicate(timeout=1800)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[subprocess.Popen[str]]":
    """The suites of the page, under way in a process that has its modules on the path."""
    site = _site(tmp_path_factory.mktemp("contracts") / "site")
    own = {"PYTHONPATH": str(site), "DISTILSEARCH_HOME": str(site / "home"), **QUIET}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    process = subprocess.Popen(
        command, cwd=site, env=os.environ | own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    yield process
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def site(contracts: "subprocess.Popen[str]", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of somebody who has the page's files, a tiny teacher, a text, and a package that is installed.

    What its modules add to this process is gone afterwards.
    """
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
    registries = [_registry(place) for place in PLACES.values()]
    before, modules = [dict(registry) for registry in registries], set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        for name, value in {"PYTHONPATH": str(site), "DISTILSEARCH_HOME": str(site / "home"), **QUIET}.items():
            patch.setenv(name, value)
        yield site
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)
    for name in {path.stem for path in site.glob("*.py")} - modules:
        sys.modules.pop(name, None)


def _registry(place: str) -> dict[str, Any]:
    module, _, name = place.partition(":")
    registry: dict[str, Any] = getattr(importlib.import_module(module), name)
    return registry


class Recording(Local):
    """This machine's executor, with the jobs it was given."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.jobs: list[Job] = []

    def submit(self, job: Job, progress: Progress = silent) -> "Future[Any]":
        self.jobs.append(job)
        return super().submit(job, progress)


@pytest.fixture(scope="module")
def jobs(site: Path) -> list[Job]:
    """The jobs of the page's run, which has been done."""
    (site / "run").mkdir()
    with Recording(Options(site / "run", workers=1, threads=1)) as executor:
        search(Run.read(site / "run.toml"), site / "run", executor=executor)
    return executor.jobs


@pytest.fixture(scope="module")
def searched(jobs: list[Job], site: Path) -> Path:
    """The folder of the page's run."""
    return site / "run"


@pytest.mark.slow
def test_every_job_of_a_run_brings_its_plugins(jobs: list[Job], site: Path) -> None:
    assert {job.kind for job in jobs} == {"profile", "distil", "measure"}
    assert {job.plugins for job in jobs} == {Run.read(site / "run.toml").plugins}


@pytest.mark.slow
def test_one_run_uses_what_plugins_add_wherever_they_are_needed(searched: Path, site: Path) -> None:
    assert 'name = "bands"\nbands = 3' in (searched / "run.toml").read_text()
    trials = json.loads((searched / "result.json").read_text())["trials"]
    assert [trial["state"] for trial in trials] == ["complete"] * 2
    cards = [path.read_text() for path in site.glob("home/trials/*/student/README.md")]
    assert len(cards) == 2
    assert all('"margin": 5.0' in card for card in cards)
    (table,) = site.glob("home/tables/*/*/meta.json")
    assert json.loads(table.read_text())["device"]["pinned"] is True
    assert {row.regime.runtime for row in LatencyTable.read(table.parent).operators} == {"export"}


@pytest.mark.slow
def test_installed_plugins_are_loaded_in_driver_trainer_and_meter(searched: Path, site: Path) -> None:
    loaded = dict(line.split() for line in (site / "loaded.txt").read_text().splitlines())
    assert str(os.getpid()) in loaded
    children = [name for process, name in loaded.items() if process != str(os.getpid())]
    assert children == ["worker", "worker"]


@pytest.mark.slow
def test_an_installed_evaluation_scores_a_student_and_the_archive_keeps_it(searched: Path, site: Path) -> None:
    student = next((searched / "students").iterdir())
    words = ["evaluate", str(student), "--with", "recall", "--on", str(site / "pairs.csv")]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.stdout == "pairs.csv: recall_at_1 1.0000\n"
    (score,) = site.glob("home/trials/*/scores/*.json")
    assert json.loads(score.read_text())["values"] == {"recall_at_1": 1.0}


def test_the_examples_keep_the_contracts_of_their_kinds(contracts: "subprocess.Popen[str]") -> None:
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
