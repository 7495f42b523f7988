"""How many held-out blocks a run measures on: fewer of short trials, and what the home has students of stays."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from distilsearch.distill.job import Training
from distilsearch.distill.recipes import EMBEDDING
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.targets.cache import outputs_key
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, measured_on
from distilsearch.engine.job.ledger import Ledger, open_storage
from distilsearch.engine.job.plans.heldout import about_tokens, note_heldout, settled_heldout
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.runfile.continuing import continued
from distilsearch.errors import InputError, RunError
from distilsearch.progress import silent
from distilsearch.space import Parameter, SearchSpace

ASKED = {"teacher": "t", "text": "x"}
SPACE = SearchSpace("generic", [Parameter("depth", (1, 2))])


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return load_teacher(str(Path(__file__).parents[3] / "old" / "0.1.0" / "teacher"))


def text(blocks: int) -> Text:
    heldout = np.arange(blocks * 128, dtype=np.int32).reshape(blocks, 128)
    return Text(heldout[:2], heldout, "whole")


@pytest.mark.parametrize(
    ("asked", "whole", "blocks", "kept"),
    [
        ({"minutes": 4}, 470, 128, 128),
        ({"minutes": 10}, 224, 224, 2_000),
        ({"minutes": 10}, 2_000, 256, 256),
        ({"minutes": 600}, 2_000, 2_000, 2_000),
        ({}, 2_000, 256, 256),
        ({"train": {"flash_tokens": 640_000}}, 2_000, 1_024, 1_024),
        ({"minutes": 4, "train": {"flash_tokens": 640_000}}, 2_000, 1_024, 1_024),
        ({"preset": "autodistil"}, 2_000, 2_000, 2_000),
        ({"text_heldout": 300}, 300, 300, 300),
    ],
)
def test_short_trials_are_measured_on_fewer_blocks_and_the_folder_says_so(
    asked, whole, blocks, kept, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path))
    said: list[str] = []
    run, own = settled_heldout(Run.parse(ASKED | asked), teacher, text(whole), lambda what, *_: said.append(what))
    assert (run.text_heldout, len(own.heldout)) == (kept, blocks)
    assert (own.sha256 == "whole") == (blocks == whole)
    assert bool(said) == (blocks < whole)


def test_a_text_of_which_the_home_has_students_stays_what_it_is(
    teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path))
    training = Training(outputs_key(teacher), "t", "whole", EMBEDDING.key, 1, 0, "float32")
    there = [[training.at(7)]]
    monkeypatch.setattr(Archive, "trials", lambda self: [_Trial(one) for one in there[0]])
    asked = Run.parse(ASKED | {"minutes": 4})
    run, own = settled_heldout(asked, teacher, text(470), silent)
    assert (run.text_heldout, len(own.heldout)) == (2_000, 470)
    there[0] = [Training("another", "t", "whole", EMBEDDING.key, 1, 0, "float32")]
    assert settled_heldout(asked, teacher, text(470), silent)[0].text_heldout == 128


def test_one_student_measured_on_all_does_not_hide_the_many_of_a_search_before(
    teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path))
    few = measured_on(text(470), 128)
    trainings = [
        Training(outputs_key(teacher), "t", sha, EMBEDDING.key, 1, 0, "float32") for sha in ("whole", few.sha256)
    ]
    there = [trainings[0], trainings[1].at(3), trainings[1].at(4)]
    monkeypatch.setattr(Archive, "trials", lambda self: map(_Trial, there))
    for asked, blocks in (({"minutes": 4}, 128), ({"minutes": 40}, 2_000), ({"trials": 0}, 128)):
        run, own = settled_heldout(Run.parse(ASKED | asked), teacher, text(470), silent)
        assert run.text_heldout == blocks  # 40 minutes pay for all; without trials any will do
        assert (own.sha256 == few.sha256) == (blocks == 128)


@pytest.mark.parametrize(("minutes", "blocks"), [(4, 192), (9, 192), (10, 192), (40, 1_024)])
def test_a_run_of_about_as_many_minutes_measures_on_what_the_one_before_did(
    minutes: int, blocks: int, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path))
    own = measured_on(text(2_000), 192).sha256
    training = Training(outputs_key(teacher), "t", own, EMBEDDING.key, 1, 0, "float32")
    monkeypatch.setattr(Archive, "trials", lambda self: [_Trial(training)])
    asked = Run.parse(ASKED | {"minutes": minutes})
    assert settled_heldout(asked, teacher, text(2_000), silent)[0].text_heldout == blocks


def test_who_comes_to_a_study_measures_as_those_before_him_whatever_his_minutes_and_his_home(
    teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    whole = Training(outputs_key(teacher), "t", "whole", EMBEDDING.key, 1, 0, "float32")
    monkeypatch.setattr(Archive, "trials", lambda self: [_Trial(whole)])
    storage = {"storage": {"url": f"sqlite:///{tmp_path}/study.db"}}

    def settled(asked: dict[str, object]) -> tuple[Run, Text]:
        return settled_heldout(Run.parse(ASKED | storage | asked), teacher, text(470), silent)

    first, own = settled({"minutes": 4})
    assert first.text_heldout == 128
    with closing(Ledger(open_storage(first.storage.url, tmp_path), first.name, ["loss"], SPACE)) as ledger:
        note_heldout(first, own, ledger)
        later, theirs = settled({"minutes": 40})
        assert (later.text_heldout, theirs.sha256) == (128, own.sha256)
        note_heldout(later, theirs, ledger)
        other, another = settled({"minutes": 40, "text_heldout": 300}), measured_on(text(470), 300)
        with pytest.raises(RunError, match=r"at most 128 held-out blocks.*on 300.*text_heldout = 128"):
            note_heldout(other[0], another, ledger)
        few = text(100)
        note_heldout(Run.parse(ASKED | storage), few, ledger)  # all of it, as the others


def test_a_study_of_an_earlier_version_goes_on_with_all_held_out_blocks(
    teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    asked = Run.parse(ASKED | {"minutes": 4, "storage": {"url": f"sqlite:///{tmp_path}/study.db"}})
    with closing(Ledger(open_storage(asked.storage.url, tmp_path), asked.name, ["loss"], SPACE)) as ledger:
        assert settled_heldout(asked, teacher, text(470), silent)[0].text_heldout == 128
        ledger.add(SPACE.decode(SPACE.grid(2))[0], [0.5], {})
        assert settled_heldout(asked, teacher, text(470), silent)[0].text_heldout == 2_000


class _Trial:
    def __init__(self, training: Training) -> None:
        self.training = training


def test_a_run_that_goes_on_has_the_blocks_that_its_folder_says() -> None:
    there = Run.parse(ASKED | {"minutes": 4, "text_heldout": 128})
    for file in (ASKED | {"minutes": 9}, ASKED | {"minutes": 9, "text_heldout": "auto"}):
        assert continued(Run.parse(file), there).text_heldout == 128
    with pytest.raises(RunError, match="text_heldout: 128 there, 300 now"):
        continued(Run.parse(ASKED | {"minutes": 9, "text_heldout": 300}), there)


def test_the_number_of_blocks_is_checked_and_trials_are_as_long_as_they_are_said_to_be() -> None:
    for wrong in (31, 2_001, "few", True, 64.0):
        with pytest.raises(InputError, match='it should be "auto" or a number from 32 to 2,000'):
            Run.parse(ASKED | {"text_heldout": wrong})
    assert about_tokens(Run.parse(ASKED | {"minutes": 5})) == 80_000
    assert about_tokens(Run.parse(ASKED | {"preset": "autodistil"})) == 0
