"""Runs Athena SQL over the live files of the lake's tables."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from event_pipeline.contracts import RollUpContract, SilverContract
from event_pipeline.engines import Querier, QueryReport
from event_pipeline.engines.duckdb.athena import Translation, translated
from event_pipeline.engines.duckdb.session import (
    literals,
    make_view,
    session,
    translate_errors,
    unload,
)
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
        query = translated(statement)
        with _tables(self, query, where[1], to) as connection:
            return unload(connection, query.sql, columns, where, to)

    def fetch(
        self, statement: str, day: str | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Runs one SELECT in Athena's dialect. Opens only files that may hold its dates."""
        query = translated(statement)
        with _tables(self, query, day) as connection, translate_errors():
            result = connection.execute(query.sql)
            names = [column[0] for column in result.description or []]
            rows: list[tuple[Any, ...]] = result.fetchall()
        for place, zone in query.zones.items():
            rows = [(*row[:place], _in_zone(row[place], zone), *row[place + 1 :]) for row in rows]
        return names, rows


def _in_zone(value: Any, zone: str) -> Any:
    """An instant in a zone's time; any other value as it is."""
    return value.astimezone(ZoneInfo(zone)) if isinstance(value, datetime) else value


@contextmanager
def _tables(
    querier: DuckDBQuerier, query: Translation, day: str | None, to: str | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which the tables that a query names are views of their live files."""
    with session(querier.memory_mb, querier.threads) as connection:
        query.prepare(connection)
        files: list[str] = []
        for contract in query.tables:
            between = query.dates.get(contract.table)
            if day and isinstance(contract, SilverContract | RollUpContract):
                between = (day, day)
            live = querier.lake.scan(contract, between)
            with translate_errors():  # a file may be damaged
                make_view(connection, contract, live)
            files += live
        # As in Athena, a query reads tables and no other files.
        connection.execute(f"SET allowed_paths=[{literals([plain_path(file) for file in files])}]")
        if to:
            connection.execute(f"SET allowed_directories=[{literals([f'{plain_path(to)}/'])}]")
        connection.execute("SET enable_external_access=false")
        connection.execute("SET lock_configuration=true")
        yield connection
