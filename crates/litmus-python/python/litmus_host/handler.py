"""The bridge from Python's logging to the run: a record at WARNING or above fails the step it belongs to."""

from __future__ import annotations

import logging
import threading
from typing import Any

from . import active
from .values import readable, said

# What these loggers say is about litmus_host itself, and no test result.
_OWN_LOGGERS = "litmus_host"
# Above every level.
_NEVER = 1 << 30


class LitmusHandler(logging.Handler):
    """Turns log records into step failures on the active run.

    ::

        run = client.start_run(dut_serial="SN001", station_id="bench_1")
        logging.getLogger("my_test").addHandler(LitmusHandler(run))
        with run.step("power_on"):
            logging.getLogger("my_test").warning("rail sagged to 2.9 V")  # fails the step

    ``run`` is a run of :class:`litmus_host.Client` or of the platform's own client (``LitmusClient``, ``TesterKitClient``).
    The step that fails is the one that is active on the thread or asyncio task that logs: its innermost ``with run.step(…)``.
    Where ``step`` is set, it is that one, whoever logs. Records without a step, below ``fail_level``, or of litmus_host itself
    fail nothing.

    With ``keep_level``, records from that level on are kept with the step, as its attachment ``log.jsonl``; a step of the
    platform's own client has no place for them.

    It never raises into the code that logs, and hears nothing of what is logged while it is at work. It writes no file: what it
    tells the run is written when the run is sealed (and into the run's journal, where there is one).
    """

    def __init__(
        self,
        run: Any = None,
        level: int | str = logging.NOTSET,
        *,
        fail_level: int | str = logging.WARNING,
        keep_level: int | str | None = None,
    ) -> None:
        super().__init__(level)
        #: The step that fails, whoever logs. None: the active one.
        self.step: Any = None
        self._fail_level = _level(fail_level)
        self._keep_level = _NEVER if keep_level is None else _level(keep_level)
        self._lowest = min(self._fail_level, self._keep_level)
        self._busy = threading.local()
        self.run = run

    @property
    def run(self) -> Any:
        """The run whose active step fails. None: of any run that tells which step is active."""
        return self._run

    @run.setter
    def run(self, run: Any) -> None:
        self._run = run
        if run is not None:
            _follow(run)

    def handle(self, record: logging.LogRecord) -> Any:
        # Most records are below the level. They need no lock, and no filter could make them of interest.
        if record.levelno < self._lowest:
            return False
        return super().handle(record)

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < self._lowest:
            return
        step = self.step
        if step is None:
            step = active.step_of(self._run)
            if step is None:
                return
        if _is_our_own(record.name):
            return
        busy = self._busy
        if getattr(busy, "now", False):
            return
        busy.now = True
        try:
            self._tell(step, record)
        except Exception:
            # Prints to stderr if logging.raiseExceptions says so, and never raises.
            self.handleError(record)
        finally:
            busy.now = False

    def _tell(self, step: Any, record: logging.LogRecord) -> None:
        message = _message(record)
        # First what counts: that a record cannot be kept undoes no failure.
        if record.levelno >= self._fail_level:
            step.fail(message)
        if record.levelno >= self._keep_level:
            keep = getattr(step, "log", None)
            if keep is not None:
                keep(record.levelno, said(record.name), message)


class TesterKitHandler(LitmusHandler):
    """The same as TesterKit's page has it: made for one step, which fails whoever logs."""

    # Names that begin with Test are not for pytest to collect.
    __test__ = False

    def __init__(self, step: Any, level: int | str = logging.NOTSET, **options: Any) -> None:
        super().__init__(None, level, **options)
        self.step = step


def _is_our_own(logger: str) -> bool:
    return logger.startswith(_OWN_LOGGERS) and logger[len(_OWN_LOGGERS) :][:1] in ("", ".")


def _message(record: logging.LogRecord) -> str:
    """A record whose arguments do not fit its text is a record all the same."""
    try:
        return readable(record.getMessage())
    except Exception as error:
        shown = repr(record.msg) if isinstance(record.msg, str) else said(record.msg)
        return readable(f"{shown} with arguments that do not fit it ({type(error).__name__})")


def _level(level: int | str) -> int:
    if isinstance(level, int):
        return level
    number = logging.getLevelName(level.upper())
    if not isinstance(number, int):
        raise ValueError(f"{level!r} is not a level of logging")
    return number


class _FollowedStep:
    """What ``run.step(…)`` of the platform's client returns, telling which step is active."""

    def __init__(self, run: Any, manager: Any) -> None:
        self._run = run
        self._manager = manager
        self._entry: active.Entry | None = None

    def __enter__(self) -> Any:
        step = self._manager.__enter__()
        self._entry = active.push(self._run, step)
        return step

    def __exit__(self, *exception: Any) -> Any:
        if self._entry is not None:
            active.close(self._entry)
        return self._manager.__exit__(*exception)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)


def _follow(run: Any) -> None:
    """Our own runs say which step is active. One of the platform's does not: its ``step`` is wrapped, on this run alone.

    A run that cannot be followed (no ``step``, no attributes of its own) works with ``handler.step`` as before.
    """
    if getattr(run, "_litmus_host_follows", False):
        return
    original = getattr(run, "step", None)
    if not callable(original):
        return

    def step(*args: Any, **kwargs: Any) -> _FollowedStep:
        return _FollowedStep(run, original(*args, **kwargs))

    try:
        run.step = step
        run._litmus_host_follows = True
    except (AttributeError, TypeError, ValueError):
        return
