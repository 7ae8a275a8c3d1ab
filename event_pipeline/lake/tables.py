"""Iceberg tables: publish a partition in one commit, find what is live, go back.

Data files lie under `<table>/data/<partition>/<digest>-<version>-<run>/`, and the run's receipt
(what it was built from, its ledger) is written beside them before the commit. The commit makes file
and receipt live together, so what a partition was built from can never disagree with the rows that
readers see, whatever is killed, rolled back or expired.

`Lake` is what the rest of the package uses. What it does with a table is in the modules beside it:
`making`, `readable`, `live`, `commits`, `receipts`, `stored`, `intact`, `versions`, `history`,
`compacting`.
"""

import random
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import dagster as dg
import pyarrow as pa
from pydantic import PrivateAttr
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, ValidationException
from pyiceberg.io import PY_IO_IMPL, load_file_io
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from event_pipeline import aws
from event_pipeline.contracts import (
    Contract,
    GoldContract,
    QuarantineContract,
    RollUpContract,
    SilverContract,
)
from event_pipeline.errors import DamagedError, LakeError
from event_pipeline.lake import folder
from event_pipeline.lake.commits import data_file, replace_files
from event_pipeline.lake.compacting import compact, is_to_compact
from event_pipeline.lake.dates import with_far
from event_pipeline.lake.folder_io import FolderIO
from event_pipeline.lake.history import Keeping, expirable, expire
from event_pipeline.lake.intact import flaw_of_partition
from event_pipeline.lake.live import Live, folders_in, live_in, runs_of, sizes_between
from event_pipeline.lake.making import check_columns, evolved, make, schema_of
from event_pipeline.lake.parquet import metadata_of, read_files, write_empty
from event_pipeline.lake.readable import flaw_of, loaded, readable, referred_by
from event_pipeline.lake.receipts import (
    GoldReceipt,
    Receipt,
    SilverReceipt,
    read_receipt,
    receipt_of,
    scalars,
    write_receipt,
)
from event_pipeline.lake.run_folder import RunFolder
from event_pipeline.lake.salvage import salvage
from event_pipeline.lake.stored import (
    Stored,
    remove_stored,
    sha256_by_name,
    stored_under,
)
from event_pipeline.lake.versions import Version, notes_of, roll_back, versions_of

if TYPE_CHECKING:
    from event_pipeline.settings import Settings

__all__ = ["Lake", "Live", "PublishError"]

COMMIT_ATTEMPTS = 30


class PublishError(RuntimeError):
    """A publish that could not be committed; the old partition is still live."""


class Lake(dg.ConfigurableResource[Any]):
    """The Iceberg tables of one lake.

    `root` is an absolute folder with a SQLite catalog in it, or s3://bucket with the Glue Data
    Catalog, whose databases are named `<database_prefix>_<layer>`.
    """

    root: str
    database_prefix: str = ""
    _loaded: dict[str, Table | None] | None = PrivateAttr(None)

    def as_loaded(self) -> "Lake":
        """A copy to read from, which loads each table once: all that it says is of one moment."""
        lake = Lake(root=self.root, database_prefix=self.database_prefix)
        lake._loaded = {}
        return lake

    @classmethod
    def of(cls, settings: "Settings") -> "Lake":
        """The tables of the settings' lake."""
        return cls(root=settings.root, database_prefix=settings.database_prefix)

    @property
    def _in_glue(self) -> bool:
        return aws.in_s3(self.root)

    @property
    def address(self) -> str:
        """The name of `root` that the paths in the lake's tables begin with."""
        return self.root if self._in_glue else folder.address(self.root)

    def open(self) -> Catalog:
        """The catalog, opened for writing.

        A lake that was made elsewhere is adopted. A lost or damaged catalog is made anew from the
        tables' files. Raises LakeError if the catalog cannot be written to.
        """
        return self._glue if self._in_glue else folder.open_for_writing(self.root)

    @cached_property
    def _glue(self) -> Catalog:
        from pyiceberg.catalog.glue import GlueCatalog  # imports boto3

        return GlueCatalog("lake", client=aws.client("glue"), **self._properties)

    @cached_property
    def _properties(self) -> dict[str, str]:
        """PyIceberg's properties: in S3, it reaches files with boto3's credentials."""
        return {PY_IO_IMPL: "event_pipeline.lake.s3.S3FileIO"} if self._in_glue else {}

    @cached_property
    def _io(self) -> PyArrowFileIO:
        return cast(PyArrowFileIO, load_file_io(self._properties)) if self._in_glue else FolderIO()

    def _exclusive_lock(self) -> AbstractContextManager[None]:
        """Keeps other processes out, because PyIceberg first looks for a table, then makes it."""
        # The stack creates Glue's databases, and Glue refuses to make a table twice.
        return nullcontext() if self._in_glue else folder.exclusive_lock(self.root)

    def _shared_lock(self) -> AbstractContextManager[None]:
        return nullcontext() if self._in_glue else folder.shared_lock(self.root)

    def identifier(self, contract: Contract) -> tuple[str, str]:
        """Database and name of the contract's table in the catalog."""
        layer, name = contract.identifier
        return f"{self.database_prefix}_{layer}" if self._in_glue else layer, name

    def table(self, contract: Contract) -> Table:
        """The contract's table with every column of the contract; made if it is not there yet.

        Raises UsageError if a column has another type in the table than in the contract.
        """
        catalog = self.open()
        with self._translate_errors():
            table = readable(catalog, self.identifier(contract))
            if table is None:
                with self._exclusive_lock():
                    table = self._ensure_table(catalog, contract)
            return evolved(table, contract)

    def _ensure_table(self, catalog: Catalog, contract: Contract, *, deep: bool = False) -> Table:
        """Makes a missing or unreadable table: from the files that lie there, else empty."""
        identifier = self.identifier(contract)
        if isinstance(catalog, folder.FolderCatalog):
            if (table := readable(catalog, identifier, deep=deep)) is not None:
                return table  # Another process was faster.
            if folder.repair_table(self.root, catalog, contract.asset):
                folder.warn(f"{contract.table} is rebuilt from what can be read of it")
                return catalog.load_table(identifier)
            catalog.create_namespace_if_not_exists(contract.identifier[0])
        return make(catalog, identifier, self.address, contract)

    def repair(self, contract: Contract) -> bool:
        """Makes a table anew if part of it cannot be read; returns whether it did so.

        Always False in S3, where the bucket keeps the versions of its objects.
        """
        catalog = self.open()
        if not isinstance(catalog, folder.FolderCatalog):
            return False
        with self._exclusive_lock():
            if readable(catalog, self.identifier(contract), deep=True) is not None:
                return False
            self._ensure_table(catalog, contract, deep=True)
        return True

    def _translate_errors(self) -> AbstractContextManager[None]:
        return nullcontext() if self._in_glue else folder.translate_errors(self.root)

    def _existing_table(self, contract: Contract) -> Table | None:
        """The table as it is; None if it is not there. Changes nothing.

        Raises LakeError if it cannot be read, and UsageError as `table` does.
        """
        if self._loaded is None:
            return self._load(contract)
        if contract.table not in self._loaded:
            self._loaded[contract.table] = self._load(contract)
        return self._loaded[contract.table]

    def _load(self, contract: Contract) -> Table | None:
        catalog = self._glue if self._in_glue else folder.open_for_reading(self.root)
        if catalog is None:
            return None
        try:
            with self._translate_errors():
                table = loaded(catalog, self.identifier(contract))
        except NoSuchTableError:
            return None
        check_columns(table, contract)
        return table

    def new_prefix(
        self, contract: Contract, key: str, digest: str, version: str = "", run: str = ""
    ) -> str:
        """A fresh folder for one run's files of one partition.

        Its name contains the digest of the input, the contract's version if that is given, and the
        id of the run: by default a new one.
        """
        self.open()  # adopts a lake from elsewhere, which gives it its own address
        path = f"{self.address}/{contract.asset}"
        prefix = RunFolder.new(key, digest, version, run).under(path)
        if not self._in_glue:
            with folder.writing(self.root):
                Path(prefix).mkdir(parents=True)
        return prefix

    def publish(self, contract: Contract, key: str, files: Sequence[str], receipt: Receipt) -> None:
        """Replaces the partition's live files by `files`, in one Iceberg commit.

        `files` lie under one fresh prefix; `receipt` becomes live with them. Readers see the old
        partition or the new one, never both or none. Raises PublishError if other writers won
        every attempt, and ValueError if a file does not fit the contract.
        """
        prefix = files[0].rsplit("/", 1)[0]
        table = self.table(contract)
        write_receipt(table.io, prefix, receipt, sha256_by_name(files))
        added = [data_file(table, path, contract, key) for path in files]
        properties = {"partition": key, **scalars(receipt)}
        summary = {f"event-pipeline.{name}": value for name, value in properties.items()}
        for attempt in range(COMMIT_ATTEMPTS):
            try:
                with self._translate_errors(), self._shared_lock():
                    self._commit(table, contract, key, added, summary)
                return
            except (CommitFailedException, ValidationException):
                time.sleep(random.uniform(0, 0.05 * (attempt + 1)))
                table = self.table(contract)
            except LakeError:
                raise
            except Exception:
                # The commit reads every manifest, and may find damage that `table` does not see.
                if not self.repair(contract):
                    raise
                table = self.table(contract)
        raise PublishError(
            f"{contract.asset} {key}: other writers committed first {COMMIT_ATTEMPTS} times"
        )

    def _commit(
        self,
        table: Table,
        contract: Contract,
        key: str,
        added: Sequence[DataFile],
        summary: dict[str, str],
    ) -> None:
        replaced = live_in(table.current_snapshot(), table, contract, {key}, strict=True)
        old = [file for live in replaced.values() for file in live.files]
        replace_files(table, old, added, summary, with_far(table, contract, added))

    def live(
        self, contract: Contract, keys: Collection[str] | None = None, since: str = ""
    ) -> dict[str, Live]:
        """The live files of each partition, by partition key.

        Only of those in `keys`, or with `since`, of a day (ISO) and later ones.
        If a metadata file of the table is lost or unreadable, the partitions that it described are
        not live any more: `damage` names the file, and the next build makes it anew.
        """
        try:
            table = self._existing_table(contract)
        except DamagedError:
            return {}
        if table is None:
            return {}
        snapshot = table.current_snapshot()
        return live_in(snapshot, table, contract, keys, since, strict=self._in_glue)

    def folders(self, contract: Contract, since: str = "") -> dict[str, RunFolder]:
        """The folder of the run that made each live partition, by key; much cheaper than `live`.

        With `since`, only of partitions of this day (ISO) and of later ones. What cannot be read is
        left out, as in `live`.
        """
        try:
            table = self._existing_table(contract)
        except DamagedError:
            return {}
        return folders_in(table, contract, since, strict=self._in_glue) if table else {}

    @overload
    def receipt(self, contract: GoldContract, live: Live) -> GoldReceipt | None: ...
    @overload
    def receipt(
        self, contract: SilverContract | QuarantineContract, live: Live
    ) -> SilverReceipt | None: ...
    @overload
    def receipt(self, contract: Contract, live: Live) -> Receipt | None: ...
    def receipt(self, contract: Contract, live: Live) -> Receipt | None:
        """What a partition's live files were built from, and their ledger.

        None if the receipt is lost or unreadable; nobody knows then what the partition was made of.
        Raises LakeError if a later version of the program wrote it.
        """
        return self.receipt_in(contract, live.prefix)

    @overload
    def receipt_in(
        self, contract: SilverContract | QuarantineContract, folder: str
    ) -> SilverReceipt | None: ...
    @overload
    def receipt_in(self, contract: Contract, folder: str) -> Receipt | None: ...
    def receipt_in(self, contract: Contract, folder: str) -> Receipt | None:
        """The receipt in the folder of a run. Raises what `receipt` raises."""
        return read_receipt(self._io, folder, receipt_of(contract))

    def scan(self, contract: Contract, between: tuple[str, str] | None = None) -> list[str]:
        """Paths of the live files with rows, sorted; of those that may hold rows `between` dates.

        The two dates (ISO) are the first and the last, of the column that `date_column` names.
        Raises DamagedError if part of the table that must be read for this cannot be.
        """
        return list(self.sizes(contract, between))

    def sizes(self, contract: Contract, between: tuple[str, str] | None = None) -> dict[str, int]:
        """Sizes in bytes of the files of `scan`, by path. Raises what `scan` does."""
        table = self._existing_table(contract)
        return sizes_between(table, contract, between) if table else {}

    def scan_day(self, contract: SilverContract | RollUpContract, day: str) -> list[str]:
        """Paths of the live files that may hold rows of a date, sorted. Raises what `scan` does."""
        return self.scan(contract, (day, day))

    def folders_of_day(self, contract: SilverContract | RollUpContract, day: str) -> list[str]:
        """The folders of the runs that made the files of `scan_day`, sorted."""
        return sorted({path.rpartition("/")[0] for path in self.scan_day(contract, day)})

    def read(
        self,
        contract: Contract,
        files: Sequence[str],
        columns: list[str] | None = None,
        rows: int | None = None,
    ) -> pa.Table:
        """The rows of some files of a table, in order; `rows` limits how many are read."""
        schema = schema_of(contract)
        return read_files(self._io, self.root, files, schema, columns=columns, rows=rows)

    def check_catalog(self) -> None:
        """Raises DamagedError if the lake has tables but no readable catalog."""
        if not self._in_glue:
            folder.open_for_reading(self.root)

    def flaw(self, contract: Contract, *, deep: bool = False) -> str | None:
        """Why the table's own metadata cannot all be read; None if it can, or there is no table.

        With `deep`, reads every manifest.
        """
        try:
            table = self._existing_table(contract)
        except DamagedError:
            return "its metadata is lost or unreadable"
        if table is None:
            lies = not self._in_glue and salvage(self.root, contract.asset, None)
            return "it is in the folder, but not in the catalog" if lies else None
        return flaw_of(table, deep=deep)

    def broken(
        self, contract: Contract, live: Mapping[str, Live], *, deep: bool = False
    ) -> dict[str, str]:
        """Partition key -> why its files are not those that were published; intact ones left out.

        Checks sizes and receipts. In a folder, also reads files that were modified after their
        receipt was written. With `deep`, reads every file.
        """
        found = {}
        for key, each in live.items():
            if why := flaw_of_partition(self._io, each, receipt_of(contract), deep=deep):
                found[key] = why
        return found

    def stored(self, contract: Contract) -> dict[str, Stored]:
        """Everything stored of a table, by path. A folder's path ends in a slash; its size is 0."""
        return stored_under(f"{self.address}/{contract.asset}")

    def remove(
        self,
        contract: Contract,
        choose: Callable[[set[str]], Iterable[Sequence[str]]],
        recent: Mapping[str, bool] | None = None,
        forgotten: Collection[int] = (),
        *,
        dry_run: bool = False,
    ) -> list[str]:
        """Removes the paths that `choose` returns, given those that are referred to.

        `recent` and `forgotten` are as in `referred_by`. In a folder, nothing can be published
        meanwhile. Nothing is removed if the table cannot be read, or in a dry run. Returns the
        paths.
        """
        with self._maintained(contract, dry_run=dry_run) as table:
            referred = referred_by(table, recent, forgotten) if table else None
            chosen = [path for paths in choose(referred) for path in paths] if referred else []
            if not dry_run:
                remove_stored(self.root, chosen)
        return chosen

    def forget(
        self, contract: Contract, keeping: Keeping, now: float, *, dry_run: bool = False
    ) -> list[int]:
        """Expires the snapshots that need not be kept at `now` (Unix seconds); returns their ids.

        None are expired if another writer was faster, which only happens in S3, or in a dry run.
        """
        with self._maintained(contract, dry_run=dry_run) as table:
            old = expirable(table, keeping, now) if table else []
            if table and old and not dry_run:
                try:
                    expire(table, old)
                except CommitFailedException:
                    return []
        return old

    def compact(self, contract: Contract, *, dry_run: bool = False) -> int:
        """Writes manifests anew if there are too many; returns how many there were, else 0."""
        with self._maintained(contract, dry_run=dry_run) as table:
            snapshot = table.current_snapshot() if table else None
            if table is None or snapshot is None or not is_to_compact(table, contract):
                return 0
            before = len(snapshot.manifests(table.io))
            return before if dry_run or compact(table, contract) else 0

    @contextmanager
    def _maintained(self, contract: Contract, *, dry_run: bool) -> Iterator[Table | None]:
        """The table, None if it is not there or cannot be read; in a folder, nobody else writes."""
        if dry_run:
            try:
                table = self._existing_table(contract)
            except DamagedError:
                table = None
            yield table
            return
        catalog = self.open()
        with self._translate_errors(), self._exclusive_lock():
            yield readable(catalog, self.identifier(contract))

    def count(self, files: Sequence[str]) -> int:
        """The number of rows in Parquet files, which need not belong to a table yet."""
        return sum(metadata_of(self._io, path).num_rows for path in files)

    def write_no_rows(self, columns: Sequence[tuple[str, str]], prefix: str) -> str:
        """Writes a Parquet file without rows, since engines write none then; returns its path."""
        path = f"{prefix}/rows.parquet"
        write_empty(self._io, path, columns)
        return path

    def versions(self, contract: Contract) -> list[Version]:
        """The states that the table can be rolled back to, latest first."""
        table = self._existing_table(contract)
        return versions_of(table) if table else []

    def rollback(self, contract: Contract, snapshot_id: int) -> None:
        """Makes an earlier state of the table the current one.

        The partitions that this changes are noted, so that they stay as they are until their
        objects change or somebody makes them anew. Raises ValueError if the table has no such
        snapshot.
        """
        table = self.table(contract)
        target = table.metadata.snapshot_by_id(snapshot_id)
        if target is None:
            raise ValueError(f"{contract.table} has no snapshot {snapshot_id}")
        before = runs_of(self.live(contract))
        after = runs_of(live_in(target, table, contract, strict=self._in_glue))
        changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
        notes = {key: after.get(key, "") for key in changed | self.rolled_back(contract).keys()}
        with self._shared_lock():
            roll_back(table, snapshot_id, notes)

    def rolled_back(self, contract: Contract) -> dict[str, str]:
        """The partitions that still are as a rollback left them: key -> run that it went back to.

        The run is empty if the partition was not there in that state.
        """
        try:
            table = self._existing_table(contract)
        except DamagedError:
            return {}
        notes = notes_of(table) if table else {}
        if table is None or not notes:
            return {}
        runs = runs_of(self.live(contract, notes))
        return {key: run for key, run in notes.items() if runs.get(key, "") == run}
