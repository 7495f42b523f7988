"""A safetensors file held against its own header, before any library opens it: whole, and nothing beside the tensors.

The format: eight bytes with the length of a JSON header, the header, then the tensors side by side without a gap.
See https://github.com/huggingface/safetensors#format.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilsearch import strict

BITS: Mapping[str, int] = {  # of one number, by the format's own names
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
MOST_HEADER = 100_000_000  # bytes, as the format says


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of one tensor before any of it is read. `dtype` is safetensors' name of it."""

    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, Header]:
    """The tensors of a safetensors file by their names.

    Raises:
        OSError: it cannot be read.
        ValueError: it is cut off, or says something else than it holds.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, MOST_HEADER):
            raise ValueError(f"its header would have {length:,} bytes, and the file has {size:,}")
        said = strict.table(strict.parsed(file.read(length).rstrip(b" ")), "its header")
    said.pop("__metadata__", None)
    parts = {name: _part(name, part) for name, part in said.items()}
    at = 0
    for name, (_, begin, end) in sorted(parts.items(), key=lambda item: item[1][1:]):
        if begin != at:
            raise ValueError(f"its tensor {name!r:.60} begins at byte {begin} and should at {at}")
        at = end
    if at != size - 8 - length:
        raise ValueError(
            f"its tensors have {at:,} bytes, and it holds {size - 8 - length:,}: it is cut off, or damaged"
        )
    return {name: header for name, (header, _, _) in parts.items()}


def _part(name: str, part: Any) -> tuple[Header, int, int]:
    """A tensor, and the bytes it begins and ends at."""
    data = strict.table(part, f"its tensor {name!r:.60}")
    dtype, shape, offsets = data.get("dtype"), data.get("shape"), data.get("data_offsets")
    if (
        not isinstance(dtype, str)
        or dtype not in BITS
        or not isinstance(shape, list)
        or not isinstance(offsets, list)
        or len(offsets) != 2
    ):
        raise ValueError(f"its tensor {name!r:.60} has no type, shape or place that is known")
    sizes = tuple(strict.whole(size, "a size") for size in shape)
    begin, end = (strict.whole(place, "a place") for place in offsets)
    if math.prod(sizes) * BITS[dtype] != 8 * (end - begin):
        raise ValueError(f"its tensor {name!r:.60} of the shape {sizes} does not fit into {end - begin:,} bytes")
    return Header(dtype, sizes), begin, end
