"""Claims: files that say which run makes what.

A claim is written before the work begins. So nobody does the same work twice, and a worker that
replaces a killed one finds its run. A service knows whether its run is still going on. Work that a
process does by itself has no run, so the process holds a lease: it confirms its claim as it works.
"""

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from threading import Event, Lock, Thread
from typing import ClassVar, Self

from event_pipeline import aws

# A claim lapses after this time if nobody confirms it and no run of it is known.
GRACE_SECONDS = 90
# How often a lease is confirmed: several times within that, so that a lost call does no harm.
RENEW_SECONDS = 20
# Why what a process made by itself is given up.
LOST = "this process stood still for so long that others took over; nothing was published"
# Where claims lie in a bucket, and the folders of Glue's runs beside them.
CLAIMS = "claims"
RUNS = "runs/"


@dataclass(frozen=True)
class Claim:
    """The claim of the run `run` to make `name` from the version `version` of its input.

    `to` is the prefix that the run writes to, if it is a single one. `id` is the service's own id
    of the run, once it is known. `of` is how many things the run makes. `at` is when the claim was
    made or last confirmed, in Unix seconds. `is_embedded` says that a process makes it by itself,
    under a lease.
    """

    name: str
    version: str
    run: str
    to: str = ""
    id: str = ""
    of: int = 1
    is_embedded: bool = False
    at: float = field(default_factory=time.time)
    etag: str = field(default="", compare=False)

    @property
    def is_only_one(self) -> bool:
        """Whether the run makes nothing else."""
        return self.of == 1

    @property
    def is_fresh(self) -> bool:
        """Whether its writer may still be about to start the run, or at work by itself."""
        return time.time() - self.at < GRACE_SECONDS


@dataclass(frozen=True)
class Claims:
    """The claims in a bucket under a prefix. Errors are botocore's ClientError."""

    bucket: str
    prefix: str

    def get(self, name: str) -> Claim | None:
        """The claim on `name`, or None if there is none."""
        client = aws.client("s3")
        try:
            answer = client.get_object(Bucket=self.bucket, Key=self._key(name))
        except client.exceptions.NoSuchKey:
            return None
        return Claim(**{**json.loads(answer["Body"].read()), "etag": answer["ETag"]})

    def put(self, claim: Claim, instead_of: Claim | None = None) -> Claim | None:
        """Writes a claim, in place of `instead_of` if that is given; returns it as written.

        Returns None, and changes nothing, if somebody else wrote a claim first.
        """
        client = aws.client("s3")
        condition = {"IfMatch": instead_of.etag} if instead_of else {"IfNoneMatch": "*"}
        text = json.dumps({k: v for k, v in asdict(claim).items() if k != "etag"})
        try:
            answer = client.put_object(
                Bucket=self.bucket, Key=self._key(claim.name), Body=text.encode(), **condition
            )
        except client.exceptions.ClientError as error:
            # 404: the claim to replace is gone. 409: somebody else is writing it.
            if aws.http_status(error) in {
                HTTPStatus.PRECONDITION_FAILED,
                HTTPStatus.CONFLICT,
                HTTPStatus.NOT_FOUND,
            }:
                return None
            raise
        return Claim(**{**asdict(claim), "etag": answer["ETag"]})

    def release(self, claim: Claim) -> None:
        """Removes a claim, unless it belongs to another run by now."""
        found = self.get(claim.name)
        if found and found.run == claim.run:
            aws.client("s3").delete_object(Bucket=self.bucket, Key=self._key(claim.name))

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}.json"


class Lease:
    """A claim on what this process makes by itself: confirmed during the block, then released.

    So it lapses soon after this process is killed, and not before.
    """

    _of_process: ClassVar[set["Lease"]] = set()

    def __init__(self, claims: Claims, claim: Claim) -> None:
        self._claims = claims
        self._claim = claim
        self._is_held = True
        self._lock = Lock()
        self._ended = Event()
        self._thread = Thread(target=self._keep, name="lease", daemon=True)

    @classmethod
    def release_all(cls) -> None:
        """Releases what this process holds, before it is ended at work: others need not wait."""
        for lease in list(cls._of_process):
            lease._release()

    def __enter__(self) -> Self:
        self._of_process.add(self)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._of_process.discard(self)
        self._release()

    def _release(self) -> None:
        with self._lock:
            self._is_held = False
            self._claims.release(self._claim)

    def confirm(self) -> bool:
        """Confirms the claim; False if somebody else took it, as after this process stood still.

        Raises botocore's errors if S3 cannot be reached.
        """
        with self._lock:
            renewed = self._renewed(self._claim) if self._is_held else None
            self._claim, self._is_held = renewed or self._claim, renewed is not None
            return self._is_held

    def _renewed(self, claim: Claim) -> Claim | None:
        if written := self._claims.put(replace(claim, at=time.time()), claim):
            return written
        # If the answer to an earlier call was lost, the claim is ours with another ETag.
        found = self._claims.get(claim.name)
        if found is None or found.run != claim.run:
            return None
        return self._claims.put(replace(found, at=time.time()), found)

    def _keep(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        while not self._ended.wait(RENEW_SECONDS):
            # The next call may succeed, before the claim lapses.
            with suppress(BotoCoreError, ClientError):
                self.confirm()


def remove_abandoned(
    buckets: Sequence[str], before: datetime, *, dry_run: bool = False
) -> tuple[int, int]:
    """Removes claims, and requests and messages of runs, that nobody has written since `before`.

    Returns how many objects there are and their bytes. The buckets' own rules remove them too, but
    only after days: a claim must not outlive the files to which it leads.
    """
    client, found, size = aws.client("s3"), 0, 0
    for bucket, prefix in [(bucket, each) for bucket in buckets for each in (f"{CLAIMS}/", RUNS)]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for item in [item for page in pages for item in page.get("Contents", [])]:
            if item["LastModified"] < before:
                found, size = found + 1, size + item["Size"]
                if not dry_run:
                    client.delete_object(Bucket=bucket, Key=item["Key"])
    return found, size
