"""The training of a super-network: its identity, and the steps that train several sub-networks of the same weights.

A step is one batch with one set of the teacher's targets. Each sub-network of the rule runs on it and adds its
gradients to the shared ones, one after the other, and the optimiser takes one step: in memory are weights, gradients
and moments of the largest, and the activations of one sub-network at a time.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError, RunError, unknown
from distilsearch.space import SearchSpace

from ..job import Training
from ..losses import LOSSES
from ..recipes import Recipe
from ..steps.runs import Run
from ..targets.batch import Batch
from ..targets.objective import Objective
from ..teachers.teacher import Teacher
from .nest import RULES, Nest
from .slices import Shared

AT_HAND = 8  # sub-networks whose skeletons are kept between steps


@dataclass(frozen=True)
class SuperTraining:
    """What the weights of a super-network depend on: a training, and the sub-networks that share it.

    `training.tokens` are those of the text, each counted once, however many sub-networks see it; 0 leaves the weights
    as they are cut from the teacher.
    """

    training: Training
    largest: Architecture
    space: Mapping[str, Any]  # `Nest.to_json` of the sub-space
    rule: str = "sandwich"

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise unknown("rule of a super-network", self.rule, RULES)

    @classmethod
    def of(cls, training: Training, space: SearchSpace, teacher: Teacher, rule: str = "sandwich") -> "SuperTraining":
        """The training of a sub-space; an `InputError` says why its members cannot share weights."""
        nest = Nest.of(space, teacher.facts)
        return cls(training, nest.largest, nest.to_json(), rule)

    def at(self, tokens: int) -> "SuperTraining":
        """The same at another length."""
        return replace(self, training=self.training.at(tokens))

    @property
    def key(self) -> str:
        """A sha256 over everything that the weights depend on."""
        return _sha256(self.to_json())

    @property
    def way(self) -> str:
        """A sha256 that is the same for all lengths: a longer training goes on from a shorter one's checkpoints."""
        return _sha256(self.at(0).to_json())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        own = {"largest": self.largest.to_json(), "space": dict(self.space), "rule": self.rule}
        return {"training": self.training.to_json(), **own}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "SuperTraining":
        """The inverse of `to_json`; a field that this version does not know is refused by name."""
        if strange := sorted(set(data) - {"training", "largest", "space", "rule"}):
            raise RunError(f"a super-network with {', '.join(strange)} was written by a newer version of distilsearch")
        training, largest = Training.from_json(data["training"]), Architecture.from_json(data["largest"])
        return cls(training, largest, dict(data["space"]), str(data["rule"]))


def check_recipe(recipe: Recipe, teacher: Teacher) -> None:
    """Refuse recipes whose losses sub-networks cannot share, and those made for another kind of teacher."""
    weighed = [name for name, weight in recipe.weights if weight]
    if headed := [name for name in weighed if LOSSES[name].head is not None]:
        raise InputError(
            f"the recipe {recipe.name!r} trains a head of its own beside each student (losses {', '.join(headed)}), "
            "and sub-networks of one super-network share all they train; choose a recipe without, such as autodistil, "
            "relation or embedding"
        )
    if recipe.progressive:
        raise InputError(
            f"the recipe {recipe.name!r} transfers layer by layer, and the layers of sub-networks are shared by others "
            "at other places; choose a recipe with progressive = 0"
        )
    for name in weighed:
        if teacher.kind not in LOSSES[name].kinds:
            raise InputError(
                f"the loss {name!r} needs a teacher of kind {' or '.join(LOSSES[name].kinds)}; {teacher.name} is of "
                f"kind {teacher.kind!r}: choose {LOSSES[name].instead}"
            )


class SuperRun(Run):
    """A super-network in training: a `Run` of the largest whose steps train the sub-networks of a rule."""

    def __init__(self, nest: Nest, rule: str, *run: Any) -> None:
        super().__init__(*run)
        self.nest, self.rule = nest, RULES[rule]
        named = list(zip(self.names, self.parameters, strict=True))
        self.gradients = {name: torch.zeros_like(parameter) for name, parameter in named}
        self.shared = Shared(self.objective.architecture, self.model, self.objective.basis.cpu(), self.gradients)
        self._objectives: OrderedDict[Architecture, Objective] = OrderedDict()

    def members(self, step: int) -> list[Architecture]:
        """The sub-networks that a step trains."""
        return self.rule(self.nest, self.targets.seed, step)

    def _backward(self, batch: Batch, stage: int | None, divisor: int) -> float:
        """Sum the gradients of the step's sub-networks; the mean of their losses."""
        batch = batch.to(self.accelerator.device)
        for gradient in self.gradients.values():
            gradient.zero_()
        self.shared.reached.clear()
        losses = []
        for member in self.members(self.step):
            self.forward = self._objective(member)
            losses.append(super()._backward(batch, stage, divisor))
        for name, parameter in zip(self.names, self.parameters, strict=True):
            reached = name in self.shared.reached  # what no sub-network reaches is left alone
            parameter.grad = self.gradients[name] if reached else None
        return sum(losses) / len(losses)

    def _ignorance(self, batch: Batch, stage: int | None) -> float:
        """The mean over the sub-networks of a step."""
        losses = []
        for member in self.members(self.step):
            self.forward = self._objective(member)
            losses.append(super()._ignorance(batch, stage))
        return sum(losses) / len(losses)

    def _objective(self, member: Architecture) -> Objective:
        """The losses of a sub-network; those met last are kept."""
        made = self._objectives.get(member)
        if made is None:
            own = self.objective
            model, basis = self.shared.view(member).train(), self.shared.basis_of(member)
            made = Objective(own.teacher, member, own.recipe, model, basis, own.precision)
            made.basis = basis.to(self.accelerator.device)
            self._objectives[member] = made
        self._objectives.move_to_end(member)
        while len(self._objectives) > AT_HAND:
            self._objectives.popitem(last=False)
        return made


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
