"""Bronze objects: what lies under a partition's prefix, and the digest that stands for it."""

import difflib
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache, cached_property, lru_cache
from io import SEEK_SET, BufferedReader, RawIOBase
from typing import IO, TYPE_CHECKING, Any

import dagster as dg
from obstore import open_reader
from obstore.store import LocalStore, ObjectStore
from pydantic import PrivateAttr

from event_pipeline import aws
from event_pipeline.contracts import SILVER, SilverContract
from event_pipeline.digests import short_digest
from event_pipeline.ingest.handler import BRONZE, manifest_key
from event_pipeline.lake.listing import (
    BronzeObject,
    NoObject,
    list_right_under,
    list_under,
    shown,
)
from event_pipeline.lake.manifests import Deviation, Manifest, compare, sha256_of
from event_pipeline.lake.uploads import READ_AT_ONCE, Verdict, judge

if TYPE_CHECKING:
    from obstore import ReadableFile


@dataclass(frozen=True)
class Listing:
    """What lies in one partition: the objects to read, and the names that are not read.

    `foreign` are keys of other objects and names that are no object's; where some are `hidden`,
    there may be objects that nobody can see.
    """

    objects: tuple[BronzeObject, ...]
    foreign: tuple[str, ...] = ()
    hidden: tuple[NoObject, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Version of the set of objects: equal exactly when keys and versions are equal."""
        text = "\n".join(sorted(f"{o.key} {o.etag}" for o in self.objects))
        return short_digest(text)

    @cached_property
    def version(self) -> str:
        """Version of all that lies there, foreign objects too; without them it is the digest."""
        if not self.foreign:
            return self.digest
        return short_digest("\n".join((self.digest, *self.foreign)))


EMPTY = Listing(())


@dataclass(frozen=True)
class Source:
    """One Bronze object to read, with its producer's line count and digest where there are any.

    It is UTF-8 text, gzipped or not, of one JSON object a line, or with `array` one JSON array
    of them: by its content, whatever its name says.
    """

    key: str
    uri: str
    bytes: int
    lines: int | None = None
    sha256: str | None = None
    gzipped: bool = True
    array: bool = False


class Objects(dg.ConfigurableResource[Any]):
    """Bronze objects: `root` is the lake's root, a folder or s3://bucket."""

    root: str
    _listed: dict[str, list[BronzeObject | NoObject]] | None = PrivateAttr(None)

    @cached_property
    def _store(self) -> ObjectStore:
        return _store_at(self.root)

    def as_listed(self) -> "Objects":
        """These objects, of which each folder is listed once: for datasets that share it."""
        objects = Objects(root=self.root)
        objects._listed = {}
        return objects

    def _list(self, prefix: str) -> Iterable[BronzeObject | NoObject]:
        if self._listed is None:
            return list_under(self.root, prefix)
        if prefix not in self._listed:
            self._listed[prefix] = list(list_under(self.root, prefix))
        return self._listed[prefix]

    def everything(self) -> Iterator[BronzeObject | NoObject]:
        """All that lies under Bronze, whatever it is."""
        return list_under(self.root, BRONZE)

    def all(self, contract: SilverContract, keys: Collection[str] = ()) -> dict[str, Listing]:
        """What arrived in every partition, by key: those that have objects, and `keys`."""
        return self._listings(contract, "", "", keys)

    def day(self, contract: SilverContract, day: date) -> dict[str, Listing]:
        """What arrived on a day, by partition key; a partition without an object is absent."""
        cadence = contract.cadence
        keys = list(cadence.keys_of(day))
        # What lies in a day but in none of its hours is shown with the first.
        return self._listings(contract, cadence.day_folder(day), keys[0], keys)

    def partition(self, contract: SilverContract, key: str) -> Listing:
        """What arrived in one partition."""
        return self._listings(contract, contract.cadence.folder(key), key, [key]).get(key, EMPTY)

    def days(self, contract: SilverContract, first: date | None = None) -> Iterator[date]:
        """The days that have a folder, in order, from the first; lists no more than is asked.

        Folders that are no day's, as of November 31st, are left out.
        """
        prefix, cadence = contract.bronze.prefix, contract.cadence
        depth = cadence.day_format.count("/")
        start = cadence.day_folder(first).split("/")[:depth] if first else [""] * depth
        found = (cadence.day_of(f.removeprefix(prefix)) for f in _folders(self.root, prefix, start))
        return (day for day in found if day)

    def strays(self, contract: SilverContract) -> list[str]:
        """Keys that lie where no partition looks: beside the topmost folders of partitions."""
        prefix = contract.bronze.prefix
        folders, files = list_right_under(self.root, prefix)
        odd = (folder for folder in folders if contract.cadence.top_of(folder) is None)
        return sorted(shown(f"{prefix}{name}") for name in (*odd, *files))

    def _listings(
        self, contract: SilverContract, folder: str, default: str, keys: Collection[str]
    ) -> dict[str, Listing]:
        """Listings of what lies in a folder, by partition; `keys` are those that it has.

        What lies in no partition is shown with the partition `default`.
        """
        prefix = contract.bronze.prefix
        found: dict[str, tuple[list[BronzeObject], list[str], list[NoObject]]] = {}
        for item in self._list(prefix + folder):
            key, name = contract.cadence.split(item.key.removeprefix(prefix))
            if isinstance(item, NoObject) and item.hidden:
                for each in [key] if key else _within(item.key, contract, keys):
                    found.setdefault(each, ([], [], []))[2].append(item)
                continue
            reader = owner(prefix, name) if key else None
            if (reader or _nearest(prefix, name)) != contract:
                continue
            objects, foreign, _ = found.setdefault(key or default, ([], [], []))
            if isinstance(item, BronzeObject) and reader:
                objects.append(item)
            else:
                foreign.append(shown(item.key))
        return {
            key: Listing(
                tuple(sorted(objects, key=lambda o: o.key)), tuple(sorted(foreign)), tuple(hidden)
            )
            for key, (objects, foreign, hidden) in found.items()
        }

    def verdict(self, contract: SilverContract, item: BronzeObject) -> Verdict:
        """How an object is spelled, or why it cannot be used as a whole."""
        try:
            if contract.bronze.uploaded:
                return _judged(self.root, item.key, item.etag, contract.key)
            # As its producer makes it, if it can be read at all.
            if not aws.in_s3(self.root) and not os.access(f"{self.root}/{item.key}", os.R_OK):
                _opened(self.root, item.key).close()
        except FileNotFoundError:
            return Verdict(error="gone since it was listed")
        except OSError as error:
            return Verdict(error=f"cannot be read: {error.strerror}")
        return Verdict(gzipped=True)

    def refused(self, contract: SilverContract, listing: Listing) -> dict[str, str]:
        """What keeps a partition from being built, by key, and why: objects that cannot be used."""
        verdicts = {item.key: self.verdict(contract, item) for item in listing.objects}
        refused = {key: verdict.error for key, verdict in verdicts.items() if verdict.error}
        return {each.key: each.why for each in listing.hidden} | refused

    def sources(self, contract: SilverContract, listing: Listing) -> tuple[Source, ...]:
        """The listing's objects for an engine, with what their producers said of them.

        A manifest counts only if what it was written for is what lies there.
        """
        return tuple(self._source(item, self.verdict(contract, item)) for item in listing.objects)

    def deviations(self, listing: Listing) -> tuple[Deviation, ...]:
        """The objects of a partition that are not what their producers' manifests say."""
        compared = (self._compared(item)[1] for item in listing.objects)
        return tuple(each for each in compared if each)

    def manifest(self, key: str) -> Manifest | None:
        """The manifest beside an object, None where there is none."""
        try:
            return Manifest.read(bytes(self._store.get(manifest_key(key)).bytes()))
        except FileNotFoundError:
            return None

    def _compared(self, item: BronzeObject) -> tuple[Manifest | None, Deviation | None]:
        """The manifest of an object if it is of what lies there, else how they differ."""
        manifest = self.manifest(item.key)
        if manifest is None:
            return None, None
        # An ETag of S3 is of the content; a file may change and keep it.
        is_same = aws.in_s3(self.root) and manifest.etag == item.etag
        sha256 = manifest.sha256 if is_same else None
        try:
            if manifest.size == item.bytes and not sha256:
                sha256 = _sha256(self.root, item.key, item.etag)
            deviation = compare(item.key, manifest, item.bytes, sha256)
            if deviation:
                with _opened(self.root, item.key) as file:
                    deviation = deviation.counted(file)
        except OSError:  # It went, or cannot be read; the build says so.
            return None, None
        return (None, deviation) if deviation else (manifest, None)

    def _source(self, item: BronzeObject, verdict: Verdict) -> Source:
        manifest, _ = self._compared(item)
        return Source(
            item.key,
            f"{self.root}/{item.key}",
            item.bytes,
            manifest.lines if manifest else None,
            manifest.sha256 if manifest else None,
            verdict.gzipped,
            verdict.array,
        )


@lru_cache(maxsize=10_000)
def _judged(root: str, key: str, etag: str, fields: tuple[str, ...]) -> Verdict:
    """The verdict on one version of an object, which never changes; `etag` tells versions apart.

    Sensors ask at every tick, and a gzipped file is read to its end.
    """
    with _opened(root, key) as file:
        return judge(file, fields)


@lru_cache(maxsize=10_000)
def _sha256(root: str, key: str, etag: str) -> str:
    """The SHA-256 of one version of an object."""
    with _opened(root, key) as file:
        return sha256_of(file)


def _folders(root: str, prefix: str, start: list[str]) -> Iterator[str]:
    """Folders under a prefix, as deep as `start` has parts, in order, from `start`."""
    first, *below = start
    folders, _ = list_right_under(root, prefix)
    for name in folders:
        path = f"{prefix}{name}/"
        if name < first:
            continue
        if not below:
            yield path
        else:
            yield from _folders(root, path, below if name == first else [""] * len(below))


def _within(folder: str, contract: SilverContract, keys: Collection[str]) -> list[str]:
    """Those of a dataset's partitions that lie in a folder."""
    prefix, of = contract.bronze.prefix, contract.cadence.folder
    return [key for key in keys if f"{prefix}{of(key)}".startswith(folder)]


def _opened(root: str, key: str) -> IO[bytes]:
    if not aws.in_s3(root):
        return open(f"{root}/{key}", "rb")
    return BufferedReader(_Reader(open_reader(_store_at(root), key)), READ_AT_ONCE)


class _Reader(RawIOBase):
    """An object as a file: obstore's reader lacks what Python's own wrappers ask for."""

    def __init__(self, reader: "ReadableFile") -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._reader.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()


@cache
def _store_at(root: str) -> ObjectStore:
    """The store of a lake's root."""
    if not aws.in_s3(root):
        return LocalStore(root)
    return aws.object_store(root.removeprefix("s3://"))


@cache
def _datasets(prefix: str) -> dict[SilverContract, re.Pattern[str]]:
    """The datasets whose objects lie under a prefix, and the names of their objects."""
    return {c: re.compile(b.names, re.ASCII) for c in SILVER if (b := c.bronze).prefix == prefix}


def of_dataset(key: str) -> list[SilverContract]:
    """The datasets under whose prefix a key lies."""
    return [c for c in SILVER if key.startswith(c.bronze.prefix)]


def owner(prefix: str, name: str) -> SilverContract | None:
    """The dataset that an object's name is of: the whole name, not a part of it."""
    return next((c for c, names in _datasets(prefix).items() if names.fullmatch(name)), None)


def _nearest(prefix: str, name: str) -> SilverContract:
    """The dataset under which a foreign name is shown: the one whose names are most like it."""
    return max(
        _datasets(prefix),
        key=lambda c: difflib.SequenceMatcher(None, c.bronze.expected, name).ratio(),
    )
