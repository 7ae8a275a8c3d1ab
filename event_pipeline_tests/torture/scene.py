"""A home with a little of everything in Bronze, and what its tables hold once all is built."""

import gzip
import json
import shutil
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from event_pipeline import runs
from event_pipeline.bronze import object_key
from event_pipeline.contracts import TABLES
from event_pipeline.home import open_instance
from event_pipeline.ingest.drops import DropProfile, write_drop
from event_pipeline.ingest.handler import FolderStore
from event_pipeline.lake.tables import Lake
from event_pipeline.partitions import DAY, HOURLY
from event_pipeline.settings import Settings

LINES = 20
RECORDS = 30

Tables = dict[str, Counter[tuple[Any, ...]]]


@dataclass(frozen=True)
class Scene:
    """A home that is copied for each trial: two hours of events, and one drop."""

    home: Path
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def first_day(self) -> str:
        """The first partition: nothing older lies there, so that a sensor looks at little."""
        return (self.now - 3 * DAY).date().isoformat()

    def settings(self, home: Path) -> Settings:
        """The settings of a copy."""
        return Settings(home=home, first_day=self.first_day, memory_mb=512, threads=1)

    def environment(self, home: Path) -> dict[str, str]:
        """The same for a process of its own."""
        settings = self.settings(home)
        names = ("home", "first_day", "memory_mb", "threads")
        own = {f"EVENT_PIPELINE_{n.upper()}": str(getattr(settings, n)) for n in names}
        return {**own, "DAGSTER_HOME": str(settings.dagster_home)}

    def make(self) -> None:
        """Writes Bronze, and makes Dagster's databases, which takes seconds."""
        settings = self.settings(self.home)
        store = FolderStore(settings.lake)
        for hour in ("10", "11"):
            slot = HOURLY.start(f"{(self.now - DAY).date()}-{hour}:00")
            store.put(object_key(slot), _lines(slot))
        write_drop(store, (self.now - 2 * DAY).date(), DropProfile(RECORDS, fault_share=0.1))
        with open_instance(settings) as instance:
            assert runs.end_lost_runs(instance) == []

    def copy(self, to: Path) -> Path:
        """A home of its own for a trial."""
        shutil.copytree(self.home, to)
        return to


def tables(settings: Settings) -> Tables:
    """The rows of every table, each with how often it is there."""
    lake, found = Lake(root=str(settings.lake)), {}
    for name, contract in TABLES.items():
        paths = [path for live in lake.live(contract).values() for path in live.paths]
        rows = lake.read(contract, paths).to_pylist() if paths else []
        found[name] = Counter(tuple(map(str, row.values())) for row in rows)
    return found


def unfinished(settings: Settings) -> list[str]:
    """Runs that have not ended."""
    with open_instance(settings) as instance:
        found = instance.get_runs(dg.RunsFilter(statuses=list(runs.UNFINISHED)))
        return [run.run_id for run in found]


def _lines(slot: datetime) -> bytes:
    """Lines of an hour, some of them twice and some of no use."""
    good = [
        {
            "timestamp": (slot + timedelta(seconds=n)).isoformat(),
            "user_id": f"user-{n % 7}",
            "session_id": f"{slot:%H}-{n}",
            "event_type": "purchase" if n % 3 else "page_view",
            "product_id": f"product-{n % 5}",
            "quantity": n + 1,
            "price": 9.99,
            "category": "books",
        }
        for n in range(LINES)
    ]
    bad = [f"bad {slot:%H} {n}" for n in (1, 2)]
    lines = [json.dumps(line) for line in (*good, *good[:3])] + bad
    return gzip.compress("".join(line + "\n" for line in lines).encode())
