"""The twin for tests: a process of its own, with a folder of its own."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import boto3

from event_pipeline_tests.twin.emulator import CALLS, ENVIRONMENT
from event_pipeline_tests.twin.orders import PATH

ROOT = Path(__file__).parents[2]
SECONDS_TO_START = 60
SECONDS_TO_END = 20


@dataclass(frozen=True)
class Call:
    """One permission that a call needed: whose, what, of which resource, and HTTP's status.

    `key` is the access key that signed the call, `prefix` what a listing of a bucket asked for.
    """

    time: str
    principal: str
    key: str
    action: str
    resource: str
    status: int
    prefix: str | None = None


class Twin:
    """A twin while the `with` block lasts; with `auth` it enforces policies.

    In `folder`, by default a temporary one: `log` of the twin itself, and `jobs/RUN/output` and
    `error` of each job run.
    """

    def __init__(self, folder: Path | None = None, *, auth: bool = False, port: int = 0) -> None:
        self._temporary = None if folder else TemporaryDirectory(prefix="event-pipeline-twin-")
        self.folder = Path(folder or self._temporary.name)  # type: ignore[union-attr]
        self.auth = auth
        self.port = port
        self.log = self.folder / "log"
        self.environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Starts it and waits until it answers. Raises RuntimeError, with the log, if it ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / ENVIRONMENT).unlink(missing_ok=True)
        options = ["--data", str(self.folder), "--port", str(self.port), "--attached"]
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __package__, *options, *(["--auth"] if self.auth else [])],
                cwd=ROOT,
                env={k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
                # The twin ends when this process does, however it does.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        limit = time.monotonic() + SECONDS_TO_START
        while not (self.folder / ENVIRONMENT).exists():
            if self._process.poll() is not None or time.monotonic() > limit:
                self.stop()
                raise RuntimeError(f"the twin did not start: {self.log.read_text()[-4000:]}")
            time.sleep(0.02)
        lines = (self.folder / ENVIRONMENT).read_text().splitlines()
        self.environment = dict(line.split("=", 1) for line in lines)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._temporary:
            self._temporary.cleanup()

    def stop(self) -> None:
        """Ends it and all that it started; objects and state stay in the folder."""
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_END)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin:
            process.stdin.close()

    @property
    def endpoint(self) -> str:
        """Where all services are."""
        return self.environment["AWS_ENDPOINT_URL"]

    def client(self, service: str, environment: dict[str, str] | None = None) -> Any:
        """A boto3 client, of the root or of whom an environment names."""
        found = environment or self.environment
        return boto3.client(  # type: ignore[call-overload]  # of any service
            service,
            endpoint_url=self.endpoint,
            region_name=found["AWS_DEFAULT_REGION"],
            aws_access_key_id=found["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=found["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=found.get("AWS_SESSION_TOKEN"),
        )

    def acting_as(self, role: str) -> dict[str, str]:
        """The environment of a process that has taken a role, given by its ARN."""
        taken = self.client("sts").assume_role(RoleArn=role, RoleSessionName="twin")
        credentials = taken["Credentials"]
        return {
            **self.environment,
            "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
            "AWS_SESSION_TOKEN": credentials["SessionToken"],
        }

    def order(self, **orders: Any) -> dict[str, Any]:
        """Changes `orders.Orders`; those that hold now. Raises ValueError if there is no such."""
        request = urllib.request.Request(self.endpoint + PATH, json.dumps(orders).encode())
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from None
        return found

    def calls(self) -> list[Call]:
        """All calls until now, in order."""
        lines = (self.folder / CALLS).read_text().splitlines()
        return [Call(**json.loads(line)) for line in lines]
