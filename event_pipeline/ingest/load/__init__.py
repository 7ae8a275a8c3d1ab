"""Bring your own files: read as they are, mapped by one SELECT, judged, then written to Bronze.

The way of a load: `sources` finds the files, `unpacking` and `reading` make of each the table
`input` of texts, `mapping` maps it to a dataset's fields, `judging` says what Silver would say of
the rows, `writing` writes them, and `ledger` remembers what was written.
"""

from event_pipeline.ingest.load.ledger import Load, Loads
from event_pipeline.ingest.load.loading import Loaded, Order, load, take_back
from event_pipeline.ingest.load.places import given_drop, given_hour
from event_pipeline.ingest.load.reading import Spelling
from event_pipeline.ingest.load.sources import Source, find_sources

__all__ = [
    "Load",
    "Loaded",
    "Loads",
    "Order",
    "Source",
    "Spelling",
    "find_sources",
    "given_drop",
    "given_hour",
    "load",
    "take_back",
]
