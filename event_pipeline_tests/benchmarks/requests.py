"""How many requests of AWS a slot takes, and a tick that finds nothing: `make bench-requests`.

They are counted in the twin, and are units of `deploy/cost.py`. A slot arrives in the middle of its
hour, and the hour in the middle of its day, after two other days. Objects are small, so nothing is
uploaded in parts.

Settings in the environment hold, as those that choose an engine do. Takes some minutes.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import dagster as dg
from pyiceberg.manifest import clear_manifest_cache
from rich.console import Console

from event_pipeline import aws
from event_pipeline.ingest.generator import Profile
from event_pipeline.ingest.handler import ingest, open_store, slots_of_hour
from event_pipeline.lake import cache, objects, s3
from event_pipeline.partitions import DAY, HOUR, HOURLY
from event_pipeline.sensors import STAGES
from event_pipeline.settings import PREFIX
from event_pipeline.terminal import print_records, stdout
from event_pipeline_tests.dagster_lab import SILVER_ASSETS, Lab, requests
from event_pipeline_tests.twin.graph import deployed, environment, read
from event_pipeline_tests.twin.server import Call, Twin

T = TypeVar("T")
NO_LATE_ONES = Profile(events=30, late_share=0)
SLOTS_BEFORE = 6


def main() -> None:
    """Counts, and prints a table."""
    own = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    with tempfile.TemporaryDirectory(prefix="event-pipeline-requests-") as name, Twin() as twin:
        folder, given = Path(name), {f"{PREFIX}SILVER_THROTTLE_MINUTES": "0"}
        with (folder / "log").open("w") as log:
            deployed(twin, folder / "env", Console(file=log), ScheduleState="DISABLED")
        with environment({**read(folder / "env"), **given, **own}):
            print_records(list(_counts(twin, folder)), "Requests", stdout())


def _counts(twin: Twin, folder: Path) -> Iterator[dict[str, int | str]]:
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - DAY
    first = noon - timedelta(days=2, hours=12)
    with dg.DagsterInstance.ephemeral() as instance:

        def fresh() -> Lab:
            """A process that has read nothing yet, as each run is."""
            _forget()
            return Lab(folder, instance, first_day=first.date())

        def counted(what: str, do: Callable[[], T]) -> tuple[dict[str, int | str], T]:
            before = len(twin.calls())
            done = do()
            return {"what": what, **_by_price(twin.calls()[before:])}, done

        code = fresh()
        store = open_store(code.settings.root, aws.client)
        hours = [first + n * HOUR for n in range((noon - first) // HOUR)]
        *before, arriving = slots_of_hour(noon)[: SLOTS_BEFORE + 1]
        for slot in [*(slot for hour in hours for slot in slots_of_hour(hour)), *before]:
            ingest(slot, store, NO_LATE_ONES)
        keys = [HOURLY.key(hour) for hour in (first, noon)]
        assert fresh().materialize_range(SILVER_ASSETS, *keys).success
        code = fresh()
        code.tick("arrivals")
        assert code.settle("arrivals") == []
        code.settle("gold_refresh")

        with _quiet(code):
            for stage in STAGES:
                code.tick(stage.name)
            for stage in STAGES:
                yield counted(f"idle tick of {stage.name}", lambda: code.tick(stage.name))[0]  # noqa: B023
        ingest(arriving, store, NO_LATE_ONES)
        for sensor, what in (("arrivals", "Silver of an hour"), ("gold_refresh", "Gold of a day")):
            count, tick = counted(f"tick of {sensor} with news", lambda: code.tick(sensor))  # noqa: B023
            yield count
            [request] = requests(tick)
            run = fresh()
            count, result = counted(what, lambda: run.run(request))  # noqa: B023
            assert result.success
            yield count


@contextmanager
def _quiet(lab: Lab) -> Iterator[None]:
    """Sees that the sensors ask for nothing, before and after."""
    assert [requests(lab.tick(stage.name)) for stage in STAGES] == [[] for _ in STAGES]
    yield
    assert [requests(lab.tick(stage.name)) for stage in STAGES] == [[] for _ in STAGES]


def _by_price(calls: list[Call]) -> dict[str, int]:
    """How many there are of each price, those by the role of Glue apart."""
    found: Counter[str] = Counter()
    for call in calls:
        by = "Glue's " if ":role/" in call.principal and "GlueRole" in call.principal else ""
        match call.action:
            case "s3:PutObject" | "s3:ListBucket":
                found[f"{by}PUT and LIST"] += 1
            case "s3:GetObject" | "s3:GetBucketLocation":
                found[f"{by}GET"] += 1
            # Each call of the catalog needs one permission of it, and more of what is in it.
            case action if action.startswith("glue:") and call.resource.endswith(":catalog"):
                found["catalog"] += 1
    names = ("PUT and LIST", "GET", "catalog", "Glue's PUT and LIST", "Glue's GET")
    return {name: found[name] for name in names}


def _forget() -> None:
    """Forgets what this process has read."""
    aws.clear_caches()
    for cached in (objects._store_at, objects._sniffed, objects._sha256):
        cached.cache_clear()
    s3._read.clear()
    cache._read.clear()
    clear_manifest_cache()


if __name__ == "__main__":
    main()
