"""The control plane's template: who may reach what, what is encrypted, which role may do what."""

import json
import os
import re

import pytest
import yaml  # type: ignore[import-untyped]

from event_pipeline.settings import OF_AWS, read_settings
from event_pipeline_tests.infra.control_plane import (
    GIVEN,
    LAUNCHER,
    PIPELINE,
    PLATFORM,
    SERVICES,
    STACK,
    TASKS,
    WORKSPACE,
    container,
    control_plane,
    environment,
    properties,
    secrets,
)
from event_pipeline_tests.infra.template import Stack


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
    for name in outputs - {"AlarmTopic", "DagsterRole"}:
        about = STACK.template["Parameters"][name]
        variable = about["Description"]
        given = {name: "given"}
        assert environment("RunTask", control_plane(**given))[variable] == "given"


# ---------------------------------------------------------------------------------------- network


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
    stack = control_plane(AllowedNetworks=",".join(networks))
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


# ---------------------------------------------------------------------------- database, logs, key


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
    stack = control_plane(LogRetentionDays="7")
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
    bucket = properties("LogsBucket", control_plane(LogRetentionDays="7"))
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


# ----------------------------------------------------------------------------- tasks and services


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


def test_of_each_service_that_is_gone_the_topic_is_told() -> None:
    alarms = STACK.of_type("CloudWatch::Alarm").values()
    watched = {alarm["Dimensions"][1]["Value"] for alarm in alarms}
    assert watched == {f"<{service}.Name>" for service in SERVICES}
    for alarm in alarms:
        assert alarm["Dimensions"][0] == {"Name": "ClusterName", "Value": "<Cluster>"}
        assert alarm["AlarmActions"] == alarm["OKActions"] == [GIVEN["AlarmTopic"]]
        # Of what is gone there is no figure.
        assert alarm["TreatMissingData"] == "breaching"
        # One sample a minute of the one task.
        assert (alarm["Statistic"], alarm["ComparisonOperator"]) == (
            "SampleCount",
            "LessThanThreshold",
        )
        assert 1 < alarm["Threshold"] <= alarm["Period"] / 60


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
    stack = control_plane(CpuArchitecture="ARM64")
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
        "glue_logs": "logs",
        "ingest_function": "ingest",
    }
    # Who only runs runs need not know where the lake is.
    for task in PLATFORM:
        assert not [name for name in environment(task) if name.startswith("EVENT_PIPELINE_")]


# ----------------------------------------------------------------------------------------- powers


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
        each for each in control_plane(Image=image).statements() if each.sid == "EcsFetchesTheImage"
    ]
    assert fetches.resources == [f"arn:aws:ecr:eu-west-1:210987654321:repository/{name}"]
