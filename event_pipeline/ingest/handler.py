"""Writes a slot's events to Bronze, once. An AWS Lambda that also runs in process on a laptop.

Standard library and boto3 only, and boto3 only for a lake on S3: the Lambda's package is
`event_pipeline/__init__.py`, `event_pipeline/bronze.py` and `event_pipeline/ingest/`.
"""

import gzip
import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Literal, TypedDict

from event_pipeline.bronze import folder_etag, manifest_key, object_key
from event_pipeline.ingest.generator import SLOT, Profile, generate

# gzip's level. It gives 19 bytes an event; level 6 would save a fifth and cost a third of the
# speed.
COMPRESSION = 3

LAKE_VARIABLE = "EVENT_PIPELINE_LAKE"


class Result(TypedDict):
    """What became of a slot. bytes: compressed size. seconds: time that this call took."""

    slot: str
    key: str
    status: Literal["written", "exists", "repaired"]
    lines: int
    bytes: int
    sha256: str
    seconds: float


def last_whole_slot(now: datetime) -> datetime:
    """Start, UTC, of the last slot that is over at `now` (aware)."""
    now = now.astimezone(UTC)
    return now - (now - datetime.min.replace(tzinfo=UTC)) % SLOT - SLOT


def slots_of_hour(hour_start: datetime) -> list[datetime]:
    """Starts of the 12 slots of the hour that starts at `hour_start`."""
    return [hour_start + n * SLOT for n in range(timedelta(hours=1) // SLOT)]


class FolderStore:
    """A lake in a folder. Readers see whole objects only, even if a writer is killed.

    ETags are those of obstore's LocalStore, quotes included.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self._unfinished = self.root / ".tmp"  # in the same filesystem, but in no dataset

    def create(self, key: str, data: bytes) -> str | None:
        """Create an object and return its ETag; do nothing and return None if it exists."""
        path, unfinished = self._write(key, data)
        try:
            os.link(unfinished, path)
            # Asked of the linked file, as another writer may have replaced the path by now.
            return folder_etag(unfinished.stat())
        except FileExistsError:
            return None
        finally:
            unfinished.unlink()

    def put(self, key: str, data: bytes) -> str:
        """Write an object, replacing any that is there; return its ETag."""
        path, unfinished = self._write(key, data)
        etag = folder_etag(unfinished.stat())
        unfinished.replace(path)
        return etag

    def delete(self, key: str) -> None:
        """Delete an object, if there is one. The pipeline never does this; a person may."""
        (self.root / key).unlink(missing_ok=True)

    def keys(self, prefix: str) -> list[str]:
        """Keys of the objects in the folder `prefix`, which ends in a slash; sorted."""
        with suppress(FileNotFoundError):
            return sorted(f"{prefix}{path.name}" for path in (self.root / prefix).iterdir())
        return []

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Contents and ETag of an object, or None if there is none."""
        try:
            with (self.root / key).open("rb") as file:
                return file.read(), folder_etag(os.fstat(file.fileno()))
        except FileNotFoundError:
            return None

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return (self.root / key).exists()

    def _write(self, key: str, data: bytes) -> tuple[Path, Path]:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        self._unfinished.mkdir(exist_ok=True)
        self.remove_unfinished()
        with NamedTemporaryFile(dir=self._unfinished, delete=False) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave an empty object
            os.fchmod(file.fileno(), 0o644)  # only its owner may read a temporary file
        return path, Path(file.name)

    def remove_unfinished(self, *, dry_run: bool = False) -> tuple[int, int]:
        """Remove temporary files that are more than an hour old: killed writers left them.

        Returns how many there are and their bytes.
        """
        files = size = 0
        for leftover in self._unfinished.iterdir() if self._unfinished.is_dir() else ():
            with suppress(FileNotFoundError):
                found = leftover.stat()
                if time.time() - found.st_mtime > timedelta(hours=1).total_seconds():
                    files, size = files + 1, size + found.st_size
                    if not dry_run:
                        leftover.unlink()
        return files, size


class S3Store:
    """A lake in a bucket, below a prefix. ETags are as S3 gives them, quotes included.

    Errors are botocore's ClientError. Needs s3:PutObject, s3:GetObject, and s3:ListBucket,
    without which S3 answers 403 if an object is missing.
    """

    MAX_CONFLICTS = 5

    def __init__(self, bucket: str, prefix: str = "", client: Any = None) -> None:
        if client is None:
            import boto3

            client = boto3.client("s3")
        self.client = client
        self.bucket = bucket
        self.prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""

    def create(self, key: str, data: bytes) -> str | None:
        """Create an object and return its ETag; do nothing and return None if it exists."""
        conflicts = 0
        while True:
            try:
                answer = self.client.put_object(**self._location(key), Body=data, IfNoneMatch="*")
                return str(answer["ETag"])
            except self.client.exceptions.ClientError as error:
                if _status(error) == HTTPStatus.PRECONDITION_FAILED:
                    return None
                conflicts += 1
                if _status(error) != HTTPStatus.CONFLICT or conflicts == self.MAX_CONFLICTS:
                    raise
                # Somebody else is writing the object, and the outcome is unknown yet.
                time.sleep(0.1 * 2**conflicts)

    def put(self, key: str, data: bytes) -> str:
        """Write an object, replacing any that is there; return its ETag."""
        return str(self.client.put_object(**self._location(key), Body=data)["ETag"])

    def delete(self, key: str) -> None:
        """Delete an object, if there is one. The pipeline never does this; a person may."""
        self.client.delete_object(**self._location(key))

    def keys(self, prefix: str) -> list[str]:
        """Keys of the objects under a prefix, which ends in a slash."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.prefix + prefix
        )
        found = (each["Key"] for page in pages for each in page.get("Contents", ()))
        return [str(key).removeprefix(self.prefix) for key in found]

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Contents and ETag of an object, or None if there is none."""
        try:
            answer = self.client.get_object(**self._location(key))
        except self.client.exceptions.NoSuchKey:
            return None
        return answer["Body"].read(), str(answer["ETag"])

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            self.client.head_object(**self._location(key))
        except self.client.exceptions.ClientError as error:
            if _status(error) == HTTPStatus.NOT_FOUND:
                return False
            raise
        return True

    def _location(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.prefix + key}


def _status(error: Any) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def open_store(
    root: str | os.PathLike[str], client: Callable[[str], Any] | None = None
) -> FolderStore | S3Store:
    """The store at a folder or at `s3://bucket[/prefix]`.

    `client` returns the client of a service by its name; the default is boto3's own. Raises
    ValueError if the bucket has no name.
    """
    if not str(root).startswith("s3://"):
        return FolderStore(root)
    bucket, _, prefix = str(root).removeprefix("s3://").partition("/")
    if not bucket:
        raise ValueError(f"{root}: must be s3://bucket or s3://bucket/prefix")
    return S3Store(bucket, prefix, client("s3") if client else None)


def ingest(slot: datetime, store: FolderStore | S3Store, profile: Profile) -> Result:
    """Write the slot's object and manifest, unless they are there.

    A slot is written once. A second call, even at the same time or with another profile, changes
    nothing and returns status "exists". The status is "repaired" if there was an object without
    its manifest, which a crash between the two writes leaves. The new manifest then has nulls for
    the profile, because the object does not tell it.

    Raises ValueError if no slot starts at `slot`, or if it is not over yet.
    """
    _check_is_over(slot, datetime.now(UTC))
    start = time.monotonic()
    key = object_key(slot)

    def result(status: Literal["written", "exists", "repaired"], entry: dict[str, Any]) -> Result:
        return {
            "slot": entry["slot"],
            "key": key,
            "status": status,
            "lines": entry["lines"],
            "bytes": entry["bytes"],
            "sha256": entry["sha256"],
            "seconds": round(time.monotonic() - start, 3),
        }

    if not store.exists(key):
        data, lines = _compressed(generate(slot, profile))
        if entry := write_once(store, key, slot, data, lines=lines, about=asdict(profile)):
            return result("written", entry)

    if manifest := store.read(manifest_key(key)):
        return result("exists", json.loads(manifest[0]))

    found = store.read(key)
    if found is None:
        raise RuntimeError(f"{key} was deleted while it was being read; call again")
    data, etag = found
    entry = _manifest(key, slot, data, _count_lines(data), etag) | dict.fromkeys(asdict(profile))
    if store.create(manifest_key(key), _json(entry)) is None:
        return result("exists", entry)  # the writer, or another repair, was faster
    return result("repaired", entry)


def write_once(
    store: FolderStore | S3Store,
    key: str,
    slot: datetime,
    data: bytes,
    *,
    lines: int,
    about: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Write an object and its manifest; do nothing and return None if the object exists.

    `lines` is the number of lines in `data`. Returns the manifest: `key`, `slot`, `lines`, `bytes`,
    `sha256`, `etag`, and what is in `about`.
    """
    etag = store.create(key, data)
    if etag is None:
        return None
    entry = _manifest(key, slot, data, lines, etag) | dict(about)
    # Replaces the manifest of a repair that found the object before its manifest was written.
    store.put(manifest_key(key), _json(entry))
    return entry


def write_over(
    store: FolderStore | S3Store,
    key: str,
    slot: datetime,
    data: bytes,
    *,
    lines: int,
    about: Mapping[str, Any],
) -> bool:
    """Write an object and its manifest, replacing any; False if both were already as wanted."""
    etag, found = store.create(key, data), None
    if etag is None:
        found = store.read(key)
        same = found is not None and found[0] == data
        etag = found[1] if found and same else store.put(key, data)
        if same and (manifest := store.read(manifest_key(key))):
            with suppress(ValueError, KeyError, TypeError):
                if json.loads(manifest[0])["etag"] == etag:
                    return False
    entry = _manifest(key, slot, data, lines, etag) | dict(about)
    store.put(manifest_key(key), _json(entry))
    return True


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, list[Result]]:
    """AWS Lambda: write the slots that the event asks for; `results` tell what became of each.

    Slots: `slots` (a list) or `slot`, ISO 8601 with an offset; else the last whole slot before
    `time`, EventBridge's scheduled time; else before now. Lake and profile are in the
    environment: EVENT_PIPELINE_LAKE, a folder or s3:// URL, is required.

    Raises ValueError naming the variable or the field that cannot be used.
    """
    store, profile = open_store(_lake(os.environ)), _profile(os.environ)
    results = [ingest(slot, store, profile) for slot in _requested_slots(event)]
    print(json.dumps(results))
    return {"results": results}


def _requested_slots(event: Mapping[str, Any]) -> list[datetime]:
    if "slots" in event:
        return [_moment("slots", text) for text in event["slots"]]
    if "slot" in event:
        return [_moment("slot", event["slot"])]
    return [
        last_whole_slot(_moment("time", event["time"]) if "time" in event else datetime.now(UTC))
    ]


def _moment(field: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise ValueError(
            f"{field}={text!r}: must be ISO 8601, for example 2025-11-19T17:50:00Z"
        ) from None
    if moment.tzinfo is None:
        raise ValueError(f"{field}={text!r}: has no offset; add Z for UTC")
    return moment


def _check_is_over(slot: datetime, now: datetime) -> None:
    if slot.tzinfo is None:
        raise ValueError(f"slot {slot.isoformat()}: has no offset")
    if last_whole_slot(slot) != slot - SLOT:
        raise ValueError(f"slot {slot.isoformat()}: must start at a multiple of 5 minutes")
    if slot + SLOT > now:
        raise ValueError(f"slot {slot.isoformat()}: does not end before {_iso(slot + SLOT)}")


def _lake(environment: Mapping[str, str]) -> str:
    if lake := environment.get(LAKE_VARIABLE):
        return lake
    raise ValueError(f"{LAKE_VARIABLE} is not set: give a folder or s3://bucket[/prefix]")


def _profile(environment: Mapping[str, str]) -> Profile:
    variables = {
        "events": ("EVENT_PIPELINE_EVENTS_PER_SLOT", int),
        "seed": ("EVENT_PIPELINE_SEED", int),
        "mode": ("EVENT_PIPELINE_INGEST_MODE", str),
        "late_share": ("EVENT_PIPELINE_LATE_SHARE", float),
        "fault_share": ("EVENT_PIPELINE_FAULT_SHARE", float),
    }
    fields: dict[str, Any] = {}
    for field, (variable, parse) in variables.items():
        if text := environment.get(variable):
            try:
                fields[field] = parse(text)
                Profile(**{field: fields[field]})
            except ValueError as error:
                raise ValueError(f"{variable}={text!r}: {error}") from None
    return Profile(**fields)


def _compressed(chunks: Iterable[bytes]) -> tuple[bytes, int]:
    """The chunks as a gzip file without name or time, and their number of lines."""
    compressor = zlib.compressobj(COMPRESSION, wbits=31)
    parts, lines = [], 0
    for chunk in chunks:
        parts.append(compressor.compress(chunk))
        lines += chunk.count(b"\n")
    return b"".join((*parts, compressor.flush())), lines


def _count_lines(data: bytes) -> int:
    with gzip.open(BytesIO(data)) as file:
        return sum(1 for _ in file)


def _manifest(key: str, slot: datetime, data: bytes, lines: int, etag: str) -> dict[str, Any]:
    return {
        "key": key,
        "slot": _iso(slot),
        "lines": lines,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "etag": etag,
    }


def _json(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _iso(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
