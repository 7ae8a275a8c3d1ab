"""The whole graph with target aws, in a twin that enforces the template's policies.

One run: the schedule calls the Lambda, an hour of objects lands in Bronze and a drop beside it, the
sensors ask, Glue runs the job, Athena's queries are executed, and Gold is published.
"""

import gzip
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from event_pipeline import aws
from event_pipeline.bronze import object_key
from event_pipeline.build import build_silver
from event_pipeline.contracts import EVENTS, GOLD, SILVER
from event_pipeline.deploy import cost
from event_pipeline.home import open_instance
from event_pipeline.ingest.drops import FILES, DropProfile, write_drop
from event_pipeline.ingest.handler import S3Store, open_store
from event_pipeline.partitions import HOURLY
from event_pipeline.report import ledger_records
from event_pipeline.resources import resources
from event_pipeline.sensors import STAGES
from event_pipeline.settings import Settings, read_settings
from event_pipeline.sync import run_sync
from event_pipeline_tests.dagster_lab import Lab, requests
from event_pipeline_tests.infra.template import Stack
from event_pipeline_tests.twin.conftest import wait_for_object
from event_pipeline_tests.twin.graph import deployed, environment, read, resource
from event_pipeline_tests.twin.server import Call, Twin

DROP = (datetime.now(UTC) - timedelta(1)).date()
# Why a policy allows what the twin, or one run, has no use for.
UNUSED = {
    "IngestRole s3:ListBucket": "so that S3 says what is missing; ministack says it to everyone",
    "GlueRole s3:GetBucketLocation": "of Glue's own file system",
    "AbortMultipartUpload": "of uploads in parts, which begin at some megabytes",
    "ListMultipartUploadParts": "likewise",
    "ListBucketMultipartUploads": "likewise, by Athena",
    "kms:": "ministack asks nobody for a key",
    "sqs:SendMessage": "of calls that failed for good",
    "IngestRole logs:": "ministack writes the Lambda's logs itself",
    "logs:AssociateKmsKey": "ministack asks nobody for a key",
    "logs:GetLogEvents": "of runs that failed",
    "cloudwatch:PutMetricData": "Glue's own",
    "glue:BatchStopJobRun": "of runs that are interrupted",
    "glue:GetJobRuns": "after a worker that was killed",
    "glue:GetTables": "PyIceberg lists tables where a person asks",
    "athena:StopQueryExecution": "of queries that are interrupted",
    "athena:GetWorkGroup": "PyAthena, of some workgroups",
}


@dataclass
class Ran:
    """The run: where, what it took in seconds by stage, and what it has made."""

    twin: Twin
    values: dict[str, str]
    slot: datetime | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    gold: dict[str, Any] = field(default_factory=dict)
    local: dict[str, Any] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    idle: list[Call] = field(default_factory=list)

    @property
    def lake(self) -> str:
        """The lake's bucket."""
        return self.values["EVENT_PIPELINE_LAKE_BUCKET"]

    @property
    def hour(self) -> str:
        """The hour of the slot for which the schedule called."""
        assert self.slot is not None
        return HOURLY.key(self.slot)

    def role(self, name: str) -> dict[str, str]:
        """The environment of a process of one of the stack's roles."""
        return self.twin.acting_as(resource(self.twin, name, "Arn"))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """What the tests of this module look at."""
    folder = tmp_path_factory.mktemp("graph")
    with Twin(auth=True) as twin:
        yield _run(twin, folder)


def _run(twin: Twin, folder: Path) -> Ran:
    env_file = folder / "env"
    deployed(
        twin,
        env_file,
        Console(file=(folder / "deploy.log").open("w")),
        EventsPerSlot="400",
        ScheduleExpression="rate(1 minute)",
    )
    ran = Ran(twin, read(env_file))
    home = {"EVENT_PIPELINE_HOME": str(folder / "aws")}
    first = {"EVENT_PIPELINE_FIRST_DAY": f"{DROP - timedelta(1)}"}
    started = time.monotonic()

    def stage(name: str) -> None:
        nonlocal started
        ran.seconds[name], started = time.monotonic() - started, time.monotonic()

    twin.order(minute=1)
    key = wait_for_object(twin, ran.lake, "bronze/_manifests/events/year=")
    manifest = twin.client("s3").get_object(Bucket=ran.lake, Key=key)["Body"]
    ran.slot = datetime.fromisoformat(json.load(manifest)["slot"])
    stage("the schedule's Lambda")
    rule = resource(twin, "IngestSchedule")
    twin.client("events").disable_rule(Name=rule.rsplit("/", 1)[-1])
    with environment({**ran.values, **home, **first}):
        settings = read_settings()
        used = resources(settings)
        used.ingester.ingest_hour(ran.hour)
        stage("an hour by the Lambda")
        write_drop(open_store(settings.root), DROP, DropProfile(300, fault_share=0.05))
        with (folder / "sync.log").open("w") as log:
            assert run_sync(settings, Console(file=log))
        stage("sensors, Glue, Athena")
        ran.ledger = ledger_records(used.lake)
        ran.gold = {c.table: used.querier.fetch(c.select_all) for c in GOLD}
        stage("answers")
        ran.idle = _idle_tick(twin, settings)
    ran.calls = twin.calls()
    # With `pytest -s`: the twin's figures.
    print({name: round(seconds, 1) for name, seconds in ran.seconds.items()})
    copy_bronze(twin, ran.lake, folder / "local" / "lake")
    with environment({"EVENT_PIPELINE_HOME": str(folder / "local"), **first}):
        settings = read_settings()
        with (folder / "local.log").open("w") as log:
            assert run_sync(settings, Console(file=log))
        querier = resources(settings).querier
        ran.local = {c.table: querier.fetch(c.select_all) for c in GOLD}
    return ran


def _idle_tick(twin: Twin, settings: Settings) -> list[Call]:
    """The calls of a tick of every sensor that finds nothing new, the process's second tick."""
    seen = 0
    with open_instance(settings) as instance:
        lab = Lab(settings.home, instance, first_day=settings.first_day)
        for _ in range(2):
            seen = len(twin.calls())
            for stage in STAGES:
                assert requests(lab.tick(stage.name)) == []
    return twin.calls()[seen:]


def copy_bronze(twin: Twin, bucket: str, to: Path) -> None:
    """Copies what arrived into a lake in a folder."""
    s3 = twin.client("s3")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="bronze/"):
        for item in page["Contents"]:
            path = to / item["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())


def test_every_line_is_accounted_for(ran: Ran) -> None:
    assert {record["asset"] for record in ran.ledger} == {c.asset for c in SILVER}
    assert all(record["balanced"] for record in ran.ledger)
    lines = {(r["asset"], r["partition"]): r["lines"] for r in ran.ledger}
    assert lines["silver/events", ran.hour] > 300
    assert [lines[f"silver/commerce_{name}", str(DROP)] for name in FILES] == [300] * 3


def test_gold_is_what_a_laptop_makes_of_the_same_objects(ran: Ran) -> None:
    for table, (names, rows) in ran.gold.items():
        local_names, local_rows = ran.local[table]
        assert names == local_names
        assert sorted(map(repr, rows)) == sorted(map(repr, local_rows)), table
        assert rows, table


def test_an_idle_tick_costs_no_more_than_the_model_says(ran: Ran) -> None:
    s3 = Counter(call.action for call in ran.idle if call.action.startswith("s3:"))
    assert set(s3) == {"s3:ListBucket"}
    assert s3["s3:ListBucket"] <= cost.TICK_LISTINGS
    # Each call of the catalog needs one permission of it, and more of databases and tables.
    catalog = [call for call in ran.idle if call.resource.endswith(":catalog")]
    assert 0 < len(catalog) <= cost.TICK_CATALOG


# --- Least privilege ---------------------------------------------------------------------------

ROLES = ("IngestRole", "GlueRole", "DagsterRole")


def test_no_call_was_refused(ran: Ran) -> None:
    refused = {(c.principal, c.action, c.resource) for c in ran.calls if c.status == 403}
    assert refused == set()


def test_every_allowed_action_was_used_or_is_explained(ran: Ran) -> None:
    stack = Stack(Release="r", StandIn="true")
    names = {resource(ran.twin, role, "Arn"): role for role in ROLES}
    used = {f"{names[c.principal]} {c.action}" for c in ran.calls if c.principal in names}
    allowed = {
        f"{each.owner} {action}"
        for each in stack.statements()
        if each.owner in ROLES and each.is_policy_of_a_role
        for action in each.actions
    }
    assert used - allowed == set()
    unused = allowed - used
    assert {each for each in unused if not any(text in each for text in UNUSED)} == set()
    # No explanation is of what needs none.
    assert {text for text in UNUSED if not any(text in each for each in unused)} == set()


def test_dagster_may_read_what_runs_said(ran: Ran) -> None:
    """Which it does when one has failed, and here none has."""
    name = ran.values["EVENT_PIPELINE_GLUE_JOB"]
    run = ran.twin.client("glue").get_job_runs(JobName=name)["JobRuns"][0]
    group = ran.values["EVENT_PIPELINE_GLUE_LOGS"]
    with environment(ran.role("DagsterRole")):
        assert aws.log_end(f"{group}/output", f"{run['Id']}-driver", 10)
        assert aws.log_end(f"{group}/error", f"{run['Id']}-driver", 10) == []


def put(bucket: str, key: str) -> tuple[str, str, dict[str, Any]]:
    return "s3", "put_object", {"Bucket": bucket, "Key": key, "Body": b""}


def test_roles_may_do_nothing_else(ran: Ran) -> None:
    ran.twin.client("s3").create_bucket(Bucket="another")
    denied = {
        "IngestRole": [
            put(ran.lake, "silver/events/data/x"),
            put(ran.lake, "bronze/commerce/date=2026-01-01/orders.json"),
            put("another", "bronze/events/x"),
            ("s3", "delete_object", {"Bucket": ran.lake, "Key": "bronze/events/x"}),
        ],
        "GlueRole": [
            put(ran.lake, "bronze/events/x"),
            put("another", "silver/events/x"),
            ("s3", "delete_object", {"Bucket": ran.lake, "Key": "bronze/events/x"}),
            ("s3", "get_object", {"Bucket": "another", "Key": "x"}),
        ],
        "DagsterRole": [
            put(ran.lake, "bronze/events/x"),
            put(ran.lake, "silver/events/data/x/rows.parquet"),
            put("another", "silver/events/x"),
            ("s3", "delete_object", {"Bucket": ran.lake, "Key": "bronze/commerce/x"}),
            ("glue", "delete_job", {"JobName": ran.values["EVENT_PIPELINE_GLUE_JOB"]}),
        ],
    }
    for role, calls in denied.items():
        who = ran.role(role)
        for service, operation, arguments in calls:
            client = ran.twin.client(service, who)
            with pytest.raises(ClientError, match=r"AccessDenied|not authorized"):
                getattr(client, operation)(**arguments)


def test_the_embedded_engine_may_not_make_silver_unless_the_template_says_so(ran: Ran) -> None:
    """Whatever a setting says."""
    hour = HOURLY.start(ran.hour) - timedelta(hours=1)
    key = object_key(hour)
    ran.twin.client("s3").put_object(Bucket=ran.lake, Key=key, Body=gzip.compress(b"{}"))
    with environment({**ran.values, "EVENT_PIPELINE_SPARK_FROM_MB": "64"}):
        used = resources(read_settings())
        [built] = build_silver(
            EVENTS,
            [HOURLY.key(hour)],
            objects=used.objects,
            transformer=used.transformer,
            lake=used.lake,
            recorded={},
            redelivery_hours=1,
        )
    ran.twin.client("s3").delete_object(Bucket=ran.lake, Key=key)
    assert built.status == "failed"
    assert str(built.error).startswith("S3: AccessDenied")


def test_the_lambda_is_idempotent(ran: Ran) -> None:
    """A repeated delivery of one event changes nothing."""
    name = ran.values["EVENT_PIPELINE_INGEST_FUNCTION"]
    store = S3Store(ran.lake, client=ran.twin.client("s3"))
    event = json.dumps({"slot": f"{ran.slot:%Y-%m-%dT%H:%M:00Z}"}).encode()
    answers = []
    for _ in range(2):
        answer = ran.twin.client("lambda").invoke(FunctionName=name, Payload=event)
        [result] = json.loads(answer["Payload"].read())["results"]
        answers.append((result["status"], store.read(result["key"])))
    assert answers[0] == answers[1]
    assert answers[0][0] == "exists"
