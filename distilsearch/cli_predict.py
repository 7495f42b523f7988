"""The command that predicts latencies: of one architecture in words, or of many, in and out as CSV or JSON."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli_words import Json, print_json, remark
from .errors import InputError, TableError
from .operators import TORCH, USUAL_SEQUENCE, Serving

if TYPE_CHECKING:
    from .architecture import Architecture
    from .predictors.answers import Answers
    from .request_lengths import RequestLengths

command = typer.Typer()

TIER_WORDS = {
    "exact": "all measured",
    "interpolated": "partly interpolated between measured ones",
    "extrapolated": "partly beyond what was measured (profile this serving for a narrower interval)",
    "analytic": "partly known by the roofline alone (profile this serving for a narrower interval)",
}
FAR = 2.0  # times outside the measured sizes, from which an answer says so
LENGTHS_HELP = (
    "Requests of many lengths: a file, one a line, or text for those of the run file's own; see --space. Or the line"
    " that a search has written of them"
)
DEVICE_HELP = (
    "xla, cuda, cpu, auto for the first that is there, or any name of a table's device, as `tables list` prints"
)


@command.command()
def predict(
    genes: Annotated[
        list[str] | None, typer.Argument(help="Genes, such as layers=2 width=384 heads=12 ffn=768")
    ] = None,
    source: Annotated[Path | None, typer.Option("--from", help="CSV or JSON file of architectures, a row each")] = None,
    space: Annotated[Path | None, typer.Option(help="Run file of the family, and of who reads --lengths")] = None,
    device: Annotated[str, typer.Option(help=DEVICE_HELP)] = "auto",
    store: Annotated[Path | None, typer.Option(help="Folder of tables; default: the one shared by all runs")] = None,
    batch: Annotated[int, typer.Option(help="Sequences served at once")] = 1,
    sequence: Annotated[int | None, typer.Option(help="Tokens a sequence; default: 128")] = None,
    lengths: Annotated[str | None, typer.Option(help=LENGTHS_HELP)] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, or int8 in another runtime than torch")] = "float32",
    threads: Annotated[int | None, typer.Option(help="Threads; default: as many as the table's own")] = None,
    mode: Annotated[str, typer.Option(help="eager or compile; on CUDA eager or graph")] = "eager",
    runtime: Annotated[str, typer.Option(help="Who runs the model: torch, onnxruntime, openvino or tensorrt")] = TORCH,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a row an architecture")] = False,
) -> None:
    """Predict the latency of one architecture, or of all in a file, from a device's table."""
    from . import profiling

    if as_json and as_csv:
        raise InputError("--json and --csv both say how to print; give one of them")
    if lengths is not None and sequence is not None:
        raise InputError("--sequence is one length for all requests, and --lengths are their own; give one of them")
    length = USUAL_SEQUENCE if sequence is None else sequence
    serving = Serving(batch, length, dtype, threads=threads, mode=mode, runtime=runtime)
    architectures, remarks = _asked(genes or [], source, space)
    table = profiling.find_table(device, store, runtime)
    if table is None:
        raise TableError(
            f"there is no latency table of the device {device!r} here yet; make one with `distilsearch profile"
            f"{'' if runtime == TORCH else f' --runtime {runtime}'}`"
        )
    if lengths is not None:
        serving = replace(serving, lengths=_counted(lengths, space, batch))
    from .predictors.answers import Answers

    answers = Answers.of(table, architectures, serving)
    if as_json:
        print_json(answers.to_json())
    elif as_csv:
        print(answers.to_csv(), end="")
    else:
        _print(answers)
    remark(remarks)


def _counted(lengths: str, run_file: Path | None, batch: int) -> "RequestLengths":
    """The lengths of requests: of a run's text, in a file, or as a search has written them."""
    from .engine.job.quickstart import quickstart_run
    from .engine.job.runfile.config import Run
    from .request_lengths import RequestLengths, is_written

    if is_written(lengths):
        return RequestLengths.parse(lengths)
    from .engine.job.serving.lengths import counted_for

    return counted_for(Run.read(run_file) if run_file else quickstart_run(), lengths, batch)


def _asked(genes: list[str], source: Path | None, run_file: Path | None) -> "tuple[list[Architecture], list[str]]":
    """The architectures that are named, on the command line or in a file, and what is to be said of their keys."""
    from .architectures import value_of
    from .cli_distill import pairs
    from .engine.job.runfile.config import Run
    from .engine.job.runfile.naming import Naming

    if bool(genes) == (source is not None):
        raise InputError(
            "name one architecture by genes, such as layers=2 width=384 heads=12 ffn=768, or many with --from FILE"
        )
    naming = Naming.of(Run.read(run_file) if run_file else None)
    if source is not None:
        architectures = naming.those_in(source)
    else:
        named = pairs(genes, "genes as name=value, such as layers=2")
        architectures = [naming.one({name: value_of(value) for name, value in named.items()})]
    return architectures, naming.remarks(architectures)


def _print(answers: "Answers") -> None:
    """In words."""
    from .request_lengths import CONTRADICTING, rising

    for a in answers.answers:
        print(", ".join(f"{gene}={value}" for gene, value in a.architecture.values.items()))
        print(f"{a.predicted_ms:.3f} ms, 90 % interval {a.lower_ms:.3f} to {a.upper_ms:.3f} ms")
        if a.p50_ms is not None and a.p99_ms is not None:
            both = rising(a.p50_ms, a.p99_ms)
            said = f"p50 {both[0]:.3f} ms, p99 {both[1]:.3f} ms" if both else CONTRADICTING["predicted"]
            print(f"that is the mean over requests; {said}")
        print(f"its operators are {TIER_WORDS[a.tier]}")
        if a.beyond > FAR:
            print(f"a size of it lies {a.beyond:.3g} times outside the measured ones: little is known so far out")
        print(f"{a.parameters:,} parameters, key {a.architecture.key}")
    print(answers.words)
