"""What a step minimises: the student, the projections that stand beside it, and the losses a recipe weighs.

One module, so that gradient synchronisation, device and precision see one thing. Projections are trained with the
student and saved in the run's checkpoint, never in the student's folder.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError
from distilsearch.families import family

from . import losses
from .batch import Batch
from .precision import autocast
from .recipes import Recipe
from .teacher import Teacher
from .watch import watched

CHUNK = 1024  # rows of logits at a time
PROJECTED = ("hidden", "features")
RELATIONS = {"relation": losses.relation_loss, "relation_mse": losses.relation_mse}
LAYERWISE = (*PROJECTED, "mean", "variance", "attention")  # losses of mapped layers
TRANSFER = {"attention": 0.5, "features": 0.5}  # what a layer learns while the others are frozen


class Objective(nn.Module):
    """The losses of one student; `forward` gives each of the recipe's, not yet weighed."""

    basis: Tensor  # (v, w)

    def __init__(
        self, teacher: Teacher, architecture: Architecture, recipe: Recipe, model: Any, basis: Tensor, precision: str
    ) -> None:
        super().__init__()
        self.student = model
        self.teacher, self.architecture, self.recipe, self.precision = teacher, architecture, recipe, precision
        self.kind = family(architecture.family)
        self.wanted = [name for name, weight in recipe.weights if weight]
        self.register_buffer("basis", basis, persistent=False)
        self._check()
        self.map = losses.layer_map(recipe.mapping, int(architecture["layers"]), teacher.facts.layers)
        self.projections = nn.ModuleDict(
            {
                name: self._projection()
                for name in PROJECTED
                if name in self.wanted or (recipe.progressive and name in TRANSFER)
            }
        )
        if "next_sentence" in self.wanted:
            self.projections["next_sentence"] = self._judge()

    def _check(self) -> None:
        known = {"logits": ("mlm", "causal"), "hard": ("mlm", "causal"), "next_sentence": ("mlm",)}
        known |= dict.fromkeys(("embedding", "similarity"), ("embedding",))
        for name in self.wanted:
            if self.teacher.kind not in known.get(name, (self.teacher.kind,)):
                raise InputError(
                    f"the loss {name!r} needs a teacher of kind {' or '.join(known[name])}; "
                    f"{self.teacher.name} is of kind {self.teacher.kind!r}: choose another recipe"
                )
        if self.teacher.kind == "causal" and "attention" in self.wanted:
            raise InputError("attention maps are compared for encoders only; choose the loss 'relation'")

    @property
    def kept(self) -> float:
        """The share of the teacher's layers that the student starts with at their full width."""
        whole = self.basis.shape[0] == self.basis.shape[1] and self.architecture["inherit"] != "none"
        same = self.architecture.family == self.teacher.facts.family
        return min(1.0, int(self.architecture["layers"]) / self.teacher.facts.layers) if whole and same else 0.0

    @property
    def knows_words(self) -> bool:
        """Whether the student's word table is cut from the teacher's; one that is wider begins at random."""
        facts, width = self.teacher.facts, int(self.architecture.values.get("embedding", 0))
        return self.architecture["inherit"] != "none" and width <= (facts.embedding or facts.width)

    def _projection(self) -> nn.Module:
        """From the student's states to those of its mapped teacher layers, side by side."""
        width, many = self.basis.shape[1], max(1, *(len(layers) for layers in self.map), 1)
        projection = nn.Linear(width, many * self.basis.shape[0], bias=False)
        with torch.no_grad():
            projection.weight.copy_(self.basis.repeat(many, 1))
        return projection

    def _judge(self) -> nn.Module:
        """Tells from the first token's state whether two segments follow each other; it begins undecided."""
        judge = nn.Linear(self.basis.shape[1], 2)
        nn.init.zeros_(judge.weight)
        nn.init.zeros_(judge.bias)
        return judge

    def forward(self, batch: Batch, stage: int | None = None) -> dict[str, Tensor]:
        """Each loss of the recipe on a batch; in a stage, those of the transfer of one layer."""
        names = self.wanted if stage is None else [n for n in TRANSFER if n != "attention" or self._has_maps]
        states: dict[str, Any] = {}
        with watched(self.kind.layers(self.student), states, names, self.recipe.layer):
            self._run(batch, names, states)
        return {name: self._loss(name, states, batch, stage) for name in names}

    @property
    def _has_maps(self) -> bool:
        return self.teacher.kind != "causal"

    def _run(self, batch: Batch, names: list[str], states: dict[str, Any]) -> None:
        options: dict[str, Any] = {"use_cache": False} if self.teacher.kind == "causal" else {}
        if any(name in (*PROJECTED, "mean", "variance") for name in names):
            options["output_hidden_states"] = True
        with autocast(self.precision, batch.input_ids.device.type):
            inputs = batch.model_inputs(int(self.architecture.values.get("types", 0)))
            output = self.student.base_model(**inputs, **options)
            states["hidden"] = output.last_hidden_state
            if "output_hidden_states" in options:
                states["layers"] = output.hidden_states[1:]
            if {"logits", "hard"} & set(names):
                states["chosen"] = states["hidden"].flatten(0, 1)[batch.masked]

    def _loss(self, name: str, states: Mapping[str, Any], batch: Batch, stage: int | None) -> Tensor:
        targets = batch.targets
        if name.startswith("relation"):
            return self._relation(name, states, targets)
        if name in ("logits", "hard"):
            return self._words(name, states["chosen"], batch)
        if name == "next_sentence":
            assert batch.follows is not None
            judged = self.projections[name](states["hidden"][:, 0].float())
            return losses.next_sentence_loss(judged, batch.follows)
        if name in LAYERWISE:
            return self._layers(name, states, targets, stage)
        if name == "tokens":
            return losses.token_loss(states["hidden"], self._mapped(targets["hidden"].float()))
        ours = losses.pooled(states["hidden"].float(), self.teacher.pooling)
        if name == "similarity":
            return losses.similarity_loss(ours, targets["pooled"])
        mapped = torch.nn.functional.normalize(self._mapped(targets["pooled"]), dim=-1)
        return losses.embedding_loss(ours, mapped)

    def _relation(self, name: str, states: Mapping[str, Any], targets: Mapping[str, Tensor]) -> Tensor:
        parts = []
        for part in ("queries", "keys", "values"):
            ours, theirs = states[part], targets[part]
            heads = losses.relation_heads(ours.shape[-1], theirs.shape[-1])
            if name == "relation_scores":
                parts.append(losses.relation_mse(ours, theirs, heads, softmax=False))
            else:
                parts.append(RELATIONS[name](ours, theirs, heads))
        return torch.stack(parts).sum()

    def _words(self, name: str, chosen: Tensor, batch: Batch) -> Tensor:
        """The loss of the hidden or next words; logits are made chunk by chunk."""
        if not len(chosen):  # a part of a batch may hide no word
            return chosen.float().sum()
        temperature, decoder, teacher = self.recipe.temperature, family(self.teacher.facts.family), self.teacher

        def logits(hidden: Tensor) -> Tensor:
            with autocast(self.precision, hidden.device.type):
                made: Tensor = self.kind.decode(self.student, self.kind.transform(self.student, hidden))
            return made

        def soft(hidden: Tensor, transformed: Tensor) -> Tensor:
            with torch.no_grad(), autocast(self.precision, hidden.device.type):
                theirs = decoder.decode(teacher.model(), transformed.float())
            return losses.logits_loss(logits(hidden), theirs, temperature)

        def hard(hidden: Tensor, labels: Tensor) -> Tensor:
            return losses.hard_loss(logits(hidden), labels)

        if name == "hard":
            return losses.chunked(hard, CHUNK, chosen, batch.labels) * batch.share
        return losses.chunked(soft, CHUNK, chosen, batch.targets["transformed"]) * batch.share

    def _layers(self, name: str, states: Mapping[str, Any], targets: Mapping[str, Tensor], stage: int | None) -> Tensor:
        """The mean over student layers (or that of one stage) of a loss of mapped layers."""
        values = []
        for layer, mapped in enumerate(self.map):
            if not mapped or stage not in (None, layer):
                continue
            if name == "attention":
                values += [self._attention(states, targets, layer, place) for place in mapped]
                continue
            ours = states["layers"][layer].float()
            theirs = torch.cat([targets["states"][place].float() for place in mapped], dim=-1)
            if name in ("mean", "variance"):
                values.append(losses.distribution_losses(ours, theirs)[name == "variance"])
            else:
                compare = losses.hidden_loss if name == "hidden" else losses.feature_loss
                values.append(compare(self.projections[name](ours), theirs))
        return torch.stack(values).mean()

    def _attention(self, states: Mapping[str, Any], targets: Mapping[str, Tensor], layer: int, place: int) -> Tensor:
        heads = int(self.architecture["heads"]), self.teacher.facts.heads
        ours = states["all_queries"][layer], states["all_keys"][layer]
        return losses.attention_loss(ours, (targets["all_queries"][place], targets["all_keys"][place]), heads)

    def _mapped(self, states: Tensor) -> Tensor:
        """Teacher states (..., v) in the student's directions (..., w)."""
        return states if self.basis.shape[0] == self.basis.shape[1] else states @ self.basis
