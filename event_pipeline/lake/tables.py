"""Iceberg tables: publish a partition in one commit, find what is live, go back.

Data files lie under `<table>/data/<partition>/<digest>-<version>-<run>/`, and the run's receipt
(what it was built from, its ledger) is written beside them before the commit. The commit makes file
and receipt live together, so what a partition was built from can never disagree with the rows that
readers see, whatever is killed, rolled back or expired.
"""

import hashlib
import json
import os
import random
import stat
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.dataset import dataset
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, ValidationException
from pyiceberg.expressions import AlwaysFalse, AlwaysTrue, BooleanExpression, parser
from pyiceberg.expressions.visitors import inclusive_projection, manifest_evaluator
from pyiceberg.io import PY_IO_IMPL, load_file_io
from pyiceberg.io.pyarrow import PyArrowFileIO, parquet_file_to_data_file, schema_to_pyarrow
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table, TableProperties
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update.snapshot import ManageSnapshots
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.types import NestedField

from event_pipeline import aws
from event_pipeline.contracts import Contract
from event_pipeline.errors import DamagedError, LakeError, UsageError, in_short
from event_pipeline.lake import folder
from event_pipeline.lake.folder_io import NEW, OLD, FolderIO, moved
from event_pipeline.lake.salvage import UNREADABLE, files_of, moved_file, salvage
from event_pipeline.partitions import DAILY, DAY

if TYPE_CHECKING:
    from event_pipeline.settings import Settings

RECEIPT = "receipt.json"
# In a receipt, the digests of its data files, by name.
SHA256 = "sha256"
# The table's property that holds, as JSON, what a rollback set back.
ROLLED_BACK = "event-pipeline.rolled-back"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PROPERTIES = {
    # A publish that lost a race is planned anew by `publish`, which re-reads what to replace;
    # PyIceberg's own retry would keep the old plan.
    TableProperties.COMMIT_NUM_RETRIES: "0",
    # Without these three, every publish costs more than the one before.
    TableProperties.MANIFEST_MERGE_ENABLED: "true",
    TableProperties.MANIFEST_MIN_MERGE_COUNT: "25",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}
SNAPSHOTS_KEPT = 100
SNAPSHOTS_MOST = 150
COMMIT_ATTEMPTS = 30
READS_MOST = 3


class PublishError(RuntimeError):
    """A publish that could not be committed; the old partition is still live."""


@dataclass(frozen=True)
class Live:
    """What is live of one partition: its files, their rows, and the folder of their run."""

    files: tuple[DataFile, ...]

    @property
    def paths(self) -> list[str]:
        """Paths of the Parquet files."""
        return [file.file_path for file in self.files]

    @property
    def rows(self) -> int:
        """Rows in the files."""
        return sum(file.record_count for file in self.files)

    @property
    def prefix(self) -> str:
        """Folder of the run that made the files."""
        return self.files[0].file_path.rsplit("/", 1)[0]

    @property
    def digest(self) -> str:
        """Digest of the input that the files were made of, as the name of their folder says it."""
        return self.run.partition("-")[0]

    @property
    def version(self) -> str:
        """Version of the contract that made the files; empty if their folder does not say it."""
        _, *version, _ = self.run.split("-")
        return "-".join(version)

    @property
    def run(self) -> str:
        """Name of the run's folder, which no other run has."""
        return self.prefix.rsplit("/", 1)[-1]


class Stored(NamedTuple):
    """A file as it is stored: its size in bytes and when it was last written (seconds, UTC)."""

    bytes: int
    modified: float


@dataclass(frozen=True)
class Version:
    """One published state of a table that it can be rolled back to."""

    snapshot_id: int
    at: datetime
    partition: str
    rows: int
    current: bool


class Lake(dg.ConfigurableResource[Any]):
    """The Iceberg tables of one lake.

    `root` is an absolute folder, with a SQLite catalog in it, or s3://bucket, with the Glue Data
    Catalog, where databases are named `database_prefix`, an underscore and the layer.
    """

    root: str
    database_prefix: str = ""

    @classmethod
    def of(cls, settings: "Settings") -> "Lake":
        """The tables of the settings' lake."""
        return cls(root=settings.root, database_prefix=settings.database_prefix)

    @property
    def _in_glue(self) -> bool:
        return aws.in_s3(self.root)

    @property
    def address(self) -> str:
        """The name of `root` by which the lake's tables know where they lie."""
        return self.root if self._in_glue else folder.address(self.root)

    def open(self) -> Catalog:
        """The catalog, to be written to.

        A lake that was made elsewhere is adopted, a catalog that is lost or damaged is made anew
        of what lies there. Raises LakeError if it cannot be written to.
        """
        return self._glue if self._in_glue else folder.open_for_writing(self.root)

    @cached_property
    def _glue(self) -> Catalog:
        from pyiceberg.catalog.glue import GlueCatalog  # imports boto3

        return GlueCatalog("lake", client=aws.client("glue"), **self._properties)

    @cached_property
    def _properties(self) -> dict[str, str]:
        """How PyIceberg reaches files: in S3 as boto3 would, of which it knows less by itself."""
        return {PY_IO_IMPL: "event_pipeline.lake.s3.S3FileIO"} if self._in_glue else {}

    @cached_property
    def _io(self) -> PyArrowFileIO:
        return cast(PyArrowFileIO, load_file_io(self._properties)) if self._in_glue else FolderIO()

    def _alone(self) -> AbstractContextManager[None]:
        """Keeps other processes out while a table is made: PyIceberg looks, then makes."""
        # Glue's databases are the stack's, and it refuses to make a table twice.
        return nullcontext() if self._in_glue else folder.alone(self.root)

    def _as_it_is(self) -> AbstractContextManager[None]:
        return nullcontext() if self._in_glue else folder.as_it_is(self.root)

    def identifier(self, contract: Contract) -> tuple[str, str]:
        """Database and name of the contract's table in the catalog."""
        layer, name = contract.identifier
        return f"{self.database_prefix}_{layer}" if self._in_glue else layer, name

    def table(self, contract: Contract) -> Table:
        """The contract's table, made if it is not there yet, with every column of the contract.

        Raises UsageError if a column's type is another in the table than in the contract.
        """
        catalog = self.open()
        with self._clear_errors():
            table = _readable(catalog, self.identifier(contract))
            if table is None:
                with self._alone():
                    table = self._made(catalog, contract)
            return _evolved(table, contract)

    def _made(self, catalog: Catalog, contract: Contract, *, deep: bool = False) -> Table:
        """The table that is not there yet, or cannot be read: of what lies there, or empty."""
        identifier = self.identifier(contract)
        if isinstance(catalog, folder.FolderCatalog):
            if (table := _readable(catalog, identifier, deep=deep)) is not None:
                return table  # Another process was faster.
            if folder.mend_table(self.root, catalog, contract.asset):
                folder.say(f"{contract.table} is made anew of what can be read of it")
                return catalog.load_table(identifier)
            catalog.create_namespace_if_not_exists(contract.identifier[0])
        schema = _schema(contract)
        source = schema.find_field(contract.partition).field_id
        field = PartitionField(source, 1000, IdentityTransform(), contract.partition)
        return catalog.create_table_if_not_exists(
            identifier,
            schema,
            location=f"{self.address}/{contract.asset}",
            partition_spec=PartitionSpec(field),
            properties={
                **PROPERTIES,
                TableProperties.DEFAULT_NAME_MAPPING: schema.name_mapping.model_dump_json(),
                "comment": contract.description,
            },
        )

    def mend(self, contract: Contract) -> bool:
        """Makes a table anew if some of it cannot be read; False if all of it can.

        Of a lake in a folder; of S3 False, where a bucket keeps the versions of its objects.
        """
        catalog = self.open()
        if not isinstance(catalog, folder.FolderCatalog):
            return False
        with self._alone():
            if _readable(catalog, self.identifier(contract), deep=True) is not None:
                return False
            self._made(catalog, contract, deep=True)
        return True

    def _clear_errors(self) -> AbstractContextManager[None]:
        return nullcontext() if self._in_glue else folder.clear_errors(self.root)

    def _there(self, contract: Contract) -> Table | None:
        """The table as it is; None if it is not there. It is not made, nor is anything changed.

        Raises LakeError if it cannot be read, and UsageError as `table`.
        """
        catalog = self._glue if self._in_glue else folder.open_for_reading(self.root)
        if catalog is None:
            return None
        try:
            with self._clear_errors():
                table = _loaded(catalog, self.identifier(contract))
        except NoSuchTableError:
            return None
        _check_columns(table, contract)
        return table

    def new_prefix(self, contract: Contract, key: str, digest: str, version: str = "") -> str:
        """A fresh folder for one run's files of one partition.

        Its name tells the digest of the input and the version of the contract, if it is given.
        """
        partition = key.replace(":", "")
        run = "-".join(filter(None, (digest, version, uuid.uuid4().hex[:8])))
        self.open()  # A lake from elsewhere has an address of its own from now on.
        prefix = f"{self.address}/{contract.asset}/data/{partition}/{run}"
        if not self._in_glue:
            with folder.writing(self.root):
                Path(prefix).mkdir(parents=True)
        return prefix

    def publish(
        self, contract: Contract, key: str, files: Sequence[str], receipt: Mapping[str, Any]
    ) -> None:
        """Replaces the partition's live files by `files`, in one Iceberg commit.

        `files` lie under one fresh prefix; `receipt` becomes live with them. Readers see the old
        partition or the new one, never both or none. Raises PublishError if other writers won
        every attempt, and ValueError if a file does not fit the contract.
        """
        prefix = files[0].rsplit("/", 1)[0]
        table = self.table(contract)
        written = {**receipt, SHA256: self._sha256(files)}
        with table.io.new_output(f"{prefix}/{RECEIPT}").create(overwrite=True) as out:
            out.write(json.dumps(written, default=str).encode())
        added = [_data_file(table, path, contract, key) for path in files]
        summary = {
            "event-pipeline.partition": key,
            **{f"event-pipeline.{k}": str(v) for k, v in receipt.items() if _is_scalar(v)},
        }
        for attempt in range(COMMIT_ATTEMPTS):
            try:
                with self._clear_errors(), self._as_it_is():
                    self._commit(table, contract, key, added, summary)
                return
            except (CommitFailedException, ValidationException):
                time.sleep(random.uniform(0, 0.05 * (attempt + 1)))
                table = self.table(contract)
            except LakeError:
                raise
            except Exception:
                # The commit reads every manifest, and more can be wrong with one than `table` sees.
                if not self.mend(contract):
                    raise
                table = self.table(contract)
        raise PublishError(f"{contract.asset} {key}: other writers won {COMMIT_ATTEMPTS} times")

    def _commit(
        self,
        table: Table,
        contract: Contract,
        key: str,
        added: Iterable[DataFile],
        summary: dict[str, str],
    ) -> None:
        replaced = self._live(table, contract, {key}, True)
        old = [file for live in replaced.values() for file in live.files]
        with table.transaction() as transaction:
            update = transaction.update_snapshot(snapshot_properties=summary)
            # merge_append keeps the number of manifests small; overwrite replaces exact files.
            with update.overwrite() if old else update.merge_append() as producer:
                for file in old:
                    producer.delete_data_file(file)
                for file in added:
                    producer.append_data_file(file)
        if len(table.metadata.snapshots) > SNAPSHOTS_MOST:
            _expire(table)

    def live(self, contract: Contract, keys: Collection[str] | None = None) -> dict[str, Live]:
        """What is live of each partition, or of those among `keys`, by partition key.

        What a lost or unreadable file of the table's own spoke of is not live any more: `damage`
        names it, and the next build makes it anew.
        """
        try:
            table = self._there(contract)
        except DamagedError:
            return {}
        return self._live(table, contract, keys) if table else {}

    def _live(
        self,
        table: Table,
        contract: Contract,
        keys: Collection[str] | None,
        strict: bool = False,
    ) -> dict[str, Live]:
        strict = strict or self._in_glue
        return _live_in(table.current_snapshot(), table, contract, keys, strict=strict)

    def receipt(self, live: Live) -> dict[str, Any] | None:
        """What the live files of a partition were built from, and their ledger.

        None where it is lost or unreadable: nobody knows then what the partition was made of.
        """
        found = self._receipt(live)
        return found and {name: value for name, value in found.items() if name != SHA256}

    def _receipt(self, live: Live) -> dict[str, Any] | None:
        """The receipt as it was written, with the digests of the data files."""
        try:
            with self._io.new_input(f"{live.prefix}/{RECEIPT}").open() as file:
                found = json.loads(file.read())
        except (FileNotFoundError, ValueError):
            return None
        except OSError:
            # S3 may have been out of reach. In a folder it is what lies there.
            if self._in_glue:
                raise
            return None
        return found if isinstance(found, dict) and found else None

    def scan(self, contract: Contract, row_filter: str | None = None) -> list[str]:
        """Paths of the live files that may hold rows that the filter admits, sorted.

        Raises DamagedError if not all of the table can be read.
        """
        table = self._there(contract)
        if table is None:
            return []
        if why := flaw_of(table):
            raise DamagedError(contract.table, why)
        old, new = table.io.properties.get(OLD, ""), table.io.properties.get(NEW, "")
        scan = table.scan(row_filter or AlwaysTrue())
        try:
            tasks = list(scan.plan_files())
        except Exception:
            if why := flaw_of(table, deep=True):
                raise DamagedError(contract.table, why) from None
            raise
        return sorted(moved(task.file.file_path, old, new) for task in tasks)

    def read(
        self,
        contract: Contract,
        files: Sequence[str],
        columns: list[str] | None = None,
        rows: int | None = None,
    ) -> pa.Table:
        """Files of a table as one, in order; `rows` bounds how many rows are read."""
        schema = schema_to_pyarrow(_schema(contract), include_field_ids=False)
        scheme, netloc, _ = self._io.parse_location(self.root)
        paths = [self._io.parse_location(file)[2] for file in files]
        filesystem = self._io.fs_by_scheme(scheme, netloc)
        data = dataset(paths, schema=schema, format="parquet", filesystem=filesystem)
        return data.to_table(columns) if rows is None else data.head(rows, columns=columns)

    def look(self) -> None:
        """Raises DamagedError if there is no catalog that can be read, though there are tables."""
        if not self._in_glue:
            folder.open_for_reading(self.root)

    def flaw(self, contract: Contract, *, deep: bool = False) -> str | None:
        """Why the table as such cannot be read as a whole; None if it can, or is not there."""
        try:
            table = self._there(contract)
        except DamagedError:
            return "its metadata is lost or unreadable"
        if table is None:
            lies = not self._in_glue and salvage(self.root, contract.asset, None)
            return "it lies there, and the catalog does not have it" if lies else None
        return flaw_of(table, deep=deep)

    def broken(self, live: Mapping[str, Live], *, deep: bool = False) -> dict[str, str]:
        """Partitions whose files are not those that were published, by key, and why.

        Sizes and receipts are looked at, and in a folder the content of a file that was written
        to since; with `deep` that of each file.
        """
        found = {}
        for key, each in live.items():
            if why := self._flaw(each, self._stored(each), deep=deep):
                found[key] = why
        return found

    def _flaw(self, live: Live, stored: Mapping[str, Stored], *, deep: bool) -> str | None:
        receipt, digests = stored.get(f"{live.prefix}/{RECEIPT}"), {}
        for file in live.files:
            name, there = file.file_path.rsplit("/", 1)[1], stored.get(file.file_path)
            if there is None:
                return f"{name} is lost"
            if there.bytes != file.file_size_in_bytes:
                return f"{name} has {there.bytes:,} bytes, not {file.file_size_in_bytes:,}"
        if receipt is None or (content := self._receipt(live)) is None:
            return f"{RECEIPT} is lost or unreadable"
        digests = content.get(SHA256, {})
        for file in live.files:
            name, there = file.file_path.rsplit("/", 1)[1], stored[file.file_path]
            suspect = deep or (name in digests and there.modified > receipt.modified)
            if suspect and not self._is_as_written(file, digests.get(name)):
                return f"{name} is not as it was written"
        return None

    def _is_as_written(self, file: DataFile, sha256: str | None) -> bool:
        if sha256:
            return self._sha256([file.file_path]) == {file.file_path.rsplit("/", 1)[1]: sha256}
        try:
            rows: int = self._metadata(file.file_path).num_rows
        except (OSError, ValueError):
            return False
        return rows == file.record_count

    def _stored(self, live: Live) -> dict[str, Stored]:
        """What is stored of a partition's live files and receipt, by path."""
        if self._in_glue:
            return self._listed(live.prefix)
        found = {}
        for path in (*live.paths, f"{live.prefix}/{RECEIPT}"):
            try:
                status = os.stat(path)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                found[path] = Stored(status.st_size, status.st_mtime)
        return found

    def stored(self, contract: Contract) -> dict[str, Stored]:
        """All that is stored of a table, by path; a folder's ends in a slash, and has no bytes."""
        root = f"{self.address}/{contract.asset}"
        if self._in_glue:
            return self._listed(root)
        found = {}
        for folder_path, _, names in os.walk(root):
            for name in ("", *names):
                path = f"{folder_path}/{name}"
                with suppress(FileNotFoundError):
                    status = os.lstat(path)
                    size = status.st_size if name else 0
                    found[path] = Stored(size, status.st_mtime)
        return found

    def _listed(self, prefix: str) -> dict[str, Stored]:
        bucket, _, key = prefix.removeprefix("s3://").partition("/")
        return {
            f"s3://{bucket}/{meta['path']}": Stored(meta["size"], meta["last_modified"].timestamp())
            for page in aws.object_store(bucket).list(f"{key}/")
            for meta in page
        }

    def remove(
        self, contract: Contract, choose: Callable[[set[str]], Iterable[Sequence[str]]]
    ) -> list[str]:
        """Removes what is chosen of a table, given the paths to which its kept states refer.

        Nothing is published meanwhile, and nothing removed of a table that cannot be read.
        Returns the paths that are gone.
        """
        with self._alone():
            try:
                table = self._there(contract)
            except DamagedError:
                table = None
            referred = referred_by(table) if table else None
            chosen = [path for paths in choose(referred) for path in paths] if referred else []
            if self._in_glue:
                aws.object_store(self.root.removeprefix("s3://")).delete(
                    [path.removeprefix(f"{self.root}/") for path in chosen]
                )
                return chosen
            for path in sorted(chosen, reverse=True):  # a folder after what is in it
                with suppress(OSError):
                    if path.endswith("/"):
                        Path(path).rmdir()
                    else:
                        Path(path).unlink()
        return chosen

    def _sha256(self, files: Sequence[str]) -> dict[str, str]:
        """The digests of files by name, of a lake in a folder; S3 keeps what it was given."""
        if self._in_glue:
            return {}
        found = {}
        for path in files:
            with open(path, "rb") as file:
                found[path.rsplit("/", 1)[1]] = hashlib.file_digest(file, "sha256").hexdigest()
        return found

    def count(self, files: Sequence[str]) -> int:
        """The rows of Parquet files, which need be of no table yet."""
        return sum(self._metadata(path).num_rows for path in files)

    def _metadata(self, path: str) -> pq.FileMetaData:
        with self._io.new_input(path).open() as file:
            return pq.read_metadata(file)

    def write_no_rows(self, columns: Sequence[tuple[str, str]], prefix: str) -> str:
        """Writes a Parquet file without rows, as engines leave none; returns its path."""
        fields = (NestedField(n, *column, required=False) for n, column in enumerate(columns, 1))
        schema = schema_to_pyarrow(Schema(*fields), include_field_ids=False)
        path = f"{prefix}/rows.parquet"
        with self._io.new_output(path).create() as file:
            pq.write_table(schema.empty_table(), file)
        return path

    def versions(self, contract: Contract) -> list[Version]:
        """The states that the table can be rolled back to, latest first."""
        table = self._there(contract)
        if table is None:
            return []
        current = table.metadata.current_snapshot_id
        return [
            Version(
                entry.snapshot_id,
                datetime.fromtimestamp(entry.timestamp_ms / 1000, UTC),
                str(summary.get("event-pipeline.partition", "")),
                int(summary.get("total-records") or 0),
                entry.snapshot_id == current,
            )
            for entry in reversed(table.metadata.snapshots)
            if (summary := entry.summary.additional_properties if entry.summary else {}) is not None
        ]

    def rollback(self, contract: Contract, snapshot_id: int) -> None:
        """Makes an earlier state of the table the current one.

        The partitions that it sets back are noted, so that they stay as they are until their
        objects change or somebody makes them anew. Raises ValueError if the table has no such
        snapshot.
        """
        table = self.table(contract)
        target = table.metadata.snapshot_by_id(snapshot_id)
        if target is None:
            raise ValueError(f"{contract.table} has no snapshot {snapshot_id}")
        before = _runs(self.live(contract))
        after = _runs(_live_in(target, table, contract, strict=self._in_glue))
        changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
        notes = {key: after.get(key, "") for key in changed | self.rolled_back(contract).keys()}
        with table.transaction() as transaction:
            transaction.set_properties({ROLLED_BACK: json.dumps(notes)})
            ManageSnapshots(transaction).set_current_snapshot(snapshot_id).commit()

    def rolled_back(self, contract: Contract) -> dict[str, str]:
        """The partitions that are as a rollback left them, and the run that each went back to.

        The run of one that was not there then is empty.
        """
        try:
            table = self._there(contract)
        except DamagedError:
            return {}
        notes: dict[str, str] = json.loads(table.properties.get(ROLLED_BACK, "{}")) if table else {}
        if table is None or not notes:
            return {}
        runs = _runs(self._live(table, contract, None))
        return {key: run for key, run in notes.items() if runs.get(key, "") == run}


def _schema(contract: Contract) -> Schema:
    return Schema(
        *(
            # Optional: engines write Parquet without marking columns as required.
            NestedField(n, c.name, c.type, doc=c.description, required=False)
            for n, c in enumerate(contract.columns, 1)
        )
    )


def _loaded(catalog: Catalog, identifier: tuple[str, str]) -> Table:
    """A table of the catalog. Raises NoSuchTableError, and DamagedError if it cannot be read."""
    for attempt in range(READS_MOST):
        try:
            return catalog.load_table(identifier)
        except UNREADABLE as error:
            if isinstance(error, PermissionError):
                raise LakeError(f"{'.'.join(identifier)}: {error}") from error
            if isinstance(error, OSError) and not isinstance(catalog, folder.FolderCatalog):
                raise  # S3 may have been out of reach.
            # Other writers may have committed so often that what was to be read is removed.
            if attempt == READS_MOST - 1:
                raise DamagedError(
                    ".".join(identifier), "its metadata is lost or unreadable"
                ) from error
    raise AssertionError


def _readable(catalog: Catalog, identifier: tuple[str, str], *, deep: bool = False) -> Table | None:
    """A table, None if it is not there or some of it cannot be read."""
    try:
        table = _loaded(catalog, identifier)
    except NoSuchTableError:
        return None
    except DamagedError:
        if isinstance(catalog, folder.FolderCatalog):
            return None
        raise
    return None if flaw_of(table, deep=deep) else table


def flaw_of(table: Table, *, deep: bool = False) -> str | None:
    """Why a table in a folder cannot be read as a whole; `deep` reads all of its manifests."""
    snapshot = table.current_snapshot()
    if snapshot is None or not isinstance(table.io, FolderIO):
        return None
    if (read := files_of(snapshot, table.io, sizes_only=not deep)) is None:
        return f"{Path(snapshot.manifest_list).name} is lost or unreadable"
    lost = [Path(path).name for path in read[1]]
    return f"{in_short(lost)}: lost or unreadable" if lost else None


def referred_by(table: Table) -> set[str] | None:
    """Paths to which any kept state of a table refers; None if one cannot be read."""
    snapshots = table.metadata.snapshots
    found = {table.metadata_location, *(each.metadata_file for each in table.metadata.metadata_log)}
    try:
        # Most manifests are in many states, and are read once.
        manifests = {m.manifest_path: m for s in snapshots for m in s.manifests(table.io)}
        for manifest in manifests.values():
            found.update(e.data_file.file_path for e in manifest.fetch_manifest_entry(table.io))
    except Exception:  # whatever a reader of Avro meets in bytes that are none
        return None
    return found | manifests.keys() | {snapshot.manifest_list for snapshot in snapshots}


def _check_columns(table: Table, contract: Contract) -> list[NestedField]:
    """The columns of the contract that the table does not have yet.

    Raises UsageError if a column's type is another in the table than in the contract.
    """
    kinds = {field.name: field.field_type for field in table.schema().fields}
    wanted = _schema(contract).fields
    for field in wanted:
        if kinds.get(field.name, field.field_type) != field.field_type:
            raise UsageError(
                f"{contract.table}: {field.name} is {kinds[field.name]} in the table and"
                f" {field.field_type} in its contract; give the new column another name"
            )
    return [field for field in wanted if field.name not in kinds]


def _evolved(table: Table, contract: Contract) -> Table:
    """The table, to which the columns that are new in its contract are added, each in its place.

    Older files read as null in them; a column that left the contract stays in the table.
    """
    new = _check_columns(table, contract)
    if not new:
        return table
    names = contract.column_names
    try:
        with table.update_schema() as update:
            for field in new:
                update.add_column(field.name, field.field_type, doc=field.doc)
                nth = names.index(field.name)
                if nth:
                    update.move_after(field.name, names[nth - 1])
                else:
                    update.move_first(field.name)
    except CommitFailedException:
        table.refresh()  # Another process added them, or will be asked next time.
        return _evolved(table, contract)
    return table


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int | float)


def _key(contract: Contract, value: Any) -> str:
    """Partition key of an Iceberg partition value."""
    if isinstance(value, int):
        value = EPOCH + value * _unit(contract)
    return f"{value:{contract.cadence.key_format}}"


def _encoded(contract: Contract, key: str) -> int:
    """The partition column's value as Iceberg stores it: microseconds or days since 1970."""
    return (contract.cadence.start(key) - EPOCH) // _unit(contract)


def _unit(contract: Contract) -> timedelta:
    return DAY if contract.cadence is DAILY else timedelta(microseconds=1)


def _partition_filter(contract: Contract, keys: Collection[str] | None) -> BooleanExpression:
    if keys is None:
        return AlwaysTrue()
    values = ", ".join(f"'{contract.cadence.value(key)}'" for key in keys)
    return parser.parse(f"{contract.partition} IN ({values})") if keys else AlwaysFalse()


def _live_in(
    snapshot: Snapshot | None,
    table: Table,
    contract: Contract,
    keys: Collection[str] | None = None,
    *,
    strict: bool,
) -> dict[str, Live]:
    found: dict[str, list[DataFile]] = {}
    old, new = table.io.properties.get(OLD, ""), table.io.properties.get(NEW, "")
    for file in _files(table, _partition_filter(contract, keys), snapshot, strict=strict):
        key = _key(contract, file.partition[0])
        if keys is None or key in keys:
            found.setdefault(key, []).append(moved_file(file, old, new))
    return {key: Live(tuple(files)) for key, files in sorted(found.items())}


def _runs(live: Mapping[str, Live]) -> dict[str, str]:
    """The run that made each partition."""
    return {key: found.run for key, found in live.items()}


def _files(
    table: Table, row_filter: BooleanExpression, snapshot: Snapshot | None, *, strict: bool
) -> Iterator[DataFile]:
    """Live data files of a snapshot, manifests pruned by partition.

    A scan would not do: it leaves out files without rows, and those are how an empty partition
    says that it was made. What cannot be read is left out, unless `strict`.
    """
    if snapshot is None:
        return
    schema, spec = table.schema(), table.spec()
    matches = manifest_evaluator(
        spec, schema, inclusive_projection(schema, spec)(row_filter), case_sensitive=True
    )
    read = files_of(snapshot, table.io, matches, strict=strict)
    yield from read[0] if read else ()


def _data_file(table: Table, path: str, contract: Contract, key: str) -> DataFile:
    """Describes a Parquet file to Iceberg, having checked that it fits the table and partition."""
    file_input = table.io.new_input(path)
    with file_input.open() as opened:
        rows = pq.read_metadata(opened).num_rows
    if rows:
        try:
            file = parquet_file_to_data_file(table.io, table.metadata, path)
        except OverflowError:
            raise ValueError(f"{path} holds a time outside the years 1 to 9999") from None
        if file.partition[0] != _encoded(contract, key):
            raise ValueError(f"{path} does not hold partition {key}")
        return file
    # No rows, hence no statistics from which the partition's value could be taken.
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(_encoded(contract, key)),
        record_count=0,
        file_size_in_bytes=len(file_input),
        spec_id=table.metadata.default_spec_id,
    )


def _expire(table: Table) -> None:
    """Forgets all but the latest snapshots, so that commits stay cheap."""
    oldest = sorted(table.metadata.snapshots, key=lambda s: s.sequence_number or 0)[
        :-SNAPSHOTS_KEPT
    ]
    try:
        table.maintenance.expire_snapshots().by_ids([s.snapshot_id for s in oldest]).commit()
    except CommitFailedException:
        return  # Another writer committed; the next publish expires.
