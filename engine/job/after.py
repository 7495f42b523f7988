"""Once a result stands: students are scored, by a new executor, for time that is over stops one."""

from dataclasses import replace

from distilsearch.progress import Progress

from ..report.files import write_result
from ..report.schema import ProbeEntry
from .executors import Executor
from .executors.interruption import interruptible
from .opening import opened_executor, opened_ledger
from .outcome.bought import Buying
from .outcome.result import Result
from .outcome.scoring import Scoring
from .prepare import Prepared


def scored(prepared: Prepared, scoring: Scoring, result: Result, given: Executor | None, progress: Progress) -> Result:
    """The result, written again, with the scores of the run's evaluations and what training bought."""
    probe, asked = prepared.probe, prepared.evaluations
    if probe.text is None and not asked:
        result = Result(result.folder, result.file.model_copy(update={"probe": ProbeEntry(why=probe.why)}))
        write_result(result.file, result.folder)
        return result
    with (
        opened_ledger(prepared, progress) as ledger,
        opened_executor(prepared, ledger, given, progress) as (hands, resolved),
        interruptible(hands, progress),
    ):
        scoring = replace(scoring, ledger=ledger, executor=hands, threads=resolved.threads)
        result = scoring.scored(result, asked) if asked else result
        result = Buying(scoring, prepared.teacher, prepared.recipe, probe).bought(result, asked)
    write_result(result.file, result.folder)
    return result
