"""Runs Athena SQL over the live files of the lake's tables."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from event_pipeline.engines import EMBEDDED, Querier, QueryReport
from event_pipeline.engines.duckdb.athena import Translation, translated
from event_pipeline.engines.duckdb.session import (
    literals,
    make_view,
    session,
    translate_errors,
    unload,
)
from event_pipeline.engines.duckdb.staged import Stage, staged
from event_pipeline.engines.statement import dates_read
from event_pipeline.lake.tables import Lake
from event_pipeline.scratch import plain_path


class DuckDBQuerier(Querier):
    """Runs Athena SQL in this process, over one consistent state of the lake's tables."""

    lake: Lake
    memory_mb: int = 2048
    threads: int | None = None

    @property
    def engine(self) -> str:
        """What a person calls it."""
        return EMBEDDED

    def unload(
        self,
        statement: str,
        columns: Sequence[tuple[str, str]],
        where: tuple[str, str],
        to: str,
        version: str = "",
    ) -> QueryReport:
        """Writes one Parquet file. Reads only files that may hold rows of the date."""
        started, query = time.monotonic(), translated(statement)
        with staged() as stage:
            folder = stage.folder(to)
            with _tables(self, query, stage, where[1], folder) as connection:
                rows, path = unload(connection, query.sql, columns, where, folder)
            files = stage.upload([path])
        return QueryReport(rows, files, time.monotonic() - started)

    def fetch(
        self, statement: str, day: str | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Runs one SELECT in Athena's dialect. Opens only files that may hold its dates."""
        query = translated(statement)
        with (
            staged() as stage,
            _tables(self, query, stage, day) as connection,
            translate_errors(),
        ):
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
    querier: DuckDBQuerier,
    query: Translation,
    stage: Stage,
    day: str | None,
    to: str | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which the tables that a query names are views of their live files."""
    with session(querier.memory_mb, querier.threads) as connection:
        query.prepare(connection)
        files: list[str] = []
        for contract in query.tables:
            between = dates_read(contract, day) or query.dates.get(contract.table)
            live = stage.fetch((file, "") for file in querier.lake.scan(contract, between))
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
