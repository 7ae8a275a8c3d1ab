"""Job runs and the claims on what they make, over moto's Glue and S3: whoever is killed, whenever,
nothing is made by two runs at a time, nor by a run and the embedded engine, and what a run has made
is taken.

Time passes only while a worker sleeps: each sleep is the next step of a script.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws
from moto.glue.models import FakeJobRun, glue_backends
from moto.moto_api import state_manager

from event_pipeline import aws
from event_pipeline.engines import claims as claims_module
from event_pipeline.engines.claims import LOST, Claim, Claims, Lease
from event_pipeline.engines.glue import job, job_runs
from event_pipeline.engines.glue.job import GlueJob, Json
from event_pipeline.engines.glue.job_runs import JobRuns, Work
from event_pipeline.engines.glue.run_folder import RunFolder
from event_pipeline_tests.conftest import clock

BUCKET, JOB, LOGS, REGION, ACCOUNT = "pipes", "silver", "/logs", "us-east-1", "1" * 12
WORK = {"k": Work("silver/events/k", "v1")}


class Killed(BaseException):
    """What no `except Exception` sees, as kill -9."""


class Stage:
    """A worker's surroundings: Glue, the bucket, and what happens while it sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.script: list[Callable[[], Any]] = []
        self.sleeps = 0
        self.most_at_once = 0
        monkeypatch.setattr(job_runs, "time", clock(self._sleep))

    def _sleep(self, _: float) -> None:
        self.sleeps += 1
        assert self.sleeps < 50, "it waits for ever"
        if self.script:
            self.script.pop(0)()

    @property
    def runs(self) -> list[Any]:
        """Moto's own records of the job's runs, the first first."""
        return glue_backends[ACCOUNT][REGION].jobs[JOB].job_runs

    def ends(self, state: str, message: str = "", run: int = -1) -> Callable[[], None]:
        """A step in which a run ends so."""

        def step() -> None:
            self.runs[run].status = state
            self.runs[run].error_message = message

        return step

    def reports(self, *reports: Json, run: int = -1) -> Callable[[], None]:
        """A step in which a run's job reports."""

        def step() -> None:
            uri = self.runs[run].arguments["--request"]
            folder = uri.removeprefix(f"s3://{BUCKET}/").removesuffix("/request.json")
            index = len(aws.keys(BUCKET, f"{folder}/messages/")) + 1
            lines = [
                json.dumps({"method": "report_custom_message", "params": {"payload": report}})
                for report in reports
            ]
            lines.append(
                json.dumps(
                    {
                        "method": "log_external_stream",
                        "params": {"stream": "stdout", "text": "printed\n", "extras": {}},
                    }
                )
            )
            key = f"{folder}/messages/{index}.json"
            aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body="\n".join(lines).encode())

        return step

    def dies(self) -> None:
        """A step in which the worker is killed."""
        raise Killed


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """One Glue job without runs, and an empty bucket."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("MOTO_ACCOUNT_ID", ACCOUNT)
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "test")
    aws.clear_caches()
    with mock_aws():
        aws.client("s3").create_bucket(Bucket=BUCKET)
        aws.client("glue").create_job(
            Name=JOB,
            Role="r",
            Command={"Name": "glueetl"},
            ExecutionProperty={"MaxConcurrentRuns": 2},
        )
        # Runs go on only by the script.
        state_manager.set_transition("glue::job_run", {"progression": "manual", "times": 10**9})
        told = FakeJobRun.as_dict
        monkeypatch.setattr(
            FakeJobRun,
            "as_dict",
            lambda run: {**told(run), "ErrorMessage": getattr(run, "error_message", "")},
        )
        yield Stage(monkeypatch)
    state_manager.unset_transition("glue::job_run")
    aws.clear_caches()


def worker() -> JobRuns:
    return JobRuns(GlueJob(JOB, LOGS), BUCKET, Claims(BUCKET, "claims"), poll_seconds=1)


def made(work: dict[str, Work] = WORK) -> list[Json]:
    return list(worker().make(work, lambda keys: {"keys": list(keys)}))


def claimed() -> list[str]:
    return aws.keys(BUCKET, "claims/")


def test_a_run_reports_and_nothing_is_claimed_any_longer(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.script = [stage.reports({"key": "k", "rows": 1}), stage.ends("SUCCEEDED")]
    [report] = made()
    [run] = stage.runs
    assert (report["rows"], report["run"]) == (1, {"glue_run": run.job_run_id})
    assert capsys.readouterr().out == "printed\n"
    assert claimed() == []


def test_a_report_is_taken_when_it_is_there_and_not_when_the_run_ends(stage: Stage) -> None:
    work = {key: Work(f"silver/events/{key}", "v1") for key in "ab"}
    stage.script = [stage.reports({"key": "b"})]
    reports = worker().make(work, lambda keys: {"keys": list(keys)})
    assert next(reports)["key"] == "b"
    assert [run.status for run in stage.runs] == ["STARTING"]
    stage.script = [stage.reports({"key": "a"}), stage.ends("SUCCEEDED")]
    assert [report["key"] for report in reports] == ["a"]


@pytest.mark.parametrize("state", ["FAILED", "TIMEOUT", "ERROR", "STOPPED", "EXPIRED", "NEW_STATE"])
def test_whatever_a_run_ends_as_is_said_with_its_reason(stage: Stage, state: str) -> None:
    stage.script = [stage.ends("RUNNING"), stage.ends("WAITING"), stage.ends(state, "disk full")]
    [report] = made()
    [run] = stage.runs
    assert report == {
        "key": "k",
        "error": f"Glue job silver, run {run.job_run_id}: {state}: disk full",
    }
    assert claimed() == []


def logged(group: str, stream: str, *lines: str) -> None:
    """What CloudWatch has of a run."""
    logs, place = aws.client("logs"), {"logGroupName": group, "logStreamName": stream}
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(**place)
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": line} for line in lines]
    logs.put_log_events(**place, logEvents=events)


@pytest.mark.parametrize("suffix", ["-driver", ""])
def test_of_a_run_that_failed_the_ends_of_its_logs_are_shown(
    suffix: str,
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(job, "LOG_LINES", 2)

    def log() -> None:
        stream = stage.runs[0].job_run_id + suffix
        logged(f"{LOGS}/output", stream, "began", "Traceback", "ImportError: no zip")
        logged(f"{LOGS}/error", stream, "OutOfMemoryError")

    stage.script = [log, stage.ends("FAILED")]
    [report] = made()
    [run] = stage.runs
    assert report["error"].endswith("FAILED: no reason given")
    shown = capsys.readouterr().err.splitlines()
    head = f"--- The last lines of /logs/output, {run.job_run_id}{suffix}:"
    assert shown[shown.index(head) :] == [
        head,
        "Traceback",
        "ImportError: no zip",
        head.replace("output", "error"),
        "OutOfMemoryError",
    ]


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "AccessDeniedException", "Message": "-"}}, "GetLogEvents"),
        EndpointConnectionError(endpoint_url="http://logs"),
    ],
)
def test_a_log_that_cannot_be_read_hides_no_failure(
    error: Exception, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        raise error

    monkeypatch.setattr(aws.client("logs"), "get_log_events", refuse)
    stage.script = [stage.ends("FAILED", "disk full")]
    [report] = made()
    assert report["error"].endswith("FAILED: disk full")


def test_a_log_that_is_not_there_hides_no_failure(stage: Stage) -> None:
    stage.script = [stage.ends("FAILED", "disk full")]
    [report] = made()
    assert report["error"].endswith("FAILED: disk full")


def test_of_a_run_that_made_everything_no_log_is_read(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.script = [
        lambda: logged(f"{LOGS}/output", stage.runs[0].job_run_id, "Launching"),
        stage.reports({"key": "k"}),
        stage.ends("SUCCEEDED"),
    ]
    made()
    assert "Launching" not in capsys.readouterr().err


def test_a_run_that_succeeded_without_its_report_has_failed(stage: Stage) -> None:
    stage.script = [stage.reports({"key": "another"}), stage.ends("SUCCEEDED")]
    [report] = made()
    assert report["error"].endswith("SUCCEEDED: ended without a report")


def test_what_a_failing_run_made_before_is_taken(stage: Stage) -> None:
    work = {key: Work(f"silver/events/{key}", "v1") for key in "ab"}
    stage.script = [stage.reports({"key": "a"}), stage.ends("FAILED", "lost")]
    first, second = made(work)
    assert (first["key"], second["key"]) == ("a", "b")
    assert "lost" in second["error"]


# --- Killed, at every moment -------------------------------------------------------------------


def killed(stage: Stage, *script: Callable[[], Any], work: dict[str, Work] = WORK) -> None:
    """A worker that is killed at the end of the script."""
    stage.script = [*script, stage.dies]
    with pytest.raises(Killed):
        made(work)


def test_a_run_whose_worker_was_killed_is_followed(stage: Stage) -> None:
    killed(stage)
    stage.script = [stage.reports({"key": "k", "rows": 2}), stage.ends("SUCCEEDED")]
    [report] = made()
    assert (report["rows"], len(stage.runs)) == (2, 1)
    assert claimed() == []


def test_a_run_that_ended_meanwhile_is_adopted(stage: Stage) -> None:
    killed(stage)
    stage.reports({"key": "k", "rows": 3})()
    stage.ends("SUCCEEDED")()
    [report] = made()
    assert (report["rows"], len(stage.runs), stage.script) == (3, 1, [])


def test_a_run_that_failed_meanwhile_is_begun_anew(stage: Stage) -> None:
    killed(stage)
    stage.ends("FAILED")()
    stage.script = [stage.reports({"key": "k", "rows": 4}), stage.ends("SUCCEEDED")]
    [report] = made()
    assert (report["rows"], len(stage.runs)) == (4, 2)


def test_a_run_that_fails_while_it_is_followed_is_begun_anew(stage: Stage) -> None:
    killed(stage)
    stage.script = [
        stage.ends("FAILED"),
        stage.reports({"key": "k", "rows": 5}),
        stage.ends("SUCCEEDED"),
    ]
    [report] = made()
    assert (report["rows"], len(stage.runs)) == (5, 2)


def test_a_run_is_found_whose_worker_had_no_time_to_write_its_id(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(JobRuns, "_confirmed", lambda *_: stage.dies())
        with pytest.raises(Killed):
            made()
    stage.script = [stage.reports({"key": "k"}), stage.ends("SUCCEEDED")]
    assert len(made()) == len(stage.runs) == 1


def test_a_claim_whose_worker_never_started_a_run_is_nobodys_after_a_while(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(JobRuns, "_try_start", lambda *_: stage.dies())
        with pytest.raises(Killed):
            made()
    assert not stage.runs
    waited: list[float] = []

    def later() -> None:
        waited.append(time.time())
        monkeypatch.setattr(claims_module, "GRACE_SECONDS", -1)

    stage.script = [later, stage.reports({"key": "k"}), stage.ends("SUCCEEDED")]
    assert len(made()) == len(stage.runs) == 1
    assert len(waited) == 1


def test_an_answer_that_is_lost_does_not_start_a_second_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = aws.client_without_retries("glue", 60)

    class Deaf:
        exceptions = real.exceptions

        def start_job_run(self, **arguments: Any) -> None:
            real.start_job_run(**arguments)
            raise EndpointConnectionError(endpoint_url="http://glue")

    monkeypatch.setattr(aws, "client_without_retries", lambda *_, **__: Deaf())
    stage.script = [int, stage.reports({"key": "k"}), stage.ends("SUCCEEDED")]
    assert len(made()) == len(stage.runs) == 1


def test_a_run_that_glue_refuses_leaves_no_claim(stage: Stage) -> None:
    runs = JobRuns(GlueJob("no such job", LOGS), BUCKET, Claims(BUCKET, "claims"), poll_seconds=1)
    with pytest.raises(ClientError, match="EntityNotFound"):
        list(runs.make(WORK, lambda keys: {"keys": list(keys)}))
    assert claimed() == []


@pytest.mark.parametrize(
    ("status", "code", "claims"),
    [
        (400, "InvalidInputException", []),
        (500, "InternalServiceException", ["claims/silver/events/k.json"]),
    ],
)
def test_a_claim_stays_only_while_nobody_knows_whether_its_run_was_started(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, status: int, code: str, claims: list[str]
) -> None:
    refuse_starts(monkeypatch, status, code)
    with pytest.raises(ClientError, match=code):
        made()
    assert (claimed(), stage.sleeps) == (claims, 0)


def test_who_is_throttled_starts_the_run_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        refuse_starts(patch, 400, "ThrottlingException")
        stage.script = [patch.undo, stage.reports({"key": "k"}), stage.ends("SUCCEEDED")]
        assert len(made()) == len(stage.runs) == 1


def refuse_starts(patch: pytest.MonkeyPatch, status: int, code: str) -> None:
    """From now on, Glue refuses to start a run."""

    class Refusing:
        exceptions = aws.client("glue").exceptions

        def start_job_run(self, **_: Any) -> None:
            meta = {"HTTPStatusCode": status}
            answer: Any = {"Error": {"Code": code, "Message": "-"}, "ResponseMetadata": meta}
            raise ClientError(answer, "StartJobRun")

    patch.setattr(aws, "client_without_retries", lambda *_, **__: Refusing())


# --- Another version, and other workers --------------------------------------------------------

NEWER = {"k": Work("silver/events/k", "v2")}


def test_a_run_of_an_older_version_is_stopped_and_replaced(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(stage)
    stopped: list[Sequence[str]] = []

    def stop(**call: Any) -> Json:
        stopped.append(call["JobRunIds"])
        stage.runs[0].status = "STOPPING"
        return {"Errors": []}

    monkeypatch.setattr(aws.client("glue"), "batch_stop_job_run", stop)
    stage.script = [
        lambda: stage.ends("STOPPED")() if len(stage.runs) == 1 else None,
        stage.reports({"key": "k", "rows": 6}),
        stage.ends("SUCCEEDED"),
    ]
    [report] = made(NEWER)
    assert stopped == [[stage.runs[0].job_run_id]]
    assert [run.status for run in stage.runs] == ["STOPPED", "SUCCEEDED"]
    assert report["rows"] == 6


def test_a_run_that_makes_more_is_not_stopped_but_waited_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(stage, work={**WORK, "other": Work("silver/events/other", "v1")})
    monkeypatch.setattr(
        aws.client("glue"), "batch_stop_job_run", lambda **_: pytest.fail("stopped")
    )
    stage.script = [
        stage.ends("RUNNING"),
        stage.ends("SUCCEEDED"),
        stage.reports({"key": "k"}),
        stage.ends("SUCCEEDED"),
    ]
    assert len(made(NEWER)) == 1
    assert len(stage.runs) == 2


def test_a_stop_that_glue_refuses_is_no_error_if_the_run_has_ended(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> Json:
        stage.ends("SUCCEEDED")()
        return {"Errors": [{"JobRunId": "r", "ErrorDetail": {"ErrorCode": "e"}}]}

    monkeypatch.setattr(aws.client("glue"), "batch_stop_job_run", refuse)

    def interrupted() -> None:
        raise KeyboardInterrupt

    stage.script = [interrupted]
    with pytest.raises(KeyboardInterrupt):
        made()


def test_who_is_interrupted_stops_the_run(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[Sequence[str]] = []
    monkeypatch.setattr(
        aws.client("glue"),
        "batch_stop_job_run",
        lambda **call: stopped.append(call["JobRunIds"]) or {},  # type: ignore[func-returns-value]
    )

    def interrupted() -> None:
        raise KeyboardInterrupt

    stage.script = [interrupted]
    with pytest.raises(KeyboardInterrupt):
        made()
    assert stopped == [[stage.runs[0].job_run_id]]


def test_a_job_that_may_have_no_more_runs_is_waited_for(stage: Stage) -> None:
    for _ in range(2):
        aws.client("glue").start_job_run(JobName=JOB)
    stage.script = [
        int,
        stage.ends("SUCCEEDED", run=0),
        stage.reports({"key": "k"}),
        stage.ends("SUCCEEDED"),
    ]
    assert len(made()) == 1
    assert len(stage.runs) == 3


def test_two_workers_have_one_run_and_both_its_report(stage: Stage) -> None:
    second_made: list[Json] = []
    stage.script = [
        lambda: second_made.extend(made()),
        stage.reports({"key": "k", "rows": 7}),
        stage.ends("SUCCEEDED"),
    ]
    assert [report["rows"] for report in made()] == [7]
    assert [report["rows"] for report in second_made] == [7]
    assert len(stage.runs) == 1


# --- Made here, by the embedded engine ---------------------------------------------------------


def made_here(here: Callable[[], Json]) -> list[Json]:
    return list(worker().make_here("k", WORK["k"], here))


def never() -> Json:
    pytest.fail("made beside a run")


def held() -> Claim | None:
    return Claims(BUCKET, "claims").get("silver/events/k")


def test_what_nobody_makes_is_made_here_under_a_claim_that_lasts_until_its_report_is_used(
    stage: Stage,
) -> None:
    found: list[Claim | None] = []

    def here() -> Json:
        found.append(held())
        return {"rows": 1}

    reports = worker().make_here("k", WORK["k"], here)
    assert next(reports) == {"key": "k", "rows": 1}
    [claim] = found
    assert claim is not None
    assert (claim.version, claim.is_embedded) == ("v1", True)
    assert claimed() == ["claims/silver/events/k.json"]
    assert list(reports) == []
    assert (claimed(), stage.runs, stage.sleeps) == ([], [], 0)


def test_a_run_that_is_under_way_is_followed_and_nothing_is_made_here(stage: Stage) -> None:
    killed(stage)
    stage.script = [stage.reports({"key": "k", "rows": 2}), stage.ends("SUCCEEDED")]
    [report] = made_here(never)
    [run] = stage.runs
    assert (report["rows"], report["run"]) == (2, {"glue_run": run.job_run_id})
    assert claimed() == []


def test_what_a_run_has_made_meanwhile_is_not_made_here_again(stage: Stage) -> None:
    killed(stage)
    stage.reports({"key": "k", "rows": 3})()
    stage.ends("SUCCEEDED")()
    [report] = made_here(never)
    assert report["rows"] == 3


@pytest.mark.parametrize("state", ["FAILED", "SUCCEEDED"])
def test_what_a_run_did_not_make_is_made_here(stage: Stage, state: str) -> None:
    killed(stage)
    stage.script = [stage.ends(state)]
    [report] = made_here(lambda: {"rows": 4})
    assert (report["rows"], len(stage.runs), claimed()) == (4, 1, [])


def embedded(run: str = "another") -> Claim:
    """The claim of another process that makes the work by itself."""
    claim = Claims(BUCKET, "claims").put(Claim("silver/events/k", "v1", run, is_embedded=True))
    assert claim is not None
    return claim


def reported(claim: Claim, **report: Any) -> None:
    """What another process does once it has made its work, before it releases its claim."""
    RunFolder(BUCKET, claim.run).write_report({"key": "k", **report})


either = pytest.mark.parametrize("by_glue", [True, False])


@either
def test_what_another_process_makes_is_waited_for_and_taken(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, by_glue: bool
) -> None:
    theirs = embedded()
    monkeypatch.setattr(aws.client("glue"), "get_paginator", lambda *_: pytest.fail("asked"))

    def done() -> None:
        reported(theirs, rows=5)
        Claims(BUCKET, "claims").release(theirs)

    stage.script = [int, done]
    [report] = made() if by_glue else made_here(never)
    assert (report["rows"], stage.runs, claimed()) == (5, [], [])
    assert report["run"] == {
        "engine": "DuckDB",
        "why_this_engine": "another process was making it",
    }


@either
def test_what_a_process_had_made_when_it_was_killed_is_taken(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, by_glue: bool
) -> None:
    reported(embedded(), rows=6)
    monkeypatch.setattr(claims_module, "GRACE_SECONDS", -1)
    [report] = made() if by_glue else made_here(never)
    assert (report["rows"], stage.runs, claimed()) == (6, [], [])


def test_what_another_process_failed_to_make_is_made_here(stage: Stage) -> None:
    theirs = embedded()
    stage.script = [lambda: Claims(BUCKET, "claims").release(theirs)]
    assert [report["rows"] for report in made_here(lambda: {"rows": 5})] == [5]


def test_what_another_process_failed_to_make_is_made_by_a_run(stage: Stage) -> None:
    theirs = embedded()

    def released() -> None:
        assert stage.runs == []
        Claims(BUCKET, "claims").release(theirs)

    stage.script = [
        int,
        released,
        stage.reports({"key": "k", "rows": 6}),
        stage.ends("SUCCEEDED"),
    ]
    assert [report["rows"] for report in made()] == [6]


def test_a_process_that_makes_an_older_version_is_waited_for_and_not_followed(
    stage: Stage,
) -> None:
    theirs = embedded()

    def done() -> None:
        reported(theirs, rows=5)
        Claims(BUCKET, "claims").release(theirs)

    stage.script = [int, done]
    [report] = worker().make_here("k", NEWER["k"], lambda: {"rows": 6})
    assert (report["rows"], stage.sleeps) == (6, 2)


def test_an_error_is_nobody_elses(stage: Stage) -> None:
    """Whoever waits tries by himself."""
    reports = worker().make_here("k", WORK["k"], lambda: {"error": "no space left"})
    assert next(reports)["error"] == "no space left"
    found = held()
    assert found is not None
    assert not RunFolder(BUCKET, found.run).has_reports
    assert list(reports) == []


@either
def test_the_claim_of_a_process_that_was_killed_lapses(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, by_glue: bool
) -> None:
    embedded()

    def later() -> None:
        monkeypatch.setattr(claims_module, "GRACE_SECONDS", -1)

    stage.script = [later]
    if by_glue:
        stage.script += [stage.reports({"key": "k", "rows": 7}), stage.ends("SUCCEEDED")]
    [report] = made() if by_glue else made_here(lambda: {"rows": 7})
    assert (report["rows"], claimed(), len(stage.runs)) == (7, [], int(by_glue))


def test_what_was_made_while_others_took_over_is_an_error(stage: Stage) -> None:
    claims = Claims(BUCKET, "claims")

    def stands_still() -> Json:
        assert claims.put(Claim("silver/events/k", "v1", "another"), held())
        return {"rows": 8}

    assert made_here(stands_still) == [{"key": "k", "error": LOST}]
    found = held()
    assert found is not None
    assert found.run == "another"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_who_is_interrupted_claims_nothing_any_longer(
    stage: Stage, error: type[BaseException]
) -> None:
    def here() -> Json:
        raise error

    with pytest.raises(error):
        made_here(here)
    assert claimed() == []


def test_a_lease_is_confirmed_while_its_work_is_done_and_no_longer(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims_module, "RENEW_SECONDS", 0.01)
    claims, seen = Claims(BUCKET, "claims"), []
    with Lease(claims, embedded("mine")) as lease:
        for _ in range(3):
            seen.append(at := found.at if (found := held()) else 0.0)
            until = time.monotonic() + 10
            while (found := held()) is None or found.at <= at:
                assert time.monotonic() < until, "it is not confirmed"
                time.sleep(0.01)
        assert lease.confirm()
    assert seen == sorted(set(seen))
    time.sleep(0.05)
    assert claimed() == []


def test_a_lease_whose_confirmation_got_no_answer_is_still_held(stage: Stage) -> None:
    claims = Claims(BUCKET, "claims")
    mine = embedded("mine")
    with Lease(claims, mine) as lease:
        assert claims.put(Claim("silver/events/k", "v1", "mine", is_embedded=True), mine)
        assert lease.confirm()
        assert lease.confirm()


def test_who_is_ended_at_work_leaves_no_claim(stage: Stage) -> None:
    """As by a second Ctrl-C, or while DuckDB does not look at signals."""

    def here() -> Json:
        Lease.release_all()
        assert claimed() == []
        return {"rows": 9}

    # Should it go on nevertheless, its rows do not count.
    assert made_here(here) == [{"key": "k", "error": LOST}]
    Lease.release_all()
