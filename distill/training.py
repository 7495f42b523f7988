"""The one training loop, from a flash of seconds to a full run of days.

A run is a list of steps fixed by text, recipe, tokens and seed. Everything that a step depends on is in its
checkpoint (weights, optimiser moments, step), one safetensors file that is replaced atomically, so a run that
was killed ends with the very weights of one that was not.
"""

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError, TrialError
from distilsearch.home import write_atomically
from distilsearch.progress import Progress, silent

from . import losses
from .adapt import adapt, fold
from .data import Text
from .heldout import heldout_loss
from .precision import autocast, resolve_precision
from .recipes import Recipe
from .student import Student, build_student
from .targets import CACHE_LIMIT, Batch, Targets, relation_modules
from .teacher import Teacher

CHECKPOINT_SECONDS = 60.0
EVALUATIONS = (0.25, 0.5, 1.0)  # shares of the run at which the held-out loss is taken


def distill_student(
    teacher: Teacher,
    architecture: Architecture,
    text: Text,
    recipe: Recipe,
    budget_tokens: int,
    seed: int = 0,
    precision: str = "auto",
    folder: Path | None = None,
    progress: Progress = silent,
    cache_limit: int = CACHE_LIMIT,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Student:
    """Train the student of an architecture on `budget_tokens` tokens; with a `folder`, resume what is there.

    Raises `TrialError` when the training diverges, with the step and what became of the losses.
    """
    if budget_tokens < 1:
        raise InputError(f"the budget must be at least one token, got {budget_tokens}")
    run = start(teacher, architecture, text, recipe, budget_tokens, seed, precision, cache_limit)
    path = folder / "checkpoint.safetensors" if folder else None
    if path:
        run.restore(path)
    started = saved = time.monotonic()
    while run.step < run.steps:
        run.advance()
        if run.step in run.evaluations:
            loss = heldout_loss(teacher, text, run.model, architecture)
            run.curve.append((run.step * run.step_tokens, loss))
        progress("distil", min(run.step * run.step_tokens, budget_tokens), budget_tokens)
        now = time.monotonic()
        if path and now - saved > checkpoint_seconds:
            run.save(path, run.seconds + now - started)
            saved = now
    fold(run.model)
    run.model.eval()
    seconds = run.seconds + time.monotonic() - started
    tokens = run.steps * run.step_tokens
    return Student(architecture, run.model, teacher, run.curve[-1][1], tuple(run.curve), seconds, tokens)


def start(
    teacher: Teacher,
    architecture: Architecture,
    text: Text,
    recipe: Recipe,
    budget_tokens: int,
    seed: int = 0,
    precision: str = "auto",
    cache_limit: int = CACHE_LIMIT,
) -> "Run":
    """A student cut from its teacher, with everything its first step needs."""
    precision = resolve_precision(precision)
    targets = Targets(teacher, text, recipe, precision, cache_limit)
    model, basis = build_student(teacher, architecture, text, seed)
    if recipe.embeddings == "adapt" and teacher.kind == "embedding":  # elsewhere the table is the output head too
        adapt(model, teacher.model(), basis)
    content = [architecture.to_json(), recipe.to_json(), budget_tokens, seed, precision]
    content += [teacher.weights_sha256, text.sha256]
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    step_tokens = targets.rows * text.block
    steps = max(1, round(budget_tokens / step_tokens))
    return Run(model, basis, targets, recipe, precision, steps, step_tokens, key)


def trainable(model: Any, recipe: Recipe) -> list[tuple[str, Tensor]]:
    """The parameters a recipe trains, by name; the others stop asking for gradients."""
    kept = []
    for name, parameter in model.named_parameters():
        frozen = "pooler." in name or ("word_embeddings.weight" in name and recipe.embeddings != "all")
        parameter.requires_grad_(not frozen)
        if not frozen:
            kept.append((name, parameter))
    return kept


@dataclass
class Run:
    """One student in training: what a step needs, and how far it is."""

    model: Any
    basis: Tensor  # (v, w)
    targets: Targets
    recipe: Recipe
    precision: str
    steps: int
    step_tokens: int
    key: str
    step: int = 0
    seconds: float = 0.0
    curve: list[tuple[int, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        named = trainable(self.model, self.recipe)
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        flat = [p for p in self.parameters if p.dim() < 2]
        decayed = [p for p in self.parameters if p.dim() >= 2]
        groups = [{"params": decayed, "weight_decay": self.recipe.weight_decay}, {"params": flat, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=self.recipe.learning_rate, betas=(0.9, 0.98), fused=True)
        self.evaluations = {max(1, round(share * self.steps)) for share in EVALUATIONS}
        self.model.train()

    def advance(self) -> None:
        """One optimiser step."""
        batch = self.targets.batch(self.step)
        rate = self.recipe.learning_rate * schedule(self.step, self.steps, self.recipe.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts = self.losses(batch)
        weights = dict(self.recipe.weights)
        loss = torch.stack([weights[name] * value for name, value in parts.items()]).sum()
        if not math.isfinite(loss.item()):
            values = ", ".join(f"{name} {value.item():g}" for name, value in parts.items())
            raise TrialError(
                f"the training diverged at step {self.step + 1} of {self.steps} ({values}); lower the learning rate"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        self.optimizer.step()
        self.step += 1

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Each loss of the recipe on a batch, not yet weighed."""
        teacher, wanted = self.targets.teacher, [name for name, weight in self.recipe.weights if weight]
        states: dict[str, Tensor] = {}
        last = relation_modules(self.model, -1) if "relation" in wanted else {}
        hooks = [module.register_forward_hook(_keep(states, name)) for name, module in last.items()]
        try:
            with autocast(self.precision):
                states["hidden"] = self.model.base_model(input_ids=batch.input_ids).last_hidden_state
                if "logits" in wanted:
                    chosen = states["hidden"].flatten(0, 1)[batch.masked]
                    states["logits"] = self.model.cls.predictions(chosen)
        finally:
            for hook in hooks:
                hook.remove()
        return {name: self._loss(name, states, batch.targets, teacher) for name in wanted}

    def _loss(self, name: str, states: Mapping[str, Tensor], targets: Mapping[str, Tensor], teacher: Teacher) -> Tensor:
        if name == "relation":
            heads = losses.relation_heads(states["queries"].shape[-1], targets["queries"].shape[-1])
            parts = ("queries", "keys", "values")
            return torch.stack([losses.relation_loss(states[p], targets[p], heads) for p in parts]).sum()
        if name == "logits":
            with torch.no_grad(), autocast(self.precision):
                logits = teacher.model().cls.predictions.decoder(targets["transformed"].float())
            return losses.logits_loss(states["logits"], logits)
        if name == "tokens":
            return losses.token_loss(states["hidden"], self._mapped(targets["hidden"].float()))
        ours = losses.pooled(states["hidden"].float(), teacher.pooling)
        if name == "similarity":
            return losses.similarity_loss(ours, targets["pooled"])
        mapped = torch.nn.functional.normalize(self._mapped(targets["pooled"]), dim=-1)
        return losses.embedding_loss(ours, mapped)

    def _mapped(self, states: Tensor) -> Tensor:
        """Teacher states (..., v) in the student's directions (..., w)."""
        return states if self.basis.shape[0] == self.basis.shape[1] else states @ self.basis

    def save(self, path: Path, seconds: float) -> None:
        """Write all a step depends on, atomically."""
        tensors = {f"model.{name}": p.detach() for name, p in zip(self.names, self.parameters, strict=True)}
        for name, parameter in zip(self.names, self.parameters, strict=True):
            state = self.optimizer.state[parameter]
            tensors |= {f"{moment}.{name}": state[moment] for moment in ("exp_avg", "exp_avg_sq")}
        about = {"key": self.key, "step": self.step, "seconds": seconds, "curve": self.curve}
        write_atomically(path, save(tensors, {"run": json.dumps(about)}))

    def restore(self, path: Path) -> bool:
        """Continue from a checkpoint of the same run; one that is absent, damaged or another run's is ignored."""
        try:
            with safe_open(str(path), framework="pt") as file:
                about = json.loads((file.metadata() or {}).get("run", "{}"))
                if about.get("key") != self.key:
                    return False
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError):
            return False
        self.step, self.seconds = about["step"], about["seconds"]
        self.curve = [(tokens, loss) for tokens, loss in about["curve"]]
        with torch.no_grad():
            for name, parameter in zip(self.names, self.parameters, strict=True):
                parameter.copy_(tensors[f"model.{name}"])
                moments = {moment: tensors[f"{moment}.{name}"] for moment in ("exp_avg", "exp_avg_sq")}
                self.optimizer.state[parameter] = {"step": torch.tensor(float(self.step)), **moments}
        return True


def schedule(step: int, steps: int, warmup: float) -> float:
    """The share of the learning rate at a step: a linear rise over the warm-up, then a linear fall to zero."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return (steps - step) / max(1, steps - rise)


def _keep(states: dict[str, Tensor], name: str) -> Any:
    def hook(module: Any, inputs: Any, output: Tensor) -> None:
        states[name] = output

    return hook
