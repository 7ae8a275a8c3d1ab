"""The data plane deployed into a twin, and what a process needs to run the graph there."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import boto3
from rich.console import Console

from event_pipeline import aws
from event_pipeline.deploy import data_plane
from event_pipeline.lake import objects
from event_pipeline.settings import PREFIX
from event_pipeline_tests.twin.server import Twin

STACK = "event-pipeline"


def deployed(twin: Twin, env_file: Path, console: Console | None = None, **given: str) -> None:
    """Deploys the template with these parameters, by `event-pipeline deploy`'s own function.

    The env file says how to find the stack; with it are credentials of Dagster's role.
    """
    account = twin.client("sts").get_caller_identity()["Account"]
    parameters = {
        "StandIn": "true",
        "DagsterPrincipal": f"arn:aws:iam::{account}:root",
        **given,
    }
    with environment(twin.environment):
        data_plane.deploy(STACK, parameters, env_file=env_file, console=console, poll_seconds=0.2)
    credentials = twin.acting_as(resource(twin, "DagsterRole", "Arn"))
    with env_file.open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in credentials.items())


def resource(twin: Twin, name: str, attribute: str = "") -> str:
    """What a resource of the stack is called; of a role, its ARN."""
    found = twin.client("cloudformation").describe_stack_resource(
        StackName=STACK, LogicalResourceId=name
    )["StackResourceDetail"]["PhysicalResourceId"]
    if attribute == "Arn":
        return str(twin.client("iam").get_role(RoleName=found)["Role"]["Arn"])
    return str(found)


def read(env_file: Path) -> dict[str, str]:
    """The variables of an env file."""
    lines = (line for line in env_file.read_text().splitlines() if "=" in line)
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """This process with these variables, and none of the pipeline's and of AWS's beside them."""
    before = dict(os.environ)
    for name in before:
        if name.startswith((PREFIX, "AWS_")):
            del os.environ[name]
    os.environ.update(values)
    _forget_clients()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        _forget_clients()


def _forget_clients() -> None:
    boto3.DEFAULT_SESSION = None  # it keeps the credentials that it found first
    aws.clear_caches()
    objects._store_at.cache_clear()
