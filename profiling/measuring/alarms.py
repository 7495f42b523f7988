"""Measurements that cannot be right, or hardly: they are measured again before anyone learns from them.

Real tables do jump at tile edges and are not monotone, so a suspect that stands after more rounds is kept.
"""

from collections.abc import Iterable

import numpy as np

from ..tables.table import LatencyTable, OperatorRow

FASTER_THAN_ROOF = 0.9
SLOWER_THAN_LARGER = 1.25
RESOLUTION_SECONDS = 1e-7


def suspects(table: LatencyTable) -> list[OperatorRow]:
    """Rows faster than the roofline, below timer resolution, or much slower than a larger operator."""
    usable = [row for row in table.operators if row.measured.usable]
    return list(dict.fromkeys([*filter(_impossible, usable), *_out_of_order(usable)]))


def _impossible(row: OperatorRow) -> bool:
    seconds = row.measured.seconds_p10
    return seconds < FASTER_THAN_ROOF * row.roofline_seconds or seconds < RESOLUTION_SECONDS


def _out_of_order(rows: Iterable[OperatorRow]) -> list[OperatorRow]:
    """Rows slower than one of the same kind that is at least as large in every size."""
    alike: dict[object, list[OperatorRow]] = {}
    for row in rows:
        words = tuple(item for item in row.operator.sizes.items() if isinstance(item[1], str))
        alike.setdefault((row.operator.kind, words, row.regime), []).append(row)
    outliers = []
    for members in alike.values():
        sizes = np.array([[v for v in r.operator.sizes.values() if not isinstance(v, str)] for r in members])
        seconds = np.array([r.measured.seconds_p10 for r in members])
        for i, row in enumerate(members):
            larger = (sizes >= sizes[i]).all(axis=1)
            if seconds[i] > SLOWER_THAN_LARGER * seconds[larger].min():
                outliers.append(row)
    return outliers
