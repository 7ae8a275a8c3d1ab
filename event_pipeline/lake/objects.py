"""Bronze objects: what lies under a partition's prefix, and the digest that stands for it."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache, cached_property, lru_cache
from io import SEEK_SET, BufferedReader, RawIOBase
from typing import IO, TYPE_CHECKING, Any

import dagster as dg
from obstore import open_reader
from obstore.exceptions import InvalidPathError
from obstore.store import LocalStore, ObjectStore
from pydantic import PrivateAttr

from event_pipeline import aws
from event_pipeline.contracts import SILVER, Bronze, Contract
from event_pipeline.digests import short_digest
from event_pipeline.errors import UsageError
from event_pipeline.ingest.handler import manifest_key
from event_pipeline.lake.uploads import READ_AT_ONCE, Verdict, judge

if TYPE_CHECKING:
    from obstore import ReadableFile

NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class BronzeObject:
    """One object as listed: its key under the lake's root, version, size in bytes, and time."""

    key: str
    etag: str
    bytes: int
    modified: datetime = NEVER

    @property
    def name(self) -> str:
        """What a person calls it: the last part of the key."""
        return self.key.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Listing:
    """What lies in one partition: the objects to read, and the keys of foreign ones."""

    objects: tuple[BronzeObject, ...]
    foreign: tuple[str, ...] = ()

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
    _listed: dict[str, list[BronzeObject]] | None = PrivateAttr(None)

    @cached_property
    def _store(self) -> ObjectStore:
        return _store_at(self.root)

    def as_listed(self) -> "Objects":
        """These objects, of which each folder is listed once: for datasets that share it."""
        objects = Objects(root=self.root)
        objects._listed = {}
        return objects

    def _list(self, prefix: str) -> Iterable[BronzeObject]:
        if self._listed is None:
            return self._listing_of(prefix)
        if prefix not in self._listed:
            self._listed[prefix] = list(self._listing_of(prefix))
        return self._listed[prefix]

    def _listing_of(self, prefix: str) -> Iterator[BronzeObject]:
        with _nameable(prefix):
            for page in self._store.list(prefix):
                for meta in page:
                    etag, modified = meta["e_tag"] or "", meta["last_modified"]
                    yield BronzeObject(meta["path"], etag, meta["size"], modified)

    def day(self, contract: Contract, day: date) -> dict[str, Listing]:
        """What arrived on a day, by partition key; a partition without an object is absent."""
        cadence = contract.cadence
        # What lies in a day but in none of its hours is shown with the first.
        return self._listings(contract, cadence.day_folder(day), next(cadence.keys_of(day)))

    def partition(self, contract: Contract, key: str) -> Listing:
        """What arrived in one partition."""
        return self._listings(contract, contract.cadence.folder(key), key).get(key, EMPTY)

    def days(self, contract: Contract) -> list[date]:
        """The days that have a folder, of a dataset whose topmost folders are days."""
        folders, _ = self._top(contract)
        found = (contract.cadence.top_of(folder) for folder in folders)
        return sorted(top.date() for top in found if top)

    def strays(self, contract: Contract) -> list[str]:
        """Keys that lie where no partition looks: beside the topmost folders of partitions."""
        folders, files = self._top(contract)
        odd = (folder for folder in folders if contract.cadence.top_of(folder) is None)
        return sorted(f"{bronze_of(contract).prefix}{name}" for name in (*odd, *files))

    def _top(self, contract: Contract) -> tuple[list[str], list[str]]:
        """Names of the folders and of the files right under a dataset's prefix."""
        prefix = bronze_of(contract).prefix
        with _nameable(prefix):
            found = self._store.list_with_delimiter(prefix)
        folders = [path.removeprefix(prefix).rstrip("/") for path in found["common_prefixes"]]
        return folders, [meta["path"].removeprefix(prefix) for meta in found["objects"]]

    def _listings(self, contract: Contract, folder: str, default: str) -> dict[str, Listing]:
        prefix = bronze_of(contract).prefix
        found: dict[str, tuple[list[BronzeObject], list[str]]] = {}
        for item in self._list(prefix + folder):
            key, name = contract.cadence.split(item.key.removeprefix(prefix))
            owner = _owner(prefix, name) if key else None
            if (owner or _nearest(prefix, name)) != contract:
                continue
            objects, foreign = found.setdefault(key or default, ([], []))
            if owner:
                objects.append(item)
            else:
                foreign.append(item.key)
        return {
            key: Listing(tuple(sorted(objects, key=lambda o: o.key)), tuple(sorted(foreign)))
            for key, (objects, foreign) in found.items()
        }

    def verdict(self, contract: Contract, item: BronzeObject) -> Verdict:
        """How an object is spelled, or why it cannot be used as a whole."""
        if not bronze_of(contract).uploaded:
            return Verdict(gzipped=True)  # as its producer makes it
        try:
            return _judged(self.root, item.key, item.etag, contract.key)
        except FileNotFoundError:
            return Verdict(error="gone since it was listed")
        except OSError as error:
            return Verdict(error=f"cannot be read: {error.strerror}")

    def refused(self, contract: Contract, listing: Listing) -> dict[str, str]:
        """The objects of a partition that cannot be used, by key, and why."""
        verdicts = {item.key: self.verdict(contract, item) for item in listing.objects}
        return {key: verdict.error for key, verdict in verdicts.items() if verdict.error}

    def sources(self, contract: Contract, listing: Listing) -> tuple[Source, ...]:
        """The listing's objects for an engine, with what their producers said of them.

        A manifest counts only if it was written for this very version of its object.
        """
        return tuple(self._source(item, self.verdict(contract, item)) for item in listing.objects)

    def manifest(self, key: str) -> dict[str, Any] | None:
        """The manifest beside an object, None where there is none or it is not JSON."""
        try:
            found: Any = json.loads(self._store.get(manifest_key(key)).bytes().to_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _source(self, item: BronzeObject, verdict: Verdict) -> Source:
        manifest = self.manifest(item.key) or {}
        if (manifest.get("etag"), manifest.get("bytes")) != (item.etag, item.bytes):
            manifest = {}
        lines, sha256 = manifest.get("lines"), manifest.get("sha256")
        return Source(
            item.key,
            f"{self.root}/{item.key}",
            item.bytes,
            lines if isinstance(lines, int) else None,
            sha256 if isinstance(sha256, str) else None,
            verdict.gzipped,
            verdict.array,
        )


@contextmanager
def _nameable(prefix: str) -> Iterator[None]:
    """Says in one line that a folder holds a name that no object store could hold."""
    try:
        yield
    except InvalidPathError as error:
        what = re.search(r'path: "([^"]*)"', str(error))
        raise UsageError(
            f"{prefix} holds a file whose name is no object's, such as one with a line end: remove"
            f" or rename it ({what[1] if what else error})"
        ) from None


def bronze_of(contract: Contract) -> Bronze:
    """Where a Silver contract's objects lie."""
    assert contract.bronze is not None, f"{contract.asset} is not made of Bronze"
    return contract.bronze


@lru_cache(maxsize=10_000)
def _judged(root: str, key: str, etag: str, fields: tuple[str, ...]) -> Verdict:
    """The verdict on one version of an object, which never changes; `etag` tells versions apart.

    Sensors ask at every tick, and a gzipped file is read to its end.
    """
    with _opened(root, key) as file:
        return judge(file, fields)


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
        return LocalStore(root, mkdir=True)
    return aws.object_store(root.removeprefix("s3://"))


@cache
def _datasets(prefix: str) -> dict[Contract, re.Pattern[str]]:
    """The datasets whose objects lie under a prefix, and the names of their objects."""
    return {c: re.compile(b.names) for c in SILVER if (b := bronze_of(c)).prefix == prefix}


def _owner(prefix: str, name: str) -> Contract | None:
    """The dataset that an object's name is of: the whole name, not a part of it."""
    return next((c for c, names in _datasets(prefix).items() if names.fullmatch(name)), None)


def _nearest(prefix: str, name: str) -> Contract:
    """The dataset under which a foreign name is shown: the one whose names are most like it."""
    return max(
        _datasets(prefix),
        key=lambda c: difflib.SequenceMatcher(None, bronze_of(c).expected, name).ratio(),
    )
