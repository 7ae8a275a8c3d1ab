"""One of Athena's queries while it runs."""

import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

ACTIVE = ("QUEUED", "RUNNING")
UNLOAD = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*UNLOAD\s*\((?P<select>.*)\)\s*TO\s*'(?P<to>[^']*)'"
    r"\s*WITH\s*\((?P<options>[^()]*)\)\s*;?\s*",
    re.I | re.S,
)


class QueryFailedError(Exception):
    """Why a query fails, as Athena's StateChangeReason says it."""


@dataclass
class Query:
    """One query while it runs, with its caller's clients."""

    record: Json
    s3: Any
    glue: Any
    properties: dict[str, str]
    cutoff: int | None
    # Bytes that were read, by object.
    scanned: dict[str, int] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)
    # Of DuckDB, where it is at work.
    connection: Any = None

    def stop(self, why: str) -> None:
        """Ends the query as cancelled, whatever it is doing."""
        status = self.record["Status"]
        if status["State"] in ACTIVE:
            status.update(State="CANCELLED", StateChangeReason=why, CompletionDateTime=time.time())
        self.stopped.set()
        if self.connection:
            self.connection.interrupt()

    def check(self) -> None:
        """Raises QueryFailedError if the query is stopped."""
        if self.stopped.is_set():
            raise QueryFailedError("stopped")

    def scan(self, path: str, read: int, size: int) -> None:
        """Counts bytes that are read of an object, and stops the query at its workgroup's limit.

        What is read twice, as the ends of files are, counts once. Raises QueryFailedError if the
        query is stopped.
        """
        self.check()
        self.scanned[path] = min(size, self.scanned.get(path, 0) + read)
        scanned = sum(list(self.scanned.values()))
        self.record["Statistics"]["DataScannedInBytes"] = scanned
        if self.cutoff and scanned > self.cutoff:
            self.stop("Query cancelled! : Bytes scanned limit was exceeded")
