"""When a partition is asked for, and when not: the rules that the sensors share.

What a partition was built from is on record as its data version. A partition is asked for as long
as that differs from its input. Runs are looked up by partition and input, so nothing has to be
remembered between ticks. After a failed run, a partition is asked for again, up to a limit.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import dagster as dg

from event_pipeline.errors import in_short
from event_pipeline.recorded import BATCH
from event_pipeline.runs import ENDED, FAILED, UNFINISHED, is_lost
from event_pipeline.tags import (
    ASKED_AT,
    INPUT,
    PARTITION,
    RANGE_END,
    RANGE_START,
    RETRIES,
    SENSOR,
    WHY,
)

# How many runs of one input may be lost (their processes gone) before the input is given up. An
# input that always ends its process, as for want of memory, would otherwise be tried for ever.
MAX_LOST_RUNS = 20
UNDER_WAY = "a run is under way"


@dataclass
class Requests:
    """What a tick asks for, and what it does not ask for and why.

    `given_up` and `waiting`: partition -> why. `unusable`: file that keeps a partition from being
    built -> why. What is given up or unusable stays so until a person does something. `done` are
    partitions whose input was used by a run that succeeded.
    """

    runs: list[dg.RunRequest] = field(default_factory=list)
    given_up: dict[str, str] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    @property
    def under_way(self) -> list[str]:
        """The partitions that wait for a run that has not ended."""
        return [key for key, why in self.waiting.items() if why == UNDER_WAY]

    def add(self, other: "Requests") -> None:
        """Adds the requests for other assets."""
        self.runs += other.runs
        self.given_up |= other.given_up
        self.unusable |= other.unusable
        self.waiting |= other.waiting
        self.done += other.done

    @property
    def message(self) -> str:
        """One line that says what waits, for the sensor's tick; empty if nothing does."""
        reasons = [f"{key}: {why}" for key, why in {**self.given_up, **self.waiting}.items()]
        return in_short(reasons)


def request_runs(
    instance: dg.DagsterInstance,
    sensor: str,
    assets: Collection[dg.AssetKey],
    inputs: Mapping[str, str],
    *,
    most: int,
    max_attempts: int,
    throttle: Callable[[str], timedelta] = lambda _: timedelta(0),
    until_success: bool = False,
    label: str = "",
    reasons: Mapping[str, str] = MappingProxyType({}),
) -> Requests:
    """Asks for a run of each partition in `inputs` (partition -> version of its input).

    Asks for at most `most` runs, in the mapping's order.

    A partition waits while a run of it is under way, its own or a range's, and until its `throttle`
    has passed since its last run was asked for. After `max_attempts` failed runs for the same
    input, it is given up until its input changes or a person runs it. A lost run (its process is
    gone) counts for neither: its partition is asked for again at once, up to MAX_LOST_RUNS times.

    With `until_success`, a partition is `done` once a run of all the assets, the sensor's or a
    person's, has used its input. Otherwise, the caller decides what is done.

    `label` tells the assets from others of the same sensor: it stands before a partition in
    messages and in the run's key. `reasons` (partition -> text) become the tag WHY of the runs.
    """
    requests = Requests()
    now = datetime.now(UTC)
    history = _runs(instance, inputs)
    for key, version in inputs.items():
        runs = [r for r in history[key] if not _selection(r) or _selection(r) & set(assets)]
        succeeded = [r for r in runs if r.dagster_run.status == dg.DagsterRunStatus.SUCCESS]
        asked = [r for r in runs if r.dagster_run.tags.get(SENSOR) == sensor]
        own = [r for r in asked if r.dagster_run.tags.get(INPUT) == version]
        failed = [r for r in own if r.dagster_run.status in FAILED]
        lost = [r for r in failed if is_lost(r.dagster_run)]
        counts = {
            "failed": (len(failed) - len(lost), max_attempts),
            "lost": (len(lost), MAX_LOST_RUNS),
        }
        too_many = [f"{n} {outcome} runs" for outcome, (n, limit) in counts.items() if n >= limit]
        # Every run that is younger than the first one for this input has used this input, too.
        used = [r for r in succeeded if own and r.storage_id >= own[-1].storage_id]
        if until_success and any(not _selection(r) or _selection(r) >= set(assets) for r in used):
            requests.done.append(key)
        elif any(r.dagster_run.status not in ENDED for r in runs):
            requests.waiting[label + key] = UNDER_WAY
        elif too_many:
            requests.given_up[label + key] = (
                f"given up after {' and '.join(too_many)}; the last is "
                f"{failed[0].dagster_run.run_id[:8]}; fix the cause, then materialize it"
            )
        elif now < (
            due := _asked_at(r for r in asked if not is_lost(r.dagster_run)) + throttle(key)
        ):
            requests.waiting[label + key] = f"throttled until {due:%Y-%m-%d %H:%M} UTC"
        elif len(requests.runs) >= most:
            requests.waiting[label + key] = "its run will be requested at a later tick"
        else:
            requests.runs.append(
                dg.RunRequest(
                    # With the label, since every empty input has the same version.
                    run_key=f"{sensor}/{label}{key}/{version}/{len(own)}",
                    partition_key=key,
                    asset_selection=list(assets),
                    tags={
                        SENSOR: sensor,
                        INPUT: version,
                        ASKED_AT: now.isoformat(),
                        RETRIES: "0",
                        **({WHY: reasons[key]} if key in reasons else {}),
                    },
                )
            )
    return requests


def _runs(
    instance: dg.DagsterInstance, partitions: Iterable[str]
) -> Mapping[str, list[dg.RunRecord]]:
    """Partition -> unfinished runs of ranges that hold it, then its own runs, latest first."""
    keys, found = list(partitions), defaultdict(list)
    if keys:
        # Runs of ranges have no tag for each partition. What ended ones made is on record by
        # partition.
        unfinished = dg.RunsFilter(statuses=list(UNFINISHED))
        for record in instance.get_run_records(unfinished):
            tags = record.dagster_run.tags
            first, last = tags.get(RANGE_START, ""), tags.get(RANGE_END, "")
            for key in keys:
                # Keys of the same cadence are equally long and sort by time.
                if first <= key <= last and len(key) == len(first):
                    found[key].append(record)
    for n in range(0, len(keys), BATCH):
        filters = dg.RunsFilter(tags={PARTITION: keys[n : n + BATCH]})
        for record in instance.get_run_records(filters):
            found[record.dagster_run.tags[PARTITION]].append(record)
    return found


def _selection(record: dg.RunRecord) -> AbstractSet[dg.AssetKey]:
    """The assets that a run was for; empty if it was for all of its job."""
    return record.dagster_run.asset_selection or frozenset()


def _asked_at(runs: Iterable[dg.RunRecord]) -> datetime:
    """When the last of these runs was asked for; the year 1 if there are none."""
    times = (datetime.fromisoformat(r.dagster_run.tags[ASKED_AT]) for r in runs)
    return max(times, default=datetime.min.replace(tzinfo=UTC))
