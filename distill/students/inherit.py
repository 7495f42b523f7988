"""What the teacher shows of itself on a few blocks: which directions, heads and feed-forward units carry it.

Families cut the teacher's weights by these statistics. `basis` maps the teacher's residual stream to the
student's: with P (v, w) orthonormal columns, a hidden state h becomes h P. Where a family's norms allow no
rotation, P picks coordinates.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from distilsearch.families import Layer, Projection, family
from distilsearch.families.shared import best
from distilsearch.home import targets_folder, write_atomically

from ..teachers.teacher import Teacher
from ..texts.data import Text, learnt_name

BLOCKS = 16
SCHEMA = 2


@dataclass(frozen=True, eq=False)
class Statistics:
    """Measured on a few blocks of the text."""

    moments: Tensor  # (layers + 1, v, v) second moments of the hidden states, embeddings first
    heads: Tensor  # (layers, heads) root mean square of each head's contribution to the residual stream
    ffn: Tensor  # (layers, ffn) the same of each feed-forward unit
    inner: Mapping[str, Tensor] = field(default_factory=dict)  # (layers, .) the same of what else a family can cut

    def tensors(self) -> dict[str, Tensor]:
        """Each by its name."""
        return {"moments": self.moments, "heads": self.heads, "ffn": self.ffn, **self.inner}


def statistics(teacher: Teacher, text: Text) -> Statistics:
    """The teacher's statistics on the first blocks of the text; cached."""
    place = partial(_place, teacher)
    path = place(learnt_name(text, place))
    try:
        with safe_open(str(path), framework="pt") as file:
            cached = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Statistics(cached.pop("moments"), cached.pop("heads"), cached.pop("ffn"), cached)
    except (OSError, SafetensorError):
        measured = _measure(teacher, text)
        write_atomically(path, save({k: v.contiguous() for k, v in measured.tensors().items()}))
        return measured


def _place(teacher: Teacher, text: str) -> Path:
    key = hashlib.sha256(f"{SCHEMA} {BLOCKS} {teacher.weights_sha256} {text}".encode()).hexdigest()[:32]
    return targets_folder() / f"statistics-{key}.safetensors"


def basis(shown: Statistics, width: int, rotates: bool = True, ordered: bool = False) -> Tensor:
    """(v, width): the directions that hold most of the hidden states, those of the last layer counted twice.

    Without rotation: the coordinates that hold most of them. At the teacher's own width all coordinates stay, so that
    the student computes what the teacher does.

    `ordered`: coordinates, those that hold most first, though turned directions hold more: a norm of turned states is
    another one. Of all-MiniLM-L6-v2, a super-network of 3 to 6 layers and width 224 to 320 after 40,000 tokens of
    `sandwich`: the largest loses 0.259 (0.288 with turned directions), 5 layers of 288 0.383 (0.408), 4 of 256 0.444
    (0.451), the smallest 0.470 (0.447). Before: 0.293 (0.511), 0.703 (0.630), 0.790 (0.713), 0.790 (0.767).
    """
    v = shown.moments.shape[-1]
    scaled = shown.moments / shown.moments.diagonal(dim1=1, dim2=2).sum(-1)[:, None, None]
    total = scaled.mean(0) + scaled[-1]
    if width >= v and not ordered:  # a student of another family may be wider; what is beyond the teacher's stays free
        return torch.eye(v, width)
    if ordered or not rotates:
        places = torch.cat([best(total.diagonal(), min(v, width), ordered), torch.arange(v, max(v, width))])
        return torch.eye(v, max(v, width))[:, places]
    values, vectors = torch.linalg.eigh(total.double())
    chosen: Tensor = vectors[:, values.argsort(descending=True)[:width]]
    signs = torch.where(chosen.sum(0) < 0, -1.0, 1.0)  # eigenvectors have no sign of their own
    return (chosen * signs).float()


def _measure(teacher: Teacher, text: Text) -> Statistics:
    model, kind = teacher.model("cpu"), family(teacher.facts.family)
    layers = kind.layers(model)
    energies = {name: [torch.zeros(())] * len(layers) for name in _readers(layers[0])}

    def watch(name: str, index: int, group: int, reader: Projection) -> Any:
        def hook(module: Any, inputs: tuple[Tensor, ...]) -> None:
            energy = inputs[0].float().square().mean((0, 1)) * reader.weight.square().sum(0)
            energies[name][index] = energies[name][index] + energy.view(-1, group).sum(-1)

        return hook

    hooks = []
    for index, layer in enumerate(layers):
        for name, readers in _readers(layer).items():
            group = layer.output.inputs // teacher.facts.heads if name == "heads" else 1
            hooks += [reader.module.register_forward_pre_hook(watch(name, index, group, reader)) for reader in readers]
    try:
        ids = torch.from_numpy(text.train[:BLOCKS].astype("int64"))
        with torch.no_grad():
            states = kind.encode(model, {"input_ids": ids}, every_layer=True).hidden_states
    finally:
        for hook in hooks:
            hook.remove()
    flat = torch.stack([state.flatten(0, 1) for state in states])  # (layers + 1, tokens, v)
    inner = {name: torch.stack(energy).sqrt() for name, energy in energies.items()}
    return Statistics(flat.transpose(1, 2) @ flat / flat.shape[1], inner.pop("heads"), inner.pop("ffn"), inner)


def _readers(layer: Layer) -> dict[str, tuple[Projection, ...]]:
    """What can be cut within a layer, and who reads it."""
    return {"heads": (layer.output,), "ffn": (layer.down,), **layer.inner}


def guide(shown: Statistics, width: int, rotates: bool = True, ordered: bool = False) -> Mapping[str, Tensor]:
    """What a family's `inherit` takes: basis and gain of the residual stream, importance of heads and units."""
    chosen = basis(shown, width, rotates, ordered)
    moments = shown.moments[-1]
    share = torch.trace(chosen.T @ moments @ chosen) / torch.trace(moments)
    # A norm gives every stream the same size a coordinate; the kept directions are the larger ones.
    gain = (share * chosen.shape[0] / width).sqrt()
    order = {"ordered": torch.tensor(True)} if ordered else {}
    return {"basis": chosen, "gain": gain, "heads": shown.heads, "ffn": shown.ffn, **shown.inner, **order}
