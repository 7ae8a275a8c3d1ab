"""Finds out what Silver would say of a load, before a byte of it is written.

The contract's own statement judges the very lines that would lie in Bronze, with the engine's own
code: the fast reader for plain lines, the exact one for all others and for refused lines.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import duckdb

from event_pipeline.contracts import ENGINE_RULES, SilverContract
from event_pipeline.engines import PartitionRequest, TransformRequest
from event_pipeline.engines.duckdb.collected import register_reader
from event_pipeline.engines.duckdb.lines import judged, read_exactly, read_fast
from event_pipeline.engines.duckdb.session import literal, scalar
from event_pipeline.errors import LoadError
from event_pipeline.ingest.load import times
from event_pipeline.lake.text import LONGEST_LINE
from event_pipeline.partitions import HOURLY, Cadence

# If more than this share of a load is bad, nothing of it is written.
MAX_BAD_SHARE = 0.5
SHOWN = 120


@dataclass(frozen=True)
class Refusal:
    """A reason why Silver would refuse rows: how many rows, an example, and what to do."""

    reason: str
    meaning: str
    rows: int
    example: str
    advice: str = ""


@dataclass(frozen=True)
class Outside:
    """Rows that fit no partition as they are: how many, why, an example, and what to do."""

    rows: int
    why: str
    example: str
    advice: str = ""


@dataclass
class Judgement:
    """What would become of a load's rows.

    `refused` counts each refused row once, however many reasons it has.
    """

    rows: int = 0
    refused: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    outside: list[Outside] = field(default_factory=list)

    @property
    def left_out(self) -> int:
        """How many rows fit no partition. They are not written."""
        return sum(each.rows for each in self.outside)

    def is_mostly_bad(self, unreadable: int) -> bool:
        """Whether more is bad than good. Records that could not be read count as bad."""
        bad = self.refused + self.left_out + unreadable
        return bad > MAX_BAD_SHARE * (self.rows + unreadable)


@dataclass(frozen=True)
class Place:
    """Where rows go: all of them to one partition, or each by its own time or day.

    `given` is the key of the one partition. `day` is the mapping's column with a drop's day.
    """

    given: str | None = None
    day: str | None = None


def event_time(contract: SilverContract) -> str:
    """The column of a stream's table whose time decides a row's slot."""
    return next(
        c.name for c in contract.columns if c.type == "timestamp" and c.name != contract.partition
    )


def judge(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    contract: SilverContract,
    place: Place,
    first: datetime,
) -> Judgement:
    """Turns the table `mapped` into the view `judged`, and returns what would come of its rows.

    `judged` has each row's `line`, its `slot` (a stream's moment, or a drop's day; null if the row
    has none), `outside` (null, or why no partition holds it), and `reasons`. `first` is the start
    of the first partition.
    """
    _judge_lines(connection, contract)
    now = datetime.now(UTC)
    _place_rows(connection, contract, place, first, now)
    judgement = Judgement(rows=scalar(connection, "SELECT count(*) FROM judged"))
    judgement.outside = _outside(connection, contract, place)
    judgement.refused = scalar(
        connection, "SELECT count(*) FROM judged WHERE reasons <> '' AND outside IS NULL"
    )
    judgement.refusals = _refusals(connection, sql, contract)
    if contract.key:
        conflicts = _conflicts(connection, contract)
        judgement.refusals += conflicts
        judgement.refused += sum(each.rows for each in conflicts)
    return judgement


def _judge_lines(connection: duckdb.DuckDBPyConnection, contract: SilverContract) -> None:
    # The statement says the same of a line in every partition, so any will do.
    partition = PartitionRequest("", "2000-01-01", "", (), "", "")
    request = TransformRequest.of(contract, ())
    time = event_time(contract) if contract.cadence is HOURLY else "NULL"
    keys = "".join(f', "{name}" AS "key_{n}"' for n, name in enumerate(contract.key))
    row = f"_line AS line, _source AS day, CAST({time} AS TIMESTAMP) AS time{keys}, reasons"
    fits = f"strlen(line) <= {LONGEST_LINE}"
    connection.execute("SET integer_division=true")
    register_reader(connection, request)
    lines = f"SELECT line, coalesce(day, '') AS filename FROM mapped WHERE {fits}"
    connection.execute(
        f"CREATE TABLE verdicts AS SELECT {row}"
        f" FROM ({judged(request, partition, read_fast(request, lines))})"
    )
    again = "SELECT line, day AS filename FROM verdicts WHERE reasons <> ''"
    connection.execute(
        f"CREATE TEMP TABLE again AS SELECT {row}"
        f" FROM ({judged(request, partition, read_exactly(request, again))})"
    )
    connection.execute("DELETE FROM verdicts WHERE reasons <> ''")
    connection.execute("INSERT INTO verdicts SELECT * FROM again")
    connection.execute(
        "INSERT INTO verdicts BY NAME SELECT line[:1000] AS line, day, 'line_too_long' AS reasons"
        f" FROM mapped WHERE NOT {fits}"
    )
    connection.execute("DROP TABLE mapped")
    connection.execute("DROP TABLE again")


def _place_rows(
    connection: duckdb.DuckDBPyConnection,
    contract: SilverContract,
    place: Place,
    first: datetime,
    now: datetime,
) -> None:
    """Makes the view `judged`: where each row goes, or why it cannot go anywhere."""
    cadence: Cadence = contract.cadence
    if place.given:
        slot = f"TIMESTAMP {literal(f'{cadence.start(place.given):%Y-%m-%d %H:%M:%S}')}"
    elif cadence is HOURLY:
        slot = "time_bucket(INTERVAL 5 minutes, time)"
    else:
        # A time with an offset belongs to its day in UTC.
        slot = (
            "CASE WHEN regexp_matches(day, '^[0-9]{4}-[0-9]{2}-[0-9]{2}')"
            " THEN CAST(CAST(make_timestamp(epoch_us(try_cast(day AS TIMESTAMPTZ))) AS DATE)"
            " AS TIMESTAMP) END"
        )
    start, end = (literal(f"{moment:%Y-%m-%d %H:%M:%S}") for moment in (first, now))
    time = "time" if cadence is HOURLY and not place.given else "slot"
    unplaced = "'no day'" if cadence is not HOURLY and not place.given else "NULL"
    connection.execute(
        "CREATE VIEW judged AS SELECT *, CASE"
        " WHEN reasons = 'line_too_long' THEN 'too long'"
        f" WHEN {time} < TIMESTAMP {start} THEN 'before'"
        f" WHEN {time} > TIMESTAMP {end} THEN 'after'"
        f" WHEN {time} IS NULL THEN {unplaced} END AS outside"
        f" FROM (SELECT *, {slot} AS slot FROM verdicts)"
    )


def _outside(
    connection: duckdb.DuckDBPyConnection, contract: SilverContract, place: Place
) -> list[Outside]:
    found = connection.execute(
        "SELECT outside, count(*), min(line), min(coalesce(time, slot)), max(coalesce(time, slot))"
        " FROM judged WHERE outside IS NOT NULL GROUP BY outside ORDER BY outside"
    ).fetchall()
    to_hour = " or give an --arrival-hour" if contract.cadence is HOURLY else ""
    outside = []
    for why, rows, line, earliest, latest in found:
        reason, advice = {
            "before": (
                "before the first partition",
                f"set EVENT_PIPELINE_FIRST_DAY={earliest:%Y-%m-%d}" if earliest else "",
            ),
            "after": (f"in the future ({latest})" if latest else "", ""),
            "no day": (
                f"no day in the column {place.day}",
                f"give it as YYYY-MM-DD: {place.day}",
            ),
            "too long": (f"a line is longer than {LONGEST_LINE:,} bytes", ""),
        }[why]
        if why in ("before", "after"):
            advice = f"{advice},{to_hour}" if advice and to_hour else advice or to_hour[4:]
        outside.append(Outside(int(rows), reason, str(line)[:SHOWN], advice))
    return outside


def _refusals(
    connection: duckdb.DuckDBPyConnection, sql: str, contract: SilverContract
) -> list[Refusal]:
    found = connection.execute(
        "SELECT reason, count(*), min(line) FROM (SELECT line, unnest(string_split(reasons, ','))"
        " AS reason FROM judged WHERE reasons <> '' AND outside IS NULL) GROUP BY reason"
        " ORDER BY count(*) DESC, reason"
    ).fetchall()
    return [_refusal(connection, sql, contract, each) for each in found]


def _refusal(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    contract: SilverContract,
    found: tuple[Any, ...],
) -> Refusal:
    reason, rows, line = found
    meaning = contract.meaning(reason)
    name = next((each for each in contract.source if reason.startswith(f"{each}_")), None)
    example, advice = line[:SHOWN], ""
    if name and not reason.endswith("_missing"):
        value = json.loads(line)[name]
        example = f"{name} is {json.dumps(value, ensure_ascii=False)[:SHOWN]}"
        # In a stream's table, the time has another name.
        kind = dict(contract.typed_columns).get(name, "timestamp")
        if kind in ("timestamp", "date"):
            advice = times.advice(connection, sql, name, reason, kind)
    return Refusal(reason, meaning, rows, example, advice)


def _conflicts(connection: duckdb.DuckDBPyConnection, contract: SilverContract) -> list[Refusal]:
    """Rows that Silver would refuse because another row of the partition has their key."""
    keys = ", ".join(f"key_{n}" for n in range(len(contract.key)))
    row = connection.execute(
        "SELECT sum(lines - 1), min(example) FROM (SELECT count(DISTINCT line) AS lines,"
        f" min(line) AS example FROM judged WHERE reasons = '' AND outside IS NULL"
        f" GROUP BY slot, {keys} HAVING count(*) > 1) WHERE lines > 1"
    ).fetchone()
    if not row or not row[0]:
        return []
    names = " and ".join(contract.key)
    advice = f"make one row of each {names}, for example with GROUP BY"
    return [Refusal("conflict", ENGINE_RULES["conflict"], int(row[0]), row[1][:SHOWN], advice)]


def check_any_placed(judgement: Judgement) -> None:
    """Raises LoadError if no row of a load fits a partition; its message gives the main reason."""
    if judgement.rows and judgement.left_out == judgement.rows:
        most = max(judgement.outside, key=lambda each: each.rows)
        advice = f": {most.advice}" if most.advice else ""
        rows = f"all {judgement.rows:,} rows" if judgement.rows > 1 else "the one row"
        raise LoadError(f"{rows}: {most.why}{advice} ({most.example})")
