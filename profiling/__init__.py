"""Operators to latency tables: profile a device once, find the table again, measure whole models.

Names are loaded when first used: finding a device or a table loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clock import Measured as Measured
    from .collect import measure as measure
    from .collect import profile as profile
    from .device import Device as Device
    from .device import Regime as Regime
    from .device import fingerprint as fingerprint
    from .devices import available_devices as available_devices
    from .devices import open_device as open_device
    from .tables.store import all_tables as all_tables
    from .tables.store import find_table as find_table
    from .tables.store import merge as merge
    from .tables.store import table_folder as table_folder
    from .tables.table import LatencyTable as LatencyTable
    from .tables.table import ModelRow as ModelRow
    from .tables.table import OperatorRow as OperatorRow
    from .tables.table import TableMeta as TableMeta

_HOMES = {
    "clock": ("Measured",),
    "collect": ("measure", "profile"),
    "device": ("Device", "Regime", "fingerprint"),
    "devices": ("available_devices", "open_device"),
    "tables.store": ("all_tables", "find_table", "merge", "table_folder"),
    "tables.table": ("LatencyTable", "ModelRow", "OperatorRow", "TableMeta"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022  (in the order of use)
    "profile",
    "measure",
    "find_table",
    "open_device",
    "available_devices",
    "LatencyTable",
    "OperatorRow",
    "ModelRow",
    "TableMeta",
    "Measured",
    "Regime",
    "Device",
    "all_tables",
    "fingerprint",
    "merge",
    "table_folder",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
