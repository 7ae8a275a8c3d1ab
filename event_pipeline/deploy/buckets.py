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
    """How much is in a bucket, including earlier versions and deletion markers."""

    objects: int
    bytes: int


def upload(s3: Any, bucket: str, artifacts: Artifacts) -> dict[str, bool]:
    """Uploads a release's files, except those that are there byte for byte.

    Returns, by key, whether the file was uploaded.
    """
    uploaded = {}
    for name, data in artifacts.files.items():
        key = f"{artifacts.release}/{name}"
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        uploaded[key] = _digest(s3, bucket, key) != digest
        if uploaded[key]:
            # The checksum lets S3 refuse a file that does not arrive whole.
            s3.put_object(Bucket=bucket, Key=key, Body=data, ChecksumSHA256=digest)
    return uploaded


def contents(s3: Any, bucket: str) -> Contents:
    """How much is in a bucket, found by listing all of it; zeros if there is no such bucket."""
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
    """Yields versions and deletion markers, as many at a time as one request may delete."""
    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            if versions := [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
                yield versions
    except s3.exceptions.NoSuchBucket:
        return


def _digest(s3: Any, bucket: str, key: str) -> str | None:
    """The SHA-256, in base 64, that S3 has of an object; None if it has no object or no digest."""
    try:
        answer = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    except ClientError as error:
        # S3 says 403, not 404, to those who may not list the bucket.
        if error.response["Error"]["Code"] in {"403", "404"}:
            return None
        raise
    digest: str | None = answer.get("ChecksumSHA256")
    return digest
