"""Every loss against a naive float64 oracle written from its definition."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from distilsearch.distill import losses

Array = npt.NDArray[np.float64]


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def _relation_oracle(student: Array, teacher: Array, heads: int) -> float:
    total, rows = 0.0, 0
    for s, t in zip(student, teacher, strict=True):
        for h in range(heads):
            a = s[:, h * s.shape[1] // heads : (h + 1) * s.shape[1] // heads]
            b = t[:, h * t.shape[1] // heads : (h + 1) * t.shape[1] // heads]
            q, p = _softmax(a @ a.T / math.sqrt(a.shape[1])), _softmax(b @ b.T / math.sqrt(b.shape[1]))
            total += float((p * np.log(p / q)).sum())
            rows += len(p)
    return total / rows


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def test_relation_loss_and_its_gradient() -> None:
    student, teacher = _random(2, 5, 12).float().requires_grad_(), _random(2, 5, 24, seed=1)
    loss = losses.relation_loss(student, teacher.float(), 4)
    expected = _relation_oracle(student.detach().double().numpy(), teacher.numpy(), 4)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert student.grad is not None
    step = 1e-5
    for place in [(0, 0, 0), (1, 3, 7), (0, 4, 11)]:
        up, down = (student.detach().double().clone() for _ in range(2))
        up[place] += step
        down[place] -= step
        slope = _relation_oracle(up.numpy(), teacher.numpy(), 4) - _relation_oracle(down.numpy(), teacher.numpy(), 4)
        assert student.grad[place].item() == pytest.approx(slope / (2 * step), rel=1e-3, abs=1e-7)


def test_relation_loss_is_zero_for_equal_states() -> None:
    states = _random(2, 4, 8).float()
    assert losses.relation_loss(states, states, 2).item() == pytest.approx(0, abs=1e-6)


def test_similarity_loss() -> None:
    student = torch.nn.functional.normalize(_random(6, 4), dim=-1)
    teacher = torch.nn.functional.normalize(_random(6, 9, seed=1), dim=-1)
    a, b = student.numpy(), teacher.numpy()
    pairs = [(a[i] @ a[j] - b[i] @ b[j]) ** 2 for i in range(6) for j in range(6) if i != j]
    # The diagonals agree for unit vectors, so leaving them out is only a matter of the divisor.
    assert losses.similarity_loss(student, teacher).item() == pytest.approx(np.mean(pairs), rel=1e-5)


def test_token_and_embedding_losses() -> None:
    student, teacher = _random(2, 3, 4), _random(2, 3, 4, seed=1)
    a, b = student.numpy().reshape(-1, 4), teacher.numpy().reshape(-1, 4)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert losses.token_loss(student, teacher).item() == pytest.approx(1 - cosines.mean(), rel=1e-5)
    unit = [torch.nn.functional.normalize(x.mean(1), dim=-1) for x in (student, teacher)]
    expected = 1 - (unit[0] * unit[1]).sum(-1).mean().item()
    assert losses.embedding_loss(*unit).item() == pytest.approx(expected, rel=1e-5)
    for pooling, index in (("mean", None), ("cls", 0)):
        raw = student.mean(1) if index is None else student[:, index]
        wanted = torch.nn.functional.normalize(raw.float(), dim=-1)
        torch.testing.assert_close(losses.pooled(student, pooling), wanted)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_logits_loss(temperature: float) -> None:
    student, teacher = _random(5, 7), _random(5, 7, seed=1)
    q, p = _softmax(student.numpy() / temperature), _softmax(teacher.numpy() / temperature)
    expected = (p * np.log(p / q)).sum(1).mean() * temperature**2
    assert losses.logits_loss(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("student", "teacher", "heads"), [(256, 384, 8), (384, 384, 12), (320, 384, 8), (7, 5, 1)])
def test_relation_heads_divide_both_widths(student: int, teacher: int, heads: int) -> None:
    assert losses.relation_heads(student, teacher) == heads
