"""Files of tables as they are stored, in a folder or in S3: sizes, times, digests, removal."""

import hashlib
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from event_pipeline import aws


class Stored(NamedTuple):
    """A file as it is stored: its size in bytes and when it was last written (seconds, UTC)."""

    bytes: int
    modified: float


def stored_under(root: str) -> dict[str, Stored]:
    """Everything stored under `root`, by path. A folder's path ends in a slash; its size is 0."""
    if aws.in_s3(root):
        return _listed(root)
    found = {}
    for folder, _, names in os.walk(root):
        for name in ("", *names):
            path = f"{folder}/{name}"
            with suppress(FileNotFoundError):
                status = os.lstat(path)
                size = status.st_size if name else 0
                found[path] = Stored(size, status.st_mtime)
    return found


def stored_of(prefix: str, paths: Sequence[str]) -> dict[str, Stored]:
    """Those of `paths` that exist, by path; in S3, everything under the run's folder `prefix`."""
    if aws.in_s3(prefix):
        return _listed(prefix)
    found = {}
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            found[path] = Stored(status.st_size, status.st_mtime)
    return found


def _listed(prefix: str) -> dict[str, Stored]:
    bucket, _, key = prefix.removeprefix("s3://").partition("/")
    return {
        f"s3://{bucket}/{meta['path']}": Stored(meta["size"], meta["last_modified"].timestamp())
        for page in aws.object_store(bucket).list(f"{key}/")
        for meta in page
    }


def remove_stored(root: str, paths: Sequence[str]) -> None:
    """Removes files of the lake at `root`, and those folders among `paths` that are empty then."""
    if aws.in_s3(root):
        aws.object_store(root.removeprefix("s3://")).delete(
            [path.removeprefix(f"{root}/") for path in paths]
        )
        return
    for path in sorted(paths, reverse=True):  # a folder comes after its content
        with suppress(OSError):
            if path.endswith("/"):
                Path(path).rmdir()
            else:
                Path(path).unlink()


def sha256_by_name(paths: Sequence[str]) -> dict[str, str]:
    """File name -> SHA-256 (hex), for files in a folder.

    Files in S3 are left out, since S3 keeps what it was given.
    """
    found = {}
    for path in paths:
        if not aws.in_s3(path):
            with open(path, "rb") as file:
                found[path.rsplit("/", 1)[1]] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
