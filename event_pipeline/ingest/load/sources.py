"""Finds what a person wants to load: files, folders, patterns, `-`, s3:// and https://.

Anything that is not a local file is copied to one first, so that it can be hashed before it is
read.
"""

import glob
import hashlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

from event_pipeline import aws
from event_pipeline.errors import LoadError, first_line

STDIN = "-"
PIPE = "standard input"
REMOTE = ("s3://", "http://", "https://")
READ_AT_ONCE = 1 << 20
# Seconds of silence after which a connection is given up.
PATIENCE = 60
# Prefixes of the names of files that programs leave beside data.
ASIDE = (".", "_")


@dataclass(frozen=True)
class Source:
    """One thing to load: `given` is what a person typed, `name` is what a load is known by."""

    given: str
    name: str

    @property
    def file_name(self) -> str:
        """The last part of its name, which may tell its day and its kind."""
        return PurePosixPath(self.name).name


@dataclass(frozen=True)
class LocalFile:
    """A source as a local file: its path, the SHA-256 of its bytes in hex, and its size."""

    path: Path
    sha256: str
    bytes: int


def find_sources(words: Sequence[str]) -> list[Source]:
    """The sources that the words name, each once. Raises LoadError if a word names nothing."""
    found = [source for word in words for source in _found(word)]
    return list({source.name: source for source in found}.values())


def is_plain(word: str) -> bool:
    """Whether a word can only be the name of one file."""
    is_pattern = glob.has_magic(word) and not Path(word).exists()
    return (
        word != STDIN and not word.startswith(REMOTE) and not is_pattern and not Path(word).is_dir()
    )


def _found(word: str) -> Iterator[Source]:
    path = Path(word)
    if word == STDIN:
        yield Source(PIPE, STDIN)
    elif word.startswith("s3://"):
        yield from _found_in_s3(word)
    elif word.startswith(REMOTE):
        parts = urlsplit(word)
        # The name leaves out the query: a signature in it is a secret, and changes soon.
        yield Source(word, urlunsplit((parts.scheme, parts.hostname or "", parts.path, "", "")))
    elif path.is_dir():
        files = [p for p in sorted(path.rglob("*")) if p.is_file()]
        shown = [p for p in files if not p.name.startswith(ASIDE)]
        if not shown:
            raise LoadError(f"{word}: no files in this folder")
        yield from map(_local, shown)
    elif path.exists():
        yield _local(path)
    elif glob.has_magic(word):
        matches = [Path(p) for p in sorted(glob.glob(word, recursive=True))]
        files = [p for p in matches if p.is_file()]
        if not files:
            raise LoadError(f"{word}: no such file, and no file matches it as a pattern")
        yield from map(_local, files)
    else:
        raise LoadError(f"{word}: no such file")


def _local(path: Path) -> Source:
    # The pipe that a shell makes for `<(command)` has no lasting name.
    return Source(str(path), str(path.absolute()) if path.is_file() else STDIN)


def _found_in_s3(word: str) -> Iterator[Source]:
    bucket, _, key = word.removeprefix("s3://").partition("/")
    literal = key[: next((n for n, letter in enumerate(key) if letter in "*?["), len(key))]
    pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=literal)
    keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
    folder = key if key.endswith("/") or not key else f"{key}/"
    found = [k for k in keys if k == key] or [
        k
        for k in keys
        if (k.startswith(folder) or PurePosixPath(f"/{k}").match(f"/{key}"))
        and not k.endswith("/")
        and not PurePosixPath(k).name.startswith(ASIDE)
    ]
    if not found:
        raise LoadError(f"{word}: no such object, and none matches it as a folder or pattern")
    for each in found:
        yield Source(f"s3://{bucket}/{each}", f"s3://{bucket}/{each}")


def _s3() -> Any:
    """The process's S3 client or, without credentials, one that signs nothing, for public data."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    session = boto3.Session()
    if session.get_credentials():
        return aws.client("s3")
    return session.client(
        "s3",
        region_name=session.region_name or "us-east-1",
        config=Config(signature_version=UNSIGNED),
    )


def fetch(source: Source, scratch: Path) -> LocalFile:
    """The source as a local file, copied into `scratch` if it is not one. Raises LoadError."""
    try:
        path = Path(source.given)
        if source.name != STDIN and not source.name.startswith(REMOTE):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return LocalFile(path, digest, path.stat().st_size)
        target = scratch / "fetched"
        with _opened(source) as stream, target.open("wb") as copy:
            shutil.copyfileobj(stream, copy, READ_AT_ONCE)
        with target.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return LocalFile(target, digest, target.stat().st_size)
    except OSError as error:
        raise LoadError(f"{source.given}: {error.strerror or first_line(error)}") from None


def _opened(source: Source) -> AbstractContextManager[IO[bytes]]:
    if source.name.startswith(REMOTE):
        import smart_open

        with_client = {"client": _s3()} if source.name.startswith("s3://") else {}
        params = with_client or {"timeout": PATIENCE}
        opened: IO[bytes] = smart_open.open(
            source.given, "rb", compression="disable", transport_params=params
        )
        return opened
    if source.given == PIPE:
        return nullcontext(sys.stdin.buffer)
    return open(source.given, "rb")
