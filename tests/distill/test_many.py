"""Several students a teacher pass, seeds that matter, accumulation, and two processes that equal one."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from distilsearch.architecture import Architecture
from distilsearch.distill.recipes import EMBEDDING, RELATION, View
from distilsearch.distill.students.student import Student
from distilsearch.distill.targets import targets as module
from distilsearch.distill.targets.targets import Targets
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.training import distill_student, distill_students, in_groups, memory_bytes, start
from distilsearch.errors import InputError, TrialError
from distilsearch.testing.teachers import write_teacher, write_text

TINY = replace(EMBEDDING, batch_tokens=256, views=(View(), View(16, 0.2)))
Make = Callable[..., Any]


def _same(ours: Any, theirs: Any, tolerance: float = 0.0) -> None:
    """Equal weights; but for key biases, which no attention depends on and which follow rounding."""
    kept = [{n: v for n, v in weights.items() if "key.bias" not in n or not tolerance} for weights in (ours, theirs)]
    torch.testing.assert_close(*kept, rtol=0, atol=tolerance)


def test_students_side_by_side_equal_students_alone(
    teacher: Teacher, text: Text, make_architecture: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    architectures = [make_architecture(teacher), make_architecture(teacher, layers=1, width=64, heads=4)]
    alone = [distill_student(teacher, a, text, TINY, 4_000, precision="float32") for a in architectures]
    asked = []
    ask = module.ask_teacher
    monkeypatch.setattr(module, "ask_teacher", lambda *args: asked.append(1) or ask(*args))
    together = distill_students(
        teacher,
        architectures,
        text,
        TINY,
        4_000,
        precision="float32",
        cache_limit=0,
        folders=[tmp_path / a.key for a in architectures],
    )
    assert len(asked) == 16  # one pass a step, for both
    for one, other in zip(alone, together, strict=True):
        assert isinstance(other, Student)
        _same(one.model.state_dict(), other.model.state_dict())
        assert one.curve == other.curve
    assert memory_bytes(architectures) == 20 * sum(student.parameters for student in alone)


def student_of(layers: int) -> Architecture:
    """Of nobody's teacher."""
    sizes = {"layers": layers, "width": 32, "heads": 2, "ffn": 64, "vocabulary": 100, "positions": 64, "types": 2}
    words = {"inherit": "even", "activation": "gelu", "head": "embedding", "pool": "mean"}
    return Architecture("bert", {**sizes, **words})


@given(sizes=st.lists(st.integers(1, 4), max_size=6), most=st.integers(1, 10**8))
def test_groups_hold_what_fits_in_order(sizes: list[int], most: int) -> None:
    students = [student_of(layers=size) for size in sizes]
    groups = in_groups(students, most)
    assert [student for group in groups for student in group] == students
    assert all(len(group) == 1 or memory_bytes(group) <= most for group in groups)
    assert all(memory_bytes([*a, b[0]]) > most for a, b in itertools.pairwise(groups))


def test_folders_are_one_for_each(teacher: Teacher, text: Text, make_architecture: Make, tmp_path: Path) -> None:
    both = [make_architecture(teacher), make_architecture(teacher, layers=1)]
    with pytest.raises(InputError, match="a folder for each of 2 students; got 1"):
        distill_students(teacher, both, text, TINY, 1_000, folders=[tmp_path])


def test_one_diverging_student_leaves_the_others_alone(teacher: Teacher, text: Text, make_architecture: Make) -> None:
    good, bad = make_architecture(teacher), make_architecture(teacher, layers=1)
    from distilsearch.distill import training

    run = training.begin
    spoilt: list[Any] = []

    def begin(*arguments: Any, **options: Any) -> Any:
        made = run(*arguments, **options)
        if arguments[1] == bad:
            with torch.no_grad():
                made.parameters[0].fill_(float("nan"))
            spoilt.append(made)
        return made

    training.begin = begin
    try:
        first, second = distill_students(teacher, [bad, good], text, TINY, 2_000, precision="float32")
    finally:
        training.begin = run
    assert isinstance(first, TrialError)
    assert isinstance(second, Student)


def test_seeds_meet_other_batches(teacher: Teacher, text: Text, make_architecture: Make) -> None:
    orders = [Targets(teacher, text, TINY, "float32", seed=seed).order(0) for seed in (0, 1, 1, 2)]
    assert np.array_equal(orders[0], np.arange(len(orders[0])))
    assert np.array_equal(orders[1], orders[2])
    assert not np.array_equal(orders[1], orders[3])
    losses = [
        distill_student(teacher, make_architecture(teacher), text, TINY, 2_000, seed, "float32").loss
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_accumulated_gradients_are_the_batch_s(teacher: Teacher, text: Text, make_architecture: Make) -> None:
    options: dict[str, Any] = {"precision": "float32"}
    whole = distill_student(teacher, make_architecture(teacher), text, TINY, 4_000, **options)
    parts = distill_student(teacher, make_architecture(teacher), text, TINY, 4_000, accumulate=4, **options)
    _same(whole.model.state_dict(), parts.model.state_dict(), 1e-4)
    with pytest.raises(InputError, match="cannot be shared evenly"):
        distill_student(teacher, make_architecture(teacher), text, TINY, 4_000, accumulate=3, **options)


def test_accumulated_gradients_of_padded_sequences_are_the_batch_s(tmp_path: Path, make_architecture: Make) -> None:
    words = ("fee", "fie", ".", "foe", "fum", "Jack")
    reader = load_teacher(str(write_teacher(tmp_path / "teacher", words=words)))
    text = load_text([str(write_text(tmp_path / "words.txt", words))], reader, block=32)
    recipe = replace(TINY, views=(View(16, 0.2, sentences=True, ends=True),))
    whole, parts = (
        distill_student(reader, make_architecture(reader), text, recipe, 4_000, precision="float32", accumulate=count)
        for count in (1, 4)
    )
    _same(whole.model.state_dict(), parts.model.state_dict(), 1e-4)
    begun = replace(TINY, views=(View(16, 0.2, sentences=True),))
    other = distill_student(reader, make_architecture(reader), text, begun, 4_000, precision="float32")
    assert abs(other.loss - whole.loss) > 1e-4


def test_a_batch_whose_sequences_are_compared_is_not_shared(
    teacher: Teacher, text: Text, make_architecture: Make
) -> None:
    whole, apart = replace(RELATION, batch_tokens=256), (("relation", 1.0), ("similarity", 0.0))
    with pytest.raises(InputError, match=r"'similarity' .* 1 processes x 2 accumulation steps; train in one process"):
        distill_student(teacher, make_architecture(teacher), text, whole, 1_000, accumulate=2)
    for recipe, accumulate in ((whole, 1), (replace(whole, weights=apart), 2)):
        distill_student(teacher, make_architecture(teacher), text, recipe, 1_000, accumulate=accumulate)


def test_trackers_are_optional(teacher: Teacher, text: Text, make_architecture: Make, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    distill_student(teacher, make_architecture(teacher), text, TINY, 1_000, folder=tmp_path, trackers=["tensorboard"])
    assert list(tmp_path.rglob("events.out.tfevents*"))
    with pytest.raises(InputError, match=r"\['swanlab'\] are not installed"):
        distill_student(teacher, make_architecture(teacher), text, TINY, 1_000, trackers=["swanlab"])
    with pytest.raises(InputError, match="Choose between"):
        distill_student(teacher, make_architecture(teacher), text, TINY, 1_000, trackers=["notebook"])


SCRIPT = """
import json, sys, torch
from dataclasses import replace
from distilsearch.architecture import Architecture
from distilsearch.distill.texts.data import load_text
from distilsearch.distill.recipes import EMBEDDING, View
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.distill.training import distill_student
from distilsearch.distill.compute.processes import accelerator_for

torch.set_num_threads(1)
folder, words, architecture, out = sys.argv[1:]
teacher = load_teacher(folder)
text = load_text([words], teacher, block=32, heldout_fraction=0.2)
recipe = replace(EMBEDDING, batch_tokens=256, views=(View(), View(16, 0.2)))
student = distill_student(teacher, Architecture.from_json(json.loads(architecture)), text, recipe, 4_000,
                          precision="float32", cache_limit=0)
accelerator = accelerator_for("cpu")
if accelerator.is_main_process:
    student.save(out)
sys.stdout.write(f"{accelerator.num_processes}\\n")  # whole lines, of several processes
"""


def test_students_side_by_side_are_tracked_apart(
    teacher: Teacher, text: Text, make_architecture: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    logged: set[str] = set()
    monkeypatch.setattr(Accelerator, "log", lambda self, values, step: logged.update(values))
    both = [make_architecture(teacher, layers=layers) for layers in (1, 2)]
    distill_students(
        teacher, both, text, TINY, 1_000, folders=[tmp_path / one.key for one in both], trackers=["tensorboard"]
    )
    assert logged == {f"{one.key}/{name}" for one in both for name in ("tokens", "embedding", "heldout")}


def _launch(script: str, processes: int, folder: Path, *arguments: str, seconds: float = 1800) -> str:
    """What the processes of a script print."""
    path = folder / "train.py"
    path.write_text(script)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1"]
    launch += ["--num_processes", str(processes), "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--num_cpu_threads_per_process", "1"]
    launch += ["--multi_gpu", "--main_process_port", "0"] if processes > 1 else ["--cpu"]  # how it counts processes
    done = subprocess.run(
        [*launch, str(path), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"ACCELERATE_USE_CPU": "true"},
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_two_processes_equal_one(
    teacher: Teacher, text: Text, text_file: Path, make_architecture: Make, tmp_path: Path
) -> None:
    architecture = json.dumps(make_architecture(teacher).to_json())
    saved = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        printed = _launch(SCRIPT, processes, tmp_path, str(teacher.folder), str(text_file), architecture, str(out))
        assert str(processes) in printed.split()
        saved.append(load_file(str(out / "model.safetensors")))
    _same(*saved, 1e-4)


DIVERGE = """
import json, sys, torch
from dataclasses import replace
from distilsearch.architecture import Architecture
from distilsearch.distill.steps import runs
from distilsearch.distill.texts.data import load_text
from distilsearch.distill.compute.processes import accelerator_for
from distilsearch.distill.recipes import EMBEDDING, View
from distilsearch.distill.teachers.teacher import load_teacher
from distilsearch.distill.training import distill_students

torch.set_num_threads(1)
folder, words, *architectures = sys.argv[1:]
teacher = load_teacher(folder)
text = load_text([words], teacher, block=32, heldout_fraction=0.2)
bad, good = (Architecture.from_json(json.loads(one)) for one in architectures)
rank, parts = accelerator_for("cpu").process_index, runs.Run._parts

def spoilt(self, batch, stage):
    found = parts(self, batch, stage)
    spoil = rank == 1 and self.step == 2 and self.objective.architecture == bad
    return {name: value * float("nan") for name, value in found.items()} if spoil else found

runs.Run._parts = spoilt
recipe = replace(EMBEDDING, batch_tokens=256, views=(View(),))
found = distill_students(teacher, [bad, good], text, recipe, 2_000, precision="float32", cache_limit=0)
sys.stdout.write(" ".join([str(rank), *(type(one).__name__ for one in found)]) + "\\n")
"""


@pytest.mark.slow
def test_all_processes_give_a_student_up_that_diverges_in_one(
    teacher: Teacher, text: Text, text_file: Path, make_architecture: Make, tmp_path: Path
) -> None:
    both = [json.dumps(make_architecture(teacher, layers=layers).to_json()) for layers in (1, 2)]
    printed = _launch(DIVERGE, 2, tmp_path, str(teacher.folder), str(text_file), *both)
    assert sorted(printed.splitlines()[-2:]) == ["0 TrialError Student", "1 TrialError Student"]


def test_what_diverges_in_another_process_diverges_here(
    teacher: Teacher, text: Text, make_architecture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(teacher, make_architecture(teacher), text, TINY, 2_000, precision="float32")
    monkeypatch.setattr(run.accelerator, "reduce", lambda values, how: values + float("nan"))
    with pytest.raises(TrialError, match=r"diverged at step 1 .*tokens nan"):
        run.advance()
