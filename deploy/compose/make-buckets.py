"""Makes the buckets that its arguments name, those that are there aside. The store is AWS_ENDPOINT_URL_S3."""

import sys

import boto3
from botocore.exceptions import ClientError

s3 = boto3.client("s3")
there = {bucket["Name"] for bucket in s3.list_buckets().get("Buckets", [])}
for name in sys.argv[1:]:
    if name not in there:
        try:
            s3.create_bucket(Bucket=name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise
        print(f"made the bucket {name}")
