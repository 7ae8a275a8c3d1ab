"""Translates Athena's SQL for DuckDB. A query has the same answer on both, or is refused.

A query is parsed with its functions as they are written (`grammar`). Anything that is not known to
mean the same on both is refused. Then the query is rewritten in two steps:

1. by its text alone: functions (`functions`, and `sql/athena/functions.sql`) and times in a zone
   (`zones`);
2. by the types of operands (`types`, `casts`): division, sums, casts and so on.
"""

from event_pipeline.engines.duckdb.athena.translation import Translation, translated

__all__ = ["Translation", "translated"]
