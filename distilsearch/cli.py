"""The command line: parse, call, print. The roof of the house; nothing imports it.

Heavy libraries are imported inside the commands, so that `--help` answers at once.
"""

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_distill import commands, pairs
from .cli_predict import LENGTHS_HELP, command, of_quickstart, run_at
from .cli_progress import Spending, loading, shown_progress
from .cli_tables import print_table, tables
from .cli_words import Json, print_json, remark, show
from .errors import DistilSearchError, InputError, Interrupted, RunError
from .operators import TORCH, Serving
from .request_lengths import is_written

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .engine.job.outcome.result import Result
    from .engine.job.runfile.config import Run
    from .profiling import Device as Opened
    from .profiling import LatencyTable
    from .space import SearchSpace

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Find the distilled students of a teacher that are best in quality and serving latency.",
)
app.add_typer(tables, name="tables")
app.add_typer(commands)
app.add_typer(command)

Device = Annotated[str, typer.Option(help="xla, cuda, cpu, or auto for the first of them that is there")]
Store = Annotated[Path | None, typer.Option(help="Folder of tables; default: the one shared by all runs")]
Threads = Annotated[int | None, typer.Option(help="Threads; default: all cores")]
RunFile = Annotated[Path, typer.Argument(help="The run file, TOML", show_default=False)]
RunFolder = Annotated[Path, typer.Argument(help="The folder of a run", show_default=False)]
Folder = Annotated[Path | None, typer.Option(help="The run's folder; default: runs/NAME")]


def main() -> None:
    """Run the command line; errors raised on purpose are one line and an exit code."""
    try:
        app()
    except DistilSearchError as error:
        with suppress(OSError):  # the terminal may be gone
            print(error if isinstance(error, Interrupted) else f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"distilsearch {version('distilsearch')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    plugin: Annotated[
        list[str] | None, typer.Option(help="Module whose variants are known to the command; may be repeated")
    ] = None,
) -> None:
    """What every command shares."""
    from . import plugins

    plugins.load(plugin or ())


@app.command()
def quickstart(
    minutes: Annotated[float | None, typer.Option(help="That it may take in all; default: 10")] = None,
    trials: Annotated[int | None, typer.Option(help="Students to distil, instead of minutes")] = None,
    folder: Folder = None,
) -> None:
    """Search students of a real teacher on this CPU: ten minutes, nothing to download."""
    from .engine.job.commands.quickstart import MINUTES, quickstart_run

    if minutes is not None and trials is not None:
        raise InputError("--minutes and --trials both say when to stop; give one of them")
    if minutes is not None and not minutes > 0:
        raise InputError(f"--minutes should be more than 0; got {minutes:g}")
    _search(quickstart_run(MINUTES if minutes is None else minutes, trials), folder)


@app.command()
def search(
    run_file: Annotated[Path, typer.Argument(help="The run file, TOML; with --join also the folder of a run")],
    folder: Folder = None,
    join: Annotated[bool, typer.Option("--join", help="Make trials beside the process that is at work on it")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="With --join: students trained at once here")] = None,
    device: Annotated[str | None, typer.Option(help="With --join: where they are trained here")] = None,
) -> None:
    """Search as RUN_FILE says; called again, it continues."""
    from .engine.job.runfile.config import Run

    if join:
        _join(run_file, folder, workers, device)
        return
    if workers is not None or device is not None:
        raise InputError("--workers and --device are of --join; a run has [train] workers and device in its run file")
    if run_file.is_dir():
        raise InputError(f"{run_file} is a folder: a search takes its run file (and --join takes the folder of a run)")
    run = Run.read(run_file)  # before the heavy imports: a mistake in the file is told at once
    remark(run.remarks)
    _search(run, folder)


@app.command()
def profile(
    space: Annotated[
        list[Path] | None, typer.Option(help="Run files, or folders of runs, to cover; default: the quickstart's")
    ] = None,
    device: Device = "auto",
    store: Store = None,
    batch: Annotated[list[int] | None, typer.Option(help="Sequences served at once; may be repeated")] = None,
    sequence: Annotated[list[int] | None, typer.Option(help="Tokens a sequence; may be repeated")] = None,
    lengths: Annotated[str | None, typer.Option(help=LENGTHS_HELP)] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, or int8 in another runtime than torch")] = None,
    threads: Threads = None,
    mode: Annotated[str | None, typer.Option(help="eager or compile; on CUDA eager or graph")] = None,
    runtime: Annotated[
        str | None, typer.Option(help="Who runs the models: torch, onnxruntime, openvino or tensorrt")
    ] = None,
    cache: Annotated[str, typer.Option(help="hot, cold or both: whether calls find their data in the caches")] = "hot",
    budget: Annotated[float | None, typer.Option(help="Seconds to spend at most")] = None,
) -> None:
    """Build or extend the latency table of a device, as run files serve on it.

    It needs no teacher and no text, but for requests of many lengths, which are counted. What is given here stands
    instead of what the run files say.
    """
    from . import profiling
    from .engine.job.commands.covering import covered
    from .profiling.check import nearest_sibling

    given: dict[str, Any] = {"batch": batch, "sequence": sequence, "dtype": dtype, "threads": threads, "mode": mode}
    given |= {"runtime": runtime, "lengths": lengths}
    runs = [_run_of(path) for path in space] if space else [_run_of(None)]
    opened = profiling.open_device(device)
    given = {name: value for name, value in given.items() if value is not None and value != []}
    remark([of_quickstart(lengths)] if lengths and not is_written(lengths) and not space else [])
    with shown_progress() as progress:
        parts = covered(runs, opened, given, not space, progress)
    print(f"profiling the device {opened.name}")
    torch = any(serving.runtime == TORCH for serving in parts)
    if torch and profiling.find_table(opened, store) is None and nearest_sibling(opened, store):
        print("this device has a table of another stack; `distilsearch tables check` may take most of it over")
    with shown_progress() as progress:
        spending = Spending(progress)
        left = None if budget is None else budget / len(parts)
        tables = _grown(parts, opened, store, left, cache, spending)
    for table in tables:
        print_table(table)
    remark(spending.over(budget))


def _grown(
    parts: "Mapping[Serving, list[SearchSpace]]",
    opened: "Opened",
    store: Path | None,
    seconds: float | None,
    cache: str,
    progress: Spending,
) -> "list[LatencyTable]":
    """The tables of a device, each once, when it has been timed for so many seconds in every way of serving."""
    from .engine.job.commands.covering import in_words

    with loading(progress):
        from .profiling import profile as grow
    tables = {}
    for serving, spaces in parts.items():
        print(f"timing {in_words(serving)}")
        table = grow(spaces, opened, serving, store, seconds, progress, cache=cache)
        tables[table.folder] = table
    return list(tables.values())


@app.command()
def measure(
    what: Annotated[str, typer.Argument(help="The folder of a run, or a model: folder, hub name, or quickstart")],
    device: Annotated[str | None, typer.Option(help="Of a model: xla, cuda, cpu or auto")] = None,
    batch: Annotated[int | None, typer.Option(help="Of a model: sequences served at once")] = None,
    sequence: Annotated[int | None, typer.Option(help="Of a model: tokens a sequence")] = None,
    lengths: Annotated[str | None, typer.Option(help="Of a model: requests as in a file, one a line")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Of a model: float32, bfloat16, or int8 in another runtime than torch")
    ] = None,
    threads: Threads = None,
    runtime: Annotated[
        str | None, typer.Option(help="Of a model: who runs it: torch, onnxruntime, openvino or tensorrt")
    ] = None,
    on: Annotated[list[Path] | None, typer.Option(help="Of a model: sentence pairs to score it on")] = None,
    as_json: Json = False,
) -> None:
    """Measure the front of a finished run on this machine, or a model: its latency here, and its scores.

    The latency of a model is that of its shape with random weights, in any runtime; scores are of its own, by torch.
    """
    from .engine.job.preflight import check_measurable
    from .engine.job.serving.asked import check_lengths
    from .profiling import open_device

    given: dict[str, Any] = {"batch": batch, "sequence": sequence, "dtype": dtype, "threads": threads}
    options = {name: value for name, value in (given | {"runtime": runtime}).items() if value is not None}
    others = {"device": device, "on": on or None, "lengths": lengths}
    asked = [name for name, value in (options | others).items() if value is not None]
    model, serving = check_measurable(what, on or (), asked), Serving(**options)
    check_lengths(options | {"lengths": lengths})
    if lengths == "text":
        raise InputError("a model has no text of its own here: give --lengths a file of requests, one a line")
    if model:
        open_device(device or "auto").regime(serving)  # refuses what does not run here
    with shown_progress() as progress:
        with loading(progress):
            from .engine.job.commands.model import measure_model
            from .engine.job.outcome.remeasure import remeasure
        if model:
            figures = measure_model(what, device or "auto", serving, on or (), progress, lengths)
        else:
            result = remeasure(Path(what), progress)
    if model:
        print_json(figures.to_json()) if as_json else print("\n".join(figures.lines()))
    else:
        print_json(result.to_json()) if as_json else show(result)


@app.command("import")
def import_(
    run_file: RunFile,
    results: Annotated[Path, typer.Argument(help="CSV: a column a gene, and loss", show_default=False)],
    rename: Annotated[list[str] | None, typer.Option(help="COLUMN=NAME; may be repeated")] = None,
    skip: Annotated[bool, typer.Option("--skip", help="Leave out what is not in the space")] = False,
    folder: Folder = None,
) -> None:
    """Keep results of another tool, from a CSV file, for the run that RUN_FILE describes to start from."""
    from distilsearch.distill.teachers.named import check_names

    from .engine.job.preflight import check_run
    from .engine.job.runfile.config import Run

    run, names = Run.read(run_file), pairs(rename or [], "columns as COLUMN=NAME, such as n_layer=layers")
    check_names([], (), [results])
    check_run(run, folder)
    from .engine.job.commands.imports import import_csv

    new, left = import_csv(run, results, names, not skip, folder)
    there = f" --folder {folder}" if folder else ""
    print(f"results kept for `distilsearch search {run_file}{there}`: {new}; rows left out: {left}")


@app.command()
def status(run_folder: RunFolder, as_json: Json = False) -> None:
    """Say where a run stands: trials done and under way, who works on them, where time went."""
    from datetime import datetime

    from .engine.job.preflight import begun
    from .engine.job.presence.activity import activity_of

    if activity_of(run_folder)[0] is None:
        begun(run_folder)
    from .engine.job.joining.status import status as run_status

    stand = run_status(run_folder)
    print_json(stand.to_json()) if as_json else print("\n".join(stand.lines(datetime.now())))


@app.command()
def report(run_folder: RunFolder, as_json: Json = False) -> None:
    """Write report.html of a run again, and print its table."""
    from .engine.report.files import RESULT, read_result, write_report
    from .engine.report.students import remarks
    from .places import DRIVER, own_run

    driving = ""
    if (run_folder / DRIVER).exists():  # else nothing of the main job is needed
        from .engine.job.presence.activity import at_work

        driving = at_work(run_folder)
    if driving and not (run_folder / RESULT).exists():
        raise RunError(f"no result in {run_folder} yet: {driving}; `distilsearch status {run_folder}` says more")
    own_run(run_folder, finished=True)
    result = read_result(run_folder)
    page = write_report(result, run_folder)
    if as_json:
        print_json(result.to_json())
    else:
        show(result)
        print(page)
    remark([f"{driving}, so this may not be its last result"] if driving else [])
    remark(remarks(run_folder, result))


# What commands share


def _run_of(run_file: Path | None) -> "Run":
    from .engine.job.commands.quickstart import quickstart_run

    run = run_at(run_file) if run_file else quickstart_run()
    remark(run.remarks)
    return run


def _search(run: "Run", folder: Path | None) -> None:
    """Run a search and print what it came to; what is plainly wrong is told before anything heavy is imported."""
    from .engine.job.preflight import check_run

    check_run(run, folder)
    with shown_progress() as progress:
        with loading(progress):
            from .engine.job.run import search as run_search
        result = run_search(run, folder, progress)
    _show(result)


def _join(what: Path, folder: Path | None, workers: int | None, device: str | None) -> None:
    """Join a run, by its run file or its folder, and print what was done."""
    from .engine.job.preflight import joinable
    from .engine.job.runfile.config import Run

    if what.is_dir() and folder is not None:
        raise InputError(f"--folder is for a run file; {what} is the folder of a run already")
    run = None if what.is_dir() else Run.read(what)
    place = what if run is None else folder or Path("runs") / run.name
    joinable(place)
    with shown_progress() as progress:
        with loading(progress):
            from .engine.job.joining.join import Hands
            from .engine.job.joining.join import join as join_run
        joined = join_run(run, place, Hands(workers, device), progress)
    print(joined.words)


def _show(result: "Result") -> None:
    from .engine.report.students import remarks

    show(result.file)
    print(result.folder / "report.html")
    remark(remarks(result.folder, result.file))


if __name__ == "__main__":
    main()
