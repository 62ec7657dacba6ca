"""Signs a PUT for each file, so that something else can send it: RUNS ENDPOINT BUCKET; a line each: path, tab, target"""
import pathlib
import sys

import boto3
import botocore.config

runs, endpoint, bucket = sys.argv[1:]
config = botocore.config.Config(signature_version="s3v4", s3={"addressing_style": "path"})
client = boto3.client("s3", endpoint_url=endpoint, config=config)
for path in sorted(pathlib.Path(runs).rglob("*.parquet")):
    key = str(path.relative_to(runs))
    url = client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=3600)
    print(path, url.removeprefix(endpoint), sep="\t")
