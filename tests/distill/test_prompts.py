"""Training shows text as its teacher would see it: after the prompt, in its case, pooled without what it leaves out."""

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distilsearch.distill.evaluate.agreement import Heldout
from distilsearch.distill.evaluate.embedding import encode, sts_spearman
from distilsearch.distill.heldout.heldout import teacher_embeddings
from distilsearch.distill.job import Training
from distilsearch.distill.material import Material
from distilsearch.distill.recipes import View, default_recipe, recipe
from distilsearch.distill.store.depot import Depot
from distilsearch.distill.targets.batch import make_batch
from distilsearch.distill.targets.cache import outputs_key
from distilsearch.distill.targets.targets import ask_teacher
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text, load_text
from distilsearch.distill.training import start
from distilsearch.errors import InputError, TextError
from distilsearch.testing.teachers import dress, write_teacher

MODEL, OWN, POOL = "config_sentence_transformers.json", "sentence_bert_config.json", "1_Pooling/config.json"
PROMPTS = {"prompts": {"query": "fee fad ", "title": "cab "}}
LEFT_OUT = {MODEL: PROMPTS, POOL: {"include_prompt": False}}


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """A teacher with prompts, which are pooled."""
    folder = write_teacher(tmp_path_factory.mktemp("prompted"))
    return load_teacher(str(dress(folder, ["Pooling", "Normalize"], {MODEL: PROMPTS})))


def _words(teacher: Teacher, ids: Any) -> str:
    special = set(teacher.tokenizer.all_special_ids)
    return " ".join(teacher.tokenizer.convert_ids_to_tokens([int(i) for i in ids if int(i) not in special]))


@pytest.mark.parametrize(("name", "words"), [("query", "fee fad"), ("title", "cab"), ("document", ""), ("", "")])
def test_every_block_begins_with_the_prompt(name: str, words: str, prompted: Teacher, text_file: Path) -> None:
    teacher = prompted.shown(name)
    text = load_text([str(text_file)], teacher, block=32)
    many = 1 + len(words.split())
    assert {_words(teacher, row) for row in text.train[:, :many]} == {words}
    for view in (View(), View(length=16, noise=0.5)):
        shown = make_batch(teacher, text.train[:3], view, 0.15, (0,)).input_ids
        assert {_words(teacher, row) for row in shown[:, :many]} == {words}
    training = Training.of(teacher, text, default_recipe("embedding"), 1_000, 0, "float32")
    assert training.prompt == prompted.surroundings.prompts.get(name, "")
    assert ("prompt" in training.to_json()) is bool(words)


def test_a_default_prompt_is_shown_unless_another_is_named(tmp_path: Path) -> None:
    folder = dress(write_teacher(tmp_path), ["Pooling"], {MODEL: PROMPTS | {"default_prompt_name": "title"}})
    teacher = load_teacher(str(folder))
    assert [teacher.shown(name).prompt for name in ("", "query", "document")] == ["cab ", "fee fad ", ""]


def test_prompts_that_are_not_there_are_refused(prompted: Teacher, mlm_teacher: Teacher, text_file: Path) -> None:
    with pytest.raises(InputError, match=r"unknown prompt of the teacher .*'quer'.*'query'"):
        prompted.shown("quer")
    with pytest.raises(InputError, match="prompts are those of embedding teachers"):
        mlm_teacher.shown("query")
    with pytest.raises(TextError, match="a block of 16 tokens leaves 4 for the text"):
        load_text([str(text_file)], replace(prompted, prompt="fee fad " * 5), block=16)


@pytest.mark.parametrize("files", [{MODEL: PROMPTS}, LEFT_OUT, {MODEL: PROMPTS | {"truncate_dim": 7}}], ids=str)
@pytest.mark.parametrize("modules", [["Pooling", "Normalize"], ["Pooling", "Dense"]], ids=str)
def test_targets_are_what_the_teacher_says_of_the_text(
    files: Any, modules: list[str], tmp_path: Path, text_file: Path
) -> None:
    teacher = load_teacher(str(dress(write_teacher(tmp_path), modules, files))).shown("query")
    text = load_text([str(text_file)], teacher, block=24)
    before = len(teacher.frame[0]) + 2
    expected = torch.nn.functional.normalize(
        encode(teacher, [_words(teacher, row[before:]) for row in text.heldout[:4]]), dim=-1
    )
    torch.testing.assert_close(teacher_embeddings(teacher, text)[:4], expected, atol=1e-5, rtol=0)
    batch = make_batch(teacher, text.heldout[:4], View(), 0.15, (0,))
    pooled = ask_teacher(teacher, batch, ("pooled",), -1, "float32")["pooled"]
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=0)


def test_text_is_lower_cased_where_the_teacher_lower_cases_it(tmp_path: Path) -> None:
    generator = random.Random(0)
    lines = [" ".join(generator.sample(["FEE", "Fad", "fed"], 3)) for _ in range(200)]
    (tmp_path / "words.txt").write_text("\n".join(lines))
    ids = {}
    for lower in (True, False):
        folder = dress(write_teacher(tmp_path / str(lower)), ["Pooling"], {OWN: {"do_lower_case": lower}}, cased=True)
        teacher = load_teacher(str(folder))
        if lower:
            text = load_text([str(tmp_path / "words.txt")], teacher, block=16)
            ids[lower] = set(teacher.tokenizer.convert_ids_to_tokens(np.unique(text.train)))
        else:
            with pytest.raises(TextError, match="67% of the text's tokens are unknown"):
                load_text([str(tmp_path / "words.txt")], teacher, block=16)
    assert ids[True] == {"[CLS]", "[SEP]", "fee", "fad", "fed"}


def test_keys_of_teachers_that_lost_nothing_stay(teacher: Teacher, text: Text) -> None:
    config = {k: v for k, v in teacher.config.to_dict().items() if k not in ("_name_or_path", "transformers_version")}
    former = [teacher.weights_sha256, teacher.tokenizer_sha256, "mean", config]
    assert outputs_key(teacher) == hashlib.sha256(json.dumps(former, sort_keys=True, default=str).encode()).hexdigest()
    training = Training.of(teacher, text, default_recipe("embedding"), 1_000, 0, "float32")
    assert set(training.to_json()) == {"teacher", "tokenizer", "text", "recipe", "tokens", "seed", "precision"}


SAME: dict[str, Any] = {
    "an empty prompt": {MODEL: {"prompts": {"query": "", "document": None}, "similarity_fn_name": "cosine"}},
    "versions": {MODEL: {"__version__": {"sentence_transformers": "2.0.0"}, "model_type": "SentenceTransformer"}},
    "a length that always counted": {OWN: {"max_seq_length": 20}},
    "lower-casing twice": {OWN: {"do_lower_case": True}},
    "a prompt that is pooled": {POOL: {"include_prompt": True}},
}
OTHER: dict[str, Any] = {
    "prompts": {MODEL: PROMPTS},
    "a default prompt": {MODEL: {"default_prompt_name": "query"}},
    "a prompt left out": {POOL: {"include_prompt": False}},
    "a similarity": {MODEL: {"similarity_fn_name": "dot"}},
    "a length of the tokenizer": {"tokenizer_config.json": {"model_max_length": 20}},
    "fewer dimensions": {MODEL: {"truncate_dim": 8}},
}


@pytest.mark.parametrize("case", [*SAME, *OTHER])
def test_only_what_was_lost_before_gives_another_key(case: str, teacher: Teacher, tmp_path: Path) -> None:
    folder = dress(write_teacher(tmp_path), ["Pooling", "Normalize"], (SAME | OTHER)[case])
    assert (outputs_key(load_teacher(str(folder))) == outputs_key(teacher)) is (case in SAME)


def test_a_student_learns_through_what_follows_its_teacher(
    text_file: Path, make_architecture: Any, tmp_path: Path
) -> None:
    files = {MODEL: PROMPTS | {"truncate_dim": 10}, POOL: {"include_prompt": False, "pooling_mode": "max"}}
    folder = dress(write_teacher(tmp_path / "teacher"), ["Pooling", "Dense", "Normalize"], files)
    teacher = load_teacher(str(folder)).shown("query")
    text = load_text([str(text_file)], teacher, block=32, heldout_fraction=0.2)
    short = recipe("embedding", batch_tokens=256)
    run = start(teacher, make_architecture(teacher), text, short, 4_000, precision="float32")
    first = run.targets.batch(0)
    before = sum(value.item() for value in run.losses(first).values())
    while run.step < run.steps:
        run.advance()
    assert sum(value.item() for value in run.losses(first).values()) < before
    student = run.finish()
    saved = student.save(tmp_path / "student")
    assert Heldout(teacher, text)(str(saved))["loss"] == pytest.approx(student.loss, abs=1e-6)
    assert load_teacher(str(saved)).surroundings.ending.width == 32


def test_a_worker_shows_the_prompt_that_the_key_says(
    prompted: Teacher, text_file: Path, make_architecture: Any
) -> None:
    from distilsearch.engine.job.jobs import Distil
    from distilsearch.engine.job.work.work import distilled
    from distilsearch.progress import nothing, silent

    teacher = prompted.shown("query")
    text = load_text([str(text_file)], teacher, block=32, heldout_fraction=0.2)
    short = recipe("embedding", batch_tokens=256)
    training = Training.of(teacher, text, short, 512, 0, "float32")
    Depot().put_teacher(teacher)
    Depot().put_text(text)
    job = Distil.from_json(json.loads(json.dumps(Distil(training, short, (make_architecture(teacher),)).to_json())))
    (trial,) = distilled(job, silent, nothing)
    assert trial.training == training
    assert trial.training.prompt == "fee fad "


def test_a_depot_carries_all_that_surrounds_a_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {MODEL: PROMPTS, "sentence_roberta_config.json": {"max_seq_length": 12}}
    folder = dress(write_teacher(tmp_path / "teacher"), ["Pooling", "Dense"], files)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    teacher, depot = load_teacher(str(folder)), Depot(f"file://{tmp_path / 'depot'}")
    key = depot.put_teacher(teacher)
    monkeypatch.setenv("DISTILSEARCH_HOME", str(tmp_path / "elsewhere"))
    fetched = depot.teacher(key)
    torch.testing.assert_close(encode(fetched, ["abc fed"]), encode(teacher, ["abc fed"]))
    assert (fetched.folder / "README.md").exists()


def test_similarity_is_asked_for_with_a_prompt_and_in_the_teachers_measure(prompted: Teacher, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("aaa bbb,aaa bbc,5\naaa ccc,fed bbb,3\nfee fed,aaa bbb,0\nabc aaa,aac aaa,2\nfad,fee,1\n")
    folder = dress(write_teacher(tmp_path / "dot"), ["Pooling"], {MODEL: {"similarity_fn_name": "dot"}})
    dot = load_teacher(str(folder))
    left, right = (
        encode(dot, ["aaa bbb", "aaa ccc", "fee fed", "abc aaa", "fad"]),
        encode(dot, ["aaa bbc", "fed bbb", "aaa bbb", "aac aaa", "fee"]),
    )
    from scipy.stats import spearmanr

    wanted = spearmanr((left * right).sum(-1).numpy(), [5, 3, 0, 2, 1]).statistic
    assert sts_spearman(dot, pairs) == pytest.approx(wanted)
    assert sts_spearman(prompted, pairs, prompt="query") == sts_spearman(prompted.shown("query"), pairs)
    with pytest.raises(InputError, match="'nope'"):
        sts_spearman(str(prompted.folder), pairs, prompt="nope")


def test_material_names_the_prompt(tmp_path: Path, text_file: Path) -> None:
    folder = dress(write_teacher(tmp_path, max_position_embeddings=128), ["Pooling"], {MODEL: PROMPTS})
    teacher, text, _ = Material(str(folder), [str(text_file)], prompt="title").opened()
    assert teacher.prompt == "cab "
    assert _words(teacher, text.train[0, :2]) == "cab"
