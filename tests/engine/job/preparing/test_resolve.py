"""What is left to a probe is asked once a run."""

from pathlib import Path

from distilsearch.engine.job.ledger import Ledger, open_storage
from distilsearch.engine.job.preparing.resolve import Resolved, resolve
from distilsearch.engine.job.runfile.config import Run
from distilsearch.engine.job.runfile.sections import TrainSection
from distilsearch.families import family

SPACE = family("bert").space({"layers": [1, 2]})


def train(**changes: object) -> TrainSection:
    return Run.parse({"teacher": "t", "text": ["x"], "train": changes}).train


def opened(folder: Path) -> Ledger:
    return Ledger(open_storage("", folder), "run", ["loss"], SPACE)


def test_a_load_that_comes_and_goes_changes_nothing_of_a_run_that_goes_on(tmp_path: Path) -> None:
    quiet, busy = Resolved("bf16", 2, 1, "quiet"), Resolved("float32", 1, 2, "busy")
    assert resolve(train(), opened(tmp_path), lambda _: quiet) == quiet
    assert resolve(train(), opened(tmp_path), lambda _: busy) == quiet


def test_what_the_run_file_states_later_holds(tmp_path: Path) -> None:
    noted = Resolved("bf16", 2, 1)
    resolve(train(), opened(tmp_path), lambda _: noted)
    assert resolve(train(workers=4, threads=3), opened(tmp_path), lambda _: noted) == Resolved("bf16", 4, 3)
