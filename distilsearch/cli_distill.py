"""The commands of distillation: `distill`, `evaluate`, `fidelity`. Registered by `cli`, part of the roof as it is."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .architecture import Architecture
from .errors import InputError, RunError, TrialError
from .home import write_atomically
from .progress import Progress, silent

if TYPE_CHECKING:
    from .distill.data import Text
    from .distill.recipes import Recipe
    from .distill.student import Student
    from .distill.teacher import Teacher


MADE = "made.json"  # beside a student's trunk: what it is, so that it is not overwritten by mistake


@dataclass(frozen=True)
class Winner:
    """A student to distil, with what its run knows of its latency."""

    architecture: Architecture
    latency: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Made:
    """A student that was distilled: where it lies, and what came of it."""

    folder: Path
    tokens: int
    seconds: float
    loss: float


@dataclass(frozen=True)
class Job:
    """What to distil: from the command line, or from the run that found it."""

    winners: tuple[Winner, ...]
    teacher: str
    text: tuple[str, ...]
    recipe: str
    text_temperature: float = 1.0  # above 1 it evens out the texts, one a language
    text_tokens: int | None = None  # of each text


def is_run(words: list[str]) -> bool:
    """Whether the command's words name a run's folder and not genes."""
    return bool(words) and "=" not in words[0]


def from_run(words: list[str], recipe: str = "") -> Job:
    """RUN and keys: members of the run's front, its knee where no key is given; keys may be shortened."""
    from .engine.job.remeasure import read_result

    folder = Path(words[0])
    data = read_result(folder)
    known = {
        entry["key"]: entry for entry in [*data.get("trials", ()), *data.get("front", ())] if "architecture" in entry
    }
    if len(words) == 1 and not data.get("knee"):
        raise RunError(f"{folder} has no knee; give RUN and keys of: {', '.join(sorted(known)[:8])}")
    found = [_entry(folder, known, one) for one in dict.fromkeys(words[1:] or [data["knee"]])]
    try:
        run = tomllib.loads((folder / "run.toml").read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {folder / 'run.toml'}: {error}; name the folder of a run") from error
    return Job(
        tuple(Winner(Architecture.from_json(e["architecture"]), e.get("latency_ms")) for e in found),
        run["teacher"],
        tuple(run["text"]),
        recipe or run.get("train", {}).get("recipe", "default"),
        run.get("text_temperature", 1.0),
        run.get("text_tokens"),
    )


def _entry(folder: Path, known: Mapping[str, Mapping[str, Any]], wanted: str) -> Mapping[str, Any]:
    matches = [key for key in known if wanted and key.startswith(wanted)]
    if len(matches) != 1:
        raise RunError(
            f"{folder} has {len(matches) or 'no'} students whose key begins with {wanted!r}; give RUN and keys of: "
            f"{', '.join(sorted(known)[:8])}"
        )
    return known[matches[0]]


def distil(
    job: Job,
    out: Path,
    tokens: int,
    seed: int = 0,
    precision: str = "auto",
    device: str = "cpu",
    accumulate: int = 1,
    trackers: tuple[str, ...] = (),
    pairs: tuple[Path, ...] = (),
    progress: Progress = silent,
) -> list[Made]:
    """Distil, save and describe the students, side by side where there are several.

    One goes to `out`, several to folders in it named by their keys. Called again after an interruption, or with more
    tokens, training goes on.
    """
    from .distill.processes import accelerator_for
    from .distill.training import CHECKPOINT, distill_students, in_groups, training_key

    if len(job.winners) > 1 and (out / "config.json").exists():
        raise InputError(f"{out} holds a student, and several would be written into it; name another folder")
    teacher, text, recipe = opened(job.teacher, job.text, job.recipe, job.text_temperature, job.text_tokens, progress)
    latencies = {winner.architecture: winner.latency for winner in job.winners}
    outs = {a: out / a.key if len(latencies) > 1 else out for a in latencies}
    checkpoints = {a: folder.with_name(f".{folder.name}.checkpoint") for a, folder in outs.items()}
    keys = {a: training_key(teacher, a, text, recipe, seed, precision) for a in latencies}
    found = {a: _there(outs[a], checkpoints[a], keys[a], tokens) for a in latencies}
    there = {a: known for a, known in found.items() if known and not pairs}
    kept: list[Made] = list(there.values())
    failed: list[TrialError] = []
    for group in in_groups([a for a in latencies if a not in there]):
        made = distill_students(
            teacher,
            group,
            text,
            recipe,
            tokens,
            seed,
            precision,
            folders=[checkpoints[a] for a in group],
            progress=progress,
            accumulate=accumulate,
            trackers=trackers,
            device=device,
        )
        for a, one in zip(group, made, strict=True):
            if isinstance(one, TrialError):
                failed.append(one)
                continue
            kept.append(Made(outs[a], one.tokens, one.seconds, one.loss))
            if accelerator_for(device).is_main_process:
                _save(one, outs[a], job, text, latencies[a], pairs)
                (checkpoints[a] / CHECKPOINT).unlink(missing_ok=True)  # the trunk beside it serves longer trainings
                note = {"key": keys[a], "asked": tokens, "tokens": one.tokens, "seconds": one.seconds, "loss": one.loss}
                write_atomically(checkpoints[a] / MADE, json.dumps(note))
    if failed:  # all others are saved
        raise failed[0]
    return kept


def _there(out: Path, checkpoint: Path, key: str, tokens: int) -> Made | None:
    """The student that was asked for, where it lies there already; no other one is overwritten."""
    try:
        note = json.loads((checkpoint / MADE).read_text())
    except (OSError, ValueError):
        return None
    if not out.exists():
        return None
    if note["key"] != key:
        raise InputError(
            f"{out} holds a student of another architecture, teacher, text, recipe, seed or precision; name another "
            "folder, or remove it"
        )
    if note["asked"] > tokens:
        raise InputError(
            f"{out} holds this student, trained on {note['tokens']:,} tokens already; ask for more, or name another "
            "folder"
        )
    return Made(out, note["tokens"], note["seconds"], note["loss"]) if note["asked"] == tokens else None


def _save(
    student: "Student", out: Path, job: Job, text: "Text", latency: Mapping[str, Any] | None, pairs: tuple[Path, ...]
) -> None:
    """Write a student with all that is known of it on its card."""
    from .distill.card import write_card

    student.save(out)
    extra: dict[str, Any] = {"Text": {"sources": ", ".join(job.text), "tokens": f"{text.tokens:,}"}}
    if latency:
        extra["Latency, ms"] = {name: json.dumps(value) for name, value in latency.items()}
    if pairs:
        extra["Scores"] = {f"{path.name}, Spearman": f"{score(out, path):.4f}" for path in pairs}
    write_card(out, student, extra)


def opened(
    teacher: str,
    sources: tuple[str, ...],
    named: str,
    text_temperature: float = 1.0,
    text_tokens: int | None = None,
    progress: Progress = silent,
) -> tuple["Teacher", "Text", "Recipe"]:
    """Teacher, text and recipe, checked."""
    from .distill.data import load_text
    from .distill.recipes import default_recipe, recipe
    from .distill.teacher import load_teacher

    progress("reading teacher and text", 0, 2)
    loaded = load_teacher(teacher)
    chosen = default_recipe(loaded.kind) if named in ("", "default") else recipe(named)
    progress("reading teacher and text", 1, 2)
    read = load_text(sources, loaded, temperature=text_temperature, most_tokens=text_tokens)
    progress("reading teacher and text", 2, 2)
    return loaded, read, chosen


def score(model: Path | str, pairs: Path) -> float:
    """Spearman correlation of a model's cosines with the scores of a csv of sentence pairs."""
    from .distill.evaluate import evaluate_model

    return evaluate_model(str(model), pairs)


def rank_fidelity(
    what: Path | None,
    folder: Path | None,
    budgets: tuple[int, ...],
    students: int,
    fresh: int = 0,
    recipe: str = "",
    also: Sequence[str] = (),
    progress: Progress = silent,
) -> dict[str, Any]:
    """Distil a spread of a run's space at several budgets; fidelity.json keeps what is found.

    Args:
        also: recipes that are tried at the shortest budget alone.
        what: a run file, or the folder of a run, whose result then carries what is found; none: the quickstart.
        folder: where finished students are kept; the folder of a run has its own for them.
    """
    from .distill.fidelity import fidelity, spread, summary
    from .distill.recipes import recipe as named_recipe
    from .engine.job.config import Run
    from .engine.job.quickstart import quickstart_run
    from .engine.job.remeasure import note_fidelity
    from .families import family
    from .home import write_atomically

    finished = what if what is not None and what.is_dir() else None
    path = finished / "run.toml" if finished else what
    run = Run.read(path) if path else quickstart_run()
    kept = folder or (finished / "fidelity" if finished else None)
    if kept is None:
        raise InputError("name a --folder where finished students are kept, or the folder of a run")
    others = [named_recipe(name) for name in also]
    teacher, text, chosen = opened(
        run.teacher, run.text, recipe or run.train.recipe, run.text_temperature, run.text_tokens, progress
    )
    members = spread(family(run.space.family).space(run.space.genes, teacher.facts), students, run.seed, fresh)
    budgets = budgets or (run.train.flash_tokens, run.train.final_tokens)
    found, left_out = fidelity(teacher, members, text, chosen, budgets, kept, run.seed, progress=progress, also=others)
    facts = summary(found, max(budgets), left_out)
    write_atomically((finished / "fidelity" if finished else kept) / "fidelity.json", json.dumps(facts, indent=1))
    if finished:
        note_fidelity(finished, facts)
    return facts


def worded(name: str, found: Mapping[str, float | None]) -> str:
    """A correlation and its interval in words."""
    if found["value"] is None:
        return f"{name} not a number (it puts the students in no order)"
    if found["lower"] is None:
        return f"{name} {found['value']:.3f} (too few students for an interval)"
    return f"{name} {found['value']:.3f} ({found['lower']:.2f} to {found['upper']:.2f})"
