"""The graph with engines by size, in a twin that enforces the template's policies.

Slots arrive one by one, and `sync` follows each: DuckDB makes an hour while it is small, and Glue
afterwards. So do DuckDB and Athena with dates of Gold.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from event_pipeline.contracts import GOLD, SILVER, USER_ACTIVITY
from event_pipeline.ingest.drops import DropProfile, write_drop
from event_pipeline.ingest.handler import open_store
from event_pipeline.partitions import HOURLY
from event_pipeline.report import ledger_records
from event_pipeline.resources import resources
from event_pipeline.settings import read_settings
from event_pipeline.sync import run_sync
from event_pipeline_tests.conftest import GOLD_OF_EVENTS
from event_pipeline_tests.twin.graph import deployed, environment, read, resource
from event_pipeline_tests.twin.server import Call, Twin
from event_pipeline_tests.twin.test_graph import copy_bronze

# What is generated depends on the slot alone.
START = datetime(2025, 3, 10, 3, tzinfo=UTC)
DAY = START.date()
SLOTS = [START, START.replace(minute=5), START.replace(hour=4)]
# A slot has 24 kB of Bronze. Four of the Gold tables read 2.6 kB of the first slot's roll-ups, and
# all of them more than 5 kB of both hours'.
LIMITS = {"SparkFromMb": "0.035", "AthenaFromMb": "0.004"}


@dataclass
class Ran:
    """What there was after each slot: the engines, by partition or by Gold table, and the calls."""

    twin: Twin
    values: dict[str, str]
    silver: list[dict[str, str]] = field(default_factory=list)
    gold: list[dict[str, str]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, Any] = field(default_factory=dict)
    local_rows: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """What the tests of this module look at."""
    folder = tmp_path_factory.mktemp("by_size")
    with Twin(auth=True) as twin:
        yield _run(twin, folder)


def _run(twin: Twin, folder: Path) -> Ran:
    env_file = folder / "env"
    console = Console(file=(folder / "deploy.log").open("w"))
    deployed(twin, env_file, console, EventsPerSlot="1500", ScheduleState="DISABLED", **LIMITS)
    ran = Ran(twin, read(env_file))
    first = {"EVENT_PIPELINE_FIRST_DAY": f"{DAY}"}
    function = ran.values["EVENT_PIPELINE_INGEST_FUNCTION"]
    lake = ran.values["EVENT_PIPELINE_LAKE_BUCKET"]
    with (
        environment({**ran.values, "EVENT_PIPELINE_HOME": str(folder / "aws"), **first}),
        (folder / "sync.log").open("w") as log,
    ):
        settings = read_settings()
        used = resources(settings)
        for n, slot in enumerate(SLOTS):
            payload = json.dumps({"slot": f"{slot:%Y-%m-%dT%H:%M:00Z}"}).encode()
            twin.client("lambda").invoke(FunctionName=function, Payload=payload)
            if not n:
                write_drop(open_store(settings.root), DAY, DropProfile(30))
            assert run_sync(settings, Console(file=log)), (folder / "sync.log").read_text()
            ran.silver.append(_engines(used.lake, SILVER))
            ran.gold.append(_engines(used.lake, GOLD))
        ran.calls = twin.calls()
        ran.ledger = ledger_records(used.lake)
        ran.rows = {c.table: used.querier.fetch(c.select_all) for c in GOLD}
    copy_bronze(twin, lake, folder / "local" / "lake")
    with (
        environment({"EVENT_PIPELINE_HOME": str(folder / "local"), **first}),
        (folder / "local.log").open("w") as log,
    ):
        settings = read_settings()
        assert run_sync(settings, Console(file=log))
        querier = resources(settings).querier
        ran.local_rows = {c.table: querier.fetch(c.select_all) for c in GOLD}
    return ran


def _engines(lake: Any, contracts: Any) -> dict[str, str]:
    """`<table> <partition>` -> the engine that made it, as its receipt says."""
    found = {}
    for contract in contracts:
        for key, live in lake.live(contract).items():
            found[f"{contract.table} {key}"] = lake.receipt(contract, live).run["engine"]
    return found


def test_hours_are_duckdbs_while_they_are_small_and_then_glues(ran: Ran) -> None:
    hours = [f"silver.events {HOURLY.key(slot)}" for slot in (START, SLOTS[-1])]
    made = [tuple(engines.get(hour) for hour in hours) for engines in ran.silver]
    assert made == [("DuckDB", None), ("Glue", None), ("Glue", "DuckDB")]
    glue_runs = [c for c in ran.calls if c.action == "glue:StartJobRun"]
    assert len(glue_runs) == 1
    drops = {name: engine for name, engine in ran.silver[0].items() if "commerce" in name}
    assert Counter(drops.values()) == {"DuckDB": 3}
    assert ran.gold[-1][f"{USER_ACTIVITY.table} {DAY}"] == "DuckDB"


def test_dates_of_gold_are_duckdbs_while_they_are_small_and_then_athenas(ran: Ran) -> None:
    tables = [f"{contract.table} {DAY}" for contract in GOLD_OF_EVENTS]
    made = [{engines[table] for table in tables} for engines in ran.gold]
    assert made[0] == {"DuckDB", "Athena"}
    assert made[-1] == {"Athena"}


def test_every_line_is_accounted_for_and_gold_is_what_a_laptop_makes(ran: Ran) -> None:
    assert all(record["balanced"] for record in ran.ledger)
    assert sum(record["lines"] for record in ran.ledger) > 3 * 1_000
    for table, (names, rows) in ran.rows.items():
        local_names, local_rows = ran.local_rows[table]
        assert names == local_names
        assert sorted(map(repr, rows)) == sorted(map(repr, local_rows)), table
        assert rows, table


def test_no_call_was_refused(ran: Ran) -> None:
    refused = {(c.principal, c.action, c.resource) for c in ran.calls if c.status == 403}
    assert refused == set()


def test_nothing_is_claimed_any_longer(ran: Ran) -> None:
    s3 = ran.twin.client("s3")
    for bucket in ("PipesBucket", "ResultsBucket"):
        name = resource(ran.twin, bucket)
        assert "Contents" not in s3.list_objects_v2(Bucket=name, Prefix="claims/")
