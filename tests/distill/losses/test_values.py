"""Every loss against a naive float64 oracle written from its definition."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from distilsearch.distill.losses import layer_map
from distilsearch.distill.losses.attention import attention_loss
from distilsearch.distill.losses.embedding import embedding_loss
from distilsearch.distill.losses.features import feature_loss
from distilsearch.distill.losses.hard import hard_loss
from distilsearch.distill.losses.hidden import hidden_loss
from distilsearch.distill.losses.logits import logits_loss
from distilsearch.distill.losses.mean import mean_loss
from distilsearch.distill.losses.next_sentence import next_sentence_loss
from distilsearch.distill.losses.relation import relation_heads, relation_loss
from distilsearch.distill.losses.relation_mse import relation_mse
from distilsearch.distill.losses.similarity import similarity_loss
from distilsearch.distill.losses.tokens import token_loss
from distilsearch.distill.losses.variance import variance_loss
from distilsearch.distill.losses.words import chunked
from distilsearch.distill.states import pooled
from distilsearch.distill.teachers.ending import Ending

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
    loss = relation_loss(student, teacher.float(), 4)
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
    assert relation_loss(states, states, 2).item() == pytest.approx(0, abs=1e-6)


def test_similarity_loss() -> None:
    student = torch.nn.functional.normalize(_random(6, 4), dim=-1)
    teacher = torch.nn.functional.normalize(_random(6, 9, seed=1), dim=-1)
    a, b = student.numpy(), teacher.numpy()
    pairs = [(a[i] @ a[j] - b[i] @ b[j]) ** 2 for i in range(6) for j in range(6) if i != j]
    # The diagonals agree for unit vectors, so leaving them out is only a matter of the divisor.
    assert similarity_loss(student, teacher).item() == pytest.approx(np.mean(pairs), rel=1e-5)


def test_token_and_embedding_losses() -> None:
    student, teacher = _random(2, 3, 4), _random(2, 3, 4, seed=1)
    a, b = student.numpy().reshape(-1, 4), teacher.numpy().reshape(-1, 4)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert token_loss(student, teacher).item() == pytest.approx(1 - cosines.mean(), rel=1e-5)
    unit = [torch.nn.functional.normalize(x.mean(1), dim=-1) for x in (student, teacher)]
    expected = 1 - (unit[0] * unit[1]).sum(-1).mean().item()
    assert embedding_loss(*unit).item() == pytest.approx(expected, rel=1e-5)
    for pooling, index in (("mean", None), ("cls", 0)):
        raw = student.mean(1) if index is None else student[:, index]
        wanted = torch.nn.functional.normalize(raw.float(), dim=-1)
        torch.testing.assert_close(pooled(student, Ending(pooling)), wanted)


def test_padding_is_no_part_of_the_token_loss() -> None:
    student, teacher = _random(2, 3, 4), _random(2, 3, 4, seed=1)
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    shown = mask.bool()
    assert token_loss(student, teacher, mask).item() == pytest.approx(token_loss(student[shown], teacher[shown]).item())


def test_the_gradient_of_the_token_loss() -> None:
    ours, theirs = (_random(2, 3, 4).requires_grad_() for _ in range(2))
    teacher = _random(2, 3, 4, seed=1)
    token_loss(ours, teacher).backward()  # type: ignore[no-untyped-call]
    (1 - torch.nn.functional.cosine_similarity(theirs, teacher, dim=-1).mean()).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_logits_loss(temperature: float) -> None:
    student, teacher = _random(5, 7), _random(5, 7, seed=1)
    q, p = _softmax(student.numpy() / temperature), _softmax(teacher.numpy() / temperature)
    expected = (p * np.log(p / q)).sum(1).mean() * temperature**2
    assert logits_loss(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("student", "teacher", "heads"), [(256, 384, 8), (384, 384, 12), (320, 384, 8), (7, 5, 1)])
def test_relation_heads_divide_both_widths(student: int, teacher: int, heads: int) -> None:
    assert relation_heads(student, teacher) == heads


@pytest.mark.parametrize("softmax", [True, False])
def test_relation_mse(softmax: bool) -> None:
    student, teacher = _random(2, 5, 12), _random(2, 5, 24, seed=1)
    total = []
    for s, t in zip(student.numpy(), teacher.numpy(), strict=True):
        for h in range(4):
            a, b = s[:, 3 * h : 3 * h + 3], t[:, 6 * h : 6 * h + 6]
            x, y = a @ a.T / math.sqrt(3), b @ b.T / math.sqrt(6)
            total.append((_softmax(x) - _softmax(y)) ** 2 if softmax else (x - y) ** 2)
    assert relation_mse(student, teacher, 4, softmax).item() == pytest.approx(np.mean(total), rel=1e-5)


def test_attention_loss_averages_neighbouring_heads() -> None:
    q, k = _random(2, 5, 8), _random(2, 5, 8, seed=1)
    tq, tk = _random(2, 5, 24, seed=2), _random(2, 5, 24, seed=3)

    def maps(queries: Array, keys: Array, heads: int) -> Array:
        size = queries.shape[-1] // heads
        cut = [slice(h * size, (h + 1) * size) for h in range(heads)]
        every = [_softmax(queries[..., c] @ keys[..., c].swapaxes(-1, -2) / math.sqrt(size)) for c in cut]
        return np.stack(every)  # (heads, b, s, s)

    ours = maps(q.numpy(), k.numpy(), 2)
    theirs = maps(tq.numpy(), tk.numpy(), 6).reshape(2, 3, 2, 5, 5).mean(1)
    expected = (theirs * np.log(theirs / ours)).sum(-1).mean()
    assert attention_loss((q, k), (tq, tk), (2, 6)).item() == pytest.approx(expected, rel=1e-5)
    same = attention_loss((q, k), (q, k), (2, 2)).item()
    assert same == pytest.approx(0, abs=1e-6)


def test_hidden_features_mean_and_variance() -> None:
    student, teacher = _random(2, 3, 8), _random(2, 3, 8, seed=1)
    a, b = student.numpy(), teacher.numpy()
    assert hidden_loss(student, teacher).item() == pytest.approx(((a - b) ** 2).mean(), rel=1e-5)

    def normal(x: Array) -> Array:
        return np.asarray((x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5))

    expected = ((normal(a) - normal(b)) ** 2).mean()
    assert feature_loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    wide = _random(2, 3, 24, seed=2)
    mean, variance = mean_loss(student, wide), variance_loss(student, wide)
    assert mean.item() == pytest.approx(((a.mean(-1) - wide.numpy().mean(-1)) ** 2).mean(), rel=1e-5)
    assert variance.item() == pytest.approx(((a.var(-1) - wide.numpy().var(-1)) ** 2).mean(), rel=1e-5)


def test_hard_loss() -> None:
    logits, labels = _random(5, 7), torch.tensor([0, 6, 3, 3, 1])
    chances = _softmax(logits.numpy())
    expected = -np.log(chances[np.arange(5), labels.numpy()]).mean()
    assert hard_loss(logits, labels).item() == pytest.approx(expected, rel=1e-5)


def test_next_sentence_loss() -> None:
    logits, follows = _random(6, 2), torch.tensor([0, 1, 1, 0, 1, 0])
    chances = _softmax(logits.numpy())
    expected = -np.log(chances[np.arange(6), 1 - follows.numpy()]).mean()
    assert next_sentence_loss(logits, follows).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("chunk", [1, 3, 4, 100])
def test_chunks_change_neither_loss_nor_gradient(chunk: int) -> None:
    hidden, table, teacher = _random(10, 4), _random(4, 9, seed=1), _random(10, 9, seed=2)

    def loss(states: Tensor, wanted: Tensor) -> Tensor:
        return logits_loss(states @ table, wanted, 2.0)

    whole, parts = (hidden.clone().requires_grad_() for _ in range(2))
    expected, got = loss(whole, teacher), chunked(loss, chunk, parts, teacher)
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()  # type: ignore[no-untyped-call]
    got.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(parts.grad, whole.grad, rtol=1e-5, atol=1e-7)


def test_layer_maps() -> None:
    assert layer_map("uniform", 3, 12) == [(3,), (7,), (11,)]
    assert layer_map("last", 3, 12) == [(9,), (10,), (11,)]
    assert layer_map("uniform+last", 3, 12) == [(3, 9), (7, 10), (11, 11)]
    assert layer_map("final", 3, 12) == [(), (), (11,)]
    assert layer_map("uniform", 4, 2) == [(0,), (0,), (0,), (1,)]  # a student may be deeper
