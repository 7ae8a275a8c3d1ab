"""The main job, watched: ingest, arrivals, Silver, Gold, with real runs in the home's instance."""

import time
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import Progress

from event_pipeline import aws
from event_pipeline.contracts import EVENTS, GOLD, SILVER, GoldContract
from event_pipeline.engines import Querier
from event_pipeline.ingest.drops import FILES, DropProfile, file_key, write_drop
from event_pipeline.ingest.handler import open_store
from event_pipeline.ingest.ingester import Ingester
from event_pipeline.partitions import DAY, HOUR, HOURLY
from event_pipeline.report import ledger_records
from event_pipeline.resources import resources
from event_pipeline.settings import Settings
from event_pipeline.sync import Work, working
from event_pipeline.terminal import print_records

SHOWN_ROWS = 10
SHOWN_COLUMNS = 8
NEXT = """\
  make dev
      shows all of the above in Dagster's UI
  event-pipeline query hourly_revenue --format csv
  event-pipeline query "SELECT event_type, count(*) FROM silver.events GROUP BY event_type"
      Athena SQL over the tables (with the environment: source .venv/bin/activate)
  event-pipeline load FILE --sql MAPPING.sql
      your own events: see README.md"""


def run_demo(settings: Settings, hours: int, console: Console) -> bool:
    """Runs the last whole hours of events and a drop through the graph.

    False, and says why, if a run failed or something is left unbuilt. Stops as `sync` does.
    """
    started = time.monotonic()
    used = resources(settings)
    console.print(f"Home: {settings.home.absolute()}", highlight=False)
    with working(settings, console) as work:
        if EVENTS.bronze.produced:
            _ingest(used.ingester, hours, work)
        _upload_drop(settings, work.progress)
        work.follow_sensors()
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
    return not work.problems


def _ingest(ingester: Ingester, hours: int, work: Work) -> None:
    """Writes the slots of the last whole hours, an hour at a time."""
    now = datetime.now(UTC)
    task = work.progress.add_task("Ingest  5-minute slots", total=hours * 12, text="")
    events = 0
    for n in range(hours, 0, -1):
        work.stop.check()
        results = ingester.ingest_hour(HOURLY.key(now - n * HOUR))
        events += sum(r["lines"] for r in results)
        work.progress.update(task, advance=len(results), text=f"{events:,} events")
    work.progress.stop_task(task)


def _upload_drop(settings: Settings, progress: Progress) -> None:
    """Uploads yesterday's commerce drop, as the shop's other systems would."""
    day = (datetime.now(UTC) - DAY).date()
    task = progress.add_task("Upload  a commerce drop", total=len(FILES), text="")
    store = open_store(settings.root, aws.client)
    if all(store.exists(file_key(day, name)) for name in FILES):
        progress.update(task, completed=len(FILES), text="already there")
        return
    profile = DropProfile(
        settings.records_per_drop, settings.seed, settings.fault_share, settings.unknown_share
    )
    lines = write_drop(store, day, profile)
    progress.update(task, completed=len(FILES), text=f"{sum(lines.values()):,} records")


def _show(querier: Querier, contract: GoldContract, console: Console) -> None:
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
        f" min(substr(line, 1, 100)) AS one_of_them FROM {contract.quarantine.table}"
        " GROUP BY reasons"
        for contract in SILVER
    )
    names, rows = querier.fetch(f"{' UNION ALL '.join(each)} ORDER BY dataset, lines DESC")
    records = [dict(zip(names, row, strict=True)) for row in rows]
    print_records(records, "Quarantine: what was refused, and why", console, names)
