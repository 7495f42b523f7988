"""Good files made bad: bytes flipped, cut, spliced; values of another type; what is sealed by a hash sealed anew.

Whoever draws says how: all randomness is that of the generator given, so that a seed, or Hypothesis, makes it again.
"""

import copy
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Place = tuple[str | int, ...]
ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 3, 10**9, 2**63, 10**40, 1.5, 1e-320, 1e308, float("nan"), float("inf"), "", "odd",
    "nan", "../../outside.txt", "/etc/hostname", "../outside.safetensors", "\ud800", "\x00", "\x1b[2J", [], [1], [[]],
    {}, {"odd": 1}, {"model": ["x"]},
)  # fmt: skip
CELLS = ("", "nan", "inf", "-1", "1e400", "odd", '"', "1,2", "\x00", "é", "9" * 400)
LITERALS = (
    "-1",
    "0",
    "1e400",
    "nan",
    '""',
    '"../../x"',
    "[]",
    "{}",
    "[[1]]",
    "true",
    '"\\u0000"',
    "99999999999999999999",
)
DEEP = b"[" * 50_000


def mutated(content: bytes, form: str, draw: random.Random) -> bytes:
    """Another content of a file; of its form (a key of `FORMS`) in most cases, and else any bytes.

    >>> mutated(b'{"a": 1}', "json", random.Random(1)) != b'{"a": 1}'
    True
    """
    for _ in range(1 if draw.random() < 0.8 else 3):
        content = FORMS[form](content, draw) if draw.random() < 0.7 else damaged(content, draw)
    return content


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Bytes flipped, cut off, cut out, doubled, moved or put in."""
    size = len(content)
    at, to = sorted(draw.randrange(size + 1) for _ in range(2)) if size else (0, 0)
    how = draw.randrange(7)
    if how == 0 and size:
        flipped = bytearray(content)
        for _ in range(draw.choice((1, 1, 4))):
            flipped[draw.randrange(size)] ^= 1 << draw.randrange(8)
        return bytes(flipped)
    if how == 1:
        return content[:at]
    if how == 2:
        return content[:at] + content[to:]
    if how == 3:
        return content[:to] + content[at : at + 4096] + content[to:]
    if how == 4:
        return content[:at] + draw.randbytes(draw.randrange(1, 9)) + content[at:]
    return draw.choice((b"", DEEP, b"\xff\xfe" + content, content[::-1], b"\x00" * 64, b"null", b"[]", b"{}"))


def changed(value: Any, draw: random.Random) -> Any:
    """Plain JSON with a value at a random place replaced, dropped, doubled, nested, or with something beside it."""
    value = copy.deepcopy(value)
    there = list(places(value))
    if not there:
        return draw.choice(ODD)
    place = draw.choice(there)
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    last, how = place[-1], draw.randrange(8)
    if how == 0:
        del holder[last]
    elif how == 1 and isinstance(holder, dict):
        holder["odd"] = draw.choice(ODD)
    elif how == 1:
        holder.append(copy.deepcopy(holder[last]))
    elif how == 2:
        holder[last] = [holder[last]]
    elif how == 3 and type(holder[last]) in (int, float):
        holder[last] = draw.choice((str(holder[last]), -holder[last], holder[last] * 10**12, holder[last] + 0.5))
    else:
        holder[last] = draw.choice(ODD)
    return value


def places(value: Any, path: Place = ()) -> Iterator[Place]:
    """Every place of a JSON value, at most four members of each list."""
    members = value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    for key, member in members:
        yield (*path, key)
        yield from places(member, (*path, key))


# By form


def _json(content: bytes, draw: random.Random) -> bytes:
    try:
        return json.dumps(changed(json.loads(content), draw)).encode()
    except (ValueError, RecursionError):  # what an earlier change has left of it
        return damaged(content, draw)


def _lines(content: bytes, draw: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    at = draw.randrange(len(lines))
    lines[at : at + 1] = draw.choice(([], [lines[at]] * 2, [_json(lines[at], draw) + b"\n"], lines[at - 1 : at + 1]))
    return b"".join(lines)


def _toml(content: bytes, draw: random.Random) -> bytes:
    values = list(re.finditer(rb"(?<== ).+", content))
    if not values:
        return damaged(content, draw)
    value = draw.choice(values)
    return content[: value.start()] + draw.choice(LITERALS).encode() + content[value.end() :]


def _cells(content: bytes, draw: random.Random) -> bytes:
    rows = [line.split(b",") for line in content.split(b"\n")]
    row = draw.choice(rows)
    row[draw.randrange(len(row))] = draw.choice(CELLS).encode()
    return b"\n".join(b",".join(cells) for cells in rows)


def _header(content: bytes, draw: random.Random) -> bytes:
    """Of safetensors: another header, of the length that is said."""
    length = int.from_bytes(content[:8], "little")
    header = _json(content[8 : 8 + length], draw)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _trees(content: bytes, draw: random.Random) -> bytes:
    """Of UBJ: another value, or another number in a column of a tree."""
    import numpy as np

    from ..predictors.reading import ubj

    try:
        data = ubj.loads(content)
        trees = data["learner"]["gradient_booster"]["model"]["trees"]
        column = draw.choice([c for c in draw.choice(trees).values() if isinstance(c, np.ndarray) and len(c)])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return damaged(content, draw)
    if draw.random() < 0.3:
        try:
            return ubj.dumps(changed(data, draw))
        except (UnicodeEncodeError, OverflowError):  # UBJ cannot say it
            return damaged(content, draw)
    odd = draw.choice((-1, 0, 1, 2, 7, 42, 43, 255, 10**6, 2**31 - 1, -(2**31), 1e30, float("nan"), float("inf")))
    with np.errstate(all="ignore"):
        column[draw.randrange(len(column))] = np.array(odd).astype(column.dtype)
    return ubj.dumps(data)


def _parquet(content: bytes, draw: random.Random) -> bytes:
    """Another value in a column, or other facts beside the rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ..profiling.tables.rounds import parquet_bytes

    try:
        table = pq.read_table(pa.BufferReader(content))
        if draw.random() < 0.4:
            facts = (table.schema.metadata or {})[b"distilsearch"]
            return parquet_bytes(table.replace_schema_metadata({"distilsearch": _json(facts, draw)}))
        at = draw.randrange(table.num_columns)
        values = table.column(at).to_pylist()
        values[draw.randrange(len(values))] = draw.choice(ODD)
        return parquet_bytes(table.set_column(at, table.schema.field(at).name, pa.array(values)))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, OverflowError, IndexError, RecursionError):
        return damaged(content, draw)


FORMS: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "json": _json, "lines": _lines, "toml": _toml, "csv": _cells, "safetensors": _header, "ubj": _trees,
    "parquet": _parquet, "bytes": damaged,
}  # fmt: skip
