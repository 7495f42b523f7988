"""The contract of every family, and what one alone promises."""

import numpy as np
import pytest
import torch

from distilsearch import Serving
from distilsearch.errors import InputError
from distilsearch.families import FAMILIES, TeacherFacts, family, family_of
from distilsearch.families.shared import inherited_layers
from distilsearch.lowering import flops, operators, parameter_count, tabulate

CONSTANTS = {"vocabulary": [97], "positions": [40]}
SMALL = {
    "bert": {"layers": [1, 2], "width": [32, 64], "heads": [2, 4], "ffn": [48, 64]},
    "roberta": {"layers": [1, 2], "width": [32, 64], "heads": [2, 4], "ffn": [48, 64]},
    "llama": {
        "layers": [1, 2],
        "width": [32, 64],
        "heads": [2, 4],
        "kv_heads": [1, 2],
        "head_size": [8, 16],
        "ffn": [48, 64],
        "bias": [0, 1],
        "tied": [0, 1],
    },
    "mobilebert": {
        "layers": [1, 2],
        "width": [32, 64],
        "bottleneck": [16, 32],
        "heads": [2, 4],
        "ffn": [48, 64],
        "stacks": [1, 3],
        "embedding": [32],
    },
}
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


def small(name: str, **changes):
    return SMALL[name] | CONSTANTS | changes


@pytest.fixture(params=sorted(FAMILIES))
def kind(request):
    return family(request.param)


@pytest.fixture
def teacher(kind):
    return TEACHERS[kind.name]


@pytest.fixture
def students(kind):
    drawn = []
    for head in HEADS.get(kind.name, ["embedding", "mlm"]):
        space = kind.space(small(kind.name, head=[head]))
        drawn += space.decode(space.sample(4, np.random.default_rng(0)))
    return drawn


def random_ids():
    return torch.randint(2, 97, (3, 16), generator=torch.Generator().manual_seed(0))


def test_parameters_are_counted_as_the_model_has_them(kind, students) -> None:
    for student in students:
        assert parameter_count(student) == sum(p.numel() for p in kind.build(student).parameters())


def test_what_is_served_has_the_right_shape(kind, students) -> None:
    ids = random_ids()
    for student in students:
        with torch.no_grad():
            served = kind.serve(kind.build(student), student, ids, torch.ones_like(ids))
        if student["head"] == "embedding":
            assert served.shape == (3, student["width"])
            torch.testing.assert_close(served.norm(dim=-1), torch.ones(3))
        else:
            assert served.shape == (3, 16, 97)


def test_logits_are_the_decoded_transform_of_the_last_hidden_states(kind, students) -> None:
    ids = random_ids()
    for student in (s for s in students if s["head"] != "embedding"):
        model = kind.build(student)
        with torch.no_grad():
            hidden = model.base_model(input_ids=ids).last_hidden_state
            logits = kind.decode(model, kind.transform(model, hidden.flatten(0, 1)))
            expected = kind.serve(model, student, ids, torch.ones_like(ids))
        torch.testing.assert_close(logits.view_as(expected), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_saved_students_are_stock(kind, students, tmp_path) -> None:
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

    loaders = {"embedding": AutoModel, "mlm": AutoModelForMaskedLM, "causal": AutoModelForCausalLM}
    ids = random_ids()
    for student in (students[0], students[-1]):
        model = kind.build(student)
        model.save_pretrained(str(tmp_path / student.key))
        stock = loaders[student["head"]].from_pretrained(str(tmp_path / student.key)).eval()
        with torch.no_grad():
            served = [kind.serve(m, student, ids, torch.ones_like(ids)) for m in (model, stock)]
        torch.testing.assert_close(*served)


def test_layers_name_the_modules_that_are_looked_at(kind, students) -> None:
    for student in students:
        layers = kind.layers(kind.build(student))
        assert len(layers) == student["layers"]
        assert all(layer.query.outputs == layer.output.inputs for layer in layers)
        assert all(layer.down.inputs == student["ffn"] for layer in layers)


def test_tables_over_codes_equal_sums_over_operators(kind) -> None:
    space, serving = kind.space(), Serving(batch=3, sequence=20)
    codes = space.sample(50, np.random.default_rng(1))
    table = tabulate(space, serving, lambda ops: np.array([[o.flops, o.parameters] for o in ops], dtype=float))
    for row, architecture in zip(table(codes), space.decode(codes), strict=True):
        assert row[0] == flops(architecture, serving)
        assert row[1] == parameter_count(architecture)


def test_the_teacher_is_an_architecture_of_its_family(kind, teacher) -> None:
    architecture = kind.architecture(teacher)
    facts = kind.facts(kind.config(architecture), "t", teacher.head)
    assert facts == teacher
    assert operators(architecture, Serving())
    assert family_of(kind.teachers[0]) is kind


def test_a_student_of_the_teachers_own_shape_inherits_everything(kind, teacher) -> None:
    architecture = kind.architecture(teacher)
    torch.manual_seed(0)
    own, student = kind.build(architecture), kind.build(architecture)
    kind.inherit(student, own, architecture)
    for mine, theirs in zip(student.parameters(), own.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_every_student_of_a_teacher_inherits(kind, teacher) -> None:
    torch.manual_seed(0)
    own = kind.build(kind.architecture(teacher))
    space = kind.space(
        SMALL[kind.name] | {g: [getattr(teacher, g)] for g in ("bias", "tied") if kind.name == "llama"}, teacher
    )
    for architecture in space.decode(space.sample(6, np.random.default_rng(0))):
        student = kind.build(architecture)
        before = student.get_input_embeddings().weight.clone()
        kind.inherit(student, own, architecture)
        assert all(p.isfinite().all() for p in student.parameters())
        assert not torch.equal(student.get_input_embeddings().weight, before)


def test_a_space_with_a_teacher_takes_its_constants_and_its_limits(kind, teacher) -> None:
    space = kind.space({"layers": [1, 2, 4], "width": [32, 64], "heads": [2]}, teacher)
    sample = space.decode(space.sample(20, np.random.default_rng(0)))
    assert {a["vocabulary"] for a in sample} == {97}
    assert max(a["ffn"] for a in sample) <= teacher.ffn
    with pytest.raises(InputError, match="more than the teacher's 4"):
        kind.space({"layers": [2, 5]}, teacher)
    with pytest.raises(InputError, match="the teacher's own"):
        kind.space({"vocabulary": [50]}, teacher)


def test_inheritance_is_no_gene_of_a_student_as_deep_as_its_teacher(kind, teacher) -> None:
    space = kind.space({"layers": [4], "width": [64], "heads": [4], "ffn": [64]}, teacher)
    assert len({a["inherit"] for a in space.decode(space.grid(10_000))}) == 1


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"layer": [1]}, "did you mean 'layers'"),
        ({"layers": []}, "no choices"),
        ({"width": [100], "heads": [7]}, "heads must divide width"),
        ({"inherit": ["evenly"]}, "did you mean 'even'"),
        ({"layers": [0]}, "positive whole number"),
        ({"width": ["wide"]}, "positive whole number"),
    ],
)
def test_senseless_choices_are_refused(choices, message) -> None:
    with pytest.raises(InputError, match=message):
        family("bert").space(choices)


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
