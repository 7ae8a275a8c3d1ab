"""Statements that pass on columns beside their own, row by row."""

from collections.abc import Sequence

import sqlglot
from sqlglot import exp

from event_pipeline.errors import QueryError


def carry_columns(statement: str, columns: Sequence[str]) -> exp.Select:
    """A Spark SQL statement, changed so that each row also has these columns of `raw`.

    Raises QueryError if it is not one SELECT.
    """
    parsed = sqlglot.parse_one(statement, read="spark")
    if not isinstance(parsed, exp.Select):
        raise QueryError(f"not one SELECT: {statement[:80]}")
    for select in parsed.find_all(exp.Select):
        if not any(isinstance(each, exp.Star) for each in select.expressions):
            select.select(*columns, copy=False)
    return parsed
