"""Arrival sensors: compare what lies in Bronze with what each partition was built from."""

import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from event_pipeline.assets.bronze import arrival, foreign_files, upload_evaluation
from event_pipeline.assets.keys import asset_key, bronze_key
from event_pipeline.contracts import SilverContract
from event_pipeline.digests import short_digest
from event_pipeline.lake.objects import EMPTY, Listing, Objects
from event_pipeline.lake.tables import Lake
from event_pipeline.lake.uploads import in_one_line
from event_pipeline.outdated import changed_results
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


@dataclass
class _ArrivalState:
    """An arrival sensor's cursor. It is small, and the sensor is right even without it.

    `audited`: prefix of Bronze -> the day at which the rotation goes on. `reported`: asset ->
    digest of what was last recorded about files that are not read.
    """

    audited: dict[str, str] = field(default_factory=dict)
    reported: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, cursor: str | None) -> "_ArrivalState":
        """Parses a cursor. Any other text gives an empty one, and costs a round of the audit."""
        try:
            state = json.loads(cursor or "{}")
            return cls(
                {str(prefix): str(day) for prefix, day in state["audited"].items()},
                {str(asset): str(digest) for asset, digest in state["told"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def as_cursor(self) -> str:
        """The text that `of` parses."""
        return json.dumps({"audited": self.audited, "told": self.reported})


def arrival_sensor(
    name: str, contracts: Sequence[SilverContract], settings: Settings, description: str
) -> dg.SensorDefinition:
    """Compares what lies in Bronze with what each partition was built from.

    Every tick looks at the latest days and at a few older ones in rotation, so that sooner or
    later everything is compared.
    """

    groups = _by_place(contracts)

    @dg.sensor(
        name=name,
        target=dg.AssetSelection.assets(*(key for each in contracts for key in _asset_keys(each))),
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
    )
    def arrivals(
        context: dg.SensorEvaluationContext, objects: Objects, lake: Lake
    ) -> dg.SensorResult:
        lake = lake.as_loaded()
        now, state = datetime.now(UTC), _ArrivalState.of(context.cursor)
        tick = _Tick(name, context.instance, objects.as_listed(), settings, now, state)
        for group in groups:
            tick.compare_prefix(group, lake)
        tick.events += changed_results(context.instance, lake, contracts)
        return result(
            context,
            tick.requests,
            notes=tick.notes,
            idle=f"nothing new: {tick.compared} partitions compared",
            cursor=state.as_cursor(),
            asset_events=tick.events,
        )

    return arrivals


def _by_place(contracts: Iterable[SilverContract]) -> list[list[SilverContract]]:
    """Groups of datasets that lie in the same place, and are looked at together."""
    groups: dict[tuple[str, str], list[SilverContract]] = {}
    for contract in contracts:
        groups.setdefault(contract.bronze.place, []).append(contract)
    return list(groups.values())


def _asset_keys(contract: SilverContract) -> list[dg.AssetKey]:
    return [asset_key(contract), asset_key(contract.quarantine)]


def _drop_days(contract: SilverContract, objects: Objects) -> list[str]:
    """The days (ISO) that have a folder; none for a dataset whose files are not uploaded."""
    if not contract.bronze.uploaded:
        return []
    return [day.isoformat() for day in objects.days(contract)]


@dataclass(frozen=True)
class _Known:
    """What is known of a dataset before Bronze is looked at.

    `arrived` and `built`: partition -> the version on record of what arrived, and of the Silver
    that was built. `silver` and `quarantine` are what the lake holds of the two tables.
    """

    arrived: Mapping[str, str]
    built: Mapping[str, str]
    silver: Holdings
    quarantine: Holdings

    @classmethod
    def of(
        cls, contract: SilverContract, instance: dg.DagsterInstance, lake: Lake, since: str
    ) -> "_Known":
        return cls(
            recorded_versions(instance, bronze_key(contract)),
            recorded_versions(instance, asset_key(contract)),
            Holdings.of(lake, contract, since),
            Holdings.of(lake, contract.quarantine, since),
        )

    @property
    def partitions(self) -> set[str]:
        """Every partition about which something is known."""
        return {*self.arrived, *self.built, *self.silver.digests}

    def lacking(self) -> list[str]:
        """Partitions on record that the lake does not hold, or holds from another input."""
        found = (each.lacking(self.built) for each in (self.silver, self.quarantine))
        return sorted({key for keys in found for key in keys})

    def differs(self, key: str, digest: str) -> bool:
        """Whether a partition differs from what a build from this input would make now."""
        if self.built.get(key, EMPTY.digest) != digest:
            return True
        return self.silver.lacks(key, digest) or self.quarantine.lacks(key, digest)


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
    notes: list[str] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)

    def compare_prefix(self, contracts: Sequence[SilverContract], lake: Lake) -> None:
        """Compares what lies under one prefix of Bronze, which these datasets share."""
        settings, today = self.settings, self.now.date()
        since = first_compared(settings, self.now)
        known = {each: _Known.of(each, self.instance, lake, since) for each in contracts}
        dropped = _drop_days(contracts[0], self.objects)
        drops = [day for day in dropped if is_between(settings.first_day, day, today)]
        window = _window(settings, self.now)
        partitions = {key for each in known.values() for key in each.partitions}
        older = self.audit(contracts[0], partitions, window)
        for contract in contracts:
            opened = _open_drops(known[contract], drops, settings.runs_per_tick)
            lost = known[contract].lacking()
            days = {*window, *older, *map(date.fromisoformat, opened)}
            if lost:
                # Only the latest; if there are more, the rotation reaches them.
                latest = lost[-settings.runs_per_tick :]
                days |= {contract.cadence.start(key).date() for key in latest}
                self.notes.append(f"{NOT_IN_LAKE}: {contract.table} {first_names(lost)}")
            # The audit's days are left out, since they differ at each tick. If something is wrong
            # with one of them, it is put on record now, and the day is open at the next tick.
            lasting = {*opened, *(day.isoformat() for day in window)}
            self.compare(contract, known[contract], sorted(days), lasting)
        if outside := sorted(set(dropped) - set(drops)):
            self.notes.append(f"no partition covers the drops {first_names(outside)}")
        if strays := self.objects.strays(contracts[0]):
            self.notes.append(
                f"not read, outside the folders of all partitions: {first_names(strays)}"
            )

    def audit(
        self, contract: SilverContract, known: Iterable[str], window: Sequence[date]
    ) -> list[date]:
        """The rotation's next days: those before the window that have a folder or are on record."""
        most, first = self.settings.audit_days_per_tick, self.settings.first_day
        if not most or not window:
            return []
        place = " ".join(contract.bronze.place).strip()
        start = _date(self.state.audited.get(place, "")) or first
        if not first <= start < window[0]:
            start = first
        lying = itertools.takewhile(lambda d: d < window[0], self.objects.days(contract, start))
        moments = (contract.cadence.moment(key) for key in known)
        on_record = {moment.date() for moment in moments if moment}
        days = {*itertools.islice(lying, most), *(d for d in on_record if start <= d < window[0])}
        found = sorted(days)[:most]
        following = found[-1] + timedelta(1) if len(found) == most else first
        self.state.audited[place] = following.isoformat()
        return found

    def compare(
        self,
        contract: SilverContract,
        known: _Known,
        days: Sequence[date],
        lasting: Collection[str],
    ) -> None:
        """Compares a dataset's partitions of these days; all there are if the audit has no limit.

        The check of the dataset's files covers only the partitions that are in `lasting`.
        """
        self.notes += [each.error for each in (known.silver, known.quarantine) if each.error]
        listings, keys = self._listed(contract, known, days)
        self.compared += len(listings)
        refused = self._ask(contract, known, keys, listings)
        for key in keys:
            listing = listings.get(key, EMPTY)
            # Objects that cannot be seen do not count as gone.
            if not listing.hidden and known.arrived.get(key, EMPTY.version) != listing.version:
                self.events += arrival(contract, key, listing, self.objects)
        self.notes += _not_read(keys, listings)
        if files := _files(refused.values()):
            self.requests.unusable |= files
            self.notes.append(f"not read: {in_one_line(files, 2)}")
        if contract.bronze.uploaded:
            files = _files(each for key, each in refused.items() if key in lasting)
            foreign = (each for key, each in listings.items() if key in lasting)
            unread = foreign_files(contract, foreign) | files
            self.events += _file_check(contract, unread, bool(files), self.state)

    def _listed(
        self, contract: SilverContract, known: _Known, days: Sequence[date]
    ) -> tuple[dict[str, Listing], list[str]]:
        """What lies in Bronze, by partition, and the partitions to compare, in order."""
        cadence, latest = contract.cadence, contract.cadence.key(self.now)
        first = cadence.key(self.settings.first_hour)
        if self.settings.audit_days_per_tick is None:
            listings = self.objects.all(contract, known.partitions)
            keys = {key for key in {*listings, *known.partitions} if cadence.moment(key)}
            listings = {key: found for key, found in listings.items() if key >= first}
        else:
            listings = {
                key: found for day in days for key, found in self.objects.day(contract, day).items()
            }
            keys = {key for day in days for key in cadence.keys_of(day)}
        return listings, sorted(key for key in keys if first <= key <= latest)

    def _ask(
        self,
        contract: SilverContract,
        known: _Known,
        keys: Sequence[str],
        listings: Mapping[str, Listing],
    ) -> dict[str, dict[str, str]]:
        """Asks for the partitions that changed and can be read.

        Returns the files that cannot be used: changed partition -> key -> why.
        """
        versions = {key: listings.get(key, EMPTY).digest for key in keys}
        inputs = {key: digest for key, digest in versions.items() if known.differs(key, digest)}
        refused = {key: self.objects.refused(contract, listings.get(key, EMPTY)) for key in inputs}
        same = (key for key, digest in inputs.items() if known.built.get(key) == digest)
        self.requests.add(
            request_runs(
                self.instance,
                self.sensor,
                _asset_keys(contract),
                # The latest first, so that what the audit finds does not hold up what arrives now.
                {key: inputs[key] for key in sorted(inputs, reverse=True) if not refused[key]},
                most=self.settings.runs_per_tick,
                max_attempts=self.settings.max_attempts,
                throttle=lambda _: timedelta(minutes=self.settings.silver_throttle_minutes),
                label=f"{contract.identifier[1]} ",
                reasons=dict.fromkeys(same, NOT_IN_LAKE),
            )
        )
        return refused


def _file_check(
    contract: SilverContract, unread: Mapping[str, str], serious: bool, state: _ArrivalState
) -> Iterator[dg.AssetCheckEvaluation]:
    """The check's result for a dataset's files, if it differs from the last one."""
    asset = bronze_key(contract).to_user_string()
    digest = short_digest(json.dumps(sorted(unread.items())))
    if state.reported.get(asset) != digest:
        state.reported[asset] = digest
        yield upload_evaluation(contract, unread, serious)


def _files(refused: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The unusable files of several partitions together: key -> why."""
    return {file: why for each in refused for file, why in each.items()}


def _open_drops(known: _Known, drops: Sequence[str], most: int) -> list[str]:
    """The latest drops that are not on record, and those not built as recorded: `most` of each.

    Thus a drop of any date is noticed at once, without waiting for the rotation. It is looked at
    until it is built and every file in it is read.
    """
    arrived = {day: known.arrived[day] for day in drops if day in known.arrived}
    new = [day for day in drops if day not in arrived]
    waiting = [day for day in arrived if arrived[day] != known.built.get(day, EMPTY.digest)]
    return new[-most:] + waiting[-most:]


def _window(settings: Settings, now: datetime) -> list[date]:
    """The days that every tick compares."""
    first = max(settings.first_day, window_start(settings, now).date())
    return [first + timedelta(n) for n in range((now.date() - first).days + 1)]


def _date(text: str) -> date | None:
    """The day in a cursor; None for any other text."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _not_read(keys: Sequence[str], listings: Mapping[str, Listing]) -> Iterator[str]:
    """What lies in Bronze and is not built, and why."""
    foreign = sorted(key for each in listings.values() for key in each.foreign)
    if foreign:
        yield f"not read, their names do not match: {first_names(foreign)}"
    # The producer's clock may be ahead of this one, or the folder names no hour, as hour=99.
    if strange := sorted(listings.keys() - set(keys)):
        yield f"not built, no such partition exists yet: {first_names(strange)}"
