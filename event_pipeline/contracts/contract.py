"""What a contract is: one class for each kind of table, each checked when it is made."""

import hashlib
import re
from abc import ABC
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from event_pipeline.bronze import EVENTS
from event_pipeline.contracts.columns import NAME, TYPE_CHOICES, Column, is_type
from event_pipeline.contracts.layout import Layout
from event_pipeline.contracts.patterns import PATTERNS, unknown_patterns, with_patterns
from event_pipeline.errors import ContractError
from event_pipeline.jobs import QUARANTINE
from event_pipeline.partitions import DAILY, HOURLY, Cadence

SQL = Path(__file__).parents[1] / "sql"
# Reasons that the engines give by themselves.
ENGINE_RULES = {
    "malformed_json": "The line is not one JSON object.",
    "object_unreadable": "The whole object cannot be read; the line holds the error.",
    "conflict": "Another line with the same key is later, or as late and greater.",
}
MISSING = "_missing"
LAYERS = ("silver", "quarantine", "gold")
ANY_NAME = r"(.*/)?[^/_.][^/]*"
LAYOUTS = {
    HOURLY: "year={yyyy}/month={MM}/day={dd}/hour={HH}/",
    DAILY: "date={yyyy}-{MM}-{dd}/",
}
# Fields that a line may have: what JSON allows and every engine can name.
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True)
class Bronze:
    """Where a dataset's objects lie: their asset, and a prefix from the lake's root or `root`.

    `layout` is the template of the objects' paths under the prefix (see `layout.Layout`); by
    default the pipeline's own. `names` is the pattern that an object's whole name under its
    partition's folder must match; by default, any name that does not begin with _ or a dot, which
    by custom are no data. Datasets may share a prefix. `uploaded` files come from outside, and each
    is judged as a whole before it is read; `expected` is the name that a person is told to use.

    Records in another layout than the dataset's need a `mapping`: a file under `sql` with one
    SELECT FROM raw that gives the dataset's source fields. If a record stands for several rows,
    `each` is the path of their array: every element, put in the array's place, is a row.

    `produced` objects are written by the pipeline's own producer; on AWS, that is its Lambda.
    """

    asset: str
    prefix: str
    names: str = ANY_NAME
    expected: str = ""
    layout: str = ""
    uploaded: bool = False
    mapping: str = ""
    each: str = ""
    root: str = ""
    produced: bool = False

    @property
    def place(self) -> tuple[str, str]:
        """The root and the prefix, by which datasets that lie together are told."""
        return self.root, self.prefix

    @property
    def mapping_path(self) -> Path:
        """The file of the mapping, if there is one."""
        return SQL / self.mapping

    def mistakes(self) -> Iterator[str]:
        """What is wrong with the declaration, one line each."""
        if not re.fullmatch(rf"bronze/{NAME.pattern}", self.asset, re.ASCII):
            yield f"bronze.asset {self.asset!r}: must be bronze/<name>, for example bronze/events"
        if not re.fullmatch(r"([^/]+/)+", self.prefix):
            yield f"bronze.prefix {self.prefix!r}: must be folders, each ending with /"
        first, second, *_ = self.prefix.split("/")
        if first in LAYERS or (first == "bronze" and second.startswith("_")):
            yield f"bronze.prefix {self.prefix!r}: is reserved for the pipeline's own objects"
        if self.prefix == "bronze/":
            yield f"bronze.prefix {self.prefix!r}: must be a folder in it, such as bronze/events/"
        try:
            fits = re.fullmatch(self.names, self.expected, re.ASCII)
        except re.error as error:
            yield f"bronze.names {self.names!r}: is not a regular expression: {error}"
        else:
            if not fits and (self.expected or self.names != ANY_NAME):
                yield f"bronze.expected {self.expected!r}: does not match names {self.names!r}"
        if self.mapping and not self.mapping_path.is_file():
            yield f"bronze.mapping {self.mapping!r}: there is no file {self.mapping_path}"
        if self.root and not re.fullmatch(r"s3://[^/]+|/.*[^/]", self.root):
            yield f"bronze.root {self.root!r}: must be s3://bucket, or a folder from / on"
        own = self.prefix == EVENTS and not (self.root or self.layout or self.mapping)
        if self.produced and not own:
            yield f"bronze.produced: the producer writes only to {EVENTS}, in its own layout"
        if self.each and not self.mapping:
            yield "bronze.each: needs a mapping, which turns each element into a row"


@dataclass(frozen=True)
class Total:
    """A promise of conservation: a Gold column's sum over a day equals an aggregate of Silver.

    `column` is Gold's, and `silver` the aggregate in SQL. `of` is the Silver table, by default the
    first input. With `by`, a column of both tables, the sums are equal for each of its values. With
    `exact` false, the Gold table is a top list, and its sum may be less but never more.
    """

    column: str
    silver: str
    of: "SilverContract | None" = None
    by: str = ""
    exact: bool = True


@dataclass(frozen=True, kw_only=True)
class Contract(ABC):
    """One table: its asset, what it holds, and its columns in order.

    `partition` names the column that holds the partition's value, the same in every row.
    `order_by` is the order in which a person reads the table. `personal` names the columns that
    identify a person or hold a person's own words; this does not change the rows.

    Raises ContractError, when it is made, with one line that says which field of which contract
    is wrong and what it may be.
    """

    asset: str
    description: str
    columns: tuple[Column, ...]
    partition: str
    order_by: str
    personal: tuple[str, ...] = ()

    layer: ClassVar[str]
    partition_types: ClassVar[tuple[str, ...]] = ("timestamp", "date")

    def __post_init__(self) -> None:
        for mistake in self._mistakes():
            raise ContractError(self.asset, mistake)

    def _mistakes(self) -> Iterator[str]:
        """What is wrong with the contract, one line each; later checks rely on earlier ones."""
        if not re.fullmatch(rf"{self.layer}/{NAME.pattern}", self.asset, re.ASCII):
            yield (
                f"asset {self.asset!r}: a {type(self).__name__} must be named {self.layer}/<name>,"
                " the name in lower case, digits and _"
            )
        yield from _column_mistakes(self.columns)
        yield from self._not_columns("partition", self.partition)
        if (kind := self.types[self.partition]) not in self.partition_types:
            choices = " or ".join(self.partition_types)
            yield f"partition {self.partition!r}: is a {kind}, but must be a {choices}"
        for term in self.order_by.split(", "):
            name, *direction = term.split(" ")
            if direction not in ([], ["ASC"], ["DESC"]):
                yield f"order_by {term!r}: must be a column, with ASC or DESC after it or nothing"
            yield from self._not_columns("order_by", name)
        yield from self._not_columns("personal", *self.personal)

    def __hash__(self) -> int:
        # A hash of all fields takes longer than to list an object.
        return hash(self.asset)

    def _not_columns(self, field: str, *names: str) -> Iterator[str]:
        return _not_among(field, names, self.column_names, "a column")

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

    @cached_property
    def types(self) -> dict[str, str]:
        """The type of each column, by its name."""
        return dict(self.typed_columns)

    @cached_property
    def cadence(self) -> Cadence:
        """How often the table has a partition, by the type of its partition column."""
        return HOURLY if self.types[self.partition] == "timestamp" else DAILY

    @property
    def select_all(self) -> str:
        """A query of the whole table, in the order in which a person reads it."""
        return f"SELECT {', '.join(self.column_names)} FROM {self.table} ORDER BY {self.order_by}"


@dataclass(frozen=True, kw_only=True)
class MadeContract(Contract):
    """A table whose rows are made by a statement: the file `statement` under `sql`."""

    __hash__ = Contract.__hash__  # which dataclasses do not inherit

    statement: str

    def _mistakes(self) -> Iterator[str]:
        yield from super()._mistakes()
        yield from _file_mistakes("statement", self.statement)

    @property
    def sql_path(self) -> Path:
        """The file of the statement."""
        return SQL / self.statement

    @cached_property
    def sql(self) -> str:
        """Text of the statement, in its dialect, with the patterns that it names in place."""
        return with_patterns(self.sql_path.read_text())

    @cached_property
    def version(self) -> str:
        """Fingerprint of the contract and its statement; if it changes, rows are judged anew."""
        parts = (self.columns, self.partition, *self._fingerprint_parts(), self.sql)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]

    def _fingerprint_parts(self) -> tuple[object, ...]:
        """Further parts of the contract that decide which rows there are."""
        return (), [], (), ""


@dataclass(frozen=True, kw_only=True)
class SilverContract(MadeContract):
    """A table of typed, judged rows, made of Bronze by a statement in Spark's SQL.

    `bronze` is where its lines come from, and `source` lists the raw fields of a line, which are
    read as text. `rules` maps each reason for which the statement may refuse a row to its meaning;
    a rule `<field>_missing` means that a row must have the field. `key` are the columns that
    identify a row, each of which is also a raw field; of rows with the same key, the one with the
    greatest `latest` is kept. Without a key, equal lines are one row. `date` is the column by whose
    dates Gold is made.
    """

    __hash__ = Contract.__hash__  # which dataclasses do not inherit

    bronze: Bronze
    source: tuple[str, ...]
    rules: dict[str, str] = field(hash=False)
    date: str
    key: tuple[str, ...] = ()
    latest: str = ""

    layer = "silver"

    def _mistakes(self) -> Iterator[str]:
        yield from super()._mistakes()
        yield from self.bronze.mistakes()
        for mistake in self.layout.mistakes():
            yield f"bronze.layout {self.layout.template!r}: {mistake}"
        if self.bronze.uploaded and self.cadence is not DAILY:
            yield "bronze.uploaded: only a daily table can have uploaded files"
        if not self.source:
            yield "source: must name the fields of a line"
        for name in self.source:
            if not _FIELD.fullmatch(name):
                yield f"source {name!r}: must be letters, digits and _"
        yield from _named_twice("source", (name.lower() for name in self.source))
        yield from self._not_columns("date", self.date)
        if (kind := self.types[self.date]) != "date":
            yield f"date {self.date!r}: is a {kind}, but must be a date"
        if bool(self.key) != bool(self.latest):
            given, absent = ("key", "latest") if self.key else ("latest", "key")
            yield f"{given}: has no effect without {absent}"
        for name, columns in {
            "key": self.key,
            "latest": (self.latest,) if self.key else (),
        }.items():
            yield from self._not_columns(name, *columns)
            yield from _not_among(name, columns, self.source, "a field of source")
        yield from _named_twice("key", self.key)
        yield from self._rule_mistakes()

    def _rule_mistakes(self) -> Iterator[str]:
        for rule in self.rules:
            if not NAME.fullmatch(rule):
                yield f"rules {rule!r}: must be lower case, digits and _"
            if rule in ENGINE_RULES:
                yield f"rules {rule!r}: is reserved for the engines"
            if rule.endswith(MISSING):
                fields = (rule.removesuffix(MISSING),)
                yield from _not_among(f"rules {rule!r}:", fields, self.source, "a field of source")

    @cached_property
    def layout(self) -> Layout:
        """Where the objects of each partition lie, under the prefix."""
        return Layout(self.bronze.layout or LAYOUTS[self.cadence], self.cadence)

    @property
    def required(self) -> tuple[str, ...]:
        """The raw fields that a row must have: those with a rule `<field>_missing`."""
        return tuple(name for name in self.source if f"{name}{MISSING}" in self.rules)

    def meaning(self, reason: str) -> str:
        """What a reason for refusing a line means; empty if there is no such reason."""
        return self.rules.get(reason) or ENGINE_RULES.get(reason, "")

    @property
    def is_dated_by_partition(self) -> bool:
        """Whether all rows of a partition have its date, as in a drop, not dates of their own."""
        return self.date == self.partition

    @cached_property
    def quarantine(self) -> "QuarantineContract":
        """Contract of the table that keeps the lines which this one refuses."""
        return QuarantineContract(
            asset=self.asset.replace("silver/", "quarantine/"),
            description=f"Lines that `{self.table}` refuses: why, from where, and their text.",
            columns=(
                *(Column(name, "string", meaning) for name, meaning in QUARANTINE.items()),
                next(column for column in self.columns if column.name == self.partition),
            ),
            partition=self.partition,
            order_by=f"{self.partition}, reasons, line",
            personal=("line",) if self.personal else (),
        )

    @property
    def mapping_sql(self) -> str:
        """Text of the mapping; empty if the lines have the dataset's own fields."""
        return self.bronze.mapping_path.read_text() if self.bronze.mapping else ""

    def _fingerprint_parts(self) -> tuple[object, ...]:
        mapped = ((self.mapping_sql, self.bronze.each),) if self.bronze.mapping else ()
        return self.source, sorted(self.rules), self.key, self.latest, *mapped


@dataclass(frozen=True, kw_only=True)
class QuarantineContract(Contract):
    """The lines that a Silver table refuses; made with it, by the same statement."""

    __hash__ = Contract.__hash__  # which dataclasses do not inherit

    layer = "quarantine"


@dataclass(frozen=True, kw_only=True)
class RollUpContract(MadeContract):
    """What Gold needs of each partition of the Silver table `of`, in few rows; made with it.

    Its statement, in Spark's SQL, reads the Silver table and sees one partition of it; the engines
    add the partition column, which is Silver's. Its rows must merge: what a Gold statement makes of
    the rows of several partitions is what it would make of all of Silver's rows. The table has the
    column by whose dates Gold is made.
    """

    __hash__ = Contract.__hash__  # which dataclasses do not inherit

    of: SilverContract

    layer = "silver"

    def _mistakes(self) -> Iterator[str]:
        yield from super()._mistakes()
        for name in (self.of.partition, self.of.date):
            yield from self._not_columns("columns: of Silver's", name)
            if self.types[name] != self.of.types[name]:
                yield f"columns {name!r}: must be a {self.of.types[name]}, as in {self.of.table}"
        if self.partition != self.of.partition:
            own = f"{self.of.partition}, as in {self.of.table}"
            yield f"partition {self.partition!r}: must be {own}"

    @property
    def date(self) -> str:
        """The column by whose dates Gold is made."""
        return self.of.date

    def _fingerprint_parts(self) -> tuple[object, ...]:
        return (self.of.version,)


@dataclass(frozen=True, kw_only=True)
class GoldContract(MadeContract):
    """A table that answers a question, made of Silver tables, by event date or day of a drop.

    `dialect` is that of its statement: the Querier runs Athena's, the Transformer Spark's.
    `inputs` are the tables that it is made of, and `totals` what must reconcile with them. `chart`
    is the label and value columns of its chart; None for a table with one row a day, whose numbers
    are the chart. Rows without a value in the column `unattributed` are shown apart.

    `rolled` is a second statement, in the same dialect, that gives the same rows from `roll_ups`.
    It is used for a date if the roll-ups were made with every Silver partition that has the date.
    What the table holds is said by `statement` alone, and so the fingerprint is of that.
    """

    __hash__ = Contract.__hash__  # which dataclasses do not inherit

    inputs: tuple[SilverContract, ...]
    dialect: Literal["spark", "athena"] = "spark"
    totals: tuple[Total, ...] = ()
    chart: tuple[str, str] | None = None
    unattributed: str = ""
    rolled: str = ""
    roll_ups: tuple[RollUpContract, ...] = ()

    layer = "gold"
    partition_types = ("date",)

    def _mistakes(self) -> Iterator[str]:
        yield from super()._mistakes()
        if self.dialect not in ("spark", "athena"):
            yield f"dialect {self.dialect!r}: must be spark or athena"
        if not self.inputs:
            yield "inputs: must name the Silver tables that it is built from"
        for each in self.inputs:
            if not isinstance(each, SilverContract):
                yield f"inputs: {getattr(each, 'table', each)!s} is not a Silver table"
        yield from _named_twice("inputs", (each.table for each in self.inputs))
        if self.chart is not None:
            yield from self._not_columns("chart", *self.chart)
            if not _is_numeric(self, self.chart[1]):
                yield f"chart {self.chart[1]!r}: its value must be a number"
        if self.unattributed:
            yield from self._not_columns("unattributed", self.unattributed)
        for total in self.totals:
            yield from self._total_mistakes(total)
        yield from self._roll_up_mistakes()

    def _roll_up_mistakes(self) -> Iterator[str]:
        if bool(self.rolled) != bool(self.roll_ups):
            given, absent = ("rolled", "roll_ups") if self.rolled else ("roll_ups", "rolled")
            yield f"{given}: means nothing without {absent}"
        if self.rolled:
            yield from _file_mistakes("rolled", self.rolled)
        for each in self.roll_ups:
            if (each.of,) != self.inputs:
                yield f"roll_ups: {each.table} is of {each.of.table}, which must be the only input"

    @property
    def rolled_path(self) -> Path:
        """The file of the statement over roll-ups, if there is one."""
        return SQL / self.rolled

    @cached_property
    def rolled_sql(self) -> str:
        """Text of the statement over roll-ups; empty if there is none."""
        return with_patterns(self.rolled_path.read_text()) if self.rolled else ""

    def _total_mistakes(self, total: Total) -> Iterator[str]:
        yield from self._not_columns("totals.column", total.column)
        if not _is_numeric(self, total.column):
            yield f"totals.column {total.column!r}: must be a number"
        of = total.of or self.inputs[0]
        if of not in self.inputs:
            names = ", ".join(each.table for each in self.inputs)
            yield f"totals.of {of.table}: is not one of inputs: {names}"
        if total.by:
            yield from self._not_columns("totals.by", total.by)
            yield from _not_among("totals.by", (total.by,), of.column_names, f"in {of.table}")

    @property
    def awaited(self) -> tuple[SilverContract, ...]:
        """The inputs whose drop must be complete before a day is made; none for a single input.

        Rows of other inputs may come at any time, and there may be none.
        """
        if len(self.inputs) == 1:
            return ()
        return tuple(each for each in self.inputs if each.is_dated_by_partition)


def _file_mistakes(field: str, name: str) -> Iterator[str]:
    """What is wrong with the file of a statement, before its SQL is looked at."""
    path = SQL / name
    if not path.is_file():
        yield f"{field} {name!r}: there is no file {path}"
        return
    for pattern in unknown_patterns(path.read_text()):
        choices = ", ".join(PATTERNS)
        yield f"{field}: ${{{pattern}}} is not a known pattern; choose from {choices}"


def _column_mistakes(columns: Collection[Column]) -> Iterator[str]:
    if not columns:
        yield "columns: must not be empty"
    for column in columns:
        if not NAME.fullmatch(column.name):
            yield f"columns {column.name!r}: must be lower case, digits and _"
        if not is_type(column.type):
            yield f"columns {column.name!r}: there is no type {column.type!r}; {TYPE_CHOICES}"
    yield from _named_twice("columns", (column.name for column in columns))


def _not_among(
    field: str, names: Collection[str], choices: Collection[str], what: str
) -> Iterator[str]:
    for name in names:
        if name not in choices:
            yield f"{field} {name!r}: is not {what}; choose from {', '.join(choices)}"


def _named_twice(field: str, names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"{field} {name!r}: is named twice"
        seen.add(name)


def _is_numeric(contract: Contract, name: str) -> bool:
    return next(column for column in contract.columns if column.name == name).is_numeric
