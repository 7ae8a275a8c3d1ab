"""Stages S3 for DuckDB: what it reads is downloaded first, what it wrote is uploaded at the end.

DuckDB's own client of S3 is an extension, which no package index has and which would find fewer
kinds of credentials than boto3 does.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import obstore
from obstore.exceptions import BaseError, PreconditionError

from event_pipeline import aws
from event_pipeline.scratch import scratch

# Objects that are downloaded at a time.
DOWNLOADS = 8
# A larger file is uploaded in parts, so many of them at a time.
PART_BYTES = 16 << 20
PARTS = 4


class Stage:
    """A folder with files in place of objects in S3. A path that is not in S3 stands for itself."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._names = iter(range(1 << 62))
        self._prefixes: dict[str, str] = {}

    def fetch(self, versions: Iterable[tuple[str, str]]) -> list[str]:
        """Paths of files, in order, each given by path or s3:// address and ETag ("" for any).

        Raises OSError if an object is gone, has another ETag by now, or cannot be read.
        """
        found = [(uri, etag, self._here(uri)) for uri, etag in versions]
        wanted = [each for each in found if each[0] != each[2]]
        if wanted:
            with ThreadPoolExecutor(DOWNLOADS, "download") as pool:
                list(pool.map(_download, *zip(*wanted, strict=True)))
        return [path for _, _, path in found]

    def folder(self, prefix: str) -> str:
        """The folder to write to what is wanted under a prefix."""
        if not aws.in_s3(prefix):
            return prefix
        path = self._here(prefix)
        os.mkdir(path)
        self._prefixes[path] = prefix
        return path

    def upload(self, paths: Iterable[str]) -> list[str]:
        """Uploads files from such folders; returns where they are now. Raises OSError."""
        return [self._uploaded(path) for path in paths]

    def _here(self, uri: str) -> str:
        return f"{self._folder}/{next(self._names)}" if aws.in_s3(uri) else uri

    def _uploaded(self, path: str) -> str:
        folder, _, name = path.rpartition("/")
        if folder not in self._prefixes:
            return path
        uri = f"{self._prefixes[folder]}/{name}"
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        with _plain_errors():
            obstore.put(
                aws.object_store(bucket),
                key,
                Path(path),
                chunk_size=PART_BYTES,
                max_concurrency=PARTS,
            )
        return uri


@contextmanager
def staged() -> Iterator[Stage]:
    """A stage whose files are removed at the end."""
    with scratch() as folder:
        yield Stage(folder)


def _download(uri: str, etag: str, path: str) -> None:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        with _plain_errors(), open(path, "wb") as file:
            found = obstore.get(
                aws.object_store(bucket), key, options={"if_match": etag} if etag else None
            )
            for chunk in found.stream():
                file.write(chunk)
    except PreconditionError:
        raise OSError(f"{key} was changed after it was listed") from None
    except FileNotFoundError:
        raise OSError(f"{key} was deleted after it was listed") from None


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Turns obstore's errors, but for that of a condition, into OSError."""
    try:
        yield
    except PreconditionError:
        raise
    except BaseError as error:
        raise OSError(aws.error_message(error)) from error
