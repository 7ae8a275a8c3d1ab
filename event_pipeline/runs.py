"""Tells living runs from lost ones, whose process is gone and cannot say so itself.

A process that executes a run holds a lock on `<instance>/living/<run id>` meanwhile. The kernel
frees the lock however the process ends. So a file that nobody holds says, at once and for certain,
that its run died. A process id could not say so: it may be another process's by tomorrow.

A run without a file is one that no process has begun, or that other code executes. It is lost if
nothing was heard of it for a while, no process that said it executes the run is there, and no code
server says that it executes it.

All this holds for runs on this machine. Where a run is a task of its own, as on ECS, Dagster's run
monitoring asks the platform.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil

from event_pipeline.dagster_internals import (
    RUN_FAILURE_REASON_TAG,
    DefaultRunLauncher,
    RunFailureReason,
    get_current_timestamp,
    is_executed,
)

FOLDER = "living"
# Tag of a run that ended through no fault of its own: why.
LOST = "event_pipeline/lost"
# Dagster's own reasons that mean the same.
LOST_REASONS = {
    RunFailureReason.UNEXPECTED_TERMINATION.value,
    RunFailureReason.START_TIMEOUT.value,
    RunFailureReason.RUN_WORKER_RESTART.value,
}

# A process needs some seconds from a run's launch until it first says something.
GRACE_SECONDS = 60
# A daemon says twice a minute that it lives.
DAEMON_GRACE_SECONDS = 90
# How long a code server may take to say whether it executes a run.
SERVER_SECONDS = 10
# By how much a process may seem younger than what it said, since clocks are set.
CLOCK_SECONDS = 5

Status = dg.DagsterRunStatus
FAILED = frozenset({Status.FAILURE, Status.CANCELED})
ENDED = frozenset({*FAILED, Status.SUCCESS})
UNFINISHED = tuple(status for status in Status if status not in ENDED)

# The locks that this process holds: path -> open file. Closing the file frees the lock.
_held: dict[Path, int] = {}


@dataclass(frozen=True)
class LostRun:
    """A run that was ended here, because nothing executes it any more."""

    run: dg.DagsterRun
    why: str

    def __str__(self) -> str:
        partition = self.run.tags.get("dagster/partition", "")
        return f"run {self.run.run_id[:8]} {partition}".rstrip() + f": {self.why}"


def is_lost(run: dg.DagsterRun) -> bool:
    """Whether a failed run failed through no fault of its own, so that the failure says nothing."""
    return LOST in run.tags or run.tags.get(RUN_FAILURE_REASON_TAG) in LOST_REASONS


def hold(instance: dg.DagsterInstance, run_id: str) -> None:
    """Marks the run as executed by this process, until it ends or releases it. Raises OSError."""
    path = _path(instance, run_id)
    if path in _held:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        # It is locked before it gets its name, so the run's file is never free while the run lives.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            os.replace(name, path)
        except FileNotFoundError:  # `_clear` removed it before it was locked
            os.close(handle)
            continue
        _held[path] = handle
        return


def release(instance: dg.DagsterInstance, run_id: str) -> None:
    """Says that this process no longer executes the run: it is on record as ended, or is lost."""
    handle = _held.pop(_path(instance, run_id), None)
    if handle is not None:
        os.close(handle)


def held_here() -> list[str]:
    """The runs that this process executes."""
    return [path.name for path in _held]


@contextmanager
def executing(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Holds the run while the block executes it."""
    hold(instance, run_id)
    try:
        yield
    finally:
        release(instance, run_id)


def end_lost_runs(instance: dg.DagsterInstance) -> list[LostRun]:
    """Ends every run that no process executes or will execute; returns those that it ended.

    They are on record as failed, or as canceled if that was asked for, with the tag LOST. Their
    slots in concurrency pools are freed. With a launcher other than the default, does nothing.
    """
    if not isinstance(instance.run_launcher, DefaultRunLauncher):
        return []
    unfinished = instance.get_run_records(dg.RunsFilter(statuses=list(UNFINISHED)))
    found = [_end_if_lost(instance, record) for record in unfinished]
    _clear(instance)
    return [lost for lost in found if lost]


def end(instance: dg.DagsterInstance, run_id: str, why: str) -> dg.DagsterRun | None:
    """Ends a run that did not come to its own end, and returns it; None if it has ended already.

    The tag is set first, because whoever sees that the run ended must see why.
    """
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return None
    instance.add_run_tags(run_id, {LOST: why})
    if run.status == Status.CANCELING:
        instance.report_run_canceled(run, f"Canceled: {why}.")
    else:
        instance.report_run_failed(
            run, f"Ended: {why}. The sensor will request the partition again."
        )
    if instance.event_log_storage.supports_global_concurrency_limits:
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    return run


def _path(instance: dg.DagsterInstance, run_id: str) -> Path:
    return Path(instance.root_directory) / FOLDER / run_id


def _end_if_lost(instance: dg.DagsterInstance, record: dg.RunRecord) -> LostRun | None:
    run_id = record.dagster_run.run_id
    with _try_lock(_path(instance, run_id)) as lock:
        if lock == "held":
            return None
        why = "its process is gone" if lock == "free" else _why_lost(instance, record)
        # It may have begun or ended since it was read.
        if why is None or (lock == "none" and not _unchanged(instance, record)):
            return None
        run = end(instance, run_id, why)
    return LostRun(run, why) if run else None


@contextmanager
def _try_lock(path: Path) -> Iterator[str]:
    """Takes a run's lock for the block, so that of two processes that look only one ends the run.

    Yields `held` if a process holds it, `free` if it was taken, `none` if there is no file.
    """
    if path in _held:
        yield "held"
        return
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield "none"
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield "held"
        else:
            yield "free"
    finally:
        os.close(handle)


def _why_lost(instance: dg.DagsterInstance, record: dg.RunRecord) -> str | None:
    """Why a run that no process holds is lost; None if it may still begin, or is executed."""
    run = record.dagster_run
    latest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    news = max([record.update_timestamp.timestamp(), *(each.timestamp for each in latest)])
    if _is_recent(news, GRACE_SECONDS):
        return None
    if run.status == Status.QUEUED:
        return (
            None
            if _daemon_lives(instance)
            else "it is queued, and no daemon is running to start it"
        )
    processes = list(_processes(instance, run.run_id))
    if any(_is_running(pid, at) for pid, at in processes):
        return None
    # The process that a code server starts has to load the code before it can say something.
    if is_executed(instance.run_launcher, run.run_id, SERVER_SECONDS):
        return None
    return "its process is gone" if processes else "no process started it"


def _is_recent(at: float, seconds: float) -> bool:
    """Whether a time is less than `seconds` from now. If it is far ahead, a clock was set back."""
    return abs(get_current_timestamp() - at) < seconds


def _processes(instance: dg.DagsterInstance, run_id: str) -> Iterator[tuple[int, float]]:
    """The id of each process that said that it executes a run or a step of it, and when it did."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        if event and (pid := event.engine_event_data.metadata.get("pid")):
            yield int(str(pid.value)), entry.timestamp


def _is_running(pid: int, at: float) -> bool:
    """Whether the process that had an id at a time, in Unix seconds, is still there."""
    try:
        process = psutil.Process(pid)
        is_old = process.create_time() <= at + CLOCK_SECONDS
        return is_old and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it is there, but this user may not look at it
        return True


def _daemon_lives(instance: dg.DagsterInstance) -> bool:
    """Whether a daemon is alive that starts queued runs."""
    beats = instance.get_daemon_heartbeats().get("QUEUED_RUN_COORDINATOR")
    if beats is None:
        return False
    return _is_recent(beats.timestamp, DAEMON_GRACE_SECONDS)


def _unchanged(instance: dg.DagsterInstance, record: dg.RunRecord) -> bool:
    """Whether a run is as it was read, and still no process holds it."""
    run = instance.get_run_by_id(record.dagster_run.run_id)
    same = run is not None and run.status == record.dagster_run.status
    return same and not _path(instance, record.dagster_run.run_id).exists()


def _clear(instance: dg.DagsterInstance) -> None:
    """Removes the files of runs that ended, and those that never got a name."""
    folder = Path(instance.root_directory) / FOLDER
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        with _try_lock(path) as lock:
            if lock != "free":
                continue
            run = None if path.name.startswith(".") else instance.get_run_by_id(path.name)
            if run is None or run.is_finished:
                if run:
                    _tell_apart(instance, run)
                with suppress(FileNotFoundError):
                    path.unlink()


def _tell_apart(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Marks a run as lost if a code server ended it because its process was gone.

    It has no reason on it; a run that comes to its own end and fails has one.
    """
    if run.status == Status.FAILURE and not {LOST, RUN_FAILURE_REASON_TAG} & set(run.tags):
        instance.add_run_tags(run.run_id, {LOST: "its process is gone"})
