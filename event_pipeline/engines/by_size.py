"""Engines chosen by size: for what is small, a service takes longer to start than DuckDB to finish.

Both engines give the same rows, so the choice changes time and money only.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.filesize import decimal

from event_pipeline.engines import (
    DeriveRequest,
    PartitionReport,
    Querier,
    QueryReport,
    Transformer,
    TransformRequest,
    told,
)
from event_pipeline.engines.statement import athena_query, dates_read, tables_of
from event_pipeline.lake.tables import Lake

MB = 1_000_000


class TransformerBySize(Transformer):
    """Makes a single partition of less than `from_mb` MB with `small`, all else with `large`."""

    small: Transformer
    large: Transformer
    from_mb: float

    @property
    def engine(self) -> str:
        """What a person calls it."""
        return f"{self.small.engine} or {self.large.engine}"

    def transform(self, request: TransformRequest) -> Iterator[PartitionReport]:
        """Makes the partitions. Several are one request to the large engine, which starts once."""
        number = len(request.partitions)
        size = sum(s.bytes for partition in request.partitions for s in partition.sources)
        is_small = number == 1 and size < self.from_mb * MB
        why = self._why(size, "Bronze") if number == 1 else f"{number} partitions in one request"
        engine = self.small if is_small else self.large
        for report in engine.transform(request):
            report.run = {**told(engine.engine, why), **report.run}
            yield report

    def derive(self, request: DeriveRequest) -> QueryReport:
        """Makes one partition of a Gold table, by the size of its input files."""
        engine = self.small if request.bytes < self.from_mb * MB else self.large
        report = engine.derive(request)
        report.run = {**told(engine.engine, self._why(request.bytes, "Silver")), **report.run}
        return report

    def _why(self, size: int, of: str) -> str:
        return _why(size, of, "SPARK_FROM_MB", self.from_mb)


class QuerierBySize(Querier):
    """Runs queries about a date of less than `from_mb` MB with `small`, all else with `large`."""

    small: Querier
    large: Querier
    lake: Lake
    from_mb: float

    @property
    def engine(self) -> str:
        """What a person calls it."""
        return f"{self.small.engine} or {self.large.engine}"

    def unload(
        self,
        statement: str,
        columns: Sequence[tuple[str, str]],
        where: tuple[str, str],
        to: str,
        version: str,
    ) -> QueryReport:
        """Writes Parquet files, by the size of the files that may hold rows of the date."""
        size = self._bytes(statement, where[1])
        engine = self._engine(size)
        report = engine.unload(statement, columns, where, to, version)
        why = _why(size, "input", "ATHENA_FROM_MB", self.from_mb)
        report.run = {**told(engine.engine, why), **report.run}
        return report

    def fetch(
        self, statement: str, day: str | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Runs one SELECT; one without a date with the large engine."""
        engine = self._engine(self._bytes(statement, day)) if day else self.large
        return engine.fetch(statement, day)

    def _engine(self, size: int) -> Querier:
        return self.small if size < self.from_mb * MB else self.large

    def _bytes(self, statement: str, day: str) -> int:
        """The size of the files that a query about a date reads."""
        found = [
            self.lake.sizes(each, dates_read(each, day))
            for each in tables_of(athena_query(statement))
        ]
        return sum(size for sizes in found for size in sizes.values())


def _why(size: int, of: str, setting: str, limit: float) -> str:
    comparison = "less" if size < limit * MB else "not less"
    return f"{decimal(size)} of {of}, {comparison} than {setting}={limit:g}"
