"""A loss as a value: what it asks of teacher and student, and what it makes of that.

Notation
    b, s       sequences in the batch, tokens a sequence
    w, v       student width, teacher width (they may differ)
    k          words that are asked for
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from distilsearch.errors import unknown

from ..states import STATES
from ..teachers.ending import PLAIN, Ending, unturned

KINDS = ("embedding", "mlm", "causal")
Decode = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Step:
    """What a loss sees of one batch. Only what it asks for is there to rely on."""

    student: Mapping[str, Any]  # states of the student, shapes as in `STATES` with the width w
    teacher: Mapping[str, Tensor]  # states of the teacher, with the width v
    basis: Tensor  # (v, w): the student's directions in the teacher's stream
    layers: tuple[tuple[int, tuple[int, ...]], ...] = ()  # student layers, each with those it learns from, from 0
    heads: tuple[int, int] = (1, 1)  # attention heads of student and teacher
    pooling: Ending = PLAIN  # how a student's states become the vector of a text
    temperature: float = 1.0
    labels: Tensor | None = None  # (k,) the words that are asked for
    follows: Tensor | None = None  # (b,) of pairs, whether the second half follows the first
    share: float = 1.0  # what a mean over words weighs beside those of the batch's other parts; see `Batch.share`
    attention_mask: Tensor | None = None  # (b, s) 1 where a token stands, 0 where padding does; None without padding
    decode: Decode | None = None  # (k, w) -> the student's logits (k, vocabulary)
    teacher_decode: Decode | None = None  # (k, v) as "transformed" -> the teacher's logits
    head: nn.Module | None = None  # the loss's own, trained beside the student

    def mapped(self, states: Tensor) -> Tensor:
        """Teacher states (..., v) in the student's directions (..., w)."""
        return states if unturned(self.basis) else states @ self.basis

    def aligned(self, vectors: Tensor, width: int) -> Tensor:
        """The teacher's vectors of texts (b, o) as a student's of some width is to give them.

        What a Dense module or a truncation has put into a space of its own is that space's in both.
        """
        if not self.pooling.projects:
            return self.mapped(vectors)
        return vectors if vectors.shape[1] == width else vectors @ self.basis[: vectors.shape[1], :width]

    def over_layers(self, compare: Callable[[int, int], Tensor]) -> Tensor:
        """The mean of a comparison (student layer, teacher layer) over all pairs of mapped layers."""
        return torch.stack([compare(layer, theirs) for layer, mapped in self.layers for theirs in mapped]).mean()

    def over_states(self, compare: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The mean over layers of a comparison of states (b, s, w) with the mapped layers' side by side (b, s, m v)."""
        values = []
        for layer, mapped in self.layers:
            theirs = torch.cat([self.teacher["states"][place].float() for place in mapped], dim=-1)
            values.append(compare(self.student["states"][layer].float(), theirs))
        return torch.stack(values).mean()


@dataclass(frozen=True)
class Loss:
    """A loss that recipes may weigh.

    Args:
        about: what it compares, in words.
        value: its value on a batch, not yet weighed: a scalar, differentiable in the student's states.
        student, teacher: the `STATES` that it looks at; the teacher's are cached as targets.
        kinds: the kinds of teacher it is made for.
        instead: what to choose where the teacher is of another kind.
        pairs: whether each block is shown as two halves that may not follow each other.
        padded: whether it leaves padding out, so that sequences may be padded.
        whole: whether it compares the sequences of a batch with each other, so that no batch can be shared.
        head: (basis (v, w), most teacher layers a student layer learns from) -> a module that is trained beside the
            student and thrown away; a `judge.Judge` is saved with it.
    """

    about: str
    value: Callable[[Step], Tensor]
    student: tuple[str, ...] = ("hidden",)
    teacher: tuple[str, ...] = ()
    kinds: tuple[str, ...] = KINDS
    instead: str = "another recipe"
    pairs: bool = False
    padded: bool = False
    whole: bool = False
    head: Callable[[Tensor, int], nn.Module] | None = field(default=None)

    def __post_init__(self) -> None:
        for name in (*self.student, *self.teacher):
            if name not in STATES:
                raise unknown("state of a model that a loss asks for", name, STATES)
        for kind in self.kinds:
            if kind not in KINDS:
                raise unknown("kind of teacher that a loss is for", kind, KINDS)


def projection(basis: Tensor, many: int) -> nn.Module:
    """From a student's states (b, s, w) to those of its mapped teacher layers, side by side (b, s, many v)."""
    linear = nn.Linear(basis.shape[1], many * basis.shape[0], bias=False)
    with torch.no_grad():
        linear.weight.copy_(basis.repeat(many, 1))
    return linear


def projected(step: Step, states: Tensor) -> Tensor:
    """A student's states through the loss's own head."""
    assert step.head is not None
    made: Tensor = step.head(states)
    return made
