"""Every kind of teacher and every recipe: students learn, projections stay out, stock checkpoints come back."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from distilsearch.architecture import Architecture
from distilsearch.distill.heldout.heldout import heldout_loss
from distilsearch.distill.losses import LOSSES
from distilsearch.distill.recipes import CAUSAL, EMBEDDING, KDNAS, MLM, MOBILEBERT, Recipe, View
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.training import distill_student, start
from distilsearch.errors import InputError
from distilsearch.families import family

Make = Callable[..., Any]


def _tokenizer(folder: Path, words: list[str]) -> int:
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    backend = Tokenizer(models.WordLevel({t: i for i, t in enumerate(special + words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        cls_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
    ).save_pretrained(str(folder))
    return len(special + words)


def _words(file: Path) -> list[str]:
    return sorted(set(file.read_text().split()))


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory, text_file: Path) -> Teacher:
    """A tiny decoder with grouped heads."""
    folder = tmp_path_factory.mktemp("causal")
    config = LlamaConfig(
        vocab_size=_tokenizer(folder, _words(text_file)),
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=96,
        max_position_embeddings=64,
        initializer_range=0.2,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(str(folder))
    return load_teacher(str(folder))


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory, text_file: Path) -> Teacher:
    """A tiny RoBERTa embedding teacher."""
    folder = tmp_path_factory.mktemp("roberta")
    config = RobertaConfig(
        vocab_size=_tokenizer(folder, _words(text_file)),
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=34,
        type_vocab_size=1,
        initializer_range=0.2,
        pad_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        RobertaModel(config).save_pretrained(str(folder))
    return load_teacher(str(folder))


def _student(teacher: Teacher, name: str = "", **genes: Any) -> Architecture:
    space = family(name or teacher.facts.family).space({g: [v] for g, v in genes.items()}, teacher.facts)
    return space.decode(space.sample(1, np.random.default_rng(0)))[0]


def _learns(teacher: Teacher, architecture: Architecture, text: Text, recipe: Recipe, tokens: int = 8_000) -> None:
    """On the text it trains on and, of words, on held-out text; a random teacher's embeddings do not generalise."""
    run = start(teacher, architecture, text, recipe, tokens, precision="float32")
    before, batch = heldout_loss(teacher, text, run.model, architecture), run.targets.batch(0)
    losses = sum(value.item() for value in run.losses(batch).values())
    while run.step < run.steps:
        run.advance()
    assert sum(value.item() for value in run.losses(batch).values()) < losses
    assert run.curve[-1][1] < before or teacher.kind == "embedding"


def test_decoders_learn_and_come_back(causal: Teacher, text_file: Path, tmp_path: Path) -> None:
    text = load_text([str(text_file)], causal, block=32, heldout_fraction=0.2)
    architecture = _student(causal, layers=2, width=32, heads=2, kv_heads=1, head_size=16, ffn=48)
    recipe = replace(CAUSAL, batch_tokens=256, learning_rate=3e-3)
    _learns(causal, architecture, text, recipe)
    student = distill_student(causal, architecture, text, recipe, 2_000, precision="float32")
    stock = AutoModelForCausalLM.from_pretrained(str(student.save(tmp_path / "s"))).eval()
    ids = torch.from_numpy(text.heldout[:2].astype(np.int64))
    with torch.no_grad():
        torch.testing.assert_close(stock(input_ids=ids).logits, student.model(input_ids=ids).logits)
    assert load_teacher(str(tmp_path / "s")).kind == "causal"


def test_a_decoder_of_the_teachers_shape_starts_as_the_teacher(causal: Teacher, text_file: Path) -> None:
    text = load_text([str(text_file)], causal, block=32, heldout_fraction=0.2)
    own = family("llama").architecture(causal.facts)
    run = start(causal, own, text, replace(CAUSAL, batch_tokens=256), 1_000, precision="float32")
    assert heldout_loss(causal, text, run.model, own) == pytest.approx(heldout_loss(causal, text, causal.model(), own))
    assert run.losses(run.targets.batch(0))["logits"].item() == pytest.approx(0, abs=1e-3)  # targets are bfloat16


def test_roberta_students_learn(roberta: Teacher, text_file: Path) -> None:
    assert roberta.longest == 32
    text = load_text([str(text_file)], roberta, block=32, heldout_fraction=0.2)
    _learns(roberta, _student(roberta, layers=1, width=32, heads=2, ffn=48), text, replace(EMBEDDING, batch_tokens=256))


def test_a_roberta_student_takes_longer_texts_than_it_has_positions(
    roberta: Teacher, text_file: Path, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    text = load_text([str(text_file)], roberta, block=32, heldout_fraction=0.2)
    architecture = _student(roberta, layers=1, width=32, heads=2, ffn=48)
    recipe = replace(EMBEDDING, batch_tokens=256)
    path = distill_student(roberta, architecture, text, recipe, 500, precision="float32").save(tmp_path / "s")
    stock = SentenceTransformer(str(path), device="cpu")
    assert stock.max_seq_length == roberta.longest
    assert np.isfinite(stock.encode("aaa " * 100)).all()


@pytest.mark.parametrize("head", ["embedding", "mlm"])
def test_mobilebert_students_of_a_bert(
    head: str, teacher: Teacher, mlm_teacher: Teacher, text_file: Path, tmp_path: Path
) -> None:
    parent = teacher if head == "embedding" else mlm_teacher
    text = load_text([str(text_file)], parent, block=32, heldout_fraction=0.2)
    architecture = _student(
        parent, "mobilebert", layers=2, width=48, bottleneck=32, heads=2, ffn=48, stacks=2, embedding=32
    )
    recipe = replace(EMBEDDING if head == "embedding" else MOBILEBERT, batch_tokens=256, learning_rate=5e-3)
    _learns(parent, architecture, text, recipe, 16_000)
    if head == "mlm":
        student = distill_student(parent, architecture, text, recipe, 2_000, precision="float32")
        stock = AutoModelForMaskedLM.from_pretrained(str(student.save(tmp_path / "s"))).eval()
        assert not any("projection" in name for name in stock.state_dict())


def test_a_word_table_wider_than_the_teachers_is_trained(teacher: Teacher, text: Text) -> None:
    recipe = replace(EMBEDDING, batch_tokens=256)
    for width, moves in ((32, False), (96, True)):
        sizes = {"layers": 1, "width": 48, "bottleneck": 32, "heads": 2, "ffn": 48, "stacks": 1, "embedding": width}
        run = start(teacher, _student(teacher, "mobilebert", **sizes), text, recipe, 1_000, precision="float32")
        before = run.model.get_input_embeddings().weight.clone()
        run.advance()
        assert torch.equal(run.model.get_input_embeddings().weight, before) != moves


def test_segments_that_follow_each_other_are_told_apart(
    mlm_teacher: Teacher, text_file: Path, make_architecture: Make
) -> None:
    text = load_text([str(text_file)], mlm_teacher, block=32, heldout_fraction=0.2)
    recipe = Recipe("pairs", (("next_sentence", 1.0),), batch_tokens=512, embeddings="all", learning_rate=3e-3)
    run = start(mlm_teacher, make_architecture(mlm_teacher), text, recipe, 15_000, precision="float32")
    batch = run.targets.batch(0)
    assert run.losses(batch)["next_sentence"].item() == pytest.approx(math.log(2))  # the judge begins undecided
    while run.step < run.steps:
        run.advance([batch])  # drawn words follow from nothing, so only what was seen can be told
    assert run.losses(batch)["next_sentence"].item() < 0.3
    assert not any("projection" in name or "seq_relationship" in name for name in run.finish().model.state_dict())


@pytest.mark.parametrize("loss", sorted(set(LOSSES) - {"next_sentence"}))
def test_every_loss_lowers_itself(
    loss: str, teacher: Teacher, mlm_teacher: Teacher, text_file: Path, make_architecture: Make
) -> None:
    parent = mlm_teacher if loss in ("logits", "hard") else teacher
    text = load_text([str(text_file)], parent, block=32, heldout_fraction=0.2)
    recipe = Recipe("one", ((loss, 1.0),), batch_tokens=256, embeddings="all", learning_rate=2e-3, warmup_tokens=500)
    run = start(parent, make_architecture(parent), text, recipe, 5_000, precision="float32")
    batch = run.targets.batch(0)
    before = run.losses(batch)[loss].item()
    while run.step < run.steps:
        run.advance()
    assert run.losses(batch)[loss].item() < before or before < 1e-6  # layer norm leaves no mean to learn


def test_projections_resume_and_never_reach_the_student(
    teacher: Teacher, text: Text, make_architecture: Make, tmp_path: Path
) -> None:
    recipe = replace(KDNAS, batch_tokens=256)
    architecture = make_architecture(teacher)
    whole = start(teacher, architecture, text, recipe, 4_000, precision="float32")
    half = start(teacher, architecture, text, recipe, 4_000, precision="float32")
    assert whole.objective.projections["hidden"].weight.shape == (128, 32)
    for _ in range(8):
        half.advance()
    half.save(tmp_path / "c.safetensors")
    resumed = start(teacher, architecture, text, recipe, 4_000, precision="float32")
    resumed.restore([tmp_path / "absent.safetensors", tmp_path / "c.safetensors"])
    assert resumed.step == 8
    for run in (whole, resumed):
        while run.step < run.steps:
            run.advance()
    for mine, theirs in zip(whole.objective.parameters(), resumed.objective.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    saved = whole.finish().save(tmp_path / "student")
    assert load_teacher(str(saved)).parameters == sum(p.numel() for p in whole.model.parameters())


def test_progressive_transfer_moves_one_layer_at_a_time(
    mlm_teacher: Teacher, text_file: Path, make_architecture: Make
) -> None:
    text = load_text([str(text_file)], mlm_teacher, block=32, heldout_fraction=0.2)
    recipe = replace(MLM, batch_tokens=256, progressive=0.5)
    run = start(mlm_teacher, make_architecture(mlm_teacher), text, recipe, 5_000, precision="float32")
    assert [run.stage(step) for step in (0, run.steps // 4 + 1, run.steps // 2 + 1)] == [0, 1, None]
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.advance()
    moved = {name for name, value in run.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all("encoder.layer.0." in name for name in moved)
    while run.step < run.steps:
        run.advance()
    assert run.curve


@pytest.mark.parametrize("loss", ["logits", "hard"])
def test_a_part_that_hides_no_word_loses_nothing(
    loss: str, mlm_teacher: Teacher, text_file: Path, make_architecture: Make
) -> None:
    text = load_text([str(text_file)], mlm_teacher, block=16, heldout_fraction=0.2)
    recipe = Recipe("words", ((loss, 1.0),), batch_tokens=256, embeddings="all")
    architecture = make_architecture(mlm_teacher)
    whole, parts = (
        start(mlm_teacher, architecture, text, recipe, 2_000, 0, "float32", accumulate=count) for count in (1, 16)
    )
    cut = parts.parts(0)
    assert any(not len(part.masked) for part in cut)
    together = sum(whole.losses(part)[loss].item() for part in cut) / len(cut)
    assert together == pytest.approx(whole.losses(whole.parts(0)[0])[loss].item(), rel=1e-4)
    parts.advance()


def test_losses_that_a_teacher_cannot_give_are_refused(
    teacher: Teacher, causal: Teacher, text: Text, text_file: Path, make_architecture: Make
) -> None:
    with pytest.raises(InputError, match="needs a teacher of kind mlm or causal"):
        start(teacher, make_architecture(teacher), text, replace(CAUSAL, views=(View(),)), 1_000)
    words = load_text([str(text_file)], causal, block=32)
    maps = Recipe("maps", (("attention", 1.0),), embeddings="all")
    with pytest.raises(InputError, match="encoders only"):
        start(causal, _student(causal, layers=1, width=32), words, maps, 1_000)
