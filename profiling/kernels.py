"""Operators as torch modules: the same kernels in the same order as the transformers modules they stand for.

What surrounds a product inside a model (reshapes to heads and back, the lookup of position and type, residual
adds) is part of the operator, because a table of bare kernels misses half the cost of small models. Device and
dtype are the caller's to choose; each module makes its own example inputs.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from distilsearch.operators import Operator

Sizes = Mapping[str, Any]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "gelu": functional.gelu,
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """The activation of that name, as transformers computes it."""
    if name not in ACTIVATIONS:
        from transformers.activations import ACT2FN

        computed: Callable[[Tensor], Tensor] = ACT2FN[name]
        return computed
    return ACTIVATIONS[name]


class RmsNorm(nn.Module):
    """Root-mean-square norm, computed in float32 as Llama does."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x (..., width) -> (..., width)."""
        wide = x.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class NoNorm(nn.Module):
    """MobileBERT's element-wise linear stand-in for a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., width) -> (..., width)."""
        return x * self.weight + self.bias


def norm_module(kind: str, width: int) -> nn.Module:
    """The norm called `layer`, `rms` or `none`."""
    if kind == "layer":
        return nn.LayerNorm(width, eps=1e-12)
    return RmsNorm(width) if kind == "rms" else NoNorm(width)


class Kernel(nn.Module):
    """One operator at one size. `inputs` makes what `forward` takes, in that order."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes

    def inputs(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Example inputs, random where their values do not choose the path; float32 or int64."""
        raise NotImplementedError

    def random(self, generator: torch.Generator, *trailing: int) -> Tensor:
        """A float tensor (batch, sequence, *trailing)."""
        return torch.randn(self.sizes["batch"], self.sizes["sequence"], *trailing, generator=generator)


class Embedding(Kernel):
    """Token, type and position lookups, summed and normed (`BertEmbeddings`)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        width = sizes["width"]
        self.tokens = nn.Embedding(sizes["vocabulary"], width)
        self.positions = nn.Embedding(sizes["positions"], width) if sizes["positions"] else None
        self.types = nn.Embedding(sizes["types"], width) if sizes["types"] else None
        self.norm = norm_module(sizes["norm"], width) if sizes["norm"] != "none" else nn.Identity()
        self.register_buffer("position_ids", torch.arange(max(sizes["positions"], sizes["sequence"]))[None])
        self.register_buffer("type_ids", torch.zeros_like(self.get_buffer("position_ids")))

    def inputs(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Token ids (batch, sequence)."""
        shape = (self.sizes["batch"], self.sizes["sequence"])
        return (torch.randint(self.sizes["vocabulary"], shape, generator=generator),)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (b, s) -> (b, s, width)."""
        positions = self.get_buffer("position_ids")[:, : ids.shape[1]]
        x: Tensor = self.tokens(ids)
        if self.types is not None:
            types = torch.gather(self.get_buffer("type_ids"), dim=1, index=positions)
            x = x + self.types(types.expand(ids.shape[0], -1))
        if self.positions is not None:
            x = x + self.positions(positions)
        normed: Tensor = self.norm(x)
        return normed


class Linear(Kernel):
    """A dense layer and its activation (`BertIntermediate`; without activation any projection)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.dense = nn.Linear(sizes["inputs"], sizes["outputs"], bias=bool(sizes["bias"]))
        self.activation = activation(sizes["activation"])

    def inputs(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Activations (b, s, inputs)."""
        return (self.random(generator, self.sizes["inputs"]),)

    def forward(self, x: Tensor) -> Tensor:
        """x (b, s, inputs) -> (b, s, outputs)."""
        return self.activation(self.dense(x))


class Attention(Kernel):
    """Scaled dot-product attention from and to (b, s, heads x head size), with the cache's concatenation.

    No mask is passed, as transformers passes none for unpadded input.
    """

    def inputs(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Queries (b, s, h*d), keys and values (b, s, kv*d), and where cached, both caches (b, kv, cached, d)."""
        s = self.sizes
        narrow = s["kv_heads"] * s["head_size"]
        fresh = [self.random(generator, n) for n in (s["heads"] * s["head_size"], narrow, narrow)]
        shape = (s["batch"], s["kv_heads"], s["cached"], s["head_size"])
        cache = [torch.randn(shape, generator=generator) for _ in range(2 if s["cached"] else 0)]
        return (*fresh, *cache)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *cache: Tensor) -> Tensor:
        """-> (b, s, h*d)."""
        shape = (*q.shape[:-1], -1, self.sizes["head_size"])
        q, k, v = (x.view(shape).transpose(1, 2) for x in (q, k, v))  # (b, heads, s, d)
        if cache:
            k, v = torch.cat([cache[0], k], dim=-2), torch.cat([cache[1], v], dim=-2)
        x = functional.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=self._mask(q, k),
            is_causal=bool(self.sizes["causal"]) and q.shape[2] > 1 and not cache,
            scale=self.sizes["head_size"] ** -0.5,
            enable_gqa=self.sizes["kv_heads"] != self.sizes["heads"],
        )
        return x.transpose(1, 2).contiguous().reshape(*shape[:2], -1).contiguous()

    def _mask(self, q: Tensor, k: Tensor) -> Tensor | None:
        """Only several causal queries over a cache need one: the kernel's own causal mask is not aligned to it."""
        if not self.sizes["causal"] or not self.sizes["cached"] or q.shape[2] == 1:
            return None
        ones = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device)
        return ones.tril(k.shape[2] - q.shape[2])


class Norm(Kernel):
    """A norm, after the residual add where there is one (`BertOutput` without its dense layer)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.norm = norm_module(sizes["norm"], sizes["width"])

    def inputs(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Activations (b, s, width), and the residual ones."""
        return tuple(self.random(generator, self.sizes["width"]) for _ in range(1 + self.sizes["residual"]))

    def forward(self, x: Tensor, *residual: Tensor) -> Tensor:
        """x and residual (b, s, width) -> (b, s, width)."""
        normed: Tensor = self.norm(x + residual[0] if residual else x)
        return normed


class Gate(Kernel):
    """The gated activation of a Llama MLP: act(a) * b."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.activation = activation(sizes["activation"])

    def inputs(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Both branches (b, s, width)."""
        return self.random(generator, self.sizes["width"]), self.random(generator, self.sizes["width"])

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """-> (b, s, width)."""
        return self.activation(a) * b


class Rotary(Kernel):
    """Rotary position embedding of queries and keys (`apply_rotary_pos_emb`)."""

    def inputs(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Queries (b, s, h*d), keys (b, s, kv*d), cosines and sines (b, s, d)."""
        size = self.sizes["head_size"]
        widths = (self.sizes["heads"] * size, self.sizes["kv_heads"] * size, size, size)
        return tuple(self.random(generator, width) for width in widths)

    def forward(self, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """-> queries (b, h, s, d) and keys (b, kv, s, d)."""
        shape = (*q.shape[:-1], -1, self.sizes["head_size"])
        q, k = q.view(shape).transpose(1, 2), k.view(shape).transpose(1, 2)
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        return q * cos + _rotate_half(q) * sin, k * cos + _rotate_half(k) * sin


def _rotate_half(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


class Pooling(Kernel):
    """One vector a text: the masked mean or the first token, of unit length where asked."""

    def inputs(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Hidden states (b, s, width) and the mask (b, s)."""
        x = self.random(generator, self.sizes["width"])
        return x, torch.ones(x.shape[:2], dtype=torch.long)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """-> (b, width)."""
        if self.sizes["pool"] == "mean":
            weights = mask.unsqueeze(-1).to(x.dtype)  # (b, s, 1)
            x = (x * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        else:
            x = x[:, 0]
        return functional.normalize(x, dim=-1) if self.sizes["normalize"] else x


class Head(Kernel):
    """Logits over the vocabulary, after BERT's dense, gelu and norm where asked (`BertLMPredictionHead`)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        width = sizes["width"]
        self.transform = nn.Linear(width, width) if sizes["transform"] else None
        self.norm = nn.LayerNorm(width, eps=1e-12) if sizes["transform"] else None
        self.decoder = nn.Linear(width, sizes["vocabulary"], bias=bool(sizes["transform"]))

    def inputs(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Hidden states (b, s, width)."""
        return (self.random(generator, self.sizes["width"]),)

    def forward(self, x: Tensor) -> Tensor:
        """x (b, s, width) -> (b, s, vocabulary)."""
        if self.transform is not None and self.norm is not None:
            x = self.norm(functional.gelu(self.transform(x)))
        logits: Tensor = self.decoder(x)
        return logits


KERNELS: dict[str, type[Kernel]] = {
    "embedding": Embedding,
    "linear": Linear,
    "attention": Attention,
    "norm": Norm,
    "gate": Gate,
    "rotary": Rotary,
    "pooling": Pooling,
    "head": Head,
}
"""The module of each operator kind."""


def kernel(operator: Operator) -> Kernel:
    """The module of one operator, in float32 on the CPU, in evaluation mode.

    Weights are drawn from torch's global generator: fork it where its state matters.
    """
    return KERNELS[operator.kind](operator.sizes).eval()  # type: ignore[no-any-return, unused-ignore]
