"""One Glue job: starts, finds, watches and stops its runs, and reads their logs."""

import sys
from dataclasses import dataclass
from typing import Any

import dagster as dg

from event_pipeline import aws

Json = dict[str, Any]

# The argument that names a run's request. Every run has its own file, so this identifies the run.
REQUEST = "--request"
# The states of a run that has not ended. Any other state, known or not, is an end.
RUNNING = {"STARTING", "RUNNING", "STOPPING", "WAITING"}
# How far, in seconds, Glue's clock may be behind ours when a run is looked for.
SKEW_SECONDS = 300
# Lines that are shown of each log of a failed run.
LOG_LINES = 200


@dataclass(frozen=True)
class GlueJob:
    """A Glue job by its name. Errors of its methods are botocore's.

    `logs` is the prefix of its two log groups, <logs>/output and <logs>/error.
    """

    name: str
    logs: str

    def start(self, arguments: dict[str, str]) -> str | None:
        """Starts a run; returns its id, or None if Glue has no room for it now.

        Whether a run was started is unknown after a ClientError of status 500 or more, and after
        one of `aws.connection_errors()`.
        """
        # The client must not repeat the call by itself: that could start a second run.
        client = aws.client_without_retries("glue", read_timeout=60)
        try:
            return str(client.start_job_run(JobName=self.name, Arguments=arguments)["JobRunId"])
        except (
            client.exceptions.ConcurrentRunsExceededException,
            client.exceptions.ResourceNumberLimitExceededException,
        ):
            return None
        except client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] == "ThrottlingException":
                return None
            raise

    def find(self, request_uri: str, since: float) -> str | None:
        """The id of the run with this request, started after `since` (Unix seconds), if any."""
        pages = aws.client("glue").get_paginator("get_job_runs").paginate(JobName=self.name)
        for page in pages:  # the latest run first
            for run in page["JobRuns"]:
                if run.get("Arguments", {}).get(REQUEST) == request_uri:
                    return str(run["Id"])
                if run["StartedOn"].timestamp() < since - SKEW_SECONDS:
                    return None
        return None

    def run(self, run_id: str) -> Json:
        """What Glue says of a run."""
        answer = aws.client("glue").get_job_run(JobName=self.name, RunId=run_id)
        run: Json = answer["JobRun"]
        return run

    def stop(self, run_id: str) -> None:
        """Asks Glue to stop a run, which takes it a while; warns if Glue refuses."""
        answer = aws.client("glue").batch_stop_job_run(JobName=self.name, JobRunIds=[run_id])
        for refused in answer.get("Errors", []):
            # Glue also refuses if the run has ended by itself, which is fine.
            if self.run(run_id)["JobRunState"] in RUNNING - {"STOPPING"}:
                reason = refused.get("ErrorDetail", {}).get("ErrorMessage", "no reason given")
                dg.get_dagster_logger().warning(f"Glue could not stop {run_id}: {reason}")

    def print_log_ends(self, run_id: str) -> None:
        """Prints the last lines of a run's logs to stderr: they say why a job died unreported.

        The first log is the job's own output, the second is that of Spark and Java. A log that
        cannot be read is a warning.
        """
        for group in (f"{self.logs}/output", f"{self.logs}/error"):
            try:
                # Glue 5 calls a driver's stream <run>-driver; before, it was the run's id alone.
                for stream in (f"{run_id}-driver", run_id):
                    if lines := aws.log_end(group, stream, LOG_LINES):
                        head = f"--- The last lines of {group}, {stream}:"
                        print(head, *lines, sep="\n", file=sys.stderr)
            except (aws.client("logs").exceptions.ClientError, *aws.connection_errors()) as error:
                dg.get_dagster_logger().warning(f"{group} cannot be read: {error}")
