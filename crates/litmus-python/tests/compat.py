"""The platform's own client with our handler, and our reader on what it wrote.

Run by the interpreter of a venv that has a release of the platform, with this package on PYTHONPATH:

    VENV/bin/python crates/litmus-python/tests/compat.py

`cargo xtask compat` does so for litmus-test 0.1.3 and testerkit 0.6.0. The platform starts no daemon for what is done here.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from pathlib import Path
from typing import Any

from litmus_host import Client, LitmusHandler

try:
    from litmus.client import LitmusClient as PlatformClient

    PRODUCT = "litmus"
except ImportError:
    from testerkit.client import TesterKitClient as PlatformClient

    PRODUCT = "testerkit"

UNIT = "units" if PRODUCT == "litmus" else "unit"
log = logging.getLogger("my_test")
log.setLevel(logging.DEBUG)
log.propagate = False


class PageHandler(logging.Handler):
    """What the page's handler does, where the caller sets the step."""

    def __init__(self, run: Any) -> None:
        super().__init__()
        self.step: Any = None

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING and self.step is not None:
            self.step.fail(record.getMessage())


def program(run: Any, handler: Any, sets_the_step: bool) -> None:
    """One test, whoever listens."""

    def enter(step: Any) -> Any:
        if sets_the_step:
            handler.step = step
        return step

    log.warning("before any step")
    with run.step("passes") as step:
        enter(step).measure("vcc", 3.31, **{UNIT: "V"}, low=3.0, high=3.6)
        log.info("settled")
    with run.step("fails by a warning") as step:
        enter(step).measure("vdd", 1.81, **{UNIT: "V"}, low=1.7, high=1.9)
        log.warning("rail sagged to %.1f V", 2.9)
    with run.step("fails by a limit") as step:
        enter(step).measure("vio", 9.0, low=1.7, high=1.9)
    with run.step("sweep") as step:
        enter(step)
        for load in (1, 2):
            with step.vector(load_ma=load) as vector:
                vector.measure("efficiency", 91.5, **{UNIT: "%"}, low=80)
        log.error("no answer")
    if sets_the_step:
        handler.step = None
    log.error("after all steps")


def record(folder: Path, serial: str, make: Any, sets_the_step: bool) -> tuple[list[Any], str]:
    """Steps with their outcomes and messages as the platform holds them, and the run's id."""
    client = PlatformClient(folder)
    run = client.start_run(serial, "bench_1")
    handler = make(run)
    log.addHandler(handler)
    try:
        program(run, handler, sets_the_step)
    finally:
        log.removeHandler(handler)
    ended = run.finish()
    assert str(ended.outcome.value) == "failed", ended.outcome
    steps = [(step.name, step.outcome and step.outcome.value, step.error_message) for step in ended.steps]
    return steps, str(ended.id)


def ours_does_what_the_pages_does(folder: Path) -> None:
    # A serial each: litmus-test 0.1.3 overwrites what was sealed for the same serial within the same second.
    page, page_id = record(folder, "SN001", PageHandler, True)
    ours, ours_id = record(folder, "SN002", LitmusHandler, True)
    alone, alone_id = record(folder, "SN003", LitmusHandler, False)
    assert page == ours == alone, f"\n{page}\n{ours}\n{alone}"
    failed = {name: message for name, outcome, message in ours if outcome == "failed"}
    assert failed == {"fails by a warning": "rail sagged to 2.9 V", "fails by a limit": None, "sweep": "no answer"}, failed

    client = Client(folder)
    assert {run.run_id for run in client.list_runs()} == {page_id, ours_id, alone_id}
    for run_id in (page_id, ours_id, alone_id):
        run = client.get_run(run_id)
        assert run is not None and run.outcome == "failed", run
        steps = client.get_table(run, "steps").to_pylist()
        outcomes = {row["step_name"]: row["step_outcome"] for row in steps}
        assert {name for name, outcome in outcomes.items() if outcome == "failed"} == set(failed), outcomes
        names = sorted(row["measurement_name"] for row in client.get_measurements(run))
        assert names == ["efficiency", "efficiency", "vcc", "vdd", "vio"], names


def threads_fail_their_own_steps(folder: Path) -> None:
    run = PlatformClient(folder).start_run("SN002", "bench_1")
    handler = LitmusHandler(run)
    log.addHandler(handler)

    def work(number: int) -> None:
        with run.step(f"step {number}") as step:
            for at in range(50):
                step.measure(f"m{at}", float(at), low=0)
                if number % 2:
                    log.warning("thread %d", number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.removeHandler(handler)
    failed = {step.name: step.error_message for step in run.finish().steps if step.outcome and step.outcome.value == "failed"}
    assert failed == {f"step {number}": f"thread {number}" for number in (1, 3, 5)}, failed


def a_step_is_left_as_the_platform_leaves_it(folder: Path) -> None:
    """Following a run changes nothing of what `with run.step()` does with an exception."""
    ends = []
    for make in (lambda run: None, LitmusHandler):
        run = PlatformClient(folder).start_run("SN003", "bench_1")
        make(run)
        try:
            with run.step("breaks", "a description") as step:
                step.measure("v", 1.0)
                raise KeyError("x")
        except KeyError:
            pass
        [step] = run.finish().steps
        ends.append((step.name, step.description, step.outcome, len(step.vectors)))
    assert ends[0] == ends[1], ends


for check in (ours_does_what_the_pages_does, threads_fail_their_own_steps, a_step_is_left_as_the_platform_leaves_it):
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder))
    print(f"{PRODUCT}: {check.__name__.replace('_', ' ')}")
