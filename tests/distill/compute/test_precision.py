"""What autocast leaves slow on CPUs: attention, which stays as exact, shared inputs are rounded once."""

import contextlib
from typing import Any

import pytest
import torch
from torch.nn.functional import linear, scaled_dot_product_attention

from distilsearch.distill.compute import precision as module
from distilsearch.distill.compute.precision import Bfloat16Kernels, kernels, resolve_precision
from distilsearch.home import home


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"attn_mask": torch.zeros(8, 8, dtype=torch.bfloat16)}])
def test_attention_and_its_gradient(options: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    wide = [torch.randn(2, 3, 8, 16, generator=generator).bfloat16().float().requires_grad_() for _ in range(3)]
    narrow = [x.detach().bfloat16().requires_grad_() for x in wide]
    with torch.autocast("cpu", torch.bfloat16), kernels("bf16"):
        ours = scaled_dot_product_attention(*narrow, **options)
    assert ours.dtype == torch.bfloat16
    exact = scaled_dot_product_attention(*wide, is_causal="is_causal" in options)
    torch.testing.assert_close(ours.float(), exact, rtol=0, atol=0.02)
    ours.float().square().sum().backward()  # type: ignore[no-untyped-call]
    exact.square().sum().backward()
    for x, y in zip(narrow, wide, strict=True):
        assert x.grad is not None
        assert y.grad is not None
        torch.testing.assert_close(x.grad.float(), y.grad, rtol=0.05, atol=0.05)


def test_a_shared_input_is_rounded_once_with_the_same_outcome() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weights = torch.randn(4, 8, generator=generator), [torch.randn(6, 8, generator=generator) for _ in range(3)]
    outcomes = []
    for context in (contextlib.nullcontext(), kernels("bf16")):
        ours = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16), context:
            made = [linear(ours, w) for w in weights]
        torch.stack(made).float().sum().backward()
        outcomes.append((made, ours.grad))
    torch.testing.assert_close(outcomes[0][0], outcomes[1][0], rtol=0, atol=0)
    torch.testing.assert_close(outcomes[0][1], outcomes[1][1], rtol=0.02, atol=0.02)  # summed before it is widened
    with kernels("bf16"):
        assert linear(x, weights[0]).dtype == torch.float32  # outside autocast nothing changes


def test_other_precisions_and_devices_keep_their_kernel() -> None:
    assert isinstance(kernels("bf16", "cpu"), Bfloat16Kernels)
    for precision, device in (("float32", "cpu"), ("bf16", "cuda")):
        assert isinstance(kernels(precision, device), contextlib.nullcontext)


def test_the_first_probe_of_a_home_settles_what_auto_means(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["bf16", "float32", "float32"]
    monkeypatch.setattr(module, "_faster", lambda device: answers.pop(0))
    assert [resolve_precision("auto") for _ in range(3)] == ["bf16"] * 3
    (note,) = (home() / "precision").glob("*.json")
    note.write_text("damaged")
    assert [resolve_precision("auto") for _ in range(2)] == ["float32"] * 2
    monkeypatch.setattr(module, "_hardware", lambda device: "another processor")
    assert len(answers) == 1
    assert resolve_precision("auto") == "float32"
    assert not answers
