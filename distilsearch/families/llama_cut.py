"""How a decoder's weights are cut: rotated, folded, grouped, so that a slice of the teacher still speaks.

Notation
    P          (v, w) orthonormal columns: the part of the residual stream that is kept
    g          a norm's weights; RMSNorm(h) g W = RMSNorm(h) (g W), so g moves into W and the stream may be rotated
    h, k, d    query heads, key-value heads, head size of the student; capitals for the teacher's

Rotating after folding is SliceGPT's (arXiv 2401.15024). Smaller heads keep evenly spaced rotary pairs, whose
frequencies are those of the smaller head. Fewer keys and values a query means averaging neighbours, as in
grouped-query conversion (arXiv 2305.13245); equal ratios keep whole groups, the most important ones.
"""

from collections.abc import Mapping
from typing import Any

from ..architecture import Architecture
from .shared import best, copy_parts

BEFORE = "model.layers."  # what stands before the number of a layer in the names of parameters

NORM_BEFORE = {"q_proj": "input_layernorm", "k_proj": "input_layernorm", "v_proj": "input_layernorm"} | {
    "gate_proj": "post_attention_layernorm",
    "up_proj": "post_attention_layernorm",
}
BACK = ("o_proj", "down_proj")  # these write to the residual stream


def cut_weights(student: Any, teacher: Any, architecture: Architecture, guide: Mapping[str, Any] | None) -> None:
    """Copy into the student what it keeps of the teacher."""
    cutter = Cutter(student.config, teacher.config, dict(teacher.named_parameters()), guide)
    copy_parts(student, teacher, architecture, BEFORE, lambda name, weight, shape, layer: cutter.cut(name, layer))


class Cutter:
    """The maps between two configurations, and what they make of each weight."""

    def __init__(self, student: Any, teacher: Any, source: Mapping[str, Any], guide: Mapping[str, Any] | None) -> None:
        import torch

        self.student, self.teacher, self.source, self.guide = student, teacher, source, guide
        self.whole = student.hidden_size == teacher.hidden_size
        self.basis = guide["basis"] if guide else torch.eye(teacher.hidden_size)[:, : student.hidden_size]
        self.gain = guide["gain"] if guide else 1.0
        self.tied = bool(student.tie_word_embeddings)

    def cut(self, name: str, layer: int) -> Any:
        """One teacher parameter at the student's size."""
        weight = self.source[name]
        part = name.split(".")[-2]
        if part.endswith("norm"):
            return self._norm(weight, final=part == "norm")
        if part == "lm_head":
            return self._read(weight, self.source["model.norm.weight"])
        if part == "embed_tokens":
            return weight if self.whole else weight @ self.basis
        if part in BACK:
            return self._write(weight, self._columns(part, layer))
        if weight.dim() == 2:
            weight = self._read(weight, self.source[f"{BEFORE}{layer}.{NORM_BEFORE[part]}.weight"])
        return self._rows(part, layer, weight)

    def _norm(self, weight: Any, final: bool) -> Any:
        """The norm left after its weights moved on; before a tied output table they cannot move."""
        import torch

        if self.whole:
            return weight
        if final and self.tied:
            return self.basis.square().T @ weight * self.gain
        return torch.full((self.student.hidden_size,), float(self.gain))

    def _read(self, weight: Any, norm: Any) -> Any:
        """A weight (o, v) that reads the residual stream -> (o, w)."""
        return weight if self.whole else (weight * norm) @ self.basis

    def _write(self, weight: Any, columns: Any) -> Any:
        """A weight (v, i) that writes the residual stream -> (w, columns); a bias (v) -> (w)."""
        if weight.dim() == 2:
            weight = weight.index_select(1, columns)
        return weight if self.whole else self.basis.T @ weight

    def _rows(self, part: str, layer: int, weight: Any) -> Any:
        if part in ("gate_proj", "up_proj"):
            return weight.index_select(0, self._units(layer))
        groups, queries = self._heads(layer)
        size = self.teacher_size
        if part == "q_proj":
            scale = (self.student.head_dim / size) ** 0.5  # the sum over a head has fewer terms
            return weight.index_select(0, self._places(queries)) * scale
        merged = weight.view(-1, size, *weight.shape[1:])[groups].mean(1)  # (k, D, ...)
        return merged.index_select(1, self._pairs()).flatten(0, 1)

    def _columns(self, part: str, layer: int) -> Any:
        return self._units(layer) if part == "down_proj" else self._places(self._heads(layer)[1])

    @property
    def teacher_size(self) -> int:
        """The head size of the teacher."""
        own = getattr(self.teacher, "head_dim", None)
        return int(own or self.teacher.hidden_size // self.teacher.num_attention_heads)

    def _units(self, layer: int) -> Any:
        import torch

        importance = self.guide["ffn"][layer] if self.guide else -torch.arange(self.teacher.intermediate_size)
        return best(importance, self.student.intermediate_size)

    def _pairs(self) -> Any:
        """The places within a head that are kept: evenly spaced rotary pairs."""
        import torch

        size, half = self.student.head_dim, self.teacher_size // 2
        pairs = torch.arange(size // 2) * self.teacher_size // size
        return torch.cat([pairs, pairs + half])

    def _places(self, heads: Any) -> Any:
        """The rows of all kept places of the given heads."""
        return (heads[:, None] * self.teacher_size + self._pairs()).flatten()

    def _heads(self, layer: int) -> tuple[Any, Any]:
        """Which teacher key-value heads are averaged into each student's one (k, m), and the query heads (h,)."""
        import torch

        many, few = self.teacher.num_attention_heads, self.teacher.num_key_value_heads
        groups, each = (
            self.student.num_key_value_heads,
            self.student.num_attention_heads // self.student.num_key_value_heads,
        )
        importance = self.guide["heads"][layer] if self.guide else -torch.arange(many).float()
        by_group = importance.view(few, many // few)  # (K, H / K)
        merge = -(-each // (many // few))
        if groups * merge > few:  # ratios that do not fit: neighbours are shared
            members = (torch.arange(groups * merge) * few // (groups * merge)).view(groups, merge)
        else:
            strength = by_group.topk(min(each, many // few), dim=1).values.sum(1)
            members = best(strength, groups * merge).view(groups, merge)
        queries = []
        for group in members:
            owned = (group[:, None] * (many // few) + torch.arange(many // few)).flatten()
            queries.append(owned[best(importance[owned], each)])
        return members, torch.cat(queries)
