"""A teacher whose layers are run one by one, in any order: what an untrained cut of full width loses.

Of subsets with the same beginning the beginning is run once: all 63 of six layers take 63 passes through one layer.
The teacher's own code runs around its layers: embeddings, masks, last norm and head are as they always are.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from distilsearch.errors import TeacherError
from distilsearch.families import family

from ..heldout.heldout import heldout_loss, teacher_embeddings
from ..teachers.teacher import Teacher
from ..texts.data import Text

Subset = tuple[int, ...]
States = list[Tensor]  # (rows, block, width) of each batch, before a layer
Call = tuple[tuple[Any, ...], dict[str, Any]]  # what a layer is called with beside states


class Peeled:
    """A teacher and the held-out blocks of a text, on the CPU.

    Raises:
        TeacherError: its layers are not in one list, so nobody knows how to run some of them.
    """

    def __init__(self, teacher: Teacher, text: Text) -> None:
        self._teacher, self._text = teacher, text
        self._kind = family(teacher.facts.family)
        self._model = teacher.model("cpu")
        self._place = self._found()
        self._layers: Sequence[Any] = list(self._model.get_submodule(self._place))
        self._calls: list[Call] = []  # of each batch
        self._rest: tuple[Any, ...] | None = None
        if teacher.kind == "embedding":
            teacher_embeddings(teacher, text)  # of the whole teacher, while it is whole

    def losses(
        self,
        subsets: Iterable[Subset],
        told: Callable[[int], None] = lambda done: None,
        going: Callable[[], bool] = lambda: True,
        step: Callable[[int], int] = lambda left: 1,
    ) -> dict[Subset, float]:
        """The loss on the held-out blocks of each subset of layers, in their order, where beginnings are shared most.

        Args:
            told: is called with how many are done.
            going: asked before each; once it says no, those before it are all.
            step: asked after each, with how many follow: which of them is next, 1 the first. Others are left out.
        """
        made: dict[Subset, float] = {}
        path: list[tuple[int, States]] = []
        asked, place = sorted(set(subsets)), 0
        with torch.inference_mode():
            start = self._start()
            while place < len(asked) and going():
                subset = asked[place]
                shared = _shared([layer for layer, _ in path], subset)
                del path[shared:]
                for layer in subset[shared:]:
                    path.append((layer, self._through(layer, path[-1][1] if path else start)))
                made[subset] = self._loss(path[-1][1] if path else start)
                told(len(made))
                place += step(len(asked) - place - 1)
        return made

    def _found(self) -> str:
        """The name of the list that the layers are in."""
        depth = self._teacher.facts.layers
        for name, module in self._model.named_modules():  # from the outside in
            listed = isinstance(module, nn.ModuleList) and len(module) == depth
            if listed and self._kind.layer_of(f"{name}.0.weight") == 0:
                return str(name)
        raise TeacherError(
            f"the layers of {self._teacher.facts.name} are not in one list, so its cuts cannot be judged: name the"
            ' choices of inherit yourself, such as ["even", "last"]'
        )

    def _start(self) -> States:
        """The states before the first layer."""
        recorder = _Recorder(self._layers[0])
        with self._instead(recorder):
            self._run()
        self._calls, self._rest = recorder.calls, recorder.rest
        return recorder.states

    def _through(self, layer: int, states: States) -> States:
        module = self._layers[layer]
        return [_state(module(one, *a, **k)) for one, (a, k) in zip(states, self._calls, strict=True)]

    def _loss(self, states: States) -> float:
        with self._instead(_Constant(states, self._rest)):
            return self._run()

    def _run(self) -> float:
        own = self._kind.architecture(self._teacher.facts)
        return heldout_loss(self._teacher, self._text, self._model, own)

    @contextmanager
    def _instead(self, module: nn.Module) -> Iterator[None]:
        """The teacher with one module in place of all layers."""
        parent, _, name = self._place.rpartition(".")
        owner, layers = self._model.get_submodule(parent), self._model.get_submodule(self._place)
        setattr(owner, name, nn.ModuleList([module]))
        try:
            yield
        finally:
            setattr(owner, name, layers)


class _Recorder(nn.Module):
    """Keeps what the first layer is called with, and passes the states on as they are."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self._layer = [layer]  # in a list it is no part of this module
        self.states: States = []
        self.calls: list[Call] = []
        self.rest: tuple[Any, ...] | None = None  # of what a layer answers beside states; None where those are all

    def forward(self, state: Tensor, *args: Any, **named: Any) -> Any:
        """As a layer is called."""
        self.states.append(state)
        self.calls.append((args, named))
        answer = self._layer[0](state, *args, **named)
        self.rest = answer[1:] if isinstance(answer, tuple) else None
        return state if self.rest is None else (state, *self.rest)


class _Constant(nn.Module):
    """Answers with states that are given, a batch after the other."""

    def __init__(self, states: States, rest: tuple[Any, ...] | None) -> None:
        super().__init__()
        self._left, self._rest = list(states), rest

    def forward(self, *_: Any, **__: Any) -> Any:
        """As a layer is called."""
        state = self._left.pop(0)
        return state if self._rest is None else (state, *self._rest)


def _state(answer: Any) -> Tensor:
    state: Tensor = answer[0] if isinstance(answer, tuple) else answer
    return state


def _shared(path: Sequence[int], subset: Subset) -> int:
    """How many layers two ways have in common from the first on."""
    count = 0
    while count < min(len(path), len(subset)) and path[count] == subset[count]:
        count += 1
    return count
