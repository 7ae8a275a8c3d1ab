"""The twin itself: what it keeps, whom it refuses, what it writes down, and how it ends."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from event_pipeline.deploy import artifacts
from event_pipeline_tests.twin import hooks
from event_pipeline_tests.twin.conftest import (
    CODE,
    LAKE,
    RESULTS,
    allow,
    job,
    keys,
    role,
    start,
    wait_for_job,
    wait_for_object,
)
from event_pipeline_tests.twin.server import ROOT, Twin
from event_pipeline_tests.twin.test_glue import TELLS_PID

WRITES = """
import sys, boto3
boto3.client("s3").put_object(Bucket=sys.argv[-2].strip("-"), Key=sys.argv[-1], Body=b"x")
"""


@pytest.fixture(scope="module")
def strict() -> Iterator[Twin]:
    """A twin that enforces policies."""
    with Twin(auth=True) as twin:
        for bucket in (LAKE, RESULTS, CODE, "other"):
            twin.client("s3").create_bucket(Bucket=bucket)
        yield twin


def test_the_schedule_calls_the_function_as_its_role(twin: Twin) -> None:
    function = twin.client("lambda").create_function(
        FunctionName="ingest",
        Runtime="python3.13",
        Role=role(twin, "ingest", "lambda.amazonaws.com"),
        Handler="event_pipeline.ingest.handler.handler",
        Code={"ZipFile": artifacts.build().files["lambda.zip"]},
        Timeout=60,
        Environment={
            "Variables": {
                "EVENT_PIPELINE_LAKE": f"s3://{LAKE}",
                "EVENT_PIPELINE_EVENTS_PER_SLOT": "20",
            }
        },
    )
    twin.order(minute=1)
    events = twin.client("events")
    events.put_rule(Name="every-minute", ScheduleExpression="rate(1 minute)")
    targets = [{"Id": "ingest", "Arn": function["FunctionArn"]}]
    events.put_targets(Rule="every-minute", Targets=targets)
    key = wait_for_object(twin, LAKE, "bronze/_manifests/events/year=")
    events.disable_rule(Name="every-minute")
    manifest = json.loads(twin.client("s3").get_object(Bucket=LAKE, Key=key)["Body"].read())
    assert keys(twin, LAKE, manifest["key"]) == [manifest["key"]]
    written = {call.resource for call in twin.calls() if call.principal.endswith(":role/ingest")}
    assert f"arn:aws:s3:::{LAKE}/{manifest['key']}" in written


def test_calls_fail_as_ordered_and_no_others(twin: Twin) -> None:
    fault = {"action": "s3:PutObject", "resource": "/faults/", "status": 503, "code": "SlowDown"}
    twin.order(faults=[{**fault, "skip": 1}])
    s3 = twin.client("s3")
    for name in "abc":
        s3.put_object(Bucket=LAKE, Key=f"faults/{name}")
    statuses = [call.status for call in twin.calls() if call.resource.endswith("/faults/b")]
    assert statuses == [503, 200]
    with pytest.raises(ValueError, match="no such order: nothing"):
        twin.order(nothing=1)


def test_calls_are_written_down_with_every_resource(twin: Twin) -> None:
    twin.client("glue").create_database(DatabaseInput={"Name": "recorded"})
    s3 = twin.client("s3")
    s3.put_object(Bucket=LAKE, Key="from")
    s3.copy_object(CopySource={"Bucket": LAKE, "Key": "from"}, Bucket=LAKE, Key="to")
    s3.list_objects_v2(Bucket=LAKE, Prefix="t")
    found = {(call.action, call.resource.rsplit(":", 1)[-1], call.prefix) for call in twin.calls()}
    assert {
        ("glue:CreateDatabase", "catalog", None),
        ("glue:CreateDatabase", "database/recorded", None),
        ("s3:GetObject", f"{LAKE}/from", None),
        ("s3:PutObject", f"{LAKE}/to", None),
        ("s3:ListBucket", LAKE, "t"),
    } <= found


def test_a_job_may_what_its_role_may(strict: Twin) -> None:
    job_role = role(
        strict,
        "writer",
        "glue.amazonaws.com",
        allow("s3:GetObject", f"arn:aws:s3:::{CODE}/*"),
        allow("s3:PutObject", f"arn:aws:s3:::{LAKE}/silver/*"),
    )
    job(strict, "writes", WRITES, role=job_role)
    for bucket, key, state in (
        (LAKE, "silver/x", "SUCCEEDED"),
        (LAKE, "bronze/x", "FAILED"),
        ("other", "silver/x", "FAILED"),
    ):
        run = wait_for_job(strict, "writes", start(strict, "writes", **{bucket: key}))
        assert run["JobRunState"] == state
        assert ("AccessDenied" in run["ErrorMessage"]) == (state == "FAILED")
        assert bool(keys(strict, bucket, key)) == (state == "SUCCEEDED")


def test_glue_takes_only_roles_that_trust_it(strict: Twin) -> None:
    job(strict, "untrusted", "", role=role(strict, "other", "lambda.amazonaws.com"))
    run = wait_for_job(strict, "untrusted", start(strict, "untrusted"))
    assert (run["JobRunState"], "may not assume" in run["ErrorMessage"]) == ("FAILED", True)


def test_a_query_may_what_its_caller_may(strict: Twin) -> None:
    location = {"ResultConfiguration": {"OutputLocation": f"s3://{RESULTS}/"}}
    strict.client("athena").create_work_group(Name="strict", Configuration=location)
    workgroup = "arn:aws:athena:us-east-1:000000000000:workgroup/strict"
    results = f"arn:aws:s3:::{RESULTS}"
    arn = role(
        strict,
        "analyst",
        "ecs-tasks.amazonaws.com",
        *(allow(f"athena:{what}QueryExecution", workgroup) for what in ("Start", "Get")),
        allow("s3:GetBucketLocation", results),
        allow("s3:PutObject", f"{results}/*", f"arn:aws:s3:::{LAKE}/gold/*"),
        allow("s3:ListBucket", f"arn:aws:s3:::{LAKE}"),
    )
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    strict.client("iam").update_assume_role_policy(RoleName="analyst", PolicyDocument=document)
    athena = strict.client("athena", strict.acting_as(arn))
    states = []
    for prefix in ("gold", "silver"):
        sql = f"UNLOAD (SELECT 1 AS x) TO 's3://{LAKE}/{prefix}/run/'"
        sql += " WITH (format = 'PARQUET', compression = 'ZSTD')"
        started = athena.start_query_execution(QueryString=sql, WorkGroup="strict")
        query = {"QueryExecutionId": started["QueryExecutionId"]}
        while (status := athena.get_query_execution(**query)["QueryExecution"]["Status"])[
            "State"
        ] in {"QUEUED", "RUNNING"}:
            time.sleep(0.02)
        states.append((status["State"], "AccessDenied" in status["StateChangeReason"]))
    assert states == [("SUCCEEDED", False), ("FAILED", True)]
    with pytest.raises(ClientError, match="AccessDenied"):
        athena.stop_query_execution(**query)


def test_it_ends_with_its_jobs_and_begins_again_with_its_objects(tmp_path: Path) -> None:
    with Twin(tmp_path) as twin:
        twin.client("s3").create_bucket(Bucket=CODE)
        job(twin, "sleeps", TELLS_PID)
        run_id = start(twin, "sleeps", marker="sleeps")
        pid = int(wait_for_object(twin, CODE, "pids/sleeps/").rsplit("/", 1)[-1])
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with Twin(tmp_path) as twin:
        assert keys(twin, CODE, "sleeps.py") == ["sleeps.py"]
        run = twin.client("glue").get_job_run(JobName="sleeps", RunId=run_id)["JobRun"]
        assert run["JobRunState"] == "STOPPED"


def test_it_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    program = (
        "import os; from pathlib import Path; from event_pipeline_tests.twin.server import Twin\n"
        "twin = Twin(Path(os.environ['FOLDER'])); twin.__enter__()\n"
        "print(twin.endpoint, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "FOLDER": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    port = int(done.stdout.strip().rsplit(":", 1)[-1])
    until = time.monotonic() + 20
    while time.monotonic() < until and not _is_free(port):
        time.sleep(0.1)
    assert _is_free(port)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_another_ministack_is_noticed() -> None:
    class Module:
        __name__ = "module"

        @staticmethod
        def known(data: object) -> None: ...

    def other(data: object, more: object) -> None: ...

    for name in ("known", "gone"):
        with pytest.raises(RuntimeError, match="ministack=="):
            hooks.replace(Module, name, other)
