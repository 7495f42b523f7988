"""Fine-tuning on GLUE: every task's files and metrics, what is refused before work, one seed one answer."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distilsearch.distill.evaluate import glue as room
from distilsearch.distill.evaluate import open_evaluation
from distilsearch.distill.evaluate.fine_tune import answers, batches, loss_of, tokens
from distilsearch.distill.evaluate.glue import Glue
from distilsearch.distill.evaluate.glue_files import Examples, read_examples
from distilsearch.distill.evaluate.glue_tasks import METRICS, TASKS, metric, task_named
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.errors import InputError, Interrupted, TrialError
from distilsearch.testing.glue_folders import write_task
from distilsearch.testing.teachers import write_teacher

SHORT: dict[str, Any] = {"seeds": 1, "epochs": 1, "learning_rates": [1e-3]}
GLUE = Path(__file__).parents[4] / "shared" / "data" / "glue"


def opened(folder: Path, **options: Any) -> Glue:
    made = open_evaluation("glue", folder, **SHORT | options)
    assert isinstance(made, Glue)
    return made


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_is_learnt_from_a_folder_of_its_name(name: str, teacher: Teacher, tmp_path: Path) -> None:
    evaluation = opened(write_task(tmp_path / name, name))
    scores = evaluation(teacher)
    task = TASKS[name]
    assert set(scores) == {metric + behind for behind in task.scored for metric in task.metrics}
    assert all(-1.0 <= value <= 1.0 for value in scores.values())


def test_the_rate_is_chosen_by_training_rows_alone_and_what_can_be_learnt_is(teacher: Teacher, tmp_path: Path) -> None:
    folder = write_task(tmp_path / "SST-2", "SST-2", train=96, dev=32)
    assert opened(folder, learning_rates=[2e-3], epochs=4)(teacher)["accuracy"] > 0.9
    lines = (folder / "dev.tsv").read_text().splitlines()
    (folder / "dev.tsv").write_text("\n".join([lines[0], *(f"{i}\t{i}\t{i % 2}" for i in range(9))]))
    assert opened(folder, learning_rates=[1e-9, 2e-3], epochs=2).rate(teacher) == 2e-3


@pytest.mark.parametrize("kind", ["mlm", "causal"])
def test_models_with_other_heads_are_tuned_and_a_seed_says_it_all(kind: str, tmp_path: Path) -> None:
    evaluation = opened(write_task(tmp_path / "RTE", "RTE"), seeds=2)
    folder = write_teacher(tmp_path / kind, kind)
    scores = evaluation(folder)
    assert set(scores) == {"accuracy", "accuracy_sd"}
    with torch.random.fork_rng():
        torch.manual_seed(7)
        assert evaluation(load_teacher(str(folder))) == scores


def test_the_stock_classifier_reads_pairs_as_its_own_tokenizer_would(teacher: Teacher) -> None:
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(str(teacher.folder))
    texts = [("aaa bbb ccc", "fee"), ("fed", "abc aac aaa bbb")]
    rows = tokens(teacher, Examples(texts, np.zeros(2)), 8)
    expected = own([a for a, _ in texts], [b for _, b in texts], truncation=True, max_length=8)
    assert rows.ids == expected["input_ids"]
    assert rows.types == expected["token_type_ids"]
    assert teacher.reader.truncation is None


def test_answers_come_in_the_order_of_the_rows(teacher: Teacher, tmp_path: Path) -> None:
    examples = read_examples(write_task(tmp_path / "MNLI", "MNLI") / "train.tsv", TASKS["MNLI"], 8)
    rows = tokens(teacher, examples, 64)
    model = room.fine_tuned(teacher, rows, 3, room.Schedule(1e-4, 1, 16, 0.0), 0)
    alone = torch.cat([answers(model, tokens(teacher, examples.at(np.array([i])), 64)) for i in range(5)])
    torch.testing.assert_close(answers(model, rows, batch=7)[:5], alone, atol=1e-5, rtol=1e-4)


@given(st.lists(st.integers(1, 128), min_size=1, max_size=300), st.integers(1, 40))
def test_batches_hold_every_row_once(lengths: list[int], size: int) -> None:
    cut = batches(np.array(lengths), size, np.random.default_rng(0))
    assert sorted(np.concatenate(cut).tolist()) == list(range(len(lengths)))
    assert max(map(len, cut)) <= size


@settings(max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=30))
def test_metrics_of_classes_are_their_definitions(rows: list[tuple[bool, bool]]) -> None:
    truth, said = (np.array(side, dtype=float) for side in zip(*rows, strict=True))
    tp, tn = float(np.sum(truth * said)), float(np.sum((1 - truth) * (1 - said)))
    fp, fn = float(np.sum((1 - truth) * said)), float(np.sum(truth * (1 - said)))
    assert metric("accuracy", truth, said) == pytest.approx((tp + tn) / len(rows))
    assert metric("f1", truth, said) == pytest.approx(2 * tp / (2 * tp + fp + fn) if tp else 0.0)
    below = ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    assert metric("mcc", truth, said) == pytest.approx((tp * tn - fp * fn) / below if below else 0.0)


def test_correlations_are_those_of_numbers_and_ranks() -> None:
    truth, said = np.array([0.0, 1.0, 2.0, 5.0]), np.array([1.0, 2.0, 4.0, 9.0])
    assert metric("spearman", truth, said) == pytest.approx(1.0)
    assert metric("pearson", truth, said) == pytest.approx(np.corrcoef(truth, said)[0, 1])
    assert {metric(name, truth, np.ones(4)) for name in ("pearson", "spearman")} == {0.0}


def test_equal_files_and_options_have_equal_keys(tmp_path: Path) -> None:
    one, other = (write_task(tmp_path / place / "MRPC", "MRPC") for place in ("a", "b"))
    assert opened(one).heldout == opened(other).heldout == opened(one, threads=1).heldout
    changed = [{"rows": 20}, {"seeds": 2}, {"epochs": 2}, {"learning_rates": [1e-4]}, {"length": 16}, {"dropout": 0.0}]
    keys = {opened(one, **change).heldout for change in [{}, *changed]}
    write_task(other, "MRPC", dev=13)
    assert len(keys | {opened(other).heldout}) == len(changed) + 2
    assert len(opened(one, rows=20).train) == 20


def test_a_task_is_known_by_its_folder_or_its_name_however_spelt(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "mine", "STS-B")
    assert opened(folder, task="stsb").task is task_named("sts_b") is TASKS["STS-B"]
    with pytest.raises(InputError, match=r"mine does not bear the name of a GLUE task \(CoLA, .*task=MRPC"):
        opened(folder)


def changed(folder: Path, file: str, change: Any) -> None:
    path = folder / file
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("MRPC", lambda text: text.replace("Quality", "label"), r"expected the columns #1 String, #2 String, Quality "
         r"of MRPC.*names index, #1 String, #2 String, label"),
        ("CoLA", lambda text: "index\tsentence\tlabel\tx\n" + text, "expected 4 columns of CoLA .* no line of names"),
        ("RTE", lambda text: text.replace("\tnot_entailment", "\tmaybe", 1), "line 3: the label is none of RTE's"),
        ("RTE", lambda text: text.replace("\tnot_entailment", "\tentailment"), "have the same label"),
        ("STS-B", lambda text: text.replace("5.000", "5.100", 1), "line 3: expected a score of 0 to 5"),
        ("STS-B", lambda text: text.replace("5.000", "nan", 1), "line 3: expected a score of 0 to 5"),
        ("RTE", lambda text: text[:120], "holds . rows of RTE; expected at least 16|fewer cells"),
        ("RTE", lambda text: text.replace("\tentailment", " entailment", 3), "line 2: fewer cells than the 4 columns"),
        ("RTE", lambda text: "", "names nothing"),
        ("RTE", lambda text: "%PDF", "is a PDF"),
    ],
)  # fmt: skip
def test_files_that_are_not_the_tasks_are_refused_by_name(name: str, change: Any, message: str, tmp_path: Path) -> None:
    folder = write_task(tmp_path / name, name)
    changed(folder, "train.tsv", change)
    with pytest.raises(InputError, match=message) as caught:
        opened(folder)
    assert "train.tsv" in str(caught.value)


def test_a_few_rows_that_are_cut_short_are_passed_over_as_elsewhere(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "QQP", "QQP", train=2000)
    changed(folder, "train.tsv", lambda text: text + "17\tcut")
    assert len(opened(folder).train) == 2000


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_task(tmp_path / "MNLI", "MNLI")
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        opened(tmp_path / "nowhere", task="MNLI")
    with pytest.raises(InputError, match="no folder was named"):
        open_evaluation("glue")
    with pytest.raises(InputError, match=r"unknown option .*'seed': did you mean 'seeds'"):
        open_evaluation("glue", folder, seed=1)
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(InputError, match=r"pip install 'distilsearch\[glue\]'"):
        opened(folder)
    monkeypatch.undo()
    (folder / "dev_mismatched.tsv").unlink()
    with pytest.raises(InputError, match=r"has no dev_mismatched\.tsv"):
        opened(folder)


@pytest.mark.parametrize(
    "options", [{"seeds": 0}, {"rows": 3}, {"epochs": 0}, {"learning_rates": []}, {"learning_rates": [0.0]},
                {"dropout": 1.0}, {"batch": 0}, {"length": 2}],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        opened(write_task(tmp_path / "RTE", "RTE"), **options)


def test_a_fine_tuning_that_diverges_says_so(teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_task(tmp_path / "RTE", "RTE")
    monkeypatch.setattr(
        "distilsearch.distill.evaluate.fine_tune.loss_of", lambda *given: loss_of(*given) * float("nan")
    )
    with pytest.raises(TrialError, match="diverged at each of the learning rates"):
        opened(folder, learning_rates=[1e-4, 1e-3])(teacher)


def test_whoever_waits_is_told_and_may_interrupt(teacher: Teacher, tmp_path: Path) -> None:
    heard: list[tuple[float, float]] = []

    def between() -> None:
        if len(heard) > 1:
            raise Interrupted("stopped")

    def progress(what: str, done: float, total: float) -> None:
        assert what == "fine-tuning on RTE"
        heard.append((done, total))

    folder = write_task(tmp_path / "RTE", "RTE")
    open_evaluation("glue", folder, progress=progress, **SHORT | {"seeds": 2, "learning_rates": [1e-4, 1e-3]})(teacher)
    assert heard == sorted(heard)
    assert heard[-1] == (4.0, 4)
    del heard[:]
    with pytest.raises(Interrupted):
        open_evaluation("glue", folder, progress=progress, between=between, **SHORT)(teacher)
    assert len(heard) == 2


@pytest.mark.skipif(not GLUE.is_dir(), reason="GLUE's own files are not here")
@pytest.mark.parametrize("name", ["CoLA", "MRPC", "RTE", "STS-B", "WNLI"])
def test_the_published_files_are_read_whole(name: str) -> None:
    evaluation = opened(GLUE / name)
    lines = {"CoLA": (8551, 1043), "MRPC": (3667, 408), "RTE": (2490, 277), "STS-B": (5749, 1500), "WNLI": (635, 71)}
    assert (len(evaluation.train), len(evaluation.dev[""])) == lines[name]
    assert evaluation.task.metrics[0] in METRICS
