"""What a contract is. Types are Iceberg's names, which DuckDB, Spark and Athena share:
`string`, `int`, `long`, `double`, `date`, `timestamp` (microseconds, UTC, without zone),
`decimal(p, s)`.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from event_pipeline.contracts.placeholders import PLACEHOLDER
from event_pipeline.partitions import DAILY, HOURLY, Cadence

SQL = Path(__file__).parents[1] / "sql"


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    type: str
    description: str


@dataclass(frozen=True)
class Bronze:
    """Where a dataset's objects lie: their asset, and a prefix from the lake's root.

    `names` is the pattern that an object's whole name under its partition's folder must match.
    Datasets may share a prefix. `uploaded` files come from outside, and each is judged as a
    whole before it is read; `expected` is what a person is told to call one.
    """

    asset: str
    prefix: str
    names: str
    uploaded: bool = False
    expected: str = ""


@dataclass(frozen=True)
class Total:
    """A promise of conservation: a Gold column's sum over a day equals an aggregate of Silver.

    `of` is the Silver table, by default the first input. With `by`, a column of both tables, the
    sums are equal for each of its values. With `all_of_it` false the Gold table is a top list,
    and its sum may be less but never more.
    """

    column: str
    silver: str
    of: "Contract | None" = None
    by: str = ""
    all_of_it: bool = True


@dataclass(frozen=True)
class Contract:
    """One table: its asset, its columns in order, and the statement that makes its rows.

    `partition` names the column that holds the partition's value, the same in every row; `date`
    the column of Silver by whose dates Gold is made. A `dialect` other than Spark's is the
    Querier's.

    Of Silver: `bronze` is where its lines come from, `source` lists the raw fields of a line,
    read as text, and `rules` maps each reason for which the statement may refuse a row to its
    meaning. `key` are the columns that identify a row, each a raw field too; of rows with the
    same key the one with the greatest `latest` is kept. Without a key, equal lines are one row.

    Of Gold: `inputs` are the tables that it is made of, `totals` what must reconcile with them,
    `chart` the label and value columns of its chart (none: the table has one row a day, and its
    numbers are the chart). Rows without a value in the column `unattributed` are shown apart.

    `order_by` is the order in which a person reads the table.
    """

    asset: str
    description: str
    columns: tuple[Column, ...]
    partition: str
    order_by: str
    statement: str | None = None
    dialect: Literal["spark", "athena"] = "spark"
    date: str = ""
    bronze: Bronze | None = None
    source: tuple[str, ...] = ()
    rules: dict[str, str] = field(default_factory=dict, hash=False)
    key: tuple[str, ...] = ()
    latest: str = ""
    inputs: tuple["Contract", ...] = ()
    totals: tuple[Total, ...] = ()
    chart: tuple[str, str] | None = None
    unattributed: str = ""

    @property
    def identifier(self) -> tuple[str, str]:
        """(namespace, table) in the catalog: `silver/events` is the table `silver.events`."""
        namespace, name = self.asset.split("/")
        return namespace, name

    @property
    def table(self) -> str:
        """Name in SQL: `silver.events`."""
        return ".".join(self.identifier)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def typed_columns(self) -> tuple[tuple[str, str], ...]:
        """The (name, type) pairs of the columns, in order."""
        return tuple((column.name, column.type) for column in self.columns)

    @property
    def required(self) -> tuple[str, ...]:
        """The raw fields whose absence is a rule that a row breaks."""
        return tuple(name for name in self.source if f"{name}_missing" in self.rules)

    @property
    def cadence(self) -> Cadence:
        """How often the table has a partition, by the type of its partition column."""
        return HOURLY if dict(self.typed_columns)[self.partition] == "timestamp" else DAILY

    @property
    def is_join(self) -> bool:
        """Whether the table needs all of several inputs, and not just what one of them has."""
        return len(self.inputs) > 1

    @property
    def select_all(self) -> str:
        """A query of the whole table, in the order in which a person reads it."""
        return f"SELECT {', '.join(self.column_names)} FROM {self.table} ORDER BY {self.order_by}"

    @cached_property
    def sql(self) -> str:
        """Text of the statement, in its dialect, `${PLACEHOLDER}` being what no id may be."""
        if self.statement is None:
            raise ValueError(f"{self.asset} is not made by a statement")
        return (SQL / self.statement).read_text().replace("${PLACEHOLDER}", PLACEHOLDER)

    @cached_property
    def version(self) -> str:
        """Fingerprint of the contract and its statement; another one means judging anew."""
        parts = (
            self.columns,
            self.partition,
            self.source,
            sorted(self.rules),
            self.key,
            self.latest,
            self.sql,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]

    def quarantine(self) -> "Contract":
        """Contract of the table that keeps the lines which this one refuses."""
        return Contract(
            asset=self.asset.replace("silver/", "quarantine/"),
            description=f"Lines that `{self.table}` refuses: why, from where, and their text.",
            columns=(
                Column("reasons", "string", "Rules that the line breaks, joined by commas."),
                Column("line", "string", "The line as it was received."),
                Column("source_object", "string", "Bronze object that holds the line."),
                next(column for column in self.columns if column.name == self.partition),
            ),
            partition=self.partition,
            order_by=f"{self.partition}, reasons, line",
        )


# Reasons that the engines give by themselves.
ENGINE_RULES = {
    "malformed_json": "The line is not one JSON object.",
    "object_unreadable": "The whole object cannot be read; the line holds the error.",
    "conflict": "Another line with the same key is later, or as late and greater.",
}
