"""Bronze objects: what lies under a partition's prefix, and the digest that stands for it."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
from obstore.store import LocalStore

from event_pipeline import partitions
from event_pipeline.engines import Source
from event_pipeline.ingest.handler import manifest_key

EVENTS_PREFIX = "bronze/events/"
# The producer's name, with an optional suffix for files that a person loads.
EVENTS_NAME = re.compile(
    r"bronze/events/year=\d{4}/month=\d\d/day=\d\d/hour=\d\d/minute=\d\d"
    r"/events-\d{8}-\d{6}(-[0-9a-z]+)?\.jsonl\.gz"
)


@dataclass(frozen=True)
class BronzeObject:
    """One object as listed: its key under the lake's root, its version and its size in bytes."""

    key: str
    etag: str
    bytes: int


@dataclass(frozen=True)
class Listing:
    """What lies in one partition: the objects to read, and the keys of foreign ones."""

    objects: tuple[BronzeObject, ...]
    foreign: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Version of the set of objects: equal exactly when keys and versions are equal."""
        text = "\n".join(sorted(f"{o.key} {o.etag}" for o in self.objects))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


EMPTY = Listing(())


class Objects(dg.ConfigurableResource[Any]):
    """Bronze in a folder: `root` is the lake's root."""

    root: str

    @cached_property
    def _store(self) -> LocalStore:
        return LocalStore(self.root, mkdir=True)

    def _list(self, prefix: str) -> Iterable[BronzeObject]:
        for page in self._store.list(prefix):
            for meta in page:
                yield BronzeObject(meta["path"], meta["e_tag"] or "", meta["size"])

    def hours(self, day: date) -> dict[str, Listing]:
        """What arrived on a day, by hour key; an hour without an object is absent."""
        return self._by_hour(f"{EVENTS_PREFIX}{partitions.day_prefix(day)}")

    def hour(self, key: str) -> Listing:
        """What arrived in one hour."""
        prefix = f"{EVENTS_PREFIX}{partitions.hour_prefix(key)}"
        return self._by_hour(prefix).get(key, EMPTY)

    def strays(self) -> list[str]:
        """Keys that lie beside the years, where no partition looks."""
        found = self._store.list_with_delimiter(EVENTS_PREFIX)
        years = (prefix for prefix in found["common_prefixes"] if not _YEAR.search(prefix))
        return sorted([*(meta["path"] for meta in found["objects"]), *years])

    def _by_hour(self, prefix: str) -> dict[str, Listing]:
        found: dict[str, tuple[list[BronzeObject], list[str]]] = {}
        for item in self._list(prefix):
            # What lies in a day but in none of its hours is shown with the first.
            key = hour_of(item.key) or f"{_day_of(item.key)}-00:00"
            objects, foreign = found.setdefault(key, ([], []))
            if EVENTS_NAME.fullmatch(item.key):
                objects.append(item)
            else:
                foreign.append(item.key)
        return {
            key: Listing(tuple(sorted(objects, key=lambda o: o.key)), tuple(sorted(foreign)))
            for key, (objects, foreign) in found.items()
        }

    def sources(self, listing: Listing) -> tuple[Source, ...]:
        """The listing's objects for an engine, with what their producers said of them.

        A manifest counts only if it was written for this very version of its object.
        """
        return tuple(self._source(item) for item in listing.objects)

    def manifest(self, key: str) -> dict[str, Any] | None:
        """The manifest beside an object, None where there is none or it is not JSON."""
        try:
            found: Any = json.loads(self._store.get(manifest_key(key)).bytes().to_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _source(self, item: BronzeObject) -> Source:
        manifest = self.manifest(item.key) or {}
        if (manifest.get("etag"), manifest.get("bytes")) != (item.etag, item.bytes):
            manifest = {}
        lines, sha256 = manifest.get("lines"), manifest.get("sha256")
        return Source(
            item.key,
            str(Path(self.root) / item.key),
            item.bytes,
            lines if isinstance(lines, int) else None,
            sha256 if isinstance(sha256, str) else None,
        )


_YEAR = re.compile(r"year=\d{4}/?$")
_HOUR = re.compile(r"year=(\d{4})/month=(\d\d)/day=(\d\d)/hour=(\d\d)/")


def _day_of(key: str) -> str:
    return "-".join(re.findall(r"=(\d+)", key)[:3])


def hour_of(key: str) -> str | None:
    """Partition key of the hour that an object's key lies in, None where it lies in none."""
    match = _HOUR.search(key)
    return "{}-{}-{}-{}:00".format(*match.groups()) if match else None
