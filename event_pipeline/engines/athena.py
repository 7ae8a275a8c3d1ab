"""Runs Athena SQL on Athena, over the lake's tables in the Glue Data Catalog.

Before an UNLOAD starts, a claim on it is written. A retry, a second worker, or a worker that
replaces a killed one finds the claim, waits for the same query and uses its result. The embedded
engine takes the same claims, so that nobody makes a date beside it.
"""

import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import TimeoutError as TooLong
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import dagster as dg
import pyathena
from pyathena.async_cursor import AsyncCursor
from sqlglot import exp

from event_pipeline import aws
from event_pipeline.digests import short_digest
from event_pipeline.engines import INTERRUPTS, Querier, QueryReport, told
from event_pipeline.engines.claims import CLAIMS, LOST, Claim, Claims, Lease
from event_pipeline.engines.statement import athena_query, tables_of
from event_pipeline.errors import QueryError, first_line
from event_pipeline.lake.tables import Lake

# Without a handler, Python prints the tracebacks that PyAthena logs before it raises the errors.
logging.getLogger("pyathena").addHandler(logging.NullHandler())

# The states of a query that has not ended. Any other state, known or not, is an end.
RUNNING = {"QUEUED", "RUNNING"}
ADOPTED = "a query of it was under way"
TYPES = {"int": "INTEGER", "long": "BIGINT", "string": "VARCHAR"}


class AthenaQuerier(Querier):
    """Runs queries in one workgroup, which enforces its own settings; result files expire.

    With `embedded`, that engine runs in this process what Athena does not run already.
    """

    lake: Lake
    workgroup: str
    results_bucket: str
    timeout_seconds: float = 1800
    poll_seconds: float = 1
    embedded: Querier | None = None

    @property
    def engine(self) -> str:
        """What a person calls it."""
        return self.embedded.engine if self.embedded else "Athena"

    def unload(
        self,
        statement: str,
        columns: Sequence[tuple[str, str]],
        where: tuple[str, str],
        to: str,
        version: str,
    ) -> QueryReport:
        """Writes Parquet files under `to`, or where the query that is found already writes."""
        started = time.monotonic()
        digest = short_digest(statement)
        name = f"unload/{digest}/{where[0]}={where[1]}"
        claims = self._claims
        is_embedded = self.embedded is not None
        new = Claim(name, version, uuid.uuid4().hex, to, is_embedded=is_embedded)
        claim = self._claimed(new)
        if self.embedded and claim.run == new.run:
            with Lease(claims, claim) as lease:
                report = self.embedded.unload(statement, columns, where, to, version)
                if not lease.confirm():
                    raise QueryError(LOST)
            return report
        try:
            if not claim.id:
                # A repeated call with this token starts no second query: Athena returns the first.
                answer = aws.client("athena").start_query_execution(
                    QueryString=self.unload_sql(statement, columns, where, claim.to),
                    WorkGroup=self.workgroup,
                    ClientRequestToken=claim.run,
                )
                known = replace(claim, id=answer["QueryExecutionId"])
                claim = claims.put(known, claim) or known
            dg.get_dagster_logger().info(f"Athena query {claim.id} unloads to {claim.to}")
            statistics = self._finished(claim.id)
        except (QueryError, *INTERRUPTS):
            claims.release(claim)
            raise
        claims.release(claim)
        bucket, _, prefix = claim.to.removeprefix("s3://").partition("/")
        files = [f"s3://{bucket}/{key}" for key in aws.keys(bucket, f"{prefix}/")]
        if not files:
            files = [self.lake.write_no_rows(columns, claim.to)]
        return QueryReport(
            self.lake.count(files),
            files,
            time.monotonic() - started,
            {
                **(told("Athena", ADOPTED) if self.embedded else {}),
                "athena_query": claim.id,
                "scanned_bytes": statistics.get("DataScannedInBytes", 0),
                "engine_ms": statistics.get("EngineExecutionTimeInMillis", 0),
            },
        )

    def unload_sql(
        self,
        statement: str,
        columns: Sequence[tuple[str, str]],
        where: tuple[str, str],
        to: str,
    ) -> str:
        """The statement that Athena gets for `unload`."""
        column, day = where
        typed = ", ".join(f'CAST("{n}" AS {TYPES.get(k, k.upper())}) AS "{n}"' for n, k in columns)
        query = f"SELECT {typed} FROM ({self.sql(statement)}) WHERE \"{column}\" = DATE '{day}'"
        return f"UNLOAD ({query}) TO '{to}/' WITH (format = 'PARQUET', compression = 'ZSTD')"

    def sql(self, statement: str) -> str:
        """The query, with its tables named as in the catalog."""
        query = athena_query(statement)
        names = {contract.table: self.lake.identifier(contract) for contract in tables_of(query)}
        for table in query.find_all(exp.Table):
            if found := names.get(f"{table.db}.{table.name}"):
                table.set("db", exp.to_identifier(found[0]))
        return query.sql(dialect="athena")

    def fetch(
        self, statement: str, day: str | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Runs one SELECT."""
        if self.embedded:
            return self.embedded.fetch(statement, day)
        query = self.sql(statement)
        with _cursor(self) as cursor:
            query_id, future = cursor.execute(query)
            with self._cancelled_if_left(query_id):
                try:
                    result = future.result(timeout=self.timeout_seconds)
                except TooLong:
                    raise self._too_long(query_id) from None
                except pyathena.Error as error:
                    raise QueryError(first_line(error)) from None
            if result.state != "SUCCEEDED":  # the cursor reports a failure as a result without rows
                raise _failed(query_id, str(result.state), result.state_change_reason)
            columns = [str(column[0]) for column in result.description or []]
            return columns, [tuple(row) for row in result.fetchall()]

    @property
    def _claims(self) -> Claims:
        return Claims(bucket=self.results_bucket, prefix=CLAIMS)

    def _claimed(self, claim: Claim) -> Claim:
        """Writes the claim and returns it, or returns that of a query over the same rows.

        First waits for a process that runs the query by itself.
        """
        while True:
            old = self._claims.get(claim.name)
            if old and old.is_embedded:
                if old.is_fresh:
                    time.sleep(self.poll_seconds)
                    continue
            elif old and old.version == claim.version and not self._has_failed(old):
                return old
            if old and old.id:
                self._cancel(old.id)
            if mine := self._claims.put(claim, old):
                return mine

    def _has_failed(self, claim: Claim) -> bool:
        return bool(claim.id) and _state(claim.id)[0] not in {*RUNNING, "SUCCEEDED"}

    def _finished(self, query_id: str) -> dict[str, Any]:
        """Waits for a query; returns its statistics. Raises QueryError with Athena's reason."""
        until = time.monotonic() + self.timeout_seconds
        with self._cancelled_if_left(query_id):
            while True:
                state, execution = _state(query_id)
                if state == "SUCCEEDED":
                    statistics: dict[str, Any] = execution.get("Statistics", {})
                    return statistics
                if state not in RUNNING:
                    raise _failed(query_id, state, execution["Status"].get("StateChangeReason"))
                if time.monotonic() > until:
                    raise self._too_long(query_id)
                time.sleep(self.poll_seconds)

    def _too_long(self, query_id: str) -> QueryError:
        self._cancel(query_id)
        return QueryError(f"Athena query {query_id}: cancelled after {self.timeout_seconds:g} s")

    @contextmanager
    def _cancelled_if_left(self, query_id: str) -> Iterator[None]:
        """Cancels the query if the wait for it is interrupted."""
        try:
            yield
        except INTERRUPTS:
            self._cancel(query_id)
            raise

    def _cancel(self, query_id: str) -> None:
        aws.client("athena").stop_query_execution(QueryExecutionId=query_id)


def _failed(query_id: str, state: str, reason: str | None) -> QueryError:
    message = first_line(RuntimeError(reason)) if reason else "no reason given"
    return QueryError(f"Athena query {query_id}: {state}: {message}")


def _state(query_id: str) -> tuple[str, dict[str, Any]]:
    """The state of a query, and Athena's whole description of it."""
    answer = aws.client("athena").get_query_execution(QueryExecutionId=query_id)
    execution: dict[str, Any] = answer["QueryExecution"]
    return execution["Status"]["State"], execution


@contextmanager
def _cursor(querier: AthenaQuerier) -> Iterator[AsyncCursor]:
    with (
        pyathena.connect(
            session=aws.session(),
            work_group=querier.workgroup,
            poll_interval=querier.poll_seconds,
            cursor_class=AsyncCursor,
        ) as connection,
        connection.cursor() as cursor,
    ):
        yield cursor
