"""Universal Binary JSON as XGBoost writes it, read and written here: no stranger's byte reaches a native parser.

Reading is strict: every length is held against the bytes that are left, nesting is bounded, a key stands once, and
nothing may follow the value. See https://ubjson.org, draft 12; numbers are big-endian.

Notation
    marker     the byte before a value that says of what type it is
    typed      an array of numbers of one type, `[$TYPE#COUNT...`: a numpy array here, a list of any values else
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMBERS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
MARKERS = {np.dtype(kind).newbyteorder("="): marker for marker, kind in NUMBERS.items()}
WHOLE = (b"i", b"U", b"I", b"l", b"L")
CONSTANTS: Mapping[bytes, bool | None] = {b"T": True, b"F": False, b"Z": None}
DEEPEST = 32


def loads(content: bytes) -> Any:
    """The value that bytes mean; a `ValueError` says where they mean none."""
    reader = _Reader(content)
    value = reader.value(reader.taken(1), 0)
    if reader.at != len(content):
        raise ValueError(f"something follows the value, from byte {reader.at} on")
    return value


def dumps(value: Any) -> bytes:
    """The inverse of `loads`; numpy arrays become typed ones, whole numbers are of eight bytes, others of four."""
    if isinstance(value, dict):
        return b"{" + b"".join(_text(name) + dumps(member) for name, member in value.items()) + b"}"
    if isinstance(value, list):
        return b"[#" + _count(len(value)) + b"".join(map(dumps, value))
    if isinstance(value, np.ndarray):
        plain = value.astype(value.dtype.newbyteorder(">"))
        return b"[$" + MARKERS[value.dtype] + b"#" + _count(len(value)) + plain.tobytes()
    if isinstance(value, str):
        return b"S" + _text(value)
    if isinstance(value, bool) or value is None:
        return next(marker for marker, constant in CONSTANTS.items() if constant is value)
    return _count(value) if isinstance(value, int) else b"d" + np.array(value, ">f4").tobytes()


def _count(number: int) -> bytes:
    return b"L" + number.to_bytes(8, "big", signed=True)


def _text(text: str) -> bytes:
    plain = text.encode()
    return _count(len(plain)) + plain


class _Reader:
    """Where reading stands in some bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    def taken(self, count: int) -> bytes:
        """The next bytes."""
        part = self.content[self.at : self.at + count]
        if len(part) != count:
            raise ValueError(f"it ends at byte {len(self.content)}, within a value")
        self.at += count
        return part

    def value(self, marker: bytes, depth: int) -> Any:
        """The value after its marker."""
        if depth > DEEPEST:
            raise ValueError("it is nested too deeply")
        if marker in NUMBERS:
            return self.numbers(marker, 1)[0].item()
        if marker == b"S":
            return self.text(self.taken(1))
        if marker == b"{":
            return self.members(depth)
        if marker == b"[":
            return self.array(depth)
        if marker in CONSTANTS:
            return CONSTANTS[marker]
        raise ValueError(f"byte {self.at - 1} is {marker!r}, which begins no value")

    def numbers(self, marker: bytes, count: int) -> NDArray[Any]:
        """Numbers (count,) of one type, in the machine's own order of bytes."""
        kind = np.dtype(NUMBERS[marker])
        part = self.taken(count * kind.itemsize)
        return np.frombuffer(part, kind).astype(kind.newbyteorder("="))

    def length(self, marker: bytes) -> int:
        """A count of what follows, of which each takes a byte or more."""
        if marker not in WHOLE:
            raise ValueError(f"byte {self.at - 1} is {marker!r} and should begin a length")
        count = int(self.numbers(marker, 1)[0])
        if not 0 <= count <= len(self.content) - self.at:
            raise ValueError(f"before byte {self.at} stands a length of {count}, which does not fit")
        return count

    def text(self, marker: bytes) -> str:
        """A string from its length on."""
        return self.taken(self.length(marker)).decode("utf-8")

    def members(self, depth: int) -> dict[str, Any]:
        """An object up to its closing bracket."""
        members: dict[str, Any] = {}
        while (marker := self.taken(1)) != b"}":
            name = self.text(marker)
            if name in members:
                raise ValueError(f"{name!r} stands there twice")
            members[name] = self.value(self.taken(1), depth + 1)
        return members

    def array(self, depth: int) -> list[Any] | NDArray[Any]:
        """An array, typed, counted, or up to its closing bracket."""
        marker = self.taken(1)
        if marker == b"$":
            kind, counts = self.taken(1), self.taken(1)
            if kind not in NUMBERS or counts != b"#":
                raise ValueError(f"byte {self.at} belongs to an array of a type that is none of numbers")
            return self.numbers(kind, self.length(self.taken(1)))
        if marker == b"#":
            return [self.value(self.taken(1), depth + 1) for _ in range(self.length(self.taken(1)))]
        values = []
        while marker != b"]":
            values.append(self.value(marker, depth + 1))
            marker = self.taken(1)
        return values
