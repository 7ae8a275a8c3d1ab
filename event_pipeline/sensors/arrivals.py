"""Arrival sensors: what lies in Bronze is compared with what each partition was built from."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from event_pipeline.assets.bronze import arrival, foreign_files, upload_evaluation
from event_pipeline.assets.keys import asset_key, bronze_key
from event_pipeline.automation import Requests, recorded_versions, request_runs
from event_pipeline.contracts import Contract
from event_pipeline.digests import short_digest
from event_pipeline.lake.objects import EMPTY, Listing, Objects, bronze_of
from event_pipeline.lake.uploads import in_one_line
from event_pipeline.partitions import HOUR
from event_pipeline.sensors.common import TICK_SECONDS, between, result, some
from event_pipeline.settings import Settings


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

    @dg.sensor(
        name=name,
        target=dg.AssetSelection.assets(*(key for each in contracts for key in _made(each))),
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
    )
    def arrivals(context: dg.SensorEvaluationContext, objects: Objects) -> dg.SensorResult:
        now, state = datetime.now(UTC), _ArrivalState.of(context.cursor)
        window, audit = _days_to_compare(settings, now, state)
        dropped = _drops(contracts[0], objects)
        drops = [day for day in dropped if between(settings.first_day, day, now.date())]
        tick = _Tick(name, context.instance, objects.as_listed(), settings, now, state)
        for contract in contracts:
            opened = _open(context.instance, contract, drops, settings.runs_per_tick)
            days = sorted({*window, *audit, *map(date.fromisoformat, opened)})
            # Without the audit's days, which are others at each tick: what is wrong with one is
            # on record now, and at the next tick it is open.
            lasting = {*opened, *(day.isoformat() for day in window)}
            tick.look_at(contract, days, lasting)
        if outside := sorted(set(dropped) - set(drops)):
            tick.said.append(f"no partition for drops {some(outside)}")
        if strays := objects.strays(contracts[0]):
            tick.said.append(f"not read, no partition looks there: {some(strays)}")
        days_compared = len(window) + len(audit)
        return result(
            context,
            tick.requests,
            said=tick.said,
            idle=f"nothing new: {tick.compared} partitions in {days_compared} days compared",
            cursor=json.dumps(vars(state)),
            asset_events=tick.events,
        )

    return arrivals


def _made(contract: Contract) -> list[dg.AssetKey]:
    return [asset_key(contract), asset_key(contract.quarantine())]


def _drops(contract: Contract, objects: Objects) -> list[str]:
    """The days that have a folder, of a dataset whose files are uploaded."""
    if not bronze_of(contract).uploaded:
        return []
    return [day.isoformat() for day in objects.days(contract)]


@dataclass
class _Tick:
    """One tick: what it compares with, and what it finds, dataset by dataset."""

    sensor: str
    instance: dg.DagsterInstance
    objects: Objects
    settings: Settings
    now: datetime
    state: _ArrivalState
    requests: Requests = field(default_factory=Requests)
    compared: int = 0
    said: list[str] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)

    def look_at(self, contract: Contract, days: Sequence[date], lasting: Collection[str]) -> None:
        """Compares a dataset's partitions of these days.

        The check of its files speaks of those partitions among them that are `lasting`.
        """
        cadence, latest = contract.cadence, contract.cadence.key(self.now)
        keys = [key for day in days for key in cadence.keys_of(day) if key <= latest]
        listings = {
            key: found for day in days for key, found in self.objects.day(contract, day).items()
        }
        self.compared += len(listings)
        refused = self._ask(contract, keys, listings)
        versions = {key: found.version for key, found in listings.items()}
        for key in _changed(self.instance, bronze_key(contract), keys, versions):
            self.events += arrival(contract, key, listings.get(key, EMPTY), self.objects)
        self.said += _not_read(keys, listings)
        self.requests.unusable |= _files(refused.values())
        if bronze_of(contract).uploaded:
            if files := _files(refused.values()):
                self.said.append(f"not read: {in_one_line(files, 2)}")
            files = _files(each for key, each in refused.items() if key in lasting)
            foreign = (each for key, each in listings.items() if key in lasting)
            unread = foreign_files(contract, foreign) | files
            self.events += _judgement(contract, unread, bool(files), self.state)

    def _ask(
        self, contract: Contract, keys: Sequence[str], listings: Mapping[str, Listing]
    ) -> dict[str, dict[str, str]]:
        """Asks for what changed and can be read; what cannot, by partition and file, and why."""
        versions = {key: found.digest for key, found in listings.items()}
        inputs = _changed(self.instance, asset_key(contract), keys, versions)
        refused = {key: self.objects.refused(contract, listings.get(key, EMPTY)) for key in inputs}
        self.requests.add(
            request_runs(
                self.instance,
                self.sensor,
                _made(contract),
                # The latest first: an audit's find must not hold up what arrives now.
                {key: inputs[key] for key in sorted(inputs, reverse=True) if not refused[key]},
                most=self.settings.runs_per_tick,
                max_attempts=self.settings.max_attempts,
                throttle=timedelta(minutes=self.settings.silver_throttle_minutes),
                label=f"{contract.identifier[1]} " if bronze_of(contract).uploaded else "",
            )
        )
        return refused


def _judgement(
    contract: Contract, unread: Mapping[str, str], serious: bool, state: _ArrivalState
) -> Iterator[dg.AssetCheckEvaluation]:
    """The check of a dataset's files, if it says something else than before."""
    asset = bronze_key(contract).to_user_string()
    digest = short_digest(json.dumps(sorted(unread.items())))
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
    built = recorded_versions(instance, asset_key(contract), drops)
    new = [day for day in drops if day not in arrived]
    waiting = [day for day in sorted(arrived) if arrived[day] != built.get(day, EMPTY.digest)]
    return new[-most:] + waiting[-most:]


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
        yield f"not read, their names are foreign: {some(foreign)}"
    # The producer's clock may be ahead of this one; or the name is of no hour, as hour=99.
    if strange := sorted(listings.keys() - set(keys)):
        yield f"no such partition yet: {some(strange)}"
