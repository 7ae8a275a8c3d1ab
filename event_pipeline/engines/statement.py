"""Statements as every engine needs them, parsed."""

from collections.abc import Sequence

import sqlglot
from sqlglot import exp

from event_pipeline.contracts import TABLES, Contract
from event_pipeline.errors import QueryError, first_line


def athena_query(text: str) -> exp.Query:
    """One SELECT in Athena's dialect. Raises QueryError with one clear line."""
    try:
        parsed = sqlglot.parse(text, read="athena")
    except sqlglot.errors.SqlglotError as error:
        raise QueryError(first_line(error)) from None
    if len(parsed) != 1 or not isinstance(parsed[0], exp.Query):
        raise QueryError("one SELECT statement is expected")
    return parsed[0]


def tables_of(query: exp.Query) -> list[Contract]:
    """The tables that a query reads. Raises QueryError if there is no such table."""
    # A name without a database is one that the query itself defines, or unknown to the engine.
    names = sorted({f"{table.db}.{table.name}" for table in query.find_all(exp.Table) if table.db})
    for name in names:
        if name not in TABLES:
            choices = ", ".join(sorted(TABLES))
            raise QueryError(f"there is no table {name}; there are: {choices}")
    return [TABLES[name] for name in names]


def carrying(statement: str, columns: Sequence[str]) -> exp.Select:
    """A statement in Spark's SQL that also returns these columns of `raw`, row by row.

    Raises QueryError if it is not one SELECT.
    """
    parsed = sqlglot.parse_one(statement, read="spark")
    if not isinstance(parsed, exp.Select):
        raise QueryError(f"not one SELECT: {statement[:80]}")
    for select in parsed.find_all(exp.Select):
        if not any(isinstance(each, exp.Star) for each in select.expressions):
            select.select(*columns, copy=False)
    return parsed
