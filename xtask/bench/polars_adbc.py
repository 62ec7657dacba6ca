"""Every row of every run file into one table, the shortest way with polars: DATA_DIR URL"""
import sys

import polars

rows = polars.scan_parquet(f"{sys.argv[1]}/runs/**/*.parquet").collect()
rows.write_database("peer.rows", sys.argv[2], engine="adbc", if_table_exists="replace")
