"""What a run's folder holds, and what may be brought into one: run file, journal, result, results of other tools."""

import json
import shutil
from pathlib import Path

RESULTS = "layers,inherit,loss,latency_ms,noise\n1,even,0.5,1.5,\n2,none,0.25,2.5,0.1\n3,even,nan,,\n"
PAIRS = "sentence1,sentence2,score\nabc abd,abe,0.5\nacc,acd ace,0.25\nadd,ade,0\n"


def read_run_file(folder: Path) -> None:
    """As `search` reads a file, and a folder that goes on."""
    from ...engine.job.runfile.config import Run
    from ...engine.job.runfile.continuing import kept_run

    try:
        Run.read(folder / "run.toml")
    finally:
        kept_run(folder)


def read_journal(folder: Path) -> None:
    """As `status` reads it."""
    from datetime import datetime

    from ...engine.job.joining.status import status

    stand = status(folder)
    stand.lines(datetime.now())
    json.dumps(stand.to_json())


def read_result(folder: Path) -> None:
    """As `report`, `measure` and `distill` read it."""
    from ...engine.report.files import read_result
    from ...engine.report.readings import Reading
    from ...engine.report.sections import SECTIONS
    from ...engine.report.students import remarks
    from ...engine.report.terminal import final_table

    result = read_result(folder)
    for section in SECTIONS:
        section(Reading(result))
    final_table(result)
    list(remarks(folder, result))
    json.dumps(result.to_json(), allow_nan=False)


def read_state(folder: Path) -> None:
    """As whoever embeds the engine restores it."""
    from ...engine.engine import Engine
    from ...engine.objectives import Expensive, Known
    from ...space import Parameter, SearchSpace

    try:
        state = json.loads((folder / "file.json").read_bytes())
    except (ValueError, RecursionError):
        return  # whoever embeds the engine reads the JSON
    genes = [Parameter("depth", (1, 2, 3, 4)), Parameter("kind", ("a", "b", "c"), ordered=False)]
    latency = Known("latency_ms", lambda codes: 1.0 + codes[:, 0] + 0.1 * codes[:, 1], at_most=6.0)
    engine = Engine.restore(SearchSpace("generic", genes), [Expensive("loss"), latency], state)
    json.dumps(engine.state(), allow_nan=False)
    engine.front()


def read_results_csv(folder: Path) -> None:
    """As `import` reads it."""
    from ...engine.adapters.results_csv import read_results
    from ...space import Parameter, SearchSpace

    genes = [Parameter("layers", (1, 2, 3)), Parameter("inherit", ("even", "none"), ordered=False)]
    read_results(folder / "file.csv", SearchSpace("generic", genes), ["loss", "latency_ms"], strict=False)


def read_pairs_csv(folder: Path) -> None:
    """As `evaluate` reads it."""
    from ...distill.evaluate.embedding import read_pairs

    read_pairs(folder / "file.csv")


def made_imports(samples: Path, folder: Path) -> None:
    """A trial that was told, and one that failed."""
    folder.mkdir()
    student = json.loads((samples / "expected.json").read_bytes())["architectures"][0]
    told = {"architecture": student, "values": {"loss": 0.5}, "noise": None, "fidelity": 2048.0, "area": None}
    failed = {"architecture": student, "cause": "it diverged"}
    (folder / "imported.json").write_text(json.dumps([told, failed]))


def read_imports(folder: Path) -> None:
    """As `search` starts from them."""
    from ...engine.job.preparing.recall import imported, imported_failures

    for tell in imported(folder):
        json.dumps(tell.to_json(), allow_nan=False)
    imported_failures(folder)


def made_note(samples: Path, folder: Path) -> None:
    """A note of one run."""
    folder.mkdir()
    note = {"schema": 1, "folder": str(folder), "trainings": [{"teacher": "t", "tokens": 3, "precision": "bf16"}]}
    (folder / "file.json").write_text(json.dumps(note))


def read_home_note(folder: Path) -> None:
    """As the home reads it, in the place of one of its own."""
    from ...home import home, known_runs

    target = home() / "runs" / f"{'0' * 32}.json"
    target.parent.mkdir(exist_ok=True)
    shutil.copy(folder / "file.json", target)
    try:
        known_runs()
    finally:
        target.unlink(missing_ok=True)
