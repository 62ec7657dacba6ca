"""The loop that a user would write first: read who the run is of, put the file: RUNS ENDPOINT BUCKET"""
import pathlib
import sys

import boto3
import pyarrow.parquet

runs, endpoint, bucket = sys.argv[1:]
client = boto3.client("s3", endpoint_url=endpoint)
for path in sorted(pathlib.Path(runs).rglob("*.parquet")):
    run = pyarrow.parquet.read_table(path, columns=["run_id", "dut_serial"]).slice(0, 1).to_pylist()[0]
    client.put_object(
        Bucket=bucket, Key=f"test_results/{run['dut_serial']}/{run['run_id']}.parquet", Body=path.read_bytes()
    )
