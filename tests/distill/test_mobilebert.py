"""What a MobileBERT student keeps of its teacher, and that its loss is taken in the coordinates it kept."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import MobileBertConfig, MobileBertForMaskedLM, MobileBertModel

from distilsearch.architecture import Architecture
from distilsearch.distill.heldout.heldout import heldout_loss
from distilsearch.distill.recipes import EMBEDDING, MLM, View
from distilsearch.distill.students.student import build_student
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.training import start

SMALL = {
    "hidden_size": 48,
    "intra_bottleneck_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_feedforward_networks": 2,
}
LARGE = {
    "hidden_size": 64,
    "intra_bottleneck_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "num_feedforward_networks": 4,
}
RECIPE = replace(EMBEDDING, batch_tokens=256, views=(View(),))


def _config(sizes: dict[str, int]) -> MobileBertConfig:
    return MobileBertConfig(
        vocab_size=155,
        embedding_size=32,
        num_hidden_layers=3,
        max_position_embeddings=64,
        initializer_range=0.2,
        **sizes,
    )


def _hidden_in_a_larger_one(small: Any) -> Any:
    """A model that computes what the small one does in its last coordinates, heads, units and networks alone."""
    large = MobileBertModel(_config(LARGE)).eval()
    source = dict(small.named_parameters())
    with torch.no_grad():
        for name, parameter in large.named_parameters():
            parameter.zero_()
            head, found, tail = name.partition(".ffn.")
            network, _, rest = tail.partition(".")
            if found and network != "2":  # these networks pass on what they are given
                parameter.fill_(float("LayerNorm.weight" in name))
                continue
            origin = source[f"{head}.ffn.0.{rest}" if found else name]
            parameter[
                tuple(slice(big - size, big) for big, size in zip(parameter.shape, origin.shape, strict=True))
            ] = origin
    return large


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory, make_teacher: Any) -> Teacher:
    """A teacher most of whose parts do nothing."""
    folder = make_teacher(tmp_path_factory.mktemp("roomy"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _hidden_in_a_larger_one(MobileBertModel(_config(SMALL)).eval()).save_pretrained(str(folder))
    return load_teacher(str(folder))


@pytest.fixture(scope="module")
def words(roomy: Teacher, text_file: Path) -> Text:
    """The words in blocks of 32."""
    return load_text([str(text_file)], roomy, block=32, heldout_fraction=0.2)


def _student(teacher: Teacher, **genes: Any) -> Architecture:
    facts = teacher.facts
    values = {"layers": 3, "width": 48, "bottleneck": 16, "heads": 2, "ffn": 24, "stacks": 2, "inherit": "even"}
    own = ("embedding", "activation", "vocabulary", "positions", "types", "head", "pool")
    return Architecture("mobilebert", values | {name: getattr(facts, name) for name in own} | genes)


def test_what_matters_is_kept_and_the_loss_is_taken_there(roomy: Teacher, words: Text) -> None:
    architecture = _student(roomy)
    run = start(roomy, architecture, words, RECIPE, 1_000, precision="float32")
    assert heldout_loss(roomy, words, run.model, architecture) == pytest.approx(0, abs=1e-6)
    losses = run.losses(run.targets.batch(0))
    assert losses["tokens"].item() == pytest.approx(0, abs=1e-3)  # targets are bfloat16
    assert losses["embedding"].item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    "genes", [{"bottleneck": 32, "heads": 4}, {"ffn": 40}, {"stacks": 4}, {"stacks": 3}, {"width": 64}]
)
def test_each_size_is_cut_by_itself(roomy: Teacher, words: Text, genes: dict[str, int]) -> None:
    architecture = _student(roomy, **genes)
    model, basis = build_student(roomy, architecture, words)
    assert heldout_loss(roomy, words, model, architecture) == pytest.approx(0, abs=1e-6)
    assert torch.equal(basis.sum(0), torch.ones(architecture["width"]))


def test_the_output_table_keeps_the_columns_of_the_word_embeddings(
    tmp_path: Path, make_teacher: Any, text_file: Path
) -> None:
    folder = make_teacher(tmp_path, "mlm")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        MobileBertForMaskedLM(_config(LARGE)).save_pretrained(str(folder))
    teacher = load_teacher(str(folder))
    text = load_text([str(text_file)], teacher, block=32, heldout_fraction=0.2)
    model, basis = build_student(teacher, _student(teacher), text)
    ours, theirs = model.cls.predictions, teacher.model().cls.predictions
    kept = basis.argmax(0)
    torch.testing.assert_close(ours.transform.dense.weight[:32], theirs.transform.dense.weight[:32, kept])
    columns = {tuple(row.tolist()): i for i, row in enumerate(theirs.dense.weight)}
    places = [columns[tuple(row.tolist())] for row in ours.dense.weight]
    torch.testing.assert_close(
        ours.transform.dense.weight[32:], theirs.transform.dense.weight[[32 + i for i in places]][:, kept]
    )
    run = start(teacher, _student(teacher), text, replace(MLM, batch_tokens=256), 2_000, precision="float32")
    run.advance()
