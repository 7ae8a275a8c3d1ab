"""Job runs: what they execute, as whom, and how they end."""

import json
import subprocess
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT,
    DAGSTER_PIPES_MESSAGES_CLI_ARGUMENT,
    encode_param,
)

from event_pipeline.contracts import EVENTS
from event_pipeline.deploy import artifacts
from event_pipeline.engines import PartitionRequest, TransformRequest
from event_pipeline.engines.requests import as_json
from event_pipeline.lake.objects import Source
from event_pipeline_tests.conftest import HOUR, jsonl
from event_pipeline_tests.jobs.test_transform import EVENT
from event_pipeline_tests.twin.conftest import (
    CODE,
    LAKE,
    job,
    keys,
    start,
    wait_for_job,
    wait_for_object,
)
from event_pipeline_tests.twin.server import Twin

KEY = "bronze/events/year=2026/month=01/day=01/hour=10/minute=00/events-20260101-100000.jsonl.gz"
ROWS, REFUSED = "silver/events/data/h/run", "quarantine/events/data/h/run"
# One line twice, and one without a user.
LINES = [json.dumps({**EVENT, "search_query": f"é{n}"}) for n in (*range(50), 0)]
BAD = json.dumps({**EVENT, "user_id": None})
CONTEXT: dict[str, Any] = {
    "asset_keys": None,
    "code_version_by_asset_key": None,
    "extras": {},
    "job_name": None,
    "partition_key": None,
    "partition_key_range": None,
    "partition_time_window": None,
    "provenance_by_asset_key": None,
    "retry_number": 0,
    "run_id": "run",
}
TELLS_PID = """
import os, sys, time, boto3
boto3.client("s3").put_object(Bucket="code", Key=f"pids/{sys.argv[-1]}/{os.getpid()}")
time.sleep(60)
"""
WITH_A_SESSION = f"""
from pyspark.sql import SparkSession
SparkSession.builder.getOrCreate().sparkContext.parallelize([1]).map(str).collect()
{TELLS_PID}
"""


def request() -> dict[str, Any]:
    """A request for one hour, as the job takes it."""
    partition = PartitionRequest(
        key=HOUR,
        value="2026-01-01 10:00:00",
        digest="",
        sources=(Source(KEY, f"s3://{LAKE}/{KEY}", 1000),),
        rows_prefix=f"s3://{LAKE}/{ROWS}",
        quarantine_prefix=f"s3://{LAKE}/{REFUSED}",
    )
    return as_json(TransformRequest.of(EVENTS, (partition,)))


def test_the_job_that_is_deployed_transforms_a_partition(twin: Twin) -> None:
    s3, built = twin.client("s3"), artifacts.build()
    s3.put_object(Bucket=CODE, Key="event_pipeline.zip", Body=built.files["event_pipeline.zip"])
    s3.put_object(Bucket=LAKE, Key=KEY, Body=jsonl([*LINES, BAD]))
    s3.put_object(Bucket=CODE, Key="requests/1.json", Body=json.dumps(request()))
    libraries = {"--extra-py-files": f"s3://{CODE}/event_pipeline.zip"}
    job(twin, "transform", built.files["transform.py"].decode(), DefaultArguments=libraries)
    run_id = start(
        twin,
        "transform",
        **{
            "request": f"s3://{CODE}/requests/1.json",
            DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT: encode_param({"data": CONTEXT}),
            DAGSTER_PIPES_MESSAGES_CLI_ARGUMENT: encode_param(
                {"bucket": CODE, "key_prefix": "messages"}
            ),
        },
    )
    run = wait_for_job(twin, "transform", run_id)
    errors = (twin.folder / "jobs" / run_id / "error").read_text()
    assert run["JobRunState"] == "SUCCEEDED", run["ErrorMessage"] + errors

    messages = [
        json.loads(line)
        for key in keys(twin, CODE, "messages/")
        for line in s3.get_object(Bucket=CODE, Key=key)["Body"].read().splitlines()
    ]
    [report] = [
        message["params"]["payload"]
        for message in messages
        if message["method"] == "report_custom_message"
    ]
    assert (report["lines"], report["rows"], report["duplicates"]) == (52, 50, 1)
    assert report["rejected"] == {"user_id_missing": 1}
    rows = [uri.removeprefix(f"s3://{LAKE}/") for uri in report["files"]]
    assert [key for key in keys(twin, LAKE, f"{ROWS}/") if key.endswith(".parquet")] == rows
    read = [
        pq.read_table(pa.BufferReader(s3.get_object(Bucket=LAKE, Key=key)["Body"].read()))
        for key in rows
    ]
    searched = {text for table in read for text in table["search_query"].to_pylist()}
    assert searched == {f"é{n}" for n in range(50)}
    logs = twin.client("logs").get_log_events(
        logGroupName=f"{run['LogGroupName']}/output", logStreamName=f"{run_id}-driver"
    )
    assert any('"user_id_missing": 1' in event["message"] for event in logs["events"])

    # Files are there before their report, and all that was done was done as the job's role.
    calls = [call for call in twin.calls() if call.principal.endswith(":role/job")]
    done = [(call.action, call.resource.partition(":::")[2]) for call in calls if call.status < 300]
    written = [done.index(("s3:PutObject", f"{LAKE}/{key}")) for key in rows]
    first_message = done.index(("s3:PutObject", f"{CODE}/{keys(twin, CODE, 'messages/')[0]}"))
    reported = [n for n, (_, what) in enumerate(done) if what.startswith(f"{CODE}/messages/")]
    assert max(written) < max(reported)
    assert first_message in reported
    assert ("s3:GetObject", f"{CODE}/transform.py") in done
    assert ("s3:GetObject", f"{LAKE}/{KEY}") in done
    # The twin's first run also makes the group of the logs.
    assert {action for action, _ in done} - {"logs:CreateLogGroup"} == {
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "s3:DeleteObject",
        "s3:GetObject",
        "s3:ListBucket",
        "s3:PutObject",
    }


def test_a_run_gets_arguments_as_glue_gives_them(twin: Twin) -> None:
    defaults = {"--kept": "k", "--changed": "d"}
    job(twin, "arguments", "import sys; print(sys.argv[1:])", DefaultArguments=defaults)
    run_id = start(twin, "arguments", changed="of the run", empty="")
    assert wait_for_job(twin, "arguments", run_id)["JobRunState"] == "SUCCEEDED"
    output = (twin.folder / "jobs" / run_id / "output").read_text()
    merged = ["--kept", "k", "--changed", "of the run"]
    glues = ["--JOB_NAME", "arguments", "--JOB_RUN_ID", run_id]
    assert output.strip() == str([*merged, *glues, "--empty", ""])


@pytest.mark.parametrize("module", ["event_pipeline", "dagster_pipes", "dagster", "pyarrow"])
def test_what_an_artifact_lacks_is_missing(twin: Twin, module: str) -> None:
    job(twin, f"lacks_{module}", f"import {module}.x")
    run = wait_for_job(twin, f"lacks_{module}", start(twin, f"lacks_{module}"))
    assert run["ErrorMessage"].endswith(f"ModuleNotFoundError: No module named '{module}'")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("raise ValueError('boom')", "UNCLASSIFIED_ERROR; ValueError: boom"),
        ("try:\n  1/0\nexcept Exception as e:\n  raise KeyError('x') from e", "; KeyError: 'x'"),
        ("raise SystemExit(3)", "Command failed with exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "Command failed with exit code -9"),
    ],
)
def test_a_failure_has_its_reason(twin: Twin, script: str, message: str) -> None:
    name = f"fails_{abs(hash(script))}"
    job(twin, name, script)
    run = wait_for_job(twin, name, start(twin, name))
    assert run["JobRunState"] == "FAILED"
    assert run["ErrorMessage"].endswith(message)


def test_a_script_that_is_not_there_fails_the_run(twin: Twin) -> None:
    job(twin, "gone", "")
    twin.client("s3").delete_object(Bucket=CODE, Key="gone.py")
    run = wait_for_job(twin, "gone", start(twin, "gone"))
    assert run["JobRunState"] == "FAILED"
    assert "NoSuchKey" in run["ErrorMessage"]


def test_a_stopped_run_leaves_no_process(twin: Twin) -> None:
    job(twin, "stopped", WITH_A_SESSION)
    run_id = start(twin, "stopped", marker="stopped")
    pid = wait_for_object(twin, CODE, "pids/stopped/").rsplit("/", 1)[-1]
    assert any("java" in command for command in _group(pid))
    glue = twin.client("glue")
    answer = glue.batch_stop_job_run(JobName="stopped", JobRunIds=[run_id])
    assert answer["SuccessfulSubmissions"] == [{"JobName": "stopped", "JobRunId": run_id}]
    assert wait_for_job(twin, "stopped", run_id)["JobRunState"] == "STOPPED"
    assert _group(pid) == []
    answer = glue.batch_stop_job_run(JobName="stopped", JobRunIds=[run_id, "another"])
    assert [each["ErrorDetail"]["ErrorCode"] for each in answer["Errors"]] == [
        "InvalidInputException",
        "EntityNotFoundException",
    ]


def test_a_run_ends_at_its_timeout(twin: Twin) -> None:
    twin.order(minute=0.1)
    job(twin, "long", "import time; time.sleep(60)", Timeout=5)
    run = wait_for_job(twin, "long", start(twin, "long"))
    assert (run["JobRunState"], run["Timeout"]) == ("TIMEOUT", 5)


def test_no_more_runs_than_the_job_allows(twin: Twin) -> None:
    twin.order(job_seconds=60)
    glue = twin.client("glue")
    job(twin, "two", "", ExecutionProperty={"MaxConcurrentRuns": 2})
    runs = [start(twin, "two"), start(twin, "two")]
    with pytest.raises(glue.exceptions.ConcurrentRunsExceededException):
        start(twin, "two")
    found = glue.get_job_runs(JobName="two", MaxResults=1)
    assert [run["Id"] for run in found["JobRuns"]] == runs[:0:-1]
    glue.batch_stop_job_run(JobName="two", JobRunIds=runs)
    for run_id in runs:
        assert wait_for_job(twin, "two", run_id)["JobRunState"] == "STOPPED"
    twin.order(job_seconds=0)
    assert wait_for_job(twin, "two", start(twin, "two"))["JobRunState"] == "SUCCEEDED"


def test_a_run_may_be_ordered_to_expire(twin: Twin) -> None:
    twin.order(job_state="EXPIRED")
    job(twin, "expires", "")
    assert wait_for_job(twin, "expires", start(twin, "expires"))["JobRunState"] == "EXPIRED"


def _group(leader: str) -> list[str]:
    """Commands of a group's processes, but for those that only wait to be buried."""
    found = subprocess.run(
        ["ps", "-ww", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True
    )
    lines = (line.split(maxsplit=2) for line in found.stdout.splitlines())
    return [args[0] for group, state, *args in lines if group == leader and state[0] != "Z"]
