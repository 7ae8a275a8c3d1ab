"""Athena SQL over the live files of the lake's tables."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
from sqlglot import exp

from event_pipeline.engines import Querier, QueryReport
from event_pipeline.engines.duckdb.session import (
    clear_errors,
    literals,
    make_view,
    session,
    unload,
)
from event_pipeline.engines.statement import athena_query, tables_of
from event_pipeline.lake.tables import Lake
from event_pipeline.scratch import plain_path


class DuckDBQuerier(Querier):
    """Runs Athena SQL in this process, over one consistent state of the lake's tables."""

    lake: Lake
    memory_mb: int = 2048
    threads: int | None = None

    def unload(
        self,
        statement: str,
        columns: Sequence[tuple[str, str]],
        where: tuple[str, str],
        to: str,
        version: str = "",
    ) -> QueryReport:
        """Writes one Parquet file. Reads only files that may hold rows of the date."""
        query = athena_query(statement)
        with _tables(self, query, where[1]) as connection:
            return unload(connection, query, columns, where, to)

    def fetch(
        self, statement: str, day: str | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Runs one SELECT in Athena's dialect."""
        query = athena_query(statement)
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
        folders = {querier.lake.root, querier.lake.address}
        allowed = literals([f"{plain_path(each)}/" for each in folders])
        connection.execute(f"SET allowed_directories=[{allowed}]")
        connection.execute("SET enable_external_access=false")
        for contract in tables_of(query):
            day_only = f"{contract.date} = '{day}'" if day and contract.date else None
            make_view(connection, contract, querier.lake.scan(contract, day_only))
        yield connection
