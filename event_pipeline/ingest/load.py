"""Bring your own files: any CSV, JSON or Parquet that DuckDB reads, mapped by one SELECT.

Rows go to Bronze as the events' raw fields, by the 5-minute slot of their own time, or all to one
given arrival hour. An object's name carries a digest of file and mapping, and objects are written
once: loading the same file again changes nothing, and a load that was cut short is completed.
"""

import gzip
import hashlib
import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from event_pipeline.contracts import EVENTS
from event_pipeline.errors import LoadError
from event_pipeline.ingest.generator import SLOT
from event_pipeline.ingest.handler import FolderStore, object_key, write_once
from event_pipeline.partitions import hour_key, hour_start
from event_pipeline.settings import Settings

ROWS_AT_ONCE = 10_000
SHOWN_OF_A_ROW = 200


@dataclass
class Loaded:
    """What a load did. `unreadable` rows are (row number, text, reason), from 1."""

    rows: int = 0
    objects_written: int = 0
    objects_there: int = 0
    hours: set[str] = field(default_factory=set)
    unreadable: list[tuple[int, str, str]] = field(default_factory=list)

    @property
    def first_hour(self) -> str:
        """Key of the earliest arrival hour."""
        return min(self.hours, default="none")

    @property
    def last_hour(self) -> str:
        """Key of the latest arrival hour."""
        return max(self.hours, default="none")


def load_file(settings: Settings, file: Path, mapping: Path, arrival_hour: str | None) -> Loaded:
    """Loads one file into the settings' lake. Raises LoadError with one clear line."""
    for path in (file, mapping):
        if not path.is_file():
            raise LoadError(f"{path}: no such file")
    given = _given_hour(arrival_hour)
    sql = mapping.read_text()
    digest = hashlib.sha256(file.read_bytes() + sql.encode()).hexdigest()[:12]
    loaded = Loaded()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone='UTC'")
        try:
            _read(connection, file, loaded)
            _map(connection, sql, given)
        except duckdb.Error as error:
            raise LoadError(f"{_first_line(error)}") from None
        _check_hours(connection, settings)
        store = FolderStore(settings.lake)
        for slot, lines in _slots(connection):
            key = object_key(slot).replace(".jsonl.gz", f"-{digest}.jsonl.gz")
            data = gzip.compress("".join(lines).encode(), 6, mtime=0)
            about = {"loaded_from": file.name}
            entry = write_once(store, key, slot, data, lines=len(lines), about=about)
            loaded.rows += len(lines)
            loaded.hours.add(hour_key(slot))
            loaded.objects_written += entry is not None
            loaded.objects_there += entry is None
    return loaded


def _given_hour(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return hour_start(text)
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


def _map(connection: duckdb.DuckDBPyConnection, sql: str, given: datetime | None) -> None:
    """Makes the table `mapped`: each row's slot and its line, in the file's order."""
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise LoadError("the mapping must be one SELECT ... FROM input")
    query = statements[0].query.rstrip().rstrip(";")
    columns = [name for name, *_ in connection.execute(f"DESCRIBE {query}").fetchall()]
    if unknown := sorted(set(columns) - set(EVENTS.source)):
        raise LoadError(
            f"the mapping gives {', '.join(unknown)}; the fields are: {', '.join(EVENTS.source)}"
        )
    given_or_null = ((n, f'm."{n}"' if n in columns else "NULL") for n in EVENTS.source)
    fields = ", ".join(f'"{name}": {value}' for name, value in given_or_null)
    own_slot = (
        "time_bucket(INTERVAL 5 minutes, try_cast(m.timestamp::VARCHAR AS TIMESTAMPTZ))"
        if "timestamp" in columns
        else "NULL"
    )
    slot = f"TIMESTAMPTZ '{given.isoformat()}'" if given else own_slot
    connection.execute(
        f"CREATE TABLE mapped AS SELECT row_number() OVER () AS number, {slot} AS slot,"
        f" to_json({{{fields}}})::VARCHAR AS line FROM ({query}) AS m"
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


def _slots(
    connection: duckdb.DuckDBPyConnection,
) -> Iterator[tuple[datetime, list[str]]]:
    cursor = connection.execute("SELECT slot, line FROM mapped ORDER BY slot, number")
    rows: Iterator[tuple[Any, str]] = itertools.chain.from_iterable(
        iter(lambda: cursor.fetchmany(ROWS_AT_ONCE), [])
    )
    for slot, group in itertools.groupby(rows, key=lambda row: row[0]):
        yield slot.astimezone(UTC), [f"{line}\n" for _, line in group]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


assert SLOT.total_seconds() == 300, "the query above cuts slots of five minutes"  # noqa: PLR2004
