"""The contract of every distillation loss. Inherit it and give the fixture `loss`:

    class TestMine(LossContract):
        @pytest.fixture
        def loss(self): return MINE

It needs neither teacher nor student: a loss is a function of the tensors that it asks for. One that needs other tensors
than random ones overrides `step`.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from ..distill.losses import KINDS, Loss, Step
from ..distill.states import STATES

SEQUENCES, TOKENS, LAYERS, DEPTH = 4, 6, 2, 3  # of the student two layers, of the teacher three
WIDTHS = {"student": 12, "teacher": 24}
HEADS = (2, 4)
WORDS, VOCABULARY = 8, 11


def draw(names: Iterable[str], width: int, layers: int, seed: int) -> dict[str, Any]:
    """Random states of a model by their names, in float32."""
    generator = torch.Generator().manual_seed(seed)
    axes = {
        "sequence": (SEQUENCES,),
        "token": (SEQUENCES, TOKENS),
        "word": (WORDS,),
        "layer": (layers, SEQUENCES, TOKENS),
    }
    states = {name: torch.randn(*axes[STATES[name].per], width, generator=generator) for name in names}
    return {n: nn.functional.normalize(x, dim=-1) if n == "pooled" else x for n, x in states.items()}


class LossContract:
    """What the house relies on in a loss."""

    @pytest.fixture
    def loss(self) -> Loss:
        """The loss."""
        raise NotImplementedError("give the fixture `loss`: your loss")

    @pytest.fixture
    def step(self, loss: Loss) -> Step:
        """What the loss sees of a batch: of the states only those that it asks for."""
        generator = torch.Generator().manual_seed(2)
        basis = torch.linalg.qr(torch.randn(WIDTHS["teacher"], WIDTHS["student"], generator=generator)).Q
        tables = [torch.randn(width, VOCABULARY, generator=generator) / width**0.5 for width in WIDTHS.values()]
        student = draw(loss.student, WIDTHS["student"], LAYERS, 0)
        return Step(
            {name: value.requires_grad_() for name, value in student.items()},
            draw(loss.teacher, WIDTHS["teacher"], DEPTH, 1),
            basis,
            layers=((0, (0,)), (1, (2,))),
            heads=HEADS,
            temperature=2.0,
            labels=torch.randint(VOCABULARY, (WORDS,), generator=generator),
            follows=torch.tensor([0, 1, 1, 0]),
            decode=lambda hidden: hidden.float() @ tables[0],
            teacher_decode=lambda states: states.float() @ tables[1],
            head=loss.head(basis, 1) if loss.head else None,
        )

    def test_it_says_what_it_compares_and_for_whom(self, loss: Loss) -> None:
        assert loss.about.strip()
        assert loss.kinds
        assert set(loss.kinds) <= set(KINDS)

    def test_it_is_a_number_that_the_student_can_learn_from(self, loss: Loss, step: Step) -> None:
        value = loss.value(step)
        assert value.shape == ()
        assert value.isfinite()
        value.backward()  # type: ignore[no-untyped-call]
        grads = [state.grad for state in step.student.values()] + [p.grad for p in _weights(step)]
        given = [grad for grad in grads if grad is not None]
        assert given
        assert all(grad.isfinite().all() for grad in given)
        assert any(grad.abs().sum() > 0 for grad in given)

    def test_learning_lowers_it(self, loss: Loss, step: Step) -> None:
        learnt = [*step.student.values(), *_weights(step)]
        optimizer = torch.optim.Adam(learnt, lr=0.02)
        before = loss.value(step).item()
        for _ in range(20):
            optimizer.zero_grad()
            loss.value(step).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        assert loss.value(step).item() < before

    def test_targets_of_bfloat16_change_it_little(self, loss: Loss, step: Step) -> None:
        rounded = {name: STATES[name].stored(value) for name, value in step.teacher.items()}
        whole, short = loss.value(step), loss.value(replace(step, teacher=rounded))
        assert short.item() == pytest.approx(whole.item(), rel=0.05, abs=0.05)

    def test_it_leaves_what_it_is_given_as_it_is(self, loss: Loss, step: Step) -> None:
        before = [value.detach().clone() for value in (*step.student.values(), *step.teacher.values())]
        assert loss.value(step).item() == loss.value(step).item()
        for one, other in zip(before, (*step.student.values(), *step.teacher.values()), strict=True):
            assert torch.equal(one, other)

    def test_parts_of_a_batch_make_the_whole(self, loss: Loss, step: Step) -> None:
        """Processes and accumulation share batches; a loss that cannot be shared says so."""
        if loss.whole:
            pytest.skip("it compares the sequences of a whole batch")
        parts = [loss.value(_part(step, index, 2)).item() for index in range(2)]
        assert sum(parts) / 2 == pytest.approx(loss.value(step).item(), rel=1e-4, abs=1e-6)


def _weights(step: Step) -> list[nn.Parameter]:
    return list(step.head.parameters()) if step.head is not None else []


def _part(step: Step, index: int, parts: int) -> Step:
    """Every other sequence of a batch, with the words that are in it: as many in each part."""
    words = torch.arange(WORDS) % parts == index
    cut = [
        {name: STATES[name].part(value.detach(), index, parts, words) for name, value in states.items()}
        for states in (step.student, step.teacher)
    ]
    assert step.labels is not None
    assert step.follows is not None
    return replace(step, student=cut[0], teacher=cut[1], labels=step.labels[words], follows=step.follows[index::parts])
