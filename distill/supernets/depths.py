"""Sub-networks that differ in depth alone begin with the same layers: what those give is computed once.

Layer i of l is layer floor(i L / l) of the largest, so that of three to six layers of six, eighteen in all, ten differ
in what they are given. The batches of a held-out text come in the same order for every sub-network; what a layer has
given for the n-th of them is what it gives again. Results are the very same numbers.

Notation
    path       the layers of the largest that a sub-network runs through, in order
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from torch import Tensor

from distilsearch.architecture import Architecture
from distilsearch.families import Family, family

from .slices import Shared, sliced_layers

MOST_BYTES = 512 << 20  # of what layers have given, kept at once

T = TypeVar("T")
Path = tuple[int, ...]
Score = Callable[[Any, Architecture], float]


def in_turn(architectures: Sequence[Architecture]) -> list[list[int]]:
    """The places of architectures, those that differ in depth alone together, the deepest first."""

    def rest(place: int) -> str:
        one = architectures[place]
        return Architecture(one.family, {**one.values, "layers": 0}).key

    places = sorted(range(len(architectures)), key=lambda place: (rest(place), -int(architectures[place]["layers"])))
    return [list(group) for _, group in itertools.groupby(places, key=rest)]


def scores(shared: Shared, architectures: Sequence[Architecture], score: Score) -> Iterator[tuple[Architecture, float]]:
    """Each architecture with the score of its model, which is a view of the shared weights, as soon as it is known."""
    deepest, kind = int(shared.largest["layers"]), family(shared.largest.family)
    for group in in_turn(architectures):
        paths = [tuple(sliced_layers(int(architectures[place]["layers"]), deepest)) for place in group]
        given = Given()
        for turn, place in enumerate(group):
            model, later = shared.view(architectures[place]).eval(), paths[turn + 1 :]
            given.take_part(blocks(kind, model), paths[turn], later)
            yield architectures[place], score(model, architectures[place])
            given.forget_all_but(later)


def blocks(kind: Family, model: Any) -> list[Any]:
    """The module of each layer: the innermost that holds all parameters of it."""
    names: dict[int, list[str]] = {}
    for name, _ in model.named_parameters():
        layer = kind.layer_of(name)
        if layer is not None:
            names.setdefault(layer, []).append(name)
    shared = [common([tuple(name.split(".")) for name in names[layer]]) for layer in sorted(names)]
    return [model.get_submodule(".".join(parts)) for parts in shared]


def common(sequences: Sequence[tuple[T, ...]]) -> tuple[T, ...]:
    """The longest beginning of all of them.

    >>> common([(0, 1, 2, 3), (0, 1, 3)])
    (0, 1)
    """
    same = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*sequences, strict=False))
    return tuple(column[0] for column in same)


class Given:
    """What the last layers of some beginnings have given, batch after batch, as long as there is room for it."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._outputs: dict[Path, list[Any]] = {}
        self._room = most_bytes

    def take_part(self, modules: Sequence[Any], path: Path, later: Sequence[Path]) -> None:
        """Let a model's layers give what is known, and write down what models of later paths begin with."""
        known = (one for one in self._outputs if path[: len(one)] == one)
        beginning: Path = max(known, key=len, default=())
        for module in modules[: len(beginning)]:
            module.forward = _again(self._outputs[beginning])
        for fork in {common([path, one]) for one in later}:
            if len(fork) > len(beginning):
                self._outputs[fork] = []
                modules[len(fork) - 1].register_forward_hook(self._writer(fork))

    def forget_all_but(self, later: Sequence[Path]) -> None:
        """Make room of what no later path begins with."""
        for path in [path for path in self._outputs if all(one[: len(path)] != path for one in later)]:
            self._drop(path)

    def _writer(self, path: Path) -> Callable[[Any, Any, Any], None]:
        def write(module: Any, inputs: Any, output: Any) -> None:
            if path in self._outputs:
                self._outputs[path].append(output)
                self._room -= _bytes(output)
                if self._room < 0:
                    self._drop(path)

        return write

    def _drop(self, path: Path) -> None:
        self._room += sum(map(_bytes, self._outputs.pop(path)))


def _again(outputs: Sequence[Any]) -> Callable[..., Any]:
    """A layer that gives, call after call, what one has given before."""
    left = iter(outputs)

    def forward(*inputs: Any, **named: Any) -> Any:
        return next(left)

    return forward


def _bytes(output: Any) -> int:
    tensors = [output] if isinstance(output, Tensor) else [x for x in output if isinstance(x, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
