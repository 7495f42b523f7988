"""Several processes and one archive: killed, taken over, waited for; and `accelerate launch`, where one decides."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distilsearch.architecture import Architecture
from distilsearch.distill.course import Course
from distilsearch.distill.recipes import EMBEDDING
from distilsearch.distill.side_by_side import CHECKPOINT
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.teachers.teacher import Teacher
from distilsearch.distill.texts.data import load_text
from distilsearch.progress import Progress

SCRIPT = """
import json, sys, time, torch
from dataclasses import replace
from distilsearch.architecture import Architecture
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.course import Course
from distilsearch.distill.texts.data import load_text
from distilsearch.distill.compute.processes import accelerator_for
from distilsearch.distill.recipes import EMBEDDING
from distilsearch.distill.teachers.teacher import load_teacher

torch.set_num_threads(1)
folder, words, seconds, tokens, *architectures = sys.argv[1:]
teacher = load_teacher(folder)
text = load_text([words], teacher, block=32, heldout_fraction=0.2)
recipe = replace(EMBEDDING, batch_tokens=256, warmup_tokens=1_000)
course = Course(teacher, text, recipe, int(tokens), 0, "float32")

def progress(what, done, total):
    if accelerator_for("cpu").is_main_process:
        sys.stdout.write(json.dumps([what, done]) + "\\n")
        sys.stdout.flush()

trials = Archive().distil(
    teacher, text, [Architecture.from_json(json.loads(one)) for one in architectures], recipe, course.training,
    checkpoint_seconds=0.0, between=lambda: time.sleep(float(seconds)), progress=progress,
)
rank = accelerator_for("cpu").process_index
sys.stdout.write(json.dumps(["trials", rank, [trial.to_json() for trial in trials]]) + "\\n")
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(teacher: Teacher, text_file: Path) -> Iterator[Start]:
    """Starts a process that distils architectures, with a rest between steps."""
    begun: list[subprocess.Popen[str]] = []

    def run(architectures: list[Architecture], seconds: float = 0.0, tokens: int = 2_000) -> "subprocess.Popen[str]":
        words = [str(teacher.folder), str(text_file), str(seconds), str(tokens)]
        words += [json.dumps(architecture.to_json()) for architecture in architectures]
        begun.append(subprocess.Popen([sys.executable, "-c", SCRIPT, *words], stdout=subprocess.PIPE, text=True))
        return begun[-1]

    yield run
    for process in begun:
        process.kill()
        process.communicate()


def _until(process: "subprocess.Popen[str]", what: str) -> list[Any]:
    """The first thing that a process says of a kind."""
    assert process.stdout is not None
    while line := process.stdout.readline():
        said: list[Any] = json.loads(line)
        if said[0].startswith(what):
            return said
    raise AssertionError(f"it ended without a word of {what!r}")


@pytest.fixture
def distil(teacher: Teacher, text_file: Path) -> Callable[..., list[Any]]:
    """`distil(architectures, progress)`: the same in this process."""
    text = load_text([str(text_file)], teacher, block=32, heldout_fraction=0.2)
    course = Course(teacher, text, replace(EMBEDDING, batch_tokens=256, warmup_tokens=1_000), 2_000, 0, "float32")

    def run(architectures: list[Architecture], progress: Progress) -> list[Any]:
        return Archive().distil(teacher, text, architectures, course.recipe, course.training, progress=progress)

    return run


def test_who_comes_second_goes_on_where_a_killed_one_stood(
    start: Start, distil: Callable[..., list[Any]], teacher: Teacher, make_architecture: Callable[..., Any]
) -> None:
    architecture, said = make_architecture(teacher), []
    first = start([architecture], seconds=0.2)
    _stopped_in_training(first)

    def progress(what: str, done: float, total: float) -> None:
        said.append((what, done))
        if what.startswith("waiting"):
            first.send_signal(signal.SIGKILL)

    (trial,) = distil([architecture], progress)
    assert f"process {first.pid}" in said[0][0]
    assert next(done for what, done in said if what == "distil") > 0  # not from the beginning
    assert [*Archive().trials()] == [trial]
    assert Archive().intact(trial)


def test_who_comes_second_trains_what_is_free_and_takes_the_rest(
    start: Start, distil: Callable[..., list[Any]], teacher: Teacher, make_architecture: Callable[..., Any]
) -> None:
    """In another order, where each holding what the other wants would be the end of both."""
    a, b, c = (make_architecture(teacher, layers=layers) for layers in (1, 2, 3))
    first, said = start([a, b], seconds=0.05), []
    _stopped_in_training(first)

    def progress(what: str, done: float, total: float) -> None:
        said.append(what)
        if what.startswith("waiting"):
            first.send_signal(signal.SIGCONT)

    trials = distil([b, c, a], progress)
    assert [trial.to_json() for trial in (trials[2], trials[0])] == _until(first, "trials")[2]
    assert trials[1].architecture == c
    assert said[0] == "distil"
    assert not list((Archive().folder / ".claims").iterdir())


def _stopped_in_training(process: "subprocess.Popen[str]") -> None:
    while not list(Archive().folder.rglob(CHECKPOINT)):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGSTOP)


@pytest.mark.slow
def test_of_two_processes_of_one_training_the_main_one_decides(
    teacher: Teacher, text_file: Path, make_architecture: Callable[..., Any], tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    words = [str(teacher.folder), str(text_file), "0", "2000", json.dumps(make_architecture(teacher).to_json())]
    command = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    command += ["--main_process_port", "0", "--num_cpu_threads_per_process", "1"]
    command += ["--dynamo_backend", "no", "--mixed_precision", "no", str(script), *words]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
    answers = []
    for _ in range(2):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=1800, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
        answers += [one[2] for one in said if one[0] == "trials"]
    assert len(answers) == 4
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0]["facts"]["processes"] == 2
