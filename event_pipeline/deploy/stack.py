"""A CloudFormation stack: changed by change sets, watched by its events until it is done."""

import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError
from rich.console import Console
from rich.text import Text

from event_pipeline.deploy.account import Account, DeployError, is_missing
from event_pipeline.errors import in_short
from event_pipeline.terminal import print_records

Json = dict[str, Any]

# A stack's states, as in CloudFormation's API reference. A stack in review is empty, and has no
# operation under way.
REVIEW = "REVIEW_IN_PROGRESS"
CHANGED = ("CREATE_COMPLETE", "UPDATE_COMPLETE")
# The reasons that CloudFormation gives if a change set would change nothing.
NO_CHANGES = re.compile(r"didn't contain changes|No updates are to be performed")
# The reason that it gives for resources that were given up because another one failed.
CANCELLED = re.compile(r"Resource \w+ cancelled")
# Resources that hold data. If one is replaced, the pipeline no longer finds what it wrote.
KEEPS_DATA = ("AWS::Glue::Database", "AWS::KMS::Key", "AWS::S3::Bucket")
ENDINGS = {
    "ROLLBACK_COMPLETE": "What was created is deleted again",
    "UPDATE_ROLLBACK_COMPLETE": "Everything is as it was before",
}
POLL_SECONDS = 2.0


class Stack:
    """The stack with a name, in one account and region. Errors are DeployError and ClientError."""

    def __init__(
        self, account: Account, name: str, console: Console, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self.name = name
        self._cloudformation = account.cloudformation
        self._console = console
        self._poll_seconds = poll_seconds

    def find(self) -> Json | None:
        """The stack as CloudFormation describes it, or None if there is none."""
        try:
            found = self._cloudformation.describe_stacks(StackName=self.name)["Stacks"]
        except ClientError as error:
            if is_missing(error):
                return None
            raise
        description: Json = found[0]
        return description

    def settled(self) -> Json | None:
        """Waits until no operation is under way; returns the stack, or None if there is none."""
        found, seen, announced = self.find(), None, False
        while found and found["StackStatus"] != REVIEW and _is_in_progress(found["StackStatus"]):
            if not announced:
                self._print(f"is {found['StackStatus']}: waiting for it to finish")
                seen, announced = self._newest(found), True
            time.sleep(self._poll_seconds)
            seen = self._show(found, seen)[0]
            found = self.find()
        return found

    def change(
        self,
        template: Mapping[str, str],
        parameters: Sequence[Mapping[str, Any]],
        *,
        new: bool,
        replace_data: bool = False,
    ) -> bool:
        """Makes or updates the stack from a template; False if there was nothing to change.

        The changes are shown first. Those that would replace or remove a bucket, key or database
        are refused with DeployError, unless `replace_data`. CloudFormation undoes a failure.
        """
        # The token lets CloudFormation recognise a request that is repeated after a lost answer.
        token = _token()
        change_set = self._cloudformation.create_change_set(
            StackName=self.name,
            ChangeSetName=token,
            ClientToken=token,
            ChangeSetType="CREATE" if new else "UPDATE",
            Capabilities=["CAPABILITY_IAM"],
            Parameters=parameters,
            **template,
        )
        try:
            changes = self._reviewed(change_set["Id"])
            if changes and not replace_data:
                _refuse_replacements(changes)
        except DeployError:
            self._discard(change_set, new=new)
            raise
        if changes is None:
            self._discard(change_set, new=new)
            return False
        seen = self._newest(change_set)
        self._cloudformation.execute_change_set(
            ChangeSetName=change_set["Id"], ClientRequestToken=token
        )
        events = self._follow(change_set, seen)
        if _status(events[-1]) not in CHANGED:
            raise DeployError(self._failure_reasons(events))
        return True

    def resources(self) -> list[Json]:
        """What is in the stack, and what it kept when it was deleted.

        The keys are CloudFormation's: LogicalResourceId, PhysicalResourceId, ResourceType and so
        on.
        """
        pages = self._cloudformation.get_paginator("list_stack_resources")
        return [
            resource
            for page in pages.paginate(StackName=self.name)
            for resource in page["StackResourceSummaries"]
            if resource["ResourceStatus"] != "DELETE_COMPLETE"
        ]

    def delete(
        self, found: Json, before: Callable[[], None] = lambda: None, tries: int = 1
    ) -> set[str]:
        """Deletes the stack; returns the logical ids of the resources that it did not keep.

        `before` is called before each try. Raises DeployError if the last try fails.
        """
        events: list[Json] = []
        deleted: set[str] = set()
        for _ in range(tries):
            before()
            events = self._deletion(found)
            deleted |= {e["LogicalResourceId"] for e in events if _status(e) == "DELETE_COMPLETE"}
            if not events or _status(events[-1]) == "DELETE_COMPLETE":
                return deleted
        raise DeployError(self._failure_reasons(events))

    def _reviewed(self, change_set: str) -> list[Json] | None:
        """Shows what a change set would change, and returns it.

        Returns None if it would change nothing, and [] if it would only change outputs.
        """
        while True:
            pages = self._cloudformation.get_paginator("describe_change_set")
            found = list(pages.paginate(ChangeSetName=change_set))
            if not found[0]["Status"].endswith(("_PENDING", "_IN_PROGRESS")):
                break
            time.sleep(self._poll_seconds)
        if found[0]["Status"] == "FAILED":
            reason = found[0].get("StatusReason", "no reason is given")
            if NO_CHANGES.search(reason):
                return None
            raise DeployError(f"the change set of {self.name} failed: {reason}")
        changes: list[Json] = [
            change["ResourceChange"] for page in found for change in page["Changes"]
        ]
        records = [
            {
                "action": change["Action"],
                "resource": change["LogicalResourceId"],
                "type": change["ResourceType"],
                "replaced": change.get("Replacement", ""),
            }
            for change in changes
        ]
        print_records(records, f"Changes of {self.name}", self._console)
        return changes

    def _deletion(self, found: Json) -> list[Json]:
        """Tries to delete the stack; returns the events, none if it never held anything."""
        seen = self._newest(found)
        self._cloudformation.delete_stack(StackName=found["StackId"], ClientRequestToken=_token())
        if found["StackStatus"] != REVIEW:
            return self._follow(found, seen)
        while self.find():
            time.sleep(self._poll_seconds)
        return []

    def _discard(self, change_set: Json, *, new: bool) -> None:
        """Deletes an unwanted change set, or the empty stack that was made with it."""
        if new:
            self._cloudformation.delete_stack(StackName=change_set["StackId"])
        else:
            self._cloudformation.delete_change_set(ChangeSetName=change_set["Id"])

    def _follow(self, stack: Json, seen: str | None) -> list[Json]:
        """Shows the events after `seen` as they come, until the operation ends; returns them."""
        events: list[Json] = []
        try:
            while not events or not _is_end(events[-1]):
                time.sleep(self._poll_seconds)
                seen, new = self._show(stack, seen)
                events += new
        except KeyboardInterrupt:
            self._print("goes on without this command; to wait for it, repeat the command")
            raise
        return events

    def _show(self, stack: Json, seen: str | None) -> tuple[str | None, list[Json]]:
        """Shows the events after the id `seen`, oldest first; returns the last id, and them."""
        new: list[Json] = []
        pages = self._cloudformation.get_paginator("describe_stack_events")
        for page in pages.paginate(StackName=stack["StackId"]):
            ids = [event["EventId"] for event in page["StackEvents"]]
            if seen in ids:
                new += page["StackEvents"][: ids.index(seen)]
                break
            new += page["StackEvents"]
        new.reverse()
        for n, event in enumerate(new):
            self._print_event(event)
            if _is_end(event):
                new = new[: n + 1]
                break
        return (new[-1]["EventId"] if new else seen), new

    def _newest(self, stack: Json) -> str | None:
        """Id of the stack's last event, None if it has none yet."""
        found = self._cloudformation.describe_stack_events(StackName=stack["StackId"])
        events = found["StackEvents"]
        return str(events[0]["EventId"]) if events else None

    def _failure_reasons(self, events: Sequence[Json]) -> str:
        """How an operation ended, and what failed and why, without what was only cancelled."""
        status = _status(events[-1])
        reasons = [
            f"{event['LogicalResourceId']} ({event['ResourceType']}): "
            f"{event.get('ResourceStatusReason') or 'no reason is given'}"
            for event in events
            if _status(event).endswith("_FAILED")
            and not _is_of_stack(event)
            and not CANCELLED.search(event.get("ResourceStatusReason", ""))
        ]
        if not reasons:
            reasons = [e["ResourceStatusReason"] for e in events if e.get("ResourceStatusReason")]
        after = f". {ENDINGS[status]}" if status in ENDINGS else ""
        return f"{self.name} is {status}: {in_short(reasons)}{after}"

    def _print(self, text: str) -> None:
        print_line(self._console, f"{self.name} {text}")

    def _print_event(self, event: Json) -> None:
        status = _status(event)
        line = Text(f"{event['Timestamp'].astimezone():%H:%M:%S}  ")
        line.append(f"{status:<22}", style=_color(status))
        line.append(f"  {event['LogicalResourceId']}  {event['ResourceType']}")
        if reason := event.get("ResourceStatusReason"):
            line.append(f"  {reason}")
        self._console.print(line, soft_wrap=True)


def print_line(console: Console, text: str) -> None:
    """Prints a line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _token() -> str:
    return f"event-pipeline-{secrets.token_hex(8)}"


def _status(event: Json) -> str:
    return str(event["ResourceStatus"])


def _is_in_progress(status: str) -> bool:
    return status.endswith("_IN_PROGRESS")


def _is_of_stack(event: Json) -> bool:
    return bool(event.get("PhysicalResourceId") == event["StackId"])


def _is_end(event: Json) -> bool:
    """Whether an operation, including its cleanup or rollback, ends with this event."""
    return _is_of_stack(event) and not _is_in_progress(_status(event))


def _color(status: str) -> str:
    if "FAILED" in status or "ROLLBACK" in status:
        return "red"
    return "dim" if _is_in_progress(status) else "green"


def _refuse_replacements(changes: Sequence[Json]) -> None:
    lost = [
        f"{change['LogicalResourceId']} ({change['ResourceType']})"
        for change in changes
        if change.get("ResourceType") in KEEPS_DATA
        and (change["Action"] == "Remove" or change.get("Replacement") == "True")
    ]
    if lost:
        raise DeployError(
            f"these would be replaced or removed, and their data left behind: "
            f"{in_short(lost)}. Nothing was changed; to do it anyway: --replace-data"
        )
