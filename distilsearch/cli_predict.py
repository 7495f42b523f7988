"""The command that predicts latencies: of one architecture in words, or of many, in and out as CSV or JSON."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_progress import shown_progress
from .cli_words import Json, print_json, remark
from .errors import DeviceError, InputError, LackingError, TableError
from .operators import TORCH

if TYPE_CHECKING:
    from .architecture import Architecture
    from .engine.job.runfile.config import Run
    from .engine.job.serving.asked import Way
    from .operators import Serving
    from .predictors.answers import Answers
    from .profiling.device import Device
    from .profiling.tables.table import LatencyTable

command = typer.Typer()

TIER_WORDS = {
    "exact": "all measured",
    "interpolated": "partly interpolated between measured ones",
    "extrapolated": "partly beyond what was measured",
    "analytic": "partly known by the roofline alone",
}
GUESSED = ("extrapolated", "analytic")  # tiers that more profiling makes surer
FAR = 2.0  # times outside the measured sizes, from which an answer says so
LENGTHS_HELP = (
    "Requests of many lengths: a file, one a line, or text for those of the run's own text; see --space. Or the line"
    " that a search has written of them"
)
SPACE_HELP = "Run file, or the folder of a run: its family and genes, how it serves, and who reads --lengths"
DEVICE_HELP = (
    "xla, cuda, cpu, auto for the first that is there, or any name of a table's device, as `tables list` prints;"
    " default: the run's, else auto"
)


@command.command()
def predict(
    genes: Annotated[
        list[str] | None, typer.Argument(help="Genes, such as layers=2 width=384 heads=12 ffn=768")
    ] = None,
    source: Annotated[Path | None, typer.Option("--from", help="CSV or JSON file of architectures, a row each")] = None,
    space: Annotated[Path | None, typer.Option(help=SPACE_HELP)] = None,
    device: Annotated[str | None, typer.Option(help=DEVICE_HELP)] = None,
    store: Annotated[Path | None, typer.Option(help="Folder of tables; default: the one shared by all runs")] = None,
    batch: Annotated[int | None, typer.Option(help="Sequences served at once; default: the run's, else 1")] = None,
    sequence: Annotated[int | None, typer.Option(help="Tokens a sequence; default: the run's, else 128")] = None,
    lengths: Annotated[str | None, typer.Option(help=LENGTHS_HELP)] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, or int8 in another runtime than torch")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads; default: the run's, else the table's own")] = None,
    mode: Annotated[str | None, typer.Option(help="eager or compile; on CUDA eager or graph")] = None,
    runtime: Annotated[
        str | None, typer.Option(help="Who runs the model: torch, onnxruntime, openvino or tensorrt")
    ] = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a row an architecture")] = False,
) -> None:
    """Predict the latency of one architecture, or of all in a file, from a device's table.

    With --space it is as that run serves, and genes with one choice there need not be named. What is given here stands
    instead.
    """
    from .engine.job.serving.asked import way_of

    if as_json and as_csv:
        raise InputError("--json and --csv both say how to print; give one of them")
    given: dict[str, Any] = {"batch": batch, "sequence": sequence, "lengths": lengths, "dtype": dtype}
    given |= {"threads": threads, "mode": mode, "runtime": runtime}
    run = run_at(space) if space else None
    way = way_of(run, device, {name: value for name, value in given.items() if value is not None}, store)
    architectures, remarks = _asked(genes or [], source, run)
    table = _table(way, store, space)
    serving = _counted(way, run)
    cure = _cure(way.device, store, space, given)
    answers = _answers(table, architectures, serving, cure)
    remark(_others(way, serving))
    if as_json:
        print_json(answers.to_json())
    elif as_csv:
        print(answers.to_csv(), end="")
    else:
        _print(answers)
    guessed = any(answer.tier in GUESSED for answer in answers.answers)
    remark([*remarks, *([f"for narrower intervals {cure}"] if guessed else [])])


def _table(way: "Way", store: Path | None, space: Path | None) -> "LatencyTable":
    """The table that predicts a way of serving; where there is none, what can be done is said."""
    from . import profiling
    from .engine.job.serving.combinations import check_possible
    from .profiling.devices import DEVICES

    runtime, here = way.serving.runtime, way.device in (*DEVICES, "auto")
    called = way.device
    if here:  # refuses what no table of this device can hold
        called = (opened := _opened(way.device)).name
        opened.regime(way.serving)
    check_possible(way.serving)
    table = profiling.find_table(way.device, store, runtime)
    if table is not None and table.runtime == runtime:
        return table
    lacking = f"there is no latency table of the device {called!r}{'' if runtime == TORCH else f' under {runtime}'}"
    asked = {"runtime": runtime} if runtime != TORCH else {}
    words = _profiling(way.device if here else "auto", store if here else None, space, asked)
    if table is not None:
        raise TableError(
            f"{lacking} here, but one under {table.runtime}: name that --runtime, or copy the table of `{words}` on"
            " that machine here"
        )
    raise TableError(f"{lacking} here yet; make one with `{words}`{'' if here else ' on that machine'}")


def _opened(device: str) -> "Device":
    """A device of this machine; where it has none, it is said that tables of others will do."""
    from . import profiling

    try:
        return profiling.open_device(device)
    except DeviceError as error:
        raise DeviceError(
            f"{error}; to predict by the table of another machine, name its device with --device, as `distilsearch"
            " tables list` prints it"
        ) from None


def _answers(table: "LatencyTable", architectures: "list[Architecture]", serving: "Serving", cure: str) -> "Answers":
    """The answers; where the table lacks what they need, the cure is said."""
    from .predictors.answers import Answers

    try:
        return Answers.of(table, architectures, serving)
    except LackingError as error:
        raise LackingError(error.lacks, cure) from None


def _cure(device: str, store: Path | None, space: Path | None, given: Mapping[str, Any]) -> str:
    """The command that adds to a table what a prediction lacks."""
    from .profiling.devices import DEVICES

    here = device in (*DEVICES, "auto")
    words = _profiling(device if here else "auto", store if here else None, space, given)
    where = "" if here else " on that table's machine, and copy the table here"
    whose = "" if space else "; it times the quickstart's students, and with --space RUN those of your own run"
    return f"profile what is lacking with `{words}`{where}{whose}"


def _profiling(device: str, store: Path | None, space: Path | None, given: Mapping[str, Any]) -> str:
    """The command that makes a table, or adds to it, for what is given of a serving."""
    options = {"space": space, "device": device if device != "auto" else None, "store": store, **given}
    words = [f" --{name} {quote(str(value))}" for name, value in options.items() if value is not None]
    return f"distilsearch profile{''.join(words)}"


def _others(way: "Way", serving: "Serving") -> list[str]:
    """How else the run serves, of which the answer is not."""
    from .engine.job.serving.combinations import in_short

    remarks = []
    if way.targets > 1:
        remarks.append(
            f"this is of the first of {way.targets} targets; name another's device by --device, or how it serves by"
            " --batch and the others"
        )
    if way.others:
        remarks.append(
            f"this is of {in_short(serving)}; the run serves by {', '.join(way.others)} too: --runtime, --dtype and"
            " --mode"
        )
    return remarks


def _counted(way: "Way", run: "Run | None") -> "Serving":
    """The way of serving, with the lengths of requests counted where that is still to be done."""
    if way.lengths is None:
        return way.serving
    from .engine.job.commands.quickstart import quickstart_run
    from .engine.job.serving.lengths import counted_for

    remark([] if run else [of_quickstart(way.lengths)])
    with shown_progress() as progress:
        return way.of(counted_for(run or quickstart_run(), way.lengths, way.serving.batch, progress))


def of_quickstart(lengths: str) -> str:
    """Whose requests, or whose tokens, lengths are of which nobody said whose."""
    what = "the requests are the quickstart's own text" if lengths == "text" else f"{lengths} is read"
    return f"{what}, as the quickstart's teacher reads it; name your own run with --space"


def run_at(place: Path) -> "Run":
    """The run of a run file, or of the folder that it filled."""
    from .engine.job.preflight import run_in
    from .engine.job.runfile.config import Run

    return run_in(place) if place.is_dir() else Run.read(place)


def _asked(genes: list[str], source: Path | None, run: "Run | None") -> "tuple[list[Architecture], list[str]]":
    """The architectures that are named, on the command line or in a file, and what is to be said of their keys."""
    from .architectures import value_of
    from .cli_distill import pairs
    from .engine.job.runfile.naming import Naming

    if bool(genes) == (source is not None):
        raise InputError(
            "name one architecture by genes, such as layers=2 width=384 heads=12 ffn=768, or many with --from FILE"
        )
    naming = Naming.of(run)
    if source is not None:
        architectures = naming.those_in(source)
    else:
        named = pairs(genes, "genes as name=value, such as layers=2")
        architectures = [naming.one({name: value_of(value) for name, value in named.items()})]
    return architectures, naming.remarks(architectures)


def _print(answers: "Answers") -> None:
    """In words."""
    for a in answers.answers:
        print(", ".join(f"{gene}={value}" for gene, value in a.architecture.values.items()))
        print(f"{a.predicted_ms:.3f} ms, 90 % interval {a.lower_ms:.3f} to {a.upper_ms:.3f} ms")
        if a.left_out:
            print(f"that is the mean over requests; p50 and p99 left out: {a.left_out}")
        elif a.p50_ms is not None and a.p99_ms is not None:
            print(f"that is the mean over requests; p50 {a.p50_ms:.3f} ms, p99 {a.p99_ms:.3f} ms")
        print(f"its operators are {TIER_WORDS[a.tier]}")
        if a.beyond > FAR:
            print(f"a size of it lies {a.beyond:.3g} times outside the measured ones: little is known so far out")
        print(f"{a.parameters:,} parameters, key {a.architecture.key}")
    print(answers.words)
