"""Writes judged rows as Bronze objects: those of a stream by slot, those of a drop by day.

An object's name carries the load's id, so that a load overwrites what it wrote itself and nothing
else. Rows are sorted, because a mapping need not keep an order: so the same rows always give the
same bytes. A large object is cut into several.
"""

import posixpath
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

from event_pipeline.bronze import object_key
from event_pipeline.contracts import SilverContract
from event_pipeline.errors import LoadError
from event_pipeline.ingest.handler import COMPRESSION, FolderStore, S3Store, write_over
from event_pipeline.partitions import HOURLY

# About how many bytes of text one object holds. Every object that is being written is in memory.
OBJECT_BYTES = 32 << 20
WRITERS = 4
ROWS_AT_ONCE = 50_000

Store = FolderStore | S3Store


@dataclass
class Written:
    """How many of a load's objects had to be written, and how many were there already."""

    written: int = 0
    there: int = 0


@dataclass(frozen=True)
class Slot:
    """Where some of a load's rows go.

    `start` is that of a slot or of a drop's day, in UTC. `bytes` is the size of the rows.
    """

    start: datetime
    bytes: int

    @property
    def parts(self) -> int:
        """The most objects that the rows may be cut into."""
        return self.bytes // OBJECT_BYTES + 1


def key_of(contract: SilverContract, start: datetime, load: str, part: int = 0) -> str:
    """Key of an object of a load. Raises LoadError if no file can be loaded to the dataset."""
    suffix = f"-{load}p{part + 1}" if part else f"-{load}"
    if contract.bronze.produced:
        return object_key(start).replace(".jsonl.gz", f"{suffix}.jsonl.gz")
    bronze, is_hourly = contract.bronze, contract.cadence is HOURLY
    stem = posixpath.basename(bronze.expected or contract.identifier[1]).partition(".")[0]
    name = f"{stem}{f'-{start:%H%M}' if is_hourly else ''}{suffix}.jsonl.gz"
    folder = contract.layout.folder(contract.cadence.key(start))
    if (
        bronze.root
        or bronze.mapping
        or "*" in folder
        or not re.fullmatch(bronze.names, name, re.ASCII)
    ):
        raise LoadError(
            f"{contract.identifier[1]} is read as other systems write it; a file cannot be added"
            f" to it as {bronze.prefix}{folder}{name}"
        )
    return f"{bronze.prefix}{folder}{name}"


def slots(connection: duckdb.DuckDBPyConnection) -> list[Slot]:
    """Where the rows of `judged` go. Rows without a time go where the earliest go."""
    found = connection.execute(
        f"SELECT slot, sum(strlen(line) + 1) FROM ({_placed(connection)})"
        " GROUP BY slot ORDER BY slot"
    ).fetchall()
    return [Slot(start.replace(tzinfo=UTC), int(size)) for start, size in found]


def _placed(connection: duckdb.DuckDBPyConnection) -> str:
    """A query for the rows that are written: `slot` and `line`."""
    first = "SELECT min(slot) FROM judged WHERE outside IS NULL"
    [(earliest,)] = connection.execute(first).fetchall()
    if earliest is None:
        return "SELECT slot, line FROM judged LIMIT 0"
    # A row without a readable time goes with the earliest; Silver will say what is wrong.
    return (
        f"SELECT coalesce(slot, TIMESTAMP '{earliest:%Y-%m-%d %H:%M:%S}') AS slot, line FROM judged"
        " WHERE outside IS NULL"
    )


def write(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    contract: SilverContract,
    load: str,
    *,
    about: dict[str, str],
    on_progress: Callable[[int], None],
) -> tuple[list[str], Written]:
    """Writes the rows of `judged`; returns the objects' keys, and how many had to be written.

    At any instant each object is whole, and is the load's earlier version or the new one.
    `on_progress` is called with the number of objects that are done, and `about` goes into their
    manifests.
    """
    keys: list[str] = []
    done = Written()

    def put(key: str, start: datetime, lines: list[str]) -> bool:
        data = _compressed(lines)
        return write_over(store, key, start, data, lines=len(lines), about=about)

    with ThreadPoolExecutor(WRITERS) as pool:
        pending: set[Future[bool]] = set()

        def take(finished: set[Future[bool]]) -> None:
            for each in finished:
                changed = each.result()
                done.written += changed
                done.there += not changed
            on_progress(done.written + done.there)

        try:
            for start, part, lines in _objects(connection):
                if len(pending) >= WRITERS:
                    finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                    take(finished)
                keys.append(key_of(contract, start, load, part))
                pending.add(pool.submit(put, keys[-1], start, lines))
            take(wait(pending).done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return keys, done


def _objects(
    connection: duckdb.DuckDBPyConnection,
) -> Iterator[tuple[datetime, int, list[str]]]:
    """Yields the rows in order, by object: the slot's start, the part's number and its lines."""
    reader = connection.sql(
        f"SELECT CAST(epoch(slot) AS BIGINT) AS slot, line FROM ({_placed(connection)})"
        " ORDER BY slot, line"
    ).to_arrow_reader(ROWS_AT_ONCE)
    slot: int | None = None
    part, size, lines = 0, 0, list[str]()
    for moment, run in _runs(reader):
        if lines and (moment != slot or size >= OBJECT_BYTES):
            yield datetime.fromtimestamp(slot or 0, UTC), part, lines
            part, size, lines = part + 1, 0, []
        if moment != slot:
            slot, part = moment, 0
        lines += run
        size += sum(map(len, run))
    if lines:
        yield datetime.fromtimestamp(slot or 0, UTC), part, lines


def _runs(reader: Iterable[Any]) -> Iterator[tuple[int, list[str]]]:
    """Yields each slot (Unix seconds) and the lines that follow each other in it, by batch."""
    import pyarrow.compute as pc

    for batch in reader:
        ends = pc.run_end_encode(batch.column(0))
        begin = 0
        for end, moment in zip(ends.run_ends.to_pylist(), ends.values.to_pylist(), strict=True):
            yield moment, batch.column(1)[begin:end].to_pylist()
            begin = end


def _compressed(lines: list[str]) -> bytes:
    """The lines as a gzip file without name or time."""
    compressor = zlib.compressobj(COMPRESSION, wbits=31)
    data = "\n".join((*lines, "")).encode()
    return compressor.compress(data) + compressor.flush()
