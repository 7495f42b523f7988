"""Filling in measured latencies on the machine that serves, from the folder of a finished run alone."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from distilsearch import profiling
from distilsearch.errors import DeviceError, RunError
from distilsearch.home import file_lock
from distilsearch.operators import Serving
from distilsearch.places import own_run
from distilsearch.profiling.clock import Measured
from distilsearch.profiling.device import model_name
from distilsearch.profiling.devices import DEVICES
from distilsearch.progress import Progress, silent

from ...report.checking import read
from ...report.files import RESULT, read_result, write_result
from ...report.schema import OF_REQUESTS, Entry, Latency, MachineEntry, RankFidelity, ResultFile
from ..executors import Executor, Options
from ..executors.local import Local
from ..jobs import Measure
from ..machines.elsewhere import foreign_table, measured_elsewhere
from ..runfile.config import Run
from ..runfile.continuing import kept_run
from .remarks import all_latency_warnings, kept_choice
from .sessions import Session, agreed

FIDELITY_CURE = "measure it again with `distilsearch fidelity`, or remove the file"


def note_fidelity(folder: Path, measured: dict[str, Any]) -> None:
    """Put a measured rank fidelity into result and report of a finished run; an unfinished one reads it at its end."""
    with file_lock(own_run(folder, finished=True) / ".lock"):
        if (folder / RESULT).exists():
            ranks = read(RankFidelity, measured, "the rank fidelity", FIDELITY_CURE)
            write_result(read_result(folder).model_copy(update={"rank_fidelity": ranks}), folder)


def measured_fidelity(folder: Path) -> RankFidelity | None:
    """What `distilsearch fidelity` has measured for a run and left in its folder; None where it has not.

    Raises:
        RunError: the file is damaged.
    """
    path = folder / "fidelity" / "fidelity.json"
    try:
        data = json.loads(path.read_text(), parse_constant=lambda _: None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"cannot read {path} ({error}); {FIDELITY_CURE}") from None
    return read(RankFidelity, data, str(path), FIDELITY_CURE)


def remeasure(folder: Path, progress: Progress = silent) -> ResultFile:
    """Measure teacher and front of a run on each of its targets that is this machine; returns the new result.

    Of targets that are imported tables of whole models, what those hold of teacher and front is taken over.

    Raises:
        RunError: the folder holds no finished run.
        DeviceError: none of its targets is a device of this machine, or a table that holds one of its students.
    """
    with file_lock(own_run(folder, finished=True) / ".lock") if folder.is_dir() else _nothing(folder):
        result = read_result(folder)
        plugins, here = _plugins(folder), _devices_here()
        machines = [(m, here[m.device]) for m in result.targets if m.device in here]
        models: list[Entry] = [result.teacher, *result.front]
        taken = sum(_taken_over(models, m) for m in result.targets if m.device not in here)
        if not machines and not taken:
            asked = ", ".join(m.device for m in result.targets)
            raise DeviceError(
                f"the run's targets ({asked}) are not devices of this machine ({', '.join(here)}), nor"
                " imported tables that hold the latency of one of its students"
            )
        with Local(Options(folder, workers=0)) as executor:
            for machine, device in machines:
                jobs = {
                    tuple(places): Measure(
                        tuple(models[p].architecture for p in places), device, serving, plugins=plugins
                    )
                    for serving, places in _by_serving(models, machine.serving).items()
                }
                counting, repeated = agreed(partial(_session, jobs, executor, progress))
                for places, timings in counting.groups:
                    for place, timing in zip(places, timings, strict=True):
                        models[place] = _measured(models[place], machine.objective, timing, repeated.get(place))
        result = _concluded(result, models, kept_run(folder))
        return write_result(result, folder)


def _concluded(before: ResultFile, models: Sequence[Entry], run: Run | None) -> ResultFile:
    """A result with other latencies: what was said of the former ones goes, and nobody chosen breaks a limit."""
    result = before.model_copy(update={"teacher": models[0], "front": tuple(models[1:])})
    knee, remark = kept_choice(result, run.choice if run else "quality", run.loss_at_most if run else None)
    former = {*all_latency_warnings(before), *([remark] if remark else [])}
    others = [warning for warning in before.warnings if warning not in former]
    warnings = (*([remark] if remark else []), *others, *all_latency_warnings(result))
    return result.model_copy(update={"knee": knee, "warnings": warnings})


def _plugins(folder: Path) -> tuple[str, ...]:
    """The plugins of a run, loaded: its device may be one of theirs, and whoever measures needs them too."""
    run = kept_run(folder)
    return run.plugins if run is not None else ()


def _taken_over(models: list[Entry], target: MachineEntry) -> int:
    """Put into models, in place, what an imported table of the target holds of them; how many."""
    table, count = foreign_table(target.device), 0
    if table is None:
        return 0
    for serving, places in _by_serving(models, target.serving).items():
        timings = measured_elsewhere(table, [models[place].architecture for place in places], serving)
        for place, timing in zip(places, timings, strict=True):
            if timing is not None:
                models[place], count = _measured(models[place], target.objective, timing, None), count + 1
    return count


def _by_serving(models: Sequence[Entry], conditions: Mapping[str, Any]) -> dict[Serving, list[int]]:
    """The places of models that are served alike: what a member chose for itself stands over the machine's own."""
    places: dict[Serving, list[int]] = {}
    for place, model in enumerate(models):
        serving = Serving.from_json({**conditions, **getattr(model, "served", {})})
        places.setdefault(serving, []).append(place)
    return places


def _session(jobs: Mapping[tuple[int, ...], Measure], executor: Executor, progress: Progress) -> Session[int]:
    return Session([(places, executor.submit(job, progress).result()) for places, job in jobs.items()])


def _measured(model: Entry, objective: str, timing: Measured, repeated: float | None) -> Entry:
    """A model with a measured latency; as it was where it could not be timed."""
    if not timing.usable:
        return model
    latency = model.latencies.get(objective, Latency())
    about: dict[str, Any] = {"slowness": timing.sentinel_ratio, "repeated": repeated}
    about |= dict(zip(("measured_p50", "measured_p99"), (1e3 * s for s in timing.of_requests), strict=False))
    before = {name: value for name, value in latency.model_dump().items() if name not in OF_REQUESTS[2:]}
    before |= {"left_out": {kind: why for kind, why in latency.left_out.items() if kind != "measured"}}
    latency = Latency.model_validate(before | {"measured": timing.seconds_p10 * 1e3, **about})
    return model.model_copy(update={"latencies": {**model.latencies, objective: latency}})


def _devices_here() -> dict[str, str]:
    """How targets may name the devices of this machine: by name, or by fingerprint."""
    names = {name: name for name in profiling.available_devices()}
    facts = {name: profiling.open_device(name).facts() for name in names}
    prints = {
        called: name for name in names for called in (profiling.fingerprint(facts[name]), model_name(facts[name]))
    }
    return {"auto": "auto"} | names | prints if set(names) <= set(DEVICES) else names


def _nothing(folder: Path) -> Any:
    raise RunError(f"there is no run folder {folder}")
