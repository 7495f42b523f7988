"""A run as TOML text: top-level keys, then one table a section. TOML has no null, so what is None is left out."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(data: Mapping[str, Any]) -> str:
    """Plain JSON as TOML that reads back as the same, but for what is None."""
    return "\n".join(_lines(data)) + "\n"


def _lines(data: Mapping[str, Any]) -> Iterator[str]:
    plain = {k: v for k, v in data.items() if not _is_section(v)}
    yield from (f"{_key(key)} = {_literal(value)}" for key, value in plain.items() if value is not None)
    for key, value in data.items():
        if key not in plain:
            for body in value if isinstance(value, list) else [value]:
                yield from ("", f"[[{_key(key)}]]" if isinstance(value, list) else f"[{_key(key)}]")
                yield from (f"{_key(k)} = {_literal(v)}" for k, v in body.items() if v is not None)


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _literal(name)


def _literal(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_literal(v)}" for k, v in value.items() if v is not None) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")


def flat(data: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested JSON with its place, such as ("target[0].latency_ms", 5.0)."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(data, list | tuple) and data and isinstance(data[0], Mapping):
        for index, value in enumerate(data):
            yield from flat(value, f"{prefix}[{index}]")
    else:
        yield prefix, data
