"""When a partition is asked for, and when not: the rules that the sensors share.

What a partition was built from is on record as its data version. A partition is asked for while
that differs from its input. Runs are looked up by partition and input, so nothing need be
remembered between ticks: a run that failed is asked for again, up to a limit.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg

DATA_VERSION = "dagster/data_version"
PARTITION = "dagster/partition"
# The version of the input that a run was asked for, and which sensor asked.
INPUT = "event_pipeline/input"
SENSOR = "event_pipeline/sensor"
ASKED_AT = "event_pipeline/asked_at"

# SQLite takes at most 32,766 values in one statement.
BATCH = 1000

FAILED = {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
ENDED = {*FAILED, dg.DagsterRunStatus.SUCCESS}


def recorded_versions(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: Collection[str]
) -> dict[str, str]:
    """Data version of the latest materialization of each partition that has one."""
    keys, found = sorted(partitions), {}
    for n in range(0, len(keys), BATCH):
        tags = instance.event_log_storage.get_latest_tags_by_partition(
            asset,
            dg.DagsterEventType.ASSET_MATERIALIZATION,
            [DATA_VERSION],
            asset_partitions=keys[n : n + BATCH],
        )
        found.update({key: tag[DATA_VERSION] for key, tag in tags.items() if DATA_VERSION in tag})
    return found


@dataclass
class Requests:
    """What a tick asks for, and in words what it does not ask for and why."""

    runs: list[dg.RunRequest] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    @property
    def message(self) -> str:
        """One line that says what waits, for the sensor's tick."""
        return "; ".join(f"{key}: {why}" for key, why in self.waiting.items())


def request_runs(
    instance: dg.DagsterInstance,
    sensor: str,
    assets: Collection[dg.AssetKey],
    inputs: Mapping[str, str],
    *,
    most: int,
    max_attempts: int,
    throttle: timedelta = timedelta(0),
    until_success: bool = False,
) -> Requests:
    """Asks for a run of each partition in `inputs` (partition -> version of its input).

    At most `most`, in the mapping's order. A partition waits while a run of it is under way, and
    until `throttle` has passed since its last one was asked for; after `max_attempts` failed runs
    for the same input it is given up, until its input changes or a person runs it. With
    `until_success`, a partition for whose input a run succeeded is `done`; without, the caller
    knows better whether it is.
    """
    requests = Requests()
    runs = _runs(instance, inputs)
    now = datetime.now(UTC)
    for key, version in inputs.items():
        # A backfill's or a person's run of the assets counts as under way too.
        relevant = [
            r for r in runs[key] if not r.asset_selection or r.asset_selection & set(assets)
        ]
        asked = [r for r in relevant if r.tags.get(SENSOR) == sensor]
        own = [r for r in asked if r.tags.get(INPUT) == version]
        failures = [r for r in own if r.status in FAILED]
        if until_success and any(r.status == dg.DagsterRunStatus.SUCCESS for r in own):
            requests.done.append(key)
        elif any(r.status not in ENDED for r in relevant):
            requests.waiting[key] = "a run is under way"
        elif len(failures) >= max_attempts:
            requests.waiting[key] = (
                f"given up after {len(failures)} failed runs, the last is "
                f"{failures[0].run_id[:8]}; mend the cause and materialize it"
            )
        elif asked and now - _asked_at(asked) < throttle:
            requests.waiting[key] = "refreshed a moment ago"
        elif len(requests.runs) >= most:
            requests.waiting[key] = "its turn comes at a later tick"
        else:
            requests.runs.append(
                dg.RunRequest(
                    run_key=f"{sensor}/{key}/{version}/{len(own)}",
                    partition_key=key,
                    asset_selection=list(assets),
                    tags={SENSOR: sensor, INPUT: version, ASKED_AT: now.isoformat()},
                )
            )
    return requests


def _runs(
    instance: dg.DagsterInstance, partitions: Iterable[str]
) -> Mapping[str, list[dg.DagsterRun]]:
    """Runs of single partitions, latest first."""
    keys, found = list(partitions), defaultdict(list)
    for n in range(0, len(keys), BATCH):
        filters = dg.RunsFilter(tags={PARTITION: keys[n : n + BATCH]})
        for run in instance.get_runs(filters=filters):
            found[run.tags[PARTITION]].append(run)
    return found


def _asked_at(runs: list[dg.DagsterRun]) -> datetime:
    return max(datetime.fromisoformat(r.tags[ASKED_AT]) for r in runs if ASKED_AT in r.tags)
