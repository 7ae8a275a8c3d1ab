"""What a test asks the twin for: runs and queries that take longer, and calls that fail."""

import asyncio
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from event_pipeline_tests.twin.hooks import replace, service

PATH = "/_twin/orders"


@dataclass
class Fault:
    """Calls that are answered with an error, without being done.

    Of calls of `action` (as `s3:PutObject`) whose resource holds the text `resource`, the first
    `skip` are done, and the next `times` fail after `seconds` with `code` and the HTTP status
    `status`.
    """

    action: str
    code: str
    status: int
    times: int = 1
    skip: int = 0
    resource: str = ""
    seconds: float = 0

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """The error in the protocol of the action's service."""
        await asyncio.sleep(self.seconds)
        responses = service("core.responses")
        if self.action.startswith("s3:"):
            found = responses.error_response_xml(self.code, "as ordered", self.status)
        else:
            found = responses.error_response_json(self.code, "as ordered", self.status)
        status, headers, body = found
        return status, headers, body


@dataclass
class Orders:
    """Seconds that jobs and queries take beside their work, and how they end.

    With `job_state` a run ends in this state without having run. `minute` is how many seconds a
    minute lasts: of a job's timeout, and of a schedule's rate, but not of one by cron.
    """

    job_seconds: float = 0
    job_state: str = ""
    query_seconds: float = 0
    minute: float = 60
    faults: list[Fault] = field(default_factory=list)

    def change(self, body: bytes) -> bytes:
        """Takes those orders that are in the JSON object `body`; all that hold now, as JSON."""
        asked: dict[str, Any] = json.loads(body or b"{}")
        if unknown := set(asked) - {each.name for each in fields(self)}:
            raise ValueError(f"no such order: {', '.join(sorted(unknown))}")
        for name, value in asked.items():
            setattr(self, name, [Fault(**f) for f in value] if name == "faults" else value)
        return json.dumps(asdict(self)).encode()

    def fault(self, action: str, resource: str) -> Fault | None:
        """The fault that a call meets, which then counts as met."""
        for fault in self.faults:
            if fault.action == action and fault.resource in resource:
                if fault.skip:
                    fault.skip -= 1
                elif fault.times:
                    fault.times -= 1
                    return fault
        return None


ORDERS = Orders()


def hook() -> None:
    """Lets EventBridge look at its rates every second, by the ordered minute."""
    events = service("services.eventbridge")

    def seconds(expr: str) -> float | None:
        found = known(expr)
        return None if found is None else found * ORDERS.minute / 60

    known = replace(events, "_parse_rate_seconds", seconds)
    events._SCHEDULER_TICK_INTERVAL = 1
