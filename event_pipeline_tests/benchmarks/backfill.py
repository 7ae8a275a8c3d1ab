"""`make bench-backfill`: days of the source's volume by one command, beside hours one by one.

Generates a day's objects, builds some of its hours one by one as `bench-day` does, each with its
Gold, and then all of them in a fresh home by `event-pipeline sync`, which is killed half-way and
given again. Prints seconds, and writes them into build/bench.json as `backfill`.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from event_pipeline.contracts import EVENTS
from event_pipeline.lake.tables import Lake
from event_pipeline.partitions import HOUR
from event_pipeline.resources import resources
from event_pipeline.settings import Settings
from event_pipeline_tests.benchmarks.day import generate, refresh
from event_pipeline_tests.benchmarks.results import record

# Hours that are built one by one; the first also opens what a process opens once.
SINGLE = 6


def main() -> None:
    """Generates, builds and measures; some twenty minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--events", type=int, default=625_000, help="Events of a slot.")
    chosen = parser.parse_args()
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - timedelta(days=1)
    hours = [start + n * HOUR for n in range(chosen.hours)]
    with tempfile.TemporaryDirectory(prefix="event-pipeline-backfill-") as folder:
        single, home = Path(folder) / "single", Path(folder) / "home"
        with ProcessPoolExecutor() as processes:
            events = sum(processes.map(partial(generate, single / "lake", chosen.events), hours))
        used = resources(Settings(home=single, target="local"))
        seconds = [refresh(used, hour).seconds for hour in hours[: SINGLE + 1]][1:]
        home.mkdir()
        (single / "lake").rename(single / "made")
        (home / "lake").mkdir()
        (single / "made" / "bronze").rename(home / "lake" / "bronze")
        environment = {
            **os.environ,
            "EVENT_PIPELINE_HOME": str(home),
            "EVENT_PIPELINE_FIRST_DAY": start.date().isoformat(),
        }
        first, _ = _sync(environment, home, stop_after=len(hours) // 2)
        second, peak = _sync(environment, home)
        built = len(Lake(root=str(home / "lake")).folders(EVENTS))
        assert built == len(hours), f"{built} hours are built, not {len(hours)}"
    hour = statistics.median(seconds)
    figures = {
        "events": float(events),
        "hours": float(len(hours)),
        "single_hour_seconds": hour,
        "until_killed_seconds": first,
        "given_again_seconds": second,
        "vs_single_hours": (first + second) / (len(hours) * hour),
        "peak_mb": peak,
    }
    for name, value in figures.items():
        print(f"{name:28} {value:,.2f}")
    record(backfill={name: round(value, 2) for name, value in figures.items()})


def _sync(environment: dict[str, str], home: Path, stop_after: int = 0) -> tuple[float, float]:
    """Seconds and megabytes that the command took; it is killed once so many hours are there."""
    command = [str(Path(sys.executable).with_name("event-pipeline")), "sync"]
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while stop_after and process.poll() is None:
        if len(list((home / "lake/silver/events/data").glob("*/*/receipt.json"))) >= stop_after:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.2)
    _, status, used = os.wait4(process.pid, 0)
    # The parts of a generated day's lines that are refused need nobody.
    assert status == (signal.SIGKILL if stop_after else 0), status
    return time.monotonic() - began, used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
