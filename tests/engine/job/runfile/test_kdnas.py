"""The preset of KD-NAS: its space for teachers of every size, its episodes, and whom it refuses."""

import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch.engine.job.runfile.config import WHOLE_FILE, Run
from distilsearch.engine.job.runfile.presets import check_serves
from distilsearch.engine.job.runfile.presets.kdnas import BASE, SPACE, space_of
from distilsearch.errors import InputError
from distilsearch.families import TeacherFacts

LEAST = {"teacher": "a folder", "text": ["a text"], "preset": "kdnas"}
XLMR = TeacherFacts("xlm-roberta-base", "roberta", 12, 768, 12, 3072, 250_002, 514, 1, head="mlm")
E5 = replace(XLMR, name="e5-small", family="bert", width=384, ffn=1536, head="embedding")


def test_a_teacher_as_large_as_the_papers_has_the_published_values() -> None:
    run = Run.parse(LEAST | {"space": {"family": "roberta"}}).fitted(XLMR)
    assert run.space.genes == {
        "layers": (3, 4, 6, 10, 12),
        "width": (384, 576, 768),
        "heads": (6, 12),
        "ffn": (384, 512, 576, 768, 1024, 1536, 2048, 3072),
        "inherit": ("even",),
        "activation": ("gelu", "relu", "silu"),
    }
    students = run.space_for(XLMR).students
    assert {a["width"] // a["heads"] for a in students.decode(students.grid(10_000))} == {32, 48, 64}
    assert Run.parse(LEAST | {"space": {"family": "roberta"}}).remarks == ()


def test_a_smaller_one_has_the_same_shares() -> None:
    genes = Run.parse(LEAST).fitted(E5).space.genes
    assert genes["layers"] == (3, 4, 6, 10, 12)
    assert genes["width"] == (192, 288, 384)
    assert genes["heads"] == (3, 4, 6, 12)
    assert genes["ffn"] == (192, 256, 288, 384, 512, 768, 1024, 1536)


@given(
    heads=st.sampled_from([1, 2, 4, 6, 8, 12, 16]),
    size=st.sampled_from([16, 24, 32, 64]),
    layers=st.integers(1, 30),
    grains=st.integers(1, 256),
    name=st.sampled_from(["bert", "roberta"]),
    seed=st.integers(0, 9),
)
def test_every_encoder_has_students_no_larger_than_itself(
    heads: int, size: int, layers: int, grains: int, name: str, seed: int
) -> None:
    teacher = replace(XLMR, family=name, layers=layers, width=heads * size, heads=heads, ffn=16 * grains)
    genes = space_of(teacher)
    for gene, most in BASE.items():
        assert 1 <= min(genes[gene]) <= max(genes[gene]) <= min(teacher[gene], most)  # type: ignore[type-var]
        assert max(genes[gene]) == min(teacher[gene], max(SPACE[gene])) or gene == "width"  # type: ignore[type-var]
    if layers > 1 and heads * size > 32:
        run = Run.parse(LEAST | {"space": {"family": name}}).fitted(teacher)
        students = run.space_for(teacher).students
        for student in students.decode(students.sample(2, np.random.default_rng(seed))):
            assert student["width"] % student["heads"] == 0


def test_a_teachers_own_activation_is_a_choice_too() -> None:
    assert list(space_of(replace(E5, activation="gelu_new"))["activation"]) == ["gelu", "relu", "silu", "gelu_new"]


def test_what_the_file_says_of_the_space_stays() -> None:
    run = Run.parse(LEAST | {"space": {"layers": [2], "heads": [12]}}).fitted(E5)
    assert (run.space.genes["layers"], run.space.genes["heads"]) == ((2,), (12,))
    assert run.space.genes["width"] == (192, 288, 384)
    kept = Run.parse(run.model_dump(mode="json"), WHOLE_FILE)
    assert kept.fitted(XLMR) == kept == run


def test_there_are_fifteen_episodes_however_many_trials() -> None:
    for trials, candidates in ((300, 20), (60, 4), (15, 1), (4, 1)):
        assert Run.parse(LEAST | {"trials": trials}).strategy.options["candidates"] == candidates
    assert Run.parse(LEAST).strategy.options["candidates"] == 2
    own = Run.parse(LEAST | {"trials": 300, "strategy": {"candidates": 7}})
    assert own.strategy.options["candidates"] == 7
    assert "candidates" not in Run.parse(LEAST | {"trials": 300, "strategy": "ehvi"}).strategy.options


def test_trials_learn_from_a_proxy_set() -> None:
    run = Run.parse(LEAST | {"train": {"final_tokens": 5_000_000}})
    assert (run.train.share, run.train.recipe, run.train.final_tokens) == (0.3, "kdnas", 5_000_000)


def test_whom_it_cannot_serve_it_refuses() -> None:
    with pytest.raises(InputError, match=r"'kdnas' serves embedding and masked-LM teachers.* causal .*'default'"):
        check_serves("kdnas", "some llama", "causal")
    mobile = replace(XLMR, name="mobile", family="mobilebert")
    with pytest.raises(InputError, match=r'encoders, bert or roberta ones, and mobile is .* preset = "default"'):
        Run.parse(LEAST).fitted(mobile)
    with pytest.raises(InputError, match=r"13 wide, of which no share has heads of 16 to 64; name widths and heads"):
        space_of(replace(E5, width=13, heads=1))


def test_the_example_writes_out_what_the_preset_says() -> None:
    example = tomllib.loads((Path(__file__).parents[4] / "examples" / "kdnas.toml").read_text())
    written = Run.parse(example)
    short = Run.parse({key: example[key] for key in ("preset", "teacher", "text", "trials", "prompt", "target")})
    assert written == short
