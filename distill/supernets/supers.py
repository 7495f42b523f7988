"""Super-networks by key: trained once in the home, found again by every run, and what is asked of them there.

A score is an evaluation of a slice, kept beside the super-network as one small file a student, so that a second search
scores nobody again. Students are cut from it when they are asked for, and not before.
"""

import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from distilsearch import strict
from distilsearch.architecture import Architecture
from distilsearch.errors import InputError, RunError, TrialError
from distilsearch.home import supers_folder, write_atomically
from distilsearch.lowering import parameter_count
from distilsearch.progress import Between, Progress, nothing, silent
from distilsearch.space import SearchSpace

from ..job import Training
from ..recipes import Recipe
from ..store.circumstances import versions
from ..store.claims import Claims, Pace
from ..store.trial import Trial
from ..targets.targets import CACHE_LIMIT
from ..teachers.teacher import Teacher
from ..texts.data import Text
from .superlm import FILE, SuperLM, train_superlm
from .training import SuperTraining

CLAIMS, SCORES = ".claims", "scores"


@dataclass(frozen=True)
class Score:
    """What the evaluation of a sub-network gave: its held-out loss, and what that took."""

    loss: float
    seconds: float
    facts: Mapping[str, Any]


def super_folder(key: str) -> Path:
    """Where the super-network of a key lies, or will lie."""
    return supers_folder() / key


def is_trained(key: str) -> bool:
    """Whether a super-network is here whose training is over."""
    return (super_folder(key) / FILE).exists()


def train_once(
    teacher: Teacher,
    text: Text,
    space: SearchSpace,
    recipe: Recipe,
    training: SuperTraining,
    *,
    device: str = "cpu",
    cache_limit: int = CACHE_LIMIT,
    progress: Progress = silent,
    between: Between = nothing,
    pace: Pace | None = None,
) -> str:
    """Train a super-network in the home, or go on with it, or find it there; its key.

    One that another process trains is waited for.

    Raises:
        TrialError: the training diverges.
        Interrupted: `between` has asked for it; the same call goes on from the checkpoint.
    """
    key = training.key
    if is_trained(key):
        return key

    def waiting(who: str) -> None:
        progress(f"waiting for {who}, which trains this super-network", 0, 1)
        between()

    with Claims(supers_folder() / CLAIMS, pace or Pace()).waited(key, waiting):
        train_superlm(
            teacher,
            text,
            space,
            recipe,
            training,
            super_folder(key),
            device=device,
            cache_limit=cache_limit,
            progress=progress,
            between=between,
        )
    return key


@lru_cache(maxsize=3)
def _opened(folder: Path, teacher: Teacher) -> SuperLM:
    return SuperLM.load(folder, teacher)


def opened(key: str, teacher: Teacher) -> SuperLM:
    """The super-network of a key, which stays loaded; a `TrialError` where it is not here or damaged."""
    if not is_trained(key):
        raise TrialError(f"the super-network {key[:12]} is not in {supers_folder()}; search again, which trains it")
    try:
        return _opened(super_folder(key), teacher)
    except RunError as error:
        raise TrialError(f"{error}; remove {super_folder(key)} and search again") from error


def cut_from(key: str, teacher: Teacher, architecture: Architecture) -> tuple[Any, Tensor]:
    """A student as a super-network has trained it, with weights of its own, and the basis (v, w) of its states."""
    whole = opened(key, teacher)
    try:
        return whole.model(architecture), whole.basis_of(architecture)
    except InputError as error:
        raise TrialError(str(error)) from error


def scores(
    teacher: Teacher, text: Text, training: Training, architectures: Sequence[Architecture], between: Between = nothing
) -> list[Trial | TrialError]:
    """What sub-networks of the super-network that a training starts from come to without any further training.

    Those that differ from one in depth alone are scored with it, which costs little more: layers that are given the
    same run once. Trials have no student in the archive: `Archive.distil` cuts one, for a training of no tokens.
    """
    return [_scored(teacher, text, training.at(0), one, between) for one in architectures]


def _scored(
    teacher: Teacher, text: Text, training: Training, architecture: Architecture, between: Between
) -> Trial | TrialError:
    if (known := kept_score(_place(training, architecture))) is not None:
        return _trial(training, architecture, known)
    try:
        whole = opened(training.start, teacher)
        depths = [{**architecture.values, "layers": depth} for depth in whole.training.space["genes"]["layers"]]
        others = [Architecture(architecture.family, values) for values in depths]
        absent = [other for other in others if kept_score(_place(training, other)) is None]
        try:
            losses = _score(whole, teacher, text, training, absent, between)
        except TrialError:  # of one of them, which may be another
            losses = _score(whole, teacher, text, training, [architecture], between)
        return _trial(training, architecture, losses[architecture])
    except (TrialError, InputError) as error:
        return TrialError(str(error))


def _score(
    whole: SuperLM,
    teacher: Teacher,
    text: Text,
    training: Training,
    architectures: Sequence[Architecture],
    between: Between,
) -> dict[Architecture, Score]:
    """Score sub-networks, and keep each score as it comes; a `TrialError` where a loss is no number."""
    made, started = dict[Architecture, Score](), time.monotonic()
    for one, loss in whole.scored(architectures, teacher, text, between):
        made[one] = Score(loss, time.monotonic() - started, {"versions": versions()})
        started = time.monotonic()
        write_atomically(_place(training, one), json.dumps(asdict(made[one]), allow_nan=False))
    return made


def _place(training: Training, architecture: Architecture) -> Path:
    """Where the score of a sub-network is kept."""
    return super_folder(training.start) / SCORES / f"{training.key(architecture)}.json"


def _trial(training: Training, architecture: Architecture, score: Score) -> Trial:
    key, size = training.key(architecture), parameter_count(architecture)
    curve = ((0, score.loss),)
    return Trial(key, architecture, training, score.loss, size, 0, score.seconds, curve, score.facts)


def kept_score(place: Path) -> Score | None:
    """A score that is kept, or None; what cannot be read is scored again."""
    try:
        data = strict.table(strict.read_json(place), "a score")
        loss, seconds = (strict.number(data[name], name) for name in ("loss", "seconds"))
        score = Score(loss, seconds, strict.table(data["facts"], "facts"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return score if math.isfinite(score.loss) else None


def super_holder(key: str) -> str | None:
    """Who trains a super-network now, in words."""
    return Claims(supers_folder() / CLAIMS).holder(key)


def remove_super(key: str, pace: Pace | None = None) -> None:
    """Remove a super-network with its scores; never one that is being trained."""
    claim = Claims(supers_folder() / CLAIMS, pace or Pace()).claim(key)
    if claim is None:
        return
    try:
        shutil.rmtree(super_folder(key), ignore_errors=True)
    finally:
        claim.release()
