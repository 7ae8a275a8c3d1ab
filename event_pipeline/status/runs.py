"""Sections about runs: what is under way, what failed, and what was given up."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from event_pipeline.errors import first_line
from event_pipeline.recorded import BATCH
from event_pipeline.run_requests import MAX_LOST_RUNS
from event_pipeline.runs import UNFINISHED, is_lost
from event_pipeline.status.section import Record, Section, always_urgent
from event_pipeline.status.view import View
from event_pipeline.tags import INPUT, PARTITION, SENSOR, partitions_in_words

Status = dg.DagsterRunStatus
# What a run tried: the sensor that asked for it or "", the partition or range, and the assets.
Try = tuple[str, str, frozenset[str]]


def under_way(view: View) -> Section:
    """Runs that have not ended, and for how long.

    Records: run, state, partition, assets, minutes.
    """

    def find() -> Iterator[Record]:
        filters = dg.RunsFilter(statuses=list(UNFINISHED))
        for record in view.instance.get_run_records(filters):
            minutes = (view.now - record.create_timestamp) / timedelta(minutes=1)
            yield {**_run_record(record.dagster_run), "minutes": round(minutes, 1)}

    return Section("under_way", "Runs under way").add("", find)


def given_up(view: View, waiting: Section) -> Section:
    """Partitions that still wait but are not asked for any more, as their runs kept failing.

    Records: run (the last), state, partition, assets, tries, error.
    """

    def find() -> Iterator[Record]:
        waits = {(record["asset"], record["partition"]) for record in waiting.records}
        for (_, partition, assets), runs in _failed_last(view).items():
            latest = runs[0].tags.get(INPUT)
            tries = [run for run in runs if run.tags.get(INPUT) == latest and SENSOR in run.tags]
            lost = sum(map(is_lost, tries))
            is_over = len(tries) - lost >= view.settings.max_attempts or lost >= MAX_LOST_RUNS
            if is_over and any((asset, partition) in waits for asset in assets):
                yield {
                    **_run_record(tries[0]),
                    "tries": len(tries),
                    "error": _error(view, tries[0]),
                }

    return Section("given_up", "Partitions that were given up", always_urgent).add("", find)


def failed(view: View) -> Section:
    """Failed runs after which no run for the same succeeded; of several, the last.

    Records: run, state, partition, assets, failures.
    """

    def find() -> Iterator[Record]:
        for runs in _failed_last(view).values():
            yield {**_run_record(runs[0]), "failures": len(runs)}

    return Section("failed_runs", "Failed runs without a later success").add("", find)


def _failed_last(view: View) -> dict[Try, list[dg.DagsterRun]]:
    """Failed runs since the last success, latest first, by what they were to make."""
    filters = dg.RunsFilter(statuses=[Status.FAILURE, Status.CANCELED])
    failures: dict[Try, list[dg.RunRecord]] = defaultdict(list)
    for record in view.instance.get_run_records(filters):
        failures[_try(record.dagster_run)].append(record)
    succeeded: dict[tuple[str, frozenset[str]], int] = {}
    partitions = sorted({partition for _, partition, _ in failures if partition})
    for n in range(0, len(partitions), BATCH):
        same = dg.RunsFilter(statuses=[Status.SUCCESS], tags={PARTITION: partitions[n : n + BATCH]})
        for record in view.instance.get_run_records(same):
            _, partition, assets = _try(record.dagster_run)
            place = (partition, assets)
            succeeded[place] = max(succeeded.get(place, 0), record.storage_id)
    found = {}
    for tried, records in failures.items():
        since = max(
            (n for (partition, assets), n in succeeded.items()
             if partition == tried[1] and assets & tried[2]),
            default=0,
        )  # fmt: skip
        if runs := [record.dagster_run for record in records if record.storage_id > since]:
            found[tried] = runs
    return found


def _try(run: dg.DagsterRun) -> Try:
    return run.tags.get(SENSOR, ""), partitions_in_words(run.tags), frozenset(_assets(run))


def _run_record(run: dg.DagsterRun) -> Record:
    return {
        "run": run.run_id[:8],
        "state": run.status.value,
        "partition": partitions_in_words(run.tags),
        "assets": ", ".join(_assets(run)),
    }


def _assets(run: dg.DagsterRun) -> list[str]:
    return sorted(key.to_user_string() for key in run.asset_selection or ())


def _error(view: View, run: dg.DagsterRun) -> str:
    """Why a run failed, in one line; empty if the run does not say."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    for record in view.instance.get_records_for_run(run.run_id, of_type=kinds).records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        data = event.event_specific_data
        failure = getattr(data, "user_failure_data", None)
        if failure and failure.description:
            return first_line(Exception(failure.description))
        error = getattr(data, "error", None)
        if error:
            return first_line(Exception((error.cause or error).message))
    return ""
