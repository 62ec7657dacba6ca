"""Which step is active where: per thread and per asyncio task, for our runs and for those of the platform's own clients."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any


class Entry:
    """One step that was made active. It counts until it is closed, wherever that happens."""

    __slots__ = ("is_open", "parent", "run", "step")

    def __init__(self, run: Any, step: Any, parent: Entry | None) -> None:
        self.run = run
        self.step = step
        self.parent = parent
        self.is_open = True


# A task begins with the steps that were active where it was made. A thread begins with none.
_innermost: ContextVar[Entry | None] = ContextVar("litmus_host_active_step", default=None)


def push(run: Any, step: Any) -> Entry:
    """Makes a step the active one here."""
    entry = Entry(run, step, _open(_innermost.get()))
    _innermost.set(entry)
    return entry


def close(entry: Entry) -> None:
    """Ends that: here the step around it is the active one again, and elsewhere, too, when it is next looked for."""
    entry.is_open = False
    _innermost.set(_open(_innermost.get()))


def step_of(run: Any) -> Any | None:
    """The innermost active step of a run; of any run where none is named."""
    entry = _innermost.get()
    while entry is not None:
        if entry.is_open and (run is None or entry.run is run):
            return entry.step
        entry = entry.parent
    return None


def _open(entry: Entry | None) -> Entry | None:
    """The innermost that still counts; what lies above it is forgotten."""
    while entry is not None and not entry.is_open:
        entry = entry.parent
    return entry
