"""The child's side of `executors.Worker`: read a job, run it, answer in JSON lines.

Teacher, text and tables stay loaded between jobs, so that a trial of half a minute does not pay for them again.
"""

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from distilsearch.architecture import Architecture
from distilsearch.errors import DistilSearchError
from distilsearch.operators import Serving
from distilsearch.progress import Progress

PROGRESS_SECONDS = 0.25
Job = Callable[..., Any]


def main() -> None:
    """Serve jobs until the parent closes its end."""
    threads, parent = int(sys.argv[1]), int(sys.argv[2])
    _die_with(parent)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints goes to the log, not between the answers
    import torch

    torch.set_num_threads(threads)
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(_answer(request, _reporter(answers))) + "\n")


def _answer(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    try:
        return {"result": JOBS[request["job"]](**request["arguments"], progress=progress)}
    except Exception as error:  # a trial must not kill the run: the cause goes to the ledger, the trace to the log
        if not isinstance(error, DistilSearchError):
            traceback.print_exc()
        return {"error": {"type": type(error).__name__, "message": str(error)}}


def _reporter(answers: Any) -> Progress:
    last = 0.0

    def report(what: str, done: float, total: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_SECONDS or done >= total:
            last = now
            answers.write(json.dumps({"progress": [what, done, total]}) + "\n")

    return report


def _die_with(parent: int) -> None:
    """Ask the kernel to end this process when its parent is killed, so that nothing trains for nobody."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def profile(
    family: str, genes: dict[str, Any], facts: dict[str, Any] | None, device: str, serving: dict[str, Any],
    store: str | None, progress: Progress,
) -> str:  # fmt: skip
    """Profile a space; answers the table's folder."""
    from distilsearch import profiling
    from distilsearch.families import TeacherFacts
    from distilsearch.families import family as known_family

    space = known_family(family).space(genes, TeacherFacts(**facts) if facts else None)
    where = Path(store) if store else None
    table = profiling.profile(space, device, Serving.from_json(serving), where, progress=progress)
    return str(table.folder)


def measure(
    architectures: list[dict[str, Any]], device: str, serving: dict[str, Any], store: str | None, progress: Progress
) -> list[dict[str, Any]]:
    """Measure whole models; answers one `Measured` each."""
    from distilsearch import profiling

    where = Path(store) if store else None
    models = [Architecture.from_json(a) for a in architectures]
    return [asdict(m) for m in profiling.measure(models, device, Serving.from_json(serving), where, progress)]


def distil(
    teacher: str, text: dict[str, Any], architectures: list[dict[str, Any]], recipe: dict[str, Any],
    training: dict[str, Any], device: str, cache_limit: int, progress: Progress,
) -> list[dict[str, Any]]:  # fmt: skip
    """Distil students side by side, or go on with them; answers a `Trial` or the cause of failure for each."""
    from distilsearch.distill.archive import Archive
    from distilsearch.distill.job import Training
    from distilsearch.distill.recipes import Recipe

    loaded, blocks = _loaded(teacher, json.dumps(text))
    students, asked = [Architecture.from_json(a) for a in architectures], Training.from_json(training)
    plan = Recipe.from_json(recipe)
    made = Archive().distil(
        loaded, blocks, students, plan, asked, progress=progress, device=device, cache_limit=cache_limit
    )
    return [{"cause": str(one)} if isinstance(one, DistilSearchError) else one.to_json() for one in made]


def teacher_loss(teacher: str, text: dict[str, Any], progress: Progress) -> float:
    """The teacher's own loss on the held-out blocks."""
    from distilsearch.distill.heldout import heldout_loss
    from distilsearch.families import family

    loaded, blocks = _loaded(teacher, json.dumps(text))
    own = family(loaded.facts.family).architecture(loaded.facts)
    return float(heldout_loss(loaded, blocks, loaded.model(), own))


@lru_cache(maxsize=1)
def _loaded(teacher: str, text: str) -> tuple[Any, Any]:
    from distilsearch.distill.data import load_text
    from distilsearch.distill.teacher import load_teacher

    loaded = load_teacher(teacher)
    return loaded, load_text(teacher=loaded, **json.loads(text))


JOBS: dict[str, Job] = {"profile": profile, "measure": measure, "distil": distil, "teacher_loss": teacher_loss}

if __name__ == "__main__":
    main()
