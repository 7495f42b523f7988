"""Weights that are shared by slices: one stock model holds them, and smaller stock models look at its top-left corners.

A smaller model is a skeleton of its own stock class, built without memory, whose parameters are views of the shared
ones. What an optimiser does to the shared weights is seen in all of them at once; the gradient of a view is added to
its corner of the shared gradient as soon as a backward pass has it, and given up: none is padded, and no two are kept.

Notation
    L, l       layers of the largest model, of a smaller one; layer i of l is layer floor(i L / l) of L
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from distilsearch.architecture import Architecture
from distilsearch.errors import TrialError
from distilsearch.families import Family, family

from ..steps.adapt import AdaptedEmbedding


def sliced_layers(layers: int, deepest: int) -> list[int]:
    """The layer of the largest model that each layer of a smaller one is: AutoDistil's rule (arXiv 2201.12507).

    >>> sliced_layers(4, 6), sliced_layers(6, 6)
    ([0, 1, 3, 4], [0, 1, 2, 3, 4, 5])
    """
    return [i * deepest // layers for i in range(layers)]


def origins(kind: Family, names: list[str], shared: list[str], layers: list[int]) -> dict[str, str]:
    """The parameter of the largest model that each parameter of a smaller one is cut from, by name."""
    of_layer: dict[int | None, list[str]] = {}
    for name in shared:
        of_layer.setdefault(kind.layer_of(name), []).append(name)
    place: dict[int | None, int] = {}
    made = {}
    for name in names:
        layer = kind.layer_of(name)
        if layer is None:
            made[name] = name
            continue
        made[name] = of_layer[layers[layer]][place.get(layer, 0)]
        place[layer] = place.get(layer, 0) + 1
    return made


def corner(weight: Tensor, shape: torch.Size) -> Tensor:
    """The top-left corner of a weight: a view."""
    if weight.dim() != len(shape) or any(part > whole for part, whole in zip(shape, weight.shape, strict=True)):
        raise TrialError(f"no slice of shape {tuple(shape)} can be cut from a weight of {tuple(weight.shape)}")
    return weight[tuple(slice(0, part) for part in shape)]


class Shared:
    """The weights of the largest model, and the smaller models that are slices of them.

    Args:
        largest: the architecture of the model.
        model: its weights; they must stay where they are in memory while slices are in use.
        basis: (v, w) of the model, its directions in descending importance.
        gradients: by the names of parameters, where the gradients of slices are added; without any, none are taken.
    """

    def __init__(
        self, largest: Architecture, model: Any, basis: Tensor, gradients: Mapping[str, Tensor] | None = None
    ) -> None:
        self.largest, self.whole, self.basis = largest, model, basis
        self.gradients = gradients or {}
        self.reached: set[str] = set()  # the parameters whose gradients have had something added since it was cleared
        self._kind = family(largest.family)
        self._parameters = dict(model.named_parameters())
        self._buffers = dict(model.named_buffers())

    def basis_of(self, architecture: Architecture) -> Tensor:
        """(v, w) of a smaller model: the first of the largest one's directions."""
        return self.basis[:, : int(architecture["width"])].contiguous()

    def view(self, architecture: Architecture) -> Any:
        """The stock model of an architecture, its parameters views of the shared ones."""
        skeleton = self._skeleton(architecture)
        layers = sliced_layers(int(architecture["layers"]), int(self.largest["layers"]))
        own = dict(skeleton.named_parameters())
        names = origins(self._kind, list(own), list(self._parameters), layers)
        made = {id(own[name]): self._slice(names[name], parameter.shape) for name, parameter in own.items()}
        for module in skeleton.modules():
            for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
                setattr(module, name, made[id(parameter)])
        for path, buffer in list(skeleton.named_buffers()):
            holder, _, name = path.rpartition(".")
            setattr(skeleton.get_submodule(holder), name, corner(self._buffers[path], buffer.shape))
        return skeleton

    def cut(self, architecture: Architecture) -> Any:
        """The stock model of an architecture, with weights of its own that are copies of the slices."""
        return copy.deepcopy(self.view(architecture)).eval()

    def _slice(self, name: str, shape: torch.Size) -> nn.Parameter:
        weight = self._parameters[name]
        trained = name in self.gradients
        made = nn.Parameter(corner(weight.detach(), shape), requires_grad=trained)
        if trained:
            made.register_post_accumulate_grad_hook(self._adder(name, shape))  # type: ignore[no-untyped-call]
        return made

    def _adder(self, name: str, shape: torch.Size) -> Callable[[Tensor], None]:
        """What takes the gradient of a slice as soon as it is there."""
        place = corner(self.gradients[name], shape)

        def add(parameter: Tensor) -> None:
            assert parameter.grad is not None
            place.add_(parameter.grad)
            parameter.grad = None
            self.reached.add(name)

        return add

    def _skeleton(self, architecture: Architecture) -> Any:
        with torch.device("meta"):
            skeleton = self._kind.build(architecture, self.whole.config)
        words = self.whole.get_input_embeddings()
        if isinstance(words, AdaptedEmbedding):
            shape = (words.map.shape[0], int(architecture["width"]))
            skeleton.set_input_embeddings(AdaptedEmbedding(words.table, torch.empty(shape, device="meta")))
        return skeleton
