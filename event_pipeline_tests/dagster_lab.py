"""A lake and a Dagster instance in a folder, and a clock that stands still."""

import gzip
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from unittest import mock

import dagster as dg
from dagster._core.definitions.sensor_definition import SensorExecutionData

from event_pipeline import run_requests
from event_pipeline.assets.bronze import FILES_VALID
from event_pipeline.bronze import manifest_key, object_key
from event_pipeline.contracts import (
    COMMERCE_EVENTS,
    COMMERCE_ORDERS,
    COMMERCE_USERS,
    EVENTS,
    GOLD,
    USER_ACTIVITY,
    Contract,
    SilverContract,
)
from event_pipeline.definitions import definitions
from event_pipeline.ingest.handler import FolderStore, write_once
from event_pipeline.partitions import HOURLY
from event_pipeline.resources import resources
from event_pipeline.sensors import arrivals, gold
from event_pipeline.settings import Settings

NOW = datetime(2026, 3, 10, 12, 34, tzinfo=UTC)
HOUR = "2026-03-10-11:00"
TODAY = "2026-03-10"
SILVER_EVENTS = dg.AssetKey(EVENTS.asset.split("/"))
SILVER_ASSETS = [SILVER_EVENTS, dg.AssetKey(EVENTS.quarantine.asset.split("/"))]
GOLD_ASSETS = [dg.AssetKey(c.asset.split("/")) for c in GOLD if c.inputs == (EVENTS,)]
DROP = "2026-03-09"
COMMERCE = (COMMERCE_USERS, COMMERCE_EVENTS, COMMERCE_ORDERS)
USER_ACTIVITY_ASSET = dg.AssetKey(USER_ACTIVITY.asset.split("/"))
MOST_ASKED = 100
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Lab:
    """The whole graph over one folder, each part the real one."""

    def __init__(self, root: Path, instance: dg.DagsterInstance, **settings: Any) -> None:
        chosen = {"first_day": "2026-03-01", "home": root, "memory_mb": 512, "threads": 1}
        self.settings = Settings(**{**chosen, **settings})
        self.instance = instance
        self.defs = definitions(self.settings)
        self.resources = resources(self.settings)
        self.store = FolderStore(self.settings.lake)
        self.cursors: dict[str, str | None] = {}
        self.now = NOW

    @classmethod
    @contextmanager
    def open(cls, root: Path, *, persistent: bool = False, **settings: Any) -> Iterator[Self]:
        """A lab at NOW; `persistent`: its instance is SQLite files, else in memory."""
        with ExitStack() as stack:
            (root / "dagster").mkdir(exist_ok=True)
            instance = stack.enter_context(
                dg.DagsterInstance.local_temp(str(root / "dagster"))
                if persistent
                else dg.DagsterInstance.ephemeral()
            )
            lab = cls(root, instance, **settings)
            stack.enter_context(lab._standing_clock())
            yield lab

    @contextmanager
    def _standing_clock(self) -> Iterator[None]:
        lab = self

        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = UTC) -> Any:
                return lab.now.astimezone(tz)

        def timestamp() -> float:
            return lab.now.timestamp()

        dagster_clock = "dagster._time._mockable_get_current_"
        with (
            mock.patch.object(arrivals, "datetime", Clock),
            mock.patch.object(gold, "datetime", Clock),
            mock.patch.object(run_requests, "datetime", Clock),
            mock.patch(f"{dagster_clock}datetime", Clock.now),
            mock.patch(f"{dagster_clock}timestamp", timestamp),
        ):
            yield

    def arrive(
        self, hour: str = HOUR, *, minute: int = 0, days: Collection[str] = (), events: int = 2
    ) -> str:
        """Puts a new object with `events` events of each event date; its key."""
        slot = HOURLY.start(hour) + timedelta(minutes=minute)
        key, data = object_key(slot), text(hour, minute, days or [hour[:10]], events)
        lines = events * len(days or [hour])
        assert write_once(self.store, key, slot, gzip.compress(data), lines=lines, about={})
        return key

    def put(self, key: str, data: bytes) -> None:
        """Puts or overwrites an object, as somebody without a manifest does."""
        self.store.put(key, gzip.compress(data))

    def upload(self, day: str, name: str, data: bytes) -> str:
        """Puts or overwrites a file of a commerce drop, as it is; its key."""
        key = f"bronze/commerce/date={day}/{name}"
        self.store.put(key, data)
        return key

    def delete(self, key: str) -> None:
        """Deletes an object and what was said of it."""
        (self.settings.lake / key).unlink()
        (self.settings.lake / manifest_key(key)).unlink(missing_ok=True)

    def promise(self, key: str, lines: int) -> None:
        """Makes the manifest of an object promise another number of lines."""
        path = self.settings.lake / manifest_key(key)
        path.write_text(json.dumps({**json.loads(path.read_text()), "lines": lines}))

    def tick(self, name: str) -> SensorExecutionData:
        """One tick of a sensor, as the daemon does it; its cursor and asset events are kept."""
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            definitions=self.defs,
            sensor_name=name,
            resources=self.defs.resources,
        ) as context:
            tick = self.defs.resolve_sensor_def(name).evaluate_tick(context)
        self.cursors[name] = tick.cursor
        for event in tick.asset_events:
            self.instance.report_runless_asset_event(event)
        return tick

    def first(self, name: str) -> dg.RunRequest:
        """The first run that the next tick asks for."""
        return requests(self.tick(name))[0]

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Executes what a sensor asked for."""
        used = dg.RunsFilter(tags={"dagster/run_key": str(request.run_key)})
        assert not self.instance.get_runs(used), f"the daemon would skip {request.run_key}"
        return self.materialize(
            request.asset_selection or (),
            request.partition_key,
            {**request.tags, "dagster/run_key": str(request.run_key)},
        )

    def materialize(
        self,
        assets: Collection[dg.AssetKey],
        partition: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """A run of assets, as a person starts it."""
        return self.defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            partition_key=partition,
            asset_selection=list(assets),
            tags=dict(tags or {}),
            run_config=QUIET,
            raise_on_error=False,
        )

    def materialize_range(
        self, assets: Collection[dg.AssetKey], first: str, last: str
    ) -> dg.ExecuteInProcessResult:
        """One run of a range of partitions, as a backfill starts it."""
        tags = {
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        }
        return self.materialize(assets, tags=tags)

    def create(self, request: dg.RunRequest) -> dg.DagsterRun:
        """The requested run, on record and not started."""
        return self.instance.create_run_for_job(
            self.defs.resolve_implicit_global_asset_job_def(),
            tags={**request.tags, "dagster/partition": str(request.partition_key)},
            asset_selection=frozenset(request.asset_selection or ()),
        )

    def turn(self, run: dg.DagsterRun, into: dg.DagsterEventType) -> dg.DagsterRun:
        """Records that a run started or ended."""
        self.instance.report_dagster_event(dg.DagsterEvent(into.value, run.job_name), run.run_id)
        return run

    def fail(self, request: dg.RunRequest) -> dg.DagsterRun:
        """The requested run, failed for a reason outside the pipeline."""
        return self.turn(self.create(request), dg.DagsterEventType.RUN_FAILURE)

    def succeed(self, request: dg.RunRequest) -> dg.DagsterRun:
        """The requested run, as if it had run."""
        return self.turn(self.create(request), dg.DagsterEventType.RUN_SUCCESS)

    def settle(self, name: str) -> list[str]:
        """Ticks and runs until the sensor asks no more; the partitions in the order asked."""
        asked: list[str] = []
        while found := requests(self.tick(name)):
            for request in found:
                assert self.run(request).success
                asked.append(str(request.partition_key))
                assert len(asked) < MOST_ASKED, f"{name} never stops asking: {asked[-3:]}"
        return asked

    def rows(self, table: str = "silver.events") -> int:
        """Rows that readers see."""
        return int(self.resources.querier.fetch(f"SELECT count(*) FROM {table}")[1][0][0])

    def materializations(self, asset: dg.AssetKey) -> list[dg.AssetMaterialization]:
        """All on record, oldest first."""
        records = self.instance.fetch_materializations(asset, limit=1000, ascending=True).records
        return [r.asset_materialization for r in records if r.asset_materialization]

    def observations(self, asset: dg.AssetKey) -> list[dg.AssetObservation]:
        """All on record, oldest first."""
        records = self.instance.fetch_observations(asset, limit=1000, ascending=True).records
        return [r.asset_observation for r in records if r.asset_observation]

    def checks(self, asset: dg.AssetKey, name: str) -> dict[str, dg.AssetCheckEvaluation]:
        """The latest result of a check of each partition that has one."""
        history = self.instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(asset, name), limit=1000
        )
        events = [r.event.dagster_event.event_specific_data for r in history if r.event]  # type: ignore[union-attr]
        found = [each for each in reversed(events) if isinstance(each, dg.AssetCheckEvaluation)]
        return {str(each.partition): each for each in found}

    def forget_tables(self) -> None:
        """Opens the lake anew, as another process does."""
        self.defs = definitions(self.settings)
        self.resources = resources(self.settings)

    def judgements(self, asset: dg.AssetKey) -> list[dg.AssetCheckEvaluation]:
        """All results of an uploaded asset's check that are on record, oldest first."""
        history = self.instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(asset, FILES_VALID), limit=1000
        )
        found = [r.event.dagster_event.event_specific_data for r in history if r.event]  # type: ignore[union-attr]
        return [each for each in reversed(found) if isinstance(each, dg.AssetCheckEvaluation)]


def tables(*contracts: SilverContract) -> list[dg.AssetKey]:
    """Silver assets and their quarantines."""
    made: list[Contract] = [
        each for contract in contracts for each in (contract, contract.quarantine)
    ]
    return [dg.AssetKey(each.asset.split("/")) for each in made]


def jsonl(*records: Mapping[str, Any]) -> bytes:
    """A file of JSON Lines."""
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def a_user(name: str, country: str = "IN") -> dict[str, Any]:
    """A record of users.json."""
    return {"user_id": name, "country": country}


def an_event(name: str, user: str | None, kind: str = "product_view") -> dict[str, Any]:
    """A record of events.json."""
    moment = f"{DROP}T10:00:00Z"
    return {"event_id": name, "user_id": user, "event_type": kind, "event_timestamp": moment}


def an_order(
    name: str,
    user: str | None,
    amount: float | str = 10.5,
    currency: str = "INR",
    status: str = "success",
) -> dict[str, Any]:
    """A record of orders.json."""
    return {
        "order_id": name,
        "user_id": user,
        "order_amount": amount,
        "currency": currency,
        "order_timestamp": f"{DROP}T10:00:00Z",
        "payment_status": status,
    }


def text(hour: str, minute: int, days: Collection[str], events: int) -> bytes:
    """Lines of page views and purchases, none like another."""
    lines = [
        {
            "timestamp": f"{day}T{n % 24:02}:00:00.{n:06}Z",
            "user_id": f"user-{hour}-{minute}-{n}",
            "session_id": f"session-{n}",
            "event_type": "purchase" if n % 2 else "page_view",
            "product_id": f"product-{n % 3}",
            "quantity": n + 1,
            "price": 9.99,
            "category": "books",
        }
        for day in days
        for n in range(events)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def requests(tick: SensorExecutionData) -> Sequence[dg.RunRequest]:
    """The runs that a tick asks for, in order."""
    return tick.run_requests or []


def asked(tick: SensorExecutionData) -> list[str]:
    """Partitions that a tick asks for, in order."""
    return [str(request.partition_key) for request in requests(tick)]
