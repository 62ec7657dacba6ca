"""Reads the runs of a data dir, and records and forwards them."""

from __future__ import annotations

import logging
import os
import threading
from datetime import datetime
from typing import Any
from uuid import UUID

from . import _native, forwarding, recording
from .errors import ReadError
from .forwarding import ForwardOutcome
from .recording import Run
from .summary import RunSummary

_log = logging.getLogger("litmus_host.read")


class Client:
    """The runs of one data dir, whatever release of the platform wrote them.

    Without ``data_dir`` it is the one that Litmus finds from the working folder: the project's, ``$LITMUS_HOME``'s, the user's.

    - ``vocabulary``: how columns are spelled, ``"litmus"`` (``dut_serial``) or ``"testerkit"`` (``uut_serial_number``).
    - ``format``: what is recorded: ``"flat"``, which litmus-test 0.1 reads, or ``"nested"``, which TesterKit reads.
    - ``journal``: ``"off"``; ``"on"``, so that ``litmus-host recover`` seals what a program that died had recorded; ``"synced"``,
      so that it survives a power cut, too.
    """

    # Names that begin with Test are not for pytest to collect.
    __test__ = False

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        vocabulary: str = "litmus",
        format: str = "flat",
        journal: str = "off",
    ) -> None:
        if vocabulary not in ("litmus", "testerkit"):
            raise ValueError(f"{vocabulary!r} is not a vocabulary; there are litmus and testerkit")
        self.data_dir: str = _native.Store.find(data_dir)
        self.vocabulary = vocabulary
        self._recorder = _native.Recorder(self.data_dir, format, journal)
        self._lock = threading.Lock()
        self._opened: _native.Store | None = None
        self._told: set[tuple[str, str]] = set()

    def start_run(
        self,
        dut_serial: str,
        station_id: str,
        *,
        dut_part_number: str | None = None,
        dut_revision: str | None = None,
        dut_lot_number: str | None = None,
        product_id: str | None = None,
        product_name: str | None = None,
        product_revision: str | None = None,
        station_name: str | None = None,
        station_type: str | None = None,
        station_location: str | None = None,
        station_hostname: str | None = None,
        machine_id: str | None = None,
        slot_id: str | None = None,
        site_index: int | None = None,
        site_name: str | None = None,
        fixture_id: str | None = None,
        operator: str | None = None,
        operator_name: str | None = None,
        test_phase: str | None = None,
        project_name: str | None = None,
        git_commit: str | None = None,
        git_branch: str | None = None,
        git_remote: str | None = None,
        environment_json: str | None = None,
        run_id: str | UUID | None = None,
        session_id: str | UUID | None = None,
        started_at: datetime | None = None,
    ) -> Run:
        """Starts a run. Nothing is written before :meth:`Run.finish`, unless there is a journal."""
        given = {name: value for name, value in locals().items() if name != "self"}
        return recording.start(self._recorder, given)

    def list_runs(self, limit: int | None = 50) -> list[RunSummary]:
        """The latest runs, newest first; ``limit=None``: all. Of a run that lies there twice, the newer revision."""
        runs = [RunSummary._of_native(values) for values in self._store().runs(limit)]
        self._tell_unreadable()
        return runs

    def get_run(self, run_id: object) -> RunSummary | None:
        """The run with this id, or whose id alone begins so; ``None`` if there is none."""
        values = self._store().run(_id(run_id))
        if values is None:
            self._tell_unreadable()
            return None
        return RunSummary._of_native(values)

    def get_measurements(self, run_id: object) -> list[dict[str, Any]]:
        """Every measurement of a run as a dict keyed by column name (docs/tables.md); ``None`` where a column has no value.

        Of a run that is not there, an empty list, as on the platform.
        """
        table = self._store().table(_id(run_id), "measurements", self.vocabulary)
        return [] if table is None else table.to_pylist()

    def get_table(self, run_id: object, table: str) -> _native.Table:
        """One of the tables ``runs``, ``steps``, ``vectors``, ``measurements``, ``instruments`` of a run.

        pyarrow, polars, DuckDB and whatever else takes the Arrow PyCapsule interface take it as it is, without a copy:
        ``pyarrow.table(t)``, ``polars.DataFrame(t)``, ``duckdb.sql("FROM t")``.
        """
        found = self._store().table(_id(run_id), table, self.vocabulary)
        if found is None:
            raise ReadError(f"there is no run {_id(run_id)} in {self.data_dir}", "list_runs() lists them")
        return found

    def unreadable(self) -> list[tuple[str, str, str | None]]:
        """Path, reason and remedy of every file and folder below ``runs/`` that cannot be read."""
        return self._store().unreadable()

    def forward(self, run_id: object, plugin: str = "postgres.so", **options: Any) -> ForwardOutcome:
        """Sends one sealed run to a sink: :func:`litmus_host.forward`, out of this data dir."""
        return forwarding.forward(_id(run_id), plugin, data_dir=self.data_dir, **options)

    def sync_to_database(self, run_id: object, database: Any, **options: Any) -> ForwardOutcome:
        """Mirrors one run into a database: :func:`litmus_host.sync_to_database`, out of this data dir."""
        plugin, settings = forwarding.sync_settings(database)
        return self.forward(run_id, plugin, **settings, **options)

    def upload_results(self, run_id: object, bucket: str, **options: Any) -> ForwardOutcome:
        """Uploads one sealed run: :func:`litmus_host.upload_results`, out of this data dir."""
        return self.forward(run_id, "cloud.so", uri=forwarding.upload_uri(bucket), **options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.data_dir!r})"

    def _store(self) -> _native.Store:
        """Opened when first read: who only records makes the data dir himself."""
        with self._lock:
            if self._opened is None:
                self._opened = _native.Store(self.data_dir)
            return self._opened

    def _tell_unreadable(self) -> None:
        """A run that is missing from a list has its reason in the log, once."""
        for path, reason, hint in self._store().unreadable(look=False):
            if (path, reason) not in self._told:
                self._told.add((path, reason))
                _log.warning("%s: %s%s", path, reason, f"; hint: {hint}" if hint else "")


class LitmusClient(Client):
    """:class:`Client` in the place of ``litmus.client.LitmusClient``: runs lie in ``results`` unless it is told otherwise."""

    def __init__(self, data_dir: str | os.PathLike[str] = "results") -> None:
        super().__init__(data_dir)


class TesterKitClient(Client):
    """:class:`Client` in the place of ``testerkit.TesterKitClient``: the same names, the same kind of file."""

    def __init__(self, data_dir: str | os.PathLike[str] | None = None) -> None:
        super().__init__(data_dir, vocabulary="testerkit", format="nested")

    def start_run(  # type: ignore[override]
        self,
        uut_serial: str,
        station_id: str,
        *,
        uut_part_number: str | None = None,
        uut_revision: str | None = None,
        uut_lot_number: str | None = None,
        **options: Any,
    ) -> Run:
        """Starts a run; options are those of :meth:`Client.start_run`."""
        return super().start_run(
            uut_serial,
            station_id,
            dut_part_number=uut_part_number,
            dut_revision=uut_revision,
            dut_lot_number=uut_lot_number,
            **options,
        )


def _id(run: object) -> str:
    """An id, or whatever has one: a summary, a run that was recorded."""
    for name in ("run_id", "test_run_id", "id"):
        value = getattr(run, name, None)
        if value is not None and not callable(value):
            return str(value)
    return str(run)
