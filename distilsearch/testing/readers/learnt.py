"""What a run learns and keeps beside its students: good files, and how each is read."""

import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

GENES: dict[str, Any] = {"layers": [1, 2], "width": [16], "heads": [1], "ffn": [16, 32], "inherit": ["even"]}
PLAN = {"schema": 1, "flash_tokens": 1_024, "trials": 4, "final_tokens": 2_048}
FIDELITY = {
    "spearman": 0.9, "spearman_lower": 0.5, "spearman_upper": 1.0, "kendall": 0.8, "pairs": 4,
    "flash_tokens": 100, "full_tokens": 400, "note": "of four students",
}  # fmt: skip
SCORE = {"loss": 0.5, "seconds": 1.5, "facts": {"versions": {"torch": "2"}}}
MARK = {"format": 1, "version": "0.1.0"}
ACTIVITY = {
    "doing": "profile and predict; timing: 3 of 40", "phase": "profile and predict", "since": 1.5e9, "heard": 1.5e9,
}  # fmt: skip
HOLDER = {"host": "here", "pid": 12, "since": "2026-01-01 00:00:00+00:00"}
INVITATION = {
    "driver": HOLDER, "open": True, "home": "0123", "flash_tokens": 100, "trials": 5, "until": None, "spent": 1.5,
    "at": 2.5, "tables": {"latency_ms": ["aaaaaaaaaaaa", "bbbbbbbbbbbb"]}, "machines": {},
}  # fmt: skip


def written(content: Any, *parts: str) -> Callable[[Path, Path], object]:
    """A maker of a JSON file."""

    def made(samples: Path, folder: Path) -> None:
        path = folder.joinpath(*parts)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))

    return made


# Super-networks


def made_super(samples: Path, folder: Path) -> None:
    """A super-network of the sample's teacher, trained for a moment; the teacher lies in the home."""
    shutil.copytree(_super(samples), folder)
    shutil.copytree(samples / "teacher", folder.parent / "home" / "teacher", dirs_exist_ok=True)


@cache
def _super(samples: Path) -> Path:
    from dataclasses import replace

    from ...distill.job import Training
    from ...distill.recipes import EMBEDDING, View
    from ...distill.supernets.superlm import train_superlm
    from ...distill.supernets.training import SuperTraining
    from ...distill.teachers.teacher import load_teacher
    from ...distill.texts.data import load_text
    from ...families import family

    teacher = load_teacher(str(samples / "teacher"))
    text = load_text([str(samples / "text" / "words.txt")], teacher=teacher)
    recipe = replace(EMBEDDING, batch_tokens=256, views=(View(),), warmup_tokens=256)
    space = family(teacher.facts.family).space(GENES, teacher.facts)
    training = SuperTraining.of(Training.of(teacher, text, recipe, 256, 0, "float32"), space, teacher, "largest")
    folder = Path(tempfile.mkdtemp()) / "super"
    train_superlm(teacher, text, space, recipe, training, folder)
    return folder


def read_super(folder: Path) -> None:
    """Open it with the teacher that it was cut from, and cut a student from it."""
    from ...distill.supernets.superlm import SuperLM
    from ...distill.teachers.teacher import load_teacher

    opened = SuperLM.load(folder, load_teacher(str(folder.parent / "home" / "teacher")))
    opened.model(opened.training.largest)


def read_score(folder: Path) -> None:
    """What a sub-network scored."""
    from ...distill.supernets.supers import kept_score

    kept_score(folder / "file.json")


# The predictor of rewards


def made_rewards(samples: Path, folder: Path) -> None:
    """One that has learnt from a few results."""
    import numpy as np

    from ...predictors.rewards import RewardPredictor
    from ...space import Parameter, SearchSpace

    space = SearchSpace("generic", [Parameter("layers", (1, 2, 4)), Parameter("kind", ("a", "b"), ordered=False)])
    codes = space.grid(100)
    costs, episodes = codes[:, 0].astype(float) + 1.0, np.arange(len(codes)) // 3
    rewards = np.column_stack([codes[:, 0] + codes[:, 1], -costs])
    RewardPredictor.fit(space, codes, costs, rewards, (2.0, 1.0), episodes, steps=1).save(folder)


def sealed_rewards(folder: Path) -> None:
    """Whoever made it, hashed what it says and its weights as they are."""
    import hashlib

    from ...predictors.reading import checked
    from ...predictors.reward_storage import FILE, WEIGHTS

    try:
        content = json.loads((folder / FILE).read_bytes())
        content["weights_sha256"] = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
        (folder / FILE).write_text(json.dumps(checked.hashed(content)))
    except (ValueError, TypeError, RecursionError):
        return  # what is no such object has no place for a hash


def read_rewards(folder: Path) -> None:
    """Load it, and ask it."""
    import numpy as np

    from ...errors import InputError
    from ...predictors.rewards import RewardPredictor

    predictor = RewardPredictor.load(folder)
    codes = np.zeros((2, len(predictor.genes)), dtype=np.int16)
    try:
        predictor.predict(codes, np.array([1.0, 2.0]))
    except InputError:
        return


# Notes of a run


def read_plan(folder: Path) -> None:
    """What a question of some minutes came to."""
    from ...engine.job.plans.planning import remembered

    remembered(folder / "file.json")


def read_fidelity(folder: Path) -> None:
    """What `fidelity` has left in a run."""
    from ...engine.job.outcome.remeasure import measured_fidelity

    measured_fidelity(folder)


def read_mark(folder: Path) -> None:
    """Who holds a run."""
    from ...engine.job.presence.holding import holder_of

    str(holder_of(folder / "file.json"))


def read_activity(folder: Path) -> None:
    """As `status` reads it."""
    from ...engine.job.presence.activity import read_activity

    doing = read_activity(folder / "file.json")
    assert doing.said(2e9).isprintable()
    assert doing.phase.isprintable()
    assert doing.seconds(2e9) >= 0


def read_invitation(folder: Path) -> None:
    """What the driver of a run lets others know."""
    from ... import strict
    from ...engine.job.joining.inviting import Invitation

    try:
        noted = strict.read_json(folder / "file.json")
    except ValueError:
        return  # the journal's own reader refuses it
    Invitation.from_json(noted)


def read_home(folder: Path) -> None:
    """The mark of a home, as every command reads it first."""
    from ...home import _check_format

    _check_format.__wrapped__(folder)


def made_blocks(samples: Path, folder: Path) -> None:
    """A packed text, as workers fetch it."""
    from ...distill.teachers.teacher import load_teacher
    from ...distill.texts.data import blocks_file, load_text

    text = load_text([str(samples / "text" / "words.txt")], teacher=load_teacher(str(samples / "teacher")))
    folder.mkdir()
    (folder / "blocks.safetensors").write_bytes(blocks_file(text))


def read_packed(folder: Path) -> None:
    """Open it."""
    from ...distill.texts.data import read_blocks

    read_blocks(folder / "blocks.safetensors")


def made_targets(samples: Path, folder: Path) -> None:
    """The teacher's outputs for a batch."""
    import torch
    from safetensors.torch import save_file

    from ...distill.targets import cache as targets

    folder.mkdir()
    stored = {"logits": torch.arange(12.0).reshape(3, 4)}
    save_file(stored, str(folder / "batch.safetensors"), {"sha256": targets._digest(stored)})
    (folder / targets.USED).write_text("1")


def read_targets(folder: Path) -> None:
    """Open them."""
    from ...distill.targets import cache as targets

    targets.read_targets(folder / "batch.safetensors", ("logits",))
