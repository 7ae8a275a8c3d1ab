"""Athena's SQL on DuckDB, over the tables of the Glue catalog: Iceberg's, and gzipped JSON lines.

What is read and written are calls of S3 and Glue by the query's own clients.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar
from urllib.parse import urlsplit

import duckdb
import sqlglot
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem  # type: ignore[import-untyped]
from pyiceberg.table import StaticTable
from sqlglot import exp

from event_pipeline.engines.duckdb.session import connect, literal, literals, parquet
from event_pipeline.errors import first_line
from event_pipeline_tests.twin.query import UNLOAD, Query, QueryFailedError

Json = dict[str, Any]

MEMORY_MB, THREADS = 1024, 2
CATALOG = "awsdatacatalog"
# Athena writes as many as it has writers; with one nobody would notice who expects one.
FILES_OF_UNLOAD = 2
JSON_SERDE = "org.openx.data.jsonserde.JsonSerDe"
OPTION = re.compile(r"\s*(\w+)\s*=\s*'([^']*)'\s*")
# What DuckDB calls a type, and Athena.
TYPES = {
    "BIGINT": "bigint",
    "BLOB": "varbinary",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "DOUBLE": "double",
    "FLOAT": "float",
    "HUGEINT": "decimal",
    "INTEGER": "integer",
    "SMALLINT": "smallint",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamp with time zone",
    "TINYINT": "tinyint",
}


class _Object(AbstractBufferedFile):  # type: ignore[misc]
    """An object of S3 of which DuckDB reads the parts that it needs."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        query: Query = self.fs.query
        bucket, _, key = self.path.partition("/")
        found = query.s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}")
        data: bytes = found["Body"].read()
        query.scan(self.path, len(data), self.size)
        return data


class _Objects(AbstractFileSystem):  # type: ignore[misc]
    """S3 for DuckDB: `twin://bucket/key`."""

    protocol = "twin"
    cachable = False
    # DuckDB asks for it, to notice files that change while it reads; objects do not.
    unchanged: ClassVar[datetime] = datetime(1970, 1, 1, tzinfo=UTC)

    def __init__(self, query: Query) -> None:
        super().__init__()
        self.query = query
        self.sizes: dict[str, int] = {}

    def info(self, path: str, **_: Any) -> Json:
        name = str(self._strip_protocol(path))
        return {"name": name, "size": self.sizes[name], "type": "file"}

    def modified(self, path: str) -> datetime:
        return self.unchanged

    def glob(self, path: str, **_: Any) -> list[str]:
        """The path itself: in the names of objects nothing is a pattern."""
        return [path]

    def _open(self, path: str, mode: str = "rb", **_: Any) -> _Object:
        name = str(self._strip_protocol(path))
        return _Object(self, name, mode, cache_type="none", size=self.sizes[name])


@dataclass(frozen=True)
class Result:
    """What a query gives: columns, their types, and rows of texts; of UNLOAD the files' URIs."""

    columns: list[str]
    types: list[str]
    rows: list[list[str | None]]
    files: list[str] | None = None


def execute(query: Query) -> Result:
    """Executes the statement. Raises QueryFailedError, or what S3 and Glue raise."""
    text = query.record["Query"]
    unload = UNLOAD.fullmatch(text)
    with _errors(), TemporaryDirectory(prefix="athena-") as scratch:
        select = _parsed(unload["select"] if unload else text)
        if unload:
            _check(query, unload)
        with connect(MEMORY_MB, THREADS, scratch) as connection:
            query.connection = connection
            objects = _Objects(query)
            connection.register_filesystem(objects)
            _make_tables(query, connection, objects, select)
            sql = select.sql(dialect="duckdb")
            query.check()
            if unload:
                files = _unload(query, connection, sql, unload["to"], Path(scratch))
                return Result([], [], [], files)
            found = connection.execute(sql)
            columns = found.description or []
            rows = [[_text(value) for value in row] for row in found.fetchall()]
            return Result([c[0] for c in columns], [_type(c[1]) for c in columns], rows)


@contextmanager
def _errors() -> Iterator[None]:
    """Turns the errors of SQL into QueryFailedError."""
    try:
        yield
    except sqlglot.errors.SqlglotError as error:
        raise QueryFailedError(f"SYNTAX_ERROR: {first_line(error)}") from None
    except duckdb.Error as error:
        wrong = isinstance(error, duckdb.BinderException | duckdb.CatalogException)
        kind = "SYNTAX_ERROR" if wrong else "GENERIC_INTERNAL_ERROR"
        raise QueryFailedError(f"{kind}: {first_line(error)}") from None


def _parsed(statement: str) -> exp.Query:
    parsed = [each for each in sqlglot.parse(statement, read="athena") if each]
    if len(parsed) != 1 or not isinstance(parsed[0], exp.Query):
        raise QueryFailedError("NOT_SUPPORTED: the twin runs SELECT and UNLOAD, one at a time")
    query = parsed[0]
    if isinstance(query, exp.Select):
        for n, each in enumerate(query.expressions):
            if not isinstance(each, exp.Alias | exp.Column | exp.Star):
                each.replace(exp.alias_(each.copy(), f"_col{n}"))
    return query


def _make_tables(
    query: Query, connection: duckdb.DuckDBPyConnection, objects: _Objects, select: exp.Query
) -> None:
    """Makes the tables that a query names views of their objects."""
    default = query.record["QueryExecutionContext"]["Database"].lower()
    named = {cte.alias.lower() for cte in select.find_all(exp.CTE)}
    tables: set[tuple[str, str]] = set()
    for table in select.find_all(exp.Table):
        if table.catalog and table.catalog.lower() != CATALOG:
            raise QueryFailedError(f"CATALOG_NOT_FOUND: Catalog '{table.catalog}' does not exist")
        table.set("catalog", None)
        if table.db or table.name.lower() not in named:
            tables.add((table.db.lower() or default, table.name.lower()))
    for database, name in sorted(tables):
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_name(database)}")
        relation = _relation(query, objects, database, name)
        connection.execute(f"CREATE VIEW {_name(database)}.{_name(name)} AS {relation}")
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_name(default)}")
    connection.execute(f"USE {_name(default)}")


def _relation(query: Query, objects: _Objects, database: str, name: str) -> str:
    """A query that reads a table of the catalog."""
    try:
        table: Json = query.glue.get_table(DatabaseName=database, Name=name)["Table"]
    except query.glue.exceptions.EntityNotFoundException:
        raise QueryFailedError(
            f"TABLE_NOT_FOUND: line 1:1: Table '{CATALOG}.{database}.{name}' does not exist"
        ) from None
    if table.get("Parameters", {}).get("table_type", "").upper() == "ICEBERG":
        return _iceberg(query, objects, table["Parameters"]["metadata_location"])
    serde = table["StorageDescriptor"].get("SerdeInfo", {}).get("SerializationLibrary")
    if serde == JSON_SERDE:
        return _json_lines(query, objects, table)
    raise QueryFailedError(f"NOT_SUPPORTED: the twin reads no table of {serde}")


def _iceberg(query: Query, objects: _Objects, metadata: str) -> str:
    table = StaticTable.from_metadata(metadata, query.properties)
    files = []
    for task in table.scan().plan_files():
        if task.delete_files:
            raise QueryFailedError("NOT_SUPPORTED: the twin applies no delete files")
        files.append(_known(objects, task.file.file_path, task.file.file_size_in_bytes))
    fields = table.schema().fields
    names = ", ".join(_name(each.name) for each in fields)
    nulls = ", ".join(f"CAST(NULL AS {each.field_type}) AS {_name(each.name)}" for each in fields)
    if not files:
        return f"SELECT {nulls} LIMIT 0"
    read = f"SELECT * FROM {parquet(sorted(files), by_name=True)}"
    return f"SELECT {names} FROM ((SELECT {nulls} LIMIT 0) UNION ALL BY NAME {read})"


def _json_lines(query: Query, objects: _Objects, table: Json) -> str:
    """Each line a row, of nulls where it is not JSON; folders give the last columns."""
    storage = table["StorageDescriptor"]
    columns = [each["Name"] for each in storage["Columns"]]
    keys = [each["Name"] for each in table.get("PartitionKeys", [])]
    field = "CASE WHEN json_valid(line) THEN json_extract_string(line, {}) END"
    fields = [f'{field.format(literal(f"$.{name}"))} AS "{name}"' for name in columns]
    select = f"SELECT {', '.join((*fields, *map(_name, keys)))}"
    files = _located(query, objects, storage["Location"], keys)
    if not files:
        nulls = ", ".join(f"CAST(NULL AS VARCHAR) AS {_name(each)}" for each in ("line", *keys))
        return f"{select} FROM (SELECT {nulls} LIMIT 0)"
    kinds = ", ".join(f"{_name(key)}: 'VARCHAR'" for key in keys)
    folders = f", hive_partitioning=true, hive_types={{{kinds}}}" if keys else ""
    return (
        f"{select} FROM read_csv([{literals(files)}], columns={{'line': 'VARCHAR'}},"
        f" auto_detect=false, header=false, delim=chr(1), quote='', escape=''{folders})"
    )


def _located(query: Query, objects: _Objects, location: str, keys: Sequence[str]) -> list[str]:
    """The objects under a location whose folders are named after the keys."""
    bucket, prefix = _place(location)
    folders = "/".join(f"{re.escape(key)}=[^/]+" for key in keys)
    wanted = re.compile(f"{re.escape(prefix)}{folders}/[^/_.][^/]*" if keys else ".*/[^/_.][^/]*")
    pages = query.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [
        _known(objects, f"s3://{bucket}/{each['Key']}", each["Size"])
        for page in pages
        for each in page.get("Contents", [])
        if wanted.fullmatch(each["Key"])
    ]


def _known(objects: _Objects, uri: str, size: int) -> str:
    """An object's name for DuckDB."""
    path = uri.removeprefix("s3://")
    objects.sizes[path] = size
    return f"{objects.protocol}://{path}"


def _place(location: str) -> tuple[str, str]:
    """Bucket and prefix of a folder."""
    url = urlsplit(location)
    return url.netloc, f"{url.path.strip('/')}/"


def _check(query: Query, unload: re.Match[str]) -> None:
    """Raises QueryFailedError if Athena would refuse to write there or so."""
    options = {}
    for each in unload["options"].split(","):
        option = OPTION.fullmatch(each)
        if not option:
            raise QueryFailedError(f"SYNTAX_ERROR: {each.strip()} is no option that the twin knows")
        options[option[1].lower()] = option[2].upper()
    if options.pop("format", "") != "PARQUET" or options.pop("compression", "GZIP") != "ZSTD":
        raise QueryFailedError("NOT_SUPPORTED: the twin unloads as PARQUET in ZSTD")
    if options:
        raise QueryFailedError(f"NOT_SUPPORTED: {', '.join(options)}")
    bucket, prefix = _place(unload["to"])
    there = query.s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
    if there.get("Contents"):
        raise QueryFailedError(
            f"HIVE_PATH_ALREADY_EXISTS: Target directory already exists: {unload['to']}. You may"
            " need to manually clean the data before retrying."
        )


def _unload(
    query: Query, connection: duckdb.DuckDBPyConnection, sql: str, to: str, scratch: Path
) -> list[str]:
    """Writes the rows to objects; their URIs."""
    query.check()
    connection.execute(f"CREATE TEMP TABLE unloaded AS {sql}")
    described = connection.execute("DESCRIBE unloaded").fetchall()
    for name, kind, *_ in described:
        if "WITH TIME ZONE" in kind:
            raise QueryFailedError(f"NOT_SUPPORTED: Unsupported Hive type: {kind.lower()} ({name})")
    [(rows,)] = connection.execute("SELECT count(*) FROM unloaded").fetchall()
    bucket, prefix = _place(to)
    written = []
    parts = min(rows, FILES_OF_UNLOAD)
    for part in range(parts):
        file = scratch / f"{part}"
        connection.execute(
            f"COPY (SELECT * FROM unloaded WHERE rowid % {parts} = {part})"
            f" TO {literal(str(file))} (FORMAT parquet, COMPRESSION zstd)"
        )
        query.check()
        # Athena's names have no suffix.
        key = f"{prefix}{query.record['QueryExecutionId']}_{part:05}"
        with file.open("rb") as body:
            query.s3.put_object(Bucket=bucket, Key=key, Body=body)
        written.append(f"s3://{bucket}/{key}")
    return written


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _type(kind: Any) -> str:
    name = str(kind).upper()
    return TYPES.get(name, "decimal" if name.startswith("DECIMAL") else "varchar")


def _text(value: Any) -> str | None:
    """A value as Athena writes it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat(" ", "milliseconds")
    return str(value)
