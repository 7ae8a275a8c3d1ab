"""The ingester as the graph sees it: makes the slots of an hour that are not there yet."""

from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from event_pipeline.ingest import handler
from event_pipeline.ingest.generator import Profile
from event_pipeline.partitions import HOURLY


class Ingester(dg.ConfigurableResource[Any], ABC):
    """Feeds Bronze."""

    @abstractmethod
    def ingest_hour(self, key: str) -> list[handler.Result]:
        """Writes the hour's slots that are over; slots that are there stay as they are."""


class LocalIngester(Ingester):
    """Runs the Lambda's code in this process, on the folder `root`."""

    root: str
    events: int
    seed: int
    mode: str
    late_share: float
    fault_share: float

    def ingest_hour(self, key: str) -> list[handler.Result]:
        """Writes the hour's slots that are over, one after the other."""
        store = handler.FolderStore(self.root)
        profile = Profile(
            events=self.events,
            seed=self.seed,
            mode=self.mode,  # type: ignore[arg-type]
            late_share=self.late_share,
            fault_share=self.fault_share,
        )
        last = handler.last_whole_slot(datetime.now(UTC))
        slots = handler.slots_of_hour(HOURLY.start(key))
        return [handler.ingest(slot, store, profile) for slot in slots if slot <= last]
