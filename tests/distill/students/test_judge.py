"""The judge of pairs: trained beside a student, saved with it, lent to a teacher without one; and what pairs need."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForMaskedLM, AutoModelForPreTraining, MobileBertConfig, MobileBertForPreTraining

from distilsearch.distill.course import Course
from distilsearch.distill.evaluate import open_evaluation
from distilsearch.distill.heldout.heldout import held_out, teacher_held_out
from distilsearch.distill.heldout.pairs import check_pairs, fitted_judge, judged
from distilsearch.distill.job import Training
from distilsearch.distill.material import Material
from distilsearch.distill.quality import quality_name
from distilsearch.distill.recipes import Recipe, recipe
from distilsearch.distill.store.archive import Archive
from distilsearch.distill.store.trial import Trial
from distilsearch.distill.students.judge import Judge, judge_of, whole
from distilsearch.distill.students.student import build_student
from distilsearch.distill.targets.batch import alternate_pairs
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.training import distill_student, train
from distilsearch.engine.report.readings import UPWARDS
from distilsearch.errors import InputError, TextError
from distilsearch.families import family
from distilsearch.testing.teachers import write_teacher

Make = Callable[..., Any]
PAIRS = Recipe("pairs", (("hard", 1.0), ("next_sentence", 1.0)), batch_tokens=512, embeddings="all")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return load_teacher(str(write_teacher(tmp_path_factory.mktemp("pretrained"), "pretraining")))


@pytest.fixture
def words(mlm_teacher: Teacher, text_file: Path) -> Text:
    return load_text([str(text_file)], mlm_teacher, block=32, heldout_fraction=0.2)


def test_pairs_depend_on_places_alone_and_half_of_them_follow(mlm_teacher: Teacher, words: Text) -> None:
    batch = alternate_pairs(mlm_teacher, words.heldout[:6])
    assert batch.follows is not None
    assert batch.segments is not None
    assert batch.follows.tolist() == [1, 0, 1, 0, 1, 0]
    assert torch.equal(batch.input_ids, alternate_pairs(mlm_teacher, words.heldout[:6]).input_ids)
    ids, half = batch.input_ids.numpy(), 1 + (30 - 1) // 2
    assert (ids[:, half] == mlm_teacher.tokenizer.sep_token_id).all()
    assert (ids[:, 1:half] == words.heldout[:6, 1:half]).all()
    assert (ids[0, half + 1 : -1] == words.heldout[0, half:-2]).all()  # its own second half, a word shorter
    assert (ids[1, half + 1 : -1] == words.heldout[0, half:-2]).all()  # that of the one before
    assert batch.segments[0].tolist() == [0] * (half + 1) + [1] * (32 - half - 1)


def test_a_judge_is_saved_with_its_student_and_stock_classes_load_both(
    mlm_teacher: Teacher, words: Text, make_architecture: Make, tmp_path: Path
) -> None:
    course = Course(mlm_teacher, words, PAIRS, 2_048, 0, "float32", quality="accuracy")
    (student,) = train(course, [make_architecture(mlm_teacher)], [None], lambda *_: None, {})
    assert not isinstance(student, Exception)
    assert student.judge is not None
    assert student.loss == pytest.approx(1 - sum(student.parts.values()) / 2)
    assert set(student.parts) == {"words", "next_sentence"}
    folder = student.save(tmp_path / "student")
    assert "1 - accuracy of words and next sentences" in (folder / "README.md").read_text()
    stock = AutoModelForPreTraining.from_pretrained(str(folder)).eval()
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["BertForPreTraining"]
    batch = alternate_pairs(mlm_teacher, words.heldout[:4])
    with torch.inference_mode():
        output = stock(input_ids=batch.input_ids, token_type_ids=batch.segments)
        inputs = {"input_ids": batch.input_ids, "token_type_ids": batch.segments}
        first = student.model.base_model(**inputs).last_hidden_state[:, 0]
        torch.testing.assert_close(output.seq_relationship_logits, student.judge(first))
        plain = AutoModelForMaskedLM.from_pretrained(str(folder)).eval()(**inputs).logits
        torch.testing.assert_close(plain, output.prediction_logits)
    scores = {name: open_evaluation(name, None, mlm_teacher, words)(folder) for name in ("words", "next_sentence")}
    assert {name: score["accuracy"] for name, score in scores.items()} == pytest.approx(dict(student.parts))
    assert scores["words"]["perplexity"] > 1


def test_a_trial_keeps_both_accuracies_and_another_key(
    mlm_teacher: Teacher, words: Text, make_architecture: Make, archive: Archive
) -> None:
    architecture = make_architecture(mlm_teacher, layers=1)
    training = Training.of(mlm_teacher, words, PAIRS, 1_024, 0, "float32", quality="accuracy")
    (trial,) = archive.distil(mlm_teacher, words, [architecture], PAIRS, training)
    assert isinstance(trial, Trial)
    again = archive.find(training.key(architecture))
    assert again is not None
    assert set(again.parts) == {"words", "next_sentence"}
    assert again.heldout_loss.values["loss"] == again.loss == 1 - sum(again.parts.values()) / 2
    plain = replace(training, quality="loss")
    assert plain.key(architecture) != training.key(architecture)
    assert "quality" not in plain.to_json()  # as it was before there was a choice
    assert Training.from_json(training.to_json()) == training


def test_a_killed_training_ends_with_the_same_judge(
    mlm_teacher: Teacher, words: Text, make_architecture: Make, tmp_path: Path
) -> None:
    from distilsearch.distill.compute.processes import accelerator_for
    from distilsearch.distill.training import begin

    course = Course(mlm_teacher, words, PAIRS, 4_096, 0, "float32", quality="accuracy")
    architecture = make_architecture(mlm_teacher, layers=1)

    def fresh() -> Any:
        return begin(course, architecture, accelerator_for("cpu"))

    first, second = fresh(), fresh()
    while first.step < first.steps:
        first.advance()
        if first.step == first.steps - 1:
            first.save(tmp_path / "checkpoint.safetensors")
    second.restore([tmp_path / "checkpoint.safetensors"])
    second.advance()
    one, other = first.finish(), second.finish()
    assert one.parts == other.parts
    assert torch.equal(one.judge.relation.weight, other.judge.relation.weight)
    _without_a_pooler(tmp_path / "checkpoint.safetensors")
    anew = fresh()
    anew.restore([tmp_path / "checkpoint.safetensors"])  # of a version whose head had one layer: begun again
    assert anew.step == 0


def _without_a_pooler(path: Path) -> None:
    with safe_open(str(path), framework="pt") as file:
        about = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys() if ".dense" not in name}  # noqa: SIM118
    save_file(tensors, str(path), about)


def test_the_teachers_own_head_is_read_and_cut_to_its_student(
    pretrained: Teacher, text_file: Path, make_architecture: Make
) -> None:
    text = load_text([str(text_file)], pretrained, block=32, heldout_fraction=0.2)
    own = judge_of(pretrained)
    assert own is not None
    stock = AutoModelForPreTraining.from_pretrained(str(pretrained.folder)).eval()
    batch = alternate_pairs(pretrained, text.heldout[:4])
    with torch.inference_mode():
        output = stock(input_ids=batch.input_ids, token_type_ids=batch.segments)
        hidden = stock.bert(input_ids=batch.input_ids, token_type_ids=batch.segments).last_hidden_state[:, 0]
        torch.testing.assert_close(own(hidden), output.seq_relationship_logits)
    held = teacher_held_out(pretrained, text, "accuracy")
    assert held.said == ""
    architecture = make_architecture(pretrained, layers=2, width=32)
    model, basis = build_student(pretrained, architecture, text)
    cut = own.cut(basis)
    assert cut.relation.weight.shape == (2, 32)
    mine, theirs = (dict(held_out(pretrained, text, m, a, judge=j).parts) for m, a, j in (
        (model, architecture, cut),
        (pretrained.model(), family("bert").architecture(pretrained.facts), own),
    ))  # fmt: skip
    assert set(mine) == set(theirs)
    with torch.inference_mode():
        torch.testing.assert_close(own.cut(torch.eye(64))(hidden), own(hidden))


def test_a_teacher_without_a_head_is_lent_one_that_is_fitted_and_said(mlm_teacher: Teacher, words: Text) -> None:
    assert judge_of(mlm_teacher) is None
    held = teacher_held_out(mlm_teacher, words, "accuracy")
    assert "fitted on its first token's state in" in held.said
    judge, blocks = fitted_judge(mlm_teacher, words)
    own = family("bert").architecture(mlm_teacher.facts)
    learnt = judged(mlm_teacher, words.train[:blocks], mlm_teacher.model(), own, judge)
    assert learnt.accuracy > 0.6  # it knows what it was fitted on better than by chance
    assert learnt.count == blocks
    again, _ = fitted_judge(mlm_teacher, words)
    assert torch.equal(again.relation.weight, judge.relation.weight)


def test_a_type_of_model_without_such_a_head_is_saved_as_it_is() -> None:
    from transformers import RobertaConfig, RobertaForMaskedLM

    config = RobertaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    model = RobertaForMaskedLM(config)
    assert whole(model, Judge.undecided(16)) is model


def test_a_mobilebert_without_a_layer_before_its_head_keeps_its_students_head(tmp_path: Path) -> None:
    folder = write_teacher(tmp_path / "teacher", "pretraining")
    sizes = {"embedding_size": 16, "hidden_size": 32, "intra_bottleneck_size": 16, "intermediate_size": 24}
    sizes |= {"num_hidden_layers": 1, "num_attention_heads": 2, "num_feedforward_networks": 2, "vocab_size": 155}
    config = MobileBertConfig(**sizes, max_position_embeddings=64, classifier_activation=False)
    stock = MobileBertForPreTraining(config)
    (folder / "model.safetensors").unlink()
    stock.save_pretrained(str(folder))
    teacher = load_teacher(str(folder))
    own = judge_of(teacher)
    assert own is not None
    assert own.dense is None
    again = whole(teacher.model(), own)
    assert isinstance(again, MobileBertForPreTraining)
    assert torch.equal(again.cls.seq_relationship.weight, stock.cls.seq_relationship.weight)
    assert own.cut(torch.eye(32)[:, :24]).relation.weight.shape == (2, 24)


@pytest.mark.parametrize(
    ("kind", "asked", "weights", "said"),
    [
        ("embedding", "accuracy", {"relation": 1.0}, "take a masked-LM teacher"),
        ("mlm", "accuracy", {"logits": 1.0}, 'choose the recipe "mobilebert"'),
        ("mlm", "acuracy", {}, "did you mean 'accuracy'"),
    ],
)
def test_a_quality_that_cannot_be_had_is_refused(
    teacher: Teacher, mlm_teacher: Teacher, text: Text, kind: str, asked: str, weights: dict[str, float], said: str
) -> None:
    own = Recipe("own", tuple((weights or {"logits": 1.0}).items()))
    with pytest.raises(InputError, match=said):
        Course(teacher if kind == "embedding" else mlm_teacher, text, own, 1_024, 0, "float32", quality=asked)


def test_qualities_are_read_the_right_way_up() -> None:
    assert {quality_name("embedding"), quality_name("mlm", "accuracy")} == set(UPWARDS)


def test_text_without_next_sentences_is_refused(mlm_teacher: Teacher, text_file: Path, tmp_path: Path) -> None:
    lines = text_file.read_text().splitlines()
    rows = [" ".join(line.split()[:8]) for line in lines]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": row}) for row in rows))
    sentences = load_text([str(tmp_path / "rows.jsonl")], mlm_teacher, block=64)
    assert sentences.whole == 0
    with pytest.raises(TextError, match="no next sentences to tell: a pair is the two halves of a block of 64 tokens"):
        check_pairs(sentences)
    assert load_text([str(tmp_path / "rows.jsonl")], mlm_teacher, block=64).whole == 0  # from the cache
    named = Material(str(mlm_teacher.folder), [str(tmp_path / "rows.jsonl")], "mobilebert", text_block=64)
    with pytest.raises(TextError, match="no next sentences"):
        named.opened()
    replace(named, recipe="mlm").opened()
    assert load_text([str(text_file)], mlm_teacher, block=64).whole == 1
    check_pairs(replace(sentences, whole=None))


def test_a_mobilebert_student_is_saved_with_its_judge(mlm_teacher: Teacher, words: Text, tmp_path: Path) -> None:
    kind = family("mobilebert")
    genes = {"layers": (1,), "width": (32,), "bottleneck": (8,), "heads": (1,), "ffn": (24,), "stacks": (2,)}
    space = kind.space({**genes, "embedding": (24,)}, mlm_teacher.facts)
    (architecture,) = space.decode(np.asarray(space.sample(1, np.random.default_rng(0))))
    student = distill_student(mlm_teacher, architecture, words, recipe("mobilebert"), 2_048, precision="float32")
    folder = student.save(tmp_path / "student")
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["MobileBertForPreTraining"]
    scores = open_evaluation("next_sentence", None, mlm_teacher, words)(folder)
    assert 0 <= scores["accuracy"] <= 1
    with pytest.raises(InputError, match="holds no head that tells next sentences"):
        open_evaluation("next_sentence", None, mlm_teacher, words)(mlm_teacher)
