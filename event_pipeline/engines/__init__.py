"""Engines make Silver from Bronze, and Gold from Silver.

A Transformer takes a plain, serializable request and returns a report. A Querier runs Athena SQL
over the lake's tables. Neither publishes: both leave Parquet files under a fresh prefix.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from event_pipeline.contracts import SilverContract, roll_ups_of, sums_of
from event_pipeline.jobs import MAX_UNKNOWN_FIELDS
from event_pipeline.lake.objects import Source

# Exceptions by which Dagster or the user interrupts a step; remote work must then be cancelled.
INTERRUPTS = (KeyboardInterrupt, dg.DagsterExecutionInterruptedError)

# The embedded engine, as a person calls it.
EMBEDDED = "DuckDB"


@dataclass(frozen=True)
class PartitionRequest:
    """One partition to make.

    `value` is what its rows have in the partition column, and `sources` are its Bronze objects.
    `digest` identifies the versions of all those objects. Files of rows go under `rows_prefix`,
    those of quarantine under `quarantine_prefix`, those of each roll-up (by table) under its own of
    `roll_up_prefixes`.
    """

    key: str
    value: str
    digest: str
    sources: tuple[Source, ...]
    rows_prefix: str
    quarantine_prefix: str
    roll_up_prefixes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RollUp:
    """A table to make of a partition's rows: its name, its Spark SQL, and (name, type) pairs.

    The statement reads the Silver table. The engine adds the partition column.
    """

    table: str
    statement: str
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class TransformRequest:
    """One statement over one or many partitions.

    `dataset` is the table's asset. `source` lists the columns of the view `raw`, and `paths` where
    each of them lies in a record. A line without one of the columns `required` makes no row. The
    columns `numbers` are used as numbers only. `each` is the path of an array if every element of
    it makes a row, and empty if a record makes one row. `is_mapped` says that the statement chooses
    among the fields of records, so that the others are not reported as unknown.

    `columns` are the table's (name, type) pairs, in order. `partition_column` is the column that
    holds each partition's value, and `date_column` the one by whose dates rows are counted.

    If several rows have the same `key` columns, the table keeps the one with the greatest `latest`,
    then with the greatest content, and quarantines the others as `conflict`. Without a key, the
    table keeps one of each set of lines with equal text.

    Of the rows that the table keeps, the `roll_ups` are made, and the aggregates `sums` (Athena
    SQL) are computed for each date.
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
    roll_ups: tuple[RollUp, ...] = ()
    sums: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, contract: SilverContract, partitions: tuple[PartitionRequest, ...]
    ) -> "TransformRequest":
        """The request to make partitions of a Silver table."""
        from event_pipeline.contracts.mapping import reading_of  # SQLGlot is slow to import

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
            roll_ups=tuple(
                RollUp(each.table, each.sql, each.typed_columns) for each in roll_ups_of(contract)
            ),
            sums=sums_of(contract),
        )

    @property
    def table(self) -> str:
        """The table's name in SQL."""
        return self.dataset.replace("/", ".")

    @property
    def is_nested(self) -> bool:
        """Whether a field lies within another one, where no fast reader finds it."""
        return self.source != self.paths


@dataclass(frozen=True)
class DeriveRequest:
    """One Spark SQL statement over tables, and the date whose rows are wanted.

    `inputs` has, by table, the files that may hold rows of the date. The statement's rows whose
    column `where[0]` is the date `where[1]` (YYYY-MM-DD) are written under `prefix`. `columns` are
    the (name, type) pairs of the table that is made. `bytes` is the size of all input files.
    """

    statement: str
    inputs: dict[str, list[str]]
    columns: tuple[tuple[str, str], ...]
    where: tuple[str, str]
    prefix: str
    bytes: int = 0


@dataclass
class PartitionReport:
    """What became of one partition: its ledger, in lines and rows, and its files.

    `records` counts the records in its objects. `lines` counts the same, except that a record that
    makes several rows counts as that many lines. It does not depend on the judgement: it comes from
    the producer's manifest if that fits the object, else the engine counts. `skipped` counts lines
    that a mapping leaves out.

    `rejected` counts lines by reason, `event_dates` rows by date (YYYY-MM-DD), and `unknown` lines
    by field that the contract does not know. `sums` has, by date, the value of each aggregate that
    was asked for, as text; null if it has none. `roll_up_files` are the files of each roll-up, by
    table. `bytes` is the size of the Bronze objects. `run` is
    what a remote engine says about its run. If `error` is set, the partition was not made.
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
    roll_up_files: dict[str, list[str]] = field(default_factory=dict)
    sums: dict[str, dict[str, str | None]] = field(default_factory=dict)
    bytes: int = 0
    seconds: float = 0.0
    run: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def balanced(self) -> bool:
        """Whether every line is a row, a duplicate, quarantined or skipped."""
        return self.lines == self.rows + self.duplicates + self.quarantined + self.skipped


@dataclass
class QueryReport:
    """What a Gold statement wrote: how many rows, which files, and in how many seconds.

    `run` is what a remote engine says about its run.
    """

    rows: int
    files: list[str]
    seconds: float
    run: dict[str, Any] = field(default_factory=dict)


def told(engine: str, why: str) -> dict[str, str]:
    """What `run` says of the engine that was chosen, and why; the keys are labels in the UI."""
    return {"engine": engine, "why_this_engine": why}


def most_frequent(unknown: Mapping[str, int]) -> dict[str, int]:
    """The unknown fields that a report names, with their counts, the most frequent first."""
    ranked = sorted(unknown.items(), key=lambda item: (-item[1], item[0]))
    return dict(ranked[:MAX_UNKNOWN_FIELDS])


class Transformer(dg.ConfigurableResource[Any], ABC):
    """Runs Spark SQL: Silver statements over Bronze, and the Gold statement that joins Silver."""

    @property
    @abstractmethod
    def engine(self) -> str:
        """What a person calls it."""

    @abstractmethod
    def transform(self, request: TransformRequest) -> Iterator[PartitionReport]:
        """Makes each partition's files and yields its report.

        A partition that fails does not stop the others: its report has an `error`.
        """

    @abstractmethod
    def derive(self, request: DeriveRequest) -> QueryReport:
        """Makes one partition of a Gold table. Raises QueryError with one clear line."""


class Querier(dg.ConfigurableResource[Any], ABC):
    """Runs Athena SQL over the lake's tables."""

    @property
    @abstractmethod
    def engine(self) -> str:
        """What a person calls it."""

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

        `columns` are the (name, type) pairs of the files. `version` identifies the rows that the
        statement reads. Raises QueryError with one clear line.
        """

    @abstractmethod
    def fetch(
        self, statement: str, day: str | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of a query. Raises QueryError with one clear line.

        `day` (YYYY-MM-DD) says that only rows of this event date matter, so the engine may skip
        all others.
        """
