"""A stack's buckets: releases are uploaded to one, and all but the lake are emptied at the end."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from event_pipeline.deploy.account import DeployError
from event_pipeline.deploy.artifacts import Artifacts
from event_pipeline.errors import in_short


class Contents(NamedTuple):
    """How much is in a bucket, earlier versions and deletion markers counted too."""

    objects: int
    bytes: int


def upload(s3: Any, bucket: str, artifacts: Artifacts) -> dict[str, bool]:
    """Uploads a release's files; of each key, whether it had to be, or was there byte for byte."""
    uploaded = {}
    for name, data in artifacts.files.items():
        key = f"{artifacts.release}/{name}"
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        uploaded[key] = _digest(s3, bucket, key) != digest
        if uploaded[key]:
            # S3 refuses what does not arrive whole.
            s3.put_object(Bucket=bucket, Key=key, Body=data, ChecksumSHA256=digest)
    return uploaded


def contents(s3: Any, bucket: str) -> Contents:
    """How much is in a bucket, by reading all its names; nothing if it is not there."""
    objects, size = 0, 0
    for versions in _versions(s3, bucket):
        objects += len(versions)
        size += sum(version.get("Size", 0) for version in versions)
    return Contents(objects, size)


def empty(s3: Any, bucket: str) -> None:
    """Deletes every version of every object. Raises DeployError naming what cannot be deleted."""
    for versions in _versions(s3, bucket):
        names = [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in versions]
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": names, "Quiet": True})
        if errors := answer.get("Errors"):
            texts = [f"{e['Key']}: {e['Code']}: {e.get('Message', '')}" for e in errors]
            raise DeployError(f"{bucket} cannot be emptied: {in_short(texts)}")


def _versions(s3: Any, bucket: str) -> Iterator[Sequence[dict[str, Any]]]:
    """Versions and deletion markers, by as many as one request may delete."""
    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            if versions := [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                yield versions
    except s3.exceptions.NoSuchBucket:
        return


def _digest(s3: Any, bucket: str, key: str) -> str | None:
    """The sha256, in base 64, that S3 has of an object; None if there is none of either."""
    try:
        answer = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    except ClientError as error:
        # 403 to those who may not list the bucket.
        if error.response["Error"]["Code"] in {"403", "404"}:
            return None
        raise
    digest: str | None = answer.get("ChecksumSHA256")
    return digest
