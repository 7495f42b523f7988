"""Once a result stands: students are scored, by a new executor where time that was over has stopped the run's."""

import math
from dataclasses import replace

from distilsearch.errors import Interrupted
from distilsearch.progress import Between, Progress

from ..report.files import write_result
from ..report.schema import ProbeEntry
from .executors import Executor
from .executors.interruption import interruptible
from .outcome.bought import PHASE, Buying
from .outcome.result import Result
from .outcome.scoring import Scoring
from .plans.phases import PROBE_SHARE, Phases, with_phases
from .preparing.opening import opened_executor
from .preparing.prepare import Prepared


def scored(
    prepared: Prepared, scoring: Scoring, result: Result, given: Executor | None, progress: Progress, between: Between
) -> Result:
    """The result, written again, with the scores of the run's evaluations and what training bought.

    Args:
        scoring: by the run's own hands, which are tried first: they have libraries, teacher and text.
        between: raises `Interrupted` where the work, and not only its time, was to end.
    """
    probe, asked = prepared.probe, prepared.evaluations
    if probe.text is None and not asked:
        file = result.file.model_copy(update={"probe": ProbeEntry(why=probe.why)})
        result = Result(result.folder, with_phases(file, scoring.ledger, prepared.driver))
    else:
        try:
            result = _scored(prepared, scoring, result, progress)
        except Interrupted:
            between()
            with (
                opened_executor(prepared, scoring.ledger, given, progress) as (hands, resolved),
                interruptible(hands, progress),
            ):
                anew = replace(scoring, executor=hands, threads=resolved.threads)
                result = _scored(prepared, anew, result, progress)
    return Result(result.folder, write_result(result.file, result.folder))


def _scored(prepared: Prepared, scoring: Scoring, result: Result, progress: Progress) -> Result:
    run, asked = prepared.run, prepared.evaluations
    result = scoring.scored(result, asked) if asked else result
    seconds = PROBE_SHARE * 60 * run.minutes or math.inf
    with Phases(scoring.ledger, progress, driver=prepared.driver).phase(PHASE):
        result = Buying(scoring, prepared.teacher, prepared.recipe, prepared.probe, seconds).bought(result, asked)
    return Result(result.folder, with_phases(result.file, scoring.ledger, prepared.driver))
