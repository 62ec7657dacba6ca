"""Files as they are, 16 at once: RUNS ENDPOINT BUCKET"""
import concurrent.futures
import pathlib
import sys

import boto3
import botocore.config

runs, endpoint, bucket = sys.argv[1:]
client = boto3.client("s3", endpoint_url=endpoint, config=botocore.config.Config(max_pool_connections=16))


def put(path):
    client.put_object(Bucket=bucket, Key=str(path.relative_to(runs)), Body=path.read_bytes())


with concurrent.futures.ThreadPoolExecutor(16) as pool:
    for _ in pool.map(put, sorted(pathlib.Path(runs).rglob("*.parquet"))):
        pass
