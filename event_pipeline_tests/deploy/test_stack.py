"""A stack under change: CloudFormation's answers, good and bad, and what a person is told."""

import io
import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import botocore.endpoint
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.stub import ANY, Stubber
from rich.console import Console

from event_pipeline.deploy.account import Account, DeployError, translate_errors
from event_pipeline.deploy.stack import Stack
from event_pipeline_tests.conftest import clock
from event_pipeline_tests.deploy.conftest import shown

Json = dict[str, Any]

ID = "arn:aws:cloudformation:eu-west-1:123456789012:stack/shop/1"
SET = "arn:aws:cloudformation:eu-west-1:123456789012:changeSet/x/1"
BODY = {"TemplateBody": "{}"}
NO_CHANGES = (
    "The submitted information didn't contain changes. "
    "Submit different information to create a change set."
)
NUMBERS = itertools.count()


@pytest.fixture
def cloud(signed_in: Account) -> Iterator[Stubber]:
    """CloudFormation as a script of answers; all are asked for."""
    with Stubber(signed_in.cloudformation) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def stack(cloud: Stubber, signed_in: Account, console: Console) -> Stack:
    """A stack that is looked at without pauses."""
    return Stack(signed_in, "shop", console, poll_seconds=0)


def described(status: str) -> Json:
    return {"StackName": "shop", "StackId": ID, "StackStatus": status, "CreationTime": at(0)}


def at(second: int) -> datetime:
    return datetime(2026, 11, 24, 12, 0, second, tzinfo=UTC)


def event(resource: str, status: str, reason: str | None = None) -> Json:
    is_stack = resource == "shop"
    return {
        "StackId": ID,
        "StackName": "shop",
        "EventId": f"event-{next(NUMBERS)}",
        "LogicalResourceId": resource,
        "PhysicalResourceId": ID if is_stack else f"{resource}-1",
        "ResourceType": "AWS::CloudFormation::Stack" if is_stack else "AWS::S3::Bucket",
        "ResourceStatus": status,
        "Timestamp": at(1),
        **({"ResourceStatusReason": reason} if reason else {}),
    }


def tells(cloud: Stubber, events: Sequence[Json], token: str | None = None) -> None:
    """Events as they are asked for: given oldest first, told newest first."""
    answer: Json = {"StackEvents": list(reversed(events))}
    if token:
        answer["NextToken"] = token
    cloud.add_response("describe_stack_events", answer)


def makes_change_set(
    cloud: Stubber, *changes: Json, status: str = "CREATE_COMPLETE", reason: str = ""
) -> None:
    cloud.add_response("create_change_set", {"Id": SET, "StackId": ID})
    cloud.add_response("describe_change_set", {"Status": "CREATE_IN_PROGRESS", "Changes": []})
    answer = {
        "Status": status,
        "StatusReason": reason,
        "Changes": [{"Type": "Resource", "ResourceChange": change} for change in changes],
    }
    cloud.add_response("describe_change_set", answer)


def executes(cloud: Stubber, before: Sequence[Json], *polls: Sequence[Json]) -> None:
    """An operation on a stack that had events before; of it each look tells more."""
    tells(cloud, before)
    cloud.add_response("execute_change_set", {})
    for n in range(len(polls)):
        tells(cloud, [*before, *itertools.chain(*polls[: n + 1])])


def change(action: str, replacement: str = "", kind: str = "AWS::S3::Bucket") -> Json:
    found = {"Action": action, "LogicalResourceId": "LakeBucket", "ResourceType": kind}
    return found | ({"Replacement": replacement} if replacement else {})


def test_changes_and_progress_are_shown_once_and_in_order(
    cloud: Stubber, stack: Stack, console: Console
) -> None:
    makes_change_set(cloud, change("Modify", "False"))
    old = [event("shop", "CREATE_COMPLETE")]
    first = [event("shop", "UPDATE_IN_PROGRESS", "User Initiated")]
    second = [event("LakeBucket", "UPDATE_COMPLETE"), event("shop", "UPDATE_COMPLETE")]
    executes(cloud, old, first, [], second)
    assert stack.change(BODY, [], new=False)
    said = shown(console)
    assert "Modify   LakeBucket   AWS::S3::Bucket   False" in said
    lines = [line for line in said.splitlines() if ":00:01 " in line]
    assert [line.split(maxsplit=1)[1] for line in lines] == [
        "UPDATE_IN_PROGRESS      shop  AWS::CloudFormation::Stack  User Initiated",
        "UPDATE_COMPLETE         LakeBucket  AWS::S3::Bucket",
        "UPDATE_COMPLETE         shop  AWS::CloudFormation::Stack",
    ]


def test_events_are_read_back_over_pages_to_the_last_that_was_seen(
    cloud: Stubber, stack: Stack, console: Console
) -> None:
    makes_change_set(cloud, change("Add"))
    old = [event("shop", "REVIEW_IN_PROGRESS")]
    tells(cloud, old)
    cloud.add_response("execute_change_set", {})
    tells(cloud, [event("Third", "CREATE_COMPLETE"), event("shop", "CREATE_COMPLETE")], "page 2")
    tells(cloud, [event("First", "CREATE_COMPLETE"), event("Second", "CREATE_COMPLETE")], "page 3")
    tells(cloud, [*old, event("shop", "CREATE_IN_PROGRESS")], "never asked for")
    assert stack.change(BODY, [], new=True)
    said = shown(console)
    assert said.index("First") < said.index("Second") < said.index("Third")
    assert "REVIEW" not in said


def test_no_changes_is_no_failure(cloud: Stubber, stack: Stack) -> None:
    makes_change_set(cloud, status="FAILED", reason=NO_CHANGES)
    cloud.add_response("delete_change_set", {}, {"ChangeSetName": SET})
    assert not stack.change(BODY, [], new=False)


def test_outputs_alone_may_change(cloud: Stubber, stack: Stack) -> None:
    makes_change_set(cloud)
    executes(cloud, [event("shop", "CREATE_COMPLETE")], [event("shop", "UPDATE_COMPLETE")])
    assert stack.change(BODY, [], new=False)


def test_a_change_set_that_fails_is_told_and_leaves_nothing(cloud: Stubber, stack: Stack) -> None:
    reason = "Template error: instance of Fn::GetAtt references undefined resource Nope"
    makes_change_set(cloud, status="FAILED", reason=reason)
    cloud.add_response("delete_stack", {}, {"StackName": ID})
    with pytest.raises(DeployError, match=f"the change set of shop failed: {reason}"):
        stack.change(BODY, [], new=True)


def test_a_rollback_names_what_failed_first_and_not_what_was_cancelled(
    cloud: Stubber, stack: Stack
) -> None:
    makes_change_set(cloud, change("Modify", "False"))
    events = [
        event("shop", "UPDATE_IN_PROGRESS"),
        event("LakeBucket", "UPDATE_FAILED", "The KMS key is pending deletion"),
        event("PipesBucket", "UPDATE_FAILED", "Resource update cancelled"),
        event("shop", "UPDATE_ROLLBACK_IN_PROGRESS", "The following resource(s) failed to update"),
        event("LakeBucket", "UPDATE_COMPLETE"),
        event("shop", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"),
    ]
    executes(cloud, [event("shop", "A")], events, [event("shop", "UPDATE_ROLLBACK_COMPLETE")])
    with pytest.raises(DeployError) as failure:
        stack.change(BODY, [], new=False)
    assert str(failure.value) == (
        "shop is UPDATE_ROLLBACK_COMPLETE: LakeBucket (AWS::S3::Bucket): "
        "The KMS key is pending deletion. Everything is as it was before"
    )


def test_a_stack_that_fails_as_a_whole_says_why(cloud: Stubber, stack: Stack) -> None:
    makes_change_set(cloud, change("Add"))
    executes(
        cloud,
        [event("shop", "REVIEW_IN_PROGRESS")],
        [
            event("shop", "ROLLBACK_IN_PROGRESS", "Output Workgroup cannot be resolved"),
            event("shop", "ROLLBACK_COMPLETE"),
        ],
    )
    with pytest.raises(DeployError, match="ROLLBACK_COMPLETE: Output Workgroup cannot be resolved"):
        stack.change(BODY, [], new=True)


@pytest.mark.parametrize("kind", ["AWS::S3::Bucket", "AWS::KMS::Key", "AWS::Glue::Database"])
@pytest.mark.parametrize("how", [("Remove", ""), ("Modify", "True")])
def test_what_holds_data_is_replaced_only_if_that_is_asked_for(
    cloud: Stubber, stack: Stack, kind: str, how: tuple[str, str]
) -> None:
    makes_change_set(cloud, change(*how, kind))
    cloud.add_response("delete_change_set", {}, {"ChangeSetName": SET})
    with pytest.raises(DeployError, match=f"LakeBucket .{kind}.*Nothing was changed"):
        stack.change(BODY, [], new=False)
    makes_change_set(cloud, change(*how, kind))
    executes(cloud, [event("shop", "A")], [event("shop", "UPDATE_COMPLETE")])
    assert stack.change(BODY, [], new=False, replace_data=True)


@pytest.mark.parametrize("replacement", ["False", "Conditional"])
def test_what_may_stay_in_its_place_is_no_replacement(
    cloud: Stubber, stack: Stack, replacement: str
) -> None:
    makes_change_set(cloud, change("Modify", replacement))
    executes(cloud, [event("shop", "A")], [event("shop", "UPDATE_COMPLETE")])
    assert stack.change(BODY, [], new=False)


def test_what_goes_on_is_waited_for_in_sight(
    cloud: Stubber, stack: Stack, console: Console
) -> None:
    old = [event("shop", "UPDATE_IN_PROGRESS")]
    cloud.add_response("describe_stacks", {"Stacks": [described("UPDATE_IN_PROGRESS")]})
    tells(cloud, old)
    for status in ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_COMPLETE"):
        old.append(event("shop", status))
        tells(cloud, old)
        cloud.add_response("describe_stacks", {"Stacks": [described(status)]})
    found = stack.settled()
    assert found is not None
    assert found["StackStatus"] == "UPDATE_COMPLETE"
    said = shown(console)
    assert said.startswith("shop is UPDATE_IN_PROGRESS: waiting for it to finish")
    assert said.count("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS") == 1


def test_a_stack_that_is_deleted_meanwhile_is_none(cloud: Stubber, stack: Stack) -> None:
    cloud.add_response("describe_stacks", {"Stacks": [described("DELETE_IN_PROGRESS")]})
    tells(cloud, [event("shop", "DELETE_IN_PROGRESS")])
    tells(cloud, [event("shop", "DELETE_IN_PROGRESS")])
    cloud.add_client_error(
        "describe_stacks", "ValidationError", "Stack with id shop does not exist"
    )
    assert stack.settled() is None


def test_a_stack_under_review_is_not_waited_for(cloud: Stubber, stack: Stack) -> None:
    cloud.add_response("describe_stacks", {"Stacks": [described("REVIEW_IN_PROGRESS")]})
    assert stack.settled()


def test_other_errors_are_not_taken_for_no_stack(cloud: Stubber, stack: Stack) -> None:
    cloud.add_client_error("describe_stacks", "AccessDenied", "not authorized to perform: x")
    with (
        pytest.raises(DeployError, match="DescribeStacks: AccessDenied: not authorized"),
        translate_errors(),
    ):
        stack.find()


def test_a_deletion_that_fails_is_tried_again_with_what_comes_before_it(
    cloud: Stubber, stack: Stack
) -> None:
    last = event("shop", "UPDATE_COMPLETE")
    failed = [
        event("IngestFunction", "DELETE_COMPLETE"),
        event("LakeBucket", "DELETE_SKIPPED"),
        event("PipesBucket", "DELETE_FAILED", "The bucket you tried to delete is not empty"),
        event("shop", "DELETE_FAILED"),
    ]
    done = [event("PipesBucket", "DELETE_COMPLETE"), event("shop", "DELETE_COMPLETE")]
    tells(cloud, [last])
    cloud.add_response("delete_stack", {}, {"StackName": ID, "ClientRequestToken": ANY})
    tells(cloud, [last, *failed])
    tells(cloud, [last, *failed])
    cloud.add_response("delete_stack", {}, {"StackName": ID, "ClientRequestToken": ANY})
    tells(cloud, [last, *failed, *done])
    calls: list[int] = []
    deleted = stack.delete(described("UPDATE_COMPLETE"), before=lambda: calls.append(1), tries=2)
    assert deleted == {"IngestFunction", "PipesBucket", "shop"}
    assert len(calls) == 2


def test_a_deletion_that_never_succeeds_names_what_stays_and_why(
    cloud: Stubber, stack: Stack
) -> None:
    tells(cloud, [])
    cloud.add_response("delete_stack", {})
    reason = "The bucket you tried to delete is not empty"
    tells(cloud, [event("PipesBucket", "DELETE_FAILED", reason), event("shop", "DELETE_FAILED")])
    with pytest.raises(DeployError, match=f"shop is DELETE_FAILED: PipesBucket .*{reason}"):
        stack.delete(described("UPDATE_COMPLETE"))


def test_a_stack_under_review_is_gone_when_it_is_not_found(cloud: Stubber, stack: Stack) -> None:
    tells(cloud, [event("shop", "REVIEW_IN_PROGRESS")])
    cloud.add_response("delete_stack", {})
    cloud.add_response("describe_stacks", {"Stacks": [described("DELETE_IN_PROGRESS")]})
    cloud.add_client_error(
        "describe_stacks", "ValidationError", "Stack with id shop does not exist"
    )
    assert stack.delete(described("REVIEW_IN_PROGRESS")) == set()


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "RequestExpired"])
def test_credentials_that_expire_on_the_way_say_how_to_go_on(
    cloud: Stubber, stack: Stack, code: str
) -> None:
    makes_change_set(cloud, change("Add"))
    tells(cloud, [])
    cloud.add_response("execute_change_set", {})
    cloud.add_client_error("describe_stack_events", code, "The security token is expired")
    with (
        pytest.raises(
            DeployError, match=r"expired: sign in again .* repeat the command; .* continues"
        ),
        translate_errors(),
    ):
        stack.change(BODY, [], new=True)


def test_an_interrupt_says_that_it_goes_on(
    cloud: Stubber, stack: Stack, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    makes_change_set(cloud, change("Add"))
    tells(cloud, [])
    cloud.add_response("execute_change_set", {})

    naps = itertools.count()

    def interrupted(seconds: float) -> None:
        if next(naps):  # the first is before the change set is ready
            raise KeyboardInterrupt

    monkeypatch.setattr("event_pipeline.deploy.stack.time", clock(interrupted))
    with pytest.raises(KeyboardInterrupt):
        stack.change(BODY, [], new=True)
    assert "shop goes on without this command; to wait for it, repeat the command" in shown(console)


def test_throttled_calls_are_made_again(
    signed_in: Account, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(botocore.endpoint, "time", clock(lambda seconds: None))
    answers = iter([throttled(), throttled(), answer(described_xml())])
    cloudformation = signed_in.cloudformation
    cloudformation.meta.events.register("before-send.cloudformation", lambda **_: next(answers))
    found = Stack(signed_in, "shop", console).find()
    assert found is not None
    assert found["StackStatus"] == "CREATE_COMPLETE"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "no region is set: set AWS_REGION"),
        ({"AWS_REGION": "eu-west-1"}, "set AWS_PROFILE, or sign in"),
        ({"AWS_PROFILE": "nope"}, r"profile \(nope\) could not be found"),
    ],
)
def test_what_is_missing_to_sign_in_is_named(
    nowhere: object, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], told: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    account = Account()
    with pytest.raises(DeployError, match=told), translate_errors():
        print(account.region, account.number)


def test_an_account_out_of_reach_is_told_soon(signed_in: Account) -> None:
    with pytest.raises(DeployError, match="Could not connect to the endpoint"), translate_errors():
        print(signed_in.number)


def throttled() -> AWSResponse:
    code, text = "Throttling", "Rate exceeded"
    return answer(
        f"<ErrorResponse><Error>{tag('Code', code)}{tag('Message', text)}</Error></ErrorResponse>",
        400,
    )


def described_xml() -> str:
    fields = {"StackName": "shop", "StackStatus": "CREATE_COMPLETE", "CreationTime": at(0)}
    member = "".join(tag(name, value) for name, value in fields.items())
    return (
        f"<DescribeStacksResponse><DescribeStacksResult><Stacks><member>{member}</member></Stacks>"
        "</DescribeStacksResult></DescribeStacksResponse>"
    )


def tag(name: str, value: object) -> str:
    return f"<{name}>{value}</{name}>"


def answer(xml: str, status: int = 200) -> AWSResponse:
    raw = io.BytesIO(xml.encode())
    raw.stream = lambda: iter([raw.read()])  # type: ignore[attr-defined]
    return AWSResponse("http://127.0.0.1", status, HTTPHeaders(), raw)
