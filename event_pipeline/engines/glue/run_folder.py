"""A run's folder in the Pipes bucket: the request that it reads, the messages that it writes."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT,
    DAGSTER_PIPES_MESSAGES_CLI_ARGUMENT,
    PipesDefaultContextLoader,
    PipesS3MessageWriter,
    encode_param,
)

from event_pipeline import aws
from event_pipeline.engines.claims import RUNS
from event_pipeline.engines.glue.job import REQUEST, Json

# What Pipes calls a message that holds a report.
REPORT = "report_custom_message"


@dataclass
class RunFolder:
    """The folder of the run `run` (our own name for it, not Glue's id)."""

    bucket: str
    run: str
    _read: set[str] = field(default_factory=set, init=False)

    @property
    def request_uri(self) -> str:
        """Where the job finds its request."""
        return f"s3://{self.bucket}/{self._prefix}/request.json"

    @property
    def arguments(self) -> dict[str, str]:
        """The arguments with which the job is started."""
        return {REQUEST: self.request_uri, **self._pipes_arguments}

    def write_request(self, document: Json) -> None:
        """Writes the request, before the job is started."""
        text, key = json.dumps(document).encode(), f"{self._prefix}/request.json"
        aws.client("s3").put_object(Bucket=self.bucket, Key=key, Body=text)

    def write_report(self, report: Json) -> None:
        """Writes the only report of a run that is a process, as a job's run writes its own."""
        message = {"method": REPORT, "params": {"payload": report}}
        key = f"{self._prefix}/messages/1.json"
        aws.client("s3").put_object(Bucket=self.bucket, Key=key, Body=json.dumps(message).encode())

    @property
    def has_reports(self) -> bool:
        """Whether the run has written anything."""
        return bool(aws.keys(self.bucket, f"{self._prefix}/messages/"))

    def new_reports(self) -> Iterator[Json]:
        """The reports that came since the last call. Also prints what the job printed.

        Dagster keeps a step's own output, so the job's is kept with it.
        """
        client = aws.client("s3")
        keys = aws.keys(self.bucket, f"{self._prefix}/messages/")
        # They are named 1.json, 2.json and so on.
        for key in sorted(keys, key=lambda key: (len(key), key)):
            if key in self._read:
                continue
            self._read.add(key)
            text = client.get_object(Bucket=self.bucket, Key=key)["Body"].read().decode()
            for line in text.splitlines():
                message = json.loads(line)
                params = message.get("params") or {}
                if message["method"] == REPORT:
                    yield params["payload"]
                elif message["method"] == "log_external_stream":
                    to = sys.stderr if params["stream"] == "stderr" else sys.stdout
                    print(params["text"], end="", file=to)

    @property
    def _prefix(self) -> str:
        return f"{RUNS}{self.run}"

    @property
    def _pipes_arguments(self) -> dict[str, str]:
        """Job arguments that point Pipes at this run's S3 folder; no Pipes session is open here."""
        context: Json = {
            "asset_keys": None,
            "code_version_by_asset_key": None,
            "provenance_by_asset_key": None,
            "partition_key": None,
            "partition_key_range": None,
            "partition_time_window": None,
            "run_id": self.run,
            "job_name": None,
            "retry_number": 0,
            "extras": {},
        }
        messages = {
            "bucket": self.bucket,
            "key_prefix": f"{self._prefix}/messages",
            PipesS3MessageWriter.INCLUDE_STDIO_IN_MESSAGES_KEY: True,
        }
        parameters = {
            DAGSTER_PIPES_CONTEXT_CLI_ARGUMENT: {PipesDefaultContextLoader.DIRECT_KEY: context},
            DAGSTER_PIPES_MESSAGES_CLI_ARGUMENT: messages,
        }
        return {name: encode_param(value) for name, value in parameters.items()}
