"""Checks statements against their contracts: columns, tables and reasons.

A contract checks itself when it is made. This check has to parse the SQL, which takes a moment, so
it is done once: when the graph is put together or a command runs an engine.
"""

from collections.abc import Collection, Generator, Iterator, Mapping
from functools import cache
from pathlib import Path

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope

from event_pipeline.contracts.contract import (
    Contract,
    GoldContract,
    MadeContract,
    RollUpContract,
    SilverContract,
)
from event_pipeline.contracts.mapping import RAW, mapping_mistakes
from event_pipeline.errors import ContractError, first_line

REASONS = "reasons"
_NOT_A_ROW_A_LINE = {
    exp.Where: "a WHERE",
    exp.Join: "a JOIN",
    exp.Group: "a GROUP BY",
    exp.Having: "a HAVING",
    exp.Distinct: "a DISTINCT",
    exp.Limit: "a LIMIT",
    exp.AggFunc: "an aggregate",
}


@cache
def check_statement(contract: MadeContract) -> None:
    """Raises ContractError if a statement and its contract disagree, in one line that names both.

    The statement must read the tables that the contract names, and give the contract's columns and
    no others. A Silver statement must give exactly the names of the contract's rules as reasons.
    """
    if isinstance(contract, SilverContract) and contract.bronze.mapping:
        _check(contract, "mapping", contract.bronze.mapping_path, mapping_mistakes(contract))
    _check(contract, "statement", contract.sql_path, _mistakes(contract))
    if isinstance(contract, GoldContract) and contract.rolled:
        _check(contract, "rolled", contract.rolled_path, _rolled_mistakes(contract))


def _check(contract: MadeContract, what: str, file: Path, mistakes: Iterator[str]) -> None:
    try:
        for mistake in mistakes:
            raise ContractError(contract.asset, mistake, str(file))
    except SqlglotError as error:
        raise ContractError(contract.asset, f"{what}: {first_line(error)}", str(file)) from None


def _mistakes(contract: MadeContract) -> Iterator[str]:
    match contract:
        case SilverContract():
            # The engines add the partition column.
            wanted = {*contract.column_names, REASONS} - {contract.partition}
            tables = {RAW: dict.fromkeys(contract.source, "string")}
            query = _parsed(contract.sql, "spark")
            yield from _shape_mistakes(query)
            found = yield from _select_mistakes(query, "spark", tables, wanted)
            yield from _reason_mistakes(found, contract.rules)
        case RollUpContract():
            wanted = {*contract.column_names} - {contract.partition}
            query = _parsed(contract.sql, "spark")
            yield from _select_mistakes(query, "spark", _types([contract.of]), wanted)
        case GoldContract():
            query, wanted = _parsed(contract.sql, contract.dialect), set(contract.column_names)
            yield from _select_mistakes(query, contract.dialect, _types(contract.inputs), wanted)


def _rolled_mistakes(contract: GoldContract) -> Iterator[str]:
    """What is wrong with the statement over roll-ups, and with totals that must add up."""
    query, wanted = _parsed(contract.rolled_sql, contract.dialect), set(contract.column_names)
    yield from _select_mistakes(query, contract.dialect, _types(contract.roll_ups), wanted)
    for total in contract.totals:
        aggregate = sqlglot.parse_one(total.silver, read="athena")
        adds_up = isinstance(aggregate, exp.Count | exp.CountIf | exp.Sum)
        if not adds_up or aggregate.find(exp.Distinct):
            yield f"totals.silver {total.silver!r}: must be a count or a sum, as these add up"


def _types(contracts: Collection[Contract]) -> dict[str, dict[str, str]]:
    return {each.table: each.types for each in contracts}


def _parsed(sql: str, dialect: str) -> exp.Query:
    query = sqlglot.parse_one(sql, read=dialect)
    if not isinstance(query, exp.Query):
        raise SqlglotError("must be one SELECT")
    return query


def _select_mistakes(
    query: exp.Query, dialect: str, tables: Mapping[str, dict[str, str]], wanted: Collection[str]
) -> Generator[str, None, exp.Expr]:
    """Mistakes in the tables and columns of a query; returns it with all names resolved.

    `tables` are those that it must read, with their columns' types. `wanted` are the columns that
    it must give.
    """
    yield from _table_mistakes(query, set(tables))
    schema: dict[str, object] = {name.rpartition(".")[2]: each for name, each in tables.items()}
    # Names are not quoted, since the tables' columns do not depend on case.
    found = qualify(query, schema=schema, dialect=dialect, quote_identifiers=False)
    yield from _column_mistakes([name.lower() for name in found.named_selects], wanted)
    return found


def _shape_mistakes(query: exp.Query) -> Iterator[str]:
    """What keeps a statement of Silver from giving one row for each line."""
    if not isinstance(query, exp.Select):
        yield "statement: must be one SELECT that gives one row for each line"
    for kind, name in _NOT_A_ROW_A_LINE.items():
        if query.find(kind):
            yield f"statement: has {name}, but must give one row for each line of raw"


def _table_mistakes(query: exp.Query, wanted: set[str]) -> Iterator[str]:
    """Tables that are read but are not inputs, and inputs that are not read."""
    defined = {each.alias.lower() for each in query.find_all(exp.CTE)}
    read = set()
    for table in query.find_all(exp.Table):
        name = ".".join(part.name.lower() for part in table.parts)
        if name in defined:
            continue
        read.add(name)
        # The schema names tables without their layer, so the query has to do so, too.
        table.set("db", None)
    yield from _differences("table", read, wanted, "inputs")


def _column_mistakes(found: Collection[str], wanted: Collection[str]) -> Iterator[str]:
    for name in found:
        if list(found).count(name) > 1:
            yield f"statement: gives the column {name} twice"
    yield from _differences("column", set(found), set(wanted), "columns")


def _differences(what: str, found: set[str], wanted: set[str], field: str) -> Iterator[str]:
    if extra := sorted(found - wanted):
        choices = ", ".join(sorted(wanted))
        yield f"statement: {what} {extra[0]} is not among the contract's {field}: {choices}"
    if absent := sorted(wanted - found):
        yield f"{field}: {what} {absent[0]} is not in the statement, which has {', '.join(found)}"


def _reason_mistakes(query: exp.Expr, rules: Collection[str]) -> Iterator[str]:
    scope = build_scope(query)
    assert scope is not None
    try:
        reasons = set(_texts_of(scope, REASONS))
    except _UnknownTextError as unknown:
        yield (
            f"statement: {unknown} among the reasons: each must be a literal, as in"
            " concat_ws(',', CASE WHEN ... THEN 'rule' END, ...)"
        )
        return
    if extra := sorted(reasons - set(rules)):
        yield f"rules: {extra[0]} is a reason in the statement, but not a rule of the contract"
    if absent := sorted(set(rules) - reasons):
        yield f"rules {absent[0]!r}: the statement never gives this reason"


class _UnknownTextError(Exception):
    """Raised for an expression whose possible texts cannot be told."""


def _texts_of(scope: Scope, name: str) -> Iterator[str]:
    """The texts that a column of a query may be made of."""
    query = scope.expression
    if not isinstance(query, exp.Select):
        raise _UnknownTextError(query.sql(dialect="spark")[:80])
    yield from _texts(scope, next(s for s in query.selects if s.alias_or_name.lower() == name))


def _texts(scope: Scope, expression: exp.Expr) -> Iterator[str]:
    match expression:
        case exp.Alias() | exp.Paren():
            yield from _texts(scope, expression.this)
        case exp.Literal() if expression.is_string:
            yield from filter(None, expression.this.split(","))
        case exp.Null():
            pass
        case exp.Case():
            results = [each.args["true"] for each in expression.args["ifs"]]
            for each in (*results, expression.args.get("default")):
                yield from _texts(scope, each or exp.null())
        case exp.If():
            for each in (expression.args["true"], expression.args.get("false")):
                yield from _texts(scope, each or exp.null())
        case exp.ConcatWs() | exp.Coalesce() | exp.Concat():
            for each in (expression.this, *expression.expressions):
                if isinstance(each, exp.Expr):
                    yield from _texts(scope, each)
        case exp.Column() if isinstance(source := scope.sources.get(expression.table), Scope):
            yield from _texts_of(source, expression.name.lower())
        case _:
            raise _UnknownTextError(expression.sql(dialect="spark"))
