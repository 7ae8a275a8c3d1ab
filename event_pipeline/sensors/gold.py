"""Gold sensors: ask for the dates that Silver touched, once all that they need is there."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import dagster as dg

from event_pipeline.assets.keys import asset_key
from event_pipeline.build import gold_digest
from event_pipeline.completeness import incomplete
from event_pipeline.contracts import GoldContract
from event_pipeline.errors import MAX_NAMED
from event_pipeline.lake.objects import Objects
from event_pipeline.lake.tables import Lake
from event_pipeline.outdated import changed_results, grouped_by_inputs
from event_pipeline.recorded import recorded_versions
from event_pipeline.run_requests import Requests, request_runs
from event_pipeline.sensors.common import (
    TICK_SECONDS,
    first_compared,
    first_names,
    is_between,
    result,
    window_start,
)
from event_pipeline.sensors.holdings import Holdings
from event_pipeline.settings import Settings
from event_pipeline.tags import NOT_IN_LAKE

# How many materializations of an asset are read at once. The next tick of the daemon goes on from
# there.
RECORDS_PER_TICK = 500


@dataclass
class _GoldState:
    """What the cursor remembers of a group of tables that are made of the same inputs.

    `read`: Silver asset -> storage id of the last materialization that was read. `pending`: date to
    be refreshed -> the version to ask for: storage id of the materialization that touched it last,
    or `lost <id>`. `reported`: waiting date -> what was last recorded about it.
    """

    read: dict[str, int] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    reported: dict[str, str] = field(default_factory=dict)

    @classmethod
    def all_of(cls, cursor: str | None) -> "dict[str, _GoldState]":
        """Parses a sensor's cursor: names of a group's tables, with commas between -> its state.

        Any other text gives no state, so every materialization is read once more.
        """
        try:
            return {
                str(tables): cls(
                    {str(asset): int(n) for asset, n in state["read"].items()},
                    {str(day): str(v) for day, v in state["pending"].items()},
                    {str(day): str(v) for day, v in state["told"].items()},
                )
                for tables, state in json.loads(cursor or "{}").items()
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}

    @staticmethod
    def as_cursor(states: Mapping[str, "_GoldState"]) -> str:
        """The text that `all_of` parses."""
        return json.dumps(
            {
                tables: {"read": each.read, "pending": each.pending, "told": each.reported}
                for tables, each in states.items()
            }
        )


def gold_sensor(
    name: str, contracts: Sequence[GoldContract], settings: Settings, description: str
) -> dg.SensorDefinition:
    """Refreshes Gold for exactly the dates that Silver touched, however late they are.

    Tables with the same inputs are made in one run. Those that await drops are asked for only while
    all of a day's drops are there, valid and built, and only if an input differs from what the
    table was made of.

    This is a sensor rather than a declarative condition, because a condition sees materializations
    only. It cannot tell an unusable replacement that waits in Bronze, a table rolled back, or a
    rebuild that changed nothing; it drops a partition whose run failed; and it looks at the latest
    days only.
    """
    groups = grouped_by_inputs(contracts)

    @dg.sensor(
        name=name,
        target=dg.AssetSelection.assets(*(asset_key(contract) for contract in contracts)),
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
    )
    def gold(context: dg.SensorEvaluationContext, objects: Objects, lake: Lake) -> dg.SensorResult:
        lake = lake.as_loaded()
        before = _GoldState.all_of(context.cursor)
        tick = _Tick(name, context.instance, objects, lake, settings)
        states = {}
        for group in groups:
            # A new table changes its group's names, so the group starts without a state and asks
            # for all dates that there were before.
            tables = ",".join(contract.identifier[1] for contract in group)
            states[tables] = before.get(tables, _GoldState())
            tick.compare(group, states[tables], label=f"{group[0].identifier[1]} ")
        tick.events += changed_results(context.instance, lake, contracts)
        return result(
            context,
            tick.requests,
            notes=tick.notes,
            idle="Silver touched nothing new",
            cursor=_GoldState.as_cursor(states),
            asset_events=tick.events,
        )

    return gold


@dataclass
class _Tick:
    """One tick: what it compares with, and what it finds, group by group."""

    sensor: str
    instance: dg.DagsterInstance
    objects: Objects
    lake: Lake
    settings: Settings
    requests: Requests = field(default_factory=Requests)
    notes: list[str] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)

    def compare(self, contracts: Sequence[GoldContract], state: _GoldState, label: str) -> None:
        """Asks for the dates that are to be made of some tables, all with the same inputs."""
        instance, lake, first = self.instance, self.lake, self.settings.first_day
        for each in contracts[0].inputs:
            _read_touched(instance, asset_key(each), state, self.settings)
        today = datetime.now(UTC).date()
        since = first_compared(self.settings, datetime.now(UTC))
        lost = _lost_days(contracts, instance, lake, self.notes, since)
        lost = {day: version for day, version in lost.items() if is_between(first, day, today)}
        if lost:
            self.notes.append(f"{NOT_IN_LAKE}: {label}{first_names(sorted(lost))}")
            for day, version in lost.items():
                state.pending.setdefault(day, version)
        # A producer's clock may be ahead of this one: tomorrow's date waits until it begins.
        last = today + timedelta(1)
        outside = sorted(day for day in state.pending if not is_between(first, day, last))
        for day in outside:
            del state.pending[day]
        due = [day for day in state.pending if is_between(first, day, today)]
        waits: dict[str, str] = {}
        if contracts[0].awaited:
            made = set(due) - lost.keys()
            due = _days_to_refresh(contracts, made, instance, lake, state) + sorted(lost)
            for day in due:
                if waiting := incomplete(contracts[0], day, self.objects, lake):
                    waits[day] = str(waiting)
        requests = request_runs(
            instance,
            self.sensor,
            [asset_key(contract) for contract in contracts],
            {day: state.pending[day] for day in sorted(due, reverse=True) if day not in waits},
            most=self.settings.runs_per_tick,
            max_attempts=self.settings.max_attempts,
            throttle=partial(_throttle, self.settings, today.isoformat()),
            until_success=True,
            label=label,
            reasons=dict.fromkeys(lost, NOT_IN_LAKE),
        )
        for day in requests.done:
            del state.pending[day]
        if not contracts[0].awaited:
            # Somebody may have made them already, as the range runs after a changed statement do.
            asked = {str(run.partition_key) for run in requests.runs} - lost.keys()
            made = asked - set(_days_to_refresh(contracts, asked, instance, lake, state))
            requests.runs = [run for run in requests.runs if run.partition_key not in made]
        self.requests.add(requests)
        self.events += [
            dg.AssetObservation(asset_key(contracts[0]), partition=day, description=why)
            for day, why in waits.items()
            if state.reported.get(day) != why
        ]
        state.reported = waits
        self.notes += [
            f"{day} {why}" for day, why in sorted(waits.items(), reverse=True)[:MAX_NAMED]
        ]
        if outside:
            self.notes.append(f"no Gold partition covers the event dates {first_names(outside)}")


def _throttle(settings: Settings, today: str, day: str) -> timedelta:
    """How long a date waits after a refresh; one that is over, as late events come, may longer."""
    minutes = settings.gold_throttle_minutes
    return timedelta(
        minutes=minutes if day >= today else max(minutes, settings.late_gold_throttle_minutes)
    )


def _lost_days(
    contracts: Sequence[GoldContract],
    instance: dg.DagsterInstance,
    lake: Lake,
    notes: list[str],
    since: str,
) -> dict[str, str]:
    """Dates that the lake does not hold as they are on record: date -> the version to ask for.

    Empty while Silver itself lacks what is on record, since Silver is brought back first. Adds to
    `notes` which tables cannot be read.
    """
    for each in contracts[0].inputs:
        if Holdings.of(lake, each, since).lacking(recorded_versions(instance, asset_key(each))):
            return {}
    lost: dict[str, str] = {}
    for contract in contracts:
        asset, holdings = asset_key(contract), Holdings.of(lake, contract, since)
        notes += [holdings.error] if holdings.error else []
        if found := holdings.lacking(recorded_versions(instance, asset)):
            # The version changes with each materialization, so that a date that is lost again
            # after it was made anew is asked for again.
            latest = instance.event_log_storage.get_latest_storage_id_by_partition(
                asset, dg.DagsterEventType.ASSET_MATERIALIZATION
            )
            lost.update({day: f"lost {latest[day]}" for day in found})
    return lost


def _days_to_refresh(
    contracts: Sequence[GoldContract],
    days: Collection[str],
    instance: dg.DagsterInstance,
    lake: Lake,
    state: _GoldState,
) -> list[str]:
    """Those days for which a table is not made of what is there now; others leave `pending`."""
    changed = days_to_refresh(contracts, days, instance, lake)
    for day in set(days) - set(changed):
        del state.pending[day]
    return changed


def days_to_refresh(
    contracts: Sequence[GoldContract],
    days: Collection[str],
    instance: dg.DagsterInstance,
    lake: Lake,
) -> list[str]:
    """Those days for which some table is not made of what its inputs hold now, in order.

    All the tables must have the same inputs.
    """
    recorded = [recorded_versions(instance, asset_key(each), days) for each in contracts]
    found = []
    for day in sorted(days):
        digest = gold_digest(contracts[0], lake, day)
        if any(each.get(day) != digest for each in recorded):
            found.append(day)
    return found


def _read_touched(
    instance: dg.DagsterInstance, asset: dg.AssetKey, state: _GoldState, settings: Settings
) -> None:
    """Adds to `pending` the dates that a Silver asset's new materializations touched.

    A tick of the daemon reads some of them, one of `sync` reads all. `sync --since` begins with
    those that were recorded since.
    """
    name, is_bounded = asset.to_user_string(), bool(settings.audit_days_per_tick)
    if settings.audit_days_per_tick == 0 and name not in state.read:
        start = window_start(settings, datetime.now(UTC))
        state.read[name] = _last_before(instance, asset, start)
    while records := instance.fetch_materializations(
        dg.AssetRecordsFilter(asset, after_storage_id=state.read.get(name, 0)),
        limit=RECORDS_PER_TICK,
        ascending=True,
    ).records:
        _add_touched(records, name, state)
        if is_bounded or len(records) < RECORDS_PER_TICK:
            return


def _last_before(instance: dg.DagsterInstance, asset: dg.AssetKey, moment: datetime) -> int:
    """Storage id of the last materialization before a moment; 0 if there is none."""
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset, before_timestamp=moment.timestamp()), limit=1
    )
    return found.records[0].storage_id if found.records else 0


def _add_touched(records: Sequence[dg.EventLogRecord], name: str, state: _GoldState) -> None:
    for record in records:
        event = record.asset_materialization
        found: Any = event.metadata.get("event_dates_touched") if event else None
        state.read[name] = record.storage_id
        for day in found.value if found else []:
            # The latest of all the assets: what an earlier one asked for may be done already.
            before = state.pending.get(day, "")
            latest = max(record.storage_id, int(before) if before.isdigit() else 0)
            state.pending[day] = str(latest)
