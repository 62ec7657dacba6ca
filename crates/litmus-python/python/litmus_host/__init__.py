"""litmus-host in Python: reads, records and forwards the runs of Litmus and TesterKit.

>>> from litmus_host import Client
>>> client = Client("results")
>>> run = client.list_runs()[0]
>>> client.get_measurements(run.run_id)
>>> client.sync_to_database(run.run_id, "postgresql://factory/litmus")
"""

from __future__ import annotations

import os
from typing import Any

from ._native import Table
from .client import Client, LitmusClient, TesterKitClient
from .errors import ForwardError, LitmusHostError, ReadError, RecordError
from .forwarding import ForwardOutcome, SinkOutcome
from .handler import LitmusHandler, TesterKitHandler
from .recording import Measurement, Run, SealedRun, Step, Vector
from .summary import RunSummary

__all__ = [
    "Client",
    "ForwardError",
    "ForwardOutcome",
    "LitmusClient",
    "LitmusHandler",
    "LitmusHostError",
    "Measurement",
    "ReadError",
    "RecordError",
    "Run",
    "RunSummary",
    "SealedRun",
    "SinkOutcome",
    "Step",
    "Table",
    "TesterKitClient",
    "TesterKitHandler",
    "Vector",
    "forward",
    "sync_to_database",
    "upload_results",
]


def forward(
    run_id: object,
    plugin: str = "postgres.so",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> ForwardOutcome:
    """Sends one sealed run to a sink and returns when it has arrived; raises :class:`ForwardError` if it does not.

    ``plugin`` is a sink as ``litmus-host --plugin`` takes it. Settings of the sink are keywords (``url=…``, ``schema=…``); a
    dict is a table, and ``{"env": "NAME"}`` or ``{"file": "PATH"}`` a secret. Further keywords:

    - ``data_dir``: where the runs are; as Litmus finds it if not given.
    - ``state_dir``: where the ledger is. It is the ledger of the command: what was sent here is not sent again there.
    - ``plugin_dir``: a folder to look for plugins in.
    - ``start``: ``"all"`` for a sink that cannot say what it holds (syslog), at its first use.
    - ``give_up_after``: seconds, 60: how long a sink may be down.
    - ``wait``: seconds, 60: how long another litmus-host may serve this data dir.

    It blocks: call it out of band, not within a test. Of a run that is there already nothing is sent twice.
    """
    return Client(data_dir).forward(run_id, plugin, **options)


def sync_to_database(
    run_id: object,
    database: Any,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> ForwardOutcome:
    """Mirrors one run into a database: a ``postgresql://`` URL, the path of a SQLite file, or an open ``sqlite3`` connection.

    The tables are those of docs/tables.md. Options are those of :func:`forward`.
    """
    return Client(data_dir).sync_to_database(run_id, database, **options)


def upload_results(
    run_id: object,
    bucket: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> ForwardOutcome:
    """Uploads one sealed run, byte for byte: to an S3 bucket by its name, or to a URI (``s3://``, ``gs://``, ``azblob://``,
    ``file:///``).

    The object is ``test_results/{dut_serial}/{run_id}.parquet``, as in the Litmus documentation. Options are those of
    :func:`forward`; those of the service go as ``options={"region": "eu-west-1"}``.
    """
    return Client(data_dir).upload_results(run_id, bucket, **options)
