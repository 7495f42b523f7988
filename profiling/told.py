"""What a table is, as plain JSON for other programs: the figures that the command line prints in words."""

from collections import Counter
from typing import Any

from .check import Check
from .device import model_name
from .tables.table import LatencyTable


def table_facts(table: LatencyTable) -> dict[str, Any]:
    """Device, counts of rows, and the figures that judge them."""
    meta, folder = table.meta, table.folder
    kinds = Counter((row.regime.cache, row.operator.kind) for row in table.operators)
    return {
        "name": model_name(meta.device),
        "device": folder.parent.name if folder else None,
        "stack": folder.name if folder else None,
        "folder": str(folder) if folder else None,
        "operators": len(table.operators),
        "models": len(table.models),
        "kinds": [{"cache": cache, "kind": kind, "rows": rows} for (cache, kind), rows in sorted(kinds.items())],
        "peak_flops": dict(meta.peak_flops),
        "bandwidth": meta.bandwidth,
        "additivity_error": meta.additivity_error,
        "noise_floor": meta.noise_floor,
    }


def check_facts(check: Check) -> dict[str, Any]:
    """What was decided on the rows of another stack, and the table as it is now."""
    verdicts = [
        {"kind": v.kind, "regime": v.regime.to_json(), "rows": v.rows, "factor": v.factor, "spread": v.spread}
        | {"decision": v.decision}
        for v in check.verdicts
    ]
    return {"against": str(check.sibling.folder), "verdicts": verdicts, "table": table_facts(check.table)}
