"""Iceberg tables: publish a partition in one commit, find what is live, go back.

Data files lie under `<table>/data/<partition>/<digest>-<run>/`, and the run's receipt (what it was
built from, its ledger) is written beside them before the commit. The commit makes file and receipt
live together, so what a partition was built from can never disagree with the rows that readers
see, whatever is killed, rolled back or expired.
"""

import fcntl
import json
import random
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.dataset import dataset
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, ValidationException
from pyiceberg.expressions import AlwaysFalse, AlwaysTrue, BooleanExpression, parser
from pyiceberg.expressions.visitors import inclusive_projection, manifest_evaluator
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
from event_pipeline.errors import UsageError
from event_pipeline.partitions import DAILY, DAY

RECEIPT = "receipt.json"
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
        return self.run.rpartition("-")[0]

    @property
    def run(self) -> str:
        """Name of the run's folder, which no other run has."""
        return self.prefix.rsplit("/", 1)[-1]


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

    @property
    def _in_glue(self) -> bool:
        return aws.in_s3(self.root)

    @cached_property
    def _catalog(self) -> Catalog:
        if self._in_glue:
            return load_catalog("lake", type="glue", **self._properties)
        Path(self.root).mkdir(parents=True, exist_ok=True)
        with self._alone():
            # Waiting is right: another process commits in milliseconds.
            return SqlCatalog(
                "lake", uri=f"sqlite:///{self.root}/catalog.db?timeout=60", warehouse=self.root
            )

    @cached_property
    def _properties(self) -> dict[str, str]:
        """What PyIceberg must know to reach files: it reads less of the environment than boto3."""
        if not self._in_glue:
            return {}
        found = {"s3.endpoint": aws.s3_endpoint(), "s3.region": aws.client("s3").meta.region_name}
        return {name: value for name, value in found.items() if value}

    @cached_property
    def _io(self) -> PyArrowFileIO:
        return PyArrowFileIO(self._properties)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other processes out while catalog or table is made: PyIceberg looks, then makes."""
        with open(f"{self.root}/catalog.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def identifier(self, contract: Contract) -> tuple[str, str]:
        """Database and name of the contract's table in the catalog."""
        layer, name = contract.identifier
        return f"{self.database_prefix}_{layer}" if self._in_glue else layer, name

    def table(self, contract: Contract) -> Table:
        """The contract's table, made if it is not there yet, with every column of the contract.

        Raises UsageError if a column's type is another in the table than in the contract.
        """
        try:
            return _evolved(self._catalog.load_table(self.identifier(contract)), contract)
        except NoSuchTableError:
            schema = _schema(contract)
            source = schema.find_field(contract.partition).field_id
            field = PartitionField(source, 1000, IdentityTransform(), contract.partition)
            # Glue's databases are the stack's, and it refuses to make a table twice.
            with nullcontext() if self._in_glue else self._alone():
                if not self._in_glue:
                    self._catalog.create_namespace_if_not_exists(contract.identifier[0])
                return self._catalog.create_table_if_not_exists(
                    self.identifier(contract),
                    schema,
                    location=f"{self.root}/{contract.asset}",
                    partition_spec=PartitionSpec(field),
                    properties={
                        **PROPERTIES,
                        TableProperties.DEFAULT_NAME_MAPPING: schema.name_mapping.model_dump_json(),
                        "comment": contract.description,
                    },
                )

    def new_prefix(self, contract: Contract, key: str, digest: str) -> str:
        """A fresh folder for one run's files of one partition."""
        partition = key.replace(":", "")
        run = f"{digest}-{uuid.uuid4().hex[:8]}"
        prefix = f"{self.root}/{contract.asset}/data/{partition}/{run}"
        if not self._in_glue:
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
        with table.io.new_output(f"{prefix}/{RECEIPT}").create(overwrite=True) as out:
            out.write(json.dumps(receipt, default=str).encode())
        added = [_data_file(table, path, contract, key) for path in files]
        summary = {
            "event-pipeline.partition": key,
            **{f"event-pipeline.{k}": str(v) for k, v in receipt.items() if _is_scalar(v)},
        }
        for attempt in range(COMMIT_ATTEMPTS):
            try:
                self._commit(table, contract, key, added, summary)
                return
            except (CommitFailedException, ValidationException):
                time.sleep(random.uniform(0, 0.05 * (attempt + 1)))
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
        old = [f for live in self._live(table, contract, {key}).values() for f in live.files]
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
        """What is live of each partition, or of those among `keys`, by partition key."""
        return self._live(self.table(contract), contract, keys)

    def _live(
        self, table: Table, contract: Contract, keys: Collection[str] | None
    ) -> dict[str, Live]:
        return _live_in(table.current_snapshot(), table, contract, keys)

    def receipt(self, live: Live) -> dict[str, Any] | None:
        """What the live files of a partition were built from, and their ledger.

        None where it is lost or unreadable: nobody knows then what the partition was made of.
        """
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
        """Paths of the live files that may hold rows that the filter admits, sorted."""
        scan = self.table(contract).scan(row_filter or AlwaysTrue())
        return sorted(task.file.file_path for task in scan.plan_files())

    def read(
        self,
        contract: Contract,
        files: Sequence[str],
        columns: list[str] | None = None,
        rows: int | None = None,
    ) -> pa.Table:
        """Files of a table as one, in order; `rows` bounds how many rows are read."""
        schema = schema_to_pyarrow(_schema(contract), include_field_ids=False)
        scheme, netloc, _ = PyArrowFileIO.parse_location(self.root)
        paths = [PyArrowFileIO.parse_location(file)[2] for file in files]
        filesystem = self._io.fs_by_scheme(scheme, netloc)
        data = dataset(paths, schema=schema, format="parquet", filesystem=filesystem)
        return data.to_table(columns) if rows is None else data.head(rows, columns=columns)

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
        table = self.table(contract)
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
        before, after = _runs(self.live(contract)), _runs(_live_in(target, table, contract))
        changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
        notes = {key: after.get(key, "") for key in changed | self.rolled_back(contract).keys()}
        with table.transaction() as transaction:
            transaction.set_properties({ROLLED_BACK: json.dumps(notes)})
            ManageSnapshots(transaction).set_current_snapshot(snapshot_id).commit()

    def rolled_back(self, contract: Contract) -> dict[str, str]:
        """The partitions that are as a rollback left them, and the run that each went back to.

        The run of one that was not there then is empty.
        """
        table = self.table(contract)
        notes: dict[str, str] = json.loads(table.properties.get(ROLLED_BACK, "{}"))
        if not notes:
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


def _evolved(table: Table, contract: Contract) -> Table:
    """The table, to which the columns that are new in its contract are added, each in its place.

    Older files read as null in them; a column that left the contract stays in the table.
    """
    there, wanted = table.schema(), _schema(contract)
    kinds = {field.name: field.field_type for field in there.fields}
    for field in wanted.fields:
        if kinds.get(field.name, field.field_type) != field.field_type:
            raise UsageError(
                f"{contract.table}: {field.name} is {kinds[field.name]} in the table and"
                f" {field.field_type} in its contract; give the new column another name"
            )
    new = [field for field in wanted.fields if field.name not in kinds]
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
) -> dict[str, Live]:
    found: dict[str, list[DataFile]] = {}
    for file in _files(table, _partition_filter(contract, keys), snapshot):
        key = _key(contract, file.partition[0])
        if keys is None or key in keys:
            found.setdefault(key, []).append(file)
    return {key: Live(tuple(files)) for key, files in sorted(found.items())}


def _runs(live: Mapping[str, Live]) -> dict[str, str]:
    """The run that made each partition."""
    return {key: found.run for key, found in live.items()}


def _files(
    table: Table, row_filter: BooleanExpression, snapshot: Snapshot | None
) -> Iterator[DataFile]:
    """Live data files of a snapshot, manifests pruned by partition.

    A scan would not do: it leaves out files without rows, and those are how an empty partition
    says that it was made.
    """
    if snapshot is None:
        return
    schema, spec = table.schema(), table.spec()
    matches = manifest_evaluator(
        spec, schema, inclusive_projection(schema, spec)(row_filter), case_sensitive=True
    )
    for manifest in snapshot.manifests(table.io):
        if matches(manifest):
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                yield entry.data_file


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
