"""The commands that look after latency tables. Registered by `cli`, part of the roof as it is."""

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_progress import shown_progress
from .cli_words import Json, print_json
from .errors import InputError, TableError, unknown
from .hiding import hidden

if TYPE_CHECKING:
    from .profiling.check import Check
    from .profiling.tables.table import LatencyTable

tables = typer.Typer(no_args_is_help=True, help="Look after latency tables: show, check, exchange, import.")

STORE_HELP = "Folder of tables; default: the one shared by all runs"
Store = Annotated[Path | None, typer.Option(help=STORE_HELP)]
OldStore = Annotated[Path | None, typer.Option(help=STORE_HELP, exists=True, file_okay=False)]
TableName = Annotated[str, typer.Argument(help="Device, any name of a table's device as listed, or its folder")]
Url = Annotated[str, typer.Argument(help="A folder, or a URL that fsspec opens", show_default=False)]
Sources = Annotated[list[Path], typer.Argument(help="Folders of tables or of stores", show_default=False)]


@tables.command("list")
def list_(store: OldStore = None, as_json: Json = False) -> None:
    """Every table of the store."""
    from . import profiling

    folders = profiling.all_tables(store)
    if as_json:
        from .profiling.told import table_facts

        print_json([table_facts(profiling.LatencyTable.read(folder)) for folder in folders])
        return
    if not folders:
        print("there is no latency table yet; make one with `distilsearch profile`")
    from .profiling.device import model_name

    unreadable = []
    for folder in folders:
        try:
            table = profiling.LatencyTable.read(folder)
        except TableError as error:  # the others are listed all the same
            unreadable.append(str(error))
            continue
        rows = _rows(len(table.operators), len(table.models))
        print(f"{folder.parent.name}/{folder.name}  {model_name(table.meta.device)}  {rows}")
    if unreadable:
        raise TableError("; ".join(unreadable))


@tables.command()
def show(
    table: TableName = "auto",
    store: OldStore = None,
    out: Annotated[
        Path | None, typer.Option(help="A file for a page of charts, such as table.html", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """What one table holds and how noisy it is, in words, and with --out as a page of charts."""
    from .places import PAGE, own_file

    if out is not None:
        own_file(out, PAGE)
    content = found_table(table, store)
    if out is not None:
        from .profiling.tables.pictures import write_page

        write_page(content, out)
    if as_json:
        from .profiling.told import table_facts

        print_json(table_facts(content) | ({} if out is None else {"page": str(out)}))
        return
    print_table(content)
    if out is not None:
        print(out)


@tables.command()
def check(
    table: TableName = "auto",
    store: OldStore = None,
    share: Annotated[float, typer.Option(help="Share of the rows to measure again")] = 0.05,
    as_json: Json = False,
    noisy: Annotated[bool, typer.Option("--noisy", help="List its sessions, and what a busy machine spoilt")] = False,
) -> None:
    """Read a table whole; where only another stack of this device has one, see what of it still holds."""
    from . import profiling
    from .profiling.check import check as check_sibling
    from .profiling.devices import DEVICES
    from .profiling.told import check_facts, table_facts

    if table in (*DEVICES, "auto") and profiling.find_table(table, store) is None:
        with shown_progress() as progress:
            verdict = check_sibling(table, store, share, progress)
        print_json(check_facts(verdict)) if as_json else _print_check(verdict)
        return
    sound = found_table(table, store)
    if as_json:
        print_json({"sound": True, "table": table_facts(sound)})
        return
    print(f"{sound.folder} is sound: {_rows(len(sound.operators), len(sound.models))}")
    _print_doubts(sound)
    if noisy:
        _print_noisy(sound)


@tables.command()
def drop(
    session: Annotated[str, typer.Argument(help="A session, as `tables check --noisy` lists it", show_default=False)],
    table: TableName = "auto",
    store: OldStore = None,
) -> None:
    """Take all rounds of one session out of a table; its files are put aside, not deleted."""
    from .profiling.collect import alone_on_machine
    from .profiling.tables.sessions import drop as drop_session

    folder = found_table(table, store).folder
    assert folder is not None  # it was read from there
    with shown_progress() as progress, alone_on_machine(folder, progress):
        name, count = drop_session(folder, session)
    print(f"{count} rounds of the session {name} are in {folder / 'dropped'} and count no more")


@tables.command("test")
def try_properties(table: TableName = "auto", store: OldStore = None) -> None:
    """Try on one table what must hold of any latency predictor: positive, above the roofline, deeper is slower ..."""
    from .predictors.properties import check_table

    checks = check_table(found_table(table, store))
    for finding in checks:
        s = finding.serving
        line = f"{'FAILS' if finding.problem else 'holds'}  {s.phase} {s.batch} x {s.sequence} {s.dtype} {s.mode}"
        print(f"{line}  {finding.name}{': ' * bool(finding.problem)}{finding.problem}")
    failed = sum(bool(finding.problem) for finding in checks)
    if failed:
        raise TableError(f"{failed} of {len(checks)} properties fail; profile again on a quieter machine, or report it")


@tables.command()
def diff(a: TableName, b: TableName, store: OldStore = None) -> None:
    """Two tables side by side, kind by kind: how far the second is from the first."""
    from .profiling.tables.transfer import differences

    rows = differences(found_table(a, store), found_table(b, store))
    print(f"{'kind':12} {'both':>6} {'only a':>7} {'only b':>7} {'b / a':>7} {'median':>7} {'90 %':>7}")
    for d in rows:
        figures = f"{d.median_ratio:7.3f} {d.median:7.1%} {d.p90:7.1%}" if d.common else "      -" * 3
        print(f"{d.kind:12} {d.common:6} {d.only_a:7} {d.only_b:7} {figures}")


@tables.command()
def merge(sources: Sources, store: Store = None) -> None:
    """Add the rounds of other tables, or of all tables of other stores, to those of the store."""
    from . import profiling

    for merged in profiling.merge(sources, store):
        print_table(merged)


@tables.command()
def push(url: Url, store: OldStore = None) -> None:
    """Send the store's rounds to a folder or URL; what is there already stays."""
    from .profiling.tables.transfer import push as send

    sent = send(url, store)
    print(f"{sent} files of rounds sent to {hidden(url)}" if sent else f"nothing new for {hidden(url)}")


@tables.command()
def pull(url: Url, store: Store = None) -> None:
    """Fetch the rounds at a folder or URL that the store lacks."""
    from .profiling.tables.transfer import pull as fetch

    fetched = fetch(url, store)
    for table in fetched:
        print_table(table)
    if not fetched:
        print("nothing new")


@tables.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="A file, or a folder of files", show_default=False)],
    device: Annotated[str, typer.Option(help="The device the table is of, such as A100")],
    form: Annotated[str, typer.Option("--format", help="vidur, aiconfigurator or csv")] = "csv",
    kind: Annotated[
        str, typer.Option(help="operators, or models: a CSV of whole models, a column a gene")
    ] = "operators",
    store: Store = None,
) -> None:
    """Read a table that another project publishes; what has no place here is named."""
    from .profiling.foreign import import_tables

    if kind not in ("operators", "models"):
        raise unknown("kind of timings", kind, ("operators", "models"))
    if kind == "models" and form != "csv":
        raise InputError(f"whole models are read from a plain CSV; leave --format {form} out")
    imported = import_tables(source, "models" if kind == "models" else form, device, store)
    print_table(imported.table)
    for name, count in sorted(imported.left_out.items()):
        print(f"left out: {count} rows of {name}")


def _print_noisy(table: "LatencyTable") -> None:
    from datetime import datetime

    from .profiling.tables.sessions import sessions

    assert table.folder is not None  # it was read from there
    for s in sessions(table.folder):
        when = datetime.fromtimestamp(s.began_unix).strftime("%Y-%m-%d %H:%M")
        print(
            f"session {s.name}  {when}  {s.rounds} rounds of {s.cases} cases, sentinel {s.slowness:.2f} x undisturbed"
        )
    for (kind, signature, _), times in table.measured.items():
        if times.disturbed:
            print(f"disturbed: {kind} {signature}, sentinel {times.sentinel_ratio:.1f} x undisturbed")


def found_table(name: str, store: Path | None) -> "LatencyTable":
    """The table of a device here, of a fingerprint, or in a folder."""
    from . import profiling
    from .profiling.devices import DEVICES
    from .profiling.tables.named import PAIR

    called = name in (*DEVICES, "auto") or (PAIR.fullmatch(name) and not Path(name).is_dir())
    if not called and (os.sep in name or Path(name).is_dir()):
        return _table_in(Path(name))
    table = profiling.find_table(name, store)
    if table is None:
        raise TableError(
            f"there is no latency table of {name!r}; make one with `distilsearch profile`, or see with"
            " `distilsearch tables check` whether one of another stack still holds"
        )
    return table


def _table_in(folder: Path) -> "LatencyTable":
    from . import profiling
    from .profiling.tables.store import tables_at

    tables = tables_at(folder)
    if len(tables) == 1:
        return profiling.LatencyTable.read(tables[0])
    if tables:
        raise TableError(f"expected the folder of one table; in {folder} are {', '.join(str(t) for t in tables)}")
    what = "no latency table in" if folder.is_dir() else "no folder"
    raise TableError(f"expected the folder of a table; there is {what} {folder}")


def print_table(table: Any) -> None:
    """What a table holds, in a few lines."""
    from .profiling.device import model_name

    meta = table.meta
    print(f"{table.folder}\n{model_name(meta.device)}")
    for cache in sorted({row.regime.cache for row in table.operators}, reverse=True):
        kinds = Counter(row.operator.kind for row in table.operators if row.regime.cache == cache)
        counts = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
        total = kinds.total()
        print(f"{total} operator{'s' * (total != 1)}{' with cold caches' * (cache == 'cold')}: {counts}")
    peaks = ", ".join(f"{value / 1e9:.0f} GFLOP/s {dtype}" for dtype, value in meta.peak_flops.items())
    roof = f"peak {peaks}; bandwidth {meta.bandwidth / 1e9:.1f} GB/s" if peaks else "no peak was measured"
    print(f"{len(table.models)} whole models; {roof}")
    sums = 1 + meta.additivity_error
    more = f"; models take {sums:.2f} x the sum of their operators" if sums == sums else ""
    print(
        f"noise floor {meta.noise_floor:.1%}{more}" if meta.noise_floor == meta.noise_floor else "noise floor unknown"
    )
    _print_remarks(table)


def _rows(operators: int, models: int) -> str:
    return f"{operators} operator{'s' * (operators != 1)}, {models} model{'s' * (models != 1)}"


def _print_remarks(table: "LatencyTable") -> None:
    from .profiling.tables.remarks import remarks

    for remark in remarks(table):
        print(f"remark: {remark}")


def _print_doubts(table: "LatencyTable") -> None:
    """What of a table should be doubted: as a whole, and the rows that a fit leaves out."""
    from .predictors.latency import LatencyPredictor

    _print_remarks(table)
    if table.meta.roofs:  # else there is nothing to fit to
        for liar in LatencyPredictor.fit(table).distrusted:
            print(f"left out of every fit: {liar}")


def _print_check(found: "Check") -> None:
    print(f"against {found.sibling.folder}")
    for v in found.verdicts:
        regime = f"{v.regime.dtype}/{v.regime.mode}/{v.regime.threads}/{v.regime.cache}"
        how = f"x {v.factor:.3f}, spread {v.spread:.1%}, from {v.rows} rows" if v.rows and v.spread == v.spread else ""
        print(f"{v.decision:8} {v.kind:10} {regime:25} {how}")
    print_table(found.table)
    if any(v.decision == "anew" for v in found.verdicts):
        print("what is marked anew is measured by the next `distilsearch profile`")
