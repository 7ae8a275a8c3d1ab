"""The embedded engine: DuckDB runs the Silver and Gold statements, translated by SQLGlot.

A partition goes through in one stream: unzip, read lines, parse, judge, write. What the statement
refuses is taken out of that stream on its way; duplicates and conflicts are looked for in the
written file and removed by a second pass only if there are any, since there seldom are.
"""

from event_pipeline.engines.duckdb.querier import DuckDBQuerier
from event_pipeline.engines.duckdb.transformer import DuckDBTransformer

__all__ = ["DuckDBQuerier", "DuckDBTransformer"]
