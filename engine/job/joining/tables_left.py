"""The tables that the driver of a run goes by, for those who join it: the very same, one for each runtime.

Whoever joins predicts by what the driver predicts by, whatever device and versions he has himself. So tables are asked
for by the fingerprints that the driver has noted, never by what a table of this machine would be called.
"""

from distilsearch.errors import InputError, RunError
from distilsearch.operators import TORCH
from distilsearch.profiling import LatencyTable, find_table, fingerprint
from distilsearch.profiling.tables import rounds
from distilsearch.profiling.tables.store import store_folder

from ..machines.machines import Declared
from ..work.tables import receive
from .inviting import Invitation, fingerprints


def fetched(machine: Declared, invitation: Invitation) -> None:
    """Fetch the table of each runtime through the depot, where the run has one."""
    for runtime in machine.section.runtimes if machine.depot else ():
        if (place := invitation.table_of(machine, runtime)) is not None:
            receive(machine.depot, *place)


def left_tables(machine: Declared, invitation: Invitation) -> dict[str, LatencyTable]:
    """The tables of a machine by runtime, as the driver of a run has left them.

    They are timed once a run: what a joined process would add, the driver does not predict by. One that is not here is
    left out where it is of this very machine and its versions, so that it can be timed here.

    Raises:
        RunError: a table is not here and cannot be timed here, or is not what the driver has noted.
    """
    fetched(machine, invitation)
    tables: dict[str, LatencyTable] = {}
    for runtime in machine.section.runtimes:
        place = invitation.table_of(machine, runtime)
        table = find_table(machine.section.device, runtime=runtime) if place is None else _left(runtime, place)
        if table is None:
            _check_own(machine, runtime, place)
        else:
            tables[runtime] = table
    return tables


def _left(runtime: str, place: tuple[str, str]) -> LatencyTable | None:
    """The table of a runtime in the folder that the driver has noted; a `RunError` where another one lies there."""
    folder = store_folder(None) / place[0] / place[1]
    if not rounds.names(folder):
        return None
    table = LatencyTable.read(folder)
    own = fingerprint(table.meta.device), fingerprint(table.meta.stack)
    if own != place or table.runtime != runtime:
        raise RunError(
            f"the run predicts latencies {_under(runtime)} by the table {'/'.join(place)}; in that folder of the tables"
            f" here lies {'/'.join(own)} of {table.runtime}: take it away, and copy the driver's there"
        )
    return table


def _check_own(machine: Declared, runtime: str, place: tuple[str, str] | None) -> None:
    """Refuse to time here what the driver goes by another machine's, or other versions', table for."""
    try:
        own = fingerprints(machine, runtime) if machine.local else None
    except InputError:  # this machine has no such device
        own = None
    if place is not None and own != place:
        what = f"this machine with its versions is {'/'.join(own)}" if own else "it is of another machine"
        raise RunError(
            f"the run predicts latencies {_under(runtime)} by the table {'/'.join(place)}, which is not among the"
            f" tables here ({what}): copy its folder from the driver's tables to {store_folder(None)}"
        )


def _under(runtime: str) -> str:
    return "by torch" if runtime == TORCH else f"under {runtime}"
