"""Reading, against what the platform's own reader says of the same files."""

from __future__ import annotations

import datetime as dt
import logging
import math
import pickle
import shutil
import struct
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import CORPUS, sources

import litmus_host
from litmus_host import Client, ReadError, TesterKitClient

SOURCES = sources()
NAMES = ["/".join(data.parent.parts[-2:]) for data, _ in SOURCES]
every_source = pytest.mark.parametrize(("data", "files"), SOURCES, ids=NAMES)


def moment(text: str | None) -> dt.datetime | None:
    return None if text is None else dt.datetime.fromisoformat(text)


@every_source
def test_runs_are_as_the_platform_lists_them(data: Path, files: dict[str, Any]) -> None:
    client = Client(data)
    runs = {run.run_id: run for run in client.list_runs(limit=None)}
    assert sorted(runs) == sorted(expected["run_id"] for expected in files.values())
    for path, expected in files.items():
        run, listed = runs[expected["run_id"]], expected["list_runs"]
        assert run.file_path == str(data.resolve() / path)
        assert Path(run.file_path).is_file()
        assert run.run_outcome == listed["outcome"]
        assert run.outcome == expected["reconstruct"]["outcome"]
        assert run.total_measurements == max(expected["measurement_count"], expected["rows_by_record_type"].get("measurement", 0))
        assert run.started_at == moment(listed["started_at"])
        # Of what else the platform's summary has, under the name that this release gives it.
        own = {"file_path", "outcome", "total_measurements", "total_steps", "started_at", "ended_at"}
        # (Its index leaves out some that the file has.)
        for name, value in listed.items():
            assert name in own or value is None or getattr(run, name) == value, name
        assert client.get_run(run.run_id) == run


def bits(value: Any) -> Any:
    """A float by its bits: no tolerance. The oracle writes what JSON cannot as texts."""
    if value in ("NaN", "Infinity", "-Infinity"):
        value = float(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "NaN" if math.isnan(value) else struct.pack(">d", value)
    return value


COMPARED = (
    "step_path step_index measurement_name measurement_value measurement_units measurement_outcome measurement_timestamp "
    "limit_low limit_high limit_nominal limit_comparator vector_index vector_retry characteristic_id spec_ref dut_pin "
    "fixture_connection instrument_name instrument_resource instrument_channel"
).split()
FLOATS = {"measurement_value", "limit_low", "limit_high", "limit_nominal"}


def told(row: dict[str, Any]) -> str:
    """What is compared of a measurement, whoever read it and however he spells it."""
    row = {litmus_host._native.canonical_name(name): value for name, value in row.items()}
    values = {name: row.get(name) for name in COMPARED}
    values.update({name: bits(values[name]) for name in FLOATS})
    if isinstance(values["measurement_timestamp"], str):
        values["measurement_timestamp"] = moment(values["measurement_timestamp"])
    return repr(sorted((name, value) for name, value in values.items() if value is not None))


@every_source
def test_measurements_are_as_the_platform_reads_them(data: Path, files: dict[str, Any]) -> None:
    client = Client(data)
    compared = 0
    for expected in files.values():
        ours = client.get_measurements(expected["run_id"])
        if expected["measurement_count"] == 0 and ours:
            # The platform's index refuses the names in this file: tests/corpus of litmus-core reads the file itself.
            assert "client_weird" in str(data)
            assert len(ours) == expected["rows_by_record_type"]["measurement"]
            continue
        assert len(ours) == expected["measurement_count"]
        if "measurements" in expected:
            assert Counter(map(told, ours)) == Counter(map(told, expected["measurements"]))
        else:
            known = Counter(map(told, ours))
            ends = expected["measurements_first_20"] + expected["measurements_last_20"]
            assert all(known[told(row)] for row in ends)
        compared += len(ours)
    assert compared > 0 or "client_weird" in str(data)


def test_every_row_has_every_column_and_no_value_is_none(flat_data: Path) -> None:
    rows = [row for run in Client(flat_data).list_runs() for row in Client(flat_data).get_measurements(run.run_id)]
    documented = {"measurement_name", "measurement_value", "measurement_units", "measurement_outcome", "limit_low", "limit_high"}
    assert all(documented <= set(row) for row in rows)
    assert any(row["limit_low"] is None for row in rows) and any(row["limit_low"] is not None for row in rows)
    assert all(isinstance(row["measurement_timestamp"], dt.datetime) for row in rows)
    assert all(row["measurement_timestamp"].tzinfo is dt.timezone.utc for row in rows)
    assert any(math.isnan(row["measurement_value"]) for row in rows if row["measurement_value"] is not None)


def test_other_tables_hold_json_as_what_it_says() -> None:
    client = Client(CORPUS / "testerkit-0.6.0" / "pytest" / "data")
    rows = [row for run in client.list_runs(None) for row in client.get_table(run, "vectors").to_pylist()]
    inputs = [row["inputs"] for row in rows if row["inputs"] is not None]
    assert inputs and all(isinstance(value, list) and "name" in value[0] for value in inputs)
    steps = [row for run in client.list_runs(None) for row in client.get_table(run, "steps").to_pylist()]
    lists = [row["step_instruments_name"] for row in steps if row["step_instruments_name"] is not None]
    assert lists and all(isinstance(name, str) for names in lists for name in names)


def test_the_newer_vocabulary_spells_columns_the_newer_way(flat_data: Path) -> None:
    run = TesterKitClient(flat_data).list_runs()[0]
    row = TesterKitClient(flat_data).get_measurements(run.run_id)[0]
    assert "measurement_unit" in row and "measurement_units" not in row
    assert run.uut_serial_number == run.dut_serial
    assert run.test_run_id == run.run_id


def test_a_run_is_found_by_as_much_of_its_id_as_is_unique(flat_data: Path) -> None:
    client = Client(flat_data)
    run = client.list_runs()[3]
    assert client.get_run(run.run_id[:8]) == run
    assert client.get_run(run.run_id.upper().replace("-", "")) == run
    assert client.get_run("00000000-0000-0000-0000-000000000000") is None
    assert client.get_measurements("00000000") == []
    with pytest.raises(ReadError, match="no run 00000000"):
        client.get_table("00000000", "steps")
    with pytest.raises(ReadError, match="not the beginning"):
        client.get_run("")
    with pytest.raises(ReadError, match=r"""runs' ids start with "\w": .*\nhint: give more"""):
        first = Counter(run.run_id[0] for run in client.list_runs(None)).most_common(1)[0][0]
        client.get_run(first)
    with pytest.raises(ValueError, match="there are runs, steps"):
        client.get_table(run.run_id, "mesurements")


def test_the_latest_come_first_and_no_more_than_asked_for(flat_data: Path) -> None:
    client = Client(flat_data)
    starts = [run.started_at for run in client.list_runs(None)]
    assert starts == sorted(starts, reverse=True)
    assert [run.started_at for run in client.list_runs(limit=3)] == starts[:3]


def test_a_summary_gives_none_for_what_a_run_lacks_and_refuses_what_no_run_has(flat_data: Path) -> None:
    run = Client(flat_data).list_runs()[0]
    assert run.fixture_id is None and run.operator is None
    with pytest.raises(AttributeError, match="dut_serail"):
        run.dut_serail  # noqa: B018
    copy = pickle.loads(pickle.dumps(run))
    assert copy == run and hash(copy) == hash(run)
    assert {"dut_serial", "file_path", "test_run_id"} <= set(dir(run))
    assert run.to_dict()["run_id"] == run.run_id


def test_what_is_new_is_found_and_what_is_gone_is_forgotten(tmp_path: Path, flat_data: Path) -> None:
    data = tmp_path / "results"
    (data / "runs").mkdir(parents=True)
    client = Client(data)
    assert client.list_runs() == []
    run = Client(flat_data).list_runs()[0]
    file = data / "runs" / "a.parquet"
    shutil.copy(run.file_path, file)
    assert [found.run_id for found in client.list_runs()] == [run.run_id]
    # A copy of the same revision is the same run.
    shutil.copy(run.file_path, data / "runs" / "b.parquet")
    assert [found.path for found in client.list_runs()] == ["runs/a.parquet"]
    file.unlink()
    assert [found.path for found in client.list_runs()] == ["runs/b.parquet"]


def bytes_read() -> int:
    """By this process so far, as the kernel counts."""
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


def test_a_second_look_opens_only_what_is_new(flat_data: Path) -> None:
    client = Client(flat_data)
    before = bytes_read()
    runs = client.list_runs(None)
    first, before = bytes_read() - before, bytes_read()
    assert client.list_runs(None) == runs
    second = bytes_read() - before
    assert first > sum(Path(run.file_path).stat().st_size for run in runs) and second < first / 20, (first, second)


def test_a_file_that_is_no_run_is_told_and_in_nobodys_way(
    tmp_path: Path, flat_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "results"
    (data / "runs").mkdir(parents=True)
    run = Client(flat_data).list_runs()[0]
    whole = Path(run.file_path).read_bytes()
    (data / "runs" / "torn.parquet").write_bytes(whole[: len(whole) // 2])
    shutil.copy(run.file_path, data / "runs" / "whole.parquet")
    client = Client(data)
    with caplog.at_level(logging.WARNING, "litmus_host"):
        assert [found.run_id for found in client.list_runs()] == [run.run_id]
        client.list_runs()
    assert [record.name for record in caplog.records] == ["litmus_host.read"], "told once"
    assert "torn.parquet" in caplog.text
    [(path, reason, hint)] = client.unreadable()
    assert path == "runs/torn.parquet" and reason and hint


def test_the_data_dir_is_found_as_the_platform_finds_it(
    tmp_path: Path, flat_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LITMUS_HOME", "TESTERKIT_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    project = tmp_path / "project" / "deep"
    project.mkdir(parents=True)
    monkeypatch.chdir(project)
    with pytest.raises(ReadError, match="no data dir found: .*\nhint: .*Client"):
        Client()
    (project.parent / "litmus.yaml").write_text(f"data_dir: {flat_data}\n")
    assert len(Client().list_runs(None)) == len(Client(flat_data).list_runs(None))
    assert litmus_host.LitmusClient().data_dir == str(project / "results")
    with pytest.raises(ReadError, match="cannot open the data dir"):
        litmus_host.LitmusClient().list_runs()


def test_other_threads_go_on_while_a_store_is_read(flat_data: Path) -> None:
    # Between two calls a waiting thread gets its turn anyway; only within them does it show whether it has to wait.
    turns, stop = [0], threading.Event()

    def count() -> None:
        while not stop.is_set():
            turns[0] += 1
            time.sleep(0.0005)

    thread = threading.Thread(target=count)
    thread.start()
    calls, before, started = 0, turns[0], time.monotonic()
    try:
        while time.monotonic() - started < 0.5 or calls < 3:
            Client(flat_data).list_runs()
            calls += 1
        seen = turns[0] - before
    finally:
        stop.set()
        thread.join()
    assert seen > 2 * calls, f"{seen} turns in {calls} calls"
