"""Every code block of the pages "Logging integration" of Litmus and TesterKit, run as it stands but for its import."""

from __future__ import annotations

import logging
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import boto3
import pytest
from conftest import CORPUS
from pages import blocks, run

import litmus_host
from litmus_host import Client, RunSummary

LITMUS = blocks("litmus logging")
TESTERKIT = blocks("testerkit logging")


def test_the_pages_have_the_blocks_that_run_here() -> None:
    marks = [
        (LITMUS, ["class LitmusHandler", "addHandler(handler)", "def sync_to_database", "def upload_results", "duckdb.sql"]),
        (TESTERKIT, ["class TesterKitHandler", "def sync_to_database", "def upload_runs", "duckdb.sql"]),
    ]
    for page, expected in marks:
        assert len(page) == len(expected)
        assert all(mark in block for mark, block in zip(expected, page))
        assert all("litmus.client" not in block and "testerkit import" not in block for block in page)
    # The last of TesterKit's page asks the raw files, and asks them for a column that they do not have: nothing of ours is in it.
    assert "import" not in TESTERKIT[3].replace("import duckdb", "")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with real runs of Litmus 0.1.3 in `results`, where its client looks."""
    shutil.copytree(CORPUS / "litmus-test-0.1.3" / "client" / "data", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def any_run(project: Path) -> RunSummary:
    runs = Client(project / "results").list_runs(None)
    return next(run for run in runs if run.measurements > 1 and re.fullmatch(r"[\w-]+", run.dut_serial or "", re.ASCII))


@pytest.fixture
def my_test() -> Any:
    logger = logging.getLogger("my_test")
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)


@pytest.mark.parametrize("whose", ["the page's own handler", "ours"])
def test_the_logging_bridge(project: Path, my_test: logging.Logger, whose: str) -> None:
    space = run(LITMUS[0], {})
    if whose == "ours":
        space["LitmusHandler"] = litmus_host.LitmusHandler
    space = run(LITMUS[1], space)
    recorded, handler = space["run"], space["handler"]
    with recorded.step("power_on") as step:
        handler.step = step
        step.measure("vcc", 3.31, units="V", low=3.0, high=3.6)
        my_test.info("settled")
        my_test.warning("rail sagged to %.1f V", 2.9)
    with recorded.step("power_off") as step:
        handler.step = step
        step.measure("vcc", 0.0, units="V", high=0.1)
    sealed = recorded.finish()
    assert sealed.outcome == "failed"
    found = Client(project / "results").get_run(sealed.run_id)
    assert found is not None and (found.outcome, found.dut_serial, found.station_id) == ("failed", "SN001", "bench_1")
    steps = Client(project / "results").get_table(found, "steps").to_pylist()
    assert [(row["step_name"], row["step_outcome"]) for row in steps] == [("power_on", "failed"), ("power_off", "passed")]


def test_sync_to_a_database(any_run: RunSummary) -> None:
    space = run(LITMUS[2], {})
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE test_runs (id, serial, outcome)")
    database.execute("CREATE TABLE measurements (run_id, name, value)")
    space["sync_to_database"](any_run.run_id, database)  # type: ignore[operator]
    assert database.execute("SELECT * FROM test_runs").fetchall() == [(any_run.run_id, any_run.dut_serial, any_run.outcome)]
    rows = database.execute("SELECT run_id, name, value FROM measurements").fetchall()
    told = Client("results").get_measurements(any_run.run_id)
    assert len(rows) == any_run.measurements
    assert rows == [(any_run.run_id, row["measurement_name"], row["measurement_value"]) for row in told]
    database.close()


def test_our_own_sync_to_a_database_puts_more_there(any_run: RunSummary, state: Path) -> None:
    """One line in the place of the function: into a file, since a child of ours writes it."""
    database = sqlite3.connect("factory.db")
    litmus_host.sync_to_database(any_run.run_id, database, data_dir="results")
    found = database.execute("SELECT run_id, dut_serial, outcome FROM test_runs").fetchall()
    assert found == [(any_run.run_id, any_run.dut_serial, any_run.outcome)]
    assert database.execute("SELECT count(*) FROM measurements").fetchone() == (any_run.measurements,)
    database.close()


def test_upload_to_s3(any_run: RunSummary, s3: dict[str, str]) -> None:
    space = run(LITMUS[3], {})
    space["upload_results"](any_run.run_id, s3["bucket"])  # type: ignore[operator]
    key = f"test_results/{any_run.dut_serial}/{any_run.run_id}.parquet"
    stored = boto3.client("s3").get_object(Bucket=s3["bucket"], Key=key)["Body"].read()
    assert stored == Path(any_run.file_path).read_bytes()


def test_our_own_upload_puts_the_same_there(any_run: RunSummary, s3: dict[str, str], state: Path) -> None:
    options = {"endpoint": s3["endpoint"], "region": "us-east-1"}
    litmus_host.upload_results(any_run.run_id, s3["bucket"], data_dir="results", options=options)
    key = f"test_results/{any_run.dut_serial}/{any_run.run_id}.parquet"
    stored = boto3.client("s3").get_object(Bucket=s3["bucket"], Key=key)["Body"].read()
    assert stored == Path(any_run.file_path).read_bytes()


def test_the_query_over_the_files(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recorded = litmus_host.LitmusClient("recorded").start_run(dut_serial="SN001", station_id="bench_1")
    with recorded.step("power_on") as step:
        step.measure("vcc", 3.31, units="V", low=3.0, high=3.6)
    recorded.finish()
    run(LITMUS[4].replace("<data_dir>", "recorded"), {})
    shown = capfd.readouterr().out
    assert "SN001" in shown and "power_on" in shown and "passed" in shown


def test_testerkits_bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, my_test: logging.Logger) -> None:
    (tmp_path / "testerkit.yaml").write_text("data_dir: results\n")
    monkeypatch.chdir(tmp_path)
    space = run(TESTERKIT[0], {})
    [found] = litmus_host.TesterKitClient().list_runs()
    assert (found.test_run_id, found.outcome, found.uut_serial_number) == (str(space["run"].id), "failed", "SN001")  # type: ignore[attr-defined]
    assert found.generation == "nested2"


def test_our_handler_in_testerkits_bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, my_test: logging.Logger) -> None:
    (tmp_path / "testerkit.yaml").write_text("data_dir: results\n")
    monkeypatch.chdir(tmp_path)
    # The class of the page taken out, ours imported in its place.
    head, _, tail = TESTERKIT[0].partition("class TesterKitHandler")
    block = head + "from litmus_host import TesterKitHandler\n" + tail[tail.index("client = ") :]
    run(block, {})
    [found] = litmus_host.TesterKitClient().list_runs()
    assert found.outcome == "failed"


def test_testerkits_sync_to_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(CORPUS / "testerkit-0.6.0" / "client" / "data", tmp_path / "results")
    (tmp_path / "testerkit.yaml").write_text("data_dir: results\n")
    monkeypatch.chdir(tmp_path)
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE test_runs (run_id, serial, outcome)")
    database.execute("CREATE TABLE measurements (run_id, name, value)")
    space = run(TESTERKIT[1], {})
    found = next(run for run in litmus_host.TesterKitClient().list_runs(None) if run.measurements > 1)
    space["sync_to_database"](found.test_run_id[:8], database)  # type: ignore[operator]
    told = (found.test_run_id, found.uut_serial_number, found.outcome)
    assert database.execute("SELECT * FROM test_runs").fetchall() == [told]
    assert database.execute("SELECT count(*) FROM measurements").fetchone() == (found.measurements,)
    database.close()


def test_testerkits_upload(project: Path, s3: dict[str, str]) -> None:
    space = run(TESTERKIT[2], {})
    space["upload_runs"]("results", s3["bucket"])  # type: ignore[operator]
    listed = boto3.client("s3").list_objects_v2(Bucket=s3["bucket"])["Contents"]
    assert len(listed) == len(Client("results").list_runs(None))


# The reference page of the client: the same classes under the same names.


def test_every_block_of_the_client_page_runs(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    page = blocks("litmus client")
    bench = {
        "measure_output": lambda voltage: voltage * 0.99,
        "read_voltage": {"VCC": 3.31, "VDD": 1.81}.__getitem__,
        "set_load": lambda load: None,
        "calc_efficiency": lambda: 91.5,
    }
    space: dict[str, Any] = dict(bench)
    ran = 0
    for block in page:
        if "step.measure(\n    name=" in block:
            # An excerpt: it needs a step around it.
            with space["client"].start_run("SN1", "bench_1").step("excerpt") as step:
                space["step"] = step
                run(block, space)
        elif block.startswith("with "):
            # Excerpts that need a run that is not finished.
            space["run"] = space["client"].start_run(dut_serial="SN1", station_id="bench_1")
            run(block, space)
            space["run"].finish()
        elif "sys.argv" in block:
            monkeypatch.setattr("sys.argv", ["report.py", "SN-CLI", "5.01"])
            with pytest.raises(SystemExit) as ended:
                run(block, dict(bench))
            assert ended.value.code == 0
        elif "get_run(" in block and "abc12345" in block:
            last = litmus_host.LitmusClient().list_runs()[0].run_id[:8]
            run(block.replace("abc12345", last), space)
        else:
            run(block, space)
        ran += 1
    assert ran == len(page) >= 12
    assert space["run_production_test"]("SN-PROD") is True
    outcome = space["submit_labview_run"]("SN-LV", "bench_2", [{"name": "v", "value": 9.0, "low": 1, "high": 2, "units": "V"}])
    assert outcome.outcome == "failed"
    space["submit_teststand_results"]("SN-TS", "bench_3", '{"rails": [{"name": "v", "value": 1.5, "low": 1, "high": 2}]}')
    by_serial = {run.dut_serial: run.outcome for run in litmus_host.LitmusClient().list_runs(None)}
    assert (by_serial["SN-CLI"], by_serial["SN-LV"], by_serial["SN-TS"]) == ("passed", "failed", "passed")
    assert "Test complete: passed" in capsys.readouterr().out
