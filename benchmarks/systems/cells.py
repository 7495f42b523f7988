"""A cell of the comparison: one system on one teacher with one seed and one budget, as one `distilsearch search`.

Each cell has a run folder and a home of its own. The home starts as a copy of the teacher's: latency tables of all
systems' students, made before, and the choice of precision. So nobody pays for timing the machine, and everybody pays
for what he asks of the teacher. A cell that was killed goes on; one that has ended is kept in `cell.json`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from common import PACKAGES
from systems import shared
from systems.shapes import Shape, choices, hand_made, mobile
from systems.teachers import Case

from distilsearch import profiling as device
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.engine.job.preparing.prepare import checked
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.runfile.presets import PRESETS
from distilsearch.engine.job.runfile.toml import to_toml
from distilsearch.families import TeacherFacts
from distilsearch.operators import Serving
from distilsearch.space import SearchSpace

COMMAND = [sys.executable, "-m", "distilsearch.cli"]
HERE = Path(__file__).resolve().parents[1]
SHAPES, MOBILE = "hand-made", "MobileBERT's shape"
SYSTEMS = ("default", "random", SHAPES, "autodistil", "kdnas", "autodistill", MOBILE)
KINDS = {"autodistill": ("mlm",), MOBILE: ("mlm",)}  # of teachers; others serve both
PROFILE_SECONDS = 180.0  # of all spaces; the most valuable operators come first
SERVING = Serving(batch=1, sequence=128, threads=1)


@dataclass(frozen=True)
class Budget:
    """What a cell may spend: minutes of wall-clock, or `trials` x `flash` tokens of training."""

    minutes: float = 0.0
    trials: int = 0
    flash: int = 0

    @property
    def name(self) -> str:
        """As folders and rows call it."""
        return f"{self.minutes:g} min" if self.minutes else f"{self.trials * self.flash / 1e6:g} M tokens"

    def keys(self, students: int = 0) -> dict[str, Any]:
        """Of the run file; with `students` given, that many share the tokens."""
        if self.minutes:
            return {"minutes": self.minutes, "train": {"flash_tokens": 0, "final_tokens": 0}}  # the plan's to choose
        trials = students or self.trials
        return {"trials": trials, "train": {"flash_tokens": self.trials * self.flash // trials, "finish": "none"}}


@dataclass(frozen=True)
class Cell:
    """One system on one teacher, with one seed and one budget."""

    case: Case
    system: str
    seed: int
    budget: Budget

    def folder(self, root: Path) -> Path:
        """Its own folder."""
        name = f"{self.system} {self.budget.name} {self.seed}".replace(" ", "-").replace("'", "")
        return root / self.case.name / name


def missing(cell: Cell) -> str:
    """Why a cell cannot be run at all; empty where it can."""
    if cell.case.kind not in KINDS.get(cell.system, ("embedding", "mlm")):
        return "not for this teacher"
    preset = cell.system if cell.system in PRESETS else "autodistill" if cell.system == MOBILE else "default"
    if cell.system not in (*PRESETS, "random", SHAPES, MOBILE) or preset not in PRESETS:
        return f"this distilsearch has no preset {preset if cell.system == MOBILE else cell.system}"
    return ""


def run_file(
    cell: Cell, folders: Path, train: Mapping[str, Any], spending: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What a cell asks for, as the data of a run file; `spending` are keys that stand for its budget."""
    case, system = cell.case, cell.system
    data: dict[str, Any] = {"name": "run", "teacher": case.place(folders), "text": case.sources, "seed": cell.seed}
    budget = spending or cell.budget.keys()
    if system in PRESETS:
        data["preset"] = system
        if shared.shares(system) and not cell.budget.minutes:
            budget = shared.by_tokens(system, cell.budget.trials * cell.budget.flash)
    elif system == "random":
        data["strategy"] = {"name": "random"}
    elif system == SHAPES:
        shapes = list(hand_made(case.shape).values())
        budget = cell.budget.keys(len(shapes))
        data |= _listed(shapes, {"family": "bert", "inherit": ["even"]})
    elif system == MOBILE:
        data |= {"preset": "autodistill"} | _listed([mobile(case.shape)], {"family": "mobilebert"})
        budget = cell.budget.keys(1)
    given = budget.pop("train", {})
    finish = {"finish": "front"} if system in (SHAPES, MOBILE) else {}  # the others finish by their presets
    target = {"device": "cpu", "serving": {"batch": 1, "sequence": case.sequence, "threads": 1}}
    return {**data, **case.top, **budget, "train": {**train, **finish, **given}, "target": [target]}


def _listed(shapes: list[Shape], space: Mapping[str, Any]) -> dict[str, Any]:
    strategy = {"name": "listed", "shapes": [dict(shape) for shape in shapes]}
    return {"plugins": ["systems.shapes"], "strategy": strategy, "space": {**space, **choices(shapes)}}


def profile(case: Case, systems: Sequence[str], folders: Path, train: Mapping[str, Any], budget: Budget) -> None:
    """Time on this machine what all systems' students are made of, into the home that cells start from.

    What its tables hold already is not timed again. Which models are timed whole depends on all choices of a space, so
    that of a search which judges cuts is taken with these cuts.
    """
    facts = load_teacher(case.place(folders)).facts
    spaces = {}
    for system in systems:
        cell = Cell(case, system, 0, Budget(trials=8, flash=40_000) if shared.shares(system) else budget)
        if not missing(cell):
            space = _students(Run.parse(run_file(cell, folders, train)), facts)
            spaces[str([(p.name, p.choices) for p in space.parameters])] = space
    serving = replace(SERVING, sequence=case.sequence)
    device.profile(list(spaces.values()), "cpu", serving, budget_seconds=PROFILE_SECONDS)


def _students(asked: Run, facts: TeacherFacts) -> SearchSpace:
    """The students of a search, with cuts that it would judge: in a home of its own, so that each cell pays for its."""
    asked = asked.fitted(facts)
    if not asked.judges(facts):
        return asked.space_for(facts).students
    own = os.environ["DISTILSEARCH_HOME"]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DISTILSEARCH_HOME"] = str(Path(folder) / "home")
        try:
            return checked(asked, Path(folder)).served.students
        finally:
            os.environ["DISTILSEARCH_HOME"] = own


def run(cell: Cell, root: Path, folders: Path, train: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a cell came to; run now, where it has not ended yet. None where it fails: the log says why."""
    folder = cell.folder(root)
    if (folder / "cell.json").exists():
        kept: dict[str, Any] = json.loads((folder / "cell.json").read_text())
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "run.toml").exists():
        data = run_file(cell, folders, train)
        if cell.budget.minutes and shared.shares(cell.system):
            spending = _rehearsed(cell, root, folders, train)
            if spending is None:
                return None
            data = run_file(cell, folders, train, spending)
        (folder / "run.toml").write_text(to_toml(data))
    if not _search(folder, root / cell.case.name / "home"):
        return None
    facts = _facts(cell, folder)
    (folder / "cell.json").write_text(json.dumps(facts))
    shutil.rmtree(folder / "home" / "targets", ignore_errors=True)
    return facts


def _rehearsed(cell: Cell, root: Path, folders: Path, train: Mapping[str, Any]) -> dict[str, Any] | None:
    """How a system that the main job cannot plan for spends its minutes, of which this takes some."""
    folder = cell.folder(root) / "rehearsal"
    folder.mkdir(exist_ok=True)
    (folder / "run.toml").write_text(to_toml(run_file(cell, folders, train, shared.rehearsal(cell.system))))
    if not _search(folder, root / cell.case.name / "home"):
        return None
    result = json.loads((folder / "runs" / "run" / "result.json").read_text())
    phases = {phase["what"]: float(phase["seconds"]) for phase in result["phases"]}
    spent = _seconds(folder)
    shutil.rmtree(folder / "home")
    (cell.folder(root) / "seconds.json").write_text(json.dumps(spent))
    return shared.fitted(cell.system, cell.budget.minutes, spent, phases)


def _search(folder: Path, home: Path) -> bool:
    """Run or continue the search of a folder, in a home that starts as a copy; the seconds of all calls are noted."""
    if not (folder / "home").exists():
        shutil.copytree(home, folder / "home.new", dirs_exist_ok=True)
        (folder / "home.new").rename(folder / "home")
    before, start = _seconds(folder), time.perf_counter()
    code = _call(["search", "run.toml"], folder / "home", folder)
    (folder / "seconds.json").write_text(json.dumps(before + time.perf_counter() - start))
    if code:
        print(f"{folder} ended with {code}: {_last(folder / 'command.log')}", flush=True)
    return code == 0


def _seconds(folder: Path) -> float:
    """That all calls of a folder's search have taken; one that was killed with this script is not among them."""
    file = folder / "seconds.json"
    return float(json.loads(file.read_text())) if file.exists() else 0.0


def _call(arguments: list[str], home: Path, folder: Path) -> int:
    paths = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH", "")]))
    more = {"DISTILSEARCH_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONPATH": paths}
    with (folder / "command.log").open("a") as log:
        return subprocess.run(
            [*COMMAND, *arguments], cwd=folder, env=os.environ | more, stdout=log, stderr=log
        ).returncode


def _last(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " ".join(lines[-6:])[-600:]


def _facts(cell: Cell, folder: Path) -> dict[str, Any]:
    """What is kept of a cell that has ended; latencies and scores come later, of all cells together."""
    run = folder / "runs" / "run"
    result = json.loads((run / "result.json").read_text())
    done = [trial for trial in result["trials"] if trial["state"] == "complete"]
    return {
        "teacher": cell.case.name,
        "system": cell.system,
        "budget": cell.budget.name,
        "seed": cell.seed,
        "minutes": _seconds(folder) / 60,
        "students": len(done),
        "tokens": sum(_trained(folder)),
        "front": [_member(run, member) for member in result["front"] if member["student"]],
        "unsaved": sum(member["student"] is None for member in result["front"]),
        "predicted": sum(member["latency_ms"]["measured"] is None for member in result["front"]),
        "phases": {phase["what"]: round(phase["seconds"]) for phase in result["phases"]},
        "processor": result["environment"].get("processor", ""),
        "ISA": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def _member(run: Path, member: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "key": member["key"],
        "architecture": member["architecture"],
        "folder": str(run / member["student"]),
        "tokens": member["tokens"],
        "parameters": member["parameters"],
    }


def _trained(folder: Path) -> Iterator[int]:
    """Tokens of every training of a cell; of one that went on from a shorter one they count once."""
    longest: dict[str, int] = {}
    for file in (folder / "home" / "trials").glob("*/trial.json"):
        trial = json.loads(file.read_text())
        key = json.dumps(trial["architecture"], sort_keys=True)
        longest[key] = max(longest.get(key, 0), int(trial["tokens"]))
    yield from longest.values()
    asked = Run.read(folder / "run.toml")
    yield shared.trained(len(list((folder / "home").glob("supers/*/superlm.safetensors"))), asked.source.options)
