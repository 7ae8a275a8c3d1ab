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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from event_pipeline.ingest.generator import Profile
from event_pipeline.ingest.handler import FolderStore, ingest, last_whole_slot, slots_of_hour
from event_pipeline.partitions import HOUR, HOURLY
from event_pipeline.terminal import print_records, stdout
from event_pipeline_tests.benchmarks import sensor_tick

# The source's real volume is 500,000 to 750,000 events a slot.
EVENTS_PER_SLOT = 600_000
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))


def main() -> None:
    """Runs everything; about three minutes."""
    with tempfile.TemporaryDirectory(prefix="event-pipeline-bench-") as folder:
        lake = Path(folder)
        hour = last_whole_slot(datetime.now(UTC)).replace(minute=0) - HOUR
        generated = _generate(lake, hour)
        rounds = [
            {name: _alone(name, lake, HOURLY.key(hour)) for name in ("floor", "silver")}
            for _ in range(ROUNDS)
        ]
    with tempfile.TemporaryDirectory(prefix="event-pipeline-bench-") as folder:
        tick = sensor_tick.measure(Path(folder))
    ratio = statistics.median(r["silver"]["seconds"] / r["floor"]["seconds"] for r in rounds)
    figures: dict[str, Any] = {
        "generator": generated,
        **{name: _median(rounds, name) for name in ("floor", "silver")},
        "sensor_tick": tick,
    }
    records = [
        {"what": name, "figure": figure, "value": round(value, 2)}
        for name, group in figures.items()
        for figure, value in group.items()
    ]
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "rounds": ROUNDS,
        "figures": figures,
        "ratios": {"silver_vs_floor": round(ratio, 3)},
    }
    out = Path("build/bench.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    print_records(records, "One hour in the source's format, 12 slots; medians", stdout())
    print(f"silver_vs_floor {ratio:.2f} (the median of {ROUNDS} rounds); written to {out}")


def _generate(lake: Path, hour: datetime) -> dict[str, float]:
    store, started, events = FolderStore(lake), time.monotonic(), 0
    for slot in slots_of_hour(hour):
        events += ingest(slot, store, Profile(events=EVENTS_PER_SLOT))["lines"]
    seconds = time.monotonic() - started
    return {"events": events, "seconds": seconds, "events_per_second": events / seconds}


def _alone(name: str, lake: Path, hour: str) -> dict[str, float]:
    module = "event_pipeline_tests.benchmarks.silver_hour"
    command = [sys.executable, "-m", module, name, str(lake), hour]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return {**found, "lines_per_second": found["lines"] / found["seconds"]}


def _median(rounds: list[dict[str, dict[str, float]]], name: str) -> dict[str, float]:
    return {key: statistics.median(r[name][key] for r in rounds) for key in rounds[0][name]}


if __name__ == "__main__":
    main()
