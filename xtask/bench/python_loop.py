"""The loop that the Litmus documentation shows: an INSERT for each measurement, a commit for each run: DATA_DIR URL"""
import pathlib
import sys

import psycopg
import pyarrow.parquet

COLUMNS = [
    "run_id", "run_started_at", "dut_serial", "station_id", "run_outcome", "step_name", "measurement_name",
    "measurement_value", "measurement_units", "limit_low", "limit_high", "measurement_outcome",
]
with psycopg.connect(sys.argv[2]) as connection:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE peer.rows (run_id text, run_started_at timestamptz, dut_serial text, station_id text,"
            " run_outcome text, step_name text, measurement_name text, measurement_value float8, measurement_units text,"
            " limit_low float8, limit_high float8, measurement_outcome text)"
        )
        connection.commit()
        insert = f"INSERT INTO peer.rows VALUES ({', '.join(['%s'] * len(COLUMNS))})"
        for path in sorted(pathlib.Path(sys.argv[1], "runs").rglob("*.parquet")):
            for row in pyarrow.parquet.read_table(path, columns=COLUMNS).to_pylist():
                if row["measurement_name"] is not None:
                    cursor.execute(insert, [row[column] for column in COLUMNS])
            connection.commit()
