"""The digest of docs/digest.md in Python, for checking it from outside. Needs `pip install blake3`.

Run as a program, it prints the known answers that crates/litmus-core/src/digest/tests.rs holds.
"""

import json
import math
import struct

from blake3 import blake3


class Timestamp(int):
    """Microseconds since the epoch, UTC."""


class Json(str):
    """A JSON document."""


def text(value):
    data = value.encode()
    return struct.pack("<I", len(data)) + data


def number(value):
    if isinstance(value, float):
        if not (math.isfinite(value) and value == int(value) and -(2**63) <= value < 2**63):
            bits = 0x7FF8000000000000 if math.isnan(value) else struct.unpack("<Q", struct.pack("<d", value))[0]
            return b"\x03" + struct.pack("<Q", bits)
        value = int(value)
    if not -(2**63) <= value < 2**63:
        return number(float(value))
    return b"\x02" + struct.pack("<q", value)


def refuse(literal):
    raise ValueError(f"{literal} is not JSON")


def finite(literal):
    parsed = float(literal)
    return parsed if math.isfinite(parsed) else refuse(literal)


def document(cell):
    """JSON by value; Python's reader is laxer than the format, so it is told what to refuse."""
    try:
        return b"\x06" + value(json.loads(cell, parse_constant=refuse, parse_float=finite))
    except (ValueError, RecursionError):
        return b"\x01" + text(cell)


def value(cell):
    match cell:
        case None:
            return b"\x00"
        case Json():
            return document(cell)
        case str():
            return b"\x01" + text(cell)
        case bool():
            return b"\x04" + bytes([cell])
        case Timestamp():
            return b"\x05" + struct.pack("<q", cell)
        case int() | float():
            return number(cell)
        case list():
            return b"\x07" + struct.pack("<I", len(cell)) + b"".join(map(value, cell))
        case dict():
            members = sorted((key.encode(), key, member) for key, member in cell.items())
            return b"\x08" + struct.pack("<I", len(members)) + b"".join(text(key) + value(m) for _, key, m in members)
    raise TypeError(cell)


def row(cells):
    """The digest of one row: a dict of its non-null cells by canonical name."""
    encoded = b"".join(text(name) + value(cells[name]) for name in sorted(cells, key=str.encode))
    return int.from_bytes(blake3(encoded).digest()[:16], "big")


def table(rows):
    """The digest of a table: 32 hex digits."""
    return f"{sum(map(row, rows)) % 2**128:032x}"


KNOWN = [
    {},
    {"run_id": "b36a632b-4a7e-4af9-9682-d62ca6210f5b", "row_index": 7},
    {"measurement_value": 3.3, "measurement_units": "µA"},
    {"a": math.nan, "b": math.inf, "c": -0.0, "d": 1e300},
    {"t": Timestamp(1_795_471_456_227_146), "ok": True, "no": False},
    {"j": Json('{"b": [1, 2.0, null, true, "x"], "a": {"é": -0.0, "big": 1e300}}')},
    {"l": ["dmm", None, ""], "m": [True]},
    {"j": Json('{"nan": NaN}'), "n": Json("[1, 1e999]")},
]

if __name__ == "__main__":
    for cells in KNOWN:
        print(table([cells]), cells)
    print(table(KNOWN), "all of them")
