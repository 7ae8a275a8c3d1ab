"""Sensors: what arrived in Bronze goes to Silver, what Silver touched goes to Gold."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from event_pipeline.assets.bronze import arrival, bronze_key, foreign_files, upload_evaluation
from event_pipeline.automation import NAMED, Requests, recorded_versions, request_runs
from event_pipeline.build import gold_digest
from event_pipeline.contracts import GOLD, SILVER, Contract
from event_pipeline.lake.objects import EMPTY, Listing, Objects, bronze_of
from event_pipeline.lake.tables import Lake
from event_pipeline.lake.uploads import in_one_line
from event_pipeline.partitions import HOUR
from event_pipeline.promotion import incomplete
from event_pipeline.settings import Settings

TICK_SECONDS = 30
# Materializations of an asset that one tick of a Gold sensor reads; the next goes on from there.
RECORDS_PER_TICK = 500


def sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """All sensors: two for what arrives, two for the Gold that is made of it."""
    streams = [c for c in SILVER if not bronze_of(c).uploaded]
    uploads = [c for c in SILVER if bronze_of(c).uploaded]
    return [
        arrival_sensor(
            "arrivals",
            streams,
            settings,
            "New, late, overwritten and deleted Bronze objects: asks once for each hour whose "
            "objects are not those that it was built from.",
        ),
        arrival_sensor(
            "drops",
            uploads,
            settings,
            "New, replaced and deleted files of commerce drops: judges each on its own, and asks "
            "once for each table of a drop whose files are valid and not those it was built from.",
        ),
        gold_sensor(
            "gold_refresh",
            [c for c in GOLD if len(c.inputs) == 1],
            settings,
            "Asks for the Gold tables of each event date that a Silver build touched.",
        ),
        gold_sensor(
            "promotion",
            [c for c in GOLD if len(c.inputs) > 1],
            settings,
            "Asks for user_activity of a drop when its three tables are there, valid and built, "
            "and again only when one of them changed.",
        ),
    ]


def _asset(contract: Contract) -> dg.AssetKey:
    return dg.AssetKey(contract.asset.split("/"))


@dataclass
class _ArrivalState:
    """An arrival sensor's cursor: small, and none of it is needed to be right.

    `audited`: the day on which the rotation goes on. `told`: by asset, a digest of what was last
    put on record of files that are not read.
    """

    audited: str = ""
    told: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, cursor: str | None) -> "_ArrivalState":
        """Any other text costs one more round of the audit."""
        try:
            state = json.loads(cursor or "{}")
            return cls(
                str(state["audited"]),
                {str(asset): str(digest) for asset, digest in state["told"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()


def arrival_sensor(
    name: str, contracts: Sequence[Contract], settings: Settings, description: str
) -> dg.SensorDefinition:
    """Compares what lies in Bronze with what each partition was built from.

    Every tick looks at the latest days and at a few older ones in rotation, so that sooner or
    later everything is compared. The contracts share a prefix of Bronze.
    """
    made = {c: [_asset(c), _asset(c.quarantine())] for c in contracts}

    @dg.sensor(
        name=name,
        target=dg.AssetSelection.assets(*(key for keys in made.values() for key in keys)),
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
    )
    def arrivals(context: dg.SensorEvaluationContext, objects: Objects) -> dg.SensorResult:
        now, state = datetime.now(UTC), _ArrivalState.of(context.cursor)
        window, audit = _days_to_compare(settings, now, state)
        uploaded = bronze_of(contracts[0]).uploaded
        dropped = [day.isoformat() for day in objects.days(contracts[0])] if uploaded else []
        drops = [day for day in dropped if _between(settings.first_day, day, now.date())]
        requests, compared = Requests(), 0
        said: list[str] = []
        events: list[Any] = []
        for contract, assets in made.items():
            cadence = contract.cadence
            opened = _open(context.instance, contract, drops, settings.runs_per_tick)
            looked_at = sorted({*window, *audit, *map(date.fromisoformat, opened)})
            keys = [k for d in looked_at for k in cadence.keys_of(d) if k <= cadence.key(now)]
            listings = {
                key: found for day in looked_at for key, found in objects.day(contract, day).items()
            }
            compared += len(listings)
            versions = {key: found.digest for key, found in listings.items()}
            inputs = _changed(context.instance, assets[0], keys, versions)
            refused = {key: objects.refused(contract, listings.get(key, EMPTY)) for key in inputs}
            requests.add(
                request_runs(
                    context.instance,
                    name,
                    assets,
                    # The latest first: an audit's find must not hold up what arrives now.
                    {key: inputs[key] for key in sorted(inputs, reverse=True) if not refused[key]},
                    most=settings.runs_per_tick,
                    max_attempts=settings.max_attempts,
                    label=f"{contract.identifier[1]} " if len(made) > 1 else "",
                )
            )
            versions = {key: found.version for key, found in listings.items()}
            for key in _changed(context.instance, bronze_key(contract), keys, versions):
                events += arrival(contract, key, listings.get(key, EMPTY), objects)
            said += _not_read(keys, listings)
            if uploaded:
                if files := _files(refused.values()):
                    said.append(f"not read: {in_one_line(files, 2)}")
                # Without the audit's days, which are others at each tick: what is wrong with one
                # is on record now, and at the next tick it is open.
                lasting = {*opened, *(day.isoformat() for day in window)}
                files = _files(each for key, each in refused.items() if key in lasting)
                foreign = (each for key, each in listings.items() if key in lasting)
                unread = foreign_files(contract, foreign) | files
                events += _judgement(contract, unread, bool(files), state)
        if outside := sorted(set(dropped) - set(drops)):
            said.append(f"no partition for drops {_some(outside)}")
        if strays := objects.strays(contracts[0]):
            said.append(f"not read, no partition looks there: {_some(strays)}")
        return _result(
            context,
            requests,
            said=said,
            idle=f"nothing new: {compared} partitions in {len(window) + len(audit)} days compared",
            cursor=json.dumps(vars(state)),
            asset_events=events,
        )

    return arrivals


def _judgement(
    contract: Contract, unread: Mapping[str, str], serious: bool, state: _ArrivalState
) -> Iterator[dg.AssetCheckEvaluation]:
    """The check of a dataset's files, if it says something else than before."""
    asset = bronze_key(contract).to_user_string()
    digest = hashlib.sha256(json.dumps(sorted(unread.items())).encode()).hexdigest()[:16]
    if state.told.get(asset) != digest:
        state.told[asset] = digest
        yield upload_evaluation(contract, unread, serious)


def _files(refused: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Files that cannot be used, by key, and why, of several partitions."""
    return {file: why for each in refused for file, why in each.items()}


def _open(
    instance: dg.DagsterInstance, contract: Contract, drops: Sequence[str], most: int
) -> list[str]:
    """Drops whose files are not on record, and those not built as on record: the latest of each.

    So a drop of any date is noticed at once, where the rotation would take its time, and is
    looked at until it is built and holds no file that is not read.
    """
    arrived = recorded_versions(instance, bronze_key(contract), drops)
    built = recorded_versions(instance, _asset(contract), drops)
    new = [day for day in drops if day not in arrived]
    waiting = [day for day in sorted(arrived) if arrived[day] != built.get(day, EMPTY.digest)]
    return new[-most:] + waiting[-most:]


def _result(
    context: dg.SensorEvaluationContext,
    requests: Requests,
    *,
    said: Sequence[str],
    idle: str,
    cursor: str,
    asset_events: Sequence[Any] = (),
) -> dg.SensorResult:
    """The tick's result; what a person must know stands in its reason or beside its runs."""
    said = list(dict.fromkeys(said))  # datasets that share a prefix may say the same
    if requests.runs:
        for text in (*said, *([requests.message] if requests.given_up else [])):
            context.log.warning(text)
    return dg.SensorResult(
        run_requests=requests.runs,
        skip_reason=None if requests.runs else "; ".join([requests.message or idle, *said]),
        cursor=cursor,
        asset_events=asset_events,
    )


def _days_to_compare(
    settings: Settings, now: datetime, state: _ArrivalState
) -> tuple[list[date], list[date]]:
    """The days of the window up to now, and the next ones of the audit."""
    window_start = max(settings.first_day, (now - settings.late_window_hours * HOUR).date())
    audit_from = _date(state.audited) or settings.first_day
    if not settings.first_day <= audit_from < window_start:
        audit_from = settings.first_day
    audit_to = min(audit_from + timedelta(settings.audit_days_per_tick), window_start)
    state.audited = audit_to.isoformat()
    return _days(window_start, now.date()), _days(audit_from, audit_to - timedelta(1))


def _date(text: str) -> date | None:
    """The day in a cursor; None for any other text."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(n) for n in range((last - first).days + 1)]


def _changed(
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    keys: Sequence[str],
    versions: Mapping[str, str],
) -> dict[str, str]:
    """Partitions whose version is not the one on record for the asset, with what it is now."""
    recorded = recorded_versions(instance, asset, keys)
    now = {key: versions.get(key, EMPTY.digest) for key in sorted(keys)}
    return {key: v for key, v in now.items() if recorded.get(key, EMPTY.digest) != v}


def _not_read(keys: Sequence[str], listings: Mapping[str, Listing]) -> Iterator[str]:
    """What lies in Bronze and is not built, and why."""
    foreign = sorted(key for each in listings.values() for key in each.foreign)
    if foreign:
        yield f"not read, their names are foreign: {_some(foreign)}"
    # The producer's clock may be ahead of this one; or the name is of no hour, as hour=99.
    if strange := sorted(listings.keys() - set(keys)):
        yield f"no such partition yet: {_some(strange)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


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
    assets = [_asset(contract) for contract in contracts]
    inputs = [_asset(each) for each in contracts[0].inputs]

    @dg.sensor(
        name=name,
        target=dg.AssetSelection.assets(*assets),
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
    )
    def gold(context: dg.SensorEvaluationContext, objects: Objects, lake: Lake) -> dg.SensorResult:
        state = _GoldState.of(context.cursor)
        for asset in inputs:
            _read_touched(context.instance, asset, state)
        today = datetime.now(UTC).date()
        # A producer's clock may be ahead of this one: tomorrow's date waits until it begins.
        last = today + timedelta(1)
        outside = sorted(d for d in state.pending if not _between(settings.first_day, d, last))
        for day in outside:
            del state.pending[day]
        due = [d for d in state.pending if _between(settings.first_day, d, today)]
        waits: dict[str, str] = {}
        if len(inputs) > 1:
            due = _to_be_made(contracts[0], due, context.instance, lake, state)
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
        )
        for day in requests.done:
            del state.pending[day]
        events = [
            dg.AssetObservation(assets[0], partition=day, description=why)
            for day, why in waits.items()
            if state.told.get(day) != why
        ]
        state.told = waits
        said = [f"{day} {why}" for day, why in sorted(waits.items(), reverse=True)[:NAMED]]
        if outside:
            said.append(f"no Gold partition for event dates {_some(outside)}")
        return _result(
            context,
            requests,
            said=said,
            idle="Silver touched nothing new",
            cursor=json.dumps(vars(state)),
            asset_events=events,
        )

    return gold


def _to_be_made(
    contract: Contract,
    days: Sequence[str],
    instance: dg.DagsterInstance,
    lake: Lake,
    state: _GoldState,
) -> list[str]:
    """Days of which the table is not made of what is there now; the others are done with."""
    recorded = recorded_versions(instance, _asset(contract), days)
    changed = [day for day in days if recorded.get(day) != gold_digest(contract, lake, day)]
    for day in set(days) - set(changed):
        del state.pending[day]
    return changed


def _between(first: date, day: str, last: date) -> bool:
    """Whether an event date lies between two others; it may be of the year 0 or 10000."""
    return len(day) == len("2026-11-24") and first.isoformat() <= day <= last.isoformat()


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
