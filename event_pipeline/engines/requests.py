"""Requests as `jobs/transform.py` takes them: JSON, with statements and types ready for Spark."""

from dataclasses import asdict
from functools import cache
from typing import Any

from sqlglot import exp, parse_one

from event_pipeline.contracts import TABLES
from event_pipeline.contracts.carrying import carrying
from event_pipeline.engines import DeriveRequest, TransformRequest
from event_pipeline.jobs import CARRIED


def as_json(request: TransformRequest) -> dict[str, Any]:
    """A Transformer's request as `jobs/transform.py` takes it.

    It has the fields of TransformRequest and `is_nested`. The statement also returns CARRIED.
    """
    return {
        **asdict(request),
        "statement": _carrying(request.statement),
        "numbers": sorted(request.numbers),
        "is_nested": request.is_nested,
        "columns": _spark_columns(request.columns),
    }


@cache
def _carrying(statement: str) -> str:
    """A statement in Spark's SQL, which passes CARRIED on."""
    return carrying(statement, CARRIED).sql(dialect="spark")


def derivation_as_json(request: DeriveRequest) -> dict[str, Any]:
    """A request to derive a table as `jobs/transform.py` takes it.

    It has the fields of DeriveRequest and `tables`, with the `view`, `files` and `columns` of each
    input. The statement reads the views in place of the tables.
    """
    views = {name: name.replace(".", "__") for name in request.inputs}
    query = parse_one(request.statement, read="spark")
    for table in query.find_all(exp.Table):
        if view := views.get(f"{table.db}.{table.name}"):
            table.replace(exp.to_table(view, alias=table.alias or table.name))
    return {
        **asdict(request),
        "statement": query.sql(dialect="spark"),
        "columns": _spark_columns(request.columns),
        "tables": [
            {
                "view": views[name],
                "files": files,
                "columns": _spark_columns(TABLES[name].typed_columns),
            }
            for name, files in request.inputs.items()
        ],
    }


def _spark_columns(columns: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """Columns with Spark's types: its `timestamp` is an instant, not a time without zone."""
    return [(name, "timestamp_ntz" if kind == "timestamp" else kind) for name, kind in columns]
