"""The archive: found, waited for, gone on with; what cannot be read stops nobody; scores are never taken for others."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from distilsearch.architecture import Architecture
from distilsearch.distill import distilled as module
from distilsearch.distill.archive import Archive
from distilsearch.distill.claims import Claims, Pace
from distilsearch.distill.course import Course
from distilsearch.distill.data import Text, load_text
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import EMBEDDING, default_recipe
from distilsearch.distill.side_by_side import CHECKPOINT
from distilsearch.distill.teacher import Teacher, load_teacher
from distilsearch.distill.training import distill_student
from distilsearch.distill.trial import HELDOUT_LOSS, TRIAL, TRUNK, Trial, score_file
from distilsearch.errors import InputError, Interrupted, TrialError
from distilsearch.home import trials_folder

TINY = replace(EMBEDDING, batch_tokens=256, warmup_tokens=1_000)
MEMBER = Architecture("bert", {"layers": 1})


def _training(**changes: Any) -> Training:
    plain = {"teacher": "t", "tokenizer": "w", "text": "x", "recipe": "r", "tokens": 9, "seed": 0}
    return Training(**{**plain, "precision": "float32", **changes})


def _put(archive: Archive, training: Training, card: str = "", **changes: Any) -> Trial:
    """A trial that nobody has trained: what is said of it, and one file."""
    key = training.key(MEMBER)
    fresh = archive.path(key) / ".new-1"
    fresh.mkdir(parents=True)
    (fresh / "config.json").write_text("{}")
    (fresh / "README.md").write_text(card)
    values: dict[str, Any] = {"loss": 0.5, "parameters": 7, "tokens": 9, "seconds": 1.0, "curve": ((9, 0.5),)}
    with archive.claim(key) as claim:
        made = archive.keep(
            Trial(key, MEMBER, training, **{**values, **changes}), fresh, archive.path(key) / "none", claim
        )
    assert made is not None
    return made


def _as_schema_1(archive: Archive, trial: Trial) -> None:
    """As version 0.1.0 would have written it."""
    plain = {name: value for name, value in trial.to_json().items() if name not in ("training", "files", "scores")}
    content = plain | {"schema": 1, "context": trial.training.to_json(), "facts": {}}
    (trial.folder / TRIAL).write_text(json.dumps(content, indent=1))


@pytest.fixture
def archive() -> Archive:
    return Archive()


@pytest.fixture
def distil(teacher: Teacher, text: Text) -> Callable[..., Any]:
    """`distil(archive, architectures, tokens, **conditions)`."""

    def run(archive: Archive, architectures: list[Architecture], tokens: int = 2_000, **conditions: Any) -> Any:
        course = Course(teacher, text, TINY, tokens, 0, "float32")
        return archive.distil(teacher, text, architectures, TINY, course.training, **conditions)

    return run


def test_a_trial_is_what_was_written(archive: Archive) -> None:
    trial = _put(archive, _training(), facts={"threads": 2})
    assert archive.find(trial.key) == trial == archive.of(_training(), MEMBER)
    assert [*archive.matching(_training())] == [trial]
    assert not [*archive.matching(_training(seed=1))]
    assert set(trial.files) == {"student/config.json", "student/README.md"}
    assert Trial.from_json(json.loads(json.dumps(trial.to_json()))) == trial
    assert trial.student == trials_folder() / trial.key / "student"
    assert archive.intact(trial)
    assert not archive.problems(verify=True)


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
    (long,) = distil(archive, [short.architecture], 12_000, progress=lambda what, done, total: steps.append(done))
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
    (trial,) = distil(archive, [make_architecture(teacher)], progress=lambda what, done, total: seen.append(done))
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


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"\xff\xfe", "UTF-8"),
        (b"[]", "got list"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "JSON"),
        (b'{"schema": 2}', "absent or unknown"),
        (b'{"schema": true}', "absent or unknown"),
        (b'{"schema": NaN}', "NaN"),
        (b'{"schema": 3, "anything": []}', "newer version"),
    ],
)
def test_what_cannot_be_read_is_absent_and_listed(archive: Archive, content: bytes, cause: str) -> None:
    good, bad = _put(archive, _training()), _put(archive, _training(seed=1))
    (bad.folder / TRIAL).write_bytes(content)
    assert archive.find(bad.key) is None
    assert [*archive.trials()] == [good]
    (problem,) = archive.problems()
    assert problem.key == bad.key
    assert cause in problem.cause


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"extra": 1}, "extra"),
        ({"loss": None}, "not a trial"),
        ({"curve": [[1]]}, "not a trial"),
        ({"architecture": {"family": "bert", "values": {"layers": 2}}}, "another key"),
        ({"training": asdict(_training(seed=1)) | {"optimizer": "muon"}}, "newer version"),
    ],
)
def test_a_trial_with_a_field_that_is_off_is_listed(archive: Archive, change: dict[str, Any], cause: str) -> None:
    bad = _put(archive, _training(seed=1))
    (bad.folder / TRIAL).write_text(json.dumps(bad.to_json() | change))
    (problem,) = archive.problems()
    assert cause in problem.cause
    assert archive.find(bad.key) is None


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


def test_a_trial_of_schema_1_still_opens(archive: Archive) -> None:
    trial = _put(archive, _training())
    _as_schema_1(archive, trial)
    old = archive.find(trial.key)
    assert old == replace(trial, files={}, scores=())
    assert archive.intact(old)
    assert old.score(HELDOUT_LOSS, "x") == trial.score(HELDOUT_LOSS, "x")


CARD = "| seed, precision | 0, bf16 |"


def test_an_old_trial_of_precision_auto_is_the_one_its_card_states(archive: Archive) -> None:
    _as_schema_1(archive, _put(archive, _training(precision="auto"), card=f"# A student\n\n{CARD}\n"))
    trial = archive.of(_training(precision="bf16"), MEMBER)
    assert trial is not None
    assert trial.training == _training(precision="bf16")
    assert trial.student.exists()
    assert archive.of(_training(precision="float32"), MEMBER) is None
    assert [*archive.matching(_training(precision="bf16"))] == [trial]


@pytest.mark.parametrize("card", ["", "| seed, precision | 0, auto |", "| seed, precision | 0, bf16 | more"])
def test_an_old_trial_of_precision_auto_without_a_card_is_kept_and_not_matched(archive: Archive, card: str) -> None:
    _as_schema_1(archive, _put(archive, _training(precision="auto"), card=card))
    assert archive.of(_training(precision="bf16"), MEMBER) is None
    assert not [*archive.matching(_training(precision="float32"))]
    (problem,) = archive.problems()
    assert '"auto"' in problem.cause
    assert [trial.training.precision for trial in archive.trials()] == ["auto"]


def test_scores_are_of_their_evaluation_text_and_artefact(archive: Archive) -> None:
    trial = _put(archive, _training())
    asked: list[Path] = []

    def score(folder: Path) -> dict[str, float]:
        asked.append(folder)
        return {"spearman": 0.5 + len(asked)}

    subjects = [("sts", "a", "student"), ("sts", "b", "student"), ("sts", "a", "onnx-int8"), ("glue", "a", "student")]
    made = [archive.evaluated(trial, *subject, score) for subject in subjects]
    assert [m.values["spearman"] for m in made] == [1.5, 2.5, 3.5, 4.5]
    assert [Archive().evaluated(trial, *subject, score) for subject in subjects] == made
    assert asked == [trial.student] * 4
    assert archive.evaluated(trial, HELDOUT_LOSS, "x", "student", score).values == {"loss": 0.5}
    found = archive.find(trial.key)
    assert found is not None
    assert {s.subject for s in found.scores} == {*subjects, (HELDOUT_LOSS, "x", "student")}


def test_a_score_that_cannot_be_read_or_is_of_another_subject_is_made_again(archive: Archive) -> None:
    trial = _put(archive, _training())
    first = archive.evaluated(trial, "sts", "a", "student", lambda folder: {"v": 1.0})
    path, other = score_file(trial.folder, first), score_file(trial.folder, replace(first, heldout="b"))
    path.rename(other)
    assert archive.evaluated(trial, "sts", "b", "student", lambda folder: {"v": 2.0}).values == {"v": 2.0}
    path.write_text("nonsense")
    assert archive.evaluated(trial, "sts", "a", "student", lambda folder: {"v": 3.0}).values == {"v": 3.0}


def test_what_is_no_number_is_no_score_and_a_damaged_student_has_none(archive: Archive) -> None:
    trial = _put(archive, _training())
    with pytest.raises(TrialError, match="not all numbers"):
        archive.evaluated(trial, "sts", "a", "student", lambda folder: {"v": float("nan")})
    (trial.student / "config.json").write_text("{ }")
    with pytest.raises(TrialError, match="not what was written"):
        archive.evaluated(trial, "sts", "a", "student", lambda folder: {"v": 1.0})


class Depot:
    """Another machine's archive in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def push_trial(self, key: str, folder: Path) -> None:
        shutil.copytree(folder, self.folder / key, dirs_exist_ok=True)

    def pull_trial(self, key: str, folder: Path) -> bool:
        if (self.folder / key).exists():
            shutil.copytree(self.folder / key, folder, dirs_exist_ok=True)
        return (self.folder / key).exists()


def test_trials_of_other_machines_are_fetched(tmp_path: Path) -> None:
    here, there = (Archive(tmp_path / name, Depot(tmp_path / "depot")) for name in ("here", "there"))
    trial = _put(there, _training())
    assert here.find(trial.key) == trial
    assert here.find("absent") is None
    assert trial.student != here.find(trial.key).student  # type: ignore[union-attr]


def test_what_is_removed_is_gone_unless_it_is_in_training(archive: Archive) -> None:
    trial = _put(archive, _training())
    with archive.claim(trial.key):
        archive.remove(trial.key)
    assert archive.find(trial.key) == trial
    archive.remove(trial.key)
    assert archive.all_keys() == []


def test_a_training_of_other_values_is_refused(
    archive: Archive, teacher: Teacher, text: Text, make_architecture: Callable[..., Any]
) -> None:
    with pytest.raises(InputError, match="another teacher, text or recipe"):
        archive.distil(teacher, text, [make_architecture(teacher)], TINY, _training())


OLD = Path(__file__).parents[1] / "old" / "0.1.0"


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
    recipe = default_recipe(old.kind)
    monkeypatch.setattr(module, "train", None)
    for trial in trials:
        training = Course(*material, recipe, trial.training.tokens, trial.training.seed, "float32").training
        assert training == trial.training
        (answer,) = archive.distil(*material, [trial.architecture], recipe, training)
        assert answer.architecture == trial.architecture
        assert answer.training == training
