"""What a tick of the arrival sensor costs after three years."""

import sqlite3
import statistics
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from event_pipeline.assets.bronze import BRONZE_EVENTS
from event_pipeline.bronze import object_key
from event_pipeline.contracts import EVENTS
from event_pipeline.definitions import definitions
from event_pipeline.lake.objects import Objects
from event_pipeline.partitions import HOUR
from event_pipeline.settings import Settings
from event_pipeline.tags import DATA_VERSION
from event_pipeline_tests.dagster_lab import SILVER_EVENTS

DAYS = 3 * 365
TICKS = 20

COPY_EVENT = """
INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp, asset_key, partition)
SELECT run_id, event, dagster_event_type, timestamp, asset_key, ? FROM event_logs WHERE id = ?
"""
COPY_TAG = """
INSERT INTO asset_event_tags (event_id, asset_key, key, value, event_timestamp)
SELECT ?, asset_key, key, ?, event_timestamp FROM asset_event_tags WHERE event_id = ?
"""


def measure(folder: Path) -> dict[str, float]:
    """Milliseconds of a tick with an object in each of three years' hours, all on record.

    `tick_ms` is the median, `first_tick_ms` also opens what a process opens once. Preparing is
    not counted in, and takes some ten seconds.
    """
    now = datetime.now(UTC)
    settings = Settings(home=folder, first_day=(now - timedelta(days=DAYS)).date())
    hours = int((now - settings.first_hour) / HOUR)
    for n in range(hours):
        # What is in an object does not matter here.
        path = settings.lake / object_key(settings.first_hour + n * HOUR)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    objects = Objects(root=str(settings.lake))
    days = [settings.first_day + timedelta(n) for n in range(DAYS + 1)]
    versions = {
        key: found.digest for day in days for key, found in objects.day(EVENTS, day).items()
    }
    defs = definitions(settings)
    (folder / "dagster").mkdir(exist_ok=True)
    with dg.DagsterInstance.local_temp(str(folder / "dagster")) as instance:
        for asset in (BRONZE_EVENTS, SILVER_EVENTS):
            _record(instance, asset, versions, folder)
        sensor, cursor, milliseconds = defs.resolve_sensor_def("arrivals"), None, []
        for _ in range(TICKS):
            started = time.perf_counter()
            with dg.build_sensor_context(
                instance=instance,
                cursor=cursor,
                definitions=defs,
                sensor_name="arrivals",
                resources=defs.resources,
            ) as context:
                tick = sensor.evaluate_tick(context)
            milliseconds.append(1000 * (time.perf_counter() - started))
            cursor = tick.cursor
            if tick.run_requests or tick.asset_events:
                raise RuntimeError("everything is on record, and yet the sensor asks")
    return {
        "hours_on_record": len(versions),
        "first_tick_ms": milliseconds[0],
        "tick_ms": statistics.median(milliseconds[1:]),
    }


def _record(
    instance: dg.DagsterInstance, asset: dg.AssetKey, versions: Mapping[str, str], folder: Path
) -> None:
    """Puts each partition on record: the first by Dagster, the others as copies of its rows.

    Dagster itself takes 150 a second.
    """
    (first, version), *others = versions.items()
    instance.report_runless_asset_event(
        dg.AssetMaterialization(asset, partition=first, tags={DATA_VERSION: version})
    )
    (index,) = folder.glob("dagster/**/index.db")
    with sqlite3.connect(index) as database:
        (template,) = database.execute("SELECT max(id) FROM event_logs").fetchone()
        for partition, version in others:
            copied = database.execute(COPY_EVENT, (partition, template)).lastrowid
            database.execute(COPY_TAG, (copied, version, template))
    database.close()
