"""Filling in measured latencies on the machine that serves, from the folder of a finished run alone."""

import json
from pathlib import Path
from typing import Any

from distilsearch import profiling
from distilsearch.architecture import Architecture
from distilsearch.errors import DeviceError, RunError
from distilsearch.home import file_lock, write_atomically
from distilsearch.operators import Serving
from distilsearch.profiling.devices import DEVICES
from distilsearch.progress import Progress, silent

from ..report.report import write_report
from .executors import Options
from .executors.local import Local
from .jobs import Measure


def read_result(folder: Path) -> dict[str, Any]:
    """The `result.json` of a run's folder."""
    try:
        data: dict[str, Any] = json.loads((folder / "result.json").read_text())
    except FileNotFoundError:
        raise RunError(f"there is no result in {folder}; finish it with `distilsearch search`") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{folder / 'result.json'} is damaged ({error}); run `distilsearch search` again") from None
    return data


def note_fidelity(folder: Path, found: dict[str, Any]) -> None:
    """Put a measured rank fidelity into the result and the report of a finished run; an unfinished one finds it."""
    with file_lock(folder / ".lock"):
        if (folder / "result.json").exists():
            data = read_result(folder) | {"rank_fidelity": found}
            write_atomically(folder / "result.json", json.dumps(data, indent=1))
            write_report(data, folder / "report.html")


def remeasure(folder: Path, progress: Progress = silent) -> dict[str, Any]:
    """Measure teacher and front of a run on each of its targets that is this machine; returns the new result.

    Raises:
        RunError: the folder holds no finished run.
        DeviceError: none of its targets is a device of this machine.
    """
    with file_lock(folder / ".lock") if folder.is_dir() else _nothing(folder):
        data = read_result(folder)
        here = _devices_here()
        local = [(t, here[t["device"]]) for t in data["targets"] if t["device"] in here]
        if not local:
            asked = ", ".join(t["device"] for t in data["targets"])
            raise DeviceError(f"the run's targets ({asked}) are not devices of this machine ({', '.join(here)})")
        models = [data["teacher"], *data["front"]]
        architectures = tuple(Architecture.from_json(m["architecture"]) for m in models)
        for target, device in local:
            job = Measure(architectures, device, Serving.from_json(target["serving"]))
            with Local(Options(folder, workers=0)) as executor:
                times = executor.submit(job, progress).result()
            for model, measured in zip(models, times, strict=True):
                if measured.usable:
                    model[target["objective"]]["measured"] = measured.seconds_p10 * 1e3
        write_atomically(folder / "result.json", json.dumps(data, indent=1))
        write_report(data, folder / "report.html")
    return data


def _devices_here() -> dict[str, str]:
    """How targets may name the devices of this machine: by name, or by fingerprint."""
    names = {name: name for name in profiling.available_devices()}
    prints = {profiling.fingerprint(profiling.open_device(name).facts()): name for name in names}
    return {"auto": "auto"} | names | prints if set(names) <= set(DEVICES) else names


def _nothing(folder: Path) -> Any:
    raise RunError(f"there is no run folder {folder}")
