"""Athena's queries: how they begin, wait, run, are stopped, and what they leave.

They run on DuckDB (`statements`); what they read and write are S3 calls in their caller's name.
"""

import asyncio
import csv
import io
import json
import os
import time
from typing import Any

from botocore.exceptions import ClientError

from event_pipeline_tests.twin import callers
from event_pipeline_tests.twin.hooks import replace, service
from event_pipeline_tests.twin.orders import ORDERS
from event_pipeline_tests.twin.query import ACTIVE, UNLOAD, Query, QueryFailedError

Json = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]

# Seconds in the queue, so that a caller sees that there is one.
QUEUED = 0.02


class Queries:
    """The queries of this twin."""

    def __init__(self) -> None:
        self.athena = service("services.athena")
        self.running: dict[str, Query] = {}
        # What was asked under a token, and the query that came of it.
        self.tokens: dict[str, tuple[Json, str]] = {}

    def hook(self) -> None:
        """Puts this in the place of ministack's engine."""
        athena = self.athena

        def start(data: Json) -> Response:
            return self._start(data, known_start)

        def stop(data: Json) -> Response:
            if query := self.running.get(data.get("QueryExecutionId", "")):
                query.stop("Query was cancelled by user")
            response: Response = known_stop(data)
            return response

        async def execute(
            query_id: str, query: str, database: str, ddl: Any, catalog: str | None = None
        ) -> None:
            if ddl is None:
                await self._execute(query_id)
            else:
                await known_execute(query_id, query, database, ddl, catalog)

        known_start = replace(athena, "_start_query_execution", start)
        known_stop = replace(athena, "_stop_query_execution", stop)
        known_execute = replace(athena, "_execute_query", execute)

    def stop(self) -> None:
        """Stops all queries."""
        for query in list(self.running.values()):
            query.stop("the twin ends")

    def _start(self, data: Json, start: Any) -> Response:
        """Begins a query, once for a token, and in its workgroup's place."""
        token, group = data.get("ClientRequestToken"), data.get("WorkGroup", "primary")
        if token in self.tokens:
            asked, query_id = self.tokens[token]
            if asked != data:
                return _refused("Idempotent parameters do not match")
            return _answered({"QueryExecutionId": query_id})
        workgroup = self.athena._workgroups.get(group)
        if workgroup is None:
            return _refused(f"WorkGroup {group} is not found.")
        configuration = workgroup.get("Configuration", {})
        changed = dict(data)
        result = configuration.get("ResultConfiguration")
        if result and configuration.get("EnforceWorkGroupConfiguration", True):
            changed["ResultConfiguration"] = result
        response: Response = start(changed)
        answer = json.loads(response[2])
        if query_id := answer.get("QueryExecutionId"):
            record = self.athena._executions[query_id]
            _describe(record)
            if token:
                self.tokens[token] = (data, query_id)
        return response

    async def _execute(self, query_id: str) -> None:
        record = self.athena._executions[query_id]
        caller = callers.credentials(callers.access_key.get())
        workgroup = self.athena._workgroups.get(record["WorkGroup"]) or {}
        cutoff = workgroup.get("Configuration", {}).get("BytesScannedCutoffPerQuery")
        query = Query(
            record,
            caller.client("s3"),
            caller.client("glue"),
            _properties(caller),
            int(cutoff) if cutoff else None,
        )
        self.running[query_id] = query
        try:
            await asyncio.to_thread(_run, query)
        finally:
            del self.running[query_id]


def _describe(record: Json) -> None:
    """Makes of a new execution what Athena would tell of it."""
    text = record["Query"]
    is_unload = bool(UNLOAD.match(text))
    if is_unload or record["StatementType"] == "DML":
        record["StatementType"] = "DML"
        record["SubstatementType"] = "UNLOAD" if is_unload else "SELECT"
    record["Status"]["SubmissionDateTime"] = time.time()
    location = record["ResultConfiguration"]["OutputLocation"]
    name = f"{record['QueryExecutionId']}.csv"
    folder = location.removesuffix(name).rstrip("/")
    record["ResultConfiguration"]["OutputLocation"] = f"{folder}/{name}"


def _properties(caller: callers.Credentials) -> dict[str, str]:
    """How PyIceberg reads metadata as this caller."""
    found = {
        "s3.endpoint": os.environ["AWS_ENDPOINT_URL"],
        "s3.region": os.environ["AWS_DEFAULT_REGION"],
        "s3.access-key-id": caller.key,
        "s3.secret-access-key": caller.secret,
    }
    return {**found, "s3.session-token": caller.token} if caller.token else found


def _run(query: Query) -> None:
    """Runs a query to its end, whichever it is."""
    # Only where it is used: it takes seconds.
    from event_pipeline_tests.twin import statements

    status, statistics = query.record["Status"], query.record["Statistics"]
    query.stopped.wait(QUEUED)
    started = time.monotonic()
    if status["State"] == "QUEUED":
        status["State"] = "RUNNING"
    state, why = "SUCCEEDED", ""
    try:
        query.stopped.wait(ORDERS.query_seconds)
        query.check()
        _keep(query, statements.execute(query))
    except (QueryFailedError, ClientError) as error:
        state, why = "FAILED", str(error)
    except Exception as error:
        state, why = "FAILED", f"the twin itself failed: {error!r}"
    millis = int((time.monotonic() - started) * 1000)
    statistics.update(EngineExecutionTimeInMillis=millis, TotalExecutionTimeInMillis=millis)
    if status["State"] in ACTIVE:
        status.update(StateChangeReason=why, CompletionDateTime=time.time())
        # Last: who waits for the state reads the rest.
        status["State"] = state


def _keep(query: Query, result: Any) -> None:
    """Puts a result where the workgroup keeps them, and of UNLOAD the list of its files."""
    query.check()
    query.record["_results"] = {"columns": result.columns, "rows": result.rows}
    query.record["_column_types"] = result.types
    location = query.record["ResultConfiguration"]["OutputLocation"]
    bucket, _, key = location.removeprefix("s3://").partition("/")
    query.s3.get_bucket_location(Bucket=bucket)
    if result.files is None:
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL).writerows([result.columns, *result.rows])
        query.s3.put_object(Bucket=bucket, Key=key, Body=text.getvalue().encode())
        return
    key = f"{key.removesuffix('.csv')}-manifest.csv"
    query.s3.put_object(Bucket=bucket, Key=key, Body="\n".join(result.files).encode())
    query.record["Statistics"]["DataManifestLocation"] = f"s3://{bucket}/{key}"


def _answered(answer: Json) -> Response:
    found: Response = service("core.responses").json_response(answer)
    return found


def _refused(why: str) -> Response:
    responses = service("core.responses")
    found: Response = responses.error_response_json("InvalidRequestException", why, 400)
    return found
