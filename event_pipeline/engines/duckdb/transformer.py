"""Runs Silver statements over Bronze objects, and the Gold statement that joins Silver tables."""

import time
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import cache
from pathlib import Path

import duckdb
import sqlglot

from event_pipeline.contracts import TABLES
from event_pipeline.engines import (
    EMBEDDED,
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
    column_list,
    is_readable_in_place,
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
    literal,
    make_view,
    parquet,
    scalar,
    session,
    unload,
)
from event_pipeline.engines.duckdb.staged import Stage, staged
from event_pipeline.errors import first_line
from event_pipeline.scratch import scratch


class DuckDBTransformer(Transformer):
    """Runs Spark SQL in this process."""

    memory_mb: int = 2048
    threads: int | None = None

    @property
    def engine(self) -> str:
        """What a person calls it."""
        return EMBEDDED

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
        started = time.monotonic()
        with staged() as stage, session(self.memory_mb, self.threads) as connection:
            for table, files in request.inputs.items():
                make_view(connection, TABLES[table], stage.fetch((file, "") for file in files))
            rows, path = unload(
                connection,
                _in_duckdb(request.statement),
                request.columns,
                request.where,
                stage.folder(request.prefix),
            )
            files = stage.upload([path])
        return QueryReport(rows, files, time.monotonic() - started)

    def _partition(self, request: TransformRequest, partition: PartitionRequest) -> PartitionReport:
        with scratch() as folder:
            stage = Stage(folder)
            report = self._made(request, _staged(partition, stage), folder)
            report.files = stage.upload(report.files)
            report.quarantine_files = stage.upload(report.quarantine_files)
            report.roll_up_files = {
                table: stage.upload(files) for table, files in report.roll_up_files.items()
            }
        return report

    def _made(
        self, request: TransformRequest, partition: PartitionRequest, folder: str
    ) -> PartitionReport:
        every = {source.key for source in partition.sources}
        copied = {
            s.key for s in partition.sources if request.each or not is_readable_in_place(s.spelling)
        }
        try:
            return self._attempt(request, partition, copied, folder)
        except duckdb.Error:
            if copied == every:
                raise
            # Some object is not UTF-8 lines of one record each. To find out which one, and how much
            # of it can be read, is slow: so it is done only now.
            prefixes = partition.roll_up_prefixes.values()
            for prefix in (partition.rows_prefix, partition.quarantine_prefix, *prefixes):
                _clear_folder(prefix)
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
            report.event_dates, report.sums = _by_date(connection, request, report.files)
            report.roll_up_files = _roll_up(connection, request, partition, report.files)
        report.quarantined, report.skipped = collected.quarantine.rows, collected.skipped
        report.rejected = dict(sorted(collected.reasons.items()))
        report.unknown = most_frequent(collected.unknown)
        report.quarantine_files = [collected.quarantine.path]
        return report


def _staged(partition: PartitionRequest, stage: Stage) -> PartitionRequest:
    """The same partition to be made of files and in folders of a stage."""
    paths = stage.fetch((source.uri, source.etag) for source in partition.sources)
    return replace(
        partition,
        sources=tuple(
            replace(source, uri=path) for source, path in zip(partition.sources, paths, strict=True)
        ),
        rows_prefix=stage.folder(partition.rows_prefix),
        quarantine_prefix=stage.folder(partition.quarantine_prefix),
        roll_up_prefixes={
            table: stage.folder(prefix) for table, prefix in partition.roll_up_prefixes.items()
        },
    )


@cache
def _in_duckdb(sql: str, dialect: str = "spark") -> str:
    """A statement or an expression, in DuckDB's SQL."""
    return sqlglot.parse_one(sql, read=dialect).sql(dialect="duckdb")


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
    line_counts = {source.key: source.lines for source in partition.sources}
    counted = sum(line_counts[file.key] or 0 for file in files)
    uncounted = [file for file in files if line_counts[file.key] is None]
    return counted + scalar(
        connection, f"SELECT count(*) FROM ({lines_of(uncounted)}) WHERE {NOT_BLANK}"
    )


def _by_date(
    connection: duckdb.DuckDBPyConnection, request: TransformRequest, files: list[str]
) -> tuple[dict[str, int], dict[str, dict[str, str | None]]]:
    """How many rows each date has, and the values of the request's sums."""
    aggregates = [_in_duckdb(sql, "athena") for sql in request.sums]
    columns = "".join(f", CAST({aggregate} AS VARCHAR)" for aggregate in aggregates)
    found = connection.execute(
        f"SELECT strftime(\"{request.date_column}\", '%Y-%m-%d') AS day, count(*){columns}"
        f" FROM {parquet(files)} GROUP BY day ORDER BY day"
    ).fetchall()
    rows = {str(day): int(count) for day, count, *_ in found}
    sums = {str(day): dict(zip(request.sums, values, strict=True)) for day, _, *values in found}
    return rows, sums if request.sums else {}


def _roll_up(
    connection: duckdb.DuckDBPyConnection,
    request: TransformRequest,
    partition: PartitionRequest,
    files: list[str],
) -> dict[str, list[str]]:
    """Makes the roll-ups of a partition's rows, one file each."""
    if not partition.roll_up_prefixes:
        return {}  # the rows are only judged
    schema, name = request.table.split(".")
    connection.execute(f'CREATE SCHEMA "{schema}"')
    connection.execute(f'CREATE VIEW "{schema}"."{name}" AS SELECT * FROM {parquet(files)}')
    made, value = {}, literal(partition.value)
    for each in request.roll_ups:
        path = f"{partition.roll_up_prefixes[each.table]}/rows.parquet"
        typed = ", ".join(
            f'CAST({value if n == request.partition_column else n} AS {kind}) AS "{n}"'
            for n, kind in each.columns
        )
        copy(connection, f"SELECT {typed} FROM ({_in_duckdb(each.statement)})", path)
        made[each.table] = [path]
    return made


def _clear_folder(folder: str) -> None:
    for path in Path(folder).iterdir():
        path.unlink()
