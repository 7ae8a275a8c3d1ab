"""Deploys the data plane from the sources, and destroys it with or without its data."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from rich.console import Console
from rich.filesize import decimal

from event_pipeline.deploy import env_file as env
from event_pipeline.deploy.account import Account, DeployError, translate_errors
from event_pipeline.deploy.artifacts import PACKAGE, build
from event_pipeline.deploy.buckets import Contents, contents, empty, upload
from event_pipeline.deploy.named_queries import with_named_queries
from event_pipeline.deploy.stack import POLL_SECONDS, REVIEW, Json, Stack, print_line
from event_pipeline.errors import in_short
from event_pipeline.terminal import print_records, stdout

TEMPLATE = "infra/data_plane.yaml"
# The most bytes of a template in a request. In a bucket, a template may have 1,000,000.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
LONGEST_BODY = 51_200

# Only this module sets this parameter. A stack that has all of OURS was made from our template.
RELEASE = "Release"
OURS = frozenset({RELEASE, "DatabasePrefix"})
LAKE = "LakeBucket"
ARTIFACTS = "ArtifactsBucket"
# Buckets whose contents can be made again.
PASSING = ("ResultsBucket", "PipesBucket", ARTIFACTS)

# Days until a deleted key is gone; until then it can be restored. KMS allows no more.
KEY_WAITS_DAYS = 30
# How often a deletion is tried: a job that still runs may write to a bucket that was just emptied.
DELETIONS = 3
GONE = frozenset({"EntityNotFoundException", "NoSuchBucket", "NotFoundException"})
UNUSABLE = {
    "CREATE_FAILED": "event-pipeline destroy {0} removes it",
    "ROLLBACK_FAILED": "event-pipeline destroy {0} removes it",
    "DELETE_FAILED": "event-pipeline destroy {0} removes the rest of it",
    "UPDATE_ROLLBACK_FAILED": (
        "let it finish first: aws cloudformation continue-update-rollback --stack-name {0}"
    ),
}

# Asks a person, and returns what was typed. The arguments are the question and the words that mean
# yes.
Confirm = Callable[[str, str], str]


def deploy(
    name: str,
    parameters: Mapping[str, str],
    *,
    template: Path | None = None,
    env_file: Path = env.ENV_FILE,
    replace_data: bool = False,
    account: Account | None = None,
    console: Console | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> dict[str, str]:
    """Makes the stack or brings it up to date; returns the variables of the env file.

    `parameters` are the template's; those that are not given keep their values. With
    `replace_data`, changes may replace what holds data. Changes, progress and the env file are
    printed. Raises DeployError.
    """
    account, console = account or Account(), console or stdout()
    text = _read(template or template_path())
    artifacts = build()
    with translate_errors():
        where = _location(account, name)
        env.check(env_file, where)
        print_line(console, f"Stack {where}, release {artifacts.release}")
        stack = Stack(account, name, console, poll_seconds)
        found = _usable(stack, console)
        if found is None:
            body = _body(text)
            stack.change(body, _parameters(account, body, {**parameters, RELEASE: ""}), new=True)
            found, parameters = _described(stack), {}
        bucket = _outputs(found)[ARTIFACTS]
        # Now there is a bucket, from which CloudFormation can read a long template.
        body = _body(with_named_queries(text), account, bucket)
        given = _parameters(account, body, {**parameters, RELEASE: artifacts.release}, found)
        for key, is_new in upload(account.s3, bucket, artifacts).items():
            print_line(
                console, f"s3://{bucket}/{key} {'uploaded' if is_new else 'is already there'}"
            )
        if not stack.change(body, given, new=False, replace_data=replace_data):
            print_line(console, f"{name} is up to date")
        values = env.environment(_outputs(_described(stack)), account.region)
    env.write(env_file, values, where)
    for line in ("", *env.lines(values), "", f"Next: {env.how_to_read(env_file)}"):
        print_line(console, line)
    return values


def destroy(
    name: str,
    *,
    confirm: Confirm,
    with_data: bool = False,
    account: Account | None = None,
    console: Console | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> None:
    """Deletes the stack; `with_data` also deletes the lake, its tables' databases and its key.

    Before anything is deleted, `confirm` must return the words that it is given: the stack's name
    and, for the data, `delete N objects of BUCKET`. Raises DeployError.
    """
    account, console = account or Account(), console or stdout()
    with translate_errors():
        where = _location(account, name)
        stack = Stack(account, name, console, poll_seconds)
        found = stack.settled()
        if found is None:
            raise DeployError(f"there is no stack {where}")
        _check_is_data_plane(found)
        resources, outputs = stack.resources(), _outputs(found)
        # An output may name any bucket, but only buckets that the stack made may be deleted.
        made = {_id(each) for each in resources if each["ResourceType"] == "AWS::S3::Bucket"}
        lake = outputs[LAKE] if outputs.get(LAKE) in made else None
        passing = [outputs[key] for key in PASSING if outputs.get(key) in made - {lake}]
        sizes = {
            bucket: contents(account.s3, bucket) for bucket in ([lake] if lake else []) + passing
        }
        _print_buckets(sizes, f"Stack {where}", console, stays=() if with_data else (lake,))
        _ask(confirm, f"To delete the stack {where}, type {{}}", name)
        if lake and with_data:
            words = f"delete {sizes[lake].objects} objects of {lake}"
            _ask(confirm, "To delete its data too, permanently, type {}", words)

        def empty_all() -> None:
            for bucket in passing:
                empty(account.s3, bucket)

        deleted = stack.delete(found, before=empty_all, tries=DELETIONS)
        kept = [each for each in resources if each["LogicalResourceId"] not in deleted]
        if lake and with_data:
            kept = _delete_data(account, lake, kept, console)
    _print_kept(kept, sizes, console)


def template_path() -> Path:
    """The template in the clone that this package runs from. Raises DeployError without a clone."""
    path = PACKAGE.parent / TEMPLATE
    if not path.is_file():
        raise DeployError(
            f"there is no {path}: run this in a clone of the repository, or name the file with "
            f"--template"
        )
    return path


def given_parameters(words: Iterable[str]) -> dict[str, str]:
    """The values by name in words such as `Name=value`. Raises DeployError for other words."""
    found = {}
    for word in words:
        name, is_given, value = word.partition("=")
        if not name or not is_given:
            raise DeployError(
                f"{word!r} is not a parameter: write Name=value, for example GlueWorkers=4"
            )
        if name == RELEASE:
            raise DeployError(f"{RELEASE} cannot be given: it is computed from the sources")
        found[name] = value
    return found


def _location(account: Account, name: str) -> str:
    return f"{name} in {account.region} of account {account.number}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DeployError(f"the template {path} cannot be read: {error}") from None


def _usable(stack: Stack, console: Console) -> Json | None:
    """The stack if it can be updated; None if it has to be made first. Raises DeployError."""
    found = stack.settled()
    if found is None or found["StackStatus"] == REVIEW:
        return None
    _check_is_data_plane(found)
    status = found["StackStatus"]
    if status == "ROLLBACK_COMPLETE":
        print_line(console, f"{stack.name} was never complete; its remains are removed first")
        stack.delete(found)
        return None
    if status in UNUSABLE:
        raise DeployError(f"{stack.name} is {status}: {UNUSABLE[status].format(stack.name)}")
    return found


def _check_is_data_plane(found: Json) -> None:
    """Raises DeployError if the stack was not made from this template."""
    names = {parameter["ParameterKey"] for parameter in found.get("Parameters", ())}
    if found["StackStatus"] != REVIEW and not names >= OURS:
        raise DeployError(
            f"{found['StackName']} is a different kind of stack: it has no parameter "
            f"{' or '.join(sorted(OURS - names))}. Choose another name"
        )


def _described(stack: Stack) -> Json:
    found = stack.find()
    if found is None:
        raise DeployError(f"{stack.name} was deleted in the meantime")
    return found


def _outputs(found: Mapping[str, Any]) -> dict[str, str]:
    return {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())}


def _body(text: str, account: Account | None = None, bucket: str = "") -> dict[str, str]:
    """The template as a part of a request: its text or, if it is too long, its address in a bucket.

    Raises DeployError if it is too long and there is no bucket yet.
    """
    data = text.encode()
    if len(data) <= LONGEST_BODY:
        return {"TemplateBody": text}
    if account is None:
        raise DeployError(
            f"the template has {len(data):,} bytes; a new stack's may have {LONGEST_BODY:,}, as "
            f"longer ones are read from a bucket, and there is none yet. Shorten it"
        )
    key = f"templates/{hashlib.sha256(data).hexdigest()}.yaml"
    account.s3.put_object(Bucket=bucket, Key=key, Body=data)
    return {"TemplateURL": f"{account.s3.meta.endpoint_url}/{bucket}/{key}"}


def _parameters(
    account: Account, body: Mapping[str, str], given: Mapping[str, str], found: Json | None = None
) -> list[Json]:
    """A request's parameters: the given ones, and the others with the values that the stack has.

    Raises DeployError for parameters that the template does not have.
    """
    summary = account.cloudformation.get_template_summary(**body)
    declared = [parameter["ParameterKey"] for parameter in summary["Parameters"]]
    if unknown := sorted(set(given) - set(declared)):
        choices = ", ".join(name for name in declared if name != RELEASE)
        raise DeployError(f"the template has no parameter {in_short(unknown)}; it has: {choices}")
    before = {parameter["ParameterKey"] for parameter in (found or {}).get("Parameters", ())}
    return [
        {"ParameterKey": name, "ParameterValue": given[name]}
        if name in given
        else {"ParameterKey": name, "UsePreviousValue": True}
        for name in declared
        if name in given or name in before
    ]


def _ask(confirm: Confirm, question: str, words: str) -> None:
    if confirm(question.format(words), words).strip() != words:
        raise DeployError("nothing was deleted, since something else was typed")


def _delete_data(account: Account, lake: str, kept: Sequence[Json], console: Console) -> list[Json]:
    """Deletes the lake, its databases and its key from what a stack kept; returns what is left.

    Raises DeployError, with all that is left, if something cannot be deleted.
    """
    left = list(kept)
    kinds: dict[str, Callable[[str], object]] = {
        "AWS::S3::Bucket": partial(_delete_lake, account.s3, lake),
        "AWS::Glue::Database": lambda name: account.glue.delete_database(Name=name),
        "AWS::KMS::Key": lambda key: account.kms.schedule_key_deletion(
            KeyId=key, PendingWindowInDays=KEY_WAITS_DAYS
        ),
    }
    for kind, delete in kinds.items():
        for each in [e for e in kept if e["ResourceType"] == kind]:
            try:
                _unless_gone(delete, _id(each))
            except (ClientError, DeployError) as error:
                names = in_short([f"{e['ResourceType']} {_id(e)}" for e in left])
                raise DeployError(f"{error}. The stack is deleted, but {names} remain") from error
            left.remove(each)
            when = f", effective in {KEY_WAITS_DAYS} days" if kind == "AWS::KMS::Key" else ""
            print_line(console, f"{each['LogicalResourceId']} {_id(each)} deleted{when}")
    return left


def _unless_gone(delete: Callable[[str], object], name: str) -> None:
    try:
        delete(name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in GONE:
            raise


def _delete_lake(s3: Any, lake: str, bucket: str) -> None:
    """Deletes a bucket. Empties only the lake first, because only its data was given up."""
    if bucket == lake:
        empty(s3, bucket)
    s3.delete_bucket(Bucket=bucket)


def _print_buckets(
    sizes: Mapping[str, Contents], title: str, console: Console, stays: Sequence[str | None]
) -> None:
    records = [
        {
            "bucket": bucket,
            "objects": size.objects,
            "size": decimal(size.bytes),
            "then": "stays" if bucket in stays else "deleted",
        }
        for bucket, size in sizes.items()
    ]
    print_records(records, title, console)


def _print_kept(kept: Sequence[Json], sizes: Mapping[str, Contents], console: Console) -> None:
    if not kept:
        print_line(console, "Nothing is left")
        return
    records = [
        {
            "type": each["ResourceType"],
            "name": _id(each),
            "objects": sizes[_id(each)].objects if _id(each) in sizes else None,
            "size": decimal(sizes[_id(each)].bytes) if _id(each) in sizes else None,
        }
        for each in kept
    ]
    print_records(records, "Kept, but no longer part of a stack", console)
    if any(each["ResourceType"] == "AWS::Glue::Database" for each in kept):
        print_line(console, "A new stack needs another DatabasePrefix than these databases have")


def _id(resource: Json) -> str:
    return str(resource.get("PhysicalResourceId", ""))
