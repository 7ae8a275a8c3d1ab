"""Dagster's instance on ECS, read by Dagster's own classes, and its launcher, on moto's ECS."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]
from botocore.client import BaseClient
from dagster._core.events import RunFailureReason
from dagster._core.execution.retries import auto_reexecution_should_retry_run
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster_aws.ecs import EcsRunLauncher
from dagster_aws.ecs.tasks import CurrentEcsTaskMetadata
from dagster_aws.s3 import S3ComputeLogManager
from dagster_postgres import DagsterPostgresStorage
from moto import mock_aws

from event_pipeline.run_requests import request_runs
from event_pipeline_tests.infra.control_plane import (
    INSTANCE,
    LAUNCHER,
    PLATFORM,
    STACK,
    TASKS,
    WORKSPACE,
    container,
    environment,
    properties,
    secrets,
)
from event_pipeline_tests.infra.template import Json


def variables(node: Json) -> Iterator[str]:
    """What a file takes from the environment."""
    if isinstance(node, list):
        for each in node:
            yield from variables(each)
    elif isinstance(node, dict):
        if set(node) == {"env"}:
            yield node["env"]
        for each in node.values():
            yield from variables(each)


def test_every_task_has_the_variables_that_its_files_name() -> None:
    instance = set(variables(yaml.safe_load(INSTANCE.read_text())))
    workspace = set(variables(yaml.safe_load(WORKSPACE.read_text())))
    # The launcher alone, which is made where it is used, needs to know the definition of a run.
    for_all = instance - {"DAGSTER_RUN_TASK"}
    for task in TASKS:
        given = set(environment(task)) | set(secrets(task))
        needed = instance | workspace if task in PLATFORM else for_all
        assert {name for name in given if name.startswith("DAGSTER_")} == needed


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the daemon, with names that are no more than that."""
    for variable in environment("DaemonTask"):
        monkeypatch.setenv(variable, variable.lower())
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("DAGSTER_DATABASE_PASSWORD", "open sesame")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "testing")
    for variable in [name for name in os.environ if name.startswith("AWS_ENDPOINT_URL")]:
        monkeypatch.delenv(variable)


@pytest.fixture
def instance(tmp_path: Path, task: None) -> InstanceRef:
    """The instance's file, as Dagster reads it; nothing of it made yet."""
    (tmp_path / "dagster.yaml").write_text(INSTANCE.read_text())
    return InstanceRef.from_dir(str(tmp_path))


def test_the_database_is_reached_by_the_driver_that_there_is(instance: InstanceRef) -> None:
    data = instance.storage_data
    assert data is not None
    # It connects when it is made, unless it need not look for tables.
    quiet = yaml.dump({**yaml.safe_load(data.config_yaml), "should_autocreate_tables": False})
    storage = data._replace(config_yaml=quiet).rehydrate(as_type=DagsterPostgresStorage)
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        engine = part._engine  # type: ignore[union-attr]
        # SQLAlchemy 2.1 would take another, which is not installed.
        assert engine.dialect.driver == "psycopg2"
        assert (engine.url.host, engine.url.port) == ("dagster_database_host", 5432)
        assert (engine.url.username, engine.url.password) == ("dagster", "open sesame")
        assert engine.url.query == {"sslmode": "require"}


def test_database_and_instance_agree_on_names() -> None:
    config = yaml.safe_load(INSTANCE.read_text())["storage"]["postgres"]["postgres_db"]
    database = properties("Database")
    assert config["db_name"] == database["DBName"]
    assert config["username"] == database["MasterUsername"]
    template = properties("DatabaseSecret")["GenerateSecretString"]["SecretStringTemplate"]
    assert json.loads(template) == {"username": config["username"]}


def test_logs_of_steps_go_where_the_roles_may_put_them(instance: InstanceRef) -> None:
    manager = instance.compute_logs_data.rehydrate(as_type=S3ComputeLogManager)
    assert manager._s3_bucket == "dagster_logs_bucket"
    key_of: Any = manager._s3_key
    key = key_of(["run", "compute_logs", "step"], ComputeIOType.STDERR)
    assert STACK.allows("dagster", "s3:PutObject", f"<LogsBucket.Arn>/{key}")


def test_runs_wait_in_a_queue_are_watched_and_done_again_if_lost(instance: InstanceRef) -> None:
    coordinator = instance.run_coordinator
    assert isinstance(coordinator, QueuedRunCoordinator)
    assert coordinator.get_run_queue_config().max_concurrent_runs == 10
    settings: Any = instance.settings
    monitoring = settings["run_monitoring"]
    assert monitoring["enabled"] is True
    # A run has two minutes to stop its job before ECS kills it.
    assert monitoring["cancel_timeout_seconds"] > container("RunTask")["StopTimeout"]
    # The launcher can resume, the executor cannot.
    assert monitoring["max_resume_run_attempts"] == 0
    retries = {"enabled": True, "max_retries": 1, "retry_on_asset_or_op_failure": False}
    assert settings["run_retries"] == retries


def test_a_lost_run_is_asked_for_again_by_its_sensor_or_done_again_but_not_both(
    instance: InstanceRef,
) -> None:
    retries = instance.settings["run_retries"]
    with dg.DagsterInstance.ephemeral(settings={"run_retries": retries}) as dagster:
        asked = request_runs(dagster, "s", [dg.AssetKey("a")], {"k": "v"}, most=1, max_attempts=3)
        for tags, again in ((asked.runs[0].tags, False), ({}, True)):
            run = create_run_for_test(dagster, tags=dict(tags), status=dg.DagsterRunStatus.FAILURE)
            lost = RunFailureReason.UNEXPECTED_TERMINATION
            assert auto_reexecution_should_retry_run(dagster, run, lost) is again


def test_the_code_server_is_where_the_workspace_says(task: None) -> None:
    [origin] = location_origins_from_yaml_paths([str(WORKSPACE)])
    assert isinstance(origin, GrpcServerCodeLocationOrigin)
    assert (origin.host, origin.port) == ("dagster_code_host", 4000)
    assert origin.location_name == "event_pipeline"


# --- Launching

UNSEEN = {"ecs:TagResource", "iam:PassRole"}
CONTEXT = {
    "ecs:RunTask": {"ecs__cluster": "<Cluster.Arn>"},
    "ecs:TagResource": {"ecs__CreateAction": "RunTask"},
    "iam:PassRole": {"iam__PassedToService": "ecs-tasks.amazonaws.com"},
}


@pytest.mark.parametrize("action", LAUNCHER)
def test_the_launcher_may_do_what_it_does_where_it_does_it(action: str) -> None:
    resource, context = LAUNCHER[action], CONTEXT.get(action, {})
    assert STACK.allows("LauncherRole", action, resource, **context)
    assert not STACK.allows("dagster", action, resource, **context)
    if context:
        assert not STACK.allows("LauncherRole", action, resource)
    if resource != "*":
        assert not STACK.allows("LauncherRole", action, f"another-{resource}", **context)


def test_the_launcher_starts_no_definition_but_a_runs() -> None:
    run = "arn:aws:ecs:REGION:ACCOUNT:task-definition/STACK-run:7"
    cluster = {"ecs__cluster": "<Cluster.Arn>"}
    assert properties("RunTask")["Family"] == "STACK-run"
    assert STACK.allows("LauncherRole", "ecs:RunTask", run, **cluster)
    for other in (run.replace("-run", "-web"), run.replace("-run", "-runs")):
        assert not STACK.allows("LauncherRole", "ecs:RunTask", other, **cluster)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Json]]:
    """Every call of AWS from here on: the action, and what is asked."""
    made: list[tuple[str, Json]] = []
    real = BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(client: Any, operation: str, asked: Json) -> Any:
        made.append((f"{client.meta.service_model.service_name}:{operation}", asked))
        return real(client, operation, asked)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return made


def definition(task: str) -> Json:
    """A task's definition as ECS's API takes it."""

    def lower(node: Json) -> Json:
        if isinstance(node, list):
            return [lower(each) for each in node]
        if not isinstance(node, dict):
            return node
        # Options of a log driver are names already.
        return {
            name[0].lower() + name[1:]: value if name == "Options" else lower(value)
            for name, value in node.items()
        }

    found = lower(properties(task))
    # moto cannot do without, and Fargate can.
    found["containerDefinitions"][0]["memory"] = int(found["memory"])
    return found


def test_a_run_is_launched_watched_and_stopped_with_no_other_calls(
    instance: InstanceRef, monkeypatch: pytest.MonkeyPatch, calls: list[tuple[str, Json]]
) -> None:
    """With the real launcher, on moto's ECS."""
    data = instance.run_launcher_data
    assert data is not None
    with mock_aws(), dg.DagsterInstance.ephemeral() as dagster:
        ecs, ec2 = boto3.client("ecs"), boto3.client("ec2")
        subnet = ec2.describe_subnets()["Subnets"][0]
        group = ec2.create_security_group(
            GroupName="dagster", Description="-", VpcId=subnet["VpcId"]
        )["GroupId"]
        network = {
            "subnets": [subnet["SubnetId"]],
            "securityGroups": [group],
            "assignPublicIp": "DISABLED",
        }
        cluster = ecs.create_cluster(clusterName="cluster")["cluster"]["clusterArn"]
        for name in ("RunTask", "DaemonTask"):
            ecs.register_task_definition(**definition(name))
        [daemon] = ecs.run_task(
            cluster=cluster,
            taskDefinition="STACK-daemon",
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": network},
        )["tasks"]
        # What ECS tells a task of itself.
        here = CurrentEcsTaskMetadata(cluster=cluster, task_arn=daemon["taskArn"])
        monkeypatch.setattr("dagster_aws.ecs.launcher.get_current_ecs_task_metadata", lambda: here)
        monkeypatch.setenv("DAGSTER_RUN_TASK", "STACK-run")
        calls.clear()

        launcher = data.rehydrate(as_type=EcsRunLauncher)
        launcher.register_instance(dagster)
        monkeypatch.setattr(type(dagster), "get_ref", lambda self: instance)
        run = create_run_for_test(
            dagster, job_code_origin=dg.reconstructable(job).get_python_origin()
        )
        launcher.launch_run(LaunchRunContext(run, None))
        run = dagster.get_run_by_id(run.run_id) or run
        assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
        assert launcher.terminate(run.run_id)
        # What it looks for when a run was lost.
        boto3.client("logs").create_log_group(logGroupName="<RunLogs>")
        stream = "run/run/" + run.tags["ecs/task_arn"].split("/")[-1]
        boto3.client("logs").create_log_stream(logGroupName="<RunLogs>", logStreamName=stream)
        lost = {"exitCode": 1, "name": "run"}
        monkeypatch.setattr(launcher, "ecs", Lost(launcher.ecs, lost))
        health = launcher.check_run_worker_health(run)
        assert (health.status, "exit code 1" in (health.msg or "")) == (WorkerStatus.FAILED, True)

    mine = {"logs:CreateLogGroup", "logs:CreateLogStream"}
    assert {action for action, _ in calls} - mine == set(LAUNCHER) - UNSEEN
    [asked] = [asked for action, asked in calls if action == "ecs:RunTask"]
    assert (asked["cluster"], asked["launchType"]) == (cluster, "FARGATE")
    assert asked["networkConfiguration"] == {"awsvpcConfiguration": network}
    assert ":task-definition/STACK-run:" in asked["taskDefinition"]
    [override] = asked["overrides"]["containerOverrides"]
    assert override["name"] == container("RunTask")["Name"]
    assert override["command"][:3] == ["dagster", "api", "execute_run"]
    # In the command there is the instance, with the name of the variable and not what it holds.
    assert "DAGSTER_DATABASE_PASSWORD" in " ".join(override["command"])
    assert "sesame" not in " ".join(override["command"])


@dg.job
def job() -> None:
    """Of a run that never begins."""


class Lost:
    """ECS's client, to whom every task has ended so."""

    def __init__(self, ecs: Any, container: Mapping[str, Any]) -> None:
        self.ecs, self.container = ecs, container

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ecs, name)

    def describe_tasks(self, **asked: Any) -> Json:
        """The real answer, but for how the task ended."""
        found = self.ecs.describe_tasks(**asked)
        for each in found["tasks"]:
            each |= {"lastStatus": "STOPPED", "containers": [self.container]}
        return found
