"""Forwarding through litmus-host and the built plugins, into real destinations."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import boto3
import pytest

import litmus_host
from litmus_host import Client, ForwardError, LitmusHostError, forwarding, program


@pytest.fixture
def client(flat_data: Path, state: Path) -> Client:
    return Client(flat_data)


def test_one_run_goes_into_sqlite_and_no_other(client: Client, tmp_path: Path) -> None:
    run = client.list_runs()[2]
    outcome = client.forward(run.run_id, "sqlite.so", path=tmp_path / "runs.db")
    assert (outcome.delivered, outcome.already_present) == (1, 0)
    assert outcome.destination.startswith("sqlite:") and outcome.sinks[0].state == "up"
    with sqlite3.connect(tmp_path / "runs.db") as database:
        assert database.execute("SELECT run_id, dut_serial FROM test_runs").fetchall() == [(run.run_id, run.dut_serial)]
        stored = database.execute("SELECT measurement_name, measurement_value FROM measurements ORDER BY row_index").fetchall()
    told = [(row["measurement_name"], row["measurement_value"]) for row in client.get_measurements(run)]
    assert repr(stored) == repr(told)
    again = client.forward(run, "sqlite.so", path=tmp_path / "runs.db")
    assert again.delivered == 0, "nothing is sent twice"


def test_the_function_finds_the_data_dir_as_litmus_does(
    flat_data: Path, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "litmus.yaml").write_text(f"data_dir: {flat_data}\n")
    monkeypatch.chdir(tmp_path)
    run = Client().list_runs()[0]
    # A path in a sink's settings starts at the working folder, as on the command line.
    assert litmus_host.forward(run.run_id, "sqlite.so", path="here.db").delivered == 1
    assert (tmp_path / "here.db").is_file()


def test_a_plugin_may_be_named_by_its_path(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = Path(program.find_program()).parent / "plugins"
    monkeypatch.chdir(plugins)
    run = client.list_runs()[0]
    assert client.forward(run, "./sqlite.so", path=tmp_path / "runs.db").delivered == 1
    assert client.forward(run, "sqlite.so", plugin_dir=plugins, path=tmp_path / "other.db").delivered == 1


def test_sync_to_database_takes_a_path_a_url_and_a_connection(client: Client, tmp_path: Path) -> None:
    first, second, third = client.list_runs()[:3]
    path = tmp_path / "runs.db"
    assert client.sync_to_database(first.run_id, path).delivered == 1
    assert client.sync_to_database(second.run_id, f"sqlite:///{path}").delivered == 1
    with sqlite3.connect(path) as connection:
        assert client.sync_to_database(third.run_id, connection).delivered == 1
        found = {row[0] for row in connection.execute("SELECT run_id FROM test_runs")}
        assert found == {first.run_id, second.run_id, third.run_id}
        connection.execute("CREATE TABLE mine (x)")
        connection.execute("INSERT INTO mine VALUES (1)")
        with pytest.raises(ForwardError, match="in a transaction.*\nhint: commit"):
            client.sync_to_database(third.run_id, connection)
    with pytest.raises(ForwardError, match="in memory"):
        client.sync_to_database(first.run_id, sqlite3.connect(":memory:"))
    with pytest.raises(ForwardError, match="no sink for mysql://"):
        client.sync_to_database(first.run_id, "mysql://factory/litmus")


def test_sync_to_database_reaches_a_real_postgresql(client: Client, postgres: dict[str, str]) -> None:
    run = max(client.list_runs(None), key=lambda run: run.measurements)
    outcome = client.sync_to_database(run.run_id, postgres["url"], schema="litmus")
    assert outcome.delivered == 1
    psql = [str(Path(postgres["bin"], "psql")), "-XAt", postgres["url"], "-c"]
    counted = subprocess.run(
        [*psql, f"SELECT count(*) FROM litmus.measurements WHERE run_id = '{run.run_id}'"],
        capture_output=True, text=True, check=True,
    )
    assert counted.stdout.strip() == str(run.measurements)


def test_upload_results_puts_the_sealed_bytes_into_a_bucket(client: Client, s3: dict[str, str]) -> None:
    run = client.list_runs()[0]
    options = {"endpoint": s3["endpoint"], "region": "us-east-1"}
    outcome = client.upload_results(run.run_id, s3["bucket"], options=options)
    assert outcome.delivered == 1
    stored = boto3.client("s3").get_object(Bucket=s3["bucket"], Key=f"test_results/{run.dut_serial}/{run.run_id}.parquet")
    assert stored["Body"].read() == Path(run.file_path).read_bytes()


def test_upload_results_goes_into_a_folder_too(client: Client, tmp_path: Path) -> None:
    run = client.list_runs()[0]
    client.upload_results(run.run_id, f"file://{tmp_path}/objects", key="{run_id}.parquet")
    assert (tmp_path / "objects" / f"{run.run_id}.parquet").read_bytes() == Path(run.file_path).read_bytes()


def test_what_is_wrong_with_the_settings_is_told_with_the_remedy(client: Client, tmp_path: Path) -> None:
    run_id = client.list_runs()[0].run_id
    with pytest.raises(ForwardError) as told:
        client.forward(run_id, "sqlite.so", pth="runs.db")
    assert told.value.exit_code == 2 and 'unknown key "pth"; did you mean "path"?' in told.value.message
    assert "/proc/" not in str(told.value) and "3:12" not in str(told.value)
    with pytest.raises(ForwardError) as told:
        client.forward(run_id, "postgrse.so", url="postgresql://x")
    assert told.value.exit_code == 2 and told.value.hint and "postgres" in told.value.hint
    with pytest.raises(ForwardError) as told:
        client.forward("00000000", "sqlite.so", path=tmp_path / "runs.db")
    assert told.value.exit_code == 2 and 'no run\'s id starts with "00000000"' in told.value.message
    with pytest.raises(TypeError, match=r"the configuration.path is a set"):
        client.forward(run_id, "sqlite.so", path={"runs.db"})


def test_a_destination_that_is_down_is_told_and_the_run_stays_pending(client: Client) -> None:
    run_id = client.list_runs()[0].run_id
    with pytest.raises(ForwardError) as told:
        client.sync_to_database(run_id, "postgresql://127.0.0.1:1/none", give_up_after=0.2)
    assert told.value.exit_code == 1
    assert told.value.outcome is not None and told.value.outcome.sinks[0].pending == 1
    assert f"run {run_id} did not arrive" in told.value.message and "127.0.0.1" in told.value.message


def test_a_secret_is_in_no_list_of_processes_and_no_message(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for litmus-host notes what anybody can see of it."""
    seen = tmp_path / "seen"
    spy = tmp_path / "spy"
    real = program.find_program()
    spy.write_text(f'#!/bin/sh\ntr "\\0" " " < /proc/$$/cmdline > {seen}\nenv >> {seen}\nexec {real} "$@"\n')
    spy.chmod(spy.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("LITMUS_HOST_PROGRAM", str(spy))
    url = "postgresql://factory:hunter2-secret@127.0.0.1:1/none"
    with pytest.raises(ForwardError) as told:
        client.sync_to_database(client.list_runs()[0].run_id, url, give_up_after=0)
    assert "--config" in seen.read_text() and "hunter2-secret" not in seen.read_text()
    assert "hunter2-secret" not in str(told.value)


def test_secrets_come_out_of_the_environment_and_files(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = client.list_runs()[:2]
    monkeypatch.setenv("WHERE_IT_GOES", str(tmp_path / "by_env.db"))
    monkeypatch.chdir(tmp_path)
    Path("where").write_text(str(tmp_path / "by_file.db") + "\n")
    assert client.forward(first, "sqlite.so", path={"env": "WHERE_IT_GOES"}).delivered == 1
    assert client.forward(second, "sqlite.so", path={"file": "where"}).delivered == 1
    assert (tmp_path / "by_env.db").is_file() and (tmp_path / "by_file.db").is_file()


def test_texts_of_any_kind_reach_the_sink_as_they_are(client: Client, tmp_path: Path) -> None:
    name = 'a "quoted" \\ name\twith °C, \x01, \x7f and 😀.db'
    client.forward(client.list_runs()[0], "sqlite.so", path=tmp_path / name)
    assert (tmp_path / name).is_file()


def test_callers_at_one_time_wait_for_one_another(client: Client, tmp_path: Path) -> None:
    runs = client.list_runs()[:4]
    ended: list[Any] = []

    def work(run: Any) -> None:
        try:
            ended.append(client.sync_to_database(run, tmp_path / "runs.db").delivered)
        except ForwardError as error:
            ended.append(error)

    threads = [threading.Thread(target=work, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [1] * 4


def test_a_store_that_another_host_serves_is_told(client: Client, tmp_path: Path, state: Path) -> None:
    watching = [program.find_program(), "--plugin", "sqlite.so", "--set", f"path={tmp_path / 'w.db'}", "--watch"]
    host = subprocess.Popen([*watching, "--data-dir", client.data_dir], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        while not list(state.glob("*/lock")):
            assert host.poll() is None
        with pytest.raises(ForwardError, match="another litmus-host delivers") as told:
            client.sync_to_database(client.list_runs()[0], tmp_path / "runs.db", wait=0)
        assert told.value.exit_code == 2 and told.value.hint
    finally:
        host.terminate()
        assert host.stderr is not None
        host.communicate(timeout=60)


def test_what_litmus_host_logs_is_logged_here(client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    line = '{"level":"warn","target":"sqlite","message":"values were converted"}'
    with caplog.at_level(logging.DEBUG, "litmus_host"):
        assert forwarding._logged(line)
        assert not forwarding._logged("error: no") and not forwarding._logged("{broken")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "sqlite: values were converted")
    ]


def test_the_program_is_looked_for_in_named_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = program.find_program()
    monkeypatch.setenv("LITMUS_HOST_PROGRAM", str(tmp_path / "nothing"))
    with pytest.raises(LitmusHostError, match="is not a program"):
        program.find_program()
    monkeypatch.delenv("LITMUS_HOST_PROGRAM")
    monkeypatch.setattr(program, "BUNDLED", tmp_path / "bundled")
    script = tmp_path / "bin" / "litmus-host"
    script.parent.mkdir()
    script.write_text("#!/usr/bin/python3\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent))
    with pytest.raises(LitmusHostError, match="neither in the package .* nor on PATH\nhint:"):
        program.find_program()
    script.unlink()
    script.symlink_to(real)
    assert program.find_program() == str(script)
    (tmp_path / "bundled").symlink_to(real)
    assert program.find_program() == str(tmp_path / "bundled")


def test_python_m_litmus_host_is_the_program() -> None:
    said = subprocess.run([sys.executable, "-m", "litmus_host", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("litmus-host ")
    assert os.environ["LITMUS_HOST_PROGRAM"]
