"""Does at once what the sensors would do by and by, with real runs in this process."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from sqlalchemy.exc import SQLAlchemyError

from event_pipeline import runs
from event_pipeline.assets.keys import asset_key
from event_pipeline.contracts import GOLD, SILVER, Contract
from event_pipeline.dagster_internals import make_new_run_id
from event_pipeline.definitions import definitions
from event_pipeline.engines.claims import Lease
from event_pipeline.errors import first_line, in_short
from event_pipeline.home import open_instance
from event_pipeline.interrupts import Stop, stopping
from event_pipeline.lake.tables import Lake
from event_pipeline.outdated import grouped_by_inputs, outdated, range_runs
from event_pipeline.partitions import HOUR
from event_pipeline.recorded import recorded_versions
from event_pipeline.sensors import STAGES
from event_pipeline.sensors.common import Tick
from event_pipeline.sensors.gold import days_to_refresh
from event_pipeline.settings import Settings
from event_pipeline.status import failures, needing_attention, survey
from event_pipeline.tags import INPUT, WHY, partitions_in_words

# Dagster's own log of every event would bury the progress; it is all in the UI.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
WAIT_SECONDS = 1.0
# How often one command executes the same request. The next command, or the daemon, asks again.
MAX_TRIES = 3
# Raised if Dagster's or the lake's database is locked for too long, or cannot be written to.
DATABASE_ERRORS = (SQLAlchemyError, OSError)
STOPPED = "event-pipeline: stopped; to continue: event-pipeline sync"


def run_sync(
    settings: Settings,
    console: Console,
    *,
    rebuild_changed: bool = False,
    since: date | None = None,
) -> bool:
    """Evaluates the sensors over all of Bronze until they ask no more.

    With `since`, over the partitions of this day and of later ones. With `rebuild_changed`, first
    makes anew what an earlier statement made. Waits for runs that
    another process has under way. Returns False, and says why, if a run failed, something is left
    unbuilt, or what is built needs a person. Raises SystemExit 130 at Ctrl-C, 143 at SIGTERM.
    """
    # This mends a lake that lost its catalog, even if nothing asks for a build.
    Lake.of(settings).open()
    with working(settings, console, since) as work:
        if rebuild_changed:
            work.rebuild_changed(settings)
        work.follow_sensors()
    sections = survey(settings, since=since)
    for line in needing_attention(sections):
        console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    return not work.problems and not failures(sections)


@contextmanager
def working(settings: Settings, console: Console, since: date | None = None) -> Iterator["Work"]:
    """The home's graph at work: shows its progress, and prints at the end what is wrong."""
    with open_instance(settings) as instance:

        def end_runs() -> None:
            Lease.release_all()
            for run_id in runs.held_here():
                runs.end(instance, run_id, "interrupted")

        with stopping(end_runs, STOPPED) as stop:
            with _progress(console) as progress:
                defs = _unlimited_definitions(settings, since)
                work = Work(defs, instance, progress, stop)
                yield work
            for problem in work.problems:
                console.print(problem, style="red", markup=False, highlight=False, soft_wrap=True)


def _unlimited_definitions(settings: Settings, since: date | None) -> dg.Definitions:
    """The graph with sensors that look at everything in one tick, and hold nothing back.

    With `since`, they look at this day and at later ones.
    """
    looked_at: dict[str, Any] = {"audit_days_per_tick": None}
    if since:
        start = datetime.combine(since, datetime.min.time(), UTC)
        hours = (datetime.now(UTC) - start) // HOUR
        looked_at = {"audit_days_per_tick": 0, "late_window_hours": hours}
    without_end = {"runs_per_tick": 1_000_000}
    throttles = [name for name in Settings.model_fields if name.endswith("throttle_minutes")]
    at_once = dict.fromkeys(throttles, 0)
    return definitions(settings.model_copy(update={**looked_at, **without_end, **at_once}))


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=24)),
        BarColumn(table_column=Column(no_wrap=True, min_width=20)),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        # The text may be long, and must not take the other columns' room.
        TextColumn("{task.fields[text]}", table_column=Column(ratio=1, overflow="fold")),
        console=console,
        expand=True,
    )


@dataclass
class Work:
    """What one command does with the graph. `problems`: what failed or is left undone, and why."""

    defs: dg.Definitions
    instance: dg.DagsterInstance
    progress: Progress
    stop: Stop
    problems: list[str] = field(default_factory=list)

    def follow_sensors(self) -> None:
        """Evaluates each sensor in turn and executes what it asks for, until it asks no more."""
        for stage in STAGES:
            self.stop.check()
            task = self.progress.add_task(stage.title, total=0, text="evaluating the sensor")
            try:
                text = _Stage(self, stage.name, task).follow()
            except DATABASE_ERRORS as error:
                # The other stages may well do without what this one could not read.
                self.problems.append(f"{stage.name}: {first_line(error)}")
                text = first_line(error)
            self.progress.update(task, text=text)
            self.progress.stop_task(task)

    def rebuild_changed(self, settings: Settings) -> None:
        """Makes anew what an earlier statement or contract made, a range of partitions a run."""
        self.end_lost_runs()
        lake = Lake.of(settings)
        for contract in SILVER:
            keys = outdated(lake, contract)
            self._make_ranges("Silver", [contract, contract.quarantine], keys, settings)
        for contracts in grouped_by_inputs(GOLD):
            days = {key for each in contracts for key in outdated(lake, each)}
            on_record = recorded_versions(self.instance, asset_key(contracts[0]))
            # Also the days that Silver's new rows concern.
            days.update(days_to_refresh(contracts, on_record, self.instance, lake))
            self._make_ranges("Gold  ", contracts, sorted(days), settings)

    def _make_ranges(
        self, layer: str, contracts: Sequence[Contract], keys: Sequence[str], settings: Settings
    ) -> None:
        cadence = contracts[0].cadence
        first = cadence.key(settings.first_hour)
        assets = [asset_key(each) for each in contracts]
        requests = list(range_runs(assets, cadence, [key for key in keys if key >= first]))
        if requests:
            title = f"{layer}  rebuild {contracts[0].identifier[1]}"
            task = self.progress.add_task(title, total=len(requests), text="")
            _Stage(self, "rebuild", task).make(requests)
            self.progress.stop_task(task)

    def end_lost_runs(self) -> None:
        """Ends runs whose process is gone, and says so."""
        for lost in runs.end_lost_runs(self.instance):
            self.progress.console.print(f"Ended {lost}", markup=False, highlight=False)


@dataclass
class _Stage:
    """One sensor's part of the work.

    `tries`: (partition, input, assets) of a request -> how often it was asked for. `failed`:
    partition -> why its run failed.
    """

    work: Work
    sensor: str
    task: TaskID
    done: int = 0
    tries: Counter[tuple[str, ...]] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)

    def follow(self) -> str:
        """Evaluates the sensor and executes its requests, until it asks no more.

        Returns the text to show in the end.
        """
        cursor = None
        while True:
            self.work.stop.check()
            self.work.end_lost_runs()
            tick = self._tick(cursor)
            asked = [each for each in tick.run_requests or () if self._may_be_tried(each)]
            self._execute_all(asked)
            if not asked and tick.requests.under_way:
                self._wait_for(tick.requests.under_way)
            elif not asked and tick.cursor == cursor:
                return self._conclude(tick)
            cursor = tick.cursor

    def make(self, requests: Sequence[dg.RunRequest]) -> None:
        """Executes requests that no sensor made, and adds failures to the work's problems."""
        self._execute_all(requests)
        self._add_problems(self.failed)

    def _tick(self, cursor: str | None) -> Tick:
        """A tick from the cursor of the one before, as the daemon would do it."""
        with dg.build_sensor_context(
            instance=self.work.instance,
            cursor=cursor,
            sensor_name=self.sensor,
            resources=self.work.defs.resources,
        ) as context:
            tick = self.work.defs.resolve_sensor_def(self.sensor)(context)
        assert isinstance(tick, Tick)
        for event in tick.asset_events:
            self.work.instance.report_runless_asset_event(event)
        return tick

    def _may_be_tried(self, request: dg.RunRequest) -> bool:
        """Whether a request has not been tried too often yet; counts this try."""
        asked_for = (str(request.partition_key), request.tags[INPUT], str(request.asset_selection))
        self.tries[asked_for] += 1
        return self.tries[asked_for] <= MAX_TRIES

    def _execute_all(self, requests: Sequence[dg.RunRequest]) -> None:
        for request in requests:
            partition = request.partition_key or partitions_in_words(request.tags)
            self._show(total=self.done + 1, text=partition)
            if why := request.tags.get(WHY):
                text = f"{partition}: {why}"
                self.work.progress.console.print(text, markup=False, highlight=False)
            if problem := self._execute(request):
                self.failed[partition] = problem
            self.done += 1
            self._show(completed=self.done)

    def _execute(self, request: dg.RunRequest) -> str | None:
        """Executes a request; returns why it failed, None if it did not.

        An error outside of the steps, such as a database's, is returned as well, so that other
        requests get their turn. The run is held before it is on record, so that it is recognised if
        it is lost.
        """
        self.work.stop.check()
        instance, run_id = self.work.instance, make_new_run_id()
        try:
            with runs.executing(instance, run_id):
                try:
                    result = (
                        self.work.defs.resolve_implicit_global_asset_job_def().execute_in_process(
                            instance=instance,
                            run_id=run_id,
                            partition_key=request.partition_key,
                            asset_selection=list(request.asset_selection or ()),
                            tags={**request.tags, **_run_key(request)},
                            run_config=QUIET,
                            raise_on_error=False,
                        )
                    )
                    problem = None if result.success else _failure(result)
                    if problem and self.work.stop:
                        instance.add_run_tags(run_id, {runs.LOST: "interrupted"})
                except Exception as error:
                    problem = first_line(error)
                    runs.end(instance, run_id, problem)
        except DATABASE_ERRORS as error:
            # The run's end cannot be recorded, either: the next look finds that nobody executes it.
            problem = first_line(error)
        self.work.stop.check()
        return f"run {run_id[:8]}: {problem}" if problem else None

    def _wait_for(self, partitions: Sequence[str]) -> None:
        """Waits until some run of another process ends, or turns out to be lost."""
        filters = dg.RunsFilter(statuses=list(runs.UNFINISHED))
        before = {run.run_id for run in self.work.instance.get_runs(filters)}
        now = before
        self._show(text=f"waiting for runs in other processes: {in_short(partitions)}")
        while before and before <= now:
            self.work.stop.sleep(WAIT_SECONDS)
            self.work.end_lost_runs()
            now = {run.run_id for run in self.work.instance.get_runs(filters)}

    def _conclude(self, tick: Tick) -> str:
        """Adds what is wrong after the last tick to the work's problems; returns the final text."""
        left = tick.requests.given_up | tick.requests.unusable
        self._add_problems(self.failed)
        self._add_problems(left)
        if self.failed:
            return f"{len(self.failed)} partitions failed; for details: event-pipeline status"
        # The last tick asks for nothing; it says what waits, and for what.
        return str(tick.skip_reason.skip_message if tick.skip_reason else "")

    def _add_problems(self, records: Mapping[str, str]) -> None:
        if records:
            texts = [f"{name}: {why}" for name, why in records.items()]
            self.work.problems.append(f"{self.sensor}: {in_short(texts)}")

    def _show(self, **fields: Any) -> None:
        self.work.progress.update(self.task, **fields)


def _run_key(request: dg.RunRequest) -> dict[str, str]:
    return {"dagster/run_key": request.run_key} if request.run_key else {}


def _failure(result: dg.ExecuteInProcessResult) -> str:
    """Why a run failed, in the words of its step."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                return data.user_failure_data.description
            if data.error:
                return first_line(data.error.message)
    return "failed"
