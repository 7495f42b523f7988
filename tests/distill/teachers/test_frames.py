"""Blocks are framed as the tokenizer frames a text, whatever it puts there; what has changed has a key of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from distilsearch.distill.job import Training
from distilsearch.distill.recipes import CAUSAL, View, default_recipe
from distilsearch.distill.targets.batch import make_batch
from distilsearch.distill.teachers.frame import frame_of
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import load_text, pieces
from distilsearch.distill.training import start
from distilsearch.testing.teachers import WORDS

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
LLAMA = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
FRAMES = {  # template: ids before, ids after, and what the key of a decoder's training says
    "$A": ((), (), ""),
    "<s> $A": ((0,), (), "0|"),
    "<s> $A </s>": ((0,), (2,), "0|2"),
    "$A </s>": ((), (2,), "|2"),
    "<s> <s> $A </s>": ((0, 0), (2,), "0,0|2"),
}


def _tokenizer(template: str) -> PreTrainedTokenizerFast:
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if template != "$A":
        named = [(token, vocabulary[token]) for token in ("<s>", "</s>")]
        backend.post_processor = processors.TemplateProcessing(single=template, special_tokens=named)
    names = {"bos_token": "<s>", "cls_token": "<s>", "sep_token": "</s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", **names)


def _decoder(folder: Path, template: str) -> Teacher:
    _tokenizer(template).save_pretrained(str(folder))
    config = LlamaConfig(vocab_size=len(SPECIAL) + len(WORDS), max_position_embeddings=64, eos_token_id=2, **LLAMA)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(str(folder))
    return load_teacher(str(folder))


@pytest.mark.parametrize("template", FRAMES)
def test_blocks_of_a_decoder_begin_and_end_as_its_texts(template: str, tmp_path: Path, text_file: Path) -> None:
    before, after, stated = FRAMES[template]
    teacher = _decoder(tmp_path / "teacher", template)
    assert teacher.frame == (before, after)
    text = load_text([str(text_file)], teacher, block=32)
    for blocks in (text.train, text.heldout, pieces(text.train, 16, ([*before], [*after]))):
        assert (blocks[:, : len(before)] == before).all()
        assert (blocks[:, blocks.shape[1] - len(after) :] == after).all()
    batch = make_batch(teacher, text.train[:2], View(), 0.15, (0,))
    assert tuple(batch.input_ids[0, : len(before)].tolist()) == before
    assert (
        batch.labels[: len(before)].tolist()
        == [*before[1:], *batch.input_ids[0, len(before) : len(before) + 1]][: len(before)]
    )
    training = Training.of(teacher, text, CAUSAL, 1_000, 0, "float32")
    assert training.frame == stated
    assert ("frame" in training.to_json()) is bool(stated)
    assert Training.from_json(training.to_json()) == training


def test_the_same_text_in_other_frames_is_another_text(tmp_path: Path, text_file: Path) -> None:
    teachers = [_decoder(tmp_path / str(i), template) for i, template in enumerate(FRAMES)]
    texts = [load_text([str(text_file)], teacher, block=32) for teacher in teachers]
    assert len({text.sha256 for text in texts}) == len(FRAMES)


def test_an_encoder_is_framed_by_its_tokenizer_too(tmp_path: Path, teacher: Teacher, text_file: Path) -> None:
    _tokenizer("<s> <s> $A").save_pretrained(str(tmp_path))
    config = BertConfig(vocab_size=len(SPECIAL) + len(WORDS), max_position_embeddings=64, **LLAMA)
    BertModel(config).save_pretrained(str(tmp_path))
    other = load_teacher(str(tmp_path))
    text = load_text([str(text_file)], other, block=32)
    assert (text.train[:, :2] == 0).all()
    assert 2 not in text.train
    keys = [Training.of(one, text, default_recipe("embedding"), 9, 0, "float32").frame for one in (teacher, other)]
    assert keys == ["", "0,0|"]


def test_a_decoder_learns_what_follows_its_first_token(tmp_path: Path, text_file: Path) -> None:
    teacher = _decoder(tmp_path / "teacher", "<s> $A")
    text = load_text([str(text_file)], teacher, block=32, heldout_fraction=0.2)
    assert np.unique(text.train[:, 0]).tolist() == [0]
    from distilsearch.families import family

    run = start(teacher, family("llama").architecture(teacher.facts), text, CAUSAL, 2_048, precision="float32")
    while run.step < run.steps:
        run.advance()
    assert np.isfinite(run.curve[-1][1])


@pytest.mark.parametrize("words", [["a"], ["。"], ["the"], []], ids=str)
def test_a_frame_is_found_with_whatever_words_there_are(words: list[str]) -> None:
    backend = Tokenizer(
        models.WordLevel({token: i for i, token in enumerate(["<s>", "</s>", "<unk>", *words])}, "<unk>")
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    fast: Any = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    assert frame_of(fast) == ((0,), (1,))
