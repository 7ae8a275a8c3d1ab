"""A lake in a folder: its SQLite catalog, and the address at which it was made.

Iceberg writes absolute paths into all that it writes. So a lake that was moved, copied, restored
or mounted elsewhere still speaks of its old address, where another lake may lie by now. It is read
through a FileIO that turns old paths into new ones. Before anything is written it is adopted: its
tables are made anew of their live files, in a fresh catalog, which then takes the old one's place
at once. Nothing is ever written or deleted at the old address.

What lies in the folder outlives the catalog: one that is lost or damaged is made anew in the same
way, of the latest state of each table that can be read.
"""

import fcntl
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io import load_file_io
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import Table
from pyiceberg.typedef import Identifier
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from event_pipeline.errors import DamagedError, LakeError, first_line
from event_pipeline.lake.cache import cached
from event_pipeline.lake.folder_io import NEW, OLD, FolderIO, moved
from event_pipeline.lake.salvage import make_table, salvage

CATALOG = "catalog.db"
NEW_CATALOG = f"{CATALOG}.new"
LOCK = "catalog.lock"
# Another process commits in milliseconds.
LOCK_SECONDS = 60
# How SQLite says that a file is no catalog of its own; all else may pass, as a disk that is full.
DAMAGED = ("not a database", "malformed", "no such column")
REFUSED = {
    "locked": "another process holds its lock; end that process, or wait",
    "readonly": "it was left half written, or this user may not write to it",
    "unable to open": "this user may not read it, or may not write to its folder",
}


class FolderCatalog(SqlCatalog):
    """The catalog of a lake in a folder; each use opens the file that is there now."""

    def __init__(self, path: str, *, writable: bool, old: str = "", new: str = "") -> None:
        super().__init__(
            "lake",
            uri="sqlite://",
            path=path,
            mode="rwc" if writable else "ro",
            init_catalog_tables=str(writable),
            **{"py-io-impl": f"{FolderIO.__module__}.{FolderIO.__name__}", OLD: old, NEW: new},
        )

    def load_table(self, identifier: str | Identifier) -> Table:
        """A table, its metadata parsed once. Raises NoSuchTableError, and what cannot be read."""
        space, name = self.namespace_from(identifier), self.table_name_from(identifier)
        query = (
            "SELECT metadata_location FROM iceberg_tables WHERE catalog_name = ?"
            " AND table_namespace = ? AND table_name = ?"
        )
        with closing(_connect(self.properties["path"], self.properties["mode"])) as connection:
            row = connection.execute(query, (self.name, ".".join(space), name)).fetchone()
        if row is None:
            raise NoSuchTableError(f"Table does not exist: {'.'.join(space)}.{name}")
        (location,) = row
        io = load_file_io(self.properties, location)
        here = moved(location, self.properties[OLD], self.properties[NEW])
        metadata = cached(here, lambda: FromInputFile.table_metadata(io.new_input(location)))
        properties = {**self.properties, **metadata.properties}
        return Table((*space, name), metadata, location, load_file_io(properties, location), self)

    def _init_catalog(self) -> None:
        self.engine = _engine(self.properties["path"], self.properties["mode"])
        super()._init_catalog()


@lru_cache(maxsize=16)
def _engine(path: str, mode: str) -> Engine:
    """What opens the file anew for each use, and keeps the statements that it has compiled."""
    return create_engine("sqlite://", creator=lambda: _connect(path, mode), poolclass=NullPool)


def _connect(path: str, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(path)}?mode={mode}", uri=True, timeout=LOCK_SECONDS)


@dataclass(frozen=True)
class _Row:
    """A table as the catalog has it: its asset's name and where its metadata is."""

    asset: str
    metadata: str

    @property
    def root(self) -> str:
        """The address of the lake at which it was written."""
        return self.metadata.rpartition(f"/{self.asset}/metadata/")[0]


def _rows(root: str) -> list[_Row] | None:
    """The catalog's tables; None if there is no catalog. Raises LakeError if it is damaged."""
    path = f"{root}/{CATALOG}"
    if not os.path.exists(path):
        return None
    if not os.path.isfile(path):
        raise DamagedError(path, "no file")
    with translate_errors(root):
        try:
            found = _select(path, "ro")
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return None
            if "locked" in str(error):
                raise
            # A writer that was killed left its journal; one who may write can roll it back.
            found = _select(path, "rw")
    return [_Row(f"{space}/{name}", str(location)) for space, name, location in found]


def _select(path: str, mode: str) -> list[tuple[str, str, str]]:
    with closing(_connect(path, mode)) as connection:
        return connection.execute(
            "SELECT table_namespace, table_name, metadata_location FROM iceberg_tables"
        ).fetchall()


@contextmanager
def translate_errors(root: str) -> Iterator[None]:
    """Says in one line what is wrong with a catalog. Raises LakeError."""
    try:
        yield
    except (sqlite3.Error, DatabaseError) as error:
        text = first_line(error.orig if isinstance(error, DatabaseError) and error.orig else error)
        path = f"{root}/{CATALOG}"
        if any(each in text for each in DAMAGED):
            raise DamagedError(path, text) from None
        why = next((f": {why}" for each, why in REFUSED.items() if each in text), "")
        raise LakeError(f"{path}: {text}{why}") from None


def address(root: str) -> str:
    """The lake's address: by which name of this folder its tables know it.

    A folder may have several names, as by a link. The one under which the lake was made stays its
    address for as long as it leads here.
    """
    try:
        found = _recorded_root(root, _rows(root) or ())
    except LakeError:
        return root
    return found if found and _is_same_folder(found, root) else root


def _recorded_root(root: str, rows: Sequence[_Row]) -> str:
    """Where the lake says that it lies, if not here."""
    return next((row.root for row in rows if row.root not in ("", root)), "")


def _is_same_folder(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def tables_in(root: str) -> list[str]:
    """Assets whose tables lie in the folder, whether or not the catalog knows them."""
    return sorted(
        str(metadata.parent.relative_to(root))
        for metadata in Path(root).glob("*/*/metadata")
        if any(metadata.glob("*.metadata.json"))
    )


def open_for_reading(root: str) -> FolderCatalog | None:
    """The catalog as it is, None of a lake without tables; nothing is made or changed.

    Raises LakeError if it is lost or damaged.
    """
    rows = _rows(root)
    if rows is None:
        if tables_in(root):
            raise DamagedError(f"{root}/{CATALOG}", "lost, although the lake has tables")
        return None
    old = _recorded_root(root, rows)
    if not old or _is_same_folder(old, root):
        old = ""
    with translate_errors(root):
        return _reading(f"{root}/{CATALOG}", old, old and root)


@lru_cache(maxsize=16)
def _reading(path: str, old: str, new: str) -> FolderCatalog:
    """A catalog keeps nothing of its file, so that one is enough."""
    return FolderCatalog(path, writable=False, old=old, new=new)


def open_for_writing(root: str) -> FolderCatalog:
    """The catalog of a lake at its own address: made, adopted or made anew where it must be."""
    with writing(root):
        Path(root).mkdir(parents=True, exist_ok=True)
        if _is_foreign(root):
            with exclusive_lock(root):
                if _is_foreign(root):
                    _rebuild_catalog(root)
        # It may be another process that is just making the catalog's tables.
        making = exclusive_lock(root) if _rows(root) is None else shared_lock(root)
        with making, translate_errors(root):
            return FolderCatalog(f"{root}/{CATALOG}", writable=True)


def _is_foreign(root: str) -> bool:
    """Whether the catalog cannot be written to: it speaks of elsewhere, or is lost or damaged."""
    try:
        rows = _rows(root)
    except DamagedError:
        return True
    if rows is None:
        return bool(tables_in(root))
    old = _recorded_root(root, rows)
    return bool(old) and not _is_same_folder(old, root)


def _rebuild_catalog(root: str) -> None:
    """Makes the catalog of what lies in the folder, and puts it in place at once."""
    try:
        rows = _rows(root)
        damaged = False
    except DamagedError:
        rows, damaged = None, True
    old = _recorded_root(root, rows or ())
    catalog, known = _new_catalog(root), {row.asset: row for row in rows or ()}
    lost = []
    for asset in sorted({*known, *tables_in(root)}):
        found = salvage(root, asset, known[asset].metadata if asset in known else None)
        if found:
            make_table(catalog, root, asset, found)
        if not found or found.lost:
            lost.append(asset)
    if damaged:
        _move_aside(root)
    os.replace(f"{root}/{NEW_CATALOG}", f"{root}/{CATALOG}")
    why = f"was made at {old}" if old else f"had no readable {CATALOG}"
    partly = f"; not all of {', '.join(lost)} could be read" if lost else ""
    warn(f"{root} {why}: its catalog is rebuilt, and its history starts again{partly}")


def _new_catalog(root: str) -> FolderCatalog:
    """A fresh catalog beside the lake's, in place of one that a killed process left."""
    for left in (NEW_CATALOG, f"{NEW_CATALOG}-journal"):
        Path(root, left).unlink(missing_ok=True)
    return FolderCatalog(f"{root}/{NEW_CATALOG}", writable=True)


def _move_aside(root: str) -> None:
    """A damaged catalog is kept, and its journal, which must not be taken for the new one's."""
    for name in (CATALOG, f"{CATALOG}-journal"):
        path = Path(root, name)
        if path.exists():
            shutil.move(path, f"{path}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")


def repair_table(root: str, catalog: FolderCatalog, asset: str) -> bool:
    """Makes a table anew of its latest state that can be read; False if none can.

    For a table that the catalog does not have, or of which it has what cannot be read. To be
    called by one who is `exclusive_lock`.
    """
    found = salvage(root, asset, None)
    known = {row.asset: row.metadata for row in _rows(root) or ()}
    identifier = tuple(asset.split("/"))
    with translate_errors(root):
        if found is None:
            if asset in known:
                catalog.drop_table(identifier)
            return False
        if asset not in known:
            make_table(catalog, root, asset, found)
            return True
        # Made beside, so that no reader ever sees the catalog without it.
        fresh = _new_catalog(root)
        make_table(fresh, root, asset, found)
        made = fresh.load_table(identifier).metadata_location
        with closing(_connect(f"{root}/{CATALOG}", "rw")) as connection, connection:
            connection.execute(
                "UPDATE iceberg_tables SET metadata_location = ?"
                " WHERE table_namespace = ? AND table_name = ?",
                (made, *identifier),
            )
    return True


def warn(text: str) -> None:
    """Tells the person at the terminal, or whoever reads a run's log."""
    print(f"event-pipeline: {text}", file=sys.stderr)


@contextmanager
def writing(root: str) -> Iterator[None]:
    """Says in one line that a lake cannot be written to. Raises LakeError."""
    try:
        yield
    except OSError as error:
        raise LakeError(
            f"{root}: the lake cannot be written to: {error.strerror or error}"
        ) from None


@contextmanager
def exclusive_lock(root: str) -> Iterator[None]:
    """Keeps all other writers out: while the catalog or a table is made."""
    with _locked(root, fcntl.LOCK_EX):
        yield


@contextmanager
def shared_lock(root: str) -> Iterator[None]:
    """Keeps the catalog from being replaced while something is committed to it."""
    with _locked(root, fcntl.LOCK_SH):
        yield


@contextmanager
def _locked(root: str, operation: int) -> Iterator[None]:
    with open(f"{root}/{LOCK}", "a") as lock:
        fcntl.flock(lock, operation)
        yield
