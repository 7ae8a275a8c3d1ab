"""Manifests: what a producer says it wrote, compared with what lies there."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import IO, Any

from event_pipeline.lake.spelling import records_of, sniff
from event_pipeline.lake.text import DAMAGED

GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Manifest:
    """What a producer says of an object: its lines, `size` in bytes, SHA-256 (hex) and ETag.

    A field is None if the producer does not say it.
    """

    lines: int | None = None
    size: int | None = None
    sha256: str | None = None
    etag: str | None = None

    @classmethod
    def read(cls, data: bytes) -> "Manifest":
        """Parses a manifest. If `data` is not a manifest, every field is None."""
        try:
            found: Any = json.loads(data)
        except ValueError:
            found = None
        if not isinstance(found, Mapping):
            return cls()
        kinds = {"lines": int, "size": int, "sha256": str, "etag": str}
        values = {**found, "size": found.get("bytes")}
        return cls(**{n: values[n] for n, kind in kinds.items() if type(values.get(n)) is kind})


@dataclass(frozen=True)
class Deviation:
    """An object (its key) that is not what its producer wrote, and why.

    `promised_lines` is the manifest's number of lines, `lines` the number that can be read. Either
    is None if it is unknown.
    """

    object: str
    why: str
    promised_lines: int | None = None
    lines: int | None = None

    @property
    def missing_lines(self) -> int | None:
        """How many of the producer's lines are missing; negative if there are too many."""
        if self.promised_lines is None or self.lines is None:
            return None
        return self.promised_lines - self.lines

    def counted(self, file: IO[bytes]) -> "Deviation":
        """A copy with `lines` counted from the object's content."""
        return replace(self, lines=_lines(file))

    def as_record(self) -> dict[str, Any]:
        """A dict of the fields and `missing_lines`, for people."""
        return {**asdict(self), "missing_lines": self.missing_lines}


def compare(key: str, manifest: Manifest, size: int, sha256: str | None) -> Deviation | None:
    """How an object with this size (bytes) and SHA-256 differs from its manifest; None if not."""
    if None in (manifest.lines, manifest.size, manifest.sha256):
        why = "its manifest does not state lines, bytes and sha256"
    elif manifest.size != size:
        why = f"{size:,} bytes, but its producer wrote {manifest.size:,}"
    elif manifest.sha256 != sha256:
        why = "its sha256 differs from what its producer wrote"
    else:
        return None
    return Deviation(key, why, manifest.lines)


def sha256_of(file: IO[bytes]) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    while data := file.read(1 << 20):
        digest.update(data)
    return digest.hexdigest()


def _lines(file: IO[bytes]) -> int:
    """How many records of an object can be read, up to where it is damaged."""
    count = 0
    with suppress(*DAMAGED):
        spelling = sniff(file)
        file.seek(0)
        for line in records_of(file, spelling):
            count += bool(line.strip())
    return count
