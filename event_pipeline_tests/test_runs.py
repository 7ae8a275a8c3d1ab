"""Runs whose process is gone are ended, in whatever state, and a run that lives never is."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import grpc
import pytest
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.events import EngineEventData, JobFailureData, RunFailureReason
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.types import DaemonHeartbeat
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import serialize_value

from event_pipeline import runs
from event_pipeline.executor import locking_executor
from event_pipeline.runs import LOST, end_lost_runs, is_lost

Kind = dg.DagsterEventType
Status = dg.DagsterRunStatus
# Every state in which a run can be left, and the events that lead there.
STATES = {
    Status.NOT_STARTED: (),
    Status.QUEUED: (Kind.RUN_ENQUEUED,),
    Status.STARTING: (Kind.RUN_ENQUEUED, Kind.RUN_STARTING),
    Status.STARTED: (Kind.RUN_ENQUEUED, Kind.RUN_STARTING, Kind.RUN_START),
    Status.CANCELING: (Kind.RUN_START, Kind.RUN_CANCELING),
}
# Without one, a run cannot be queued.
ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("location"), "repository"), "job"
)
states = pytest.mark.parametrize("state", STATES, ids=lambda s: s.value)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        yield instance


@pytest.fixture
def instance(shared: dg.DagsterInstance) -> Iterator[dg.DagsterInstance]:
    yield shared
    for run in shared.get_runs():
        runs.release(shared, run.run_id)
        shared.delete_run(run.run_id)
    shared.wipe_daemon_heartbeats()


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing had been heard for long."""
    monkeypatch.setattr(runs, "GRACE_SECONDS", 0)


def a_run(instance: dg.DagsterInstance, state: Status) -> dg.DagsterRun:
    run: dg.DagsterRun = create_run_for_test(
        instance, job_name="job", tags={"dagster/partition": "p"}, remote_job_origin=ORIGIN
    )
    for kind in STATES[state]:
        turn(instance, run, kind)
    assert status(instance, run) == state
    return run


def turn(instance: dg.DagsterInstance, run: dg.DagsterRun, kind: Kind) -> None:
    instance.report_dagster_event(dg.DagsterEvent(kind.value, run.job_name), run.run_id)


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Status:
    found = instance.get_run_by_id(run.run_id)
    assert found
    return found.status


def held_elsewhere(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int:
    """The open file by which another process would hold the run; closing it is its death."""
    runs.hold(instance, run.run_id)
    return runs._held.pop(runs._path(instance, run.run_id))


def files(instance: dg.DagsterInstance) -> list[str]:
    return [path.name for path in (Path(instance.root_directory) / runs.FOLDER).iterdir()]


@states
def test_a_run_is_lost_at_once_when_the_process_that_held_it_is_gone(
    instance: dg.DagsterInstance, state: Status
) -> None:
    run = a_run(instance, state)
    process = held_elsewhere(instance, run)
    assert end_lost_runs(instance) == []
    assert status(instance, run) == state
    os.close(process)
    (lost,) = end_lost_runs(instance)
    assert str(lost) == f"run {run.run_id[:8]} p: its process is gone"
    ended = instance.get_run_by_id(run.run_id)
    assert ended
    assert ended.status == (Status.CANCELED if state == Status.CANCELING else Status.FAILURE)
    assert is_lost(ended)
    assert not end_lost_runs(instance)
    assert not files(instance)


@states
def test_a_run_that_lives_is_never_ended(
    instance: dg.DagsterInstance, state: Status, no_grace: None
) -> None:
    here, elsewhere = a_run(instance, state), a_run(instance, state)
    runs.hold(instance, here.run_id)
    process = held_elsewhere(instance, elsewhere)
    assert end_lost_runs(instance) == []
    assert sorted(files(instance)) == sorted([here.run_id, elsewhere.run_id])
    os.close(process)


@states
def test_a_run_that_no_process_began_is_lost_after_a_while(
    instance: dg.DagsterInstance, state: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(instance, state)
    assert end_lost_runs(instance) == []
    monkeypatch.setattr(runs, "GRACE_SECONDS", 0)
    assert [lost.run.run_id for lost in end_lost_runs(instance)] == [run.run_id]


def test_news_from_a_clock_that_was_set_back_are_no_news(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(instance, Status.STARTED)
    before = time.time() - 86_400
    monkeypatch.setattr(runs, "get_current_timestamp", lambda: before)
    assert [lost.run.run_id for lost in end_lost_runs(instance)] == [run.run_id]


@pytest.mark.parametrize("state", [Status.STARTING, Status.STARTED], ids=lambda s: s.value)
def test_a_process_that_said_it_executes_a_run_is_believed_while_it_is_there(
    instance: dg.DagsterInstance, state: Status, no_grace: None
) -> None:
    """It may be loading code, suspended, or execute a run by other code than this."""
    run = a_run(instance, state)
    process = subprocess.Popen(["sleep", "60"])
    said = EngineEventData.in_process(process.pid)
    instance.report_engine_event("Started process for run", run, said)
    assert end_lost_runs(instance) == []
    process.kill()
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT):
        pass
    # A zombie, that is: its parent may live and never ask.
    (lost,) = end_lost_runs(instance)
    assert lost.why == "its process is gone"
    process.wait()


@pytest.mark.parametrize(
    ("server", "lost"),
    [("executes it", False), ("knows nothing of it", True), ("late", False), ("gone", True)],
)
def test_a_code_server_that_started_a_process_for_a_run_is_asked(
    instance: dg.DagsterInstance,
    no_grace: None,
    monkeypatch: pytest.MonkeyPatch,
    server: str,
    lost: bool,
) -> None:
    """The process says nothing before it has loaded the code, which may take minutes."""

    class Failed(grpc.RpcError):  # type: ignore[misc]
        def code(self) -> grpc.StatusCode:
            return getattr(
                grpc.StatusCode, {"late": "DEADLINE_EXCEEDED"}.get(server, "UNAVAILABLE")
            )

    class Client:
        def can_cancel_execution(self, request: CanCancelExecutionRequest, timeout: int) -> str:
            assert (request.run_id, timeout) == (run.run_id, runs.SERVER_SECONDS)
            if server in ("late", "gone"):
                raise DagsterUserCodeUnreachableError(server) from Failed()
            return serialize_value(CanCancelExecutionResult(can_cancel=server == "executes it"))

    run = a_run(instance, Status.STARTING)
    monkeypatch.setattr(DefaultRunLauncher, "_get_grpc_client_for_termination", lambda *_: Client())
    assert [each.run.run_id for each in end_lost_runs(instance)] == ([run.run_id] if lost else [])


def test_a_process_with_the_id_of_one_that_is_gone_is_another() -> None:
    assert runs._is_running(os.getpid(), time.time())
    assert not runs._is_running(os.getpid(), time.time() - 10**6)


@pytest.mark.parametrize(
    ("daemon", "seconds", "lost"),
    [
        ("QUEUED_RUN_COORDINATOR", 0, False),
        ("QUEUED_RUN_COORDINATOR", 3600, True),
        ("SENSOR", 0, True),
    ],
)
def test_a_queued_run_waits_for_as_long_as_there_is_a_daemon_to_start_it(
    instance: dg.DagsterInstance, no_grace: None, daemon: str, seconds: int, lost: bool
) -> None:
    run = a_run(instance, Status.QUEUED)
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - seconds, daemon, None, None))
    assert [each.run.run_id for each in end_lost_runs(instance)] == ([run.run_id] if lost else [])


def test_a_run_that_changes_while_it_is_looked_at_is_left_alone(
    instance: dg.DagsterInstance, no_grace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon takes it from the queue, or it ends, or a process begins it."""
    dequeued, ended, begun = (a_run(instance, Status.QUEUED) for _ in range(3))
    look = runs._why_lost

    def slow_look(instance: dg.DagsterInstance, record: dg.RunRecord) -> str | None:
        found = look(instance, record)
        match record.dagster_run.run_id:
            case dequeued.run_id:
                turn(instance, dequeued, Kind.RUN_STARTING)
            case ended.run_id:
                turn(instance, ended, Kind.RUN_SUCCESS)
            case begun.run_id:
                runs.hold(instance, begun.run_id)
        return found

    monkeypatch.setattr(runs, "_why_lost", slow_look)
    assert end_lost_runs(instance) == []
    assert status(instance, ended) == Status.SUCCESS


def test_a_run_that_ended_is_left_as_it_is_and_its_file_removed(
    instance: dg.DagsterInstance,
) -> None:
    run = a_run(instance, Status.STARTED)
    process = held_elsewhere(instance, run)
    turn(instance, run, Kind.RUN_SUCCESS)
    assert end_lost_runs(instance) == []
    assert files(instance) == [run.run_id]
    os.close(process)
    assert not end_lost_runs(instance)
    assert not files(instance)
    assert status(instance, run) == Status.SUCCESS


@pytest.mark.parametrize("reason", [RunFailureReason.STEP_FAILURE, None])
def test_a_run_that_a_code_server_ended_as_its_process_was_killed_is_lost_too(
    instance: dg.DagsterInstance, reason: RunFailureReason | None
) -> None:
    run = a_run(instance, Status.STARTED)
    process = held_elsewhere(instance, run)
    # With the reason, it came to its own end, and failed by its own fault.
    instance.report_run_failed(run, job_failure_data=JobFailureData(None, reason))
    os.close(process)
    assert end_lost_runs(instance) == []
    found = instance.get_run_by_id(run.run_id)
    assert found
    assert is_lost(found) == (reason is None)


def test_a_lost_runs_slots_of_a_pool_are_free_again(instance: dg.DagsterInstance) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("pool", 1)
    run = a_run(instance, Status.STARTED)
    assert storage.claim_concurrency_slot("pool", run.run_id, "step").is_claimed
    os.close(held_elsewhere(instance, run))
    end_lost_runs(instance)
    assert storage.get_concurrency_info("pool").active_slot_count == 0


def test_where_a_run_is_no_process_of_this_machine_nothing_is_ended(no_grace: None) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        a_run(instance, Status.STARTED)
        assert end_lost_runs(instance) == []


def holding_job() -> dg.JobDefinition:
    @dg.op
    def look(context: dg.OpExecutionContext) -> None:
        assert context.run_id in runs.held_here()

    @dg.job(executor_def=locking_executor)
    def job() -> None:
        look()

    return job


def test_the_graphs_executor_holds_the_run_for_as_long_as_its_process_lives(
    instance: dg.DagsterInstance,
) -> None:
    with dg.execute_job(dg.reconstructable(holding_job), instance) as result:
        assert result.success
        assert result.run_id in runs.held_here()


def test_a_lock_is_taken_even_where_its_file_is_cleared_away_half_made(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace
    gone: list[str] = []

    def cleared(name: str, path: Path) -> None:
        if not gone:
            gone.append(name)
            os.unlink(name)
        replace(name, path)

    monkeypatch.setattr(os, "replace", cleared)
    run = a_run(instance, Status.STARTED)
    process = held_elsewhere(instance, run)
    assert gone
    assert end_lost_runs(instance) == []
    os.close(process)


def test_lost_is_told_by_its_tag(instance: dg.DagsterInstance) -> None:
    run = a_run(instance, Status.STARTED)
    assert not is_lost(run)
    runs.end(instance, run.run_id, "interrupted")
    found = instance.get_run_by_id(run.run_id)
    assert found
    assert found.tags[LOST] == "interrupted"
