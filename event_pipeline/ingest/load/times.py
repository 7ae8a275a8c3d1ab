"""Finds a DuckDB expression for times that are not in ISO 8601, and tries it on the values."""

import json
import re

import duckdb

from event_pipeline.engines.duckdb.session import literal
from event_pipeline.ingest.load.mapping import expression_of

ISO = "%Y-%m-%dT%H:%M:%SZ"
TRIED = 1_000
# Forms of times in strptime's letters, the likelier first.
FORMS = (
    "%Y-%m-%d %H:%M:%S UTC",
    "%Y-%m-%d %H:%M:%S GMT",
    "%Y-%m-%d %H:%M:%S.%f UTC",
    "%Y-%m-%d %H:%M:%S Z",
    "%Y-%m-%dT%H:%M:%S Z",
    "%Y-%m-%d %H:%M:%S %z",
    "%Y-%m-%d %H:%M:%S.%f %z",
    "%Y-%m-%dT%H:%M:%S %z",
    "%Y-%m-%d %H:%M:%S,%g",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%MZ",
    "%Y-%m-%d %H:%M UTC",
    "%Y-%m-%d %H",
    "%Y-%m-%d %I:%M:%S %p",
    "%Y-%m-%d",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%Y.%m.%d %H:%M:%S",
    "%Y.%m.%d",
    "%Y%m%dT%H%M%SZ",
    "%Y%m%dT%H%M%S",
    "%Y%m%d%H%M%S",
    "%Y%m%d %H:%M:%S",
    "%Y%m%d",
    *(
        f"{day}{sep}{month}{sep}{year}{time}"
        for sep in "/.-"
        for year in ("%Y", "%y")
        for time in (
            "",
            " %H:%M",
            " %H:%M:%S",
            " %H:%M:%S.%f",
            " %I:%M %p",
            " %I:%M:%S %p",
            ", %H:%M",
            ", %H:%M:%S",
            "T%H:%M:%S",
        )
        for day, month in (("%d", "%m"), ("%m", "%d"))
    ),
    "%d/%b/%Y:%H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a %b %d %H:%M:%S %Y",
    "%a %b %d %Y %H:%M:%S",
    "%b %d, %Y %I:%M %p",
    "%b %d, %Y %I:%M:%S %p",
    "%b %d, %Y %H:%M:%S",
    "%b %d, %Y",
    "%B %d, %Y %I:%M %p",
    "%B %d, %Y %H:%M",
    "%B %d, %Y",
    "%d %b %Y %H:%M:%S",
    "%d %b %Y %H:%M",
    "%d %b %Y",
    "%d %B %Y %H:%M",
    "%d %B %Y",
    "%d-%b-%Y %H:%M:%S",
    "%d-%b-%Y",
    "%d-%b-%y",
    # ISO 8601, but without leading zeros.
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ",
)
# Numbers that count from 1970: the digits that their whole part has in our days, the unit, and the
# expression that makes a time of one.
EPOCHS = {
    range(9, 11): (
        "seconds",
        "make_timestamp(CAST(CAST({} AS DOUBLE) * 1000000 AS BIGINT))",
    ),
    range(12, 14): ("milliseconds", "epoch_ms(CAST(CAST({} AS DOUBLE) AS BIGINT))"),
    range(15, 17): ("microseconds", "make_timestamp(CAST({} AS BIGINT))"),
    range(18, 20): ("nanoseconds", "make_timestamp(CAST({} AS BIGINT) // 1000)"),
}
SECONDS = 10  # digits of a number of seconds, in our days
_NUMBER = re.compile(r"-?([0-9]+)([.][0-9]+)?")


def advice(
    connection: duckdb.DuckDBPyConnection, sql: str, name: str, reason: str, kind: str
) -> str:
    """Advice on what to write for a field whose times are refused; empty if the form is unknown."""
    path = literal(f"$.{json.dumps(name)}")
    found = connection.execute(
        f"SELECT DISTINCT json_extract_string(line, {path}) FROM judged WHERE outside IS NULL"
        f" AND list_contains(string_split(reasons, ','), {literal(reason)}) LIMIT {TRIED}"
    ).fetchall()
    values = [str(value) for (value,) in found]
    given = expression_of(sql, name)
    expression = _expression(connection, values, given or name, kind)
    if expression is None:
        return ""
    if given is None:
        return f"write SELECT * REPLACE ({expression} AS {name}) FROM input"
    return f"write {expression} AS {name}"


def _expression(
    connection: duckdb.DuckDBPyConnection, values: list[str], given: str, kind: str
) -> str | None:
    shown = ISO if kind == "timestamp" else "%Y-%m-%d"
    if epoch := _epoch(values):
        if any("." in value or len(value) > SECONDS for value in values):
            shown = shown.replace("%S", "%S.%f")
        return f"strftime({epoch.format(given)}, {literal(shown)})"
    form = _form(connection, values)
    if form is None:
        return None
    other = " (or %m before %d, if months come first)" if _is_open(connection, values, form) else ""
    if form == "%Y-%m-%d" and kind == "timestamp":
        return f"{given} || 'T00:00:00Z'"
    if form == "%Y-%m-%d %H:%M:%S UTC":
        return f"replace({given}, ' UTC', 'Z')"
    if "%f" in form or "%g" in form:
        shown = shown.replace("%S", "%S.%f")
    return f"strftime(strptime({given}, {literal(form)}), {literal(shown)}){other}"


def _epoch(values: list[str]) -> str | None:
    """The expression that makes times of most values if they count from 1970; else None."""
    matches = [match for value in values if (match := _NUMBER.fullmatch(value.strip()))]
    for digits, (_, expression) in EPOCHS.items():
        fitting = sum(len(match[1]) in digits for match in matches)
        if fitting * 2 > len(values):
            return expression
    return None


def _form(connection: duckdb.DuckDBPyConnection, values: list[str]) -> str | None:
    """The form that fits the most values, if it fits more than half of them; else None."""
    counts = ", ".join(
        f'count(try_strptime(trim(v), {literal(form)})) AS "{n}"' for n, form in enumerate(FORMS)
    )
    row = connection.execute(f"SELECT {counts} FROM (SELECT unnest(?) AS v)", [values])
    found = row.fetchone()
    assert found is not None
    most = max(found)
    return FORMS[found.index(most)] if most * 2 > len(values) else None


def _is_open(connection: duckdb.DuckDBPyConnection, values: list[str], form: str) -> bool:
    """Whether the values are times too if day and month are exchanged."""
    if not re.match(r"%[dm][/.-]%[dm]", form):
        return False
    other = form.replace("%d", "%?").replace("%m", "%d").replace("%?", "%m")
    row = connection.execute(
        f"SELECT count(*) FROM (SELECT unnest(?) AS v)"
        f" WHERE try_strptime(trim(v), {literal(form)}) IS NOT NULL"
        f" AND try_strptime(trim(v), {literal(other)}) IS NULL",
        [values],
    ).fetchone()
    return row is not None and row[0] == 0
