"""From a run to its students: keys, the run's own training, and one archive for search, distill and fidelity."""

import json
from pathlib import Path
from typing import Any

import pytest

from distilsearch.architecture import Architecture
from distilsearch.distill.material import Material
from distilsearch.engine.job.outcome.winners import most_heldout, precision_of, winners, winners_order
from distilsearch.engine.job.runfile.config import Run
from distilsearch.errors import InputError, RunError
from distilsearch.home import register_run

SMALL, LARGE = (Architecture("bert", {"layers": layers}) for layers in (1, 2))
FACTS = {"loss": 0.5, "parameters": 10, "tokens": 100, "source": "trained", "student": None, "flash_loss": 0.5}
FRONT = [
    {"key": "aaa1", "architecture": SMALL.to_json(), "latency_ms": {"predicted": 1.5, "measured": 1.25}, **FACTS},
    {"key": "abb2", "architecture": LARGE.to_json(), **FACTS},
]
RESULT = {
    "schema": 1, "name": "run", "quality": "agreement", "objectives": ["loss", "latency_ms"],
    "reference": {"loss": 1.0, "latency_ms": 9.0}, "front": FRONT, "trials": [], "knee": "aaa1", "targets": [],
    "teacher": {"name": "teacher", "architecture": LARGE.to_json(), "loss": 0.0, "parameters": 20},
    "hypervolume_trace": [], "surrogate": None, "rank_fidelity": {"spearman": None, "kendall": None, "pairs": 0},
    "phases": [], "environment": {}, "warnings": [],
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A finished run of two students, as `search` leaves it."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(RESULT))
    run = {"teacher": "/teacher", "text": ["/words.txt"], "seed": 3, "train": {"recipe": "kdnas"}}
    run |= {"text_heldout": 99, "text_tokens": 900, "text_block": 64, "text_column": "body", "text_temperature": 2.0}
    (folder / "run.toml").write_text(Run.parse(run).to_toml())
    return folder


def test_keys_may_be_shortened_and_must_be_one(run_folder: Path) -> None:
    assert [winner.architecture for winner in winners(run_folder, ["ab", "aaa1", "ab"])] == [LARGE, SMALL]
    assert [winner.latency for winner in winners(run_folder)] == [{"predicted": 1.5, "measured": 1.25}]
    with pytest.raises(RunError, match="2 students whose key begins with 'a'"):
        winners(run_folder, ["a"])
    with pytest.raises(RunError, match="no students"):
        winners(run_folder, ["zzz"])


def test_students_of_a_run_are_scored_on_as_many_blocks_as_the_run_measured_on(
    run_folder: Path, tmp_path: Path
) -> None:
    member, other = run_folder / "students" / "aaa1", tmp_path / "other"
    assert most_heldout([str(member), "owner/model"]) == 99
    assert most_heldout(["owner/model", str(tmp_path / "students" / "aaa1")]) == 2000
    other.mkdir()
    (other / "run.toml").write_text((run_folder / "run.toml").read_text().replace("= 99", "= 128"))
    with pytest.raises(InputError, match="measured on 99 and 128 held-out blocks: give --text-heldout"):
        most_heldout([str(member), str(other / "students" / "k")])


def test_of_a_disturbed_measurement_a_card_has_one_digit(run_folder: Path) -> None:
    front = [FRONT[0] | {"latency_ms": {"predicted": 1.5, "measured": 0.8734, "slowness": 2.0}}, FRONT[1]]
    (run_folder / "result.json").write_text(json.dumps(RESULT | {"front": front}))
    (winner,) = winners(run_folder)
    assert winner.latency == {"predicted": 1.5, "measured": "about 0.9 (the machine was disturbed)"}


def test_a_card_has_no_tail_below_its_median(run_folder: Path) -> None:
    latency = {"predicted": 1.5, "measured": 1.3, "measured_p50": 1.4, "measured_p99": 0.9}
    latency |= {"predicted_p50": 1.2, "predicted_p99": 2.5}
    front = [FRONT[0] | {"latency_ms": latency}, FRONT[1]]
    (run_folder / "result.json").write_text(json.dumps(RESULT | {"front": front}))
    (winner,) = winners(run_folder)
    assert winner.latency is not None
    assert {name for name in winner.latency if "_p" in name} == {"predicted_p50", "predicted_p99"}
    assert "disturbed" in winner.latency["measured"]


def test_students_go_on_with_the_runs_own_training(run_folder: Path) -> None:
    order = winners_order(run_folder, [], 5_000)
    assert (order.seed, order.tokens, order.precision) == (3, 5_000, "auto")
    assert order.material.recipe == "kdnas"
    assert order.material == Material("/teacher", ("/words.txt",), "kdnas", 2.0, 900, 64, "body", text_heldout=99)
    assert order.cards == {SMALL: {"Latency, ms": {"predicted": "1.5", "measured": "1.25"}}}
    other: dict[str, Any] = {"seed": 0, "recipe": "default", "teacher": None, "precision": "bf16"}
    changed = winners_order(run_folder, [], 5_000, **other)
    assert (changed.seed, changed.precision, changed.material.recipe) == (0, "bf16", "default")
    assert changed.material.teacher == order.material.teacher


def test_the_precision_is_what_the_run_resolved_when_it_was_started(run_folder: Path, tmp_path: Path) -> None:
    run = Run.read(run_folder / "run.toml")
    assert precision_of(run, run_folder) == "auto"
    register_run(run_folder, [{"precision": "bf16"}])
    assert precision_of(run, run_folder) == "bf16"
    assert precision_of(run, tmp_path) == "auto"
    next((tmp_path / "home" / "runs").iterdir()).write_text("damaged")
    assert precision_of(run, run_folder) == "auto"


def test_folders_without_a_run_or_a_knee_say_so(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="there is no folder"):
        winners(tmp_path / "nowhere")
    (run_folder / "result.json").write_text(json.dumps(RESULT | {"knee": None}))
    with pytest.raises(RunError, match="has no chosen student; give RUN and keys of: aaa1, abb2"):
        winners(run_folder)
    (run_folder / "result.json").write_text(json.dumps(RESULT))
    monkeypatch.setattr("distilsearch.engine.job.outcome.winners.MOST_NAMED", 1)
    with pytest.raises(
        RunError, match=f"give RUN and keys of: {RESULT['knee']} and 1 more, as `distilsearch report` li"
    ):
        winners(run_folder, ["nokey"])
    (run_folder / "run.toml").unlink()
    with pytest.raises(InputError, match=r"no .*run\.toml"):
        winners_order(run_folder, ["aaa1"], 1_000)
