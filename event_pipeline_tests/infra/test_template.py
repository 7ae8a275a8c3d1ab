"""The data plane's template, as text: much of it shows on no stand-in of AWS."""

import re
from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest

from event_pipeline import bronze
from event_pipeline.contracts import EVENTS, GOLD
from event_pipeline.ingest import handler
from event_pipeline_tests.infra.template import DATA_PLANE, WILDCARD_RESOURCES, Json, Stack

RELEASED = Stack(Release="r1")
KEY = "<Key.Arn>"
ROLES = ("IngestRole", "GlueRole", "DagsterRole")
BUCKETS = ("LakeBucket", "ResultsBucket", "PipesBucket", "ArtifactsBucket")

# What only AWS has.
NOT_ON_A_STAND_IN = {
    "S3::BucketPolicy",
    "SQS::QueuePolicy",
    "Glue::SecurityConfiguration",
    "Athena::NamedQuery",
    "CloudWatch::Alarm",
}
SETTINGS = {
    "LakeBucket": "EVENT_PIPELINE_LAKE_BUCKET",
    "ResultsBucket": "EVENT_PIPELINE_RESULTS_BUCKET",
    "PipesBucket": "EVENT_PIPELINE_PIPES_BUCKET",
    "DatabasePrefix": "EVENT_PIPELINE_DATABASE_PREFIX",
    "Workgroup": "EVENT_PIPELINE_WORKGROUP",
    "SparkFromMb": "EVENT_PIPELINE_SPARK_FROM_MB",
    "AthenaFromMb": "EVENT_PIPELINE_ATHENA_FROM_MB",
    "GlueJob": "EVENT_PIPELINE_GLUE_JOB",
    "GlueLogs": "EVENT_PIPELINE_GLUE_LOGS",
    "IngestFunction": "EVENT_PIPELINE_INGEST_FUNCTION",
}
NO_SETTINGS = {"AlarmTopic", "ArtifactsBucket", "DagsterRole"}


def properties(name: str, stack: Stack = RELEASED) -> Json:
    """Properties of a resource."""
    return stack.resources[name]["Properties"]


# ------------------------------------------------------------------------------------ the whole


def test_it_speaks_of_no_secret() -> None:
    assert re.findall("secret|password", DATA_PLANE.read_text(), re.I) == []


def test_before_a_release_there_is_all_but_what_needs_its_code() -> None:
    before = Stack()
    later = set(RELEASED.resources) - set(before.resources)
    assert {RELEASED.resources[name]["Type"] for name in later} == {
        "AWS::CloudWatch::Alarm",
        "AWS::Events::Rule",
        "AWS::Glue::Job",
        "AWS::IAM::Policy",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::Function",
        "AWS::Lambda::Permission",
    }
    assert set(SETTINGS) - set(before.outputs) == {"GlueJob", "IngestFunction"}


def test_a_stand_in_lacks_what_only_aws_has_and_refuses_no_plain_http() -> None:
    stand_in = Stack(Release="r1", StandIn="true")
    lacking = set(RELEASED.resources) - set(stand_in.resources)
    assert {RELEASED.resources[name]["Type"] for name in lacking} == {
        f"AWS::{kind}" for kind in NOT_ON_A_STAND_IN
    }
    assert lacking >= {"NoArrivals"}
    assert set(stand_in.of_type("CloudWatch::Alarm")) == {"IngestErrors", "FailuresWaiting"}
    assert not [each.sid for each in stand_in.statements() if each.effect == "Deny"]
    assert "SecurityConfiguration" not in properties("GlueJob", stand_in)


def test_the_outputs_are_the_settings_of_the_target() -> None:
    told = {name: each["Description"] for name, each in RELEASED.outputs.items()}
    assert {name: told.pop(name) for name in SETTINGS} == SETTINGS
    assert set(told) == NO_SETTINGS
    for name, variable in SETTINGS.items():
        words = re.findall(r"[A-Z][a-z]+", name)
        assert variable == "EVENT_PIPELINE_" + "_".join(words).upper()


def test_only_data_and_what_it_takes_to_read_it_outlive_the_stack() -> None:
    kept = {n for n, each in RELEASED.resources.items() if each.get("DeletionPolicy") != "Delete"}
    kept = {n for n in kept if "DeletionPolicy" in RELEASED.resources[n]}
    assert kept == {"Key", "LakeBucket", "SilverDatabase", "GoldDatabase", "QuarantineDatabase"}
    for name in kept:
        # Not what a stack leaves that could not be made: the next try would trip over it.
        assert RELEASED.resources[name]["DeletionPolicy"] == "RetainExceptOnCreate"
        assert RELEASED.resources[name]["UpdateReplacePolicy"] == "Retain"


# ------------------------------------------------------------------------------------- buckets


def test_there_are_four_buckets_and_none_has_a_name() -> None:
    assert tuple(sorted(BUCKETS)) == tuple(sorted(RELEASED.of_type("S3::Bucket")))
    assert not [n for n, each in RELEASED.of_type("S3::Bucket").items() if "BucketName" in each]


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_is_encrypted_private_and_versioned(name: str) -> None:
    bucket = properties(name)
    assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"] == [
        {
            "BucketKeyEnabled": True,
            "ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY},
        }
    ]
    assert list(bucket["PublicAccessBlockConfiguration"].values()) == [True] * 4
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_is_reached_by_tls_only(name: str) -> None:
    policies = RELEASED.of_type("S3::BucketPolicy").values()
    [policy] = [each for each in policies if each["Bucket"] == f"<{name}>"]
    denied = policy["PolicyDocument"]["Statement"][0]
    assert (denied["Effect"], denied["Principal"], denied["Action"]) == ("Deny", "*", "s3:*")
    assert denied["Resource"] == [f"<{name}.Arn>", f"<{name}.Arn>/*"]
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_forgets_abandoned_uploads_and_earlier_versions(name: str) -> None:
    rules = properties(name)["LifecycleConfiguration"]["Rules"]
    assert all(rule["Status"] == "Enabled" for rule in rules)
    assert len([r for r in rules if "AbortIncompleteMultipartUpload" in r]) == 1
    assert len([r for r in rules if "NoncurrentVersionExpiration" in r]) == 1


def test_nothing_of_the_lake_expires_and_what_passes_through_does() -> None:
    def expires(name: str) -> bool:
        rules = properties(name)["LifecycleConfiguration"]["Rules"]
        return any("ExpirationInDays" in rule or "ExpirationDate" in rule for rule in rules)

    assert [name for name in BUCKETS if expires(name)] == ["ResultsBucket", "PipesBucket"]


def test_the_lake_takes_no_other_encryption_and_needs_none_to_be_asked_for() -> None:
    by = {each.sid: each.body.get("Condition") for each in RELEASED.statements()}
    # A denial by StringNotEquals alone is also of who says nothing, which is to get the default.
    for sid, header, allowed in (
        ("LakeByKmsOnly", "s3:x-amz-server-side-encryption", "aws:kms"),
        ("LakeByItsKeyOnly", "s3:x-amz-server-side-encryption-aws-kms-key-id", KEY),
    ):
        assert by[sid] == {"Null": {header: "false"}, "StringNotEquals": {header: allowed}}


# -------------------------------------------------------------------------------------- ingest


def test_the_function_is_the_projects_handler_and_gets_what_it_reads() -> None:
    function = properties("IngestFunction")
    module, name = function["Handler"].rsplit(".", 1)
    assert getattr(import_module(module), name) is handler.handler
    variables = function["Environment"]["Variables"]
    assert variables == {
        handler.LAKE_VARIABLE: "s3://<LakeBucket>",
        "EVENT_PIPELINE_EVENTS_PER_SLOT": "20000",
    }
    assert handler._profile(variables).events == 20_000
    assert function["Code"] == {"S3Bucket": "<ArtifactsBucket>", "S3Key": "r1/lambda.zip"}
    assert function["KmsKeyArn"] == KEY
    assert function["LoggingConfig"]["LogGroup"] == "<IngestLogGroup>"


def test_the_schedule_may_call_it_and_says_the_slots_time() -> None:
    [target] = properties("IngestSchedule")["Targets"]
    assert target == {"Id": "ingest", "Arn": "<IngestFunction.Arn>"}  # the event as it is
    permission = properties("IngestPermission")
    assert permission["FunctionName"] == "<IngestFunction>"
    assert permission["Principal"] == "events.amazonaws.com"
    assert permission["SourceArn"] == "<IngestSchedule.Arn>"


def test_a_call_that_fails_for_good_is_kept() -> None:
    retries = properties("IngestFunctionRetries")
    assert retries["FunctionName"] == "<IngestFunction>"
    assert retries["MaximumRetryAttempts"] == 2
    assert retries["DestinationConfig"]["OnFailure"]["Destination"] == "<FailureQueue.Arn>"
    assert properties("FailureQueue")["KmsMasterKeyId"] == KEY
    assert RELEASED.allows("IngestRole", "sqs:SendMessage", "<FailureQueue.Arn>")


def test_every_log_group_is_encrypted_and_forgets() -> None:
    groups = Stack(Release="r1", LogRetentionDays="7").of_type("Logs::LogGroup")
    assert len(groups) == 3
    for group in groups.values():
        assert (group["RetentionInDays"], group["KmsKeyId"]) == ("7", KEY)


# ---------------------------------------------------------------------------------------- glue


def test_the_job_is_tried_once_runs_beside_itself_and_says_what_it_does() -> None:
    job = properties("GlueJob")
    assert job["MaxRetries"] == 0
    assert int(job["ExecutionProperty"]["MaxConcurrentRuns"]) > 1
    assert RELEASED.template["Parameters"]["GlueConcurrency"]["MinValue"] > 1
    assert (job["GlueVersion"], job["WorkerType"], job["NumberOfWorkers"]) == ("5.0", "G.1X", "2")
    assert job["Command"] == {
        "Name": "glueetl",
        "PythonVersion": "3",
        "ScriptLocation": "s3://<ArtifactsBucket>/r1/transform.py",
    }
    arguments = job["DefaultArguments"]
    assert arguments["--extra-py-files"] == "s3://<ArtifactsBucket>/r1/event_pipeline.zip"
    # Any value switches them on, and custom metrics are billed.
    assert "--enable-metrics" not in arguments
    assert arguments["--enable-continuous-cloudwatch-log"] == "true"
    assert arguments["--job-bookmark-option"] == "job-bookmark-disable"


def test_the_job_encrypts_what_it_writes_and_what_it_logs() -> None:
    assert properties("GlueJob")["SecurityConfiguration"] == "<GlueSecurity>"
    encryption = properties("GlueSecurity")["EncryptionConfiguration"]
    assert encryption["S3Encryptions"] == [{"S3EncryptionMode": "SSE-KMS", "KmsKeyArn": KEY}]
    logs = encryption["CloudWatchEncryption"]
    assert logs == {"CloudWatchEncryptionMode": "SSE-KMS", "KmsKeyArn": KEY}


@pytest.mark.parametrize("stand_in", ["true", "false"])
def test_the_jobs_log_groups_are_those_that_glue_will_name(stand_in: str) -> None:
    # https://docs.aws.amazon.com/glue/latest/dg/monitor-continuous-logging.html
    stack = Stack(Release="r1", StandIn=stand_in)
    job = properties("GlueJob", stack)
    prefix = job["DefaultArguments"]["--custom-logGroup-prefix"]
    if security := job.get("SecurityConfiguration"):
        role = job["Role"].replace(".Arn", "")
        prefix = f"{prefix}/{security}-role/{role}"
    groups = {g.get("LogGroupName") for g in stack.of_type("Logs::LogGroup").values()}
    assert groups == {None, f"{prefix}/error", f"{prefix}/output"}
    assert stack.outputs["GlueLogs"]["Value"] == prefix
    for action in ("CreateLogStream", "PutLogEvents", "AssociateKmsKey"):
        group = f"arn:aws:logs:REGION:ACCOUNT:log-group:{prefix}/error:log-stream:x"
        assert stack.allows("GlueRole", f"logs:{action}", group)


# -------------------------------------------------------------------------------------- athena


def test_the_workgroup_is_enforced_bounded_and_encrypted() -> None:
    workgroup = properties("Workgroup", Stack(AthenaScanCutoffBytes="10000000"))
    found = workgroup["WorkGroupConfiguration"]
    assert found["EnforceWorkGroupConfiguration"] is True
    assert found["PublishCloudWatchMetricsEnabled"] is True
    assert found["BytesScannedCutoffPerQuery"] == "10000000"
    assert found["EngineVersion"] == {"SelectedEngineVersion": "Athena engine version 3"}
    results = found["ResultConfiguration"]
    assert results["OutputLocation"] == "s3://<ResultsBucket>/athena/"
    encryption = {"EncryptionOption": "SSE_KMS", "KmsKey": KEY}
    assert results["EncryptionConfiguration"] == encryption


def test_the_named_queries_are_the_statements_of_gold() -> None:
    stack = Stack(DatabasePrefix="shop")
    found = {q["Name"]: q for q in stack.of_type("Athena::NamedQuery").values()}
    statements = {
        contract.identifier[1]: contract.sql.replace("silver.", "shop_silver.")
        for contract in GOLD
        if contract.dialect == "athena"
    }
    assert len(statements) == 5
    assert {name: query["QueryString"] for name, query in found.items()} == statements
    assert {q["Database"] for q in found.values()} == {"shop_silver"}
    assert {q["WorkGroup"] for q in found.values()} == {"<Workgroup>"}


# ------------------------------------------------------------------------------------- catalog


def test_the_databases_are_named_by_the_prefix() -> None:
    found = Stack(DatabasePrefix="shop").of_type("Glue::Database").values()
    layers = ["bronze", "gold", "quarantine", "silver"]
    assert sorted(d["DatabaseInput"]["Name"] for d in found) == [f"shop_{each}" for each in layers]


def test_the_table_over_bronze_has_the_contracts_fields_as_texts() -> None:
    table = properties("BronzeEvents")["TableInput"]
    columns = table["StorageDescriptor"]["Columns"]
    assert tuple(column["Name"] for column in columns) == EVENTS.source
    assert {column["Type"] for column in columns} == {"string"}
    serde = table["StorageDescriptor"]["SerdeInfo"]
    assert serde["SerializationLibrary"] == "org.openx.data.jsonserde.JsonSerDe"
    assert serde["Parameters"] == {"ignore.malformed.json": "true"}


START = datetime(2025, 1, 1, tzinfo=UTC)


def projected(slot: datetime) -> str | None:
    """Where Athena looks for a slot; None if it does not know of the slot's partition."""
    table = properties("BronzeEvents")["TableInput"]
    about = table["Parameters"]
    location: str = about["storage.location.template"]
    for name in (key["Name"] for key in table["PartitionKeys"]):
        assert about[f"projection.{name}.type"] == "integer"
        first, last = map(int, about[f"projection.{name}.range"].split(","))
        value, digits = getattr(slot, name), about[f"projection.{name}.digits"]
        if not first <= value <= last:
            return None
        location = location.replace(f"${{{name}}}", f"{value:0{digits}}")
    return location


@pytest.mark.parametrize(
    "slot",
    [
        START,
        datetime(2025, 11, 19, 17, 50, tzinfo=UTC),
        datetime(2028, 2, 29, 23, 55, tzinfo=UTC),
        datetime(2040, 12, 31, 9, 5, tzinfo=UTC),
        datetime(2026, 3, 8, 4, 59, tzinfo=UTC),  # by another producer
    ],
)
def test_projected_partitions_are_where_slots_lie(slot: datetime) -> None:
    folder, _, _ = bronze.object_key(slot).rpartition("/")
    assert projected(slot) == f"s3://<LakeBucket>/{folder}/"
    table = properties("BronzeEvents")["TableInput"]
    assert str(projected(slot)).startswith(table["StorageDescriptor"]["Location"])


def test_the_projection_begins_in_2025() -> None:
    assert projected(START - timedelta(minutes=5)) is None


# -------------------------------------------------------------------------------------- alarms


def test_every_alarm_reaches_the_topic_and_the_topic_its_subscriber() -> None:
    stack = Stack(Release="r1", AlarmEmail="ops@example.org")
    for alarm in stack.of_type("CloudWatch::Alarm").values():
        assert alarm["AlarmActions"] == ["<AlarmTopic>"]
    assert properties("JobFailures")["Targets"] == [{"Id": "alarm", "Arn": "<AlarmTopic>"}]
    assert properties("AlarmSubscription", stack)["Endpoint"] == "ops@example.org"
    assert "AlarmSubscription" not in RELEASED.resources
    assert properties("AlarmTopic")["KmsMasterKeyId"] == KEY
    publishers = {
        each.body["Principal"]["Service"]: each.body.get("Condition")
        for each in stack.statements()
        if each.owner == "AlarmTopicPolicy" and each.effect == "Allow"
    }
    assert publishers == {
        "cloudwatch.amazonaws.com": {"StringEquals": {"aws:SourceAccount": "ACCOUNT"}},
        # With a condition, nothing would arrive.
        "events.amazonaws.com": None,
    }


def test_silence_is_an_alarm_while_the_schedule_is_on() -> None:
    alarm = properties("NoArrivals")
    assert alarm["TreatMissingData"] == "breaching"
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    periods = {m["MetricStat"]["Period"] for m in alarm["Metrics"] if "MetricStat" in m}
    assert {period * alarm["EvaluationPeriods"] for period in periods} == {15 * 60}
    assert [m["Id"] for m in alarm["Metrics"] if m.get("ReturnData") is not False] == ["succeeded"]
    assert "NoArrivals" not in Stack(Release="r1", ScheduleState="DISABLED").resources


def test_a_job_run_that_fails_is_told() -> None:
    pattern = properties("JobFailures")["EventPattern"]
    assert pattern["source"] == ["aws.glue"]
    assert pattern["detail-type"] == ["Glue Job State Change"]
    detail = {"jobName": ["<GlueJob>"], "state": ["FAILED", "TIMEOUT", "ERROR"]}
    assert pattern["detail"] == detail


# -------------------------------------------------------------------------------------- powers


def test_a_wildcard_resource_is_narrowed_by_a_condition() -> None:
    for each in RELEASED.statements():
        if "*" in each.resources and each.sid != "AccountThroughIam":
            assert each.body["Condition"], each.sid


def test_the_account_can_administer_the_key_and_so_can_nobody_else() -> None:
    administer = {"kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:CreateGrant"}
    may = [each for each in RELEASED.statements() if administer & set(each.actions)]
    assert [each.sid for each in may] == ["AccountThroughIam"]
    assert administer <= set(may[0].actions)
    assert may[0].body["Principal"] == {"AWS": "arn:aws:iam::ACCOUNT:root"}
    assert properties("Key")["EnableKeyRotation"] is True


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_power_over_nothing_but_the_stacks_own(role: str) -> None:
    own = re.compile(
        r"<\w+\.Arn>(/.*)?"
        r"|arn:aws:glue:REGION:ACCOUNT:(catalog|database/(event_pipeline_\w+|default)"
        r"|table/event_pipeline_\w+/\*|job/<GlueJob>)"
        r"|arn:aws:athena:REGION:ACCOUNT:workgroup/<Workgroup>"
        r"|arn:aws:logs:REGION:ACCOUNT:log-group:/aws-glue/STACK/\*"
    )
    statements = [s for s in RELEASED.statements() if s.owner == role and s.is_policy_of_a_role]
    assert statements
    for each in statements:
        for resource in each.resources:
            assert own.fullmatch(resource) or each.sid in WILDCARD_RESOURCES[DATA_PLANE], (
                each.sid,
                resource,
            )
        for action in each.actions:
            assert action.split(":")[0] not in {"iam", "sts", "cloudformation"}, each.sid


LAKE = "<LakeBucket.Arn>"
SLOT = f"{LAKE}/{bronze.object_key(START)}"
MANIFEST = f"{LAKE}/{bronze.manifest_key(bronze.object_key(START))}"
DROP = f"{LAKE}/bronze/commerce/date=2025-01-01/users.json"
DROP_MANIFEST = f"{LAKE}/{bronze.manifest_key('bronze/commerce/date=2025-01-01/users.json')}"
SILVER = f"{LAKE}/silver/events/data/x/rows.parquet"
CATALOG = "arn:aws:glue:REGION:ACCOUNT"
WRITERS = {
    ("PutObject", "AbortMultipartUpload"): {"GlueRole"},
    ("GetObject", "DeleteObject"): {"GlueRole", "DagsterRole"},
}


@pytest.mark.parametrize(
    ("action", "resource", "who"),
    [
        # Events are written by the Lambda alone, drops by whoever loads them, and read by all.
        ("s3:PutObject", SLOT, {"IngestRole"}),
        ("s3:PutObject", MANIFEST, {"IngestRole"}),
        ("s3:PutObject", DROP, {"DagsterRole"}),
        ("s3:PutObject", DROP_MANIFEST, {"DagsterRole"}),
        ("s3:GetObject", SLOT, set(ROLES)),
        ("s3:GetObject", DROP, {"GlueRole", "DagsterRole"}),
        # Nobody deletes what arrived, and no version of anything.
        ("s3:DeleteObject", SLOT, set()),
        ("s3:DeleteObject", MANIFEST, set()),
        ("s3:DeleteObject", DROP, set()),
        ("s3:DeleteObjectVersion", SILVER, set()),
        # Rows are written by the job, metadata and receipts by who publishes them, and Gold by
        # both: Athena writes it in the name of who asks. Maintenance removes files.
        *(
            (f"s3:{action}", f"{LAKE}/{layer}/events/data/h/run/rows.parquet", who)
            for actions, who in WRITERS.items()
            for action in actions
            for layer in ("silver", "quarantine")
        ),
        *(
            (f"s3:{action}", f"{LAKE}/{path}", {"GlueRole", "DagsterRole"})
            for action in ("PutObject", "GetObject", "DeleteObject", "AbortMultipartUpload")
            for path in (
                "gold/hourly_revenue/data/d/run/rows.parquet",
                "silver/events/metadata/1.json",
                "silver/events/data/h/run/receipt.json",
                "quarantine/events/metadata/1.json",
                "quarantine/events/data/h/run/receipt.json",
            )
        ),
        ("s3:PutObject", f"{LAKE}/elsewhere", set()),
        ("s3:PutObject", f"{LAKE}/silver_events", set()),
        # Code is read by the job and written by who deploys.
        ("s3:GetObject", "<ArtifactsBucket.Arn>/r1/transform.py", {"GlueRole"}),
        ("s3:PutObject", "<ArtifactsBucket.Arn>/r1/transform.py", set()),
        ("s3:GetObject", "<PipesBucket.Arn>/runs/1/request.json", {"GlueRole", "DagsterRole"}),
        ("s3:PutObject", "<PipesBucket.Arn>/runs/1/messages/1.json", {"GlueRole", "DagsterRole"}),
        ("s3:DeleteObject", "<PipesBucket.Arn>/runs/1/request.json", {"DagsterRole"}),
        ("s3:PutObject", "<PipesBucket.Arn>/claims/x.json", {"DagsterRole"}),
        # Maintenance removes those that nobody has touched for long.
        ("s3:DeleteObject", "<PipesBucket.Arn>/claims/x.json", {"DagsterRole"}),
        ("s3:DeleteObject", "<ResultsBucket.Arn>/claims/x.json", {"DagsterRole"}),
        ("s3:GetObject", "<ResultsBucket.Arn>/athena/1.csv", {"DagsterRole"}),
        ("s3:GetBucketLocation", LAKE, {"GlueRole", "DagsterRole"}),
        ("s3:GetBucketLocation", "<ArtifactsBucket.Arn>", {"GlueRole"}),
        ("logs:GetLogEvents", "<GlueErrorLogGroup.Arn>", {"DagsterRole"}),
        ("logs:GetLogEvents", "<GlueOutputLogGroup.Arn>", {"DagsterRole"}),
        ("logs:GetLogEvents", "<IngestLogGroup.Arn>", set()),
        ("kms:Decrypt", KEY, set(ROLES)),
        ("kms:GenerateDataKey", KEY, set(ROLES)),
        # The catalog is the publisher's, and databases are the stack's.
        ("glue:UpdateTable", f"{CATALOG}:table/event_pipeline_silver/events", {"DagsterRole"}),
        ("glue:UpdateTable", f"{CATALOG}:table/event_pipeline_bronze/events", set()),
        ("glue:DeleteTable", f"{CATALOG}:table/event_pipeline_silver/events", set()),
        ("glue:CreateDatabase", f"{CATALOG}:catalog", set()),
        ("glue:StartJobRun", f"{CATALOG}:job/<GlueJob>", {"DagsterRole"}),
        ("glue:StartJobRun", f"{CATALOG}:job/another", set()),
        ("glue:UpdateJob", f"{CATALOG}:job/<GlueJob>", set()),
        ("lambda:InvokeFunction", "<IngestFunction.Arn>", {"DagsterRole"}),
        (
            "athena:StartQueryExecution",
            "arn:aws:athena:REGION:ACCOUNT:workgroup/<Workgroup>",
            {"DagsterRole"},
        ),
        ("athena:StartQueryExecution", "arn:aws:athena:REGION:ACCOUNT:workgroup/primary", set()),
    ],
)
def test_who_may(action: str, resource: str, who: set[str]) -> None:
    assert {role for role in ROLES if RELEASED.allows(role, action, resource)} == who


@pytest.mark.parametrize(
    ("given", "may"),
    [({}, False), ({"SparkFromMb": "64"}, True), ({"AthenaFromMb": "64"}, False)],
)
def test_only_who_may_make_silver_writes_its_rows(given: dict[str, str], may: bool) -> None:
    stack = Stack(DATA_PLANE, Release="r1", **given)
    for action in ("PutObject", "AbortMultipartUpload", "ListMultipartUploadParts"):
        for layer in ("silver", "quarantine"):
            rows = f"{LAKE}/{layer}/events/data/h/run/rows.parquet"
            assert stack.allows("DagsterRole", f"s3:{action}", rows) is may
    # What Gold needs, Athena needs too.
    assert stack.allows("DagsterRole", "s3:PutObject", f"{LAKE}/gold/x/data/d/run/rows.parquet")
    assert not stack.allows("DagsterRole", "s3:PutObject", SLOT)
    sids = {each.sid for each in stack.statements()}
    assert ("DagsterWritesSilver" in sids) is may


@pytest.mark.parametrize(
    ("bucket", "prefix", "who"),
    [
        # S3 says 404 of a missing object to who may list its key as a prefix, 403 to others.
        ("LakeBucket", SLOT.removeprefix(f"{LAKE}/"), set(ROLES)),
        ("LakeBucket", MANIFEST.removeprefix(f"{LAKE}/"), set(ROLES)),
        ("LakeBucket", DROP.removeprefix(f"{LAKE}/"), {"GlueRole", "DagsterRole"}),
        ("LakeBucket", "silver/", {"GlueRole", "DagsterRole"}),
        ("LakeBucket", "silver_$folder$", {"GlueRole", "DagsterRole"}),
        ("LakeBucket", "", {"DagsterRole"}),
        ("PipesBucket", "runs/1/", {"GlueRole", "DagsterRole"}),
        ("PipesBucket", "runs/", {"GlueRole", "DagsterRole"}),
        ("PipesBucket", "claims/", {"DagsterRole"}),
        ("PipesBucket", "claims/x.json", {"DagsterRole"}),
        ("PipesBucket", "", set()),
        ("ResultsBucket", "athena/", {"DagsterRole"}),
        # Maintenance looks in both buckets for claims and runs.
        ("ResultsBucket", "claims/", {"DagsterRole"}),
        ("ResultsBucket", "runs/", {"DagsterRole"}),
        ("ArtifactsBucket", "", set()),
    ],
)
def test_who_may_list(bucket: str, prefix: str, who: set[str]) -> None:
    arn = f"<{bucket}.Arn>"
    found = {r for r in ROLES if RELEASED.allows(r, "s3:ListBucket", arn, s3__prefix=prefix)}
    assert found == who


def test_metrics_are_glues_only() -> None:
    def may(namespace: str) -> bool:
        action = "cloudwatch:PutMetricData"
        return RELEASED.allows("GlueRole", action, "*", cloudwatch__namespace=namespace)

    assert may("Glue")
    assert not may("AWS/Billing")


def test_dagsters_role_is_taken_by_tasks_of_this_account_and_by_who_is_named() -> None:
    ops = "arn:aws:iam::ACCOUNT:role/ops"

    def trusted(stack: Stack) -> list[Json]:
        takes = [each for each in stack.statements() if each.actions == ["sts:AssumeRole"]]
        return [each.body["Principal"] for each in takes if each.owner == "DagsterRole"]

    tasks_of_ecs = {"Service": "ecs-tasks.amazonaws.com"}
    assert trusted(RELEASED) == [tasks_of_ecs]
    assert trusted(Stack(DagsterPrincipal=ops)) == [tasks_of_ecs, {"AWS": ops}]
    [tasks] = [each.body for each in RELEASED.statements() if each.sid == "TasksTakeDagstersRole"]
    assert tasks["Condition"]["StringEquals"] == {"aws:SourceAccount": "ACCOUNT"}
