"""The Silver statements as every engine needs them: with columns that travel beside their own."""

from collections.abc import Sequence

import sqlglot
from sqlglot import exp

from event_pipeline.errors import QueryError


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
