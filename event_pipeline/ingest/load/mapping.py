"""The mapping: one SELECT over the table `input` that gives the fields of a dataset's records.

It can read only `input` and the tables that are named beside it: the connection has no access to
files. So everything that a load was made of is known.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from event_pipeline.engines import TransformRequest
from event_pipeline.engines.duckdb.session import connect, literal, parquet
from event_pipeline.errors import LoadError, first_line
from event_pipeline.settings import Settings

INPUT = "input"
# The share of the engine's memory that a mapping may use. This process needs the rest.
SHARE_OF_MEMORY = 0.5
NESTED = ("STRUCT", "MAP", "UNION", "JSON", "VARIANT")
# A JSON number. Every reader holds it exactly if it has at most DIGITS digits; a longer one is kept
# as text.
NUMBER = r"^-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][-+]?[0-9]+)?$"
DIGITS = 15


@dataclass(frozen=True)
class Mapped:
    """The columns that a mapping gives: DuckDB's types by name, in lower case."""

    columns: dict[str, str]

    def text(self, name: str) -> str:
        """An SQL expression for a column's value as text."""
        column, kind = f'm."{name}"', self.columns[name]
        nested = kind.startswith(NESTED) or kind.endswith("]")
        return f"CAST({f'to_json({column})' if nested else column} AS VARCHAR)"


def read_mapping(path: Path) -> str:
    """The text of a mapping. Raises LoadError if it is not one SELECT."""
    try:
        sql = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise LoadError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"{path}: {first_line(error)}") from None
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise LoadError(f"{path.name}: {first_line(error)}") from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise LoadError(f"{path.name}: the mapping must be one SELECT ... FROM input")
    return sql


@contextmanager
def mapping_session(
    settings: Settings, tables: Mapping[str, Sequence[str]], scratch: Path
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with a view of each table's Parquet files, and no access outside `scratch`."""
    memory = int(settings.memory_mb * SHARE_OF_MEMORY)
    with connect(memory, settings.threads, str(scratch), database=f"{scratch}/load.db") as opened:
        # The rows of a file have an order, and a mapping may number them by it.
        opened.execute("SET preserve_insertion_order=true")
        opened.execute("SET enable_progress_bar=false")  # this command shows its own
        opened.execute("SET integer_division=false")
        opened.execute(f"SET allowed_directories=[{literal(str(scratch))}]")
        opened.execute("SET enable_external_access=false")
        for name, files in tables.items():
            opened.execute(f'CREATE VIEW "{name}" AS SELECT * FROM {parquet(files, by_name=True)}')
        yield opened


def map_records(
    connection: duckdb.DuckDBPyConnection, sql: str, request: TransformRequest, day: str | None
) -> None:
    """Makes the table `mapped`: each record's `line`, and the text of its column `day` as `day`.

    Fields are written as texts. A number in a numeric field stays a JSON number if it loses no
    digit by that. Raises LoadError for a mapping that does not fit the dataset.
    """
    try:
        connection.execute(f"CREATE TEMP VIEW mapping AS {sql}")
        # DuckDB keeps the input's spelling of a column that is only renamed to another case.
        described = connection.execute("DESCRIBE mapping").fetchall()
        mapped = Mapped({name.lower(): str(kind) for name, kind, *_ in described})
        _check_columns(mapped, request.source, day)
        day_text = mapped.text(day.lower()) if day else "''"
        connection.execute(
            f"CREATE TABLE mapped AS SELECT {_line(mapped, request)} AS line, {day_text} AS day"
            " FROM mapping AS m"
        )
    except duckdb.ConversionException as error:
        raise LoadError(f"the mapping: {first_line(error)}; try_cast gives null instead") from None
    except duckdb.Error as error:
        raise LoadError(f"the mapping: {first_line(error)}") from None


def _check_columns(mapped: Mapped, fields: Sequence[str], day: str | None) -> None:
    if day and day.lower() not in mapped.columns:
        raise LoadError(
            f"the mapping gives no column {day} with the day of the drop: add it to the SELECT; it"
            " is written only if it is a field"
        )
    extra = {day.lower()} if day else set()
    if unknown := sorted(set(mapped.columns) - set(fields) - extra):
        raise LoadError(
            f"the mapping gives {', '.join(unknown)}; the fields are: {', '.join(fields)}"
        )


def _line(mapped: Mapped, request: TransformRequest) -> str:
    """An SQL expression for a record's line, spelled as the project's own producers do."""
    pieces = []
    for n, name in enumerate(request.source):
        pieces.append(literal(f'{"{" if n == 0 else ", "}"{name}": '))
        pieces.append(_value(mapped, name, is_number=name in request.numbers))
    return f"concat({', '.join(pieces)}, '}}')"


def _value(mapped: Mapped, name: str, *, is_number: bool) -> str:
    if name not in mapped.columns:
        return "'null'"
    text = mapped.text(name)
    quoted = f"coalesce(CAST(to_json({text}) AS VARCHAR), 'null')"
    if not is_number:
        return quoted
    is_short = f"length(regexp_replace({text}, '[^0-9]', '', 'g')) <= {DIGITS}"
    return (
        f"CASE WHEN regexp_matches({text}, {literal(NUMBER)}) AND {is_short} THEN {text}"
        f" ELSE {quoted} END"
    )


def expression_of(sql: str, name: str) -> str | None:
    """The expression that gives a field in a mapping; None if none has its name, as with `*`.

    If the mapping cannot be parsed, the field's own name.
    """
    import sqlglot
    from sqlglot import exp

    try:
        query = sqlglot.parse_one(sql, read="duckdb")
    except sqlglot.errors.SqlglotError:
        return name
    found = query.find(exp.Select)
    for each in found.expressions if found else ():
        if each.alias_or_name.lower() == name:
            return re.sub(r"\s+", " ", each.unalias().sql(dialect="duckdb"))
    return None
