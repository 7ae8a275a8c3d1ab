"""DuckDB's connections, and how its SQL spells files and texts."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb

from event_pipeline.contracts import Contract
from event_pipeline.errors import QueryError, first_line
from event_pipeline.scratch import plain_path, scratch

# Columns with many different values gain nothing from a dictionary or a Bloom filter, which cost
# time and bytes.
PARQUET = (
    "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, DICTIONARY_SIZE_LIMIT 1000,"
    " WRITE_BLOOM_FILTER false)"
)

# An error that the macros in `sql/athena/functions.sql` raise, and the words that DuckDB puts
# before any error.
ATHENA_ERROR = re.compile(r"Could not convert string 'athena: (.*)' to INT32", re.DOTALL)
KIND = re.compile(r"^(?:[A-Z][\w ]*? Error: )+")
ADVICE = {
    " You might need to add explicit type casts.": "",
    "invalid perl operator": "a pattern that is not understood on target local",
}


def connect(
    memory_mb: int, threads: int | None, scratch: str, database: str = ":memory:"
) -> duckdb.DuckDBPyConnection:
    """A connection that behaves as the statements expect; `memory_mb` in MiB."""
    connection = duckdb.connect(database, config={"autoinstall_known_extensions": False})
    connection.execute(f"SET memory_limit='{memory_mb}MiB'")
    connection.execute(f"SET temp_directory='{quoted(scratch)}'")
    connection.execute("SET preserve_insertion_order=false")
    connection.execute("SET TimeZone='UTC'")
    # `/` on integers is integer division in Trino and Spark's `div`; DuckDB would give a double.
    connection.execute("SET integer_division=true")
    # It turns `IN (five literals)` into a hash join, which costs more than five comparisons.
    connection.execute("SET disabled_optimizers='in_clause'")
    if threads:
        connection.execute(f"SET threads={threads}")
    return connection


def quoted(text: str) -> str:
    """A text as it is written within single quotes."""
    return text.replace("'", "''")


def literal(text: str) -> str:
    """A text as a literal."""
    return f"'{quoted(text)}'"


def literals(texts: Sequence[str]) -> str:
    """Texts as literals, with commas between them."""
    return ", ".join(literal(text) for text in texts)


def parquet(files: Sequence[str], *, by_name: bool = False) -> str:
    """A table function that reads Parquet files; `by_name` if their columns may differ."""
    # A folder above the lake may be called x=y, which must not become a column, or hold a *, which
    # must not become a pattern.
    paths = literals([plain_path(file) for file in files])
    return f"read_parquet([{paths}], hive_partitioning=false, union_by_name={by_name})"


@contextmanager
def session(memory_mb: int, threads: int | None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection whose spilled data is deleted at the end."""
    with scratch() as folder, connect(memory_mb, threads, folder) as connection:
        yield connection


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turns DuckDB's errors into QueryError."""
    try:
        yield
    except duckdb.Error as error:
        raise QueryError(error_text(error)) from None


def error_text(error: duckdb.Error) -> str:
    """A DuckDB error in one line, without DuckDB's own prefixes and advice."""
    if found := ATHENA_ERROR.search(str(error)):
        return found[1]
    if "Division by zero" in str(error):
        return "division by zero"
    line = KIND.sub("", first_line(error))
    for advice, instead in ADVICE.items():
        line = line.replace(advice, instead)
    return line.strip()


def scalar(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    """The one number that a query gives."""
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def copy(connection: duckdb.DuckDBPyConnection, query: str, path: str) -> int:
    """Writes a query's rows to a Parquet file; returns their number."""
    return scalar(connection, f"COPY ({query}) TO {literal(plain_path(path))} {PARQUET}")


def make_view(
    connection: duckdb.DuckDBPyConnection, contract: Contract, files: Sequence[str]
) -> None:
    """Makes a view of files, named as statements name the table; without files it has no rows."""
    names = ", ".join(f'"{name}"' for name in contract.column_names)
    columns = ", ".join(f'CAST(NULL AS {c.type}) AS "{c.name}"' for c in contract.columns)
    source = f"SELECT {columns} LIMIT 0"
    if files:
        # A file that was written before a column was added has null in it.
        source = f"({source}) UNION ALL BY NAME SELECT * FROM {parquet(files, by_name=True)}"
    schema, name = contract.identifier
    connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    connection.execute(f'CREATE VIEW "{schema}"."{name}" AS SELECT {names} FROM ({source})')


def unload(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    columns: Sequence[tuple[str, str]],
    where: tuple[str, str],
    to: str,
) -> tuple[int, str]:
    """Writes to one Parquet file the rows whose column `where[0]` is the date `where[1]`.

    Returns how many rows there are, and the file's path.
    """
    column, day = where
    path = f"{to}/rows.parquet"
    typed = ", ".join(f'CAST("{name}" AS {kind}) AS "{name}"' for name, kind in columns)
    with translate_errors():
        rows = copy(
            connection,
            f"SELECT {typed} FROM ({query}) WHERE \"{column}\" = DATE '{day}'",
            path,
        )
    return rows, path
