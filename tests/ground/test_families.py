"""The contract of every family, and what one alone promises."""

import math

import pytest

from distilsearch import Serving
from distilsearch.errors import InputError, TeacherError
from distilsearch.families import FAMILIES, TeacherFacts, family, family_of
from distilsearch.families.shared import TIMED, inherited_layers
from distilsearch.lowering import operators
from distilsearch.operators import ACTIVATIONS
from distilsearch.predictors.operators.features import Setting, row
from distilsearch.profiling.kernels import kernel
from distilsearch.testing.families import CHOICES, FamilyContract

SMALL = {
    "llama": {"kv_heads": [1, 2], "head_size": [8, 16]},
    "mobilebert": {"bottleneck": [16, 32], "stacks": [1, 3], "embedding": [32]},
}
OPEN = {"llama": {"bias": [0, 1], "mlp_bias": [0, 1], "tied": [0, 1]}}  # the teacher's own where there is one
SIZES = {"layers": 4, "width": 64, "heads": 4, "ffn": 128, "vocabulary": 97, "positions": 40, "types": 2}
TEACHERS = {
    "bert": TeacherFacts("t", "bert", **SIZES),
    "roberta": TeacherFacts("t", "roberta", **SIZES),
    "llama": TeacherFacts(
        "t", "llama", **(SIZES | {"types": 0}), activation="silu", head="causal", kv_heads=2, head_size=16
    ),
    "mobilebert": TeacherFacts(
        "t", "mobilebert", **SIZES, activation="relu", head="mlm", bottleneck=32, stacks=3, embedding=32
    ),
}
HEADS = {"llama": ["causal"]}


class TestFamilies(FamilyContract):
    @pytest.fixture(params=sorted(FAMILIES))
    def kind(self, request):
        return family(request.param)

    @pytest.fixture
    def teacher(self, kind):
        return TEACHERS[kind.name]

    @pytest.fixture
    def heads(self, kind):
        return HEADS.get(kind.name, ["embedding", "mlm"])

    @pytest.fixture
    def choices(self, kind, request):
        of_students = "students" in request.fixturenames
        return CHOICES | SMALL.get(kind.name, {}) | (OPEN.get(kind.name, {}) if of_students else {})


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"layer": [1]}, "did you mean 'layers'"),
        ({"layers": []}, "no choices"),
        ({"width": [100], "heads": [7]}, "heads must divide width"),
        ({"inherit": ["evenly"]}, "did you mean 'even'"),
        ({"layers": [0]}, "positive whole number"),
        ({"width": ["wide"]}, "positive whole number"),
        ({"activation": ["gelo"]}, "did you mean 'gelu"),
        ({"activation": ["xielu"]}, "unknown value of activation"),
    ],
)
def test_senseless_choices_are_refused(choices, message) -> None:
    with pytest.raises(InputError, match=message):
        family("bert").space(choices)


def test_a_decoder_may_have_no_window() -> None:
    for window in (0, 8):
        assert family("llama").space({"window": [window]}).size > 0
    for senseless in (-1, True, "none"):
        with pytest.raises(InputError, match="window must be a whole number, 0 for none"):
            family("llama").space({"window": [senseless]})


@pytest.mark.parametrize("name", ["bert", "roberta", "mobilebert"])
def test_encoders_do_not_decode(name) -> None:
    with pytest.raises(InputError, match=f"{name} models encode"):
        family(name).sites(Serving(phase="decode"))


def test_autodistills_space_is_whole() -> None:
    assert family("mobilebert").space().size == 576


def test_xlm_r_students_are_of_their_teachers_type() -> None:
    from transformers import XLMRobertaConfig

    kind = family("roberta")
    model = kind.build(kind.architecture(TEACHERS["roberta"]), XLMRobertaConfig(pad_token_id=1))
    assert model.config.model_type == "xlm-roberta"
    assert family_of("xlm-roberta") is kind


def test_layers_are_inherited_in_order() -> None:
    assert inherited_layers("even", 4, 12) == [0, 4, 7, 11]
    assert inherited_layers("first", 2, 6) == [0, 1]
    assert inherited_layers("last", 2, 6) == [4, 5]


def test_an_unknown_family_names_the_known() -> None:
    with pytest.raises(InputError, match="did you mean 'bert'"):
        family("brt")


def test_the_teacher_itself_is_no_student() -> None:
    teacher = TeacherFacts("t", "bert", layers=4, width=64, heads=4, ffn=128, vocabulary=97, positions=40, types=2)
    space = family("bert").space({"layers": [4], "width": [64], "heads": [4], "ffn": [64, 128]}, teacher)
    assert {a["ffn"] for a in space.decode(space.grid(100))} == {64}
    with pytest.raises(InputError, match="fewer layers, width or ffn than its teacher"):
        family("bert").space({"layers": [4], "width": [64], "heads": [4], "ffn": [128]}, teacher)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_teacher_of_any_activation_is_timed_or_refused(name) -> None:
    from transformers.activations import ACT2CLS

    kind, facts = family(name), TEACHERS[name]
    config = kind.config(kind.architecture(facts))
    for activation in (*ACT2CLS, "of tomorrow"):
        config.hidden_act = activation
        if activation not in TIMED:
            with pytest.raises(TeacherError, match=f"the activation '{activation}'"):
                kind.facts(config, "t", facts.head)
            continue
        own = kind.architecture(kind.facts(config, "t", facts.head))
        assert own["activation"] == activation
        for operator, _ in operators(own, Serving(sequence=4)):
            assert operator.sizes.get("activation", "none") in ACTIVATIONS
            assert kernel(operator)
            assert all(math.isfinite(value) for value in row(operator, 1e-6, Setting("float32", "eager", 1, 1)))
    assert set(ACT2CLS) - set(TIMED) == {"prelu", "xielu"}  # these have weights


def test_the_places_of_activations_never_change() -> None:
    assert ACTIVATIONS[:5] == ("none", "gelu", "relu", "silu", "tanh")  # what predictors of 0.1.0 have learnt by number
    assert len(set(ACTIVATIONS)) == len(ACTIVATIONS)
