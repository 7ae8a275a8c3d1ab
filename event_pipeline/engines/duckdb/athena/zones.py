"""Times in a zone, which DuckDB does not have: it has instants, and times without a zone.

While a query is rewritten, `zoned(instant, zone)` stands for a time in a zone. Functions that read
its clock get the time that the zone's clock shows; everything else gets the instant.
"""

import re
from collections.abc import Callable, Iterator

from sqlglot import exp

from event_pipeline.engines.duckdb.athena.nodes import Node, call, cast, macro, text
from event_pipeline.errors import QueryError

ZONED = "zoned"
# Functions of DuckDB that keep a time's zone, and those that ask only for the instant.
KEEPERS = frozenset({"any_value", "arg_max_null", "arg_min_null", "coalesce", "max", "min"})
INSTANT_READERS = frozenset({"count"})
# Nodes that may stand between a time and the result column that it becomes.
BETWEEN = (exp.Alias, exp.Case, exp.If, exp.Paren, exp.Window)
ZONE = re.compile(r"\d:\d\d(?::\d\d(?:\.\d+)?)?\s*(?P<zone>[A-Za-z+-]\S*)\s*$")
UTC = frozenset({"UTC", "Z", "GMT", "+00:00", "-00:00"})


def zoned(instant: Node, zone: Node) -> Node:
    """A time in a zone."""
    return call(ZONED, instant, zone)


def is_zoned(node: Node) -> bool:
    """Whether it is a time in a zone."""
    return isinstance(node, exp.Anonymous) and node.name == ZONED


def clock(node: Node) -> Node:
    """What the zone's clock shows at a time in a zone; any other node as it is."""
    if not is_zoned(node):
        return node
    instant, zone = node.expressions
    return exp.AtTimeZone(this=instant, zone=zone)


def at_timezone(time: Node, zone: Node) -> Node:
    """The same instant in another zone."""
    return zoned(time.expressions[0] if is_zoned(time) else macro("_instant", time), zone)


def in_zone_of(time: Node, change: Callable[[Node], Node]) -> Node:
    """Changes what a time's clock shows; a time in a zone stays in its zone."""
    if not is_zoned(time):
        return change(time)
    zone: Node = time.expressions[1]
    changed = cast(change(cast(clock(time), "TIMESTAMP")), "TIMESTAMP")
    return zoned(exp.AtTimeZone(this=changed, zone=zone.copy()), zone.copy())


def zoned_literal(node: exp.Cast) -> Node | None:
    """A literal such as TIMESTAMP '2026-01-01 00:00:00 Europe/Berlin'.

    None if it names no zone, or UTC. Raises QueryError if it names an offset.
    """
    found = ZONE.search(node.this.name) if isinstance(node.this, exp.Literal) else None
    if not found or found["zone"] in UTC:
        return None
    if found["zone"][0] in "+-":
        raise QueryError(
            f"a time at an offset is not supported on target local: {node.this.name};"
            " name its zone, or write it in UTC"
        )
    return zoned(cast(node.this, "TIMESTAMP WITH TIME ZONE"), text(found["zone"]))


def without_zones(query: exp.Query) -> Iterator[tuple[int, str]]:
    """Replaces times in a zone by their instants.

    Yields the position and the zone of each result column that shows a zone.
    """
    for time in [each for each in query.find_all(exp.Anonymous) if is_zoned(each)]:
        instant, zone = time.expressions
        node: Node = time
        while isinstance(node.parent, BETWEEN) or (
            isinstance(node.parent, exp.Anonymous) and node.parent.name in KEEPERS
        ):
            node = node.parent
        parent = node.parent
        if isinstance(parent, exp.Select) and node.arg_key == "expressions":
            if parent is not query or not isinstance(zone, exp.Literal):
                raise QueryError(
                    "a time AT TIME ZONE cannot be a column of a subquery on target local: use it"
                    " where it is computed, as in date_trunc('day', t AT TIME ZONE 'Europe/Berlin')"
                )
            yield node.index or 0, zone.name
        elif isinstance(parent, exp.Anonymous):
            name = parent.name
            if not name.startswith("athena.") and name not in INSTANT_READERS:
                raise QueryError(
                    f"{name}() of a time AT TIME ZONE is not supported on target local"
                )
        time.replace(instant)
