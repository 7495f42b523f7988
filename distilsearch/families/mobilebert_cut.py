"""How a MobileBERT's weights are cut: along coordinates, since its norms scale each one and allow no rotation.

Axes
    residual     the stream between layers, one choice for the whole model: the guide's basis picks coordinates
    bottleneck   the stream within a layer
    shared       what queries and keys are made of
    inner        queries, keys and values: the rows of the most important heads
    ffn          the units of one feed-forward network; of several stacked ones the most important are kept, in order
    output       what the output table takes: first the columns of the word embeddings, which stay, then `extra` ones

Of each layer the places that matter most are kept, by the guide's importances; without a guide what comes first.
"""

from collections.abc import Mapping
from typing import Any

from ..architecture import Architecture
from .encoder import BEFORE
from .shared import best, copy_parts, head_rows

TABLE = "cls.predictions.dense.weight"

AXES: dict[str, tuple[str, ...]] = {  # what each axis of a weight runs over; the first part that fits counts
    "attention.self.value.": ("inner", "residual"),
    "attention.self.": ("inner", "shared"),
    "attention.output.dense.": ("bottleneck", "inner"),
    "bottleneck.attention.": ("shared", "residual"),
    "bottleneck.input.": ("bottleneck", "residual"),
    "output.bottleneck.": ("residual", "bottleneck"),
    "intermediate.dense.": ("ffn", "bottleneck"),
    "output.dense.": ("bottleneck", "ffn"),
    "output.LayerNorm.": ("bottleneck",),
    "word_embeddings.": (),
    "_embeddings.": ("all", "residual"),
    "embeddings.": ("residual", "all"),
    "pooler.dense.": ("residual", "residual"),
    "predictions.transform.": ("output", "residual"),
    "predictions.dense.": ("extra", "all"),
}


def cut_weights(student: Any, teacher: Any, architecture: Architecture, guide: Mapping[str, Any] | None) -> None:
    """Copy into the student what it keeps of the teacher."""
    cutter = Cutter(student.config, teacher.config, dict(teacher.named_parameters()), guide)
    copy_parts(student, teacher, architecture, BEFORE, lambda name, weight, shape, layer: cutter.cut(name, layer))


class Cutter:
    """What is kept along each axis between two configurations, and what that makes of each weight."""

    def __init__(self, student: Any, teacher: Any, source: Mapping[str, Any], guide: Mapping[str, Any] | None) -> None:
        self.student, self.teacher, self.source, self.guide = student, teacher, source, guide

    def cut(self, name: str, layer: int) -> Any:
        """What a student's parameter, named as if in a layer of the teacher, starts from."""
        network = ""
        if _of_network(name):
            network = self._network(name, layer)
            name = _renamed(name, network)
        weight = self.source[name]
        axes = next((axes for part, axes in AXES.items() if part in name), ())
        for axis, kind in enumerate(axes[: weight.dim()]):
            if kind != "all":
                weight = weight.index_select(axis, self._kept(network if kind == "ffn" else kind, layer))
        return weight

    def _network(self, name: str, layer: int) -> str:
        """The teacher's feed-forward network that the student's one starts from."""
        import torch

        networks = feed_forward(self.teacher.num_feedforward_networks)
        strength = -torch.arange(len(networks))
        if self.guide is not None:
            strength = torch.stack([self.guide[one][layer].square().sum() for one in networks])
        places = best(strength, self.student.num_feedforward_networks)
        _, stacked, tail = name.partition(".ffn.")
        return networks[int(places[int(tail.partition(".")[0]) if stacked else -1])]

    def _kept(self, kind: str, layer: int) -> Any:
        """The teacher's places along an axis that the student keeps."""
        import torch

        sizes, teacher = self.student, self.teacher
        if kind == "residual":
            return self.guide["basis"].argmax(0) if self.guide else torch.arange(sizes.hidden_size)
        if kind == "inner":
            return head_rows(self._importance("heads", layer), sizes.true_hidden_size, teacher.true_hidden_size)
        if kind in ("output", "extra"):
            extra = best(self._columns(), sizes.hidden_size - sizes.embedding_size)
            words = torch.arange(teacher.embedding_size)
            return extra if kind == "extra" else torch.cat([words, extra + teacher.embedding_size])
        inner = kind in ("bottleneck", "shared")
        return best(self._importance(kind, layer), sizes.true_hidden_size if inner else sizes.intermediate_size)

    def _importance(self, kind: str, layer: int) -> Any:
        import torch

        if self.guide is not None:
            return self.guide[kind][layer]
        sizes = {"heads": self.teacher.num_attention_heads}
        sizes |= dict.fromkeys(("bottleneck", "shared"), self.teacher.true_hidden_size)
        return -torch.arange(sizes.get(kind, self.teacher.intermediate_size))

    def _columns(self) -> Any:
        """What each column of the table beyond the word embeddings adds to the logits; a norm stands before it."""
        part = self.source[TABLE]  # (columns, vocabulary)
        norm = "cls.predictions.transform.LayerNorm."
        scale = self.source[f"{norm}weight"].square() + self.source[f"{norm}bias"].square()
        return part.square().sum(1) * scale[self.teacher.embedding_size :]


def feed_forward(stacks: int) -> list[str]:
    """The names of a layer's feed-forward networks in the order they run; the last one stands by itself."""
    return [*(f"ffn.{i}" for i in range(stacks - 1)), "ffn"]


def _of_network(name: str) -> bool:
    parts = (".intermediate.", ".output.dense.", ".output.LayerNorm.")
    return BEFORE in name and ".attention." not in name and any(part in name for part in parts)


def _renamed(name: str, network: str) -> str:
    """The name of a parameter of a feed-forward network, as that of another network of its layer."""
    place = name.rindex(".intermediate." if ".intermediate." in name else ".output.")
    layer = name[:place].partition(".ffn.")[0]
    return layer + (f".{network}" if network != "ffn" else "") + name[place:]
