"""Runs that are being recorded, in the shape of the platform's own client: its examples run as they stand."""

from __future__ import annotations

import logging
import os
import unittest
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import UUID

from . import _native, active
from .summary import moment
from .values import as_json, kinded, micros, number, readable, said

_log = logging.getLogger("litmus_host.record")
_Started = TypeVar("_Started", bound="_Recording")


@dataclass(frozen=True)
class Measurement:
    """A measurement as recorded."""

    name: str
    value: float | None
    units: str | None
    limit_low: float | None
    limit_high: float | None
    limit_nominal: float | None
    limit_comparator: str
    spec_ref: str | None
    outcome: str | None
    timestamp: datetime

    @property
    def unit(self) -> str | None:
        """The same as ``units``, as TesterKit spells it."""
        return self.units


@dataclass(frozen=True)
class SealedRun:
    """A run whose file is on the disk, whole, under its final name."""

    run_id: str
    file_path: str
    outcome: str | None
    """None if nothing was judged."""
    started_at: datetime
    ended_at: datetime
    late: int = 0
    """What came after the end, and is not in the file."""
    journal_error: str | None = None
    """Why the journal could not be written, if so: the run would not have survived a crash."""

    @property
    def id(self) -> UUID:
        """The run's id."""
        return UUID(self.run_id)


class _Recording:
    """What steps and vectors have in common."""

    _handle: _native.Step | _native.Vector

    def measure(
        self,
        name: str,
        value: float | None,
        *,
        units: str | None = None,
        unit: str | None = None,
        low: float | None = None,
        high: float | None = None,
        nominal: float | None = None,
        comparator: str = "GELE",
        spec_ref: str | None = None,
        characteristic_id: str | None = None,
        dut_pin: str | None = None,
        fixture_connection: str | None = None,
        instrument_name: str | None = None,
        instrument_resource: str | None = None,
        instrument_channel: str | None = None,
        outcome: str | None = None,
        timestamp: datetime | None = None,
    ) -> Measurement:
        """Records a measurement, judged by its limits: ``low <= value <= high``, or as ``comparator`` says (EQ, NE, LT, LE, GT,
        GE, GELE, GELT, GTLE, GTLT). Without any limit it is ``done``; ``None`` is a value that could not be measured. ``unit``
        is TesterKit's spelling of ``units``; an ``outcome`` was judged elsewhere."""
        units = unit if units is None else units
        reading, low, high, nominal = number(value), number(low), number(high), number(nominal)
        comparator = str(getattr(comparator, "value", comparator))
        details = {
            "units": units,
            "low": low,
            "high": high,
            "nominal": nominal,
            "comparator": comparator,
            "spec_ref": spec_ref,
            "characteristic_id": characteristic_id,
            "dut_pin": dut_pin,
            "fixture_connection": fixture_connection,
            "instrument_name": instrument_name,
            "instrument_resource": instrument_resource,
            "instrument_channel": instrument_channel,
            "outcome": outcome,
            "timestamp": None if timestamp is None else micros(timestamp),
        }
        texts = {key: readable(given) if isinstance(given, str) else given for key, given in details.items()}
        judged, taken = self._handle.measure(readable(name), reading, texts)
        return Measurement(name, reading, units, low, high, nominal, comparator, spec_ref, judged, moment(taken))

    def fail(self, message: str | None = None) -> None:
        """Marks it as failed."""
        self._judge("failed", message)

    def skip(self, message: str | None = None) -> None:
        """Marks it as skipped, unless it failed already."""
        self._judge("skipped", message)

    def error(self, message: str | None = None) -> None:
        """Marks it as errored: the test itself broke."""
        self._judge("errored", message)

    def _judge(self, outcome: str, message: object) -> None:
        self._handle.judge(outcome, None if message is None else said(message))

    def observe(self, name: str, value: Any) -> None:
        """Notes an output: a value that was observed, not judged. The last one of a name counts."""
        self._handle.observe(readable(name), kinded(value))

    def attach(self, name: str, content: bytes | str | os.PathLike[str]) -> str:
        """Stores bytes or a text beside the run, under a name such as ``scope.csv``, or a copy of the file at a ``Path``. It is
        referred to as the output ``scope``; returns the reference."""
        if isinstance(content, os.PathLike):
            return self._handle.attach_file(Path(content))
        # Not bytes(content): of a number n, that would be n zeroes.
        stored = readable(content).encode() if isinstance(content, str) else memoryview(content).tobytes()
        return self._handle.attach(readable(name), stored)

    @property
    def outcome(self) -> str | None:
        """The outcome so far; None once the run is sealed."""
        return self._handle.outcome

    def _end(self, exception: BaseException | None) -> None:
        try:
            if exception is not None:
                self._judge(_outcome_of(exception), f"{type(exception).__name__}: {said(exception)}")
        finally:
            self._handle.end()


class Vector(_Recording):
    """One set of inputs that a step is run with: ``with step.vector(load_ma=100) as vector:``."""

    _handle: _native.Vector

    def __init__(self, handle: _native.Vector, step: Step) -> None:
        self._handle = handle
        self.step = step


class Step(_Recording):
    """A step that is being recorded: ``with run.step("voltage_check") as step:``."""

    _handle: _native.Step

    def __init__(self, handle: _native.Step, run: Run) -> None:
        self._handle = handle
        self.run = run

    def vector(self, **params: Any) -> _Opened[Vector]:
        """Starts a vector with these inputs."""
        return _Opened(self.run, lambda: Vector(self._handle.open_vector([(readable(n), kinded(v)) for n, v in params.items()]), self))

    def step(self, name: str, description: str | None = None, **options: Any) -> _Opened[Step]:
        """Starts a step within this one; a failure of it fails this one when it ends."""
        json_text = _step_options(name, description, **options)
        return _Opened(self.run, lambda: Step(self._handle.open_step(json_text), self.run))

    def instrument(self, name: str, **options: Any) -> None:
        """Notes an instrument that the step uses; options are those of :meth:`Run.instrument`."""
        self._handle.instrument(_instrument(name, **options))

    def log(self, level: int, logger: str, message: str) -> None:
        """Keeps a log record with the step: all of a step's become its attachment ``log.jsonl`` when it ends."""
        self._handle.log(level, readable(logger), readable(message))


class Run:
    """A run that is being recorded. ``finish()`` seals it; one that is never finished is not saved.

    As a context manager it is finished at the end, as errored where an exception ends it.
    """

    # LitmusHandler need not wrap anything to know which step is active.
    _litmus_host_follows = True

    def __init__(self, handle: _native.Run) -> None:
        self._handle = handle

    @property
    def id(self) -> UUID:
        """The run's id."""
        return UUID(self._handle.id)

    @property
    def run_id(self) -> str:
        """The run's id, as text."""
        return self._handle.id

    @property
    def outcome(self) -> str | None:
        """The outcome so far: of the steps that have ended."""
        return self._handle.outcome

    def step(self, name: str, description: str | None = None, **options: Any) -> _Opened[Step]:
        """Starts a step, which is the active one of this thread or asyncio task until it ends.

        An exception that ends it makes it errored, a failed assertion failed, a skip of pytest or unittest skipped. Options:
        ``retry``, ``node_id``, ``file``, ``module``, ``class_name``, ``function``, ``markers``.
        """
        json_text = _step_options(name, description, **options)
        return _Opened(self, lambda: Step(self._handle.open_step(json_text), self))

    def custom(self, **values: Any) -> None:
        """Notes custom values; the last one of a name counts."""
        for name, value in values.items():
            self._handle.custom(readable(name), kinded(value))

    def instrument(self, name: str, **options: Any) -> None:
        """Notes an instrument that the whole run uses. ``name`` is its role, such as ``dmm``; options: ``id``, ``driver``,
        ``resource``, ``protocol``, ``manufacturer``, ``model``, ``serial_number``, ``firmware``, ``cal_due``, ``cal_last``,
        ``cal_certificate``, ``cal_lab``, ``mocked``."""
        self._handle.instrument(_instrument(name, **options))

    def set_outcome(self, outcome: str) -> None:
        """Makes the run's outcome this one, if it is worse than what the steps make it."""
        self._handle.set_outcome(outcome)

    def finish(self) -> SealedRun:
        """Ends what is open and seals the run: when this returns, the file is on the disk, whole. After an error the run is as it
        was and can be finished again."""
        path, outcome, started, ended, late, journal_error = self._handle.finish()
        if late:
            _log.warning("run %s: %d things were recorded after its end and are not in the file", self.run_id, late)
        if journal_error is not None:
            _log.warning("run %s: its journal could not be written: %s", self.run_id, journal_error)
        return SealedRun(self.run_id, str(path), outcome, moment(started), moment(ended), late, journal_error)

    def abort(self, message: str | None = None) -> None:
        """Ends the run as aborted without saving it; ``finish()`` saves it after all."""
        self._handle.abort(None if message is None else said(message))

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: Any, exception: BaseException | None, traceback: Any) -> None:
        if exception is not None and not self._handle.is_over:
            self.set_outcome(_outcome_of(exception))
        if not self._handle.is_over:
            self.finish()

    def __repr__(self) -> str:
        return f"<Run {self.run_id}>"


class _Opened(Generic[_Started]):
    """A step or vector from ``with`` to the end of its block. It starts when the block does."""

    def __init__(self, run: Run, start: Callable[[], _Started]) -> None:
        self._run = run
        self._start = start
        self._opened: list[tuple[_Started, active.Entry]] = []

    def __enter__(self) -> _Started:
        started = self._start()
        listener: Any = _VectorAndStep(started) if isinstance(started, Vector) else started
        self._opened.append((started, active.push(self._run, listener)))
        return started

    def __exit__(self, kind: Any, exception: BaseException | None, traceback: Any) -> None:
        started, entry = self._opened.pop()
        active.close(entry)
        started._end(exception)


class _VectorAndStep:
    """Who hears of a log record within a vector: the vector, and at once the step, so that whoever looks at it sees it."""

    def __init__(self, vector: Vector) -> None:
        self._vector = vector
        self.log = vector.step.log

    def fail(self, message: str | None = None) -> None:
        self._vector.fail(message)
        self._vector.step.fail(message)


def start(recorder: _native.Recorder, given: Mapping[str, Any]) -> Run:
    """Starts a run with these options."""
    return Run(recorder.start_run(as_json(given, "dut_serial", "station_id")))


def _step_options(
    name: str,
    description: str | None,
    *,
    retry: int | None = None,
    node_id: str | None = None,
    file: str | None = None,
    module: str | None = None,
    class_name: str | None = None,
    function: str | None = None,
    markers: str | None = None,
) -> str:
    return as_json(locals(), "name")


def _instrument(
    name: str,
    *,
    id: str | None = None,
    driver: str | None = None,
    resource: str | None = None,
    protocol: str | None = None,
    manufacturer: str | None = None,
    model: str | None = None,
    serial_number: str | None = None,
    firmware: str | None = None,
    cal_due: str | None = None,
    cal_last: str | None = None,
    cal_certificate: str | None = None,
    cal_lab: str | None = None,
    mocked: bool | None = None,
) -> str:
    return as_json(locals(), "name")


def _outcome_of(exception: BaseException) -> str:
    if isinstance(exception, AssertionError):
        return "failed"
    # pytest need not be there: its exceptions are told by name.
    names = {kind.__name__ for kind in type(exception).__mro__}
    of_pytest = names & {"Skipped", "Failed"} if "OutcomeException" in names else set()
    if isinstance(exception, unittest.SkipTest) or "Skipped" in of_pytest:
        return "skipped"
    return "failed" if of_pytest else "errored"
