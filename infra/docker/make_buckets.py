"""Make buckets that are not there yet: python make_buckets.py NAME... (address and keys by AWS_* variables)."""

import sys

import boto3
from botocore.exceptions import ClientError


def main(names: list[str]) -> None:
    """Make each bucket; one that this account owns already is left as it is."""
    objects = boto3.client("s3")
    for name in names:
        try:
            objects.create_bucket(Bucket=name)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise


if __name__ == "__main__":
    main(sys.argv[1:])
