"""Trials as they lie on disk: written and read back, old and damaged ones, their scores, those of other machines."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from distilsearch.architecture import Architecture
from distilsearch.distill.job import Training
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.trial import HELDOUT_LOSS, TRIAL, Trial, score_file
from distilsearch.errors import TrialError
from distilsearch.home import trials_folder

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


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"\xff\xfe", "UTF-8"),
        (b"[]", "got list"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "JSON"),
        (b'{"schema": 2}', "absent or unknown"),
        (b'{"schema": true}', "its schema is True"),
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
        ({"loss": "0.5"}, "loss should be a number"),
        ({"loss": True}, "loss should be a number"),
        ({"loss": 10**400}, "64 bits"),
        ({"tokens": 1e300}, "whole number"),
        ({"tokens": -1}, "whole number"),
        ({"curve": [[9, "nan"]]}, "loss should be a number"),
        ({"facts": []}, "facts should be a JSON object"),
        ({"files": {"../../outside": "0" * 64}}, "no plain name"),
        ({"files": {"student/config.json": "odd"}}, "no sha256"),
        ({"scores": [{"evaluation": 1}]}, "should be text"),
        ({"key": "../elsewhere"}, "another key"),
        ({"key": "0" * 64}, "another key"),
        ({"schema": 1.5}, "schema"),
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


def test_a_trial_that_leads_elsewhere_is_listed_and_not_followed(archive: Archive, tmp_path: Path) -> None:
    good, linked, inside = (
        _put(archive, _training()),
        _put(archive, _training(seed=1)),
        _put(archive, _training(seed=2)),
    )
    linked.folder.rename(tmp_path / "elsewhere")
    linked.folder.symlink_to(tmp_path / "elsewhere")
    (inside.student / "more").symlink_to(tmp_path)
    shutil.copytree(good.folder, archive.path("a copy of it"))
    causes = {problem.key: problem.cause for problem in archive.problems(verify=True)}
    assert "symbolic link" in causes[linked.key]
    assert causes[inside.key] == "not what was written: student/more"
    assert causes["a copy of it"] == "its folder is named by no key"
    assert archive.find(f"../{archive.folder.name}/{good.key}") is None
    said: list[str] = []
    archive.name_problems(lambda what, done, total: said.append(what))
    assert len(said) == 2  # once each; what can be read is named where it is handed out
    assert {trial.key for trial in archive.trials()} == {good.key, inside.key}


def test_a_trial_of_schema_1_still_opens(archive: Archive) -> None:
    trial = _put(archive, _training())
    _as_schema_1(archive, trial)
    old = archive.find(trial.key)
    assert old == replace(trial, files={}, scores=())
    assert not archive.intact(old)  # it has no weights, and no hashes that could vouch for it
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
