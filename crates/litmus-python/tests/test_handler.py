"""The bridge from logging, on stand-ins for runs of the platform; test_platform.py (compat) has the real ones.

What the stand-ins do is what the clients of litmus-test 0.1 and testerkit 0.6 do: `run.step()` is a context manager that
yields a step, which has `fail(message)`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import threading
import timeit
from collections.abc import Iterator
from typing import Any

import pytest

from litmus_host import LitmusHandler, TesterKitHandler


class Step:
    def __init__(self, name: str) -> None:
        self.name = name
        self.failures: list[str | None] = []

    def fail(self, message: str | None = None) -> None:
        self.failures.append(message)


class Run:
    def __init__(self) -> None:
        self.steps: list[Step] = []

    @contextlib.contextmanager
    def step(self, name: str, description: str | None = None) -> Iterator[Step]:
        step = Step(name)
        self.steps.append(step)
        yield step


@pytest.fixture
def log() -> logging.Logger:
    """A logger that nobody else listens to, pytest neither."""
    return logging.Logger("my_test", logging.DEBUG)


def test_a_warning_fails_the_step_that_was_set(log: logging.Logger) -> None:
    run = Run()
    handler = LitmusHandler(run)
    assert handler.run is run and handler.step is None and isinstance(handler, logging.Handler)
    log.addHandler(handler)
    log.warning("before any step")
    with run.step("power_on") as step:
        handler.step = step
        log.info("settling")
        log.warning("rail sagged to %.1f V", 2.9)
        log.error("no answer")
    assert step.failures == ["rail sagged to 2.9 V", "no answer"]


def test_a_warning_fails_the_active_step_by_itself(log: logging.Logger) -> None:
    run = Run()
    log.addHandler(LitmusHandler(run))
    with run.step("outer") as outer:
        log.warning("a")
        with run.step("inner") as inner:
            log.warning("b")
        log.warning("c")
    log.warning("d")
    assert (outer.failures, inner.failures) == (["a", "c"], ["b"])


def test_the_step_that_was_set_goes_before_the_active_one(log: logging.Logger) -> None:
    run = Run()
    handler = LitmusHandler(run)
    log.addHandler(handler)
    other = Step("other")
    with run.step("active") as active:
        handler.step = other
        log.warning("a")
        handler.step = None
        log.warning("b")
    assert (other.failures, active.failures) == (["a"], ["b"])


def test_a_step_ends_as_before_with_the_exception_that_ended_it(log: logging.Logger) -> None:
    run = Run()
    log.addHandler(LitmusHandler(run))
    with pytest.raises(KeyError), run.step("breaks"):
        raise KeyError("x")
    log.warning("nothing is active")
    assert run.steps[0].failures == []


def test_steps_may_end_in_any_order(log: logging.Logger) -> None:
    run = Run()
    log.addHandler(LitmusHandler(run))
    first, second, third = (run.step(name) for name in ("first", "second", "third"))
    opened = [manager.__enter__() for manager in (first, second, third)]
    log.warning("a")
    first.__exit__(None, None, None)
    log.warning("b")
    third.__exit__(None, None, None)
    log.warning("c")
    second.__exit__(None, None, None)
    log.warning("d")
    assert [step.failures for step in opened] == [[], ["c"], ["a", "b"]]


def test_each_run_has_its_own_active_step(log: logging.Logger) -> None:
    one, other = Run(), Run()
    log.addHandler(LitmusHandler(one))
    log.addHandler(LitmusHandler(other))
    with one.step("one") as a, other.step("other") as b:
        log.warning("w")
    assert (a.failures, b.failures) == (["w"], ["w"])
    with one.step("alone") as a:
        log.warning("w")
    assert a.failures == ["w"] and b.failures == ["w"]


def test_two_handlers_of_a_run_follow_it_once(log: logging.Logger) -> None:
    run = Run()
    first = LitmusHandler(run)
    followed = run.step
    second = LitmusHandler(run)
    assert run.step is followed
    log.addHandler(first)
    log.addHandler(second)
    with run.step("s") as step:
        log.warning("w")
    assert step.failures == ["w", "w"]


def test_a_thread_fails_its_own_step(log: logging.Logger) -> None:
    run = Run()
    log.addHandler(LitmusHandler(run))
    seen: list[Step] = []

    def work(number: int) -> None:
        log.warning("thread %d before", number)
        with run.step(f"step {number}") as step:
            seen.append(step)
            for _ in range(20):
                log.warning("thread %d", number)

    with run.step("main") as main:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert main.failures == [], "a thread begins with no step"
    assert len(seen) == 8
    for step in seen:
        assert step.failures == [f"thread {step.name.split()[1]}"] * 20


def test_tasks_fail_their_own_steps_in_any_interleaving(log: logging.Logger) -> None:
    """Random trees of steps in random tasks: each record says which step it belongs to."""
    for seed in range(60):
        chance = random.Random(seed)
        run = Run()
        handler = LitmusHandler(run)
        log.addHandler(handler)
        expected: list[tuple[Step, list[str]]] = []

        async def work(path: str, depth: int, chance: random.Random = chance, run: Run = run, expected: Any = expected) -> None:
            with run.step(path) as step:
                said: list[str] = []
                expected.append((step, said))
                children = []
                for number in range(chance.randrange(1, 5)):
                    if chance.random() < 0.6:
                        await asyncio.sleep(0)
                    if depth < 3 and chance.random() < 0.4:
                        child = work(f"{path}/{number}", depth + 1)
                        if chance.random() < 0.5:
                            await child
                        else:
                            children.append(asyncio.ensure_future(child))
                    said.append(f"{path} {number}")
                    log.warning("%s %d", path, number)
                # A step that ends before its children: they have steps of their own.
                if chance.random() < 0.5:
                    await asyncio.gather(*children)
                    children = []
            await asyncio.gather(*children)

        async def all_of_it(work: Any = work) -> None:
            await asyncio.gather(*(work(f"t{number}", 0) for number in range(4)))

        asyncio.run(all_of_it())
        log.removeHandler(handler)
        assert len(expected) >= 4
        for step, said in expected:
            assert step.failures == said, f"seed {seed}, {step.name}"


def test_a_task_that_outlives_the_step_around_it_fails_nothing(log: logging.Logger) -> None:
    run = Run()
    log.addHandler(LitmusHandler(run))

    async def later() -> None:
        await asyncio.sleep(0.01)
        log.warning("too late")

    async def test() -> None:
        with run.step("short"):
            task = asyncio.ensure_future(later())
            await asyncio.sleep(0)
        await task

    asyncio.run(test())
    assert run.steps[0].failures == []


def test_it_never_raises_into_the_test(log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(Step):
        def fail(self, message: str | None = None) -> None:
            raise OSError("the run is gone")

    handler = LitmusHandler()
    log.addHandler(handler)
    handler.step = Broken("broken")
    log.warning("w")
    assert "the run is gone" in capsys.readouterr().err, "it is told, as logging tells it"
    handler.step = object()
    log.warning("w")
    step = handler.step = Step("s")
    log.warning("%d items", "many")

    class Unspeakable:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    log.warning("%s", Unspeakable())
    log.warning(Unspeakable())
    assert step.failures[0] == "'%d items' with arguments that do not fit it (TypeError)"
    assert step.failures[1] == "'%s' with arguments that do not fit it (RuntimeError)"
    assert step.failures[2] == "a Unspeakable without a text (RuntimeError) with arguments that do not fit it (RuntimeError)"

    class Unwritable:
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    log.warning(Unwritable())
    assert len(step.failures) == 4, "what cannot be shown was said all the same"


def test_what_is_no_unicode_fails_the_step_too(log: logging.Logger) -> None:
    class Keeps(Step):
        def log(self, level: int, logger: str, message: str) -> None:
            raise OSError("it cannot be kept")

    handler = LitmusHandler(keep_level=logging.DEBUG)
    log.addHandler(handler)
    step = handler.step = Keeps("s")
    handler.handleError = lambda record: None  # type: ignore[method-assign]
    log.warning("cannot read %s", os.fsdecode(b"caf\xe9.csv"))
    assert step.failures == ["cannot read caf\\udce9.csv"]


def test_it_hears_nothing_of_what_is_logged_while_it_is_at_work(log: logging.Logger) -> None:
    class Chatty(Step):
        def fail(self, message: str | None = None) -> None:
            super().fail(message)
            log.error("failing %s", self.name)

    class Echo:
        def __str__(self) -> str:
            log.warning("somebody asks for my text")
            return "echo"

    handler = LitmusHandler()
    log.addHandler(handler)
    step = handler.step = Chatty("s")
    log.warning("w %s", Echo())
    assert step.failures == ["w echo"]


def test_what_litmus_host_says_of_itself_is_no_test_result(log: logging.Logger) -> None:
    handler = LitmusHandler()
    handler.step = step = Step("s")
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        logging.getLogger("litmus_host").warning("w")
        logging.getLogger("litmus_host.read").warning("w")
        logging.getLogger("litmus_hostile").warning("counts")
    finally:
        root.removeHandler(handler)
    assert step.failures == ["counts"]


def test_levels_and_filters_are_those_of_logging(log: logging.Logger) -> None:
    handler = LitmusHandler(level="ERROR")
    step = handler.step = Step("s")
    log.addHandler(handler)
    log.warning("below the handler's level")
    log.error("a")
    handler.setLevel(logging.NOTSET)
    handler.addFilter(lambda record: "noise" not in record.getMessage())
    log.error("noise")
    assert step.failures == ["a"]
    log.removeHandler(handler)
    handler = LitmusHandler(fail_level="info")
    handler.step = step
    log.addHandler(handler)
    log.info("b")
    log.debug("below")
    assert step.failures == ["a", "b"]
    with pytest.raises(ValueError, match="'loud' is not a level"):
        LitmusHandler(fail_level="loud")


def test_a_run_that_cannot_be_followed_works_with_the_step_set(log: logging.Logger) -> None:
    class Slotted:
        __slots__ = ()

        def step(self, name: str) -> Any:
            return contextlib.nullcontext(Step(name))

    run = Slotted()
    handler = LitmusHandler(run)
    log.addHandler(handler)
    with run.step("s") as step:
        log.warning("nobody knows")
        handler.step = step
        log.warning("w")
    assert step.failures == ["w"]
    LitmusHandler(object())


def test_the_handler_of_testerkits_page_takes_a_step(log: logging.Logger) -> None:
    step = Step("s")
    log.addHandler(TesterKitHandler(step))
    log.warning("rail sagged to 2.9 V")
    log.info("fine")
    assert step.failures == ["rail sagged to 2.9 V"]


def test_a_record_that_fails_nothing_costs_less_than_two_microseconds() -> None:
    run = Run()
    handler = LitmusHandler(run)
    record = {
        level: logging.LogRecord("my_test", level, __file__, 1, "rail at %.2f V", (3.3,), None)
        for level in (logging.INFO, logging.WARNING)
    }
    costs = {}
    with run.step("s"):
        costs["below the level, in a step"] = cost(lambda: handler.handle(record[logging.INFO]))
    costs["a warning outside of any step"] = cost(lambda: handler.handle(record[logging.WARNING]))
    print({what: f"{us:.2f} us" for what, us in costs.items()})
    assert all(us < 2 for us in costs.values()), costs


def cost(call: Any) -> float:
    """Microseconds a call; the best of many, for others work on this machine, too."""
    number = 20_000
    return min(timeit.repeat(call, number=number, repeat=15)) / number * 1e6


def test_lower_records_are_kept_where_the_step_has_a_place_for_them(log: logging.Logger) -> None:
    class Keeping(Step):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            self.kept: list[tuple[int, str, str]] = []

        def log(self, level: int, logger: str, message: str) -> None:
            self.kept.append((level, logger, message))

    handler = LitmusHandler(keep_level=logging.INFO)
    log.addHandler(handler)
    step = handler.step = Keeping("s")
    log.debug("no")
    log.info("settled at %d", 3)
    log.error("no answer")
    assert step.kept == [(20, "my_test", "settled at 3"), (40, "my_test", "no answer")]
    assert step.failures == ["no answer"]
    plain = handler.step = Step("without a place")
    log.info("lost, as on the platform")
    log.warning("w")
    assert plain.failures == ["w"]
