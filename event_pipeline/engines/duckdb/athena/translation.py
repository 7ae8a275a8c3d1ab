"""Translates a whole Athena query for DuckDB."""

import re
from dataclasses import dataclass
from functools import lru_cache

import duckdb
from sqlglot import exp

from event_pipeline.contracts import Contract
from event_pipeline.engines.duckdb.athena.dates import dates_of
from event_pipeline.engines.duckdb.athena.functions import FIELDS, function
from event_pipeline.engines.duckdb.athena.grammar import AthenaSQL, check
from event_pipeline.engines.duckdb.athena.nodes import (
    WRITTEN,
    Node,
    add_macros,
    call,
    cast,
    duckdb_sql,
    excerpt,
    macro,
    number,
    text,
)
from event_pipeline.engines.duckdb.athena.types import columns_of, resolve
from event_pipeline.engines.duckdb.athena.zones import (
    at_timezone,
    clock,
    is_zoned,
    without_zones,
    zoned_literal,
)
from event_pipeline.engines.statement import DEEPEST, athena_query, table_of, tables_of
from event_pipeline.errors import QueryError

TRIMS = {"": "trim", "BOTH": "trim", "LEADING": "ltrim", "TRAILING": "rtrim"}
NAMED = (exp.Alias, exp.Column, exp.Dot, exp.Star)


@dataclass(frozen=True)
class Translation:
    """A query for DuckDB, the tables that it reads, and how its answer is shown.

    `zones` has, by position (from 0), the zones in which result columns of times are shown. `dates`
    has, by table, the first and the last date of rows that the query may use, if it limits them.
    """

    sql: str
    tables: tuple[Contract, ...]
    zones: dict[int, str]
    dates: dict[str, tuple[str, str]]

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Makes a connection ready for the query."""
        # The translation itself says what each `/` means.
        connection.execute("SET integer_division=false")
        add_macros(connection, self.sql, set())


def translated(statement: str) -> Translation:
    """An Athena query, translated for DuckDB. Raises QueryError with one clear line."""
    known = _translated(statement)
    if known.tables != tuple(table_of(each.table) for each in known.tables):
        # A contract was replaced after the translation was cached.
        _translated.cache_clear()
        known = _translated(statement)
    return known


@lru_cache(maxsize=256)
def _translated(statement: str) -> Translation:
    query = athena_query(statement, AthenaSQL)
    try:
        tables = tables_of(query)
        check(query)
        dates = dates_of(query, tables)
        _name_columns(query)
        # From the leaves upwards, so that a function's arguments are rewritten before the function.
        nodes = list(query.walk(bfs=False))
        for node in nodes:
            node.meta[WRITTEN] = True
        for node in reversed(nodes):
            changed = _rewritten(node)
            if changed is not node:
                node.replace(changed)
        zones = dict(without_zones(query))
        resolve(query, tables)
        return Translation(duckdb_sql(query), tuple(tables), zones, dates)
    except RecursionError:
        raise QueryError(DEEPEST) from None


def _name_columns(query: exp.Query) -> None:
    """Names the columns that have no name as Athena does: _col0, _col1 and so on."""
    for n, each in enumerate(query.selects):
        if not isinstance(each.unnest(), NAMED):
            each.replace(exp.alias_(each.copy(), f"_col{n}", quoted=True))


def _rewritten(node: Node) -> Node:  # noqa: PLR0911
    """Rewrites a node by its text alone. Its parts are rewritten already."""
    match node:
        case exp.Anonymous():
            return function(node)
        case exp.Cast():
            return _cast(node)
        case exp.Extract() | exp.Substring() | exp.Trim():
            return _with_words(node)
        case exp.AtTimeZone():
            return at_timezone(node.this, node.args["zone"])
        case exp.CurrentTimestamp():
            return macro("now")
        case exp.Localtimestamp():
            return cast(macro("now"), "TIMESTAMP")
        case exp.RespectNulls():
            kept: Node = node.this
            return kept
        case exp.IgnoreNulls(this=exp.Anonymous() as called):
            # DuckDB writes the words after the last argument.
            *first, last = called.expressions
            return call(called.name, *first, exp.Var(this=f"{duckdb_sql(last)} IGNORE NULLS"))
        case exp.Interval():
            return _interval(node)
        case exp.Unnest() if len(node.expressions) > 1:
            return columns_of(node.expressions, node)
    return node


def _with_words(node: Node) -> Node:
    """Rewrites a function that has words between its arguments."""
    if isinstance(node, exp.Extract):
        if node.name.lower() not in FIELDS:
            raise QueryError(f"EXTRACT({node.name} ...) is not supported on target local")
        return function(call(node.name.lower(), node.expression))
    if isinstance(node, exp.Substring):
        rest = [node.args[name] for name in ("start", "length") if node.args.get(name)]
        return macro("substr", node.this, *rest)
    name = TRIMS[str(node.args.get("position") or "").upper()]
    return macro(name, node.this, *([node.expression] if node.expression else []))


def _interval(node: exp.Interval) -> Node:
    value = node.this
    digits = value.this if isinstance(value, exp.Neg) else value
    if not isinstance(digits, exp.Literal) or not re.fullmatch(r"-?\d+(\.\d+)?", digits.name):
        raise QueryError(f"not understood on target local: {excerpt(node)}")
    if value is not digits:
        node.set("this", text(f"-{digits.name}"))
    return node


def _cast(node: exp.Cast) -> Node:
    """Rewrites a cast from or to a time in a zone. The others are rewritten by type, later."""
    for kind in node.to.find_all(exp.DataType):
        if kind.this == exp.DType.DECIMAL and not kind.expressions:
            kind.set("expressions", [exp.DataTypeParam(this=number(n)) for n in (38, 0)])
    target = node.to.this
    if target == exp.DType.TIMESTAMPTZ and (time := zoned_literal(node)):
        return time
    if is_zoned(node.this):
        if target in (exp.DType.DATE, exp.DType.TIMESTAMP):
            node.set("this", clock(node.this))
        elif target == exp.DType.VARCHAR:
            zone = exp.DPipe(this=text(" "), expression=node.this.expressions[1].copy())
            shown = exp.DPipe(this=macro("_time_text", clock(node.this)), expression=zone)
            return exp.paren(shown, copy=False)
        elif target == exp.DType.TIMESTAMPTZ:
            kept: Node = node.this
            return kept
    return node
