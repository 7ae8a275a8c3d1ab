"""Casts that accept and round values as Trino does.

DuckDB itself accepts more texts, and rounds half a unit of a double to the even neighbour.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp

from event_pipeline.engines.duckdb.athena.nodes import (
    Node,
    call,
    cast,
    excerpt,
    macro,
    number,
    text,
)
from event_pipeline.errors import QueryError

# The digits of each integer type. Beside a decimal, an integer is a decimal without a fraction.
INTEGERS = {"TINYINT": 3, "SMALLINT": 5, "INTEGER": 10, "BIGINT": 19}
DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
DOUBLES = ("DOUBLE", "FLOAT")
TIME, INSTANT = "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"
MICROSECONDS = 6  # digits of a second, at most
# The texts that Trino accepts as a date or time. DuckDB accepts more.
DATE_TEXT = re.compile(r"\s*\d{4}-\d{1,2}-\d{1,2}\s*")
TIME_TEXT = re.compile(
    r"\s*\d{4}-\d{1,2}-\d{1,2}(?: \d{1,2}:\d{1,2}(?::\d{1,2}(?:\.(?P<fraction>\d{1,12}))?)?)?\s*"
)


@dataclass(frozen=True)
class Value:
    """A cast: the value `node`, its type `kind` as DuckDB names it, and the target type `to`."""

    node: Node
    kind: str
    to: exp.DataType

    @property
    def size(self) -> int | None:
        """The n of varchar(n), in characters, or of timestamp(n), in digits of a second."""
        found = [each for each in self.to.expressions if isinstance(each, exp.DataTypeParam)]
        return int(found[0].name) if found else None

    @property
    def plain(self) -> Node:
        """The cast as DuckDB does it."""
        return exp.Cast(this=self.node, to=self.to)


def decimal(kind: str) -> tuple[int, int] | None:
    """Digits and scale of a decimal or integer type; None for any other type."""
    if found := DECIMAL.fullmatch(kind):
        return int(found[1]), int(found[2])
    return (INTEGERS[kind], 0) if kind in INTEGERS else None


def _is_number(kind: str) -> bool:
    return kind in DOUBLES or decimal(kind) is not None


def converted(node: exp.Cast, kind: str) -> Node:
    """The cast of a value of type `kind` as Trino does it. Raises QueryError if it is unknown."""
    value = Value(node.this, kind, node.to)
    target = value.to.this
    if kind == "JSON" and target not in (exp.DType.JSON, *NESTED):
        value = Value(macro("_json_text", node.this), "VARCHAR", node.to)
    result = value.plain if kind == "NULL" else CASTS.get(target, _none)(value)
    if result is None:
        raise QueryError(f"{kind} cannot be cast on target local: {excerpt(node)}")
    return call("try", result) if isinstance(node, exp.TryCast) else result


def _none(_: Value) -> Node | None:
    return None


def _integer(value: Value) -> Node | None:
    if value.kind == "VARCHAR":
        return exp.Cast(this=macro("_integer_of", value.node), to=value.to)
    if value.kind in DOUBLES:
        return exp.Cast(this=call("round", value.node), to=value.to)
    return value.plain if decimal(value.kind) or value.kind == "BOOLEAN" else None


def _number(value: Value) -> Node | None:
    if value.kind == "VARCHAR":
        return exp.Cast(this=macro("_number_of", value.node), to=value.to)
    return value.plain if _is_number(value.kind) or value.kind == "BOOLEAN" else None


def _boolean(value: Value) -> Node | None:
    if value.kind == "VARCHAR":
        return macro("_boolean_of", value.node)
    return value.plain if _is_number(value.kind) or value.kind == "BOOLEAN" else None


def _varchar(value: Value) -> Node | None:
    """Spells a value as Trino does. varchar(n) cuts longer texts; other values must fit."""
    node, kind = value.node, value.kind
    spelled: Node | None = None
    if kind == "VARCHAR":
        spelled = node
    elif decimal(kind) or kind in ("BOOLEAN", "DATE", "UUID"):
        spelled = cast(node, "VARCHAR")
    elif kind == "DOUBLE":
        spelled = macro("_double_text", node)
    elif kind == TIME:
        whole = node.meta.get("digits") == 0
        spelled = macro("_second_text" if whole else "_time_text", node)
    elif kind == INSTANT:
        spelled = exp.DPipe(this=macro("_time_text", cast(node, TIME)), expression=text(" UTC"))
    if spelled is None or value.size is None:
        return spelled
    if kind == "VARCHAR":
        return call("left", spelled, number(value.size))
    return macro("_fits", spelled, number(value.size))


def _date(value: Value) -> Node | None:
    if value.kind == "VARCHAR" and not _written_out(value, DATE_TEXT):
        return macro("_date_of", value.node)
    return value.plain if value.kind in ("VARCHAR", "DATE", TIME, INSTANT) else None


def _timestamp(value: Value) -> Node | None:
    """Rounds to as many digits of a second as the type has, 3 by default."""
    node, digits = value.node, 3 if value.size is None else value.size
    rounded = {0: "_whole_seconds", 3: "_whole_milliseconds"}.get(digits)
    if value.kind == "VARCHAR":
        found = _written_out(value, TIME_TEXT)
        if found and len(found["fraction"] or "") <= min(digits, MICROSECONDS):
            time = cast(node, TIME)
            time.meta["digits"] = digits
            return time
        node = macro("_timestamp_of", node)
    elif value.kind in ("DATE", INSTANT):
        node = cast(node, TIME)
    elif value.kind != TIME:
        return None
    if rounded:
        return macro(rounded, node)
    return node if digits == MICROSECONDS else None


def _instant(value: Value) -> Node | None:
    if value.kind in ("DATE", TIME):
        return macro("_instant_date", value.node)
    return cast(value.node, INSTANT) if value.kind in ("VARCHAR", INSTANT) else None


def _json(value: Value) -> Node | None:
    if value.kind == "JSON":
        return value.node
    known = value.kind in ("VARCHAR", "BOOLEAN", "DATE") or value.kind.endswith("[]")
    return call("to_json", value.node) if known or _is_number(value.kind) else None


def _nested(value: Value) -> Node | None:
    known = value.kind == "JSON" or value.kind.endswith("[]")
    return value.plain if known or value.kind.startswith(("MAP(", "STRUCT(", "TUPLE(")) else None


def _written_out(value: Value, pattern: re.Pattern[str]) -> re.Match[str] | None:
    """The match of a literal that Trino accepts; None for any other value."""
    return pattern.fullmatch(value.node.name) if isinstance(value.node, exp.Literal) else None


NESTED = (exp.DType.ARRAY, exp.DType.MAP, exp.DType.STRUCT)
CASTS: dict[exp.DType, Callable[[Value], Node | None]] = {
    **dict.fromkeys(
        (exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT, exp.DType.BIGINT), _integer
    ),
    **dict.fromkeys((exp.DType.DECIMAL, exp.DType.DOUBLE, exp.DType.FLOAT), _number),
    **dict.fromkeys(NESTED, _nested),
    exp.DType.BOOLEAN: _boolean,
    exp.DType.DATE: _date,
    exp.DType.JSON: _json,
    exp.DType.TIMESTAMP: _timestamp,
    exp.DType.TIMESTAMPTZ: _instant,
    exp.DType.VARCHAR: _varchar,
}
