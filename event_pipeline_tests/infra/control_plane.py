"""The control plane's stack as its tests see it."""

from pathlib import Path

from event_pipeline_tests.infra.template import CONTROL_PLANE, INFRA, Json, Stack

ROOT = Path(__file__).parents[2]
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
    "AlarmTopic": "arn:aws:sns:REGION:ACCOUNT:alarms",
    "LakeBucket": "lake",
    "ResultsBucket": "results",
    "PipesBucket": "pipes",
    "Workgroup": "shop",
    "GlueJob": "transform",
    "GlueLogs": "logs",
    "IngestFunction": "ingest",
}
SERVICES = {"CodeService": "CodeTask", "DaemonService": "DaemonTask", "WebService": "WebTask"}
TASKS = ("CodeTask", "DaemonTask", "WebTask", "RunTask")
# Which of them run the project's code, and which only Dagster's.
PIPELINE, PLATFORM = ("CodeTask", "RunTask"), ("DaemonTask", "WebTask")


def control_plane(**given: str) -> Stack:
    """The stack with these parameters beside those that have no default."""
    return Stack(CONTROL_PLANE, **{**GIVEN, **given})


STACK = control_plane()


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
