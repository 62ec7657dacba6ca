"""Recording from Python, read back by the reader. What the recorder itself promises is tested in crates/litmus-record."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import json
import logging
import math
import os
import shutil
import threading
import unittest
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from litmus_host import Client, LitmusClient, LitmusHandler, RecordError, Run, TesterKitClient

both_formats = pytest.mark.parametrize("format", ["flat", "nested"])


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path / "results")


def steps(client: Client, run: Any) -> dict[str, Any]:
    return {row["step_path"]: row["step_outcome"] for row in client.get_table(run, "steps").to_pylist()}


@both_formats
def test_what_was_recorded_is_read_back(tmp_path: Path, format: str) -> None:
    client = Client(tmp_path / "results", format=format)
    started = dt.datetime(2026, 6, 1, 8, 30, 0, 123456, tzinfo=dt.timezone.utc)
    run_id = uuid.uuid4()
    options: dict[str, Any] = {
        "dut_part_number": "PCB-001", "dut_revision": "A", "dut_lot_number": "LOT2026", "station_type": "production",
        "operator": "Jane Doe", "test_phase": "production", "product_id": "P-1", "project_name": "proj", "fixture_id": "F1",
    }  # fmt: skip
    run = client.start_run("SN/7 µ", "bench_1", run_id=run_id, started_at=started, **options)
    assert run.id == run_id and isinstance(run, Run)
    run.custom(batch=7, note="späť", limits={"a": [1, math.inf]})
    run.instrument("dmm", model="34461A", serial_number="MY001", mocked=False)
    with run.step("rails", "Verify all rails") as rails:
        judged = rails.measure("vcc", 3.31, units="V", low=3.0, high=3.6, spec_ref="S-1", dut_pin="TP1")
        assert (judged.outcome, judged.value, judged.unit, judged.limit_comparator) == ("passed", 3.31, "V", "GELE")
        rails.measure("no limit", 1)
        rails.measure("nothing read", None, low=0)
        rails.measure("strange", math.nan, low=-math.inf, high=Decimal("2.5"))
        with rails.step("inner") as inner:
            inner.measure("v", 9, high=1, comparator="LT")
    with run.step("sweep") as sweep:
        for load_ma in (0, 100):
            with sweep.vector(load_ma=load_ma, mode="cv", on=True) as vector:
                vector.measure("efficiency", 91.5, unit="%", low=80)
                vector.observe("temperature", 25.5)
    sealed = run.finish()
    assert sealed.run_id == str(run_id) and sealed.id == run_id and Path(sealed.file_path).is_file()
    assert sealed.outcome == "failed" and sealed.started_at == started and sealed.ended_at > started
    assert run.finish() == sealed, "finishing again gives the same answer"

    [found] = client.list_runs()
    assert found.file_path == str(Path(sealed.file_path).resolve())
    assert (found.run_id, found.dut_serial, found.station_id, found.outcome) == (str(run_id), "SN/7 µ", "bench_1", "failed")
    assert found.started_at == started
    assert found.generation == {"flat": "flat", "nested": "nested2"}[format]
    for name, value in options.items():
        assert getattr(found, name) == value, name
    row = client.get_table(found, "runs").to_pylist()[0]
    assert (row["custom_batch"], row["custom_note"]) == (7, "späť")
    by_name = {row["measurement_name"]: row for row in client.get_measurements(found)}
    vcc = by_name["vcc"]
    assert (vcc["measurement_value"], vcc["measurement_units"], vcc["measurement_outcome"]) == (3.31, "V", "passed")
    assert (vcc["limit_low"], vcc["limit_high"], vcc["spec_ref"], vcc["dut_pin"]) == (3.0, 3.6, "S-1", "TP1")
    assert vcc["measurement_timestamp"] == judged.timestamp
    assert by_name["no limit"]["measurement_outcome"] == "done"
    assert by_name["nothing read"]["measurement_value"] is None
    assert math.isnan(by_name["strange"]["measurement_value"]) and by_name["strange"]["limit_high"] == 2.5
    assert by_name["v"]["measurement_outcome"] == "failed"
    assert by_name["efficiency"]["in_load_ma"] == 100 and by_name["efficiency"]["in_on"] in (True, "true")
    assert steps(client, found) == {"rails": "failed", "rails/inner": "failed", "sweep": "passed"}
    instruments = client.get_table(found, "instruments").to_pylist()
    assert {row["instrument_model"] for row in instruments} == {"34461A"}


def test_attachments_lie_beside_the_run(client: Client, tmp_path: Path) -> None:
    picture = tmp_path / "photo.png"
    picture.write_bytes(b"\x89PNG")
    run = client.start_run("SN1", "bench_1")
    with run.step("s") as step:
        step.measure("v", 1)
        references = [step.attach("scope.csv", "t,v\n"), step.attach("raw.bin", b"\0\1"), step.attach("photo", picture)]
    run.finish()
    assert len(set(references)) == 3 and all(reference.startswith("file://") for reference in references)
    outputs = client.get_table(run, "measurements").column_names + client.get_table(run, "steps").column_names
    assert "out_scope" in outputs
    stored = sorted(path.read_bytes() for path in Path(client.data_dir).rglob("*") if path.is_file() and path.suffix != ".parquet")
    assert {b"t,v\n", b"\0\1", b"\x89PNG"} <= set(stored)


def test_exceptions_end_steps_as_what_they_are(client: Client) -> None:
    run = client.start_run("SN1", "bench_1")
    ends = {
        "errors": ZeroDivisionError("x"), "fails": AssertionError("3.1 < 3.3"), "skips": unittest.SkipTest("no lamp"),
        "pytest skips": pytest.skip.Exception("no lamp"), "pytest fails": pytest.fail.Exception("bad"),
        "interrupted": KeyboardInterrupt(),
    }  # fmt: skip
    for name, exception in ends.items():
        with pytest.raises(type(exception)), run.step(name) as step:
            step.measure("v", 1, low=0)
            raise exception
    run.finish()
    expected = ["errored", "failed", "skipped", "skipped", "failed", "errored"]
    found = steps(client, run)
    assert found["errors"] == "errored" and found["fails"] == "failed" and found["pytest fails"] == "failed"
    assert [found[name] for name in ends] == expected


@both_formats
def test_what_is_no_unicode_is_written_out(tmp_path: Path, format: str) -> None:
    client = Client(tmp_path / "results", format=format)
    odd = os.fsdecode(b"caf\xe9")
    run = client.start_run(odd, "bench_1", operator=odd)
    log = logging.Logger("my_test")
    log.addHandler(LitmusHandler(run, keep_level=logging.DEBUG))
    with run.step(odd) as step:
        step.measure(odd, 1, units=odd)
        step.observe(odd, [odd, {odd: odd}])
        step.attach(odd + ".txt", odd)
        with step.vector(where=odd):
            log.info("info %s", odd)
    with run.step("logs"):
        log.warning("cannot read %s", odd)

    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise IndexError("no text")

    with pytest.raises(ValueError, match="bad reply"), run.step("raises"):
        raise ValueError(f"bad reply {odd}")
    with pytest.raises(Unspeakable), run.step("unspeakable"):
        raise Unspeakable
    with run.step("by hand") as step:
        step.fail(ValueError("an exception"))  # type: ignore[arg-type]
    run.custom(where=odd)
    assert run.finish().outcome == "errored"
    written = "caf\\udce9"
    found = steps(client, run)
    assert found[written] is not None
    assert {name: found[name] for name in ("logs", "raises", "unspeakable", "by hand")} == {
        "logs": "failed", "raises": "errored", "unspeakable": "errored", "by hand": "failed",
    }  # fmt: skip
    measured = client.get_measurements(run)[0]
    assert measured["measurement_name"] == written and measured["measurement_units"] == written
    assert client.get_run(run).dut_serial == written


def test_a_child_that_ends_leaves_the_attachments_to_its_parent(client: Client) -> None:
    run = client.start_run("SN1", "bench_1")
    with run.step("s") as step:
        step.measure("v", 1)
        step.attach("scope.csv", b"1,2\n")
    child = os.fork()
    if child == 0:
        # As an interpreter ends: what it holds is dropped.
        del step, run
        gc.collect()
        os._exit(0)
    os.waitpid(child, 0)
    run.finish()
    attached = [path.read_bytes() for path in Path(client.data_dir).rglob("*scope.csv")]
    assert attached == [b"1,2\n"]


def test_attachments_that_are_gone_are_told(client: Client) -> None:
    run = client.start_run("SN1", "bench_1")
    with run.step("s") as step:
        step.attach("scope.csv", b"1,2\n")
    shutil.rmtree(Path(client.data_dir) / "recording" / f"{run.run_id}_ref")
    with pytest.raises(RecordError, match="attachments are gone") as told:
        run.finish()
    assert told.value.hint


def test_a_run_as_a_block_is_finished_whatever_ends_it(client: Client) -> None:
    with client.start_run("GOOD", "b") as run, run.step("s") as step:
        step.measure("v", 1, low=0)
    with pytest.raises(OSError), client.start_run("BAD", "b"):
        raise OSError("the bench is gone")
    with client.start_run("GIVEN UP", "b") as run:
        run.abort("operator")
    outcomes = {run.dut_serial: run.outcome for run in client.list_runs()}
    assert outcomes == {"GOOD": "passed", "BAD": "errored"}, "an aborted run is not saved, as on the platform"


def test_what_comes_too_late_is_told(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    run = client.start_run("SN1", "b")
    with run.step("s") as step:
        step.measure("v", 1)
    run.finish()
    with pytest.raises(RecordError, match="after the run was finished") as told:
        step.measure("late", 1)
    assert told.value.hint
    step.fail("too late")
    with client.start_run("SN2", "b") as harmless, harmless.step("s"):
        harmless.finish()
    assert harmless.finish().late == 0, "a step that ends after its run loses nothing"
    with caplog.at_level(logging.WARNING, "litmus_host"):
        assert run.finish().late >= 1
    assert "recorded after its end" in caplog.text


def test_what_is_wrong_is_told_at_once(client: Client, tmp_path: Path) -> None:
    run = client.start_run("SN1", "b")
    with run.step("s") as step:
        with pytest.raises(RecordError, match='"GTE" is no comparator'):
            step.measure("v", 1, comparator="GTE")
        with pytest.raises(ValueError, match="could not convert"):
            step.measure("v", "three")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="dut_seral"):
        client.start_run(dut_seral="SN1", station_id="b")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="dut_serial: invalid type: integer `5`, expected a string$"):
        client.start_run(5, "b")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="station_id: it is None"):
        client.start_run("SN1", None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name: it is None"):
        run.step(None)  # type: ignore[arg-type]
    with run.step("attach") as step, pytest.raises(TypeError, match="bytes-like"):
        step.attach("n.bin", 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="flat and nested"):
        Client(tmp_path, format="round")
    with pytest.raises(ValueError, match="off, on and synced"):
        Client(tmp_path, journal="maybe")
    (tmp_path / "file").write_text("")
    blocked = Client(tmp_path / "file" / "results").start_run("SN1", "b")
    with pytest.raises(RecordError, match="file"):
        blocked.finish()


def test_the_handler_fails_our_active_steps_and_vectors(client: Client) -> None:
    run = client.start_run("SN1", "b")
    handler = LitmusHandler(run, keep_level="INFO")
    log = logging.Logger("bench", logging.DEBUG)
    log.addHandler(handler)
    step_of_the_run = type(run).step
    assert run.step.__func__ is step_of_the_run, "our own run is not wrapped"  # type: ignore[attr-defined]
    with run.step("passes") as step:
        step.measure("v", 1, low=0)
        log.info("settled")
    with run.step("outer") as outer:
        with outer.step("inner") as inner:
            inner.measure("v", 1, low=0)
            log.warning("inner sagged")
        assert outer.outcome == "failed"
    with run.step("sweep") as sweep:
        with sweep.vector(load=1) as vector:
            vector.measure("v", 1, low=0)
            log.warning("at load 1")
            assert vector.outcome == "failed" and sweep.outcome == "failed"
        with sweep.vector(load=2) as vector:
            vector.measure("v", 1, low=0)
            assert vector.outcome == "passed"
    log.warning("outside")
    run.finish()
    assert steps(client, run) == {"passes": "passed", "outer": "failed", "outer/inner": "failed", "sweep": "failed"}
    kept = [path.read_text() for path in Path(client.data_dir).rglob("*log*.jsonl")]
    assert any('"settled"' in text and "INFO" in text for text in kept)
    assert any('"inner sagged"' in text for text in kept) and not any("outside" in text for text in kept)


def test_threads_and_tasks_record_their_own_steps(client: Client) -> None:
    run = client.start_run("SN1", "b")
    log = logging.Logger("bench", logging.DEBUG)
    log.addHandler(LitmusHandler(run))

    def thread(number: int) -> None:
        with run.step(f"thread {number}") as step:
            for at in range(50):
                step.measure(f"m{at}", at, low=0)
            if number % 2:
                log.error("odd")

    async def task(number: int) -> None:
        with run.step(f"task {number}") as step:
            await asyncio.sleep(0)
            step.measure("m", 1, low=0)
            if number % 2:
                log.error("odd")
            await asyncio.sleep(0)

    async def tasks() -> None:
        await asyncio.gather(*(task(number) for number in range(10)))

    threads = [threading.Thread(target=thread, args=(number,)) for number in range(6)]
    for one in threads:
        one.start()
    asyncio.run(tasks())
    for one in threads:
        one.join()
    run.finish()
    expected = {f"{what} {n}": "failed" if n % 2 else "passed" for what, count in (("thread", 6), ("task", 10)) for n in range(count)}
    assert steps(client, run) == expected
    assert len(client.get_measurements(run)) == 6 * 50 + 10


@both_formats
def test_values_of_any_kind_are_kept(tmp_path: Path, format: str) -> None:
    client = Client(tmp_path / "results", format=format)

    class Scalar:
        ndim = 0

        def item(self) -> int:
            return 5

    class Array:
        def tolist(self) -> list[float]:
            return [1.5, math.nan]

    moment = dt.datetime(2026, 6, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    given = {
        "none": None, "flag": True, "int": 5, "big": 2**70, "float": 0.1, "text": "°C", "moment": moment, "list": [1, "a", None],
        "dict": {"a": {"b": (1, 2)}}, "scalar": Scalar(), "array": Array(), "path": Path("/x"),
    }  # fmt: skip
    run = client.start_run("SN1", "b")
    with run.step("s") as step:
        for name, value in given.items():
            step.observe(name, value)
        step.measure("v", 1)
    run.finish()
    [row] = client.get_measurements(run)
    told = {name[4:]: value for name, value in row.items() if name.startswith("out_")}
    assert told["flag"] in (True, "true") and told["int"] == 5 and told["scalar"] == 5
    assert told["float"] == 0.1 and told["text"] == "°C" and told["path"] == "/x" and told["big"] == str(2**70)
    assert str(told["moment"]).startswith("2026-06-01") and "10:00" in str(told["moment"])
    # A flat file has lists and objects as texts.
    told.update({name: json.loads(told[name]) for name in ("list", "dict", "array") if isinstance(told[name], str)})
    assert told["list"] == [1, "a", None] and told["dict"] == {"a": {"b": [1, 2]}}
    assert told["array"] == [1.5, "NaN"]


def test_the_clients_of_the_platforms_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    litmus = LitmusClient()
    with litmus.start_run(dut_serial="SN1", station_id="b", operator="Jane") as run, run.step("s") as step:
        step.measure("v", 1, units="V")
    testerkit = TesterKitClient("results")
    options = {"uut_part_number": "P", "uut_revision": "A", "uut_lot_number": "L"}
    with testerkit.start_run(uut_serial="SN2", station_id="b", **options) as run, run.step("s") as step:
        step.measure("v", 1, unit="V")
    newest, oldest = testerkit.list_runs()
    assert (newest.uut_serial_number, newest.uut_part_number, newest.dut_revision) == ("SN2", "P", "A")
    assert (oldest.generation, newest.generation) == ("flat", "nested2")
    assert testerkit.get_measurements(newest)[0]["measurement_unit"] == "V"
    assert litmus.get_measurements(oldest)[0]["measurement_units"] == "V"


def test_a_journal_is_kept_and_gone_after_the_end(tmp_path: Path) -> None:
    client = Client(tmp_path / "results", journal="on")
    run = client.start_run("SN1", "b")
    with run.step("s") as step:
        step.measure("v", 1)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert before, "there is a journal"
    run.finish()
    assert not any(path.exists() for path in before), "it is gone when the run is sealed"
    assert len(client.list_runs()) == 1


def test_of_two_revisions_of_a_run_the_one_that_really_ended_counts(client: Client) -> None:
    run_id = uuid.uuid4()
    sealed = {}
    for number, outcome in enumerate(("aborted", "passed", "aborted")):
        started = dt.datetime(2026, 6, 1, number, tzinfo=dt.timezone.utc)
        with client.start_run("SN1", "b", run_id=run_id, started_at=started) as run, run.step("s") as step:
            step.measure("v", number, low=0)
            run.set_outcome(outcome)
        sealed[outcome] = run.finish()
        assert client.list_runs()[0].outcome == ("passed" if "passed" in sealed else outcome)
    [found] = client.list_runs()
    assert found.file_path == sealed["passed"].file_path
    assert [row["measurement_value"] for row in client.get_measurements(run_id)] == [1]


def test_a_file_that_is_replaced_is_read_again(client: Client) -> None:
    with client.start_run("SN1", "b") as run, run.step("s") as step:
        step.measure("v", 1, low=0)
    other = Client(client.data_dir + "-other")
    with other.start_run("SN2", "b") as second, second.step("s") as step:
        step.measure("v", 1, low=0)
    [before] = client.list_runs()
    Path(second.finish().file_path).replace(before.file_path)
    [after] = client.list_runs()
    assert (before.dut_serial, after.dut_serial) == ("SN1", "SN2") and after.path == before.path
    assert client.get_run(before.run_id) is None


def test_a_recorded_run_goes_onward(client: Client, tmp_path: Path, state: Path) -> None:
    with client.start_run("SN1", "b") as run, run.step("s") as step:
        step.measure("v", 1)
    assert client.sync_to_database(run, tmp_path / "runs.db").delivered == 1
