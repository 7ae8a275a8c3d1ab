"""Runs Silver statements over Bronze objects, and the Gold statement that joins Silver tables."""

import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path

import duckdb
import sqlglot

from event_pipeline.contracts import TABLES
from event_pipeline.engines import (
    DeriveRequest,
    PartitionReport,
    PartitionRequest,
    QueryReport,
    Transformer,
    TransformRequest,
    most_frequent,
)
from event_pipeline.engines.duckdb.collected import Collected
from event_pipeline.engines.duckdb.lines import (
    NOT_BLANK,
    BronzeFile,
    as_it_lies,
    column_list,
    judged,
    lines_of,
    read_exactly,
    read_fast,
    readable,
)
from event_pipeline.engines.duckdb.repeats import drop_conflicts, drop_duplicates
from event_pipeline.engines.duckdb.session import (
    connect,
    copy,
    make_view,
    parquet,
    scalar,
    session,
    unload,
)
from event_pipeline.errors import first_line
from event_pipeline.scratch import scratch


class DuckDBTransformer(Transformer):
    """Runs Spark SQL in this process."""

    memory_mb: int = 2048
    threads: int | None = None

    def transform(self, request: TransformRequest) -> Iterator[PartitionReport]:
        """Makes the partitions one after the other; each has the whole machine."""
        for partition in request.partitions:
            started = time.monotonic()
            try:
                report = self._partition(request, partition)
            except (duckdb.Error, OSError) as error:
                report = PartitionReport(partition.key, error=first_line(error))
            report.seconds = time.monotonic() - started
            yield report

    def derive(self, request: DeriveRequest) -> QueryReport:
        """Writes one Parquet file."""
        with session(self.memory_mb, self.threads) as connection:
            for table, files in request.inputs.items():
                make_view(connection, TABLES[table], files)
            return unload(
                connection,
                _in_duckdb(request.statement),
                request.columns,
                request.where,
                request.prefix,
            )

    def _partition(self, request: TransformRequest, partition: PartitionRequest) -> PartitionReport:
        with scratch() as folder:
            every = {source.key for source in partition.sources}
            copied = {
                s.key for s in partition.sources if request.each or not as_it_lies(s.spelling)
            }
            try:
                return self._attempt(request, partition, copied, folder)
            except duckdb.Error:
                if copied == every:
                    raise
                # Some object is not UTF-8 lines of one record each. To find out which one, and how
                # much of it can be read, is slow: so it is done only now.
                _empty(partition.rows_prefix)
                _empty(partition.quarantine_prefix)
                return self._attempt(request, partition, every, folder)

    def _attempt(
        self,
        request: TransformRequest,
        partition: PartitionRequest,
        copied: AbstractSet[str],
        folder: str,
    ) -> PartitionReport:
        """Tries to make the partition. Objects whose keys are in `copied` are copied as lines."""
        files, records, unreadable = readable(request, partition, copied, folder)
        report = PartitionReport(partition.key, bytes=sum(s.bytes for s in partition.sources))
        with (
            connect(self.memory_mb, self.threads, folder) as connection,
            Collected(partition, request, files, folder) as collected,
        ):
            collected.register(connection)
            for key, error in unreadable.items():
                collected.add(key, "object_unreadable", error)
            report.lines = len(unreadable) + _count_lines(connection, partition, files)
            rows, written = _write_rows(connection, request, partition, collected)
            refused = collected.quarantine.rows
            single_out = drop_conflicts if request.key else drop_duplicates
            report.rows = single_out(connection, request, partition, rows, collected)
            report.duplicates = written - report.rows - (collected.quarantine.rows - refused)
            report.records = len(unreadable) + records if request.each else report.lines
            report.files = sorted(map(str, Path(partition.rows_prefix).glob("*.parquet")))
            report.event_dates = _event_dates(connection, request, report.files)
        report.quarantined, report.skipped = collected.quarantine.rows, collected.skipped
        report.rejected = dict(sorted(collected.reasons.items()))
        report.unknown = most_frequent(collected.unknown)
        report.quarantine_files = [collected.quarantine.path]
        return report


@cache
def _in_duckdb(statement: str) -> str:
    """A statement that derives a table, in DuckDB's SQL."""
    return sqlglot.parse_one(statement, read="spark").sql(dialect="duckdb")


def _write_rows(
    connection: duckdb.DuckDBPyConnection,
    request: TransformRequest,
    partition: PartitionRequest,
    collected: Collected,
) -> tuple[list[str], int]:
    """Writes the rows of accepted lines, including duplicates; returns the files and row count."""
    names = column_list(request)
    fast, exact = (f"{partition.rows_prefix}/{name}.parquet" for name in ("rows", "others"))
    raw = read_fast(request, lines_of(collected.files))
    written = copy(
        connection,
        f"SELECT {names} FROM ({judged(request, partition, raw)})"
        " WHERE CASE WHEN reasons <> '' THEN set_aside(_source, _line)"
        " WHEN len(_unknown) > 0 THEN notice(_unknown) ELSE true END",
        fast,
    )
    collected.aside.close()
    if not collected.aside.rows:
        return [fast], written
    aside = f"SELECT line, filename FROM {parquet([collected.aside.path])}"
    others = copy(
        connection,
        f"SELECT {names} FROM ({judged(request, partition, read_exactly(request, aside))})"
        " WHERE (_unknown IS NULL OR notice(_unknown))"
        " AND CASE WHEN reasons <> '' THEN quarantine(_source, _line, reasons) ELSE true END",
        exact,
    )
    if not others:
        Path(exact).unlink()
        return [fast], written
    return [fast, exact], written + others


def _count_lines(
    connection: duckdb.DuckDBPyConnection, partition: PartitionRequest, files: Sequence[BronzeFile]
) -> int:
    """How many lines the files have without blank ones: as their producers say, or counted here."""
    told = {source.key: source.lines for source in partition.sources}
    counted = sum(told[file.key] or 0 for file in files)
    uncounted = [file for file in files if told[file.key] is None]
    return counted + scalar(
        connection, f"SELECT count(*) FROM ({lines_of(uncounted)}) WHERE {NOT_BLANK}"
    )


def _event_dates(
    connection: duckdb.DuckDBPyConnection, request: TransformRequest, files: list[str]
) -> dict[str, int]:
    counts = connection.execute(
        f"SELECT strftime(day, '%Y-%m-%d'), rows FROM (SELECT \"{request.date_column}\" AS day,"
        f" count(*) AS rows FROM {parquet(files)} GROUP BY ALL) ORDER BY ALL"
    )
    return {str(day): int(rows) for day, rows in counts.fetchall()}


def _empty(folder: str) -> None:
    for path in Path(folder).iterdir():
        path.unlink()
