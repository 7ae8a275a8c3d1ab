"""`make bench-day`: a day of the source's volume, slot by slot, from objects to refreshed Gold.

Generates a day's 288 objects of 625,000 events each, of which some are late and some broken. Then
they arrive in order: after each, its hour of Silver and the Gold tables of the dates that it
touched are built, as a run does it. Prints seconds, and writes them into build/bench.json as `day`.

By default, only four hours arrive slot by slot, the first two, the middle one and the last; each of
the others arrives whole. What a day costs is then the mean of these four hours times 24.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from event_pipeline.bronze import manifest_key, object_key
from event_pipeline.build import Failed, build_gold, build_silver
from event_pipeline.contracts import EVENTS, GOLD, TABLES
from event_pipeline.ingest.generator import Profile
from event_pipeline.ingest.handler import FolderStore, ingest, slots_of_hour
from event_pipeline.lake.leftovers import remove_leftovers
from event_pipeline.partitions import HOUR, HOURLY
from event_pipeline.resources import resources
from event_pipeline.settings import Settings
from event_pipeline_tests.benchmarks.plain_spark import peak_mb
from event_pipeline_tests.benchmarks.results import record

LATE_SHARE, FAULT_SHARE = 0.01, 0.001


@dataclass(frozen=True)
class Slot:
    """What one slot took: seconds of Silver and of Gold, and CPU seconds of both."""

    silver: float
    gold: float
    cpu: float

    @property
    def seconds(self) -> float:
        """From the object to refreshed Gold."""
        return self.silver + self.gold


def main() -> None:
    """Plays the day; up to 25 minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--events", type=int, default=625_000, help="Events of a slot.")
    parser.add_argument("--every-slot", action="store_true", help="Play every hour slot by slot.")
    chosen = parser.parse_args()
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - timedelta(days=1)
    with tempfile.TemporaryDirectory(prefix="event-pipeline-day-") as folder:
        hours = [start + n * HOUR for n in range(chosen.hours)]
        began = time.monotonic()
        with ProcessPoolExecutor() as processes:
            make = partial(generate, Path(folder) / "made", chosen.events)
            events = sum(processes.map(make, hours))
        generated = time.monotonic() - began
        played = {0, 1, len(hours) // 2, len(hours) - 1}
        slots = _play(Path(folder), hours, set(range(24)) if chosen.every_slot else played)
    figures = _figures(slots, events, generated)
    for name, value in figures.items():
        print(f"{name:28} {value:,}")
    record(day=figures)


def generate(lake: Path, events: int, hour: datetime) -> int:
    """Makes an hour's objects; returns the number of their events."""
    profile = Profile(events=events, late_share=LATE_SHARE, fault_share=FAULT_SHARE)
    store = FolderStore(lake)
    return sum(ingest(slot, store, profile)["lines"] for slot in slots_of_hour(hour))


def _play(folder: Path, hours: list[datetime], slot_by_slot: set[int]) -> list[list[Slot]]:
    """What each slot took, by hour, of the hours that arrive slot by slot."""
    lake = folder / "lake"
    lake.mkdir()
    used = resources(Settings(home=folder, target="local"))
    found = []
    for n, hour in enumerate(hours):
        slots = []
        for slot in slots_of_hour(hour):
            for key in (manifest_key(object_key(slot)), object_key(slot)):
                (lake / key).parent.mkdir(parents=True, exist_ok=True)
                (folder / "made" / key).rename(lake / key)
            if n in slot_by_slot:
                slots.append(refresh(used, hour))
        last = (slots or [refresh(used, hour)])[-1]
        print(f"{hour:%H}:55 Silver {last.silver:.1f} s, Gold {last.gold:.1f} s", flush=True)
        found += [slots] if slots else []
        for contract in TABLES.values():  # the disk need not hold every build of the day
            remove_leftovers(used.lake, contract, time.time())
    return found


def refresh(used: Any, hour: datetime) -> Slot:
    cpu, began = _cpu(), time.monotonic()
    [built] = build_silver(
        EVENTS,
        [HOURLY.key(hour)],
        objects=used.objects,
        transformer=used.transformer,
        lake=used.lake,
        recorded={},
        redelivery_hours=48,
    )
    assert not isinstance(built, Failed), built.error
    silver = time.monotonic() - began
    for contract in (each for each in GOLD if each.inputs == (EVENTS,)):
        for made in build_gold(
            contract,
            built.receipt.touched,
            transformer=used.transformer,
            querier=used.querier,
            lake=used.lake,
        ):
            assert not isinstance(made, Failed), made.error
    return Slot(silver, time.monotonic() - began - silver, _cpu() - cpu)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _figures(hours: list[list[Slot]], events: int, generated: float) -> dict[str, float]:
    slots = [slot for hour in hours for slot in hour]
    second, middle, last = hours[1][-1], hours[len(hours) // 2][-1], hours[-1][-1]
    figures = {
        "events": float(events),
        "slots_played": float(len(slots)),
        "generator_seconds": generated,
        "first_slot_seconds": slots[0].seconds,
        "second_hour_last_slot_seconds": second.seconds,
        "middle_hour_last_slot_seconds": middle.seconds,
        "last_slot_seconds": last.seconds,
        "last_slot_silver_seconds": last.silver,
        "last_slot_gold_seconds": last.gold,
        "last_vs_second_hour": last.seconds / second.seconds,
        "median_slot_seconds": statistics.median(slot.seconds for slot in slots),
        "day_seconds": 24 * sum(slot.seconds for slot in slots) / len(hours),
        "day_cpu_seconds": 24 * sum(slot.cpu for slot in slots) / len(hours),
        "peak_mb": peak_mb(),
        "cores": float(os.cpu_count() or 0),
    }
    return {name: round(value, 2) for name, value in figures.items()}


if __name__ == "__main__":
    main()
