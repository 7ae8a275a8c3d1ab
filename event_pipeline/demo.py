"""The main job, watched: ingest, arrivals, Silver, Gold, with real runs in the home's instance."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from dagster._core.definitions.sensor_definition import SensorExecutionData
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from event_pipeline.automation import WHY
from event_pipeline.contracts import GOLD, SILVER, Contract
from event_pipeline.definitions import definitions
from event_pipeline.engines import Querier
from event_pipeline.home import open_instance
from event_pipeline.ingest.drops import FILES, DropProfile, file_key, write_drop
from event_pipeline.ingest.handler import open_store
from event_pipeline.ingest.ingester import Ingester
from event_pipeline.partitions import DAY, HOUR, HOURLY
from event_pipeline.report import ledger_records
from event_pipeline.resources import resources
from event_pipeline.settings import Settings
from event_pipeline.status import failures, in_need, survey
from event_pipeline.terminal import print_records

# Dagster's own log of every event would bury the progress; it is all in the UI.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
SHOWN_ROWS = 10
SHOWN_COLUMNS = 8
# Sensors in the order in which one's runs are another's input.
STAGES = {
    "arrivals": "Silver  arrival hours",
    "gold_refresh": "Gold    days",
    "drops": "Silver  tables of drops",
    "promotion": "Gold    complete drops",
}
PROCESS = "event_pipeline/process"
NEXT = """\
  make dev
      everything above in Dagster's UI, to click through
  event-pipeline query hourly_revenue --format csv
  event-pipeline query "SELECT event_type, count(*) FROM silver.events GROUP BY event_type"
      Athena SQL over the tables (with the environment: source .venv/bin/activate)
  event-pipeline load FILE --sql MAPPING.sql
      your own events: see README.md"""


def run_demo(settings: Settings, hours: int, console: Console) -> bool:
    """Runs the last whole hours of events and a drop through the graph; False if a run fails."""
    started = time.monotonic()
    used = resources(settings)
    console.print(f"Home: {settings.home.absolute()}", highlight=False)
    with open_instance(settings) as instance, _progress(console) as progress:
        _ingest(used.ingester, hours, progress)
        _drop(settings, progress)
        ok = _follow_sensors(_eager(settings), instance, progress)
    for contract in GOLD:
        _show(used.querier, contract, console)
    print_records(
        ledger_records(used.lake, settings),
        "Ledger: lines = rows + duplicates + quarantined",
        console,
    )
    _show_quarantine(used.querier, console)
    took = time.monotonic() - started
    console.print(f"\nDone in {took:.0f} s. Next:\n{NEXT}", highlight=False, markup=False)
    return ok


def run_sync(settings: Settings, console: Console) -> bool:
    """Evaluates the sensors over all of Bronze until they ask no more.

    False if a run fails, or if something of what is built needs a person; then it says what.
    """
    with open_instance(settings) as instance:
        with _progress(console) as progress:
            ok = _follow_sensors(_eager(settings), instance, progress)
        sections = survey(settings, instance)
    for line in in_need(sections):
        console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    return ok and not failures(sections)


def _eager(settings: Settings) -> dg.Definitions:
    """The graph, its sensors looking at everything at once."""
    without_end = {"audit_days_per_tick": None, "runs_per_tick": 1_000_000}
    return definitions(settings.model_copy(update=without_end))


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[said]}"),
        console=console,
    )


def _ingest(ingester: Ingester, hours: int, progress: Progress) -> None:
    """Writes the slots of the last whole hours, an hour at a time."""
    now = datetime.now(UTC)
    task = progress.add_task("Ingest  5-minute slots", total=hours * 12, said="")
    events = 0
    for n in range(hours, 0, -1):
        results = ingester.ingest_hour(HOURLY.key(now - n * HOUR))
        events += sum(r["lines"] for r in results)
        progress.update(task, advance=len(results), said=f"{events:,} events")
    progress.stop_task(task)


def _drop(settings: Settings, progress: Progress) -> None:
    """Uploads yesterday's commerce drop, as the shop's other systems would."""
    day = (datetime.now(UTC) - DAY).date()
    task = progress.add_task("Upload  a commerce drop", total=len(FILES), said="")
    store = open_store(settings.root)
    if all(store.exists(file_key(day, name)) for name in FILES):
        progress.update(task, completed=len(FILES), said="there already")
        return
    profile = DropProfile(
        settings.records_per_drop, settings.seed, settings.fault_share, settings.unknown_share
    )
    lines = write_drop(store, day, profile)
    progress.update(task, completed=len(FILES), said=f"{sum(lines.values()):,} records")


def _follow_sensors(defs: dg.Definitions, instance: dg.DagsterInstance, progress: Progress) -> bool:
    """Evaluates each sensor in turn and executes what it asks for, until it asks no more."""
    failed = 0
    _end_lost_runs(instance)
    for name, title in STAGES.items():
        done, said = 0, ""
        task = progress.add_task(title, total=0, said="the sensor looks")
        for tick in _ticks(defs, instance, name):
            # Of the last tick, which asks for nothing: what waits, and for what.
            said = tick.skip_message or ""
            for request in tick.run_requests or ():
                progress.update(task, total=done + 1, said=str(request.partition_key))
                if why := request.tags.get(WHY):
                    progress.console.print(f"{request.partition_key}: {why}", highlight=False)
                failed += not _execute(defs, instance, request)
                done += 1
                progress.update(task, completed=done)
        if failed:
            said = f"{failed} runs failed: see event-pipeline status"
        progress.update(task, said=said)
        progress.stop_task(task)
    return not failed


def _end_lost_runs(instance: dg.DagsterInstance) -> None:
    """Marks runs whose process was killed as failed, so that their partitions are asked for."""
    filters = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    for run in instance.get_runs(filters=filters):
        pid = run.tags.get(PROCESS)
        if pid and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            instance.report_run_failed(run, "its process is gone")


def _ticks(
    defs: dg.Definitions, instance: dg.DagsterInstance, name: str
) -> Iterator[SensorExecutionData]:
    """Ticks of a sensor, each from the cursor of the one before, as the daemon would do them."""
    sensor = defs.resolve_sensor_def(name)
    cursor = None
    while True:
        with dg.build_sensor_context(
            instance=instance,
            cursor=cursor,
            definitions=defs,
            sensor_name=name,
            resources=defs.resources,
        ) as context:
            tick = sensor.evaluate_tick(context)
        for event in tick.asset_events:
            instance.report_runless_asset_event(event)
        yield tick
        if not tick.run_requests and tick.cursor == cursor:
            return
        cursor = tick.cursor


def _execute(defs: dg.Definitions, instance: dg.DagsterInstance, request: dg.RunRequest) -> bool:
    job = defs.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance,
        partition_key=request.partition_key,
        asset_selection=list(request.asset_selection or ()),
        tags={
            **request.tags,
            "dagster/run_key": str(request.run_key),
            PROCESS: str(os.getpid()),
        },
        run_config=QUIET,
        raise_on_error=False,
    ).success


def _show(querier: Querier, contract: Contract, console: Console) -> None:
    title = f"{contract.table}: {contract.description}"
    _show_first(querier, contract.select_all, title, console)
    if apart := contract.unattributed:
        query = f"{contract.select_all.split(' ORDER BY ')[0]} WHERE {apart} IS NULL"
        _show_first(querier, query, f"... of which without {apart}", console)


def _show_first(querier: Querier, query: str, title: str, console: Console) -> None:
    names, rows = querier.fetch(query)
    names = names[:SHOWN_COLUMNS]
    records = [dict(zip(names, row, strict=False)) for row in rows[:SHOWN_ROWS]]
    print_records(records, title, console, names)
    if len(rows) > SHOWN_ROWS:
        console.print(f"... and {len(rows) - SHOWN_ROWS:,} more rows")


def _show_quarantine(querier: Querier, console: Console) -> None:
    each = (
        f"SELECT '{contract.identifier[1]}' AS dataset, reasons, count(*) AS lines,"
        f" min(substr(line, 1, 100)) AS one_of_them FROM {contract.quarantine().table}"
        " GROUP BY reasons"
        for contract in SILVER
    )
    names, rows = querier.fetch(f"{' UNION ALL '.join(each)} ORDER BY dataset, lines DESC")
    records = [dict(zip(names, row, strict=True)) for row in rows]
    print_records(records, "Quarantine: what was refused, and why", console, names)
