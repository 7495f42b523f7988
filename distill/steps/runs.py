"""One student in training: a step, what it needs, and its checkpoint."""

import contextlib
import json
import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from distilsearch.errors import TrialError
from distilsearch.families import Family
from distilsearch.home import write_atomically

from ..compute.precision import kernels
from ..heldout.heldout import held_out
from ..heldout.sparing import looks
from ..quality import ACCURACY, LOSS, Held
from ..recipes import Recipe
from ..students.student import Student
from ..targets.batch import Batch
from ..targets.objective import TRANSFER, Objective
from ..targets.targets import Targets
from .adapt import fold, word_table
from .anchor import Anchor
from .drift import Drift
from .schedule import Schedule

EVALUATIONS = (0.25, 0.5, 1.0)  # shares of the run at which the held-out loss is taken
MOMENTS = ("exp_avg", "exp_avg_sq")


def trainable(kind: Family, model: Any, recipe: Recipe, inherited: bool = True) -> list[tuple[str, Tensor]]:
    """The parameters that a recipe trains, by name; the others no longer require gradients.

    A word table is left as it is only if it was cut from the teacher's: a random one is always trained.
    """
    named, table = [], word_table(model)
    for name, parameter in model.named_parameters():
        left = inherited and recipe.embeddings != "all" and parameter is table
        parameter.requires_grad_(not (left or kind.idle(name)))
        if parameter.requires_grad:
            named.append((name, parameter))
    return named


class Run:
    """One student in training: what a step needs, and how far it is.

    Args:
        keys: a checkpoint that carries one of these may belong to this training; its own carry the first.
        accumulate: parts that each batch is computed in.
        quality: what the held-out loss is.
        origin: what the student's card says of the super-network that it was cut from, where it was.
    """

    def __init__(
        self,
        objective: Objective,
        targets: Targets,
        steps: int,
        step_tokens: int,
        keys: Sequence[str],
        accelerator: Accelerator,
        accumulate: int = 1,
        quality: str = LOSS,
        origin: Mapping[str, str] | None = None,
    ) -> None:
        self.quality, self.origin = quality, origin or {}
        self.objective, self.targets = objective, targets
        self.model, self.recipe = objective.student, objective.recipe
        self.steps, self.step_tokens, self.accumulate = steps, step_tokens, accumulate
        self.keys = tuple(keys)
        self.accelerator = accelerator
        self.label = ""  # before the names of what is tracked, where several students are

        objective.to(accelerator.device)
        named = trainable(objective.family, self.model, self.recipe, objective.knows_words)
        named += [(f"projections.{name}", p) for name, p in objective.projections.named_parameters()]
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        self.rate = self.recipe.rate(objective.kept)
        self.schedule = Schedule.of(self.recipe, steps, step_tokens)
        self.optimizer = torch.optim.AdamW(self._groups(), lr=self.rate, betas=(0.9, 0.98), fused=True)
        self.evaluations = {max(1, round(share * steps)) for share in EVALUATIONS} if steps else {0}
        self.model.train()
        self.forward = accelerator.prepare_model(objective)
        own = [p for name, p in named if not name.startswith("projections.")]
        self.anchor = Anchor(own, self.recipe.start_share(objective.kept, objective.units))

        self.step, self.seconds = 0, 0.0
        self.since: Path | None = None  # the checkpoint that it goes on from
        self.curve: list[tuple[int, float]] = []
        self.blocks: dict[int, int] = {}  # by the tokens of a point of the curve: that it is of the first ones alone
        self.beside: dict[int, int] = {}  # the same, of points that have been put beside the end
        self.looks = looks(steps * step_tokens, len(targets.text.heldout), targets.text.block, len(EVALUATIONS) - 1)
        self.held: dict[str, float] = {}  # the parts of the last held-out loss
        self.drift = Drift()

    def _groups(self) -> list[dict[str, Any]]:
        """The optimiser's groups: `scale` is the share of the learning rate that each takes."""
        kinds: dict[str, list[Tensor]] = {"matrices": [], "vectors": [], "words": []}
        table = None if self.objective.knows_words else word_table(self.model)
        for parameter in self.parameters:
            words = parameter is table
            kinds["words" if words else "vectors" if parameter.dim() < 2 else "matrices"].append(parameter)
        decays = {"matrices": self.recipe.weight_decay}
        scales = {"words": self.recipe.word_rate}
        return [
            {"params": params, "weight_decay": decays.get(kind, 0.0), "scale": scales.get(kind, 1.0)}
            for kind, params in kinds.items()
            if params
        ]

    def parts(self, step: int) -> list[Batch]:
        """What this process computes of a step's batch, in as many parts as gradients are accumulated over."""
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        count = processes * self.accumulate
        if count == 1:
            return [self.targets.batch(step)]
        return [self.targets.batch(step, (rank + processes * i, count)) for i in range(self.accumulate)]

    def advance(self, parts: list[Batch] | None = None) -> None:
        """One optimiser step, and the held-out loss where it is due."""
        parts = parts or self.parts(self.step)
        rate = self.rate * self.schedule(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        self.optimizer.zero_grad(set_to_none=True)
        stage, loss = self.stage(self.step), 0.0
        for place, batch in enumerate(parts):
            last = place + 1 == len(parts)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.forward):
                loss += self._backward(batch, stage, len(parts)) / len(parts)
        self._follow(loss, parts[0], stage)
        if stage is not None:
            self._freeze_others(stage)
        self.accelerator.clip_grad_norm_(self.parameters, self.recipe.clip)
        self.optimizer.step()
        self.step += 1
        if self.step == self.steps:
            self.anchor.pull()
        if self.step in self.evaluations:
            self._look()

    def begin(self) -> None:
        """Take the held-out loss before the first step, so that what training brings is known.

        A student whose loss is no number yet has none: training may give it one.
        """
        if self.step or self.curve:
            return
        started = time.monotonic()
        with contextlib.suppress(TrialError):
            self.curve.append((0, self.heldout(self.looks.start).loss))
            self._note_blocks(0, self.looks.start)
        self.seconds += time.monotonic() - started

    def heldout(self, most: int | None = None, also: Collection[int] = ()) -> Held:
        """The student's loss on the held-out blocks, or the first of them, as it is now."""
        targets, own = self.targets, self.objective
        judge = own.judge if self.quality == ACCURACY else None
        on = (targets.teacher, targets.text, self.model, own.architecture)
        held = held_out(*on, ending=own.ending, judge=judge, most=most, also=also)
        self.held = dict(held.parts)
        return held

    def _look(self) -> None:
        """Take the held-out loss on the way, or at the end, which puts the earlier ones beside it (see `sparing`)."""
        tokens, last = self.step * self.step_tokens, self.step == self.steps
        with contextlib.nullcontext() if last else self.anchor.pulled():
            held = self.heldout(None if last else self.looks.between, also={*self.blocks.values()} if last else ())
        if last:
            more = {at: held.loss - held.first[blocks] for at, blocks in self.blocks.items()}
            self.curve = [(at, loss + more.get(at, 0.0)) for at, loss in self.curve]
            self.beside, self.blocks = self.blocks, {}
        else:
            self._note_blocks(tokens, self.looks.between)
        self.curve.append((tokens, held.loss))
        self._track({"heldout": held.loss})

    def _note_blocks(self, tokens: int, blocks: int | None) -> None:
        if blocks is not None:
            self.blocks[tokens] = blocks

    def stage(self, step: int) -> int | None:
        """The layer that is transferred at a step while the others are frozen; none once all are."""
        layers = int(self.objective.architecture["layers"])
        share = self.recipe.progressive * self.steps
        return min(layers - 1, int(step * layers / share)) if step < share else None

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Each loss of the recipe on a batch, not yet weighed."""
        return self._parts(batch, None)

    def _parts(self, batch: Batch, stage: int | None) -> dict[str, Tensor]:
        device = self.accelerator.device
        with kernels(self.objective.precision, device.type):
            parts: dict[str, Tensor] = self.forward(batch.to(device), stage)
        return parts

    def _backward(self, batch: Batch, stage: int | None, divisor: int) -> float:
        """Add a batch's gradients; its loss, the mean over processes."""
        parts = self._parts(batch, stage)
        loss = self._weighed(parts, stage)
        mean, *values = self._everywhere(loss, *parts.values())
        named = dict(zip(parts, values, strict=True))
        if not math.isfinite(mean):
            raise self._diverged(", ".join(f"{name} {value:g}" for name, value in named.items()))
        self._track(named)
        self.accelerator.backward(loss if divisor == 1 else loss / divisor)
        return mean

    def _track(self, values: dict[str, float]) -> None:
        if self.accelerator.trackers:
            self.accelerator.log({f"{self.label}{name}": value for name, value in values.items()}, self.step)

    def _weighed(self, parts: dict[str, Tensor], stage: int | None) -> Tensor:
        weights = dict(self.recipe.weights) if stage is None else TRANSFER
        return torch.stack([weights[name] * value for name, value in parts.items()]).sum()

    def _follow(self, loss: float, batch: Batch, stage: int | None) -> None:
        """Raise a `TrialError` where the loss is still a number, but far above what knowing nothing costs."""
        if self.drift.begins(stage):
            self.drift.begin(stage, max(loss, self._ignorance(batch, stage)))
        if self.drift.follow(loss) and self.step >= self.schedule.rise:
            raise self._diverged(
                f"the loss has risen to {self.drift.before:g}; knowing nothing costs {self.drift.measure:g}"
            )

    def _ignorance(self, batch: Batch, stage: int | None) -> float:
        """What knowing nothing of a batch costs: the loss of a student that is shown other words than its teacher."""
        other = batch.input_ids.roll((1, batch.input_ids.shape[1] // 2), (0, 1))
        with torch.no_grad():
            parts = self._parts(replace(batch, input_ids=other), stage)
            return self._everywhere(self._weighed(parts, stage))[0]

    def _diverged(self, how: str) -> TrialError:
        return TrialError(
            f"the training diverged at step {self.step + 1} of {self.steps} ({how}); lower the learning rate"
        )

    def _everywhere(self, *values: Tensor) -> list[float]:
        """The mean of each value over processes, so that all of them go on, or none does."""
        stacked = torch.stack([value.detach().float() for value in values])
        means: list[float] = self.accelerator.reduce(stacked, "mean").tolist()
        return means

    def _freeze_others(self, stage: int) -> None:
        """Leave gradients to the stage's layer and the projections alone."""
        layer_of = self.objective.family.layer_of
        for name, parameter in zip(self.names, self.parameters, strict=True):
            if not name.startswith("projections.") and layer_of(name) != stage:
                parameter.grad = None

    def finish(self) -> Student:
        """The student as it is now: a plain model, on the CPU."""
        if not self.steps:
            self.curve = [(0, self.heldout().loss)]
        fold(self.model)
        self.model.eval().requires_grad_(True).cpu()
        objective, tokens = self.objective, self.steps * self.step_tokens
        asked = {0, *(due * self.step_tokens for due in self.evaluations)}
        teacher, curve = self.targets.teacher, tuple(point for point in self.curve if point[0] in asked)
        loss = curve[-1][1]
        about = {
            "recipe": self.recipe.to_json(),
            "text": self.targets.text.sha256,
            "seed": self.targets.seed,
            "precision": objective.precision,
            "share": self.targets.share,
            "quality": self.quality,
            "origin": self.origin,
            "heldout_blocks": len(self.targets.text.heldout),
        }
        judge = None if objective.judge is None else objective.judge.requires_grad_(False).cpu()
        made = (objective.architecture, self.model, teacher, loss, curve, self.seconds, tokens, about, objective.ending)
        blocks = {at: count for at, count in self.beside.items() if at in asked}
        return Student(*made, judge=judge, parts=self.held, blocks=blocks)

    def save(self, path: Path) -> None:
        """Write all a step depends on, atomically; the first process does."""
        if not self.accelerator.is_main_process:
            return
        tensors = {f"model.{name}": p.detach() for name, p in zip(self.names, self.parameters, strict=True)}
        for name, parameter in zip(self.names, self.parameters, strict=True):
            state = self.optimizer.state.get(parameter, {})
            tensors |= {f"{moment}.{name}": state[moment] for moment in (*MOMENTS, "step") if moment in state}
        about = {"key": self.keys[0], "schedule": astuple(self.schedule), "step": self.step, "seconds": self.seconds}
        about |= {"curve": self.curve, "drift": asdict(self.drift)} | ({"held": self.held} if self.held else {})
        about |= {"blocks": self.blocks} if self.blocks else {}
        write_atomically(path, save(tensors, {"run": json.dumps(about)}))

    def save_trunk(self, path: Path) -> None:
        """Save what a longer run can continue from, if this is the step at which the learning rate begins to fall.

        A checkpoint of the same training that is there already, and has done more steps, is not replaced.
        """
        about = _about(path)
        farther = about.get("key") in self.keys and about["step"] > self.step
        if self.step == self.schedule.trunk > 0 and not farther:
            self.save(path)

    def restore(self, paths: Iterable[Path]) -> None:
        """Load the checkpoint with the most steps that this run may continue from; all others are ignored."""
        steps = {path: step for path in paths if (step := self._leads_here(path)) is not None}
        for path in sorted(steps, key=lambda p: steps[p], reverse=True):
            if self._load(path):
                self.since = path
                return

    def _leads_here(self, path: Path) -> int | None:
        """The steps that a checkpoint has done, if this run would have come to the very same state; else None.

        Either its schedule is the same; or it is of a run of another length, from before either learning rate falls,
        and has every held-out loss that this run asks for up to there.
        """
        about = _about(path)
        if about.get("key") not in self.keys:
            return None
        step, other = int(about["step"]), Schedule(*about["schedule"])
        taken = {tokens for tokens, _ in about["curve"]}
        asked = {due * self.step_tokens for due in self.evaluations if due <= step}
        shared = step <= min(other.trunk, self.schedule.trunk) and asked <= taken
        return step if shared or other == self.schedule else None

    def _load(self, path: Path) -> bool:
        try:
            with safe_open(str(path), framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return False
        if any(f"model.{name}" not in tensors for name in self.names):
            return False  # a version that had another head beside the student wrote it
        about = _about(path)
        again = self._start_again(about)
        self.held = dict(about.get("held", {}))
        self.step, self.seconds, self.drift = about["step"], about["seconds"], Drift(**about["drift"])
        self.blocks = {int(tokens): blocks for tokens, blocks in about.get("blocks", {}).items()}
        self.curve = [(tokens, again.get(tokens, loss)) for tokens, loss in about["curve"]]
        if again:
            self.blocks.pop(0, None)
            self._note_blocks(0, self.looks.start)
        with torch.no_grad():
            for name, parameter in zip(self.names, self.parameters, strict=True):
                parameter.copy_(tensors[f"model.{name}"])
                moments = {m: tensors[f"{m}.{name}"].to(parameter.device) for m in MOMENTS if f"{m}.{name}" in tensors}
                if moments:
                    step = tensors.get(f"step.{name}", torch.tensor(float(self.step)))
                    self.optimizer.state[parameter] = {"step": step.to(parameter.device), **moments}
        return True

    def _start_again(self, about: Mapping[str, Any]) -> dict[int, float]:
        """The loss before the first step, where a checkpoint took it on other blocks than this run asks for.

        To be called while the student still is as it was cut.
        """
        if about.get("blocks", {}).get("0") == self.looks.start or "blocks" not in about or self.step:
            return {}
        with contextlib.suppress(TrialError):
            return {0: self.heldout(self.looks.start).loss}
        return {}


def _about(path: Path) -> dict[str, Any]:
    """The JSON in the head of a checkpoint (key, schedule, step, curve ...); empty where it is absent or damaged."""
    try:
        with safe_open(str(path), framework="pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {}).get("run", "{}"))
            return about
    except (OSError, SafetensorError, ValueError):
        return {}
