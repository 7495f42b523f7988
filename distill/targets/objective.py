"""What a step minimises: the student, the heads of losses that stand beside it, and the losses a recipe weighs.

One module, so that gradient synchronisation, device and precision see one thing. Heads (`projections`) are trained with
the student and saved in the run's checkpoint; of them the judge of pairs alone goes into the student's folder. What a
loss needs is read from its `Loss`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError
from distilsearch.families import family

from ..compute.precision import autocast
from ..losses import LOSSES, Step, layer_map
from ..quality import NEXT_SENTENCE
from ..recipes import Recipe
from ..states import STATES
from ..students.judge import Judge, judge_of
from ..teachers.teacher import Teacher
from .batch import Batch
from .watch import look

TRANSFER = {"attention": 0.5, "features": 0.5}  # what a layer learns while the others are frozen


def transferred(kind: str) -> list[str]:
    """The names of the losses of `TRANSFER` that a kind of teacher has what is needed for."""
    return [name for name in TRANSFER if kind in LOSSES[name].kinds]


class Objective(nn.Module):
    """The losses of one student; `forward` gives each of the recipe's, not yet weighed."""

    basis: Tensor  # (v, w)

    def __init__(
        self, teacher: Teacher, architecture: Architecture, recipe: Recipe, model: Any, basis: Tensor, precision: str
    ) -> None:
        super().__init__()
        self.student = model
        self.teacher, self.architecture, self.recipe, self.precision = teacher, architecture, recipe, precision
        self.family = family(architecture.family)
        self.ending = teacher.ending.cut(basis)
        self.wanted = [name for name, weight in recipe.weights if weight]
        self.register_buffer("basis", basis, persistent=False)
        self._check()
        self.map = layer_map(recipe.mapping, int(architecture["layers"]), teacher.facts.layers)
        used = {*self.wanted, *(TRANSFER if recipe.progressive else ())}
        many = max(1, *(len(layers) for layers in self.map), 1)
        self.projections = nn.ModuleDict(
            {name: loss.head(basis, many) for name, loss in LOSSES.items() if name in used and loss.head is not None}
        )
        if self.judge is not None and self._inherits and (own := judge_of(teacher)) is not None:
            self.projections[NEXT_SENTENCE] = own.cut(basis.cpu()).requires_grad_(True)

    def _check(self) -> None:
        for name in self.wanted:
            loss, kind = LOSSES[name], self.teacher.kind
            if kind not in loss.kinds:
                raise InputError(
                    f"the loss {name!r} needs a teacher of kind {' or '.join(loss.kinds)}; "
                    f"{self.teacher.name} is of kind {kind!r}: choose {loss.instead}"
                )

    @property
    def judge(self) -> Judge | None:
        """The head that tells pairs, where the recipe trains one."""
        return next((head for head in self.projections.children() if isinstance(head, Judge)), None)

    @property
    def _inherits(self) -> bool:
        """Whether what reads the student's states may begin as what reads the teacher's."""
        return self.architecture.family == self.teacher.facts.family and self.architecture["inherit"] != "none"

    @property
    def kept(self) -> float:
        """The share of the teacher's layers that the student starts with; 0 unless it inherits them at full width."""
        whole = self.basis.shape[0] == self.basis.shape[1] and self.architecture["inherit"] != "none"
        same = self.architecture.family == self.teacher.facts.family
        return min(1.0, int(self.architecture["layers"]) / self.teacher.facts.layers) if whole and same else 0.0

    @property
    def units(self) -> float:
        """The share of the teacher's feed-forward units that each layer of the student keeps."""
        return min(1.0, int(self.architecture["ffn"]) / self.teacher.facts.ffn)

    @property
    def knows_words(self) -> bool:
        """Whether the student's word table is cut from the teacher's; else it begins at random."""
        return self.family.words_inherited(self.architecture, self.teacher.facts)

    def forward(self, batch: Batch, stage: int | None = None) -> dict[str, Tensor]:
        """Each loss of the recipe on a batch, by name; with a `stage`, those that transfer this one layer."""
        names = self.wanted if stage is None else transferred(self.teacher.kind)
        step = self._step(batch, names, stage)
        heads = dict(self.projections.items())
        return {name: LOSSES[name].value(replace(step, head=heads.get(name))) for name in names}

    def _step(self, batch: Batch, names: Sequence[str], stage: int | None) -> Step:
        """Run the student on a batch: all that losses take, of student and teacher."""
        asked = {state for name in names for state in LOSSES[name].student}
        facts, values = self.teacher.facts, self.architecture.values
        return Step(
            student=look(
                self.family,
                self.student,
                batch,
                [name for name in STATES if name in asked],
                layer=-1,
                types=int(values.get("types", 0)),
                pooling=self.ending,
                precision=self.precision,
            ),
            teacher=batch.targets,
            basis=self.basis,
            layers=tuple((i, mapped) for i, mapped in enumerate(self.map) if mapped and stage in (None, i)),
            heads=(int(values.get("heads", 1)), facts.heads),
            pooling=self.ending,
            temperature=self.recipe.temperature,
            labels=batch.labels,
            follows=batch.follows,
            share=batch.share,
            attention_mask=batch.attention_mask,
            decode=self._decode,
            teacher_decode=self._teacher_decode,
        )

    def _decode(self, hidden: Tensor) -> Tensor:
        """The student's logits (k, vocabulary) of hidden states (k, w)."""
        with autocast(self.precision, hidden.device.type):
            logits: Tensor = self.family.decode(self.student, self.family.transform(self.student, hidden))
        return logits

    def _teacher_decode(self, transformed: Tensor) -> Tensor:
        """The teacher's logits (k, vocabulary) of transformed states (k, v)."""
        with autocast(self.precision, transformed.device.type):
            made: Tensor = family(self.teacher.facts.family).decode(self.teacher.model(), transformed.float())
        return made
