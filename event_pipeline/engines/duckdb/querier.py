"""Athena SQL over the live files of the lake's tables."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp

from event_pipeline.contracts import TABLES
from event_pipeline.engines import Querier, QueryReport
from event_pipeline.engines.duckdb.session import (
    clear_errors,
    first_line,
    literals,
    make_view,
    session,
    unload,
)
from event_pipeline.errors import QueryError
from event_pipeline.lake.tables import Lake


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
            return unload(connection, query, columns, where, to)

    def fetch(
        self, statement: str, day: str | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Runs one SELECT in Athena's dialect."""
        query = _parsed(statement)
        with _tables(self, query, day) as connection, clear_errors():
            result = connection.execute(query.sql(dialect="duckdb"))
            return [column[0] for column in result.description or []], result.fetchall()


@contextmanager
def _tables(
    querier: DuckDBQuerier, query: exp.Query, day: str | None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which the tables that a query names are views of their live files."""
    with session(querier.memory_mb, querier.threads) as connection:
        # As in Athena, a query reads tables and no other files.
        folder = literals([f"{querier.lake.root}/"])
        connection.execute(f"SET allowed_directories=[{folder}]")
        connection.execute("SET enable_external_access=false")
        for table in sorted({f"{t.db}.{t.name}" for t in query.find_all(exp.Table)}):
            if contract := TABLES.get(table):
                day_only = f"{contract.date} = '{day}'" if day and contract.date else None
                make_view(connection, contract, querier.lake.scan(contract, day_only))
            elif not table.startswith("."):
                choices = ", ".join(sorted(TABLES))
                raise QueryError(f"there is no table {table}; there are: {choices}")
            # Else a name that the query itself defines, or that DuckDB reports as unknown.
        yield connection


def _parsed(statement: str) -> exp.Query:
    try:
        parsed = sqlglot.parse(statement, read="athena")
    except sqlglot.errors.SqlglotError as error:
        raise QueryError(first_line(error)) from None
    if len(parsed) != 1 or not isinstance(parsed[0], exp.Query):
        raise QueryError("one SELECT statement is expected")
    return parsed[0]
