"""The archive at work: found, waited for, gone on with; what cannot be read stops nobody."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from distilsearch.architecture import Architecture
from distilsearch.distill.course import Course
from distilsearch.distill.recipes import EMBEDDING, FORMER, default_recipe
from distilsearch.distill.side_by_side import CHECKPOINT
from distilsearch.distill.store import distilled as module
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.claims import Claims, Pace
from distilsearch.distill.store.trial import HELDOUT_LOSS, TRIAL, TRUNK
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.training import distill_student
from distilsearch.errors import InputError, Interrupted, TrialError

TINY = replace(EMBEDDING, batch_tokens=256, warmup_tokens=1_000)


@pytest.fixture
def distil(teacher: Teacher, text: Text) -> Callable[..., Any]:
    """`distil(archive, architectures, tokens, **conditions)`."""

    def run(archive: Archive, architectures: list[Architecture], tokens: int = 2_000, **conditions: Any) -> Any:
        course = Course(teacher, text, TINY, tokens, 0, "float32")
        return archive.distil(teacher, text, architectures, TINY, course.training, **conditions)

    return run


def test_students_are_trained_once_and_equal_those_trained_alone(
    archive: Archive, distil: Callable[..., Any], teacher: Teacher, text: Text, make_architecture: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    both = [make_architecture(teacher), make_architecture(teacher, layers=1)]
    trials = distil(archive, [*both, both[0]])
    assert [trial.architecture for trial in trials] == [*both, both[0]]
    alone = distill_student(teacher, both[0], text, TINY, 2_000, precision="float32")
    weights = {name: value.contiguous() for name, value in alone.model.state_dict().items()}
    saved = load_file(str(trials[0].student / "model.safetensors"))
    torch.testing.assert_close(saved, {name: weights[name] for name in saved}, rtol=0, atol=0)
    assert trials[0].curve == alone.curve
    assert trials[0].facts["threads"] == 1
    assert trials[0].facts["isa"] == torch.backends.cpu.get_cpu_capability()
    assert trials[0].score(HELDOUT_LOSS, text.sha256).values == {"loss": trials[0].loss}
    assert not list(archive.folder.rglob(CHECKPOINT))
    assert not list((archive.folder / ".claims").iterdir())
    monkeypatch.setattr(module, "train", None)
    assert distil(Archive(), both) == trials[:2]


def test_a_longer_training_goes_on_from_the_trunk_and_makes_room(
    archive: Archive, distil: Callable[..., Any], teacher: Teacher, text: Text, make_architecture: Callable[..., Any]
) -> None:
    (short,) = distil(archive, [make_architecture(teacher)], 4_000)
    assert (short.folder / TRUNK).exists()
    steps: list[float] = []
    told = lambda what, done, total: steps.append(done) if total else None  # noqa: E731
    (long,) = distil(archive, [short.architecture], 12_000, progress=told)
    assert 0 < steps[0] < 4_000
    whole = distill_student(teacher, short.architecture, text, TINY, 12_000, precision="float32")
    assert long.curve == whole.curve
    assert not (short.folder / TRUNK).exists()
    assert (long.folder / TRUNK).exists()
    assert archive.intact(short)


def test_a_damaged_trunk_is_not_gone_on_from(
    archive: Archive, distil: Callable[..., Any], teacher: Teacher, make_architecture: Callable[..., Any]
) -> None:
    (short,) = distil(archive, [make_architecture(teacher)], 4_000)
    content = bytearray((short.folder / TRUNK).read_bytes())
    content[-1] ^= 1
    (short.folder / TRUNK).write_bytes(content)
    assert not archive.trunks(short.training.at(12_000), short.architecture)


def test_what_is_asked_to_stop_saves_and_goes_on(
    archive: Archive, distil: Callable[..., Any], teacher: Teacher, text: Text, make_architecture: Callable[..., Any]
) -> None:
    steps = 0

    def between() -> None:
        nonlocal steps
        steps += 1
        if steps == 6:
            raise Interrupted("enough for today")

    with pytest.raises(Interrupted):
        distil(archive, [make_architecture(teacher)], between=between)
    assert len(list(archive.folder.rglob(CHECKPOINT))) == 1
    assert archive.all_keys()
    assert not [*archive.trials()]
    seen: list[float] = []
    told = lambda what, done, total: seen.append(done) if total else None  # noqa: E731
    (trial,) = distil(archive, [make_architecture(teacher)], progress=told)
    assert seen[0] == 5 * 256
    whole = distill_student(teacher, trial.architecture, text, TINY, 2_000, precision="float32")
    assert trial.curve == whole.curve


def test_another_who_trains_it_is_waited_for(
    archive: Archive, distil: Callable[..., Any], teacher: Teacher, text: Text, make_architecture: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (free, busy) = make_architecture(teacher), make_architecture(teacher, layers=1)
    key = Course(teacher, text, TINY, 2_000, 0, "float32").training.key(busy)
    other = Claims(archive.folder / ".claims", Pace()).claim(key)
    assert other is not None
    (trained,) = distil(Archive(archive.folder.parent / "elsewhere"), [busy])
    said: list[str] = []

    def progress(what: str, done: float, total: float) -> None:
        said.append(what)
        if "waiting" in what and not archive.path(key).exists():
            shutil.copytree(trained.folder, archive.path(key))
            other.release()

    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    trials = distil(archive, [busy, free], progress=progress)
    assert any("waiting for process" in what for what in said)
    assert said.index("distil") < next(place for place, what in enumerate(said) if "waiting" in what)
    assert trials[0] == trained
    assert trials[1].architecture == free


def test_who_lost_his_claim_drops_his_result(
    archive: Archive, distil: Callable[..., Any], teacher: Teacher, make_architecture: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The other one has meanwhile finished it: that is what both answer."""
    (theirs,) = distil(Archive(archive.folder.parent / "elsewhere"), [make_architecture(teacher)])
    train = module.train

    def slowly(*arguments: Any) -> Any:
        students = train(*arguments)
        (claim,) = (archive.folder / ".claims" / theirs.key).iterdir()
        claim.unlink()
        shutil.rmtree(archive.path(theirs.key))
        shutil.copytree(theirs.folder, archive.path(theirs.key))
        return students

    monkeypatch.setattr(module, "train", slowly)
    (ours,) = distil(archive, [theirs.architecture])
    assert ours == theirs
    assert ours.seconds == theirs.seconds
    assert not list(archive.path(theirs.key).glob(".new-*"))


def test_what_killed_processes_left_of_a_trial_goes_when_it_is_made(
    archive: Archive, distil: Callable[..., Any], teacher: Teacher, make_architecture: Callable[..., Any]
) -> None:
    (trial,) = distil(Archive(archive.folder.parent / "elsewhere"), [make_architecture(teacher)])
    folder = archive.path(trial.key)
    for name in (".new-1", "..new-2.3"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").touch()
    (folder / ".trial.json.abc").touch()
    distil(archive, [trial.architecture])
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_newer_trial_is_left_alone_and_stops_no_other(
    archive: Archive, distil: Callable[..., Any], teacher: Teacher, text: Text, make_architecture: Callable[..., Any]
) -> None:
    (one, other) = make_architecture(teacher), make_architecture(teacher, layers=1)
    key = Course(teacher, text, TINY, 2_000, 0, "float32").training.key(one)
    archive.path(key).mkdir()
    (archive.path(key) / TRIAL).write_text('{"schema": 99}')
    refused, trial = distil(archive, [one, other])
    assert isinstance(refused, TrialError)
    assert "schema 99 was written by a newer version" in str(refused)
    assert trial.architecture == other
    assert (archive.path(key) / TRIAL).read_text() == '{"schema": 99}'


def test_files_that_do_not_match_are_trained_anew(
    archive: Archive, distil: Callable[..., Any], teacher: Teacher, make_architecture: Callable[..., Any]
) -> None:
    (trial,) = distil(archive, [make_architecture(teacher)], 1_000)
    weights = trial.student / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert archive.find(trial.key) == trial  # found without reading every byte
    assert not archive.intact(trial)
    assert archive.find(trial.key) is None
    assert "student/model.safetensors" in archive.problems()[0].cause
    assert "student/model.safetensors" in Archive().problems(verify=True)[0].cause
    (again,) = distil(archive, [trial.architecture], 1_000)
    assert again.loss == trial.loss
    assert archive.intact(again)
    assert not archive.problems(verify=True)
    weights.unlink()
    assert archive.find(trial.key) is None
    assert archive.problems()[0].cause == "gone: student/model.safetensors"


def test_a_training_of_other_values_is_refused(
    archive: Archive, teacher: Teacher, text: Text, make_architecture: Callable[..., Any]
) -> None:
    training = Course(teacher, text, TINY, 2_000, 0, "float32").training
    with pytest.raises(InputError, match="another teacher, text or recipe"):
        archive.distil(teacher, text, [make_architecture(teacher)], TINY, replace(training, text="another"))


OLD = Path(__file__).parents[2] / "old" / "0.1.0"


def test_trials_that_0_1_0_wrote_are_found_by_search_distill_and_fidelity(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept files, of precision "auto" and "float32", under the teacher, text and recipe that they were made of."""
    shutil.copytree(OLD / "trials", archive.folder, dirs_exist_ok=True)
    trials = [*archive.trials()]
    assert not archive.problems(verify=True)
    assert len(trials) == len(archive.all_keys()) > 0
    written = [json.loads((trial.folder / TRIAL).read_text())["context"]["precision"] for trial in trials]
    assert set(written) == {"auto", "float32"}
    assert {trial.training.precision for trial in trials} == {"float32"}  # as their cards say
    old = load_teacher(str(OLD / "teacher"))
    material = (old, load_text([str(OLD / "text" / "words.txt")], old))
    recipe = default_recipe(old.kind, FORMER)
    monkeypatch.setattr(module, "train", None)
    for trial in trials:
        training = Course(*material, recipe, trial.training.tokens, trial.training.seed, "float32").training
        assert training == trial.training
        (answer,) = archive.distil(*material, [trial.architecture], recipe, training)
        assert answer.architecture == trial.architecture
        assert answer.training == training
