"""Requests as `jobs/transform.py` takes them: JSON, with statements and types ready for Spark."""

from collections.abc import Collection
from dataclasses import asdict
from functools import cache
from typing import Any

from sqlglot import exp, parse_one, transpile

from event_pipeline.contracts import TABLES
from event_pipeline.contracts.carrying import carry_columns
from event_pipeline.engines import DeriveRequest, TransformRequest
from event_pipeline.jobs import CARRIED


def as_json(request: TransformRequest) -> dict[str, Any]:
    """A Transformer's request as `jobs/transform.py` takes it.

    It has the fields of TransformRequest and `is_nested`. The statement also returns CARRIED. The
    roll-ups' statements read the view `view` in place of the table, and `sums` has the Spark SQL of
    each aggregate.
    """
    return {
        **asdict(request),
        "statement": _carrying(request.statement),
        "numbers": sorted(request.numbers),
        "is_nested": request.is_nested,
        "columns": _spark_columns(request.columns),
        "view": _view(request.table),
        "roll_ups": [
            {
                "table": each.table,
                "statement": _over_views(each.statement, [request.table]),
                "columns": _spark_columns(each.columns),
            }
            for each in request.roll_ups
        ],
        "sums": {sql: transpile(sql, "athena", "spark")[0] for sql in request.sums},
    }


@cache
def _carrying(statement: str) -> str:
    """A statement in Spark's SQL, which passes CARRIED on."""
    return carry_columns(statement, CARRIED).sql(dialect="spark")


def derivation_as_json(request: DeriveRequest) -> dict[str, Any]:
    """A request to derive a table as `jobs/transform.py` takes it.

    It has the fields of DeriveRequest and `tables`, with the `view`, `files` and `columns` of each
    input. The statement reads the views in place of the tables.
    """
    return {
        **asdict(request),
        "statement": _over_views(request.statement, request.inputs),
        "columns": _spark_columns(request.columns),
        "tables": [
            {
                "view": _view(name),
                "files": files,
                "columns": _spark_columns(TABLES[name].typed_columns),
            }
            for name, files in request.inputs.items()
        ],
    }


def _view(table: str) -> str:
    return table.replace(".", "__")


def _over_views(statement: str, tables: Collection[str]) -> str:
    """A statement that reads views in place of tables."""
    query = parse_one(statement, read="spark")
    for table in query.find_all(exp.Table):
        if (name := f"{table.db}.{table.name}") in tables:
            table.replace(exp.to_table(_view(name), alias=table.alias or table.name))
    return query.sql(dialect="spark")


def _spark_columns(columns: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """Columns with Spark's types: its `timestamp` is an instant, not a time without zone."""
    return [(name, "timestamp_ntz" if kind == "timestamp" else kind) for name, kind in columns]
