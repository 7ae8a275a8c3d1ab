"""The embedded engine: DuckDB runs the Silver and Gold statements, translated by SQLGlot.

One hour goes through in one stream: unzip, read lines, parse, judge, write. What the statement
refuses is taken out of that stream on its way; duplicates are looked for in the written file and
removed by a second pass only if there are any, since there seldom are.
"""

import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import sqlglot
from duckdb.func import FunctionNullHandling, PythonUDFType
from sqlglot import exp

from event_pipeline.contracts import TABLES
from event_pipeline.engines import (
    PartitionReport,
    PartitionRequest,
    Querier,
    QueryReport,
    Transformer,
    TransformRequest,
)
from event_pipeline.engines.bronze_text import Unreadable, make_readable
from event_pipeline.errors import QueryError
from event_pipeline.lake.tables import Lake

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
    " columns={{'line': 'VARCHAR'}}, filename=true)"
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


class DuckDBTransformer(Transformer):
    """Runs Silver statements in this process."""

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

    def _partition(self, request: TransformRequest, partition: PartitionRequest) -> PartitionReport:
        with tempfile.TemporaryDirectory(prefix="event-pipeline-") as scratch:
            paths = {source.uri: source.key for source in partition.sources}
            try:
                return self._attempt(request, partition, paths, {}, scratch)
            except duckdb.Error:
                # Some object is not gzipped UTF-8 lines. Which, and how much of it can be read,
                # is worth finding out only now.
                _empty(partition.rows_prefix)
                _empty(partition.quarantine_prefix)
                paths, unreadable = _readable(partition, scratch)
                return self._attempt(request, partition, paths, unreadable, scratch)

    def _attempt(
        self,
        request: TransformRequest,
        partition: PartitionRequest,
        paths: dict[str, str],
        unreadable: dict[str, str],
        scratch: str,
    ) -> PartitionReport:
        """One try over `paths` (file -> object key), with objects already known unreadable."""
        report = PartitionReport(partition.key, bytes=sum(s.bytes for s in partition.sources))
        with (
            _connect(self.memory_mb, self.threads, scratch) as connection,
            _Quarantine(partition, request, paths) as quarantine,
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
            report.lines = len(unreadable) + _count_lines(connection, partition, paths, unreadable)
            lines = _lines(list(paths))
            rows = f"{partition.rows_prefix}/rows.parquet"
            written = _copy(
                connection,
                f"SELECT {_names(request)} FROM ({_judged(request, partition, lines)})"
                " WHERE CASE WHEN reasons = '' THEN true"
                " ELSE quarantine(source, line, reasons) END",
                rows,
            )
            kept = _drop_duplicates(connection, request, partition, lines, rows)
            report.rows = kept
            report.duplicates = written - kept
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


def _lines(paths: Sequence[str]) -> str:
    """A query of the non-blank lines of files; of no files, no lines."""
    if not paths:
        return "SELECT CAST(NULL AS VARCHAR) AS line, CAST(NULL AS VARCHAR) AS filename LIMIT 0"
    reader = LINE_READER.format(files=_literals(paths), delim=NOT_IN_JSON)
    return f"SELECT line, filename FROM {reader} WHERE {NOT_BLANK}"


def _count_lines(
    connection: duckdb.DuckDBPyConnection,
    partition: PartitionRequest,
    paths: dict[str, str],
    unreadable: dict[str, str],
) -> int:
    """Non-blank lines of the readable objects: their producers' counts, or counted here."""
    by_key = {key: path for path, key in paths.items()}
    sources = [s for s in partition.sources if s.key not in unreadable]
    counted = sum(s.lines for s in sources if s.lines is not None)
    uncounted = [by_key[s.key] for s in sources if s.lines is None]
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
    kept = _copy(
        connection,
        f"SELECT {names} FROM {table} WHERE NOT {suspect} UNION ALL SELECT {names} FROM"
        f" (SELECT p.*, row_number() OVER (PARTITION BY {', '.join(f'p.{n}' for n in content)})"
        f" AS copy, s.repeats FROM (SELECT * FROM {table} WHERE {suspect}) AS p"
        f" LEFT JOIN surplus AS s ON {same}) WHERE copy > coalesce(repeats, 0)",
        rows.replace("rows.parquet", "distinct.parquet"),
    )
    Path(rows).unlink()
    return kept


def _event_dates(
    connection: duckdb.DuckDBPyConnection, request: TransformRequest, files: list[str]
) -> dict[str, int]:
    if "event_date" not in dict(request.columns):
        return {}
    counts = connection.execute(
        f"SELECT strftime(event_date, '%Y-%m-%d'), count(*) FROM {_parquet(files)}"
        " GROUP BY ALL ORDER BY ALL"
    )
    return {str(day): int(rows) for day, rows in counts.fetchall()}


def _readable(partition: PartitionRequest, scratch: str) -> tuple[dict[str, str], dict[str, str]]:
    """Files that the reader takes, as file -> object key, and errors of those it never will."""
    paths: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    for n, source in enumerate(partition.sources):
        copy = f"{scratch}/{n}.jsonl.gz"
        try:
            make_readable(source.uri, copy)
        except Unreadable as error:
            unreadable[source.key] = str(error)
        else:
            paths[copy] = source.key
    return paths, unreadable


def _empty(folder: str) -> None:
    for path in Path(folder).iterdir():
        path.unlink()


class _Quarantine:
    """Writes the lines that the statement refuses, as they pass through the stream."""

    SCHEMA = pa.schema(
        [("reasons", pa.string()), ("line", pa.string()), ("source_object", pa.string())]
    )

    def __init__(
        self, partition: PartitionRequest, request: TransformRequest, paths: dict[str, str]
    ) -> None:
        kind = dict(request.columns)[request.partition_column]
        self.path = f"{partition.quarantine_prefix}/lines.parquet"
        self.rows = 0
        self.reasons: Counter[str] = Counter()
        self._paths = paths
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
        keys = [self._paths[path] for path in sources.to_pylist()]
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
        started = time.monotonic()
        column, day = where
        path = f"{to}/rows.parquet"
        typed = ", ".join(f'CAST("{name}" AS {kind}) AS "{name}"' for name, kind in columns)
        with self._session(statement, day) as (connection, query):
            try:
                rows = _copy(
                    connection,
                    f"SELECT {typed} FROM ({query}) WHERE \"{column}\" = DATE '{day}'",
                    path,
                )
            except duckdb.Error as error:
                raise QueryError(_first_line(error)) from None
        return QueryReport(rows, [path], time.monotonic() - started)

    def fetch(
        self, statement: str, day: str | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Runs one SELECT in Athena's dialect."""
        with self._session(statement, day) as (connection, query):
            try:
                result = connection.execute(query)
            except duckdb.Error as error:
                raise QueryError(_first_line(error)) from None
            return [column[0] for column in result.description or []], result.fetchall()

    def _session(self, statement: str, day: str | None) -> "_Session":
        try:
            parsed = sqlglot.parse(statement, read="athena")
        except sqlglot.errors.SqlglotError as error:
            raise QueryError(_first_line(error)) from None
        if len(parsed) != 1 or not isinstance(parsed[0], exp.Query):
            raise QueryError("one SELECT statement is expected")
        return _Session(self, parsed[0], day)


class _Session:
    """A connection in which the tables that a query names are views of their live files."""

    def __init__(self, querier: DuckDBQuerier, query: exp.Query, day: str | None) -> None:
        self._querier = querier
        self._query = query
        self._day = day

    def __enter__(self) -> tuple[duckdb.DuckDBPyConnection, str]:
        self._scratch = tempfile.mkdtemp(prefix="event-pipeline-")
        querier = self._querier
        self._connection = _connect(querier.memory_mb, querier.threads, self._scratch)
        try:
            # As in Athena, a query reads tables and no other files.
            folder = _literals([f"{querier.lake.root}/"])
            self._connection.execute(f"SET allowed_directories=[{folder}]")
            self._connection.execute("SET enable_external_access=false")
            for table in sorted({f"{t.db}.{t.name}" for t in self._query.find_all(exp.Table)}):
                self._view(table)
        except BaseException:
            self.__exit__()
            raise
        return self._connection, self._query.sql(dialect="duckdb")

    def _view(self, table: str) -> None:
        contract = TABLES.get(table)
        if contract is None:
            if table.startswith("."):
                return  # A name that the query itself defines, or that DuckDB reports as unknown.
            raise QueryError(f"there is no table {table}; there are: {', '.join(sorted(TABLES))}")
        has_date = "event_date" in contract.column_names
        row_filter = f"event_date = '{self._day}'" if self._day and has_date else None
        files = self._querier.lake.scan(contract, row_filter)
        names = ", ".join(f'"{name}"' for name in contract.column_names)
        columns = ", ".join(f'CAST(NULL AS {c.type}) AS "{c.name}"' for c in contract.columns)
        source = _parquet(files) if files else f"(SELECT {columns} LIMIT 0)"
        schema, name = contract.identifier
        self._connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        self._connection.execute(f'CREATE VIEW "{schema}"."{name}" AS SELECT {names} FROM {source}')

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        shutil.rmtree(self._scratch, ignore_errors=True)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
