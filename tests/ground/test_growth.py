"""Formats that grow: a later field changes no key while it says what was meant before it; a default of today does."""

from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilsearch import Architecture, Operator, Serving, architecture
from distilsearch import operators as ground
from distilsearch.distill import job, recipes
from distilsearch.distill.job import Training
from distilsearch.distill.recipes import Recipe, View
from distilsearch.errors import InputError, RunError
from distilsearch.growth import filled, grown
from distilsearch.operators import KINDS, newer_part
from distilsearch.request_lengths import RequestLengths

VALUES = st.dictionaries(st.sampled_from("abcd"), st.one_of(st.integers(0, 2), st.booleans(), st.text(max_size=1)))
ATTENTION = "attention(batch=1,cached=0,causal=0,head_size=16,heads=2,kv_heads=2,sequence=8)"
WINDOWED = ATTENTION.replace(")", ",window=4)")
WEIGHTS = (("tokens", 1.0),)


@given(VALUES, VALUES)
def test_filling_and_leaving_out_are_inverse(values: dict[str, Any], added: dict[str, Any]) -> None:
    whole = filled(values, added)
    assert filled(grown(whole, added), added) == whole
    assert not any(name in grown(added, added) for name in added)
    assert all(grown(values, added)[name] == values[name] for name in values if name not in added)


def test_true_is_not_one() -> None:
    assert grown({"a": True}, {"a": 1}) == {"a": True}
    assert grown({"a": 1.0}, {"a": 1}) == {}


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention with a size that nobody had before."""
    kind = KINDS["attention"]
    monkeypatch.setitem(KINDS, "attention", replace(kind, sizes=(*kind.sizes, "window"), added={"window": 0}))


@pytest.mark.usefixtures("window")
def test_a_later_size_leaves_old_signatures_as_they_were() -> None:
    old = Operator.parse(ATTENTION)
    assert (old.signature, old.sizes["window"]) == (ATTENTION, 0)
    assert old == Operator("attention", {**old.sizes, "window": 0})
    new = Operator("attention", {**old.sizes, "window": 4})
    assert new.signature == WINDOWED
    assert Operator.parse(WINDOWED) == new != old


def test_what_only_a_newer_version_can_have_written_is_named() -> None:
    assert newer_part(WINDOWED) == "the size 'window' of the operator kind 'attention'"
    assert newer_part("convolution(batch=1)") == "the operator kind 'convolution'"
    assert newer_part(ATTENTION) == ""


def test_a_later_size_needs_its_first_value(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = KINDS["attention"]
    monkeypatch.setitem(KINDS, "attention", replace(kind, sizes=(*kind.sizes, "window")))
    with pytest.raises(InputError, match="attention needs the sizes"):
        Operator.parse(ATTENTION)


def test_a_later_gene_leaves_keys_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Architecture("bert", {"layers": 2, "width": 32})
    key, said = old.key, old.to_json()
    monkeypatch.setitem(architecture.ADDED, "bert", {"window": 0})
    same, other = Architecture.from_json(said), Architecture("bert", {**old.values, "window": 4})
    assert (same.key, same.to_json(), same["window"]) == (key, said, 0)
    assert same == Architecture("bert", {**old.values, "window": 0})
    assert other.key != key
    assert Architecture.from_json(other.to_json()) == other
    assert "window" not in Architecture("roberta", {"layers": 2}).values


def test_decoders_of_before_have_no_biases_in_their_networks_and_no_window() -> None:
    old = Architecture.from_json({"family": "llama", "values": {"layers": 2}})
    assert (old["mlp_bias"], old["window"], old.key) == (0, 0, "e0894732b37b")
    assert old.to_json()["values"] == {"layers": 2}
    assert Architecture("llama", {"layers": 2, "window": 8}).key != old.key


def test_serving_says_nothing_of_lengths_where_requests_have_one() -> None:
    assert "lengths" not in Serving().to_json()
    other = Serving(lengths=RequestLengths((4, 7), (400_000, 600_000), 7, 7, 20))
    assert Serving.from_json(other.to_json()) == other != Serving.from_json({})


def test_serving_says_nothing_of_a_runtime_that_all_had() -> None:
    assert "runtime" not in Serving().to_json()
    other = Serving(runtime="onnxruntime")
    assert Serving.from_json(other.to_json()) == other != Serving.from_json({})


@pytest.mark.parametrize("wrong", [{"runtime": ""}, {"runtime": 3}, {"runtime": "other", "mode": "compile"}])
def test_a_senseless_runtime_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"serving runtime|mode is torch's own"):
        Serving(**wrong)


DEFAULTS = {
    "views": (View(16, 0.5),), "batch_tokens": 7, "learning_rate": 0.7, "warmup_tokens": 7, "decay": 0.7,
    "weight_decay": 0.7, "clip": 0.7, "embeddings": "all", "layer": 1, "mask": 0.7, "temperature": 0.7,
    "mapping": "last", "progressive": 0.7, "near": 0.7, "word_rate": 0.7, "anchor": 0.7,
    "anchor_from": 0.7,
}  # fmt: skip


def defaults_of(kind: type) -> list[str]:
    return [field.name for field in fields(kind) if field.default is not MISSING]


@pytest.mark.parametrize("name", defaults_of(Recipe))
def test_another_default_is_another_key_of_a_recipe_that_takes_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, names = Recipe("r", WEIGHTS).key, defaults_of(Recipe)
    changed = tuple(DEFAULTS[n] if n == name else Recipe.__dataclass_fields__[n].default for n in names)
    monkeypatch.setattr(Recipe.__init__, "__defaults__", changed)
    assert Recipe("r", WEIGHTS).key != before


@pytest.mark.parametrize("name", defaults_of(View))
def test_another_default_of_a_view_is_another_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, names = Recipe("r", WEIGHTS, views=(View(),)).key, defaults_of(View)
    other = {"length": 8, "noise": 0.5, "sentences": True, "ends": True}
    changed = tuple(other[n] if n == name else View.__dataclass_fields__[n].default for n in names)
    monkeypatch.setattr(View.__init__, "__defaults__", changed)
    assert Recipe("r", WEIGHTS, views=(View(),)).key != before


@pytest.mark.parametrize("name", [n for n in defaults_of(Serving) if n != "threads"])
def test_another_default_of_a_serving_is_another_json(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"batch": 7, "sequence": 7, "dtype": "bfloat16", "phase": "decode", "mode": "compile", "runtime": "other",
             "lengths": RequestLengths((7,), (1_000_000,), 7, 7, 20), "padded": True}  # fmt: skip
    batched: dict[str, Any] = {"batch": 2} if name == "padded" else {}  # one request is never padded
    before, names = Serving(**batched).to_json(), defaults_of(Serving)
    changed = tuple(other[n] if n == name else Serving.__dataclass_fields__[n].default for n in names)
    monkeypatch.setattr(Serving.__init__, "__defaults__", changed)
    assert Serving(**batched).to_json() != before


@dataclass(frozen=True)
class LaterRecipe(Recipe):
    later: float = 1.0


@dataclass(frozen=True)
class LaterView(View):
    later: float = 1.0


@dataclass(frozen=True)
class LaterTraining(Training):
    later: float = 1.0


def test_a_later_field_of_a_recipe_counts_once_it_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Recipe("r", WEIGHTS).key
    monkeypatch.setattr(recipes, "ADDED", {**recipes.ADDED, "later": 1.0})
    monkeypatch.setattr(recipes, "VIEW_ADDED", {**recipes.VIEW_ADDED, "later": 1.0})
    assert LaterRecipe("r", WEIGHTS, views=(LaterView(),)).key == before
    assert LaterRecipe("r", WEIGHTS, later=2.0).key != before
    assert Recipe("r", WEIGHTS, views=(LaterView(later=2.0),)).key != before
    monkeypatch.setattr(LaterRecipe.__init__, "__defaults__", (*Recipe.__init__.__defaults__, 2.0))  # type: ignore[misc]
    assert LaterRecipe("r", WEIGHTS).key != before


def test_a_later_field_of_a_training_counts_once_it_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    content = ("teacher", "tokenizer", "text", "recipe", 1000, 0, "float32")
    student, old = Architecture("bert", {"layers": 1}), Training(*content)
    monkeypatch.setattr(job, "ADDED", {"later": 1.0})
    same, other = LaterTraining(*content), LaterTraining(*content, later=2.0)
    assert (same.key(student), same.way(student)) == (old.key(student), old.way(student))
    assert other.key(student) != old.key(student)
    assert other.way(student) != old.way(student)
    assert LaterTraining.from_json(old.to_json()) == same
    assert LaterTraining.from_json(other.to_json()) == other
    with pytest.raises(RunError, match="later was written by a newer version"):
        Training.from_json(other.to_json())


def test_the_frozen_tables_name_fields_that_are_there() -> None:
    assert set(ground.SERVING_ADDED) <= set(Serving.__dataclass_fields__)
    assert all(set(kind.added) <= set(kind.sizes) for kind in KINDS.values())
    assert set(recipes.ADDED) <= set(Recipe.__dataclass_fields__)
    assert set(job.ADDED) <= set(Training.__dataclass_fields__)
