"""Gold sensors: the dates that Silver touched, once all that they are made of is there."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from event_pipeline.assets.keys import asset_key
from event_pipeline.automation import NOT_IN_LAKE, recorded_versions, request_runs
from event_pipeline.build import gold_digest
from event_pipeline.contracts import Contract
from event_pipeline.errors import NAMED
from event_pipeline.lake.objects import Objects
from event_pipeline.lake.tables import Lake
from event_pipeline.outdated import judgements
from event_pipeline.promotion import incomplete
from event_pipeline.sensors.common import TICK_SECONDS, between, result, some
from event_pipeline.sensors.holdings import Holdings
from event_pipeline.settings import Settings

# Materializations of an asset that one tick reads; the next goes on from there.
RECORDS_PER_TICK = 500


@dataclass
class _GoldState:
    """A Gold sensor's cursor.

    `read`: the last materialization that was read, by Silver asset. `pending`: for each date that
    is still to be refreshed, the materialization that touched it last. `told`: what was last put
    on record of a date that waits.
    """

    read: dict[str, int] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, cursor: str | None) -> "_GoldState":
        """Any other text costs one more look at every materialization."""
        try:
            state = json.loads(cursor or "{}")
            return cls(
                {str(asset): int(n) for asset, n in state["read"].items()},
                {str(day): str(v) for day, v in state["pending"].items()},
                {str(day): str(v) for day, v in state["told"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()


def gold_sensor(
    name: str, contracts: Sequence[Contract], settings: Settings, description: str
) -> dg.SensorDefinition:
    """Refreshes Gold for exactly the dates that Silver touched, however late they are.

    Tables that join several inputs are asked for only while all of a day's inputs are there,
    valid and built, and if one of them is not what the table was made of. This is a sensor and
    no declarative condition, because a condition sees materializations only: it cannot tell an
    unusable replacement that waits in Bronze, a table rolled back, or a rebuild that changed
    nothing, it drops a partition whose run failed, and it looks at the latest days alone.
    """
    assets = [asset_key(contract) for contract in contracts]
    sources = contracts[0].inputs

    @dg.sensor(
        name=name,
        target=dg.AssetSelection.assets(*assets),
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
    )
    def gold(context: dg.SensorEvaluationContext, objects: Objects, lake: Lake) -> dg.SensorResult:
        state = _GoldState.of(context.cursor)
        for each in sources:
            _read_touched(context.instance, asset_key(each), state)
        today = datetime.now(UTC).date()
        said: list[str] = []
        lost = _lost(contracts, context.instance, lake, said)
        lost = {d: v for d, v in lost.items() if between(settings.first_day, d, today)}
        if lost:
            said.append(f"{NOT_IN_LAKE}: {some(sorted(lost))}")
            for day, version in lost.items():
                state.pending.setdefault(day, version)
        # A producer's clock may be ahead of this one: tomorrow's date waits until it begins.
        last = today + timedelta(1)
        outside = sorted(d for d in state.pending if not between(settings.first_day, d, last))
        for day in outside:
            del state.pending[day]
        due = [d for d in state.pending if between(settings.first_day, d, today)]
        waits: dict[str, str] = {}
        if contracts[0].is_join:
            made = set(due) - lost.keys()
            due = _to_be_made(contracts, made, context.instance, lake, state) + sorted(lost)
            for day in due:
                if waiting := incomplete(contracts[0], day, objects, lake):
                    waits[day] = str(waiting)
        requests = request_runs(
            context.instance,
            name,
            assets,
            {day: state.pending[day] for day in sorted(due, reverse=True) if day not in waits},
            most=settings.runs_per_tick,
            max_attempts=settings.max_attempts,
            throttle=timedelta(minutes=settings.gold_throttle_minutes),
            until_success=True,
            reasons=dict.fromkeys(lost, NOT_IN_LAKE),
        )
        for day in requests.done:
            del state.pending[day]
        if not contracts[0].is_join:
            # Somebody may have made them, as a range does that follows another statement.
            asked = {str(run.partition_key) for run in requests.runs} - lost.keys()
            made = asked - set(_to_be_made(contracts, asked, context.instance, lake, state))
            requests.runs = [run for run in requests.runs if run.partition_key not in made]
        events: list[Any] = [
            dg.AssetObservation(assets[0], partition=day, description=why)
            for day, why in waits.items()
            if state.told.get(day) != why
        ]
        events += judgements(context.instance, lake, contracts)
        state.told = waits
        said += [f"{day} {why}" for day, why in sorted(waits.items(), reverse=True)[:NAMED]]
        if outside:
            said.append(f"no Gold partition for event dates {some(outside)}")
        return result(
            context,
            requests,
            said=said,
            idle="Silver touched nothing new",
            cursor=json.dumps(vars(state)),
            asset_events=events,
        )

    return gold


def _lost(
    contracts: Sequence[Contract], instance: dg.DagsterInstance, lake: Lake, said: list[str]
) -> dict[str, str]:
    """Dates on record that the lake does not hold as recorded, each with a version of its own.

    None while Silver itself lacks what is on record: it is brought back first.
    """
    for each in contracts[0].inputs:
        if Holdings.of(lake, each).lacking(recorded_versions(instance, asset_key(each))):
            return {}
    lost: dict[str, str] = {}
    for contract in contracts:
        asset, holdings = asset_key(contract), Holdings.of(lake, contract)
        said += [holdings.error] if holdings.error else []
        if found := holdings.lacking(recorded_versions(instance, asset)):
            # A date that is lost again after it was made anew is asked for again.
            latest = instance.event_log_storage.get_latest_storage_id_by_partition(
                asset, dg.DagsterEventType.ASSET_MATERIALIZATION
            )
            lost.update({day: f"lost {latest[day]}" for day in found})
    return lost


def _to_be_made(
    contracts: Sequence[Contract],
    days: Collection[str],
    instance: dg.DagsterInstance,
    lake: Lake,
    state: _GoldState,
) -> list[str]:
    """Days of which a table is not made of what is there now; the others are done with."""
    changed = days_to_make(contracts, days, instance, lake)
    for day in set(days) - set(changed):
        del state.pending[day]
    return changed


def days_to_make(
    contracts: Sequence[Contract], days: Collection[str], instance: dg.DagsterInstance, lake: Lake
) -> list[str]:
    """Days of which one of the tables, all of the same inputs, is made of something else."""
    recorded = [recorded_versions(instance, asset_key(each), days) for each in contracts]
    found = []
    for day in sorted(days):
        digest = gold_digest(contracts[0], lake, day)
        if any(each.get(day) != digest for each in recorded):
            found.append(day)
    return found


def _read_touched(instance: dg.DagsterInstance, asset: dg.AssetKey, state: _GoldState) -> None:
    """Takes the dates that a Silver asset's new materializations touched into `pending`."""
    name = asset.to_user_string()
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset, after_storage_id=state.read.get(name, 0)),
        limit=RECORDS_PER_TICK,
        ascending=True,
    ).records
    for record in records:
        event = record.asset_materialization
        found: Any = event.metadata.get("event_dates_touched") if event else None
        state.read[name] = record.storage_id
        state.pending.update(dict.fromkeys(found.value if found else [], str(record.storage_id)))
