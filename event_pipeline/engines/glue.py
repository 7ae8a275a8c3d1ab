"""AWS Glue: runs `jobs/transform.py` there, each piece of work by one job run at a time.

A run has a folder in the Pipes bucket, `runs/<run>/`: the request, and the messages by which the
job reports. A claim on each piece of work names the run that makes it, and is written before this
is started: a retry, a worker after one that was killed, and a second worker all find it, and follow
that run or adopt what it made.
"""

import json
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.client import INTERNAL_SERVER_ERROR
from typing import Any

import dagster as dg
from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT,
    DAGSTER_PIPES_MESSAGES_CLI_ARGUMENT,
    PipesDefaultContextLoader,
    PipesS3MessageWriter,
    encode_param,
)

from event_pipeline import aws
from event_pipeline.digests import short_digest
from event_pipeline.engines import (
    INTERRUPTS,
    DeriveRequest,
    PartitionReport,
    QueryReport,
    Transformer,
    TransformRequest,
)
from event_pipeline.engines.claims import Claim, Claims
from event_pipeline.engines.requests import as_json, derivation_as_json
from event_pipeline.errors import QueryError

Json = dict[str, Any]

# What a job run is before it has ended; whatever else it is called, it has.
GOING = {"STARTING", "RUNNING", "STOPPING", "WAITING"}
# The pieces of work of a run that have no report get another run this often at most.
LOST_RUNS_MOST = 3
# Where runs have their folders, and how long: longer than a job may run, so that none is lost to
# a worker that comes late.
RUNS = "runs/"
KEPT = timedelta(days=1)
# How far clocks may differ, in seconds, when a run is looked for that its claim does not know.
SKEW_SECONDS = 300
# Lines of each of a failed run's logs that are shown.
LOG_LINES = 200


@dataclass(frozen=True)
class Work:
    """One piece of work: its name, unique among all, and the version of what it is made of."""

    name: str
    version: str


class GlueTransformer(Transformer):
    """Runs Spark SQL by the Glue job `job`; requests and reports go through `bucket`.

    `logs` begins the names of the job's two log groups, which end in /output and /error.
    """

    job: str
    logs: str
    bucket: str
    poll_seconds: float = 5

    def transform(self, request: TransformRequest) -> Iterator[PartitionReport]:
        """Makes the partitions in one job run, and yields each when its report is there."""
        document = as_json(request)
        parts = {part["key"]: part for part in document["partitions"]}
        # Where files go is another place in every attempt.
        aside = {"rows_prefix", "quarantine_prefix"}
        work = {
            key: Work(
                f"{request.dataset}/{key}",
                _digest(document, {"partitions"}) + _digest(part, aside),
            )
            for key, part in parts.items()
        }

        def of(keys: Collection[str]) -> Json:
            return {**document, "partitions": [parts[key] for key in keys]}

        for report in self._runs.make(work, of):
            yield PartitionReport(**report)

    def derive(self, request: DeriveRequest) -> QueryReport:
        """Writes Parquet files, by a job run of its own."""
        document = derivation_as_json(request)
        column, day = request.where
        name = f"derived/{_digest({'statement': request.statement})}/{column}={day}"
        work = {name: Work(name, _digest(document, {"prefix"}))}
        [report] = self._runs.make(work, lambda _: document)
        if error := report.get("error"):
            raise QueryError(error)
        del report["key"]
        return QueryReport(**report)

    @property
    def _runs(self) -> "JobRuns":
        claims = Claims(bucket=self.bucket, prefix="claims")
        return JobRuns(self.job, self.logs, self.bucket, claims, self.poll_seconds)


def _digest(document: Mapping[str, Any], aside: Collection[str] = ()) -> str:
    kept = {name: value for name, value in document.items() if name not in aside}
    return short_digest(json.dumps(kept, sort_keys=True))


@dataclass
class JobRuns:
    """The runs of one Glue job, by the claims on what they make."""

    job: str
    logs: str
    bucket: str
    claims: Claims
    poll_seconds: float

    def make(
        self, work: Mapping[str, Work], document: Callable[[Collection[str]], Json]
    ) -> Iterator[Json]:
        """The report of each piece of work, by whichever run makes it; `key` in it is its name.

        What a run of our own leaves without a report has an `error`. A run that makes nothing but
        this work is stopped when the caller is interrupted.
        """
        left, lost = dict(work), 0
        while left:
            new = uuid.uuid4().hex
            runs = self._claimed(left, new)
            if new in runs and not self._start(new, runs[new], document(list(runs[new]))):
                del runs[new]
            for run, of in runs.items():
                follower = _Follower(self, run, of)
                for report in follower.reports():
                    yield report
                    self.claims.release(of[report["key"]])
                    del left[report["key"]]
                missing = of.keys() & left.keys()
                lost += bool(missing)
                for key in missing:
                    self.claims.release(of[key])
                    # What another's run did not make is begun anew.
                    if run == new or lost > LOST_RUNS_MOST:
                        yield {"key": key, "error": follower.error}
                        del left[key]
            if not runs:
                time.sleep(self.poll_seconds)

    def _claimed(self, work: Mapping[str, Work], new: str) -> dict[str, dict[str, Claim]]:
        """The claims by run: of runs that are there, and of the new one that is ours to start.

        Left out is what another worker is about to begin, and what is still being made in another
        version.
        """
        runs: dict[str, dict[str, Claim]] = {}
        for key, each in work.items():
            old = self.claims.get(each.name)
            state = self._state_of(old) if old else None
            if old and state is None and old.is_fresh:
                continue
            if old and old.version == each.version and state in {*GOING, "SUCCEEDED"}:
                runs.setdefault(old.run, {})[key] = old
            elif old and state in GOING:
                if old.alone:
                    self.stop(old)
            elif mine := self.claims.put(Claim(each.name, each.version, new, of=len(work)), old):
                runs.setdefault(new, {})[key] = mine
        return runs

    def _state_of(self, claim: Claim) -> str | None:
        """The state of a claim's job run, None if it has none."""
        run_id = self.run_id(claim)
        return self.job_run(run_id)["JobRunState"] if run_id else None

    def run_id(self, claim: Claim) -> str | None:
        """Glue's id of a claim's run, of Glue itself if its starter had no time to write it."""
        return claim.id or self._found(claim.run, claim.at)

    def _found(self, run: str, since: float) -> str | None:
        pages = aws.client("glue").get_paginator("get_job_runs").paginate(JobName=self.job)
        for page in pages:  # the latest first
            for found in page["JobRuns"]:
                if found.get("Arguments", {}).get("--request") == self._request_uri(run):
                    return str(found["Id"])
                if found["StartedOn"].timestamp() < since - SKEW_SECONDS:
                    return None
        return None

    def job_run(self, run_id: str) -> Json:
        """What Glue says of a job run."""
        answer = aws.client("glue").get_job_run(JobName=self.job, RunId=run_id)
        found: Json = answer["JobRun"]
        return found

    def stop(self, claim: Claim) -> None:
        """Has a claim's run stopped, if it is still going; Glue takes a while for it."""
        if not (run_id := self.run_id(claim)):
            return
        answer = aws.client("glue").batch_stop_job_run(JobName=self.job, JobRunIds=[run_id])
        for refused in answer.get("Errors", []):
            # It may have ended by itself.
            if self.job_run(run_id)["JobRunState"] in GOING - {"STOPPING"}:
                said = refused.get("ErrorDetail", {}).get("ErrorMessage", "no reason given")
                dg.get_dagster_logger().warning(f"Glue does not stop {run_id}: {said}")

    def _start(self, run: str, of: dict[str, Claim], document: Json) -> bool:
        """Starts a run, once Glue has room for it; False if others claimed its work meanwhile."""
        client, log = aws.client("s3"), dg.get_dagster_logger()
        self._sweep()
        text = json.dumps(document).encode()
        client.put_object(Bucket=self.bucket, Key=f"{_folder(run)}/request.json", Body=text)
        arguments = {"--request": self._request_uri(run), **_pipes_arguments(self.bucket, run)}
        while not (run_id := self._try_start(run, of, arguments)):
            log.info(f"{self.job}: as many runs as it may have; waiting for one to end")
            time.sleep(self.poll_seconds)
            if not self._confirmed(of):
                return False
        log.info(f"Glue job {self.job}: run {run_id} started for {', '.join(of)}")
        if not self._confirmed(of, run_id):
            # So long was this process held up that others took it for dead.
            self.stop(next(iter(of.values())))
            return False
        return True

    def _sweep(self) -> None:
        """Removes what runs said that ended long ago. Not at once: two workers may follow one."""
        client, oldest = aws.client("s3"), datetime.now(UTC) - KEPT
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=RUNS)
        for page in pages:
            old = [o["Key"] for o in page.get("Contents", []) if o["LastModified"] < oldest]
            for key in old:
                client.delete_object(Bucket=self.bucket, Key=key)

    def _confirmed(self, of: dict[str, Claim], run_id: str = "") -> bool:
        """Whether claims are still ours; they are written anew, with the id of their run."""
        for key, claim in of.items():
            new = replace(claim, at=time.time(), id=run_id)
            of[key] = self.claims.put(new, claim) or replace(new, etag="")
        return all(claim.etag for claim in of.values())

    def _try_start(
        self, run: str, of: Mapping[str, Claim], arguments: dict[str, str]
    ) -> str | None:
        """Glue's id of the run; None if the job may have no more runs at the same time."""
        # A call that is repeated unseen would start a second run.
        client = aws.once("glue", read_timeout=60)
        try:
            return str(client.start_job_run(JobName=self.job, Arguments=arguments)["JobRunId"])
        except (
            client.exceptions.ConcurrentRunsExceededException,
            client.exceptions.ResourceNumberLimitExceededException,
        ):
            return None
        except client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] == "ThrottlingException":
                return None
            # Of a server's own error nobody knows whether the run was started nevertheless.
            if aws.status(error) < INTERNAL_SERVER_ERROR:
                for claim in of.values():
                    self.claims.release(claim)
            raise
        except aws.connection_errors():
            # The answer is lost, and with it whether the run was started.
            time.sleep(self.poll_seconds)
            return self._found(run, since=time.time())

    def _request_uri(self, run: str) -> str:
        return f"s3://{self.bucket}/{_folder(run)}/request.json"


class _Follower:
    """Follows one run to its end: its reports as they come, and what it prints."""

    def __init__(self, runs: JobRuns, run: str, of: Mapping[str, Claim]) -> None:
        self.runs = runs
        self.run = run
        self.of = of
        self.error = ""
        self._read: set[str] = set()

    def reports(self) -> Iterator[Json]:
        """The reports of the work that is wanted, each once."""
        wanted = set(self.of)
        first = next(iter(self.of.values()))
        run_id = self.runs.run_id(first)
        try:
            while True:
                job_run = self.runs.job_run(str(run_id))
                for report in self._messages():
                    if report.setdefault("key", next(iter(self.of))) in wanted:
                        wanted.remove(report["key"])
                        yield {**report, "run": {"glue_run": run_id}}
                if job_run["JobRunState"] not in GOING:
                    break
                time.sleep(self.runs.poll_seconds)
        except INTERRUPTS:
            if self._alone:
                self.runs.stop(first)
            raise
        state = job_run["JobRunState"]
        said = job_run.get("ErrorMessage") or "no reason given"
        if wanted:
            self._print_logs(str(run_id))
        if state == "SUCCEEDED":
            said = "ended without its report"
        self.error = f"Glue job {self.runs.job}, run {run_id}: {state}: {said}"

    @property
    def _alone(self) -> bool:
        """Whether the run makes nothing else than what is wanted here."""
        return all(claim.of == len(self.of) for claim in self.of.values())

    def _messages(self) -> Iterator[Json]:
        """New reports; what the job printed is printed here, where Dagster keeps it."""
        client = aws.client("s3")
        keys = aws.keys(self.runs.bucket, f"{_folder(self.run)}/messages/")
        for key in sorted(keys, key=lambda key: (len(key), key)):
            if key in self._read:
                continue
            self._read.add(key)
            text = client.get_object(Bucket=self.runs.bucket, Key=key)["Body"].read().decode()
            for line in text.splitlines():
                message = json.loads(line)
                params = message.get("params") or {}
                if message["method"] == "report_custom_message":
                    yield params["payload"]
                elif message["method"] == "log_external_stream":
                    to = sys.stderr if params["stream"] == "stderr" else sys.stdout
                    print(params["text"], end="", file=to)

    def _print_logs(self, run_id: str) -> None:
        """Prints the ends of the run's logs: what a job cannot report whose process died.

        The job's own output is in the first, what Spark and Java have to say in the second.
        """
        for group in (f"{self.runs.logs}/output", f"{self.runs.logs}/error"):
            try:
                # Glue 5 names a driver's stream so; those before gave it the run's name alone.
                for stream in (f"{run_id}-driver", run_id):
                    if lines := aws.log_end(group, stream, LOG_LINES):
                        print(
                            f"--- The end of {group}, {stream}:", *lines, sep="\n", file=sys.stderr
                        )
            except (aws.client("logs").exceptions.ClientError, *aws.connection_errors()) as error:
                dg.get_dagster_logger().warning(f"{group} cannot be read: {error}")


def _folder(run: str) -> str:
    return f"{RUNS}{run}"


def _pipes_arguments(bucket: str, run: str) -> dict[str, str]:
    """By what the job finds its way to report: a Pipes session without a process at its end."""
    context: Json = {
        "asset_keys": None,
        "code_version_by_asset_key": None,
        "provenance_by_asset_key": None,
        "partition_key": None,
        "partition_key_range": None,
        "partition_time_window": None,
        "run_id": run,
        "job_name": None,
        "retry_number": 0,
        "extras": {},
    }
    messages = {
        "bucket": bucket,
        "key_prefix": f"{_folder(run)}/messages",
        PipesS3MessageWriter.INCLUDE_STDIO_IN_MESSAGES_KEY: True,
    }
    parameters = {
        DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT: {PipesDefaultContextLoader.DIRECT_KEY: context},
        DAGSTER_PIPES_MESSAGES_CLI_ARGUMENT: messages,
    }
    return {name: encode_param(value) for name, value in parameters.items()}
