"""What autocast leaves slow on CPUs: attention is widened and as exact, shared inputs are rounded once."""

import contextlib

import torch
from torch.nn.functional import linear, scaled_dot_product_attention

from distilsearch.distill.precision import Bfloat16Kernels, kernels


def test_attention_is_widened_and_narrowed_again() -> None:
    generator = torch.Generator().manual_seed(0)
    wide = [torch.randn(2, 3, 8, 16, generator=generator) for _ in range(3)]
    narrow = [x.bfloat16().requires_grad_() for x in wide]
    with torch.autocast("cpu", torch.bfloat16), kernels("bf16"):
        ours = scaled_dot_product_attention(*narrow)
    assert ours.dtype == torch.bfloat16
    exact = scaled_dot_product_attention(*(x.detach().float() for x in narrow))
    torch.testing.assert_close(ours, exact.bfloat16(), rtol=0, atol=0)
    ours.sum().backward()
    assert all(x.grad is not None and x.grad.dtype == torch.bfloat16 for x in narrow)
    with kernels("bf16"):
        masked = scaled_dot_product_attention(*narrow, attn_mask=torch.zeros(8, 8, dtype=torch.bfloat16))
        torch.testing.assert_close(masked, ours)


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
