"""The embedded engine: DuckDB runs the Silver and Gold statements, translated by SQLGlot.

A partition goes through in one stream: unzip, read lines, parse, judge, write. What the statement
refuses is taken out of that stream on its way; duplicates and conflicts are looked for in the
written file and removed by a second pass only if there are any, since there seldom are.
"""

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import sqlglot
from duckdb.func import FunctionNullHandling, PythonUDFType
from sqlglot import exp

from event_pipeline.contracts import TABLES, Contract
from event_pipeline.engines import (
    DeriveRequest,
    PartitionReport,
    PartitionRequest,
    Querier,
    QueryReport,
    Transformer,
    TransformRequest,
)
from event_pipeline.errors import QueryError
from event_pipeline.lake.tables import Lake
from event_pipeline.lake.text import Unreadable, make_readable

PARQUET = "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
# No JSON text holds this raw byte, so a line is one field; an object that has it is made readable.
NOT_IN_JSON = "chr(1)"
# Nearly every line begins with its brace, which is far cheaper to see than blanks are to trim.
NOT_BLANK = "starts_with(line, '{') OR trim(line, ' ' || chr(9)) <> ''"
IS_OBJECT = "starts_with(line, '{') OR starts_with(ltrim(line, ' ' || chr(9)), '{')"
# A longer line than the reader's buffer of 2 MB fails its object, which is then made readable.
LINE_READER = (
    "read_csv([{files}], delim={delim}, header=false, quote='', escape='', auto_detect=false,"
    # Else a delimiter at the end of a line is a field without value to the reader, and dropped.
    " nullstr=chr(10),"
    " columns={{'line': 'VARCHAR'}}, filename=true, compression={compression})"
)


def _connect(memory_mb: int, threads: int | None, scratch: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"autoinstall_known_extensions": False})
    connection.execute(f"SET memory_limit='{memory_mb}MiB'")
    connection.execute(f"SET temp_directory='{_quoted(scratch)}'")
    connection.execute("SET preserve_insertion_order=false")
    connection.execute("SET TimeZone='UTC'")
    # `/` on integers is integer division in Trino and Spark's `div`; DuckDB would give a double.
    connection.execute("SET integer_division=true")
    # Turns `IN (five literals)` into a hash join, which costs more than five comparisons.
    connection.execute("SET disabled_optimizers='in_clause'")
    if threads:
        connection.execute(f"SET threads={threads}")
    return connection


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _parquet(files: Sequence[str]) -> str:
    # A folder called x=y above the lake must not become a column.
    return f"read_parquet([{_literals(files)}], hive_partitioning=false)"


def _literals(texts: Sequence[str]) -> str:
    return ", ".join(f"'{_quoted(text)}'" for text in texts)


@dataclass(frozen=True)
class _File:
    """A file that the reader takes, and the Bronze object that it holds."""

    path: str
    key: str
    gzipped: bool


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
                report = PartitionReport(partition.key, error=_first_line(error))
            report.seconds = time.monotonic() - started
            yield report

    def derive(self, request: DeriveRequest) -> QueryReport:
        """Writes one Parquet file."""
        query = sqlglot.parse_one(request.statement, read="spark")
        with _session(self.memory_mb, self.threads) as connection:
            for table, files in request.inputs.items():
                _make_view(connection, TABLES[table], files)
            return _unload(connection, query, request.columns, request.where, request.prefix)

    def _partition(self, request: TransformRequest, partition: PartitionRequest) -> PartitionReport:
        with tempfile.TemporaryDirectory(prefix="event-pipeline-") as scratch:
            arrays = {source.key for source in partition.sources if source.array}
            files, unreadable = _readable(partition, arrays, scratch)
            try:
                return self._attempt(request, partition, files, unreadable, scratch)
            except duckdb.Error:
                # Some object is not UTF-8 lines. Which, and how much of it can be read, is worth
                # finding out only now.
                _empty(partition.rows_prefix)
                _empty(partition.quarantine_prefix)
                every = {source.key for source in partition.sources}
                files, unreadable = _readable(partition, every, scratch)
                return self._attempt(request, partition, files, unreadable, scratch)

    def _attempt(
        self,
        request: TransformRequest,
        partition: PartitionRequest,
        files: Sequence[_File],
        unreadable: Mapping[str, str],
        scratch: str,
    ) -> PartitionReport:
        """One try over `files`, with objects already known unreadable, by key."""
        report = PartitionReport(partition.key, bytes=sum(s.bytes for s in partition.sources))
        with (
            _connect(self.memory_mb, self.threads, scratch) as connection,
            _Quarantine(partition, request, files) as quarantine,
        ):
            connection.create_function(
                "quarantine",
                quarantine.take,
                ["VARCHAR", "VARCHAR", "VARCHAR"],
                "BOOLEAN",
                type=PythonUDFType.ARROW,
                null_handling=FunctionNullHandling.SPECIAL,
                side_effects=True,
            )
            for key, error in unreadable.items():
                quarantine.add(key, "object_unreadable", error)
            report.lines = len(unreadable) + _count_lines(connection, partition, files)
            lines = _lines(files)
            rows = f"{partition.rows_prefix}/rows.parquet"
            written = _copy(
                connection,
                f"SELECT {_names(request)} FROM ({_judged(request, partition, lines)})"
                " WHERE CASE WHEN reasons = '' THEN true"
                " ELSE quarantine(source, line, reasons) END",
                rows,
            )
            refused = quarantine.rows
            single_out = _drop_conflicts if request.key else _drop_duplicates
            report.rows = single_out(connection, request, partition, lines, rows)
            report.duplicates = written - report.rows - (quarantine.rows - refused)
            report.files = sorted(map(str, Path(partition.rows_prefix).glob("*.parquet")))
            report.event_dates = _event_dates(connection, request, report.files)
        report.quarantined = quarantine.rows
        report.rejected = dict(sorted(quarantine.reasons.items()))
        report.quarantine_files = [quarantine.path]
        return report


def _names(request: TransformRequest) -> str:
    return ", ".join(f'"{name}"' for name, _ in request.columns)


def _judged(request: TransformRequest, partition: PartitionRequest, lines: str) -> str:
    """The statement over `lines`, a query: the table's columns, `reasons`, `line`, `source`.

    Lines that are not one JSON object never reach the statement's rules.
    """
    fields = ", ".join(f'"{name}": "VARCHAR"' for name in request.source)
    raw = (
        f"SELECT fields.*, fields IS NOT NULL AND ({IS_OBJECT}) AS is_object,"
        " line AS _line, filename AS _source"
        f" FROM (SELECT TRY(from_json(line, '{{{fields}}}')) AS fields, line, filename"
        f" FROM ({lines}))"
    )
    statement = sqlglot.parse_one(request.statement, read="spark")
    if not isinstance(statement, exp.Select):
        raise QueryError(f"{request.dataset}: the statement is not one SELECT")
    for select in statement.find_all(exp.Select):
        # The line and its origin travel beside the statement's own columns.
        if not any(isinstance(e, exp.Star) for e in select.expressions):
            select.select("_line", "_source", "is_object", copy=False)
    typed = ", ".join(
        f'CAST({_literal(partition.value)} AS {kind}) AS "{name}"'
        if name == request.partition_column
        else f'CAST("{name}" AS {kind}) AS "{name}"'
        for name, kind in request.columns
    )
    return (
        f"WITH raw AS ({raw}) SELECT {typed}, _line AS line, _source AS source,"
        " CASE WHEN is_object THEN reasons ELSE 'malformed_json' END AS reasons"
        f" FROM ({statement.transform(_utc).sql(dialect='duckdb')})"
    )


def _utc(node: exp.Expr) -> exp.Expr:
    """Instant to UTC timestamp without the calendar that DuckDB asks for other zones."""
    if (
        isinstance(node, exp.Cast)
        and node.is_type("timestamp_ntz")
        and isinstance(node.this, exp.Cast)
    ):
        return exp.func("make_timestamp", exp.func("epoch_us", node.this))
    return node


def _literal(text: str) -> str:
    return f"'{_quoted(text)}'"


def _lines(files: Sequence[_File]) -> str:
    """A query of the non-blank lines of files; of no files, no lines."""
    readers = [
        LINE_READER.format(
            files=_literals([file.path for file in files if file.gzipped == gzipped]),
            delim=NOT_IN_JSON,
            compression="'gzip'" if gzipped else "'none'",
        )
        for gzipped in sorted({file.gzipped for file in files})
    ]
    if not readers:
        return "SELECT CAST(NULL AS VARCHAR) AS line, CAST(NULL AS VARCHAR) AS filename LIMIT 0"
    return " UNION ALL ".join(
        f"SELECT line, filename FROM {reader} WHERE {NOT_BLANK}" for reader in readers
    )


def _count_lines(
    connection: duckdb.DuckDBPyConnection, partition: PartitionRequest, files: Sequence[_File]
) -> int:
    """Non-blank lines of the files: their producers' counts, or counted here."""
    told = {source.key: source.lines for source in partition.sources}
    counted = sum(told[file.key] or 0 for file in files)
    uncounted = [file for file in files if told[file.key] is None]
    return counted + _scalar(connection, f"SELECT count(*) FROM ({_lines(uncounted)})")


def _scalar(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: str) -> int:
    return _scalar(connection, f"COPY ({query}) TO '{_quoted(path)}' {PARQUET}")


def _drop_duplicates(
    connection: duckdb.DuckDBPyConnection,
    request: TransformRequest,
    partition: PartitionRequest,
    lines: str,
    rows: str,
) -> int:
    """Keeps one row of lines that are the same text; returns the rows that are left.

    Equal lines give equal rows, so where all rows differ there is nothing to look for. Otherwise
    lines are compared as texts, and only those that repeat are parsed again: of each row that they
    give, as many copies go as its lines have repeats. Hashes only narrow down; equality decides.
    """
    content = [f'"{n}"' for n, _ in request.columns if n != request.partition_column]
    row_hash = f"hash({', '.join(content)})"
    table = _parquet([rows])
    written = _scalar(connection, f"SELECT count(*) FROM {table}")
    if _scalar(connection, f"SELECT count(DISTINCT {row_hash}) FROM {table}") == written:
        return written
    connection.execute(
        f"CREATE TEMP TABLE repeated AS SELECT line, '' AS filename, count(*) - 1 AS repeats"
        f" FROM ({lines}) WHERE hash(line) IN"
        f" (SELECT hash(line) FROM ({lines}) GROUP BY hash(line) HAVING count(*) > 1)"
        " GROUP BY line HAVING count(*) > 1"
    )
    connection.execute(
        f"CREATE TEMP TABLE surplus AS SELECT {', '.join(content)}, sum(repeats) AS repeats"
        f" FROM ({_judged(request, partition, 'SELECT line, filename FROM repeated')})"
        " JOIN repeated USING (line) WHERE reasons = '' GROUP BY ALL"
    )
    if not _scalar(connection, "SELECT count(*) FROM surplus"):
        return written
    same = " AND ".join(f"p.{name} IS NOT DISTINCT FROM s.{name}" for name in content)
    suspect = f"{row_hash} IN (SELECT {row_hash} FROM surplus)"
    names = _names(request)
    return _replace(
        connection,
        rows,
        f"SELECT {names} FROM {table} WHERE NOT {suspect} UNION ALL SELECT {names} FROM"
        f" (SELECT p.*, row_number() OVER (PARTITION BY {', '.join(f'p.{n}' for n in content)})"
        f" AS copy, s.repeats FROM (SELECT * FROM {table} WHERE {suspect}) AS p"
        f" LEFT JOIN surplus AS s ON {same}) WHERE copy > coalesce(repeats, 0)",
    )


def _drop_conflicts(
    connection: duckdb.DuckDBPyConnection,
    request: TransformRequest,
    partition: PartitionRequest,
    lines: str,
    rows: str,
) -> int:
    """Keeps one row of each key; returns the rows that are left.

    Of rows that are the same in every column one is kept, the others are duplicates. Of those
    that still have the same key the latest is kept, and of the latest the one with the greatest
    content, column by column; the others go to quarantine.
    """
    key = ", ".join(f'"{name}"' for name in request.key)
    content = [f'"{n}"' for n, _ in request.columns if n != request.partition_column]
    table, names = _parquet([rows]), _names(request)
    repeated = f"SELECT {key} FROM {table} GROUP BY {key} HAVING count(*) > 1"
    if not _scalar(connection, f"SELECT count(*) FROM ({repeated})"):
        return _scalar(connection, f"SELECT count(*) FROM {table}")
    greatest = ", ".join(f"{name} DESC NULLS LAST" for name in (f'"{request.latest}"', *content))
    connection.execute(
        "CREATE TEMP TABLE ranked AS SELECT *,"
        f" row_number() OVER (PARTITION BY {key} ORDER BY {greatest}) AS place"
        # Of equal rows the line that is told is the same in every run.
        f" FROM (SELECT *, row_number() OVER (PARTITION BY {', '.join(content)}"
        " ORDER BY line, source) AS copy"
        f" FROM ({_judged(request, partition, lines)})"
        f" WHERE reasons = '' AND ({key}) IN ({repeated})) WHERE copy = 1"
    )
    connection.execute(
        "SELECT count(quarantine(source, line, 'conflict')) FROM ranked WHERE place > 1"
    )
    return _replace(
        connection,
        rows,
        f"SELECT {names} FROM {table} WHERE ({key}) NOT IN (SELECT {key} FROM ranked)"
        f" UNION ALL SELECT {names} FROM ranked WHERE place = 1",
    )


def _replace(connection: duckdb.DuckDBPyConnection, rows: str, query: str) -> int:
    """Writes the query's rows in place of a file; returns their number."""
    kept = _copy(connection, query, rows.replace("rows.parquet", "distinct.parquet"))
    Path(rows).unlink()
    return kept


def _event_dates(
    connection: duckdb.DuckDBPyConnection, request: TransformRequest, files: list[str]
) -> dict[str, int]:
    counts = connection.execute(
        f"SELECT strftime(\"{request.date_column}\", '%Y-%m-%d'), count(*) FROM {_parquet(files)}"
        " GROUP BY ALL ORDER BY ALL"
    )
    return {str(day): int(rows) for day, rows in counts.fetchall()}


def _readable(
    partition: PartitionRequest, copied: AbstractSet[str], scratch: str
) -> tuple[list[_File], dict[str, str]]:
    """Files that the reader takes, and by object key the errors of those that it never will.

    Objects in `copied` are copied line by line, as the reader cannot take them as they lie.
    """
    files: list[_File] = []
    unreadable: dict[str, str] = {}
    for n, source in enumerate(partition.sources):
        if source.key not in copied:
            files.append(_File(source.uri, source.key, source.gzipped))
            continue
        copy = f"{scratch}/{n}.jsonl.gz"
        try:
            make_readable(source.uri, copy, gzipped=source.gzipped, array=source.array)
        except Unreadable as error:
            unreadable[source.key] = str(error)
        else:
            files.append(_File(copy, source.key, gzipped=True))
    return files, unreadable


def _empty(folder: str) -> None:
    for path in Path(folder).iterdir():
        path.unlink()


class _Quarantine:
    """Writes the lines that the statement refuses, as they pass through the stream."""

    SCHEMA = pa.schema(
        [("reasons", pa.string()), ("line", pa.string()), ("source_object", pa.string())]
    )

    def __init__(
        self, partition: PartitionRequest, request: TransformRequest, files: Sequence[_File]
    ) -> None:
        kind = dict(request.columns)[request.partition_column]
        self.path = f"{partition.quarantine_prefix}/lines.parquet"
        self.rows = 0
        self.reasons: Counter[str] = Counter()
        self._keys = {file.path: file.key for file in files}
        value_type = pa.timestamp("us") if kind == "timestamp" else pa.date32()
        self._value = pa.scalar(partition.value).cast(value_type)
        self._writer = pq.ParquetWriter(
            self.path,
            self.SCHEMA.append(pa.field(request.partition_column, value_type)),
            compression="zstd",
        )
        # The engine's threads call `take` as they come.
        self._lock = threading.Lock()

    def __enter__(self) -> "_Quarantine":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def add(self, key: str, reason: str, line: str) -> None:
        """Quarantines one line of the object with this key."""
        self._write([key], [reason], [line])

    def take(self, sources: pa.Array, lines: pa.Array, reasons: pa.Array) -> pa.Array:
        """Quarantines lines of files; false for each, which takes it out of the stream."""
        keys = [self._keys[path] for path in sources.to_pylist()]
        self._write(keys, reasons.to_pylist(), lines)
        return pa.repeat(pa.scalar(False), len(keys))

    def _write(self, keys: list[str], reasons: list[str], lines: Any) -> None:
        value = pa.repeat(self._value, len(keys))
        columns = [pa.array(reasons), pa.array(lines, pa.string()), pa.array(keys), value]
        with self._lock:
            self._writer.write_table(pa.table(columns, schema=self._writer.schema))
            self.rows += len(keys)
            self.reasons.update(reason for each in reasons for reason in each.split(","))


class DuckDBQuerier(Querier):
    """Runs Athena SQL in this process, over one consistent state of the lake's tables."""

    lake: Lake
    memory_mb: int = 2048
    threads: int | None = None

    def unload(
        self, statement: str, columns: Sequence[tuple[str, str]], where: tuple[str, str], to: str
    ) -> QueryReport:
        """Writes one Parquet file. Reads only files that may hold rows of the date."""
        query = _parsed(statement)
        with _tables(self, query, where[1]) as connection:
            return _unload(connection, query, columns, where, to)

    def fetch(
        self, statement: str, day: str | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Runs one SELECT in Athena's dialect."""
        query = _parsed(statement)
        with _tables(self, query, day) as connection, _clear_errors():
            result = connection.execute(query.sql(dialect="duckdb"))
            return [column[0] for column in result.description or []], result.fetchall()


@contextmanager
def _tables(
    querier: DuckDBQuerier, query: exp.Query, day: str | None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which the tables that a query names are views of their live files."""
    with _session(querier.memory_mb, querier.threads) as connection:
        # As in Athena, a query reads tables and no other files.
        folder = _literals([f"{querier.lake.root}/"])
        connection.execute(f"SET allowed_directories=[{folder}]")
        connection.execute("SET enable_external_access=false")
        for table in sorted({f"{t.db}.{t.name}" for t in query.find_all(exp.Table)}):
            if contract := TABLES.get(table):
                day_only = f"{contract.date} = '{day}'" if day and contract.date else None
                _make_view(connection, contract, querier.lake.scan(contract, day_only))
            elif not table.startswith("."):
                choices = ", ".join(sorted(TABLES))
                raise QueryError(f"there is no table {table}; there are: {choices}")
            # Else a name that the query itself defines, or that DuckDB reports as unknown.
        yield connection


def _parsed(statement: str) -> exp.Query:
    try:
        parsed = sqlglot.parse(statement, read="athena")
    except sqlglot.errors.SqlglotError as error:
        raise QueryError(_first_line(error)) from None
    if len(parsed) != 1 or not isinstance(parsed[0], exp.Query):
        raise QueryError("one SELECT statement is expected")
    return parsed[0]


@contextmanager
def _session(memory_mb: int, threads: int | None) -> Iterator[duckdb.DuckDBPyConnection]:
    with (
        tempfile.TemporaryDirectory(prefix="event-pipeline-") as scratch,
        _connect(memory_mb, threads, scratch) as connection,
    ):
        yield connection


@contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise QueryError(_first_line(error)) from None


def _make_view(
    connection: duckdb.DuckDBPyConnection, contract: Contract, files: Sequence[str]
) -> None:
    """Makes a table that a statement names a view of files; of no files, a view without rows."""
    names = ", ".join(f'"{name}"' for name in contract.column_names)
    columns = ", ".join(f'CAST(NULL AS {c.type}) AS "{c.name}"' for c in contract.columns)
    source = _parquet(files) if files else f"(SELECT {columns} LIMIT 0)"
    schema, name = contract.identifier
    connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    connection.execute(f'CREATE VIEW "{schema}"."{name}" AS SELECT {names} FROM {source}')


def _unload(
    connection: duckdb.DuckDBPyConnection,
    query: exp.Expr,
    columns: Sequence[tuple[str, str]],
    where: tuple[str, str],
    to: str,
) -> QueryReport:
    """Writes a query's rows of one date to one Parquet file."""
    started = time.monotonic()
    column, day = where
    path = f"{to}/rows.parquet"
    typed = ", ".join(f'CAST("{name}" AS {kind}) AS "{name}"' for name, kind in columns)
    with _clear_errors():
        rows = _copy(
            connection,
            f"SELECT {typed} FROM ({query.sql(dialect='duckdb')})"
            f" WHERE \"{column}\" = DATE '{day}'",
            path,
        )
    return QueryReport(rows, [path], time.monotonic() - started)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
