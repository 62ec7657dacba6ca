"""Every row of every run file into one table, with DuckDB's postgres extension: DATA_DIR URL"""
import sys

import duckdb

connection = duckdb.connect()
connection.execute("INSTALL postgres; LOAD postgres")
connection.execute(f"ATTACH '{sys.argv[2]}' AS pg (TYPE postgres)")
connection.execute(
    f"CREATE TABLE pg.peer.rows AS SELECT * FROM read_parquet('{sys.argv[1]}/runs/**/*.parquet', union_by_name = true)"
)
