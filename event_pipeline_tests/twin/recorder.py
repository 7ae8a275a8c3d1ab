"""Writes down every call: whose it is, what it asks for, of which resources, and the answer."""

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from event_pipeline_tests.twin import callers
from event_pipeline_tests.twin.hooks import replace, service
from event_pipeline_tests.twin.orders import ORDERS, PATH

Json = dict[str, Any]
Response = tuple[int, dict[str, str], Any]


def hook(to: Path) -> None:
    """Appends the calls to a file, each a line of JSON.

    `time`, `principal` and the access `key` that signed, `action` and `resource` as in a policy,
    `status` of HTTP, and of a listing its `prefix`. A call that needs several permissions is
    several lines.
    """
    actions = service("core.iam_actions")
    lock = threading.Lock()

    async def dispatch(  # noqa: PLR0917
        method: str, path: str, headers: Json, body: bytes, query_params: Json, request_id: str
    ) -> Response:
        if path == PATH:
            return _ordered(body)
        key = service("core.router").extract_access_key_id(headers, query_params) or ""
        callers.access_key.set(key)
        calls = list(_calls(method, path, headers, body, query_params))
        # Before the answer: a role that the call deletes has no name after it.
        about = {
            "time": datetime.now(UTC).isoformat(),
            "principal": callers.principal(key),
            "key": key,
        }
        faults = (ORDERS.fault(call["action"], call["resource"], key) for call in calls)
        fault = next(filter(None, faults), None)
        response: Response = (
            await fault.response()
            if fault
            else await old(method, path, headers, body, query_params, request_id)
        )
        lines = (json.dumps({**about, **call, "status": response[0]}) for call in calls)
        with lock, to.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)
        return response

    def narrowest(  # noqa: PLR0917
        service: str,
        method: str,
        path: str,
        headers: Json,
        body: bytes,
        query_params: Json,
        region: str,
        account_id: str,
    ) -> str:
        found = known(service, method, path, headers, body, query_params, region, account_id)
        return _resources(service, headers, body, found)[-1]

    known = replace(actions, "extract_resource_arn", narrowest)
    old = replace(service("app"), "_dispatch_service_request", dispatch)


def _ordered(body: bytes) -> Response:
    try:
        return 200, {"Content-Type": "application/json"}, ORDERS.change(body)
    except (TypeError, ValueError) as error:
        return 400, {"Content-Type": "text/plain"}, str(error).encode()


def _calls(method: str, path: str, headers: Json, body: bytes, query: Json) -> Iterator[Json]:
    """Each permission that a call needs, as ministack tells them where it enforces policies."""
    actions, router = service("core.iam_actions"), service("core.router")
    params = service("app")._routing_params(method, path, headers, body, query)
    name = router.detect_service(method, path, headers, params)
    action = actions.extract_iam_action(name, method, path, headers, body, params)
    if action is None:
        yield {"action": f"{name}:{method}", "resource": path}
        return
    region, account = router.extract_region(headers), service("core.responses").get_account_id()
    found = actions.extract_resource_arn(name, method, path, headers, body, params, region, account)
    for resource in _resources(name, headers, body, found):
        call = {"action": action, "resource": resource}
        if action == "s3:ListBucket":
            call["prefix"] = query.get("prefix", [""])[0]
        yield call
    if name == "s3":
        for more, resource in actions.s3_additional_checks(method, path, headers, body, params):
            yield {"action": more, "resource": resource}


def _resources(name: str, headers: Json, body: bytes, found: str) -> list[str]:
    """The resources of which AWS asks a call's permission, the narrowest last.

    ministack finds one, `found`: of Glue it takes databases for tables and the other way round, of
    a query it does not look for the workgroup, and of logs it takes a group for its stream.
    https://docs.aws.amazon.com/glue/latest/dg/glue-specifying-resource-arns.html
    """
    if name not in ("glue", "athena", "logs"):
        return [found]
    with suppress(ValueError):
        asked: Json = json.loads(body or b"{}")
        if name == "logs":
            stream = asked.get("logStreamName")
            return [f"{found}:log-stream:{stream}" if stream else found]
        responses = service("core.responses")
        arn = f"arn:aws:{name}:{responses.get_region()}:{responses.get_account_id()}"
        operation = headers.get("x-amz-target", "").rsplit(".", 1)[-1]
        kinds = _workgroup(asked) if name == "athena" else _of_glue(operation, asked)
        return [f"{arn}:{kind}" for kind in kinds] or [found]
    return [found]


def _of_glue(operation: str, asked: Json) -> list[str]:
    name = asked.get("Name") or "*"
    if "Job" in operation:
        return [f"job/{asked.get('JobName', name)}"]
    if "Database" in operation:
        return ["catalog", f"database/{asked.get('DatabaseInput', {}).get('Name', name)}"]
    if "Table" in operation or "Partition" in operation:
        database = asked.get("DatabaseName", "*")
        table = asked.get("TableName") or asked.get("TableInput", {}).get("Name", name)
        return ["catalog", f"database/{database}", f"table/{database}/{table}"]
    return []


def _workgroup(asked: Json) -> list[str]:
    group = asked.get("WorkGroup", "primary" if "QueryString" in asked else None)
    if query := asked.get("QueryExecutionId"):
        group = service("services.athena")._executions.get(query, {}).get("WorkGroup")
    return [f"workgroup/{group}"] if group else []
