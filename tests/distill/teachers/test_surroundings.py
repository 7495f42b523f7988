"""A student is a drop-in: what surrounds its teacher surrounds it, and what it cannot carry is refused by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from distilsearch.distill.evaluate.embedding import encode
from distilsearch.distill.students.student import Student, build_student
from distilsearch.distill.teachers.teacher import Teacher, load_teacher
from distilsearch.distill.texts.data import Text
from distilsearch.errors import TeacherError
from distilsearch.families import family
from distilsearch.testing.teachers import dress

MODEL, OWN, WORDS = "config_sentence_transformers.json", "sentence_bert_config.json", "tokenizer_config.json"
POOL, DENSE2, DENSE3 = (f"{folder}/config.json" for folder in ("1_Pooling", "2_Dense", "3_Dense"))
IDENTITY = "torch.nn.modules.linear.Identity"
SENTENCES = ["aaa bbc cde", "FEE", "abc ABD abe bcd bce dde fed fad " * 8, "cab Cad", ""]
PROMPTS = {"prompts": {"query": "fee fad ", "document": ""}}


def dressed(folder: Path, files: Mapping[str, Any], modules: tuple[str, ...]) -> Path:
    """A teacher's folder with other files; with "Cased" among its modules it tells FEE from fee."""
    return dress(folder, [name for name in modules if name != "Cased"], files, "Cased" in modules)


CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "normalised mean": ({}, ("Pooling", "Normalize")),
    "mean as it is": ({}, ("Pooling",)),
    "first token": ({POOL: {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}}, ("Pooling",)),
    "largest": ({POOL: {"pooling_mode": "max"}}, ("Pooling", "Normalize")),
    "last token": ({POOL: {"pooling_mode": ["lasttoken"]}}, ("Pooling",)),
    "weighted mean": ({POOL: {"pooling_mode": "weightedmean"}}, ("Pooling",)),
    "mean by the root": ({POOL: {"pooling_mode": "mean_sqrt_len_tokens"}}, ("Pooling",)),
    "prompts": ({MODEL: PROMPTS | {"similarity_fn_name": "dot"}}, ("Pooling",)),
    "default prompt": ({MODEL: PROMPTS | {"default_prompt_name": "query"}}, ("Pooling",)),
    "prompt left out": (
        {MODEL: PROMPTS, POOL: {"include_prompt": False}},
        ("Pooling", "Normalize"),
    ),
    "weighted without the prompt": (
        {
            MODEL: PROMPTS,
            POOL: {"include_prompt": False, "pooling_mode": "weightedmean"},
        },
        ("Pooling",),
    ),
    "length in the old file": ({OWN: {"max_seq_length": 9}}, ("Pooling", "Normalize")),
    "length in the tokenizer's": (
        {OWN: {"transformer_task": "feature-extraction"}, WORDS: {"model_max_length": 7}},
        ("Pooling", "Normalize"),
    ),
    "length in both": (
        {OWN: {"max_seq_length": 11}, WORDS: {"model_max_length": 7}},
        ("Pooling", "Normalize"),
    ),
    "length in a file of RoBERTa's": ({"sentence_roberta_config.json": {"max_seq_length": 12}}, ("Pooling",)),
    "lower case": ({OWN: {"do_lower_case": True}}, ("Pooling", "Cased")),
    "lower case and a prompt": (
        {OWN: {"do_lower_case": True}, MODEL: {"prompts": {"query": "Fee FAD: "}}}, ("Pooling", "Normalize", "Cased"),
    ),
    "case kept": ({OWN: {"do_lower_case": False}}, ("Pooling", "Cased")),
    "cut on the left": ({WORDS: {"truncation_side": "left", "model_max_length": 9}}, ("Pooling", "Normalize")),
    "truncated": ({MODEL: {"truncate_dim": 10}}, ("Pooling", "Normalize")),
    "dense": ({}, ("Pooling", "Dense", "Normalize")),
    "normalised dense, truncated": (
        {MODEL: {"truncate_dim": 10}, DENSE3: {"activation_function": IDENTITY}},
        ("Pooling", "Normalize", "Dense"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def few() -> Text:
    """Blocks without a tokenizer."""
    ids = np.random.default_rng(0).integers(5, 150, (12, 16)).astype(np.int32)
    return Text(ids[4:], ids[:4], "few")


def _student(teacher: Teacher, text: Text, **genes: Any) -> Student:
    own = family("bert").architecture(teacher.facts)
    architecture = type(own)("bert", {**own.values, **genes})
    model, basis = build_student(teacher, architecture, text)
    return Student(architecture, model, teacher, 0.5, ((1, 0.5),), 1.0, 1, cut=teacher.ending.cut(basis))


@pytest.mark.parametrize("case", CASES)
def test_a_student_of_the_teachers_shape_encodes_as_its_teacher(
    case: str, few: Text, make_teacher: Any, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    files, modules = CASES[case]
    folder = dressed(make_teacher(tmp_path / "teacher"), files, modules)
    teacher = load_teacher(str(folder))
    saved = _student(teacher, few).save(tmp_path / "student")
    theirs, ours = (SentenceTransformer(str(path), device="cpu") for path in (folder, saved))
    assert (ours.prompts, ours.default_prompt_name) == (theirs.prompts, theirs.default_prompt_name)
    assert (ours.similarity_fn_name, ours.truncate_dim) == (theirs.similarity_fn_name, theirs.truncate_dim)
    assert ours.max_seq_length == min(theirs.max_seq_length, 64)
    for name in (None, "query", "document"):
        wanted = theirs.encode(SENTENCES, prompt_name=name)
        np.testing.assert_allclose(ours.encode(SENTENCES, prompt_name=name), wanted, atol=1e-5)
        for source in (teacher, load_teacher(str(saved))):
            np.testing.assert_allclose(encode(source.shown(name or ""), SENTENCES).numpy(), wanted, atol=1e-5)


def test_case_counts_where_the_teacher_does_not_lower_it(make_teacher: Any, tmp_path: Path) -> None:
    for case, same in (("lower case", True), ("case kept", False)):
        teacher = load_teacher(str(dressed(make_teacher(tmp_path / case), *CASES[case])))
        upper, lower = encode(teacher, ["FEE fad", "fee fad"])
        assert torch.equal(upper, lower) is same


@pytest.mark.parametrize("case", CASES)
def test_a_narrower_student_has_all_settings(case: str, few: Text, make_teacher: Any, tmp_path: Path) -> None:
    files, modules = CASES[case]
    teacher = load_teacher(str(dressed(make_teacher(tmp_path / "teacher"), files, modules)))
    student = _student(teacher, few, width=32, heads=2, layers=1)
    again = load_teacher(str(student.save(tmp_path / "student")))
    was, has = teacher.surroundings, again.surroundings
    for name in ("length", "lower_case", "include_prompt", "prompts", "default_prompt", "similarity", "settings"):
        assert getattr(has, name) == getattr(was, name), name
    assert [type(one) for one in has.ending.modules] == [type(one) for one in was.ending.modules]
    assert (has.ending.pooling, has.ending.truncate) == (was.ending.pooling, was.ending.truncate)
    assert again.facts.width == 32
    made = encode(again, SENTENCES)
    np.testing.assert_allclose(made.numpy(), encode(student, SENTENCES).numpy(), atol=1e-5)
    assert made.shape[1] == (was.ending.truncate or (24 if "Dense" in modules else 32))


def test_a_plain_encoder_is_what_sentence_transformers_makes_of_it(
    few: Text, make_teacher: Any, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = make_teacher(tmp_path / "teacher")
    (folder / "modules.json").unlink()
    saved = _student(load_teacher(str(folder)), few).save(tmp_path / "student")
    wanted, got = (SentenceTransformer(str(path), device="cpu").encode(SENTENCES) for path in (folder, saved))
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_student_of_fewer_positions_reads_no_more_than_it_has(few: Text, make_teacher: Any, tmp_path: Path) -> None:
    files = {OWN: {"max_seq_length": 40}}
    teacher = load_teacher(str(dressed(make_teacher(tmp_path / "teacher"), files, ("Pooling",))))
    for positions, length in ((32, 32), (64, 40)):
        student = _student(teacher, few, positions=positions, inherit="none")
        assert student.length == length
        assert load_teacher(str(student.save(tmp_path / str(positions)))).surroundings.length == length


REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "a module of another kind": ({}, ("Pooling", "LayerNorm"), "LayerNorm"),
    "several": ({}, ("Pooling", "WeightedLayerPooling", "LSTM"), "WeightedLayerPooling.*LSTM"),
    "no pooling": ({}, ("Normalize",), "in this order"),
    "two poolings": ({}, ("Pooling", "Pooling"), "in this order"),
    "poolings joined": ({POOL: {"pooling_mode": ["mean", "cls"]}}, ("Pooling",), "'mean', 'cls'"),
    "an unknown pooling": ({POOL: {"pooling_mode": "attention"}}, ("Pooling",), "'attention'"),
    "a residual": ({DENSE2: {"use_residual": True}}, ("Pooling", "Dense"), "use_residual"),
    "an activation of one's own": (
        {DENSE2: {"activation_function": "mine.Swish"}}, ("Pooling", "Dense"), r"mine\.Swish",
    ),
    "a dense of tokens": (
        {DENSE2: {"module_input_name": "token_embeddings"}}, ("Pooling", "Dense"), "token_embeddings",
    ),
    "a chat template": (
        {OWN: {"modality_config": {"message": {"method": "forward"}}}}, ("Pooling",), "modality_config",
    ),
    "another task": ({OWN: {"transformer_task": "fill-mask"}}, ("Pooling",), "transformer_task"),
    "arguments of the tokenizer": (
        {OWN: {"tokenizer_args": {"model_max_length": 5}}}, ("Pooling",), "tokenizer_args",
    ),
    "a length of queries": ({OWN: {"query_length": 5}}, ("Pooling",), "query_length"),
    "a sparse encoder": ({MODEL: {"model_type": "SparseEncoder"}}, ("Pooling",), "SparseEncoder"),
    "a default prompt that is none": (
        {MODEL: {"default_prompt_name": "nope"}}, ("Pooling",), "'nope' is none of query",
    ),
    "prompts that are no text": ({MODEL: {"prompts": {"query": 3}}}, ("Pooling",), "names to text"),
    "a length that is no number": ({OWN: {"max_seq_length": "long"}}, ("Pooling",), "max_seq_length.*'long'"),
    "no length": ({OWN: {"max_seq_length": -1}}, ("Pooling",), "max_seq_length.*-1"),
    "a list of settings": ({MODEL: {"prompts": ["query"]}}, ("Pooling",), "names to text"),
    "two dense ones that do not fit": ({}, ("Pooling", "Dense", "Dense"), "reads 64 numbers and is given 24"),
    "no dimension": ({MODEL: {"truncate_dim": 0}}, ("Pooling",), "truncate_dim"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_carried_is_refused_by_name(case: str, make_teacher: Any, tmp_path: Path) -> None:
    files, modules, named = REFUSED[case]
    with pytest.raises(TeacherError, match=named):
        load_teacher(str(dressed(make_teacher(tmp_path / "teacher"), files, modules)))


def test_a_broken_dense_module_is_refused(make_teacher: Any, tmp_path: Path) -> None:
    folder = dressed(make_teacher(tmp_path / "teacher"), {}, ("Pooling", "Dense"))
    file = folder / "2_Dense" / "model.safetensors"
    save_file({**load_file(str(file)), "linear.bias": torch.full((24,), float("nan"))}, str(file))
    with pytest.raises(TeacherError, match="infinite or none"):
        load_teacher(str(folder))


def test_a_transformer_in_a_folder_of_its_own_is_named(make_teacher: Any, tmp_path: Path) -> None:
    folder = dressed(make_teacher(tmp_path / "teacher"), {}, ("Pooling",))
    path = folder / "modules.json"
    path.write_text(path.read_text().replace('"path": ""', '"path": "0_Transformer"'))
    with pytest.raises(TeacherError, match="its Transformer lies in 0_Transformer/"):
        load_teacher(str(folder))


def test_a_teacher_without_dense_weights_is_refused(make_teacher: Any, tmp_path: Path) -> None:
    folder = dressed(make_teacher(tmp_path / "teacher"), {}, ("Pooling", "Dense"))
    (folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(TeacherError, match="no weights of a Dense module"):
        load_teacher(str(folder))
