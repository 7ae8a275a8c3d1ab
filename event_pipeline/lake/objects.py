"""Bronze objects: what lies under a partition's prefix, and the digest that stands for it."""

import difflib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache, cached_property, lru_cache
from io import SEEK_SET, BufferedReader
from typing import IO, TYPE_CHECKING, Any

import dagster as dg
from obstore import open_reader
from obstore.store import LocalStore, ObjectStore
from pydantic import PrivateAttr

from event_pipeline import aws
from event_pipeline.bronze import BRONZE, manifest_key
from event_pipeline.contracts import SILVER, SilverContract
from event_pipeline.contracts.layout import ListFolder
from event_pipeline.digests import short_digest
from event_pipeline.lake.listing import (
    BronzeObject,
    NoObject,
    list_right_under,
    list_under,
    shown,
)
from event_pipeline.lake.manifests import Deviation, Manifest, compare, sha256_of
from event_pipeline.lake.spelling import GZIPPED_LINES, Readable, Spelling, sniff
from event_pipeline.lake.uploads import READ_AT_ONCE, Verdict, judge

if TYPE_CHECKING:
    from obstore import ReadableFile


@dataclass(frozen=True)
class Listing:
    """What lies in one partition: the objects to read, and the names that are not read.

    `foreign` are the keys of other objects, and names that are not objects. If there are `hidden`
    names, the partition may have objects that nobody can see.
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
        """Version of everything that lies there, foreign names too; without any, the digest."""
        if not self.foreign:
            return self.digest
        return short_digest("\n".join((self.digest, *self.foreign)))


EMPTY = Listing(())


@dataclass(frozen=True)
class Source:
    """One Bronze object to read, with its producer's line count and SHA-256 if they are known.

    `uri` is its path or s3:// address, and `bytes` its size. `spelling` follows from the content,
    whatever the name suggests.
    """

    key: str
    uri: str
    bytes: int
    lines: int | None = None
    sha256: str | None = None
    spelling: Spelling = GZIPPED_LINES


class Objects(dg.ConfigurableResource[Any]):
    """Bronze objects: `root` is the lake's root, a folder or s3://bucket."""

    root: str
    _listed: dict[tuple[str, str], list[BronzeObject | NoObject]] | None = PrivateAttr(None)

    @cached_property
    def _store(self) -> ObjectStore:
        return _store_at(self.root)

    def as_listed(self) -> "Objects":
        """A copy that lists each folder only once, for datasets that share folders."""
        objects = Objects(root=self.root)
        objects._listed = {}
        return objects

    def _list(self, root: str, prefix: str) -> Iterable[BronzeObject | NoObject]:
        """What lies under a prefix of another root, or of the lake's if that is empty."""
        if self._listed is None:
            return self._under(root, prefix)
        if (root, prefix) not in self._listed:
            self._listed[root, prefix] = list(self._under(root, prefix))
        return self._listed[root, prefix]

    def _under(self, root: str, prefix: str) -> Iterator[BronzeObject | NoObject]:
        for item in list_under(root or self.root, prefix):
            yield replace(item, root=root) if root else item

    def everything(self) -> Iterator[BronzeObject | NoObject]:
        """Everything under Bronze and under other prefixes of datasets, objects or not."""
        places = {c.bronze.place for c in SILVER}
        elsewhere = {(root, p) for root, p in places if root or not p.startswith(BRONZE)}
        for root, prefix in (("", BRONZE), *sorted(elsewhere)):
            yield from self._under(root, prefix)

    def of_days(self, days: Sequence[date]) -> Iterator[BronzeObject | NoObject]:
        """Everything in the folders of these days' partitions, of all datasets; each once."""
        places = {c.bronze.place: c for c in SILVER}
        for (root, prefix), contract in sorted(places.items()):
            lister = self._lister(contract)
            paths = {path for day in days for path in contract.layout.folders_of_day(day, lister)}
            for path in sorted(paths):
                yield from self._under(root, prefix + path)

    def all(self, contract: SilverContract, keys: Collection[str] = ()) -> dict[str, Listing]:
        """What arrived in every partition, by partition key.

        Hidden names may concern several partitions; `keys` are those that they are matched with.
        What lies in no partition is under the key "".
        """
        return self._listings(contract, [""], "", keys)

    def day(self, contract: SilverContract, day: date) -> dict[str, Listing]:
        """What arrived on a day, by partition key; a partition without an object is absent."""
        keys = list(contract.cadence.keys_of(day))
        paths = contract.layout.folders_of_day(day, self._lister(contract))
        # What lies in a day but in none of its hours is listed with the first hour.
        found = self._listings(contract, paths, keys[0], keys)
        # If folders do not tell the day, objects of other days are listed too, and left out here.
        return {key: each for key, each in found.items() if key.startswith(day.isoformat())}

    def partition(self, contract: SilverContract, key: str) -> Listing:
        """What arrived in one partition."""
        paths = contract.layout.folders_of(key, self._lister(contract))
        return self._listings(contract, paths, key, [key]).get(key, EMPTY)

    def days(self, contract: SilverContract, first: date | None = None) -> Iterator[date]:
        """The days that have a folder, in order, starting at `first`; lists folders only as needed.

        Folders of days that do not exist, such as November 31st, are left out.
        """
        return contract.layout.days(self._lister(contract), first)

    def strays(self, contract: SilverContract) -> list[str]:
        """Keys beside the topmost folders of partitions, where no partition looks."""
        prefix, is_stray = contract.bronze.prefix, contract.layout.is_stray
        folders, files = list_right_under(self._root(contract), prefix)
        odd = [name for name in folders if is_stray(name, is_folder=True)]
        odd += [name for name in files if is_stray(name, is_folder=False)]
        return sorted(shown(f"{prefix}{name}") for name in odd)

    def _root(self, contract: SilverContract) -> str:
        return contract.bronze.root or self.root

    def _lister(self, contract: SilverContract) -> ListFolder:
        prefix = contract.bronze.prefix
        return lambda path: list_right_under(self._root(contract), prefix + path)

    def _listings(
        self,
        contract: SilverContract,
        paths: Iterable[str],
        default: str,
        keys: Collection[str],
    ) -> dict[str, Listing]:
        """Listings of what lies under `paths`, by partition key.

        A hidden name that may concern several partitions is listed with each of them in `keys`.
        What lies in no partition is listed with the partition `default`.
        """
        (root, prefix), sharing = contract.bronze.place, _datasets_sharing(contract)
        found: dict[str, tuple[list[BronzeObject], list[str], list[NoObject]]] = {}
        for item in (item for path in paths for item in self._list(root, prefix + path)):
            key, name = contract.layout.split(item.key.removeprefix(prefix))
            if isinstance(item, NoObject) and item.hidden:
                for each in [key] if key else _paths_within(item.key, contract, keys):
                    found.setdefault(each, ([], [], []))[2].append(item)
                continue
            reader = _owner(sharing, name) if key else None
            if (reader or _closest_dataset(sharing, name)) != contract:
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
        root = self._root(contract)
        try:
            if contract.bronze.uploaded:
                # A mapping computes the key, so its records need not have the key's fields.
                key = () if contract.bronze.mapping else contract.key
                return _judged(root, item.key, item.etag, key, top_folders_of(contract))
            # Other objects are as their producer makes them; in a folder, they must be readable.
            if not aws.in_s3(root) and not os.access(f"{root}/{item.key}", os.R_OK):
                open_object(root, item.key).close()
        except FileNotFoundError:
            return Verdict(error="it was deleted after it was listed")
        except OSError as error:
            return Verdict(error=f"cannot be read: {error.strerror}")
        return Verdict()

    def refused(self, contract: SilverContract, listing: Listing) -> dict[str, str]:
        """Object key -> why it keeps a partition from being built; empty if nothing does."""
        verdicts = {item.key: self.verdict(contract, item) for item in listing.objects}
        refused = {key: verdict.error for key, verdict in verdicts.items() if verdict.error}
        return {each.key: each.why for each in listing.hidden} | refused

    def sources(self, contract: SilverContract, listing: Listing) -> tuple[Source, ...]:
        """The listing's objects for an engine, with what their producers said of them.

        A manifest counts only if it describes the object that lies there.
        """
        return tuple(
            self._source(contract, item, self.verdict(contract, item)) for item in listing.objects
        )

    def deviations(self, listing: Listing) -> tuple[Deviation, ...]:
        """How objects of a partition differ from their producers' manifests, where they do."""
        compared = (self._compared(item)[1] for item in listing.objects)
        return tuple(each for each in compared if each)

    def manifest(self, key: str) -> Manifest | None:
        """The manifest beside an object; None if there is none."""
        try:
            return Manifest.read(bytes(self._store.get(manifest_key(key)).bytes()))
        except FileNotFoundError:
            return None

    def _compared(self, item: BronzeObject) -> tuple[Manifest | None, Deviation | None]:
        """(manifest, None) if an object matches its manifest, (None, deviation) if it does not.

        (None, None) if there is no manifest, or the object cannot be read.
        """
        # Only the pipeline's own producers write manifests, and those to the lake.
        manifest = None if item.root else self.manifest(item.key)
        if manifest is None:
            return None, None
        # An ETag in S3 depends on the content; a file may change and keep its ETag.
        is_same = aws.in_s3(self.root) and manifest.etag == item.etag
        sha256 = manifest.sha256 if is_same else None
        try:
            if manifest.size == item.bytes and not sha256:
                sha256 = _sha256(self.root, item.key, item.etag)
            deviation = compare(item.key, manifest, item.bytes, sha256)
            if deviation:
                with open_object(self.root, item.key) as file:
                    deviation = deviation.counted(file)
        except OSError:  # It is gone or cannot be read; the build says so.
            return None, None
        return (None, deviation) if deviation else (manifest, None)

    def _spelling(
        self,
        contract: SilverContract,
        item: BronzeObject,
        verdict: Verdict,
        manifest: Manifest | None,
    ) -> Spelling:
        if verdict.spelling:
            return verdict.spelling
        if manifest:  # it is what the pipeline's own producer wrote
            return GZIPPED_LINES
        try:
            return _sniffed(self._root(contract), item.key, item.etag, top_folders_of(contract))
        except OSError:  # It is gone or cannot be read; the build says so.
            return GZIPPED_LINES

    def _source(self, contract: SilverContract, item: BronzeObject, verdict: Verdict) -> Source:
        manifest, _ = self._compared(item)
        return Source(
            item.key,
            f"{self._root(contract)}/{item.key}",
            item.bytes,
            manifest.lines if manifest else None,
            manifest.sha256 if manifest else None,
            self._spelling(contract, item, verdict, manifest),
        )


@lru_cache(maxsize=10_000)
def _judged(
    root: str, key: str, etag: str, fields: tuple[str, ...], names: tuple[str, ...]
) -> Verdict:
    """The verdict on one version of an object, which never changes; `etag` tells versions apart.

    Cached, because sensors ask at every tick and a gzipped file is read to its end.
    """
    with open_object(root, key) as file:
        return judge(file, fields, names)


@lru_cache(maxsize=10_000)
def _sniffed(root: str, key: str, etag: str, names: tuple[str, ...]) -> Spelling:
    """How one version of an object is spelled."""
    with open_object(root, key) as file:
        return sniff(file, names)


@cache
def top_folders_of(contract: SilverContract) -> tuple[str, ...]:
    """The top-level names in a dataset's records that its fields are read from."""
    if not contract.bronze.mapping:
        return contract.source
    from event_pipeline.contracts.mapping import reading_of  # SQLGlot takes a while to import

    return tuple(sorted({path.partition(".")[0] for path in reading_of(contract).paths}))


@lru_cache(maxsize=10_000)
def _sha256(root: str, key: str, etag: str) -> str:
    """The SHA-256 of one version of an object."""
    with open_object(root, key) as file:
        return sha256_of(file)


def _paths_within(folder: str, contract: SilverContract, keys: Collection[str]) -> list[str]:
    """Those partitions among `keys` that lie, or may lie, in a folder."""
    return [key for key in keys if may_lie_in(contract, key, folder)]


def may_lie_in(contract: SilverContract, key: str, folder: str) -> bool:
    """Whether a folder may hold objects of a partition, or lies within the partition's folder."""
    path = f"{contract.bronze.prefix}{contract.layout.folder(key)}".partition("*")[0]
    return path.startswith(folder) or folder.startswith(path)


def open_object(root: str, key: str) -> IO[bytes]:
    """An object's bytes, as a seekable file. Raises OSError."""
    if not aws.in_s3(root):
        return open(f"{root}/{key}", "rb")
    return BufferedReader(_Reader(open_reader(_store_at(root), key)), READ_AT_ONCE)


class _Reader(Readable):
    """An object as a seekable file: adds what obstore's reader lacks."""

    def __init__(self, reader: "ReadableFile") -> None:
        super().__init__(lambda size: bytes(reader.read(size)))
        self._reader = reader

    def seekable(self) -> bool:
        return True

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


Names = dict[SilverContract, re.Pattern[str]]


@cache
def _datasets_sharing(contract: SilverContract) -> Names:
    """The datasets under the same prefix, this one first, each with its objects' name pattern."""
    place = contract.bronze.place
    others = (c for c in SILVER if c.bronze.place == place and c.asset != contract.asset)
    return {c: re.compile(c.bronze.names, re.ASCII) for c in (contract, *others)}


def of_dataset(item: BronzeObject) -> list[SilverContract]:
    """The datasets under whose prefix an object lies."""
    return [
        c for c in SILVER if c.bronze.root == item.root and item.key.startswith(c.bronze.prefix)
    ]


def owner(sharing: Sequence[SilverContract], name: str) -> SilverContract | None:
    """The dataset that an object's name belongs to, of those that share a prefix; None if none."""
    return _owner(_datasets_sharing(sharing[0]), name)


def _owner(sharing: Names, name: str) -> SilverContract | None:
    """The dataset whose pattern matches the whole of an object's name; None if none does."""
    return next((c for c, names in sharing.items() if names.fullmatch(name)), None)


def _closest_dataset(sharing: Names, name: str) -> SilverContract:
    """The dataset under which a foreign name is shown: the one whose names are most like it."""
    # Sorted, so that the result is the same whichever dataset asks.
    return max(
        sorted(sharing, key=lambda c: c.asset),
        key=lambda c: difflib.SequenceMatcher(None, c.bronze.expected, name).ratio(),
    )
