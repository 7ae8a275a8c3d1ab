"""What goes wrong between a worker and AWS: kill -9, throttling, conflicts, very many objects."""

import gzip
import json
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest

from event_pipeline.bronze import manifest_key, object_key
from event_pipeline.contracts import COMMERCE_USERS, EVENTS
from event_pipeline.deploy import artifacts
from event_pipeline.engines.claims import Claim, Claims
from event_pipeline.engines.glue.job import GlueJob
from event_pipeline.engines.glue.job_runs import JobRuns, Work
from event_pipeline.ingest.handler import S3Store
from event_pipeline.ingest.ingester import LambdaIngester
from event_pipeline.lake.objects import Objects
from event_pipeline_tests.twin.conftest import LAKE, RESULTS, job, role
from event_pipeline_tests.twin.graph import environment
from event_pipeline_tests.twin.server import Twin

SLOT = datetime(2026, 1, 2, 3, 5, tzinfo=UTC)
# A job that reports as `jobs/transform.py` does, after a while.
JOB = """
import base64, json, sys, time, zlib
import boto3
given = sys.argv[sys.argv.index("--dagster-pipes-messages") + 1]
to = json.loads(zlib.decompress(base64.b64decode(given)))
time.sleep(4)
report = {"method": "report_custom_message", "params": {"payload": {"key": "k", "rows": 7}}}
body = json.dumps(report).encode()
boto3.client("s3").put_object(Bucket=to["bucket"], Key=to["key_prefix"] + "/1.json", Body=body)
"""
WORKER = f"""
from event_pipeline.engines.claims import Claims
from event_pipeline.engines.glue.job import GlueJob
from event_pipeline.engines.glue.job_runs import JobRuns, Work
job = GlueJob("slow", "/aws-glue/jobs")
runs = JobRuns(job, "{RESULTS}", Claims("{RESULTS}", "claims"), 0.2)
work = {{"k": Work("silver/events/k", "v1")}}
for report in runs.make(work, lambda keys: {{"keys": list(keys)}}):
    print(report["rows"], report["run"]["glue_run"], flush=True)
"""


FAILS = """
def handler(event, context):
    raise ValueError("no lake " + event["slot"][:4])
"""


@pytest.fixture
def aws(twin: Twin) -> Iterator[Twin]:
    """The twin, as this process's AWS."""
    with environment(twin.environment):
        yield twin


def runs(twin: Twin, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = twin.client("glue").get_job_runs(JobName=name)["JobRuns"]
    return found


def worker(twin: Twin) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WORKER],
        env={**twin.environment, "PATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_worker_killed_during_a_job_is_followed_by_one_that_takes_its_run(aws: Twin) -> None:
    allowed = role(aws, "slow", "glue.amazonaws.com")
    job(aws, "slow", JOB, role=allowed)
    first = worker(aws)
    until = time.monotonic() + 30
    while not [run for run in runs(aws, "slow") if run["JobRunState"] == "RUNNING"]:
        assert time.monotonic() < until
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    # Two at once, as a retry and a sensor's run may be.
    followers = [worker(aws), worker(aws)]
    ended = [follower.communicate(timeout=60) for follower in followers]
    told = [output.split() for output, _ in ended]
    assert len(runs(aws, "slow")) == 1, ended
    [run] = runs(aws, "slow")
    assert told == [["7", run["Id"]]] * 2, ended


@pytest.mark.parametrize(
    ("day", "operation"), [(3, "ListBucket"), (4, "GetObject"), (5, "PutObject")]
)
def test_who_is_throttled_waits_and_loses_nothing(aws: Twin, day: int, operation: str) -> None:
    store, key = S3Store(LAKE), object_key(SLOT.replace(day=day))
    slow = {"action": f"s3:{operation}", "status": 503, "code": "SlowDown", "times": 2}
    aws.order(faults=[slow])
    assert store.create(key, b"data") is not None
    assert store.read(key) is not None
    listing = Objects(root=f"s3://{LAKE}").partition(EVENTS, f"2026-01-0{day}-03:00")
    assert [each.key for each in listing.objects] == [key]


def test_a_conditional_put_in_conflict_is_tried_again(aws: Twin) -> None:
    conflict = {"action": "s3:PutObject", "status": 409, "code": "ConditionalRequestConflict"}
    aws.order(faults=[{**conflict, "times": 2}])
    store = S3Store(LAKE)
    assert store.create(object_key(SLOT), b"data") is not None
    assert store.create(object_key(SLOT), b"other") is None
    assert store.read(object_key(SLOT)) == (b"data", store.read(object_key(SLOT))[1])  # type: ignore[index]


def test_of_two_claims_on_one_thing_one_is_made(aws: Twin) -> None:
    claims = Claims(RESULTS, "claims-of-two")
    first = claims.put(Claim("a/b", "v1", "one"))
    assert first is not None
    assert claims.put(Claim("a/b", "v1", "two")) is None
    second = claims.put(Claim("a/b", "v2", "three"), first)
    assert second is not None
    assert claims.put(Claim("a/b", "v2", "four"), first) is None
    claims.release(first)
    assert claims.get("a/b") == second
    claims.release(second)
    assert claims.get("a/b") is None
    assert claims.put(Claim("a/b", "v2", "five"), second) is None


def test_objects_of_more_than_two_pages_are_listed(aws: Twin) -> None:
    folder, count = "bronze/commerce/date=2026-01-09/", 2_001
    s3 = aws.client("s3")

    def put(n: int) -> None:
        s3.put_object(
            Bucket=LAKE, Key=f"{folder}{'users.json' if n == 0 else f'x{n:05}'}", Body=b""
        )

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put, range(count)))
    listing = Objects(root=f"s3://{LAKE}").partition(COMMERCE_USERS, "2026-01-09")
    assert len(listing.objects) == 1
    day = Objects(root=f"s3://{LAKE}").as_listed()
    assert len(list(day._list("", folder))) == count
    for _ in range(3):
        day.partition(COMMERCE_USERS, "2026-01-09")
    asked = [c for c in aws.calls() if c.action == "s3:ListBucket" and c.prefix == folder]
    assert len(asked) == 2 * 3  # three pages, once for each listing


def test_a_run_that_dies_before_it_can_report_shows_its_log(
    aws: Twin, capsys: pytest.CaptureFixture[str]
) -> None:
    allowed = role(aws, "dies", "glue.amazonaws.com")
    job(aws, "dies", "import no_such_module", role=allowed)
    claims = Claims(RESULTS, "claims-of-the-dead")
    made = JobRuns(GlueJob("dies", "/aws-glue/jobs"), RESULTS, claims, 0.2)
    [report] = made.make({"k": Work("silver/events/k", "v1")}, lambda keys: {"keys": list(keys)})
    why = "ModuleNotFoundError: No module named 'no_such_module'"
    assert why in report["error"]
    shown = capsys.readouterr().err.splitlines()
    assert "Traceback (most recent call last):" in shown
    assert why in shown


def function(twin: Twin, name: str, handler: str, code: bytes, **more: Any) -> None:
    """Makes a Lambda of a zip file."""
    twin.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role=role(twin, name, "lambda.amazonaws.com"),
        Handler=handler,
        Code={"ZipFile": code},
        **more,
    )


def test_a_lambda_whose_time_is_over_half_way_is_repaired_by_the_next_call(aws: Twin) -> None:
    variables = {
        "EVENT_PIPELINE_LAKE": f"s3://{LAKE}/half-way",
        "EVENT_PIPELINE_EVENTS_PER_SLOT": "50",
    }
    function(
        aws,
        "half-way",
        "event_pipeline.ingest.handler.handler",
        artifacts.build().files["lambda.zip"],
        Timeout=3,
        Environment={"Variables": variables},
    )
    key = object_key(SLOT)
    # Of the object's manifest, which is written after the object.
    slow = {"action": "s3:PutObject", "resource": "half-way/bronze/_manifests/", "seconds": 8}
    aws.order(faults=[{**slow, "code": "InternalError", "status": 500}])
    event = json.dumps({"slot": SLOT.isoformat()}).encode()

    def call() -> tuple[bool, Any]:
        answer = aws.client("lambda").invoke(FunctionName="half-way", Payload=event)
        return "FunctionError" in answer, json.loads(answer["Payload"].read())

    failed, answer = call()
    assert (failed, "timed out" in answer["errorMessage"]) == (True, True)
    store = S3Store(LAKE, "half-way")
    assert store.exists(key)
    assert not store.exists(manifest_key(key))
    failed, answer = call()
    [result] = answer["results"]
    assert (failed, result["status"]) == (False, "repaired")
    data = store.read(key)
    manifest = store.read(manifest_key(key))
    assert data
    assert manifest
    lines = gzip.decompress(data[0]).count(b"\n")
    assert json.loads(manifest[0])["lines"] == result["lines"] == lines > 0


def test_a_lambda_that_fails_says_why(aws: Twin) -> None:
    with zipfile.ZipFile(data := BytesIO(), "w") as file:
        file.writestr("fails.py", FAILS)
    function(aws, "fails", "fails.handler", data.getvalue())
    with pytest.raises(RuntimeError, match=r"fails, 2026-01-02T03:00Z: .*no lake 2026"):
        LambdaIngester(function="fails").ingest_hour("2026-01-02-03:00")
