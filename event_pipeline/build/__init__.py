"""Builds partitions: write, audit, publish. This is what an asset does, without Dagster.

A partition is left alone if its input and statement are those that it was built from. What does
not balance is not published.
"""

from event_pipeline.build.gold import build_gold, gold_digest
from event_pipeline.build.outcomes import Built, Failed
from event_pipeline.build.silver import build_silver

__all__ = ["Built", "Failed", "build_gold", "build_silver", "gold_digest"]
