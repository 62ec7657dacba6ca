"""Tables by the Arrow PyCapsule interface: who takes it gets our buffers, not copies."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path

import duckdb
import polars
import pyarrow
import pytest
from conftest import CORPUS

from litmus_host import Client, Table

TABLES = ("runs", "steps", "vectors", "measurements", "instruments")


@pytest.fixture
def table(flat_data: Path) -> Table:
    """The measurements of the run with the most of them."""
    client = Client(flat_data)
    run = max(client.list_runs(None), key=lambda run: run.measurements)
    return client.get_table(run, "measurements")


def addresses(column: pyarrow.ChunkedArray) -> list[int]:
    """Where the values lie (of texts, their offsets too). Not where the bits of NULL lie, which a producer may lay out anew."""
    buffers = [buffer for chunk in column.chunks for buffer in chunk.buffers()[1:]]
    assert buffers and all(buffer is not None for buffer in buffers)
    return [buffer.address for buffer in buffers]


def test_pyarrow_takes_every_table_of_every_generation() -> None:
    for data in sorted(CORPUS.glob("*/*/data")):
        client = Client(data)
        for run in client.list_runs(None):
            for name in TABLES:
                table = client.get_table(run, name)
                taken = pyarrow.table(table)
                assert taken.column_names == table.column_names
                assert taken.num_rows == table.num_rows == len(table)
                taken.validate(full=True)
                assert pyarrow.schema(table) == taken.schema


def test_pyarrow_gets_our_buffers_each_time(table: Table) -> None:
    first, second = pyarrow.table(table), pyarrow.table(table)
    for name in ("measurement_value", "measurement_name", "measurement_timestamp", "limit_low"):
        assert addresses(first[name]) == addresses(second[name]), f"{name} was copied"


def test_polars_gets_our_buffers(table: Table) -> None:
    frame = polars.DataFrame(table)
    assert frame.height == table.num_rows
    values = pyarrow.chunked_array([frame["measurement_value"].to_arrow()])
    assert addresses(values) == addresses(pyarrow.table(table)["measurement_value"]), "the values were copied"
    assert frame.group_by("measurement_outcome").len()["len"].sum() == table.num_rows


def test_duckdb_asks_a_table_as_it_is(table: Table) -> None:
    measurements = table
    with duckdb.connect() as connection:
        counted = connection.sql("SELECT measurement_outcome, count(*) FROM measurements GROUP BY ALL").fetchall()
        again = connection.sql("SELECT count(*) FROM measurements").fetchall()
    by_us = Counter(row["measurement_outcome"] for row in measurements.to_pylist())
    assert dict(counted) == dict(by_us)
    assert again == [(table.num_rows,)], "a table can be asked any number of times"


def test_what_was_taken_outlives_the_table_and_the_client(flat_data: Path) -> None:
    client = Client(flat_data)
    run = client.list_runs()[0]
    taken = pyarrow.table(client.get_table(run, "measurements"))
    names = [row["measurement_name"] for row in client.get_measurements(run)]
    del client
    gc.collect()
    assert taken["measurement_name"].to_pylist() == names


def test_a_stream_that_nobody_takes_is_let_go(table: Table) -> None:
    for _ in range(1000):
        table.__arrow_c_stream__()
        table.__arrow_c_schema__()
    assert pyarrow.table(table).num_rows == table.num_rows


def test_rows_and_arrow_agree(table: Table) -> None:
    names = ["measurement_name", "measurement_value", "measurement_timestamp", "limit_low", "step_index"]
    by_arrow = [{name: repr(row[name]) for name in names} for row in pyarrow.table(table).to_pylist()]
    by_us = [{name: repr(row[name]) for name in names} for row in table.to_pylist()]
    # pyarrow makes another kind of UTC out of the same moment.
    for row in (*by_arrow, *by_us):
        row["measurement_timestamp"] = row["measurement_timestamp"].split("tzinfo")[0]
    assert by_arrow == by_us
