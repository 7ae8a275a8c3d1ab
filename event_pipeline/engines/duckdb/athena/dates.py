"""The dates that a query asks of a table, so that only files are opened that may hold them."""

import re
from collections.abc import Callable, Collection, Iterator
from datetime import date

from sqlglot import exp

from event_pipeline.contracts import Contract
from event_pipeline.lake.dates import date_column

Span = tuple[date, date]

ANY = (date.min, date.max)
ISO = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
# An operator with its sides exchanged.
FLIPPED: dict[type[exp.Expr], type[exp.Expr]] = {
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
    exp.EQ: exp.EQ,
}


def dates_of(query: exp.Query, tables: Collection[Contract]) -> dict[str, tuple[str, str]]:
    """Name of a table -> the first and the last date (ISO) of the rows that a query may use.

    Tables that the query does not limit by dates are left out. A limit is what the WHERE of the
    very SELECT that reads the table compares with literals; a row beyond it cannot be in the
    result, whatever the table is joined with.
    """
    found = {}
    for contract in tables:
        if column := date_column(contract):
            spans = [_span(table, column) for table in _uses(query, contract)]
            first, last = min(span[0] for span in spans), max(span[1] for span in spans)
            if (first, last) != ANY:
                found[contract.table] = (first.isoformat(), last.isoformat())
    return found


def _uses(query: exp.Query, contract: Contract) -> Iterator[exp.Table]:
    database, name = contract.identifier
    for table in query.find_all(exp.Table):
        if (table.db, table.name) == (database, name):
            yield table


def _span(table: exp.Table, column: str) -> Span:
    """The dates to which the SELECT around a table limits its rows."""
    select = table.parent.parent if isinstance(table.parent, exp.From | exp.Join) else None
    where = select.args.get("where") if isinstance(select, exp.Select) else None
    if where is None or not isinstance(select, exp.Select):
        return ANY
    is_alone = not select.args.get("joins") and not select.args.get("laterals")
    names = {table.alias_or_name.lower(), "" if is_alone else table.alias_or_name.lower()}

    def is_column(side: exp.Expr) -> bool:
        return (
            isinstance(side, exp.Column)
            and side.name.lower() == column
            and side.table.lower() in names
        )

    first, last = ANY
    for condition in _conjuncts(where.this):
        low, high = _limits(condition, is_column)
        first, last = max(first, low), min(last, high)
    return first, last


def _conjuncts(condition: exp.Expr) -> Iterator[exp.Expr]:
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        yield from _conjuncts(condition.this)
        yield from _conjuncts(condition.expression)
    else:
        yield condition


def _limits(condition: exp.Expr, is_column: Callable[[exp.Expr], bool]) -> Span:
    """The first and the last date that a condition admits; dates at its ends count as admitted."""
    match condition:
        case exp.Between(this=side) if is_column(side):
            low, high = _date(condition.args["low"]), _date(condition.args["high"])
            return low or ANY[0], high or ANY[1]
        case exp.In(this=side, expressions=listed) if is_column(side) and listed:
            days = [_date(each) for each in listed]
            known = [day for day in days if day]
            return (min(known), max(known)) if len(known) == len(days) else ANY
        case exp.EQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
            side, other = condition.this, condition.expression
            kind: type[exp.Expr] = type(condition)
            if is_column(other):
                side, other, kind = other, side, FLIPPED[kind]
            day = _date(other) if is_column(side) else None
            if day:
                is_first, is_last = kind not in (exp.LT, exp.LTE), kind not in (exp.GT, exp.GTE)
                return day if is_first else ANY[0], day if is_last else ANY[1]
    return ANY


def _date(node: exp.Expr) -> date | None:
    """The date of a literal, as DATE '2026-11-24' or date('2026-11-24'); None for all else."""
    node = node.unnest()
    is_cast = isinstance(node, exp.Cast) and node.to.this == exp.DType.DATE
    is_call = isinstance(node, exp.Anonymous) and node.name.lower() == "date"
    if is_call and len(node.expressions) == 1:
        node = node.expressions[0]
    elif is_cast or isinstance(node, exp.Date):
        node = node.this
    else:
        return None
    if not isinstance(node, exp.Literal) or not ISO.fullmatch(node.name):
        return None
    try:
        return date.fromisoformat(node.name)
    except ValueError:
        return None
