"""Bring your own files: any CSV, JSON or Parquet that DuckDB reads, mapped by one SELECT.

Rows go to Bronze as a dataset's raw fields. Events go to the 5-minute slot of their own time, or
all to one given arrival hour; an object's name carries a digest of file and mapping, and objects
are written once. A dataset of drops goes to its one file in a given drop. Loading the same file
again changes nothing, and a load that was cut short is completed.
"""

import gzip
import hashlib
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from event_pipeline.contracts import EVENTS, Contract
from event_pipeline.errors import LoadError, first_line
from event_pipeline.ingest.generator import SLOT
from event_pipeline.ingest.handler import object_key, open_store, write_once
from event_pipeline.lake.objects import Objects, bronze_of
from event_pipeline.partitions import DAILY, HOURLY
from event_pipeline.settings import Settings

ROWS_AT_ONCE = 10_000
SHOWN_OF_A_ROW = 200


@dataclass
class Loaded:
    """What a load did. `unreadable` rows are (row number, text, reason), from 1."""

    rows: int = 0
    objects_written: int = 0
    objects_there: int = 0
    partitions: set[str] = field(default_factory=set)
    unreadable: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def span(self) -> str:
        """The first and the last partition that the rows lie in."""
        if not self.partitions:
            return "none"
        return " to ".join(sorted({min(self.partitions), max(self.partitions)}))


def load_events(settings: Settings, file: Path, mapping: Path, arrival_hour: str | None) -> Loaded:
    """Loads a file of events into the settings' lake. Raises LoadError with one clear line."""
    given = _given_hour(arrival_hour)
    with _mapped(file, mapping, EVENTS) as (connection, loaded, digest):
        _give_slots(connection, given)
        _check_hours(connection, settings)
        store = open_store(settings.root)
        for slot, lines in _slots(connection):
            key = object_key(slot).replace(".jsonl.gz", f"-{digest}.jsonl.gz")
            data = _compressed(lines)
            about = {"loaded_from": file.name}
            entry = write_once(store, key, slot, data, lines=len(lines), about=about)
            loaded.rows += len(lines)
            loaded.partitions.add(HOURLY.key(slot))
            loaded.objects_written += entry is not None
            loaded.objects_there += entry is None
    return loaded


def load_drop(
    settings: Settings,
    file: Path,
    mapping: Path,
    *,
    contract: Contract,
    drop: str,
    replace: bool = False,
) -> Loaded:
    """Loads a file as one dataset of a drop (YYYY-MM-DD) into the settings' lake.

    A file of other content that is there is left alone, unless `replace` is set. Raises LoadError
    with one clear line.
    """
    day = given_drop(settings, drop)
    bronze = bronze_of(contract)
    name = bronze.expected.removesuffix(".json") + ".jsonl.gz"
    key = f"{bronze.prefix}{DAILY.folder(drop)}{name}"
    objects, store = Objects(root=settings.root), open_store(settings.root)
    others = [o.name for o in objects.partition(contract, drop).objects if o.key != key]
    if others:
        raise LoadError(f"the drop {drop} has {', '.join(others)} already: remove it first")
    with _mapped(file, mapping, contract) as (connection, loaded, _):
        # A file has no order, and a mapping need not have one: the same file gives the same bytes.
        lines = [f"{line}\n" for _, line in _in_order(connection, "NULL", "line")]
    if not lines:
        raise LoadError(f"{file.name}: the mapping gives no rows")
    loaded.rows = len(lines)
    loaded.partitions.add(drop)
    data, found = _compressed(lines), store.read(key)
    if found is not None and found[0] == data:
        loaded.objects_there = 1
        return loaded
    if found is not None and not replace:
        raise LoadError(f"the drop {drop} has another {name}: give --replace")
    if found is None:
        write_once(store, key, day, data, lines=len(lines), about={"loaded_from": file.name})
    else:
        # Its manifest speaks of the old file, and so it counts no longer.
        store.put(key, data)
    loaded.objects_written = 1
    return loaded


def given_drop(settings: Settings, text: str) -> datetime:
    """The day of a drop (YYYY-MM-DD) that has a partition. Raises LoadError with one clear line."""
    try:
        day = DAILY.start(text)
    except ValueError:
        day = None
    if day is None or DAILY.key(day) != text:
        raise LoadError(f"drop {text}: expected a form like 2019-10-01")
    if day < settings.first_hour:
        raise LoadError(
            f"drop {text} is before the first partition: set EVENT_PIPELINE_FIRST_DAY={text}"
        )
    if day > datetime.now(UTC):
        raise LoadError(f"drop {text} is yet to come")
    return day


@contextmanager
def _mapped(
    file: Path, mapping: Path, contract: Contract
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Loaded, str]]:
    """A connection with the table `mapped`, what was found while reading, and a digest of both."""
    for path in (file, mapping):
        if not path.is_file():
            raise LoadError(f"{path}: no such file")
    sql = mapping.read_text()
    digest = hashlib.sha256(file.read_bytes() + sql.encode()).hexdigest()[:12]
    loaded = Loaded()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone='UTC'")
        try:
            _read(connection, file, loaded)
            _map(connection, sql, contract)
        except duckdb.Error as error:
            raise LoadError(first_line(error)) from None
        yield connection, loaded, digest


def _compressed(lines: Sequence[str]) -> bytes:
    return gzip.compress("".join(lines).encode(), 6, mtime=0)


def _given_hour(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return HOURLY.start(text)
    except ValueError:
        raise LoadError(f"--arrival-hour {text}: expected a form like 2019-10-01-02:00") from None


def _read(connection: duckdb.DuckDBPyConnection, file: Path, loaded: Loaded) -> None:
    """Makes the file the table `input`, its rows in order, and finds those that do not read."""
    kind = file.name.removesuffix(".gz").rsplit(".", 1)[-1].lower()
    path = str(file).replace("'", "''")
    if kind == "parquet":
        connection.execute(f"CREATE TABLE input AS SELECT * FROM read_parquet('{path}')")
    elif kind in ("csv", "tsv", "txt"):
        # As text: what a reader guesses to be a number loses its zeros.
        connection.execute(
            f"CREATE TABLE input AS SELECT * FROM read_csv('{path}', all_varchar=true,"
            " header=true, store_rejects=true)"
        )
        rejects = (
            "SELECT line, any_value(csv_line), min(error_message) FROM reject_errors"
            " GROUP BY line ORDER BY line"
        )
        loaded.unreadable = [
            (int(line), str(text)[:SHOWN_OF_A_ROW], str(why).splitlines()[0])
            for line, text, why in connection.execute(rejects).fetchall()
        ]
    elif kind in ("json", "jsonl", "ndjson"):
        _read_json(connection, path, loaded)
    else:
        raise LoadError(f"{file.name}: expected .csv, .tsv, .json, .jsonl, .ndjson or .parquet")


def _read_json(connection: duckdb.DuckDBPyConnection, path: str, loaded: Loaded) -> None:
    try:
        _make_input(connection, f"read_json('{path}'")
        return
    except duckdb.InvalidInputException:
        pass  # Some line is not JSON: which, is found line by line.
    connection.execute(
        "CREATE TABLE lines AS SELECT row_number() OVER () AS number, line"
        f" FROM read_csv('{path}', delim=chr(1), header=false, quote='', escape='',"
        " auto_detect=false, columns={'line': 'VARCHAR'}) WHERE trim(line) <> ''"
    )
    bad = "SELECT number, line FROM lines WHERE NOT json_valid(line) ORDER BY number"
    loaded.unreadable = [
        (int(number), str(line)[:SHOWN_OF_A_ROW], "not JSON")
        for number, line in connection.execute(bad).fetchall()
    ]
    good = "SELECT line FROM lines WHERE json_valid(line) ORDER BY number"
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as rest:
        rest.writelines(f"{line}\n" for (line,) in connection.execute(good).fetchall())
        rest.flush()
        _make_input(connection, f"read_json('{rest.name}', format='newline_delimited'")


def _make_input(connection: duckdb.DuckDBPyConnection, reader: str) -> None:
    """The table `input`, texts that look like times kept as the texts that they are."""
    found = connection.execute(f"DESCRIBE SELECT * FROM {reader})").fetchall()
    types = (
        (name, "VARCHAR" if kind.startswith(("TIME", "DATE", "UUID")) else kind)
        for name, kind, *_ in found
    )
    columns = ", ".join(f"{_quoted(name)}: {_quoted(kind)}" for name, kind in types)
    connection.execute(f"CREATE TABLE input AS SELECT * FROM {reader}, columns={{{columns}}})")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _map(connection: duckdb.DuckDBPyConnection, sql: str, contract: Contract) -> None:
    """Makes the table `mapped`: each row's number in the file, its line, and the events' time."""
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise LoadError("the mapping must be one SELECT ... FROM input")
    query = statements[0].query.rstrip().rstrip(";")
    # DuckDB keeps the input's spelling of a column that is only renamed to another case.
    described = connection.execute(f"DESCRIBE {query}").fetchall()
    columns = [name.lower() for name, *_ in described]
    if unknown := sorted(set(columns) - set(contract.source)):
        raise LoadError(
            f"the mapping gives {', '.join(unknown)}; the fields are: {', '.join(contract.source)}"
        )
    given_or_null = ((n, f'm."{n}"' if n in columns else "NULL") for n in contract.source)
    fields = ", ".join(f'"{name}": {value}' for name, value in given_or_null)
    time = "m.timestamp::VARCHAR" if "timestamp" in columns else "NULL"
    connection.execute(
        "CREATE TABLE mapped AS SELECT row_number() OVER () AS number,"
        f" try_cast({time} AS TIMESTAMPTZ) AS time, to_json({{{fields}}})::VARCHAR AS line"
        f" FROM ({query}) AS m"
    )


def _give_slots(connection: duckdb.DuckDBPyConnection, given: datetime | None) -> None:
    """Adds to `mapped` each event's slot: of its own time, or the first of a given hour."""
    slot = (
        f"TIMESTAMPTZ '{given.isoformat()}'" if given else "time_bucket(INTERVAL 5 minutes, time)"
    )
    connection.execute(
        f"ALTER TABLE mapped ADD COLUMN slot TIMESTAMPTZ; UPDATE mapped SET slot = {slot}"
    )
    # A row whose time cannot be told lies with the earliest: Silver will say what is wrong.
    connection.execute("UPDATE mapped SET slot = (SELECT min(slot) FROM mapped) WHERE slot IS NULL")


def _check_hours(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    row = connection.execute("SELECT count(*), min(slot), max(slot) FROM mapped").fetchone()
    assert row is not None
    rows, first, last = row
    if not rows:
        return
    if first is None:
        raise LoadError("no row has a timestamp that can be read; give an --arrival-hour")
    if first < settings.first_hour:
        raise LoadError(
            f"the rows begin at {first:%Y-%m-%d %H:%M}, before the first partition: set"
            f" EVENT_PIPELINE_FIRST_DAY={first:%Y-%m-%d}, or give an --arrival-hour"
        )
    if last > datetime.now(UTC):
        raise LoadError(
            f"the rows end at {last:%Y-%m-%d %H:%M}, which is yet to come: give an --arrival-hour"
        )


def _slots(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[datetime, list[str]]]:
    rows = _in_order(connection, "slot", "slot, number")
    for slot, group in itertools.groupby(rows, key=lambda row: row[0]):
        yield slot.astimezone(UTC), [f"{line}\n" for _, line in group]


def _in_order(
    connection: duckdb.DuckDBPyConnection, value: str, order: str
) -> Iterator[tuple[Any, str]]:
    """A value and the line of each mapped row."""
    cursor = connection.execute(f"SELECT {value}, line FROM mapped ORDER BY {order}")
    return itertools.chain.from_iterable(iter(lambda: cursor.fetchmany(ROWS_AT_ONCE), []))


assert SLOT.total_seconds() == 300, "the query above cuts slots of five minutes"  # noqa: PLR2004
