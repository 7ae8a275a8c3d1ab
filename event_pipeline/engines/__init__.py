"""Engines: what transforms Bronze to Silver, and what queries Silver to Gold.

A Transformer takes a plain, serializable request and returns a report; a Querier runs Athena SQL
over the lake's tables. Neither publishes: both leave Parquet files under a fresh prefix.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from event_pipeline.contracts import SilverContract
from event_pipeline.contracts.mapping import reading_of
from event_pipeline.lake.objects import Source

# Unknown fields that a report names, the most frequent first.
UNKNOWN_MOST = 50
# Exceptions by which Dagster or the user interrupts a step; remote work must then be cancelled.
INTERRUPTS = (KeyboardInterrupt, dg.DagsterExecutionInterruptedError)


@dataclass(frozen=True)
class PartitionRequest:
    """One partition to make: its key, its column's value, its objects, and where files go.

    `digest` stands for the versions of all its objects.
    """

    key: str
    value: str
    digest: str
    sources: tuple[Source, ...]
    rows_prefix: str
    quarantine_prefix: str


@dataclass(frozen=True)
class TransformRequest:
    """One statement over one or many partitions.

    `source` are the columns of `raw`, `paths` where each lies in a record, `required` those without
    which no row is made, `numbers` those that only become numbers. Of a record that stands for
    several rows `each` is the path of their array. `is_mapped`: the statement chooses among the
    fields of records, so that others are nothing to be told. `columns` are the (name, type) pairs
    of the table in order, `partition_column` the one that takes each partition's value
    and `date_column` the one whose dates are counted. Of rows that are equal in the columns `key`
    the one with the greatest `latest`, then with the greatest content, is kept, and others are
    quarantined as `conflict`. Without a key, lines that are equal as texts are kept once.
    """

    dataset: str
    statement: str
    source: tuple[str, ...]
    paths: tuple[str, ...]
    numbers: frozenset[str]
    each: str
    is_mapped: bool
    required: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    partition_column: str
    date_column: str
    key: tuple[str, ...]
    latest: str
    partitions: tuple[PartitionRequest, ...]

    @classmethod
    def of(
        cls, contract: SilverContract, partitions: tuple[PartitionRequest, ...]
    ) -> "TransformRequest":
        """The request to make partitions of a Silver table."""
        reading = reading_of(contract)
        is_mapped = bool(contract.bronze.mapping)
        return cls(
            dataset=contract.asset,
            statement=reading.statement,
            source=reading.columns,
            paths=reading.paths,
            numbers=reading.numbers,
            each=contract.bronze.each,
            is_mapped=is_mapped,
            required=() if is_mapped else contract.required,
            columns=contract.typed_columns,
            partition_column=contract.partition,
            date_column=contract.date,
            key=contract.key,
            latest=contract.latest,
            partitions=partitions,
        )

    @property
    def is_nested(self) -> bool:
        """Whether something is read that lies within another field, as no fast reader does."""
        return self.source != self.paths


@dataclass(frozen=True)
class DeriveRequest:
    """One Spark SQL statement over tables: the files of each that may hold rows of a date.

    The rows whose column `where[0]` is the date `where[1]` are written under `prefix`, as
    `columns`, the (name, type) pairs of the table that is made.
    """

    statement: str
    inputs: dict[str, list[str]]
    columns: tuple[tuple[str, str], ...]
    where: tuple[str, str]
    prefix: str


@dataclass
class PartitionReport:
    """What became of one partition: its ledger, in lines and rows, and its files.

    `records` are what its objects hold, and `lines` what they stand for: as many, but where a
    record stands for several rows. `skipped` are lines that a mapping leaves out. `lines` is
    counted apart from the judgement: by the producer where its manifest fits the
    object, else by the engine. `unknown` are the fields that the contract does not know, and how
    many lines have each. `run` is what an engine elsewhere says of its run. With `error` set the
    partition was not made.
    """

    key: str
    records: int = 0
    lines: int = 0
    rows: int = 0
    duplicates: int = 0
    quarantined: int = 0
    skipped: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    event_dates: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    quarantine_files: list[str] = field(default_factory=list)
    bytes: int = 0
    seconds: float = 0.0
    run: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def balanced(self) -> bool:
        """Whether every line is a row, a duplicate, quarantined or another dataset's."""
        return self.lines == self.rows + self.duplicates + self.quarantined + self.skipped


@dataclass
class QueryReport:
    """What a Gold statement left: its rows, its files, and the seconds that it took.

    `run` is what an engine elsewhere says of its run.
    """

    rows: int
    files: list[str]
    seconds: float
    run: dict[str, Any] = field(default_factory=dict)


def most_frequent(unknown: Mapping[str, int]) -> dict[str, int]:
    """The unknown fields that a report names."""
    ranked = sorted(unknown.items(), key=lambda item: (-item[1], item[0]))
    return dict(ranked[:UNKNOWN_MOST])


class Transformer(dg.ConfigurableResource[Any], ABC):
    """Runs Spark SQL: Silver's over Bronze objects, and Gold's that joins Silver tables."""

    @abstractmethod
    def transform(self, request: TransformRequest) -> Iterator[PartitionReport]:
        """Makes each partition's files and yields its report, one bad one not stopping others."""

    @abstractmethod
    def derive(self, request: DeriveRequest) -> QueryReport:
        """Makes one partition of a Gold table. Raises QueryError with one clear line."""


class Querier(dg.ConfigurableResource[Any], ABC):
    """Runs Athena SQL over the lake's tables."""

    @abstractmethod
    def unload(
        self,
        statement: str,
        columns: Sequence[tuple[str, str]],
        where: tuple[str, str],
        to: str,
        version: str,
    ) -> QueryReport:
        """Writes the statement's rows whose column `where[0]` is the date `where[1]` under `to`.

        `version` stands for the rows that it reads. Raises QueryError with one clear line.
        """

    @abstractmethod
    def fetch(
        self, statement: str, day: str | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of a query. Raises QueryError with one clear line.

        `day` says that only rows of this event date matter, so that no others need be read.
        """
