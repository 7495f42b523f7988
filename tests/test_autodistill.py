"""AutoDistill from its run file in `examples/`, on a tiny masked-LM teacher: from nothing to exported students."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining
from typer.testing import CliRunner

from distilsearch.cli import app
from distilsearch.distill.store.archive import Archive
from distilsearch.engine.job.run import search
from distilsearch.engine.job.runfile.config import Run
from distilsearch.testing.teachers import write_teacher, write_text

EXAMPLE = Path(__file__).parents[1] / "examples" / "autodistill.toml"
SPACE = {
    "width": [24, 32], "bottleneck": [8], "heads": [1], "ffn": [24], "stacks": [2], "embedding": [24], "layers": [1],
}  # fmt: skip
SMALL = {  # what a minute of this machine allows: the example says what a day of a larger one is for
    "google-bert/bert-base-uncased": "teacher",
    "trials = 24": "trials = 1",
    "final_tokens = 2_000_000": 'final_tokens = 10_240\nprecision = "float32"\nworkers = 1\nthreads = 1',
    "sequence = 128 }": "sequence = 16, threads = 1 }",
    "[space]": "[space]\n" + "\n".join(f"{gene} = {choices}" for gene, choices in SPACE.items()),
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    """The example, beside a teacher and a text, made small."""
    write_teacher(tmp_path / "teacher", "pretraining")
    (tmp_path / "corpus").mkdir()
    write_text(tmp_path / "corpus" / "words.txt")
    text = EXAMPLE.read_text()
    for said, instead in SMALL.items():
        assert said in text
        text = text.replace(said, instead)
    path = tmp_path / "autodistill.toml"
    path.write_text(text)
    return path


def test_the_example_says_what_the_preset_does() -> None:
    example, least = Run.read(EXAMPLE), Run.parse({"teacher": "a", "text": ["b"], "preset": "autodistill"})
    for name in ("quality", "strategy", "train", "space", "source", "trials"):
        assert getattr(example, name) == getattr(least, name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")  # of tables as wide as the stream
def test_from_a_run_file_to_exported_students_with_both_accuracies(run_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = search(Run.read(run_file), folder)
    plain = json.loads((folder / "result.json").read_text())
    assert plain["quality"] == "accuracy of words and next sentences"
    assert len(plain["front"]) >= 1
    for entry in (plain["teacher"], *plain["front"], *plain["trials"]):
        assert set(entry["parts"]) == {"words", "next_sentence"}
        assert entry["loss"] == pytest.approx(1 - sum(entry["parts"].values()) / 2)
    assert Run.read(run_file).train.flash_tokens == 512  # a twentieth
    assert all(trial["architecture"]["family"] == "mobilebert" for trial in plain["trials"])
    assert "next sentences" in (folder / "report.html").read_text()
    for member in result.front:
        assert member.tokens == 10_240
        place = result.student(member.key)
        AutoModelForMaskedLM.from_pretrained(str(place))
        whole = AutoModelForPreTraining.from_pretrained(str(place))
        assert hasattr(whole.cls, "seq_relationship")
        assert _scores(place, "words", run_file.parent)["accuracy"] == pytest.approx(member.parts["words"], abs=1e-6)
        told = _scores(place, "next_sentence", run_file.parent)["accuracy"]
        assert told == pytest.approx(member.parts["next_sentence"], abs=1e-6)
        assert "next sentences" in (place / "README.md").read_text()
    assert {trial.training.quality for trial in Archive().trials()} == {"accuracy"}


def _scores(place: Path, name: str, beside: Path) -> dict[str, float]:
    words = ["evaluate", str(place), "--with", name, "--text", str(beside / "corpus" / "words.txt"), "--json"]
    words += ["--text-block", "64"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    scores: dict[str, float] = json.loads(done.stdout)["scores"][name]
    return scores
