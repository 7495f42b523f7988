"""The contract of every family of models. Inherit it, give the fixtures, and pytest runs it on yours.

    class TestMine(FamilyContract):
        @pytest.fixture
        def kind(self): return MINE

        @pytest.fixture
        def teacher(self): return TeacherFacts("t", "mine", layers=4, width=64, ...)

Teacher and choices must be tiny: every test builds models. `pytest.register_assert_rewrite("distilsearch.testing")` in
a conftest gives failures their values.
"""

import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ..architecture import Architecture
from ..errors import InputError
from ..families import Family, Projection, TeacherFacts, family_of
from ..lowering import flops, operators, parameter_count, tabulate
from ..operators import Serving

VOCABULARY = 97
CHOICES: dict[str, list[Any]] = {"layers": [1, 2], "width": [32, 64], "heads": [2, 4], "ffn": [48, 64]}


def random_ids() -> Any:
    """(3, 16) token ids."""
    return torch.randint(2, VOCABULARY, (3, 16), generator=torch.Generator().manual_seed(0))


def _calls(kind: Family, model: Any, projections: Sequence[Projection]) -> list[tuple[Projection, Any, Any]]:
    """Each projection with the input and the output of its module, once per run of that module."""
    calls: list[tuple[Projection, Any, Any]] = []

    def watch(one: Projection) -> Any:
        return one.module.register_forward_hook(lambda module, given, made: calls.append((one, given[0], made)))

    hooks = [watch(one) for one in projections]
    with torch.no_grad():
        kind.encode(model, {"input_ids": random_ids()})
    for hook in hooks:
        hook.remove()
    return [(one, given.detach(), made.detach()) for one, given, made in calls]


def _placed(kind: Family, model: Any) -> dict[tuple[int | None, Any], Any]:
    """Parameters by their name, those of a layer by their place in it."""
    made: dict[tuple[int | None, Any], Any] = {}
    for name, parameter in model.named_parameters():
        layer = kind.layer_of(name)
        place = name if layer is None else sum(one == layer for one, _ in made)
        made[layer, place] = parameter
    return made


class FamilyContract:
    """What the house relies on in a family."""

    @pytest.fixture
    def kind(self) -> Family:
        """The family."""
        raise NotImplementedError("give the fixture `kind`: your family")

    @pytest.fixture
    def teacher(self, kind: Family) -> TeacherFacts:
        """Facts of a tiny teacher of the family, with a vocabulary of 97 and 40 positions."""
        raise NotImplementedError("give the fixture `teacher`: facts of a tiny teacher")

    @pytest.fixture
    def heads(self, kind: Family) -> Sequence[str]:
        """The heads that students may have."""
        return ("embedding", "mlm")

    @pytest.fixture
    def choices(self, kind: Family) -> Mapping[str, Sequence[Any]]:
        """Small choices of the genes that a teacher leaves open."""
        return CHOICES

    @pytest.fixture
    def students(self, kind: Family, heads: Sequence[str], choices: Mapping[str, Sequence[Any]]) -> list[Architecture]:
        """Some small students of each head."""
        drawn: list[Architecture] = []
        for head in heads:
            space = kind.space({**choices, "vocabulary": [VOCABULARY], "positions": [40], "head": [head]})
            drawn += space.decode(space.sample(4, np.random.default_rng(0)))
        return drawn

    def test_parameters_are_counted_as_the_model_has_them(self, kind: Family, students: list[Architecture]) -> None:
        for student in students:
            assert parameter_count(student) == sum(p.numel() for p in kind.build(student).parameters())

    def test_what_is_served_has_the_right_shape(self, kind: Family, students: list[Architecture]) -> None:
        ids = random_ids()
        for student in students:
            with torch.no_grad():
                served = kind.serve(kind.build(student), student, ids, torch.ones_like(ids))
            if student["head"] == "embedding":
                assert served.shape == (3, student["width"])
                torch.testing.assert_close(served.norm(dim=-1), torch.ones(3))
            else:
                assert served.shape == (3, 16, VOCABULARY)

    def test_logits_are_the_decoded_transform_of_the_last_states(
        self, kind: Family, students: list[Architecture]
    ) -> None:
        ids = random_ids()
        for student in (s for s in students if s["head"] != "embedding"):
            model = kind.build(student)
            with torch.no_grad():
                hidden = kind.encode(model, {"input_ids": ids}).last_hidden_state
                logits = kind.decode(model, kind.transform(model, hidden.flatten(0, 1)))
                expected = kind.serve(model, student, ids, torch.ones_like(ids))
            torch.testing.assert_close(logits.view_as(expected), expected, rtol=1e-4, atol=1e-5)

    def test_every_layer_shows_its_states(self, kind: Family, students: list[Architecture]) -> None:
        for student in students:
            with torch.no_grad():
                output = kind.encode(kind.build(student), {"input_ids": random_ids()}, every_layer=True)
            assert len(output.hidden_states) == int(student["layers"]) + 1
            assert all(state.shape == (3, 16, student["width"]) for state in output.hidden_states)
            torch.testing.assert_close(output.hidden_states[-1], output.last_hidden_state)

    @pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
    def test_saved_students_are_stock(self, kind: Family, students: list[Architecture], tmp_path: Path) -> None:
        from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

        loaders: dict[Any, Any] = {
            "embedding": AutoModel,
            "mlm": AutoModelForMaskedLM,
            "causal": AutoModelForCausalLM,
        }
        ids = random_ids()
        for student in (students[0], students[-1]):
            model = kind.build(student)
            model.save_pretrained(str(tmp_path / student.key))
            stock = loaders[student["head"]].from_pretrained(str(tmp_path / student.key)).eval()
            with torch.no_grad():
                served = [kind.serve(m, student, ids, torch.ones_like(ids)) for m in (model, stock)]
            torch.testing.assert_close(*served)

    def test_projections_are_what_their_modules_compute(self, kind: Family, students: list[Architecture]) -> None:
        for student in students:
            model = kind.build(student)
            layers = kind.layers(model)
            assert len(layers) == student["layers"]
            assert all(layer.query.outputs == layer.output.inputs for layer in layers)
            assert all(layer.down.inputs == student["ffn"] for layer in layers)
            projections = [one for layer in layers for one in layer[:5]]
            calls = _calls(kind, model, projections)
            assert {id(one) for one, _, _ in calls} == set(map(id, projections))
            for one, given, made in calls:
                shifts = one.of(made) - given @ one.weight.detach().T  # a bias, the same for every token
                torch.testing.assert_close(shifts, shifts[:1, :1].expand_as(shifts), rtol=0, atol=1e-4)

    def test_every_layer_has_parameters_of_its_own(self, kind: Family, students: list[Architecture]) -> None:
        for student in students:
            model = kind.build(student)
            places = {name: kind.layer_of(name) for name, _ in model.named_parameters()}
            assert set(places.values()) == {None, *range(int(student["layers"]))}
            for place, layer in enumerate(kind.layers(model)):
                own = {id(p) for name, p in model.named_parameters() if places[name] == place}
                assert all(id(p) in own for one in layer[:5] for p in one.module.parameters())

    def test_idle_parameters_change_nothing_that_is_served(self, kind: Family, students: list[Architecture]) -> None:
        ids = random_ids()
        for student in students:
            model = kind.build(student)
            with torch.no_grad():
                before = kind.serve(model, student, ids, torch.ones_like(ids))
                for name, parameter in model.named_parameters():
                    if kind.idle(name):
                        parameter.add_(1.0)
                torch.testing.assert_close(kind.serve(model, student, ids, torch.ones_like(ids)), before)

    def test_it_generates_or_refuses_to(self, kind: Family, students: list[Architecture]) -> None:
        student, ids = students[-1], random_ids()
        model = kind.build(student)
        try:
            kind.sites(Serving(phase="decode"))
        except InputError:
            with pytest.raises(InputError):
                kind.prefill(model, ids)
            with pytest.raises(InputError):
                kind.decode_step(model, ids[:, :1], None)
            return
        with torch.no_grad():
            whole = kind.serve(model, student, ids, torch.ones_like(ids))
            first, cache = kind.prefill(model, ids[:, :-1])
            torch.testing.assert_close(first, whole[:, -2], rtol=1e-4, atol=1e-5)
            for _ in range(2):  # the cache is as long as before
                step = kind.decode_step(model, ids[:, -1:], cache)
                torch.testing.assert_close(step, whole[:, -1], rtol=1e-4, atol=1e-5)

    def test_tables_over_codes_equal_sums_over_operators(self, kind: Family) -> None:
        space, serving = kind.space(), Serving(batch=3, sequence=20)
        codes = space.sample(50, np.random.default_rng(1))
        table = tabulate(space, serving, lambda ops: np.array([[o.flops, o.parameters] for o in ops], dtype=float))
        for row, architecture in zip(table(codes), space.decode(codes), strict=True):
            assert row[0] == flops(architecture, serving)
            assert row[1] == parameter_count(architecture)

    def test_the_teacher_is_an_architecture_of_its_family(self, kind: Family, teacher: TeacherFacts) -> None:
        architecture = kind.architecture(teacher)
        config = kind.config(architecture)
        assert kind.facts(config, "t", teacher.head) == teacher
        assert 0 < kind.longest(config) <= teacher.positions
        assert operators(architecture, Serving())

    def test_its_teachers_are_found_by_their_type(self, kind: Family) -> None:
        assert family_of(kind.teachers[0]) is kind

    def test_a_student_of_the_teachers_own_shape_inherits_everything(self, kind: Family, teacher: TeacherFacts) -> None:
        architecture = kind.architecture(teacher)
        torch.manual_seed(0)
        own, student = kind.build(architecture), kind.build(architecture)
        kind.inherit(student, own, architecture)
        for mine, theirs in zip(student.parameters(), own.parameters(), strict=True):
            assert torch.equal(mine, theirs)

    def test_every_student_of_a_teacher_inherits(
        self, kind: Family, teacher: TeacherFacts, choices: Mapping[str, Sequence[Any]]
    ) -> None:
        torch.manual_seed(0)
        own = kind.build(kind.architecture(teacher))
        space = kind.space({gene: given for gene, given in choices.items() if gene != "vocabulary"}, teacher)
        for architecture in space.decode(space.sample(6, np.random.default_rng(0))):
            student = kind.build(architecture)
            before = student.get_input_embeddings().weight.clone()
            kind.inherit(student, own, architecture)
            assert all(p.isfinite().all() for p in student.parameters())
            moved = not torch.equal(student.get_input_embeddings().weight, before)
            assert moved == kind.words_inherited(architecture, teacher)

    def test_slices_of_the_teacher_are_its_smaller_models_where_a_family_says_so(
        self, kind: Family, teacher: TeacherFacts, students: list[Architecture]
    ) -> None:
        assert set(kind.sliced) <= set(kind.space(teacher=teacher).names)
        places = _placed(kind, kind.build(kind.architecture(teacher)))
        for architecture in students if kind.sliced else []:
            for place, parameter in _placed(kind, kind.build(architecture)).items():
                if architecture["head"] == teacher.head:
                    assert parameter.dim() == places[place].dim()
                    assert all(map(operator.le, parameter.shape, places[place].shape))

    def test_heads_and_units_stand_in_the_order_of_a_guide_that_asks_for_it(
        self, kind: Family, teacher: TeacherFacts
    ) -> None:
        if not kind.sliced:
            return
        own, size = kind.architecture(teacher), teacher.width // teacher.heads
        whole, ordered = kind.build(own), kind.build(own)
        importances = {name: torch.arange(teacher[name]).expand(teacher.layers, -1) for name in ("heads", "ffn")}
        guide = {"basis": torch.eye(teacher.width), "gain": torch.tensor(1.0), "ordered": torch.tensor(True)}
        kind.inherit(ordered, whole, own, guide | importances)
        for mine, theirs in zip(kind.layers(ordered), kind.layers(whole), strict=True):
            assert torch.equal(mine.down.weight, theirs.down.weight.flip(1))
            rows = theirs.query.weight.view(teacher.heads, size, -1).flip(0)
            assert torch.equal(mine.query.weight, rows.reshape(teacher.width, -1))

    def test_a_space_with_a_teacher_takes_its_constants_and_its_limits(
        self, kind: Family, teacher: TeacherFacts
    ) -> None:
        space = kind.space({"layers": [1, 2, teacher.layers], "width": [32, 64], "heads": [2]}, teacher)
        sample = space.decode(space.sample(20, np.random.default_rng(0)))
        assert {a["vocabulary"] for a in sample} == {teacher.vocabulary}
        assert max(int(a["ffn"]) for a in sample) <= teacher.ffn
        smaller = kind.space({"layers": [2, teacher.layers + 1]}, teacher)
        assert {a["layers"] for a in smaller.decode(smaller.sample(20, np.random.default_rng(0)))} == {2}
        with pytest.raises(InputError, match=f"more than the teacher's {teacher.layers}"):
            kind.space({"layers": [teacher.layers + 1]}, teacher)
        with pytest.raises(InputError, match="the teacher's own"):
            kind.space({"vocabulary": [50]}, teacher)

    def test_inheritance_is_no_gene_of_a_student_as_deep_as_its_teacher(
        self, kind: Family, teacher: TeacherFacts
    ) -> None:
        sizes = {"layers": [teacher.layers], "width": [64], "heads": [4], "ffn": [64]}
        space = kind.space(sizes, teacher)
        assert len({a["inherit"] for a in space.decode(space.grid(10_000))}) == 1
