"""One line about a run."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from . import _native

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TIMES = ("run_started_at", "run_ended_at")

# What the platform's RunSummary calls a thing, where that is no column of ours under any spelling.
_ALIASES = {
    "test_run_id": "run_id",
    "started_at": "run_started_at",
    "ended_at": "run_ended_at",
    "total_measurements": "measurements",
    "total_steps": "steps",
}
# Columns that a run need not have: asking for one gives None, asking for anything else is an AttributeError.
_OPTIONAL = frozenset(
    (
        "session_id slot_id site_index site_name operator_id operator_name dut_revision dut_lot_number product_id "
        "product_name product_revision station_name station_type station_location station_hostname machine_id fixture_id "
        "test_phase project_name git_commit git_branch git_remote python_version litmus_version testerkit_version "
        "env_fingerprint schema_version"
    ).split()
)


class RunSummary:
    """What a run is, without its steps and measurements.

    Every column of the run that has a value is an attribute, under its canonical name (``dut_serial``), under the newer one
    (``uut_serial_number``), and where the platform's own ``RunSummary`` has another name, under that too (``test_run_id``,
    ``started_at``, ``operator``). A column that the run does not have is ``None``.
    """

    run_id: str
    """The run's id, a UUID."""
    file_path: str
    """The sealed file, absolute."""
    path: str
    """The sealed file, relative to the data dir."""
    sha256: str
    """Of the sealed file's bytes."""
    generation: str
    """flat, nested or nested2: see docs/tables.md."""
    run_started_at: datetime | None
    run_ended_at: datetime | None
    dut_serial: str | None
    dut_part_number: str | None
    station_id: str | None
    run_outcome: str | None
    """As stored; it can be absent."""
    outcome: str
    """As stored, or derived from steps, vectors and measurements where that is absent."""
    outcome_derived: bool
    steps: int
    vectors: int
    measurements: int
    rows: int
    # Other spellings.
    test_run_id: str
    started_at: datetime | None
    ended_at: datetime | None
    uut_serial_number: str | None
    uut_part_number: str | None
    operator: str | None
    total_measurements: int
    total_steps: int

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    @classmethod
    def _of_native(cls, values: dict[str, Any]) -> RunSummary:
        for name in _TIMES:
            micros = values[name]
            values[name] = None if micros is None else moment(micros)
        return cls(values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        values = self._values
        if name in values:
            return values[name]
        if name == "operator":
            return values.get("operator_name", values.get("operator_id"))
        canonical = _ALIASES.get(name) or _native.canonical_name(name)
        if canonical in values:
            return values[canonical]
        if canonical in _OPTIONAL:
            return None
        raise AttributeError(f"run {values['run_id']} has no {name!r}; it has {', '.join(sorted(values))}")

    def to_dict(self) -> dict[str, Any]:
        """Every column that has a value, by its canonical name."""
        return dict(self._values)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._values, *_ALIASES, *_OPTIONAL, "operator"})

    def __eq__(self, other: object) -> bool:
        return self._values == other._values if isinstance(other, RunSummary) else NotImplemented

    def __hash__(self) -> int:
        return hash((self._values["run_id"], self._values["sha256"]))

    def __reduce__(self) -> tuple[type[RunSummary], tuple[dict[str, Any]]]:
        return (RunSummary, (self._values,))

    def __repr__(self) -> str:
        return f"RunSummary(run_id={self.run_id!r}, dut_serial={self.dut_serial!r}, outcome={self.outcome!r})"


def moment(micros: int) -> datetime:
    """Microseconds since the epoch as a time in UTC."""
    return _EPOCH + timedelta(microseconds=micros)
