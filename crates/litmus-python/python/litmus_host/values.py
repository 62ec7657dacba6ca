"""Values of Python as the recorder takes them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from uuid import UUID


def readable(text: str) -> str:
    """A text that a file can hold. A lone surrogate, as ``os.fsdecode`` makes of a byte that is no UTF-8, is written out:
    ``\\udce9``."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def said(value: object) -> str:
    """What somebody said, whatever it is: that it cannot be written down must not undo that it was said."""
    try:
        return readable(str(value))
    except Exception as error:
        return f"a {type(value).__name__} without a text ({type(error).__name__})"


def as_json(options: Mapping[str, Any], *required: str) -> str:
    """What is given of some options; what is None is not."""
    for name in required:
        if options[name] is None:
            raise TypeError(f"{name}: it is None, where a text is needed")
    given = {name: value for name, value in options.items() if value is not None}
    return json.dumps({n: readable(v) if isinstance(v, str) else v for n, v in given.items()}, default=_option)


def _option(value: Any) -> Any:
    if isinstance(value, datetime):
        return _aware(value).isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{value!r} is no value of an option")


def _aware(time: datetime) -> datetime:
    """A time without a zone is this computer's, as everywhere in Python."""
    return time.astimezone(timezone.utc)


def micros(time: datetime) -> int:
    """Microseconds since the epoch."""
    since = _aware(time) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def number(value: Any) -> float | None:
    """What was measured, or a limit: whatever Python takes for a number."""
    return None if value is None else float(value)


def kinded(value: Any) -> tuple[str, Any]:
    """A value with its kind, for the recorder."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # a scalar of numpy
    if value is None:
        return ("null", None)
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, int):
        return ("int", int(value)) if -(2**63) <= value < 2**63 else ("text", str(int(value)))
    if isinstance(value, float):
        return ("float", float(value))
    if isinstance(value, str):
        return ("text", readable(value))
    if isinstance(value, datetime):
        return ("time", micros(value))
    if isinstance(value, (Mapping, list, tuple, set, frozenset)) or hasattr(value, "tolist"):
        return ("json", json.dumps(_plain(value)))
    return ("text", said(value))


def _plain(value: Any) -> Any:
    """What JSON can hold; NaN and the infinities are the texts that the whole project uses for them."""
    if hasattr(value, "tolist"):
        value = value.tolist()  # an array of numpy
    if isinstance(value, Mapping):
        return {said(name): _plain(member) for name, member in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(member) for member in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return _aware(value).isoformat() if isinstance(value, datetime) else said(value)
