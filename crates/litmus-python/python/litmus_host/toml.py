"""Settings as TOML: what a sink's configuration can hold, and no more."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

_SHORT = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def text(value: str) -> str:
    """A basic string."""
    return '"' + "".join(_SHORT.get(c) or (c if " " <= c <= "~" else f"\\U{ord(c):08x}") for c in value) + '"'


def inline(value: Any, name: str) -> str:
    """One value, on one line; ``name`` is for the message where it cannot be written."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise TypeError(f"{name} is not text: it holds half a character")
        return text(value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise TypeError(f"{name} = {value} does not fit 64 bits")
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, os.PathLike):
        return inline(os.fspath(value), name)
    if isinstance(value, Mapping):
        members = (f"{text(str(key))} = {inline(member, f'{name}.{key}')}" for key, member in _given(value))
        return "{ " + ", ".join(members) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(inline(member, f"{name}[{at}]") for at, member in enumerate(value)) + "]"
    raise TypeError(f"{name} is a {type(value).__name__}, which no setting can be")


def _given(table: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """TOML has no null: a setting that is None is not given."""
    return [(key, value) for key, value in table.items() if value is not None]
