"""A twin for all tests that need one, and what they put into it."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from event_pipeline_tests.twin.server import Twin

Json = dict[str, Any]

LAKE, RESULTS, CODE = "lake", "results", "code"
ENDED = {"SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT", "ERROR", "EXPIRED", "CANCELLED"}
SECONDS_MOST = 60


@pytest.fixture(scope="session")
def session_twin() -> Iterator[Twin]:
    """A twin with three buckets."""
    with Twin() as found:
        for bucket in (LAKE, RESULTS, CODE):
            found.client("s3").create_bucket(Bucket=bucket)
        yield found


@pytest.fixture
def twin(session_twin: Twin) -> Iterator[Twin]:
    """That twin, to which a test may give orders."""
    usual = session_twin.order()
    yield session_twin
    session_twin.order(**usual)


def role(twin: Twin, name: str, service: str, *statements: Json) -> str:
    """ARN of a new role, which a service may take, with a policy."""
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    iam = twin.client("iam")
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_policy(trust))
    if statements:
        document = _policy(*statements)
        iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=document)
    return str(made["Role"]["Arn"])


def allow(action: str, *resources: str) -> Json:
    """A statement of a policy."""
    return {"Effect": "Allow", "Action": action, "Resource": list(resources)}


def _policy(*statements: Json) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def job(twin: Twin, name: str, script: str, *, role: str = "job", **more: Any) -> None:
    """Makes a Glue job of the text of a script."""
    twin.client("s3").put_object(Bucket=CODE, Key=f"{name}.py", Body=script.encode())
    command = {"Name": "glueetl", "ScriptLocation": f"s3://{CODE}/{name}.py"}
    twin.client("glue").create_job(Name=name, Role=role, Command=command, **more)


def start(twin: Twin, name: str, **arguments: str) -> str:
    """Starts a run of a job; its id."""
    given = {f"--{key.removeprefix('--')}": value for key, value in arguments.items()}
    answer = twin.client("glue").start_job_run(JobName=name, Arguments=given)
    return str(answer["JobRunId"])


def job_run(twin: Twin, name: str, run_id: str) -> Json:
    """What Glue says of a run."""
    found: Json = twin.client("glue").get_job_run(JobName=name, RunId=run_id)["JobRun"]
    return found


def wait_for_job(twin: Twin, name: str, run_id: str) -> Json:
    """The run when it has ended."""
    for _ in _moments():
        found = job_run(twin, name, run_id)
        if found["JobRunState"] in ENDED:
            return found
    raise TimeoutError(f"{name} {run_id} goes on: {found}")


def wait_for_object(twin: Twin, bucket: str, prefix: str) -> str:
    """The key of the first object under a prefix, when there is one."""
    for _ in _moments():
        found = keys(twin, bucket, prefix)
        if found:
            return found[0]
    raise TimeoutError(f"nothing under {bucket}/{prefix}")


def keys(twin: Twin, bucket: str, prefix: str) -> list[str]:
    """The keys of the objects under a prefix."""
    found = twin.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    return [each["Key"] for each in found.get("Contents", [])]


def _moments() -> Iterator[None]:
    until = time.monotonic() + SECONDS_MOST
    while time.monotonic() < until:
        yield
        time.sleep(0.05)
