"""The embedded engine: DuckDB runs the Silver and Gold statements, translated by SQLGlot.

A partition is made in one stream: unzip, read lines, parse, judge, write. Lines that the statement
refuses leave the stream on the way. Duplicates and conflicts are rare. They are looked for in the
written file, and only if there are any does a second pass remove them.
"""

from event_pipeline.engines.duckdb.querier import DuckDBQuerier
from event_pipeline.engines.duckdb.transformer import DuckDBTransformer

__all__ = ["DuckDBQuerier", "DuckDBTransformer"]
