"""A super-network: the weights of one student that hold those of all smaller ones of a space as slices.

It is cut from the teacher with its coordinates, heads and feed-forward units in descending importance, trained by a
rule of `nest.RULES`, and asked for sub-networks ever after without any more training: their held-out losses, or each
as a stock checkpoint. After AutoDistil (arXiv 2201.12507), with one difference: a sub-network's heads divide its width,
so that stock transformers load it; where their size is the largest one's they are its first heads.

One folder holds a super-network: `superlm.safetensors`, with all that is known of it in its head, and what a longer
training goes on from.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from distilsearch.architecture import Architecture
from distilsearch.errors import InputError, RunError, TrialError
from distilsearch.families import family
from distilsearch.home import ensure_folder, write_atomically
from distilsearch.lowering import parameter_count
from distilsearch.progress import Between, Progress, nothing, silent
from distilsearch.space import SearchSpace

from ..compute.processes import accelerator_for
from ..course import Course
from ..heldout.heldout import heldout_loss
from ..recipes import Recipe
from ..side_by_side import CHECKPOINT, SideBySide
from ..steps.adapt import adapt
from ..students.card import CARD, ORIGIN, with_sections
from ..students.student import Student, build_student
from ..targets.cache import outputs_key
from ..targets.objective import Objective
from ..targets.targets import CACHE_LIMIT, Targets
from ..teachers.teacher import Teacher, load_teacher
from ..texts.data import Text
from .depths import scores
from .nest import HEADS, Nest
from .slices import Shared
from .training import SuperRun, SuperTraining, check_recipe

FILE = "superlm.safetensors"
SCHEMA = 1
MOST_TIED = 4  # times the weights of a file that a model of them may count
DAMAGED = (ArithmeticError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
CHECKPOINT_SECONDS = 60.0


class SuperLM:
    """A super-network whose training is over.

    Args:
        training: what its weights depend on.
        teacher: the one that it was cut from.
        model: the stock model of the largest sub-network.
        basis: (v, w) the largest one's directions in the teacher's stream.
        curve: (tokens, held-out loss) of the largest while it was trained.
    """

    def __init__(
        self,
        training: SuperTraining,
        teacher: Teacher,
        model: Any,
        basis: Tensor,
        curve: Sequence[tuple[int, float]] = (),
        seconds: float = 0.0,
    ) -> None:
        self.training, self.teacher = training, teacher
        self.curve, self.seconds = tuple(curve), seconds
        self._shared = Shared(training.largest, model.eval(), basis)

    def model(self, architecture: Architecture) -> Any:
        """A sub-network as a stock model of its own, in evaluation mode; an `InputError` where it is none of these."""
        self._check(architecture)
        return self._shared.cut(architecture)

    def losses(
        self, architectures: Sequence[Architecture], teacher: Teacher, text: Text, between: Between = nothing
    ) -> list[float]:
        """The loss of each sub-network on the held-out blocks of a text, as `heldout_loss` takes it."""
        losses = dict(self.scored(architectures, teacher, text, between))
        return [losses[architecture] for architecture in architectures]

    def scored(
        self, architectures: Sequence[Architecture], teacher: Teacher, text: Text, between: Between = nothing
    ) -> Iterator[tuple[Architecture, float]]:
        """The same one by one as they are known, in the order that takes the least work.

        Of sub-networks that differ in depth alone, layers that are given the same run once (see `depths`): ask for all
        of them at once.
        """
        for architecture in architectures:
            self._check(architecture)

        def score(model: Any, architecture: Architecture) -> float:
            between()
            ending = teacher.ending.cut(self.basis_of(architecture))
            return heldout_loss(teacher, text, model, architecture, ending=ending)

        yield from scores(self._shared, list(dict.fromkeys(architectures)), score)

    def basis_of(self, architecture: Architecture) -> Tensor:
        """(v, w) the directions of the teacher's stream that a sub-network's states live in."""
        return self._shared.basis_of(architecture)

    def student(self, architecture: Architecture, loss: float = float("nan")) -> Student:
        """A sub-network as a student; its `loss` is what the caller knows of it, for the card."""
        model, tokens = self.model(architecture), self.training.training.tokens
        ending = self.teacher.ending.cut(self.basis_of(architecture))
        return Student(architecture, model, self.teacher, loss, (), self.seconds, tokens, cut=ending)

    @property
    def origin(self) -> dict[str, str]:
        """What the card of a student says of the super-network that it was cut from."""
        training = self.training
        tokens = f"{training.training.tokens:,} tokens"
        count = f"{training.space['count']:,}"
        return {"key": training.key, "rule": training.rule, "trained on": tokens, "sub-networks": count}

    def extract(self, architecture: Architecture, folder: Path | str, loss: float = float("nan")) -> Path:
        """Write a sub-network as a stock checkpoint, which gives the sub-network's own outputs; its folder.

        Raises:
            RunError: the folder holds something else, or cannot be written.
        """
        path = self.student(architecture, loss).save(folder)
        card = (path / CARD).read_text(encoding="utf-8")
        write_atomically(path / CARD, with_sections(card, {ORIGIN: self.origin}))
        return path

    def _check(self, architecture: Architecture) -> None:
        """Refuse what was not trained: another family, or a gene of another value."""
        genes = self.training.space["genes"]
        if architecture.family != self.training.largest.family:
            raise InputError(
                f"expected a {self.training.largest.family} sub-network; got a {architecture.family} architecture"
            )
        for gene, choices in genes.items():
            if architecture[gene] not in choices:
                raise InputError(
                    f"the super-network has no sub-network of {gene} {architecture[gene]!r}; it has {choices}"
                )
        width, heads = int(architecture["width"]), int(architecture.values.get(HEADS, 1))
        if width % heads:
            raise InputError(f"{heads} heads do not divide a width of {width}; choose a number of heads that does")

    # Files

    def save(self, folder: Path) -> None:
        """Write all of it into one file, atomically."""
        tensors = {f"model.{name}": p.detach() for name, p in self._shared.whole.named_parameters()}
        tensors = {name: tensor.contiguous() for name, tensor in (tensors | {"basis": self._shared.basis}).items()}
        about = {"schema": SCHEMA, "training": self.training.to_json(), "curve": self.curve, "seconds": self.seconds}
        about |= {"teacher": self.teacher.name, "prompt": self.teacher.prompt}
        write_atomically(ensure_folder(folder) / FILE, save(tensors, {"superlm": json.dumps(about)}))

    @classmethod
    def load(cls, folder: Path, teacher: Teacher | None = None) -> "SuperLM":
        """The super-network in a folder; its teacher is opened by its name where none is given.

        Raises:
            RunError: there is none, it is damaged, or the teacher is another one than it was cut from.
        """
        about, tensors = _read(folder / FILE)
        try:
            return cls._loaded(folder, teacher, about, tensors)
        except RunError:
            raise
        except (*DAMAGED, InputError) as error:
            raise RunError(f"{folder / FILE} is damaged ({error!r:.200}); train it anew") from error

    @classmethod
    def _loaded(
        cls, folder: Path, teacher: Teacher | None, about: Mapping[str, Any], tensors: Mapping[str, Tensor]
    ) -> "SuperLM":
        training = SuperTraining.from_json(about["training"])
        opened = teacher or replace(load_teacher(str(about["teacher"])), prompt=str(about["prompt"]))
        if outputs_key(opened) != training.training.teacher:
            raise RunError(
                f"the super-network in {folder} was cut from another teacher than {opened.name}, or from another "
                "version of it; give the one it was cut from, or train it anew in another folder"
            )
        written = sum(tensor.numel() for tensor in tensors.values())
        if parameter_count(training.largest) > MOST_TIED * written:
            raise ValueError(
                "its weights are not those of the sub-network that it names"
            )  # nor is so much memory taken
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise ValueError("a weight is no number")
        with torch.random.fork_rng(devices=[]):
            model = family(training.largest.family).build(training.largest, opened.config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(tensors[f"model.{name}"])
        curve = [(int(tokens), float(loss)) for tokens, loss in about["curve"]]
        return cls(training, opened, model, tensors["basis"], curve, float(about["seconds"]))


def train_superlm(
    teacher: Teacher,
    text: Text,
    space: SearchSpace,
    recipe: Recipe,
    training: SuperTraining,
    folder: Path,
    *,
    device: str = "cpu",
    cache_limit: int = CACHE_LIMIT,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    progress: Progress = silent,
    between: Between = nothing,
) -> SuperLM:
    """Train the super-network of a space, or go on where a killed call, or a shorter training, has stopped.

    In memory: 16 bytes a parameter of the largest sub-network (weights, gradients, two moments), and the activations of
    one sub-network at a time. A step takes one batch with the teacher's targets and the sub-networks of the rule.

    Args:
        training: its identity, `SuperTraining.of` the same teacher, text, space and recipe.
        folder: where it is kept; one that is there already is returned as it is.

    Raises:
        InputError: the space, the recipe or the family does not admit shared weights; `training` is of something else.
        RunError: the folder holds another super-network.
        TrialError: the training diverges.
    """
    nest = check_superlm(teacher, space, recipe)
    course = _course(teacher, text, recipe, nest, training)
    if _there(folder, training):
        return SuperLM.load(folder, teacher)
    if not course.tokens:
        model, basis = build_student(teacher, nest.largest, text, course.seed, ordered=True)
        made = SuperLM(training, teacher, model, basis)
    else:
        run = _begin(course, nest, training, device, cache_limit)
        basis = run.shared.basis
        together = SideBySide([run], [folder], checkpoint_seconds)
        together.restore(())
        together.to_end(course.tokens, between, progress)
        (whole,) = together.students()
        if isinstance(whole, TrialError):
            raise whole
        made = SuperLM(training, teacher, whole.model, basis, whole.curve, whole.seconds)
    made.save(folder)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return made


def check_superlm(teacher: Teacher, space: SearchSpace, recipe: Recipe) -> Nest:
    """The sub-networks of a space, after refusing what cannot be one super-network; reads no weights."""
    check_recipe(recipe, teacher)
    return Nest.of(space, teacher.facts)


def _course(teacher: Teacher, text: Text, recipe: Recipe, nest: Nest, training: SuperTraining) -> Course:
    """What it is trained on; an `InputError` where the identity is of something else than what is given."""
    if (nest.largest, nest.to_json()) != (training.largest, dict(training.space)):
        raise InputError("the training is that of another space; make it with SuperTraining.of from the space given")
    return Course.of(teacher, text, recipe, training.training)


def _begin(course: Course, nest: Nest, training: SuperTraining, device: str, cache_limit: int) -> SuperRun:
    """The largest sub-network, cut in order of importance, with everything that the first step needs."""
    accelerator = accelerator_for(device)
    if accelerator.num_processes > 1:
        raise InputError(
            f"a super-network is trained in one process, and this is one of {accelerator.num_processes}; start it "
            "without `accelerate launch`"
        )
    teacher, recipe = course.teacher, course.recipe
    limits = (cache_limit, course.seed, course.share, course.tokens)
    targets = Targets(teacher, course.text, recipe, course.precision, *limits)
    model, basis = build_student(teacher, nest.largest, course.text, course.seed, ordered=True)
    if recipe.embeddings == "adapt" and family(nest.largest.family).words_mapped(nest.largest, teacher.facts):
        adapt(model, teacher.model("cpu"), basis)
    objective = Objective(teacher, nest.largest, recipe, model, basis, course.precision)
    teacher.model(accelerator.device)
    steps = (course.steps, course.step_tokens, [training.way], accelerator)
    return SuperRun(nest, training.rule, objective, targets, *steps)


def _there(folder: Path, training: SuperTraining) -> bool:
    """Whether the folder holds this very super-network; one of a shorter training is gone on from."""
    if not (folder / FILE).exists():
        return False
    about, _ = _read(folder / FILE)
    other = SuperTraining.from_json(about["training"])
    if other.way != training.way:
        raise RunError(f"{folder} holds another super-network ({other.key[:12]}); name another folder")
    return other.key == training.key


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The JSON and the tensors of a super-network's file."""
    try:
        with safe_open(str(path), framework="pt") as file:
            about = json.loads((file.metadata() or {})["superlm"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise RunError(f"{path} is no super-network of distilsearch, or damaged ({error}); train it anew") from error
    if not isinstance(about, dict) or about.get("schema") != SCHEMA:
        raise RunError(f"{path} was written by another version of distilsearch; use that one, or train it anew")
    try:
        SuperTraining.from_json(about["training"])
    except (*DAMAGED, InputError) as error:
        raise RunError(f"{path} does not say what it was trained for ({error!r:.200}); train it anew") from error
    return about, tensors
