"""Athena's SQL as DuckDB's, so that a query has the same answer on both, or is refused.

A query is parsed with its functions as they are written (`grammar`); what is not known to mean the
same is refused. Then it is rewritten in two steps:

1. What the text alone decides: functions (`functions`, and `sql/athena/functions.sql`) and times in
   a zone (`zones`).
2. What the types of operands decide (`types`, `casts`): division, sums, casts and so on.
"""

from event_pipeline.engines.duckdb.athena.translation import Translation, translated

__all__ = ["Translation", "translated"]
