"""The data plane deployed and destroyed, in a stand-in of AWS: the small template, and the real."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.stub import Stubber
from rich.console import Console

from event_pipeline.deploy import data_plane
from event_pipeline.deploy.account import Account, DeployError
from event_pipeline.deploy.artifacts import PACKAGE, Artifacts, build
from event_pipeline.deploy.data_plane import given_parameters, template_path
from event_pipeline.settings import PREFIX, Settings
from event_pipeline_tests.deploy.conftest import REGION, shown

SMALL = Path(__file__).with_name("small.yaml")
ENV_FILE = Path(".env.aws")
ACCOUNT = "000000000000"


class DataPlane:
    """A data plane of a name that no other has, in one account, with all that was said of it."""

    def __init__(self, account: Account, console: Console, template: Path | None = SMALL) -> None:
        self.name = f"shop-{uuid4().hex[:8]}"
        self.prefix = self.name.replace("-", "_")
        self.account = account
        self.console = console
        self.template = template
        self.asked: list[str] = []

    def deploy(self, **parameters: str) -> dict[str, str]:
        """Deploys; a new one gets databases of its own."""
        if self.found is None or self.status == "ROLLBACK_COMPLETE":
            parameters = {"DatabasePrefix": self.prefix, "StandIn": "true", **parameters}
        return data_plane.deploy(
            self.name,
            parameters,
            template=self.template,
            account=self.account,
            console=self.console,
            poll_seconds=0.02,
        )

    def destroy(self, *typed: str | None, with_data: bool = False) -> None:
        """Destroys; None is what is asked for."""
        answers = iter(typed)

        def confirm(question: str, words: str) -> str:
            self.asked.append(question)
            text = next(answers)
            return words if text is None else text

        data_plane.destroy(
            self.name,
            confirm=confirm,
            with_data=with_data,
            account=self.account,
            console=self.console,
            poll_seconds=0.02,
        )

    @property
    def found(self) -> dict[str, Any] | None:
        cloudformation = self.account.cloudformation
        try:
            found: dict[str, Any] = cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]
        except cloudformation.exceptions.ClientError:
            return None
        return found

    @property
    def status(self) -> str:
        assert self.found is not None
        return str(self.found["StackStatus"])

    def output(self, key: str) -> str:
        assert self.found is not None
        return {o["OutputKey"]: str(o["OutputValue"]) for o in self.found["Outputs"]}[key]

    def keys(self, bucket: str) -> list[str]:
        answer = self.account.s3.list_objects_v2(Bucket=bucket)
        return [each["Key"] for each in answer.get("Contents", ())]

    def function(self) -> dict[str, Any]:
        name = self.output("IngestFunction")
        client = self.account.session.client("lambda")
        found: dict[str, Any] = client.get_function_configuration(FunctionName=name)
        return found


@pytest.fixture
def plane(account: Account, console: Console) -> DataPlane:
    """A data plane of the small template, not deployed yet."""
    return DataPlane(account, console)


@pytest.fixture
def deployed(plane: DataPlane) -> DataPlane:
    """A data plane of the small template."""
    plane.deploy()
    return plane


def exists(plane: DataPlane, bucket: str) -> bool:
    return bucket in {each["Name"] for each in plane.account.s3.list_buckets()["Buckets"]}


def databases(plane: DataPlane) -> set[str]:
    return {each["Name"] for each in plane.account.glue.get_databases()["DatabaseList"]}


def other_sources() -> Artifacts:
    real = build()
    return Artifacts("0123456789abcdef", dict(real.files))


def test_a_new_one_is_made_without_code_and_then_with_it(plane: DataPlane) -> None:
    values = plane.deploy(EventsPerSlot="50")
    release = build().release
    assert plane.keys(plane.output("ArtifactsBucket")) == [
        f"{release}/{name}" for name in ("event_pipeline.zip", "lambda.zip", "transform.py")
    ]
    assert plane.function()["Handler"] == "event_pipeline.ingest.handler.handler"
    assert values[f"{PREFIX}LAKE_BUCKET"] == plane.output("LakeBucket")
    said = shown(plane.console)
    assert f"Stack {plane.name} in {REGION} of account {ACCOUNT}, release {release}" in said
    assert said.index("CREATE_COMPLETE") < said.index("uploaded") < said.index("UPDATE_COMPLETE")
    assert said.endswith("Next: set -a; . ./.env.aws; set +a\n")
    for name, value in values.items():
        assert f"{name}={value}\n" in said


def test_the_function_runs_from_what_was_uploaded(plane: DataPlane) -> None:
    plane.deploy(EventsPerSlot="50")
    answer = plane.account.session.client("lambda").invoke(
        FunctionName=plane.output("IngestFunction"),
        Payload=json.dumps({"slot": "2026-01-01T10:00:00Z"}),
    )
    [result] = json.loads(answer["Payload"].read())["results"]
    assert result["key"] in plane.keys(plane.output("LakeBucket"))


def test_the_settings_are_read_from_the_env_file(deployed: DataPlane) -> None:
    code = "from event_pipeline.settings import read_settings as r; print(r().model_dump_json())"
    script = f"set -a; . ./{ENV_FILE}; set +a; exec {sys.executable} -c {code!r}"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        ["sh", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    settings = json.loads(done.stdout)
    assert settings["target"] == "aws"
    assert settings["lake_bucket"] == deployed.output("LakeBucket")
    assert settings["ingest_function"] == deployed.output("IngestFunction")


def test_again_nothing_is_changed_or_uploaded(deployed: DataPlane) -> None:
    before, file = deployed.found, ENV_FILE.read_text()
    deployed.deploy()
    assert deployed.found == before
    assert ENV_FILE.read_text() == file
    said = shown(deployed.console)
    assert said.count("uploaded") == said.count(" is already there\n") == 3
    assert f"{deployed.name} is up to date" in said


def test_parameters_that_are_not_given_stay(plane: DataPlane) -> None:
    plane.deploy(EventsPerSlot="50")
    plane.deploy()
    assert plane.function()["Environment"]["Variables"]["EVENT_PIPELINE_EVENTS_PER_SLOT"] == "50"
    plane.deploy(EventsPerSlot="60")
    assert plane.function()["Environment"]["Variables"]["EVENT_PIPELINE_EVENTS_PER_SLOT"] == "60"
    assert f"{plane.prefix}_silver" in databases(plane)


def test_a_parameter_that_the_template_lost_or_gained_is_no_matter(
    deployed: DataPlane, tmp_path: Path
) -> None:
    text = SMALL.read_text().replace("  EventsPerSlot: {Type: Number", "  Other: {Type: Number")
    deployed.template = tmp_path / "other.yaml"
    deployed.template.write_text(text.replace("!Ref EventsPerSlot", "!Ref Other"))
    deployed.deploy()
    variables = deployed.function()["Environment"]["Variables"]
    assert variables["EVENT_PIPELINE_EVENTS_PER_SLOT"] == "20000"


def test_other_sources_are_another_release_beside_the_first(
    deployed: DataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_plane, "build", other_sources)
    deployed.deploy()
    assert len(deployed.keys(deployed.output("ArtifactsBucket"))) == 6
    job = deployed.account.glue.get_job(JobName=deployed.output("GlueJob"))["Job"]
    assert other_sources().release in job["Command"]["ScriptLocation"]


def test_what_was_damaged_in_the_bucket_is_uploaded_again(deployed: DataPlane) -> None:
    bucket, release = deployed.output("ArtifactsBucket"), build().release
    good = build().files["lambda.zip"]
    deployed.account.s3.put_object(
        Bucket=bucket, Key=f"{release}/lambda.zip", Body=good[:-1] + b"!"
    )
    deployed.deploy()
    stored = deployed.account.s3.get_object(Bucket=bucket, Key=f"{release}/lambda.zip")
    assert stored["Body"].read() == good


def test_what_was_interrupted_before_the_upload_goes_on(
    plane: DataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> dict[str, bool]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(data_plane, "upload", interrupted)
        with pytest.raises(KeyboardInterrupt):
            plane.deploy()
    assert plane.status == "CREATE_COMPLETE"
    assert not ENV_FILE.exists()
    plane.deploy()
    assert plane.function()
    assert ENV_FILE.exists()


def test_an_update_that_fails_leaves_what_was(deployed: DataPlane) -> None:
    with pytest.raises(DeployError, match=r"UPDATE_ROLLBACK_COMPLETE: SilverDatabase .*as it was"):
        deployed.deploy(DatabasePrefix="nobody")
    assert f"{deployed.prefix}_silver" in databases(deployed)
    deployed.deploy()
    assert "is up to date" in shown(deployed.console)


def test_a_new_one_that_fails_is_made_again_by_the_same_command(
    plane: DataPlane, account: Account
) -> None:
    account.glue.create_database(DatabaseInput={"Name": f"{plane.prefix}_silver"})
    with pytest.raises(DeployError, match=r"ROLLBACK_COMPLETE: SilverDatabase .*already exists"):
        plane.deploy()
    assert plane.status == "ROLLBACK_COMPLETE"
    assert not [b for b in account.s3.list_buckets()["Buckets"] if plane.name in b["Name"]]
    account.glue.delete_database(Name=f"{plane.prefix}_silver")
    plane.deploy()
    assert plane.function()
    assert "was never complete" in shown(plane.console)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"Nope": "1"}, "has no parameter Nope; it has: DatabasePrefix, EventsPerSlot, StandIn$"),
        ({"EventsPerSlot": "0"}, "CreateChangeSet: ValidationError: .*EventsPerSlot"),
    ],
)
def test_a_wrong_parameter_is_named_and_nothing_is_made(
    plane: DataPlane, parameters: dict[str, str], told: str
) -> None:
    with pytest.raises(DeployError, match=told):
        plane.deploy(**parameters)
    assert plane.found is None


def test_a_stack_of_something_else_is_left_alone(plane: DataPlane, account: Account) -> None:
    body = json.dumps({"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}})
    account.cloudformation.create_stack(StackName=plane.name, TemplateBody=body)
    account.cloudformation.get_waiter("stack_create_complete").wait(
        StackName=plane.name, WaiterConfig={"Delay": 0.1}
    )
    before = plane.found
    for act in (plane.deploy, lambda: plane.destroy(None, None, with_data=True)):
        with pytest.raises(DeployError, match="is a different kind of stack"):
            act()
    assert plane.found == before


def test_a_foreign_env_file_is_noticed_before_anything_is_made(plane: DataPlane) -> None:
    ENV_FILE.write_text("MINE=1\n")
    with pytest.raises(DeployError, match="name another file with --env-file"):
        plane.deploy()
    assert plane.found is None


def test_a_long_template_is_read_from_the_bucket(deployed: DataPlane, tmp_path: Path) -> None:
    deployed.template = tmp_path / "long.yaml"
    comment = f"# {'long' * 20}\n" * 700
    deployed.template.write_text(
        SMALL.read_text().replace("Default: 20000", "Default: 30000") + comment
    )
    deployed.deploy(EventsPerSlot="70")
    assert deployed.function()["Environment"]["Variables"]["EVENT_PIPELINE_EVENTS_PER_SLOT"] == "70"


def test_a_long_template_of_a_new_stack_is_told(plane: DataPlane, tmp_path: Path) -> None:
    plane.template = tmp_path / "long.yaml"
    plane.template.write_text(SMALL.read_text() + f"# {'long' * 20}\n" * 700)
    with pytest.raises(DeployError, match=r"has [\d,]+ bytes; a new stack's may have 51,200"):
        plane.deploy()
    assert plane.found is None


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("CREATE_FAILED", "event-pipeline destroy shop"),
        ("ROLLBACK_FAILED", "event-pipeline destroy shop"),
        ("DELETE_FAILED", "event-pipeline destroy shop"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name shop"),
    ],
)
def test_a_stack_that_cannot_be_changed_says_what_to_do(
    signed_in: Account, console: Console, status: str, told: str
) -> None:
    signed_in.number = ACCOUNT
    found = {
        "StackName": "shop",
        "StackStatus": status,
        "CreationTime": "2026-11-24T12:00:00Z",
        "Parameters": [{"ParameterKey": key} for key in ("Release", "DatabasePrefix")],
    }
    with Stubber(signed_in.cloudformation) as cloud:
        cloud.add_response("describe_stacks", {"Stacks": [found]})
        with pytest.raises(DeployError, match=f"shop is {status}: .*{told}"):
            data_plane.deploy("shop", {}, template=SMALL, account=signed_in, console=console)


def test_destroyed_without_data_the_lake_its_key_and_its_databases_stay(
    deployed: DataPlane,
) -> None:
    lake, artifacts = deployed.output("LakeBucket"), deployed.output("ArtifactsBucket")
    pipes, results = deployed.output("PipesBucket"), deployed.output("ResultsBucket")
    for bucket in (lake, pipes, results):
        for data in (b"first", b"second"):
            deployed.account.s3.put_object(Bucket=bucket, Key="some", Body=data)
    deployed.account.s3.delete_object(Bucket=results, Key="some")
    deployed.destroy(None)
    assert deployed.found is None
    assert [exists(deployed, each) for each in (lake, artifacts, pipes, results)] == [
        True,
        *[False] * 3,
    ]
    versions = deployed.account.s3.list_object_versions(Bucket=lake)["Versions"]
    assert len(versions) == 2
    assert f"{deployed.prefix}_silver" in databases(deployed)
    said = shown(deployed.console)
    stays = said[said.index("Kept, but no longer part of a stack") :]
    assert "AWS::KMS::Key" in stays
    assert f"{deployed.prefix}_silver" in stays
    assert f"{lake} " in stays
    assert " 2 " in stays
    assert "11 bytes" in stays
    assert "another DatabasePrefix" in stays


def test_other_words_than_those_asked_for_delete_nothing(deployed: DataPlane) -> None:
    lake = deployed.output("LakeBucket")
    deployed.account.s3.put_object(Bucket=lake, Key="some", Body=b"data")
    before = deployed.found
    for typed in ("", "yes", "y", deployed.name.upper(), f"delete {deployed.name}"):
        with pytest.raises(DeployError, match="nothing was deleted"):
            deployed.destroy(typed)
    for typed in ("", "yes", deployed.name, f"delete 2 objects of {lake}"):
        with pytest.raises(DeployError, match="nothing was deleted"):
            deployed.destroy(None, typed, with_data=True)
    assert deployed.found == before
    assert deployed.keys(lake) == ["some"]
    assert deployed.keys(deployed.output("ArtifactsBucket"))


def test_told_twice_the_data_goes_too_every_version_of_it(deployed: DataPlane) -> None:
    lake, s3 = deployed.output("LakeBucket"), deployed.account.s3
    for data in (b"1" * 1000, b"2" * 500):
        s3.put_object(Bucket=lake, Key="some", Body=data)
    # Each leaves a mark of its deletion, which keeps the bucket as an object does.
    marks = [{"Key": str(n)} for n in range(1000)]
    s3.delete_objects(Bucket=lake, Delete={"Objects": marks})
    deployed.destroy(None, None, with_data=True)
    assert deployed.asked[1].endswith(f"type delete 1002 objects of {lake}")
    assert deployed.found is None
    assert not exists(deployed, lake)
    assert f"{deployed.prefix}_silver" not in databases(deployed)
    assert "1.5 kB" in shown(deployed.console)
    assert shown(deployed.console).endswith("Nothing is left\n")


def test_the_key_of_deleted_data_can_be_had_back_for_a_month(deployed: DataPlane) -> None:
    [key] = [
        each["PhysicalResourceId"]
        for each in deployed.account.cloudformation.describe_stack_resources(
            StackName=deployed.name
        )["StackResources"]
        if each["ResourceType"] == "AWS::KMS::Key"
    ]
    deployed.destroy(None, None, with_data=True)
    about = deployed.account.kms.describe_key(KeyId=key)["KeyMetadata"]
    assert about["KeyState"] == "PendingDeletion"


def test_an_output_that_names_anothers_bucket_empties_nothing(
    deployed: DataPlane, account: Account, tmp_path: Path
) -> None:
    other = f"others-{deployed.name}"
    account.s3.create_bucket(Bucket=other, CreateBucketConfiguration={"LocationConstraint": REGION})
    account.s3.put_object(Bucket=other, Key="some", Body=b"data")
    deployed.template = tmp_path / "other.yaml"
    text = SMALL.read_text()
    for mine in ("ResultsBucket", "LakeBucket"):
        text = text.replace(f"  {mine}: {{Value: !Ref {mine}}}", f"  {mine}: {{Value: {other}}}")
    deployed.template.write_text(text)
    deployed.deploy(EventsPerSlot="5")
    assert deployed.output("LakeBucket") == other
    deployed.destroy(None, with_data=True)
    assert deployed.keys(other) == ["some"]


def test_a_bucket_in_which_something_cannot_be_deleted_is_named(
    deployed: DataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = {"Errors": [{"Key": "a", "Code": "AccessDenied", "Message": "locked"}]}
    monkeypatch.setattr(deployed.account.s3, "delete_objects", lambda **_: refused)
    with pytest.raises(DeployError, match="cannot be emptied: a: AccessDenied: locked"):
        deployed.destroy(None)
    assert deployed.found is not None


def test_data_that_cannot_be_deleted_is_named_with_all_that_is_left(
    deployed: DataPlane, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = deployed.output("LakeBucket")
    denied = account.kms.exceptions.ClientError({"Error": {"Code": "X", "Message": "no"}}, "Y")

    def refuse(**_: object) -> None:
        raise denied

    monkeypatch.setattr(account.kms, "schedule_key_deletion", refuse)
    with pytest.raises(DeployError, match=r"X.*no.*The stack is deleted, but AWS::KMS::Key"):
        deployed.destroy(None, None, with_data=True)
    assert not exists(deployed, lake)


def test_what_is_not_there_cannot_be_destroyed(plane: DataPlane) -> None:
    with pytest.raises(DeployError, match=f"there is no stack {plane.name} in {REGION}"):
        plane.destroy(None)


def test_the_template_is_that_of_the_clone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert template_path() == PACKAGE.parent / "infra" / "data_plane.yaml"
    monkeypatch.setattr(data_plane, "PACKAGE", tmp_path / "site-packages" / "event_pipeline")
    with pytest.raises(DeployError, match="in a clone of the repository"):
        template_path()


def test_a_template_that_cannot_be_read_is_named(signed_in: Account) -> None:
    with pytest.raises(DeployError, match=r"the template nope\.yaml cannot be read"):
        data_plane.deploy("shop", {}, template=Path("nope.yaml"), account=signed_in)


def test_parameters_are_names_and_values() -> None:
    words = ["GlueWorkers=4", "AlarmEmail=", "ScheduleExpression=cron(0/5 * * * ? *)", "A=b=c"]
    assert given_parameters(words) == {
        "GlueWorkers": "4",
        "AlarmEmail": "",
        "ScheduleExpression": "cron(0/5 * * * ? *)",
        "A": "b=c",
    }


@pytest.mark.parametrize("word", ["GlueWorkers", "=4", "", "Release=abc"])
def test_what_is_no_parameter_is_told(word: str) -> None:
    with pytest.raises(DeployError, match=r"not a parameter|Release cannot be given"):
        given_parameters([word])


def test_the_real_template_is_deployed_and_destroyed(account: Account, console: Console) -> None:
    plane = DataPlane(account, console, template=None)
    values = plane.deploy(ScheduleState="DISABLED")
    names = {name.removeprefix(PREFIX).lower() for name in values if name.startswith(PREFIX)}
    assert names < set(Settings.model_fields)
    buckets = [plane.output(key) for key in ("LakeBucket", "ResultsBucket", "PipesBucket")]
    for bucket in buckets:
        account.s3.put_object(Bucket=bucket, Key="some", Body=b"data")
    plane.deploy(EventsPerSlot="30")
    plane.destroy(None)
    assert [exists(plane, bucket) for bucket in buckets] == [True, False, False]


def test_the_real_template_fits_a_new_stack_and_names_no_role() -> None:
    text = template_path().read_text()
    assert len(text.encode()) <= data_plane.LONGEST_BODY
    # A custom name would need another capability.
    assert not re.search(r"^ +(RoleName|UserName|GroupName|ManagedPolicyName):", text, re.M)
