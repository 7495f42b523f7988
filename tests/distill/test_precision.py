"""Attention of a bfloat16 model runs in float32 on CPUs, and is at least as exact."""

import contextlib

import torch
from torch.nn.functional import scaled_dot_product_attention

from distilsearch.distill.precision import FloatAttention, attention


def test_attention_is_widened_and_narrowed_again() -> None:
    generator = torch.Generator().manual_seed(0)
    wide = [torch.randn(2, 3, 8, 16, generator=generator) for _ in range(3)]
    narrow = [x.bfloat16().requires_grad_() for x in wide]
    with torch.autocast("cpu", torch.bfloat16), attention("bf16"):
        ours = scaled_dot_product_attention(*narrow)
    assert ours.dtype == torch.bfloat16
    exact = scaled_dot_product_attention(*(x.detach().float() for x in narrow))
    torch.testing.assert_close(ours, exact.bfloat16(), rtol=0, atol=0)
    ours.sum().backward()
    assert all(x.grad is not None and x.grad.dtype == torch.bfloat16 for x in narrow)
    with attention("bf16"):
        masked = scaled_dot_product_attention(*narrow, attn_mask=torch.zeros(8, 8, dtype=torch.bfloat16))
        torch.testing.assert_close(masked, ours)


def test_other_precisions_and_devices_keep_their_kernel() -> None:
    assert isinstance(attention("bf16", "cpu"), FloatAttention)
    for precision, device in (("float32", "cpu"), ("bf16", "cuda")):
        assert isinstance(attention(precision, device), contextlib.nullcontext)
