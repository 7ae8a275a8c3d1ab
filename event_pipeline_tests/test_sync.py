"""`sync` never exits 0 over something stuck, and waits for what lives."""

import gzip
import io
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.runs import SqliteRunStorage
from rich.console import Console
from sqlalchemy.exc import OperationalError

from event_pipeline import report, runs
from event_pipeline.bronze import object_key
from event_pipeline.definitions import definitions
from event_pipeline.home import open_instance
from event_pipeline.ingest.handler import FolderStore
from event_pipeline.partitions import DAY, HOURLY
from event_pipeline.resources import resources
from event_pipeline.settings import Settings
from event_pipeline.sync import STOPPED, run_sync
from event_pipeline_tests.dagster_lab import text


@dataclass
class Home:
    """A home with an hour of events."""

    settings: Settings
    hour: str
    said: str = ""

    def sync(self, since: date | None = None) -> bool:
        """What `event-pipeline sync` comes to; False is exit code 1."""
        said = io.StringIO()
        try:
            return run_sync(self.settings, Console(file=said, width=200), since=since)
        finally:
            self.said = said.getvalue()

    def gold(self) -> int:
        """Event counts in Gold."""
        query = "SELECT sum(total_events) FROM gold.category_performance"
        return int(resources(self.settings).querier.fetch(query)[1][0][0] or 0)

    def request(self, instance: dg.DagsterInstance, sensor: str = "arrivals") -> dg.RunRequest:
        """The first run that a sensor of the daemon asks for."""
        defs = definitions(self.settings)
        with dg.build_sensor_context(
            instance=instance, definitions=defs, sensor_name=sensor, resources=defs.resources
        ) as context:
            tick = defs.resolve_sensor_def(sensor).evaluate_tick(context)
        assert tick.run_requests
        return tick.run_requests[0]

    def create(self, instance: dg.DagsterInstance) -> dg.DagsterRun:
        """A run of the hour, on record and not started."""
        request = self.request(instance)
        return instance.create_run_for_job(
            definitions(self.settings).resolve_implicit_global_asset_job_def(),
            tags={**request.tags, "dagster/partition": str(request.partition_key)},
            asset_selection=frozenset(request.asset_selection or ()),
        )


@pytest.fixture(autouse=True)
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are half of the time, and no row stands in them."""
    monkeypatch.setattr(report, "chart", lambda *_: "")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    now = datetime.now(UTC)
    hour = f"{(now - DAY).date()}-10:00"
    settings = Settings(
        home=tmp_path, first_day=(now - 2 * DAY).date(), memory_mb=512, threads=1, max_attempts=2
    )
    slot = HOURLY.start(hour)
    key = object_key(slot)
    FolderStore(settings.lake).put(key, gzip.compress(text(hour, 0, [hour[:10]], 4)))
    return Home(settings, hour)


@pytest.fixture
def instance(home: Home) -> Iterator[dg.DagsterInstance]:
    with open_instance(home.settings) as instance:
        yield instance


def break_once(monkeypatch: pytest.MonkeyPatch, method: str, error: Exception) -> list[int]:
    """Makes a method of Dagster's database fail at its first call."""
    original, calls = getattr(SqliteRunStorage, method), []

    def broken(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise error
        return original(*arguments, **named)

    monkeypatch.setattr(SqliteRunStorage, method, broken)
    return calls


FULL = OSError(28, "No space left on device")
LOCKED = OperationalError("UPDATE runs", {}, Exception("database is locked"))


@pytest.mark.parametrize(
    ("method", "error"),
    [("add_run", LOCKED), ("handle_run_event", FULL)],
    ids=["before the run", "within the run"],
)
def test_a_database_that_fails_for_a_moment_costs_one_run_which_is_told(
    home: Home, monkeypatch: pytest.MonkeyPatch, method: str, error: Exception
) -> None:
    break_once(monkeypatch, method, error)
    assert not home.sync()
    assert f"arrivals: {home.hour}: run " in home.said
    assert str(error).splitlines()[0] in home.said
    assert home.gold() == 4
    assert home.sync()


def test_with_a_day_it_builds_that_day_and_later_ones(home: Home) -> None:
    day = date.fromisoformat(home.hour[:10])
    assert home.sync(since=day + DAY)
    assert home.gold() == 0
    assert home.sync(since=day)
    assert home.gold() == 4


def test_a_database_that_stays_broken_ends_the_command_and_says_why(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise LOCKED

    with monkeypatch.context() as patch:
        patch.setattr(SqliteRunStorage, "add_run", broken)
        assert not home.sync()
        assert "database is locked" in home.said
    with monkeypatch.context() as patch:
        patch.setattr(SqliteRunStorage, "get_run_records", broken)
        assert not home.sync()
        assert home.said.count("database is locked") >= 4
    assert home.sync()
    assert home.gold() == 4


def test_a_run_that_no_process_began_does_not_hold_its_partition_back(
    home: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between a run's row and its start, by a command that knew no locks, or a daemon."""
    run = home.create(instance)
    monkeypatch.setattr(runs, "GRACE_SECONDS", 0)
    assert home.sync()
    assert f"Ended run {run.run_id[:8]} {home.hour}: no process started it" in home.said
    assert home.gold() == 4


def test_a_run_of_another_process_is_waited_for_and_replaced_when_it_dies(
    home: Home, instance: dg.DagsterInstance
) -> None:
    run = home.create(instance)
    runs.hold(instance, run.run_id)
    other = runs._held.pop(runs._path(instance, run.run_id))
    dies = threading.Timer(3, os.close, [other])
    dies.start()
    assert home.sync()
    assert not dies.is_alive()
    assert f"Ended run {run.run_id[:8]}" in home.said
    assert home.gold() == 4


def test_what_is_given_up_is_told_and_is_no_success(
    home: Home, instance: dg.DagsterInstance
) -> None:
    for _ in range(home.settings.max_attempts):
        instance.report_run_failed(home.create(instance))
    assert not home.sync()
    assert f"arrivals: events {home.hour}: given up after 2 failed runs" in home.said


def signal_once(monkeypatch: pytest.MonkeyPatch, number: signal.Signals, method: str) -> None:
    """Sends this process a signal at the next call of a method of Dagster's database."""
    original = getattr(SqliteRunStorage, method)

    def signalled(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(SqliteRunStorage, method, original)
        os.kill(os.getpid(), number)
        return original(*arguments, **named)

    monkeypatch.setattr(SqliteRunStorage, method, signalled)


@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize(
    ("number", "method"),
    [
        (signal.SIGINT, "get_run_records"),  # in a sensor's tick
        (signal.SIGINT, "add_run"),  # as a run begins
        (signal.SIGTERM, "handle_run_event"),  # in a run, where Dagster takes note and forgets
    ],
)
def test_ctrl_c_or_sigterm_ends_the_command_and_the_next_goes_on(
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    number: signal.Signals,
    method: str,
) -> None:
    signal_once(monkeypatch, number, method)
    with pytest.raises(SystemExit) as stopped:
        home.sync()
    assert stopped.value.code == 128 + number
    assert capfd.readouterr().err.strip() == STOPPED
    with open_instance(home.settings) as instance:
        found = instance.get_runs()
    assert len(found) <= 1, "another run was begun"
    for run in found:
        assert run.is_finished
        assert run.status == dg.DagsterRunStatus.SUCCESS or runs.is_lost(run)
    assert home.sync()
    assert home.gold() == 4


def test_a_file_that_cannot_be_used_is_told_and_is_no_success(home: Home) -> None:
    day = (datetime.now(UTC) - timedelta(days=1)).date()
    FolderStore(home.settings.lake).put(f"bronze/commerce/date={day}/orders.json", b"")
    assert not home.sync()
    assert "orders.json: empty" in " ".join(home.said.split())
    assert home.gold() == 4
