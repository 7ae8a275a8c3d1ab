"""`make bench`: prints a table and writes build/bench.json, whose `ratios` compare.

Machines are noisy: what is compared runs in turn, several times, and the median of the pairwise
ratios counts.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from event_pipeline.ingest.drops import FILES, DropProfile, generate_drop
from event_pipeline.ingest.generator import Profile
from event_pipeline.ingest.handler import FolderStore, ingest, last_whole_slot, slots_of_hour
from event_pipeline.partitions import HOUR, HOURLY
from event_pipeline.terminal import print_records, stdout
from event_pipeline_tests.benchmarks.results import record

# The source's real volume is 500,000 to 750,000 events a slot.
EVENTS_PER_SLOT = 600_000
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))


def main() -> None:
    """Runs everything; about fifteen minutes."""
    with _folder() as lake:
        hour = last_whole_slot(datetime.now(UTC)).replace(minute=0) - HOUR
        events = _generate(lake, hour)
        hours = [
            {
                **{
                    name: _alone("silver_hour", name, lake, HOURLY.key(hour))
                    for name in ("floor", "silver", "spark")
                },
                "original": _alone("original_hour", lake),
            }
            for _ in range(ROUNDS)
        ]
    with _folder() as folder:
        records = _generate_drop(folder)
        drops = [
            {name: _alone(name, folder) for name in ("original_drop", "drop")}
            for _ in range(ROUNDS)
        ]
    with _folder() as lake:
        by_size = _engine_by_size(lake)
    figures: dict[str, Any] = {
        "generator": events,
        "drop_generator": records,
        **{name: _median(hours, name) for name in hours[0]},
        **{name: _median(drops, name) for name in drops[0]},
        **{f"slot_by_{engine}": found for engine, found in by_size.items()},
    }
    ratios = {
        "silver_vs_floor": _ratio(hours, "silver", "floor"),
        "original_vs_silver": _ratio(hours, "original", "silver"),
        "original_vs_spark": _ratio(hours, "original", "spark"),
        "original_drop_vs_drop": _ratio(drops, "original_drop", "drop"),
    }
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "rounds": ROUNDS,
        "figures": figures,
        "engine_by_size": by_size,
        "ratios": ratios,
    }
    rows = [
        {"what": name, "figure": figure, "value": round(value, 2)}
        for name, group in figures.items()
        for figure, value in group.items()
    ]
    print_records(rows, "An hour of 12 slots, and a drop of three files; medians", stdout())
    for name, ratio in ratios.items():
        print(f"{name} {ratio:.2f} (the median of {ROUNDS} rounds)")
    record(**result)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="event-pipeline-bench-") as folder:
        yield Path(folder)


def _engine_by_size(lake: Path) -> dict[str, dict[str, float]]:
    """What an hour takes that has one slot so far, by engine; Spark's start is included."""
    hour = last_whole_slot(datetime.now(UTC)).replace(minute=0) - HOUR
    _generate(lake, hour, slots=1)
    return {
        engine: _alone("silver_hour", program, lake, HOURLY.key(hour))
        for engine, program in (("duckdb", "silver"), ("spark", "spark"))
    }


def _generate(lake: Path, hour: datetime, slots: int = 12) -> dict[str, float]:
    store, started, events = FolderStore(lake), time.monotonic(), 0
    for slot in list(slots_of_hour(hour))[:slots]:
        events += ingest(slot, store, Profile(events=EVENTS_PER_SLOT))["lines"]
    seconds = time.monotonic() - started
    return {"events": events, "seconds": seconds, "events_per_second": events / seconds}


def _generate_drop(folder: Path) -> dict[str, float]:
    """Writes the three files of a drop of the original's size, 1,000,000 records each."""
    started, records = time.monotonic(), 0
    for name in FILES:
        with (folder / f"{name}.json").open("wb") as file:
            for chunk in generate_drop(datetime.now(UTC).date(), name, DropProfile()):
                records += chunk.count(b"\n")
                file.write(chunk)
    seconds = time.monotonic() - started
    return {"records": records, "seconds": seconds, "records_per_second": records / seconds}


def _alone(program: str, *arguments: object) -> dict[str, float]:
    """What one of the programs beside this one measured, in a process of its own."""
    command = [sys.executable, "-m", f"event_pipeline_tests.benchmarks.{program}"]
    done = subprocess.run(
        [*command, *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    if "lines" in found:
        found["lines_per_second"] = found["lines"] / found["seconds"]
    return found


def _median(rounds: list[dict[str, dict[str, float]]], name: str) -> dict[str, float]:
    return {key: statistics.median(r[name][key] for r in rounds) for key in rounds[0][name]}


def _ratio(rounds: list[dict[str, dict[str, float]]], name: str, to: str) -> float:
    """How many times as long one took as the other, the median of the rounds."""
    ratio = statistics.median(r[name]["seconds"] / r[to]["seconds"] for r in rounds)
    return round(ratio, 3)


if __name__ == "__main__":
    main()
