"""`make bench-history`: what everyday work costs with 500, 5,000 and 26,000 hours in the tables.

The history is written by the project's own code: a file of rows with statistics like real ones, and
a receipt, for each hour and table; a commit for each month, then the manifests as the nightly
maintenance leaves them, then each of the latest hours with a publish of its own. Dagster's records
are copies of one that Dagster wrote. Prints seconds, and writes them into build/bench.json as
`history`.
"""

import argparse
import asyncio
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from event_pipeline.assets.keys import asset_key, bronze_key
from event_pipeline.bronze import object_key
from event_pipeline.contracts import EVENTS, GOLD, Contract, GoldContract, roll_ups_of
from event_pipeline.contracts.contract import MadeContract
from event_pipeline.digests import short_digest
from event_pipeline.lake.commits import data_file, replace_files
from event_pipeline.lake.objects import Objects
from event_pipeline.lake.receipts import GoldReceipt, Receipt, SilverReceipt, write_receipt
from event_pipeline.lake.stored import sha256_by_name
from event_pipeline.lake.tables import Lake
from event_pipeline.outdated import STATEMENT_CURRENT
from event_pipeline.partitions import HOUR, HOURLY
from event_pipeline.resources import resources
from event_pipeline.settings import Settings
from event_pipeline.tags import DATA_VERSION
from event_pipeline_tests.benchmarks.results import record

# Dagster itself records 150 partitions a second.
COPY_EVENT = """
INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp, asset_key, partition)
SELECT run_id, event, dagster_event_type, timestamp, asset_key, ? FROM event_logs WHERE id = ?
"""
COPY_TAG = """
INSERT INTO asset_event_tags (event_id, asset_key, key, value, event_timestamp)
SELECT ?, asset_key, key, ?, event_timestamp FROM asset_event_tags WHERE event_id = ?
"""
# Each partition was recorded in its hour.
RECORDED_THEN = """
UPDATE event_logs SET timestamp = substr(partition, 1, 10) || ' '
  || coalesce(nullif(substr(partition, 12), ''), '23:59') || ':00.000000'
WHERE partition IS NOT NULL
"""

HOURS = (500, 5_000, 26_000)
# Events of an hour arrive up to this many hours later.
LATE_HOURS = 2
OBJECTS_OF_HOUR = 12
ROWS_OF_FILE = 24
# The latest hours, each with commits of its own.
PUBLISHED = 24
TIMES = 3

GOLD_OF_EVENTS = [contract for contract in GOLD if contract.inputs == (EVENTS,)]
LAYERS: tuple[Contract, ...] = (EVENTS.quarantine, *roll_ups_of(EVENTS), EVENTS)


@dataclass
class History:
    """A home with `hours` hours of events, all built and on record, up to the last whole one."""

    home: Path
    hours: int
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @cached_property
    def first(self) -> datetime:
        """The first hour: a midnight."""
        last = self.now.replace(minute=0, second=0, microsecond=0)
        start: datetime = (last - self.hours * HOUR).replace(hour=0)
        return start

    @cached_property
    def starts(self) -> list[datetime]:
        """The hours, in order, without the current one."""
        count = (self.now.replace(minute=0, second=0, microsecond=0) - self.first) // HOUR
        return [self.first + n * HOUR for n in range(count)]

    @cached_property
    def settings(self) -> Settings:
        """The settings of the home."""
        return Settings(home=self.home, first_day=self.first.date(), target="local")

    @cached_property
    def lake(self) -> Lake:
        """The tables."""
        return Lake.of(self.settings)

    def make(self) -> None:
        """Writes Bronze, the tables and Dagster's records."""
        self.settings.lake.mkdir(parents=True, exist_ok=True)
        for start in self.starts:
            self._write_objects(start)
        digests = self._digests()
        bulk, single = self.starts[:-PUBLISHED], self.starts[-PUBLISHED:]
        by_day: dict[str, list[str]] = defaultdict(list)
        for contract in LAYERS:
            for n in range(0, len(bulk), 744):
                self._commit_month(contract, bulk[n : n + 744], digests)
            self.lake.compact(contract)
            for start in single:
                self._commit_month(contract, [start], digests)
        for path in self._paths(EVENTS):
            start = _hour_of(path)
            for day in _days(start):
                by_day[day].append(path.removeprefix(f"{self.lake.address}/"))
        gold = {day: short_digest("\n".join(sorted(paths))) for day, paths in by_day.items()}
        for contract in GOLD_OF_EVENTS:
            self._commit_gold(contract, gold)
            self.lake.compact(contract)
        self._record(digests, gold)

    def _write_objects(self, start: datetime) -> None:
        for n in range(OBJECTS_OF_HOUR):
            path = self.settings.lake / object_key(start + n * timedelta(minutes=5))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_NOTHING)

    def _digests(self) -> dict[str, str]:
        objects = Objects(root=self.settings.root)
        return {key: found.digest for key, found in objects.all(EVENTS).items()}

    def _commit_month(
        self, contract: Contract, starts: list[datetime], digests: dict[str, str]
    ) -> None:
        table, files = self.lake.table(contract), []
        for start in starts:
            key = HOURLY.key(start)
            run = hashlib.sha256(key.encode()).hexdigest()[:8]
            prefix = self.lake.new_prefix(contract, key, digests[key], _version(contract), run)
            path = f"{prefix}/rows.parquet"
            pq.write_table(_rows(contract, start), path)
            write_receipt(
                table.io, prefix, _silver_receipt(start, digests[key]), sha256_by_name([path])
            )
            files.append(data_file(table, path, contract, key))
        replace_files(table, [], files, {}, {})

    def _commit_gold(self, contract: GoldContract, digests: dict[str, str]) -> None:
        table, files = self.lake.table(contract), []
        for day, digest in sorted(digests.items()):
            prefix = self.lake.new_prefix(contract, day, digest, contract.version)
            path = f"{prefix}/rows.parquet"
            moment = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
            pq.write_table(_rows(contract, moment), path)
            totals = {total.column: ("1", "1") for total in contract.totals}
            receipt = GoldReceipt(
                digest=digest,
                version=contract.version,
                rows=ROWS_OF_FILE,
                seconds=1.0,
                built_at=self.now.timestamp(),
                totals=totals,
                made_from="roll-ups",
            )
            write_receipt(table.io, prefix, receipt, sha256_by_name([path]))
            files.append(data_file(table, path, contract, day))
        replace_files(table, [], files, {}, {})

    def _paths(self, contract: Contract) -> list[str]:
        return [path for live in self.lake.live(contract).values() for path in live.paths]

    def _record(self, digests: dict[str, str], gold: dict[str, str]) -> None:
        """Puts all on record: the first of each day's by Dagster, the others as copies."""
        dagster = self.settings.dagster_home
        dagster.mkdir(parents=True, exist_ok=True)
        from event_pipeline.home import open_instance

        with open_instance(self.settings) as instance:
            templates = {}
            for asset, versions in self._recorded(digests, gold):
                (key, version), *others = versions.items()
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(
                        asset,
                        partition=key,
                        tags={DATA_VERSION: version},
                        metadata={"event_dates_touched": dg.MetadataValue.json(_days(self.first))},
                    )
                )
                templates[asset] = others
            (index,) = dagster.glob("**/index.db")
            with sqlite3.connect(index) as database:
                for asset, others in templates.items():
                    (template,) = database.execute(
                        "SELECT max(id) FROM event_logs WHERE asset_key = ?", (asset.to_string(),)
                    ).fetchone()
                    for key, version in others:
                        copied = database.execute(COPY_EVENT, (key, template)).lastrowid
                        database.execute(COPY_TAG, (copied, version, template))
                database.execute(RECORDED_THEN)
            database.close()
            for contract in (EVENTS, *GOLD_OF_EVENTS):
                instance.report_runless_asset_event(_statement_is_current(contract))

    @staticmethod
    def _recorded(
        digests: dict[str, str], gold: dict[str, str]
    ) -> Iterator[tuple[dg.AssetKey, dict[str, str]]]:
        yield bronze_key(EVENTS), digests
        yield asset_key(EVENTS.quarantine), digests
        yield asset_key(EVENTS), digests
        for contract in GOLD_OF_EVENTS:
            yield asset_key(contract), gold


_NOTHING = bytes.fromhex("1f8b08000000000000ff0300000000000000000000")


def _statement_is_current(contract: MadeContract) -> dg.AssetCheckEvaluation:
    """What the runs of such a history have left of the check."""
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(contract),
        check_name=STATEMENT_CURRENT,
        passed=True,
        metadata={"statement": contract.version, "partitions": 0},
    )


def _version(contract: Contract) -> str:
    return str(getattr(contract, "version", EVENTS.version))


def _hour_of(path: str) -> datetime:
    return HOURLY.start(f"{path.split('/')[-3][:13]}:00")


def _days(start: datetime) -> list[str]:
    """Dates of the events that arrive in an hour."""
    return sorted({(start - n * HOUR).date().isoformat() for n in range(LATE_HOURS + 1)})


def _rows(contract: Contract, start: datetime) -> pa.Table:
    """Rows of a partition: values of each type, and dates as real events have them."""
    days = [date.fromisoformat(day) for day in _days(start)]
    columns = {}
    for column in contract.columns:
        kind = _arrow(column.type)
        if column.name == contract.partition:
            value: Any = start if column.type == "timestamp" else start.date()
            values = [value] * ROWS_OF_FILE
        elif column.type == "date":
            values = [days[n % len(days)] for n in range(ROWS_OF_FILE)]
        elif column.type == "timestamp":
            values = [start + n * timedelta(minutes=1) for n in range(ROWS_OF_FILE)]
        elif column.type == "string":
            values = [f"{column.name} {n % 7}" for n in range(ROWS_OF_FILE)]
        else:
            values = [n % 5 for n in range(ROWS_OF_FILE)]
        columns[column.name] = pa.array(values, kind)
    return pa.table(columns)


def _arrow(kind: str) -> pa.DataType:
    if kind.startswith("decimal"):
        precision, scale = kind.removeprefix("decimal(").rstrip(")").split(",")
        return pa.decimal128(int(precision), int(scale))
    return {
        "string": pa.string(),
        "int": pa.int32(),
        "long": pa.int64(),
        "double": pa.float64(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us"),
        "boolean": pa.bool_(),
    }[kind]


def _silver_receipt(start: datetime, digest: str) -> Receipt:
    days = _days(start)
    names = [object_key(start + n * timedelta(minutes=5)) for n in range(OBJECTS_OF_HOUR)]
    return SilverReceipt(
        digest=digest,
        version=EVENTS.version,
        rows=ROWS_OF_FILE,
        seconds=10.0,
        built_at=start.timestamp(),
        records=ROWS_OF_FILE,
        lines=ROWS_OF_FILE,
        duplicates=0,
        quarantined=0,
        rejected={},
        event_dates=dict.fromkeys(days, ROWS_OF_FILE),
        bytes=OBJECTS_OF_HOUR * len(_NOTHING),
        objects={name: hashlib.sha256(name.encode()).hexdigest() for name in names},
        touched=tuple(days),
    )


def publish(home: History, start: datetime) -> None:
    """Publishes an hour's tables, as a run does once the engine has made the files."""
    key, lake = HOURLY.key(start), home.lake
    digest = Objects(root=home.settings.root).partition(EVENTS, key).digest
    for contract in LAYERS:
        prefix = lake.new_prefix(contract, key, digest, _version(contract))
        path = f"{prefix}/rows.parquet"
        pq.write_table(_rows(contract, start), path)
        lake.publish(contract, key, [path], _silver_receipt(start, digest))


def _query(home: History) -> None:
    used = resources(home.settings)
    day = home.starts[len(home.starts) // 2].date().isoformat()
    statement = f"SELECT count(*) FROM silver.events WHERE event_date = DATE '{day}'"
    used.querier.fetch(statement, day)


def _tick(home: History, sensor: str) -> Callable[[], None]:
    from event_pipeline.definitions import definitions
    from event_pipeline.home import open_instance

    defs = definitions(home.settings)
    instance = open_instance(home.settings)
    cursor: list[str | None] = [None]

    def tick() -> None:
        with dg.build_sensor_context(
            instance=instance,
            cursor=cursor[0],
            definitions=defs,
            sensor_name=sensor,
            resources=defs.resources,
        ) as context:
            found = defs.resolve_sensor_def(sensor).evaluate_tick(context)
        cursor[0] = found.cursor
        asked = [request.partition_key for request in found.run_requests or ()]
        assert not asked, f"all is on record, and yet {sensor} asks for {asked}"

    return tick


def _once(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def in_process(home: History) -> dict[str, float]:
    """CPU seconds in a fresh process, where what is cached in one is still to be read."""
    with tempfile.TemporaryDirectory(prefix="event-pipeline-history-") as folder:
        other = History(Path(folder), 1, home.now)  # what a process imports is not counted
        publish(other, other.starts[0])
        _query(other)
    found = {}
    old = home.starts[len(home.starts) // 2]
    found["query_of_a_day"] = _once(lambda: _query(home))
    found["rewrite_of_an_old_hour"] = _once(lambda: publish(home, old))
    found["publish_of_a_new_hour"] = _once(lambda: publish(home, home.starts[-1] + HOUR))
    return found


def ticks(home: History) -> dict[str, float]:
    """CPU seconds of the sensors' ticks: the first of a process, and one of many."""
    found = {}
    for sensor in ("arrivals", "gold_refresh"):
        tick = _tick(home, sensor)
        found[f"{sensor}_first_tick"] = _once(tick)
        for _ in range(4):
            tick()
        found[f"{sensor}_tick"] = sorted(_once(tick) for _ in range(5))[2]
    return found


def commands(home: History) -> dict[str, float]:
    """CPU seconds of commands, start included; the least of three."""
    since = home.starts[-24].date().isoformat()
    asked = {
        "status": ["event-pipeline", "status", "--format", "json"],
        "status_since": ["event-pipeline", "status", "--since", since, "--format", "json"],
        "ledger_since": ["event-pipeline", "ledger", "--since", since, "--format", "json"],
        "idle_sync": ["event-pipeline", "sync"],
        "idle_sync_since": ["event-pipeline", "sync", "--since", since],
        "list_defs": ["dg", "list", "defs", "--json"],
    }
    environment = {**os.environ, **_environment(home)}
    found = {}
    for name, (program, *arguments) in asked.items():
        command = [str(Path(sys.executable).with_name(program)), *arguments]
        found[name] = min(_cpu_of(command, environment) for _ in range(TIMES))
    return found


def _cpu_of(command: list[str], environment: dict[str, str]) -> float:
    out = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert out.stderr
    errors = out.stderr.read()
    _, status, used = os.wait4(out.pid, 0)
    if status:
        raise RuntimeError(f"{command} failed: {errors.decode()[-2000:]}")
    return used.ru_utime + used.ru_stime


def sizes(home: History) -> dict[str, float]:
    """Kilobytes of the metadata of silver.events that a commit reads, and how many manifests."""
    table = home.lake.table(EVENTS)
    snapshot = table.current_snapshot()
    assert snapshot
    manifests = snapshot.manifests(table.io)
    return {
        "metadata_kb": Path(table.metadata_location).stat().st_size / 1024,
        "manifest_list_kb": Path(snapshot.manifest_list).stat().st_size / 1024,
        "manifests": float(len(manifests)),
    }


PAGE = """
query Page($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode {
      partitionStats { numMaterialized numPartitions }
      assetPartitionStatuses {
        ... on TimePartitionStatuses { ranges { status startKey endKey } }
      }
    }
  }
}
"""


def page(home: History) -> dict[str, float]:
    """Seconds of the UI's question about an asset's partitions; the least of several."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_graphql.schema import create_schema

    os.environ |= _environment(home)
    key = {"path": list(asset_key(EVENTS).path)}
    with (
        dg.DagsterInstance.from_config(str(home.settings.dagster_home)) as instance,
        WorkspaceProcessContext(instance, WorkspaceFileTarget(["workspace.yaml"])) as workspace,
    ):
        seconds = []
        for _ in range(TIMES + 2):
            context, began = workspace.create_request_context(), time.perf_counter()
            asked = create_schema().execute_async(
                PAGE, context_value=context, variable_values={"key": key}
            )
            found = asyncio.run(asked)
            seconds.append(time.perf_counter() - began)
            assert not found.errors, found.errors
    return {"partition_page_first": seconds[0], "partition_page": min(seconds)}


def _environment(home: History) -> dict[str, str]:
    return {
        "EVENT_PIPELINE_HOME": str(home.home),
        "EVENT_PIPELINE_FIRST_DAY": home.first.date().isoformat(),
        "DAGSTER_HOME": str(home.settings.dagster_home),
    }


MEASURES = {each.__name__: each for each in (ticks, commands, page, in_process, sizes)}


def main() -> None:
    """Makes the histories and measures; about twenty minutes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, nargs="*", default=HOURS)
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help="Where the homes are kept; by default, nowhere.")
    chosen = parser.parse_args()
    if chosen.measure:
        found = MEASURES[chosen.measure](_kept(chosen.home, chosen.hours[0]))
        print(json.dumps(found))
        return
    figures: dict[str, Any] = {}
    for hours in chosen.hours:
        with tempfile.TemporaryDirectory(prefix="event-pipeline-history-") as temporary:
            home = (chosen.home or Path(temporary)) / str(hours)
            if not (home / NOW).exists():
                began = time.monotonic()
                made = History(home, hours)
                made.make()
                (home / NOW).write_text(made.now.isoformat())
                print(f"{hours:,} hours made in {time.monotonic() - began:.0f} s", flush=True)
            figures[str(hours)] = _measured(home.parent, hours)
    names = list(next(iter(figures.values())))
    for name in names:
        values = [figures[str(hours)][name] for hours in chosen.hours]
        ratio = values[-1] / values[0]
        print(f"{name:26}", *(f"{value:10.3f}" for value in values), f"{ratio:8.2f}")
    record(history=figures)


NOW = "made-at"


def _kept(folder: Path, hours: int) -> History:
    home = folder / str(hours)
    return History(home, hours, datetime.fromisoformat((home / NOW).read_text()))


def _measured(folder: Path, hours: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in MEASURES:
        command = [sys.executable, "-m", __spec__.name, "--measure", name, "--home", str(folder)]
        ran = subprocess.run(
            [*command, "--hours", str(hours)], check=False, capture_output=True, text=True
        )
        if ran.returncode:
            raise RuntimeError(f"{name} failed: {ran.stderr[-4000:]}")
        # Servers that a measure started may print, too.
        found |= json.loads([x for x in ran.stdout.splitlines() if x.startswith("{")][-1])
    return {name: round(value, 3) for name, value in found.items()}


if __name__ == "__main__":
    main()
