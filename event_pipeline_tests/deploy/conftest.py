"""ministack, a stand-in of AWS on 127.0.0.1, and an account in it."""

import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from event_pipeline import aws
from event_pipeline.deploy.account import Account

START_SECONDS = 60
REGION = "eu-west-1"


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where ministack listens; it is gone afterwards."""
    folder = tmp_path_factory.mktemp("ministack")
    port = _free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "TMPDIR": str(folder),
        "HOME": str(folder),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        # Which would listen for all the world.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
    }
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(port, process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder as the current one, and an environment that knows nothing of AWS."""
    _forget_aws(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def signed_in(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    """An account whose services do not answer."""
    _sign_in(monkeypatch, "http://127.0.0.1:9")
    return Account()


@pytest.fixture(scope="session")
def clients(endpoint: str) -> dict[str, Any]:
    """An account's clients of ministack: to make them takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        _forget_aws(patch)
        _sign_in(patch, endpoint)
        account = Account()
        names = ("cloudformation", "glue", "kms", "number", "s3", "session")
        return {name: getattr(account, name) for name in names}


@pytest.fixture
def account(
    nowhere: Path, endpoint: str, clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Account:
    """An account in ministack; stacks of other tests are in it too."""
    _sign_in(monkeypatch, endpoint)
    account = Account()
    vars(account).update(clients)
    return account


@pytest.fixture
def console() -> Console:
    """A terminal that `shown` reads."""
    return Console(file=io.StringIO(), width=200)


def shown(console: Console) -> str:
    """All that the terminal shows."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _forget_aws(patch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "EVENT_PIPELINE_")):
            patch.delenv(name)
    patch.setenv("AWS_CONFIG_FILE", os.devnull)
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    aws.clear_caches()


def _sign_in(patch: pytest.MonkeyPatch, endpoint: str) -> None:
    patch.setenv("AWS_ACCESS_KEY_ID", "test")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    patch.setenv("AWS_REGION", REGION)
    patch.setenv("AWS_ENDPOINT_URL", endpoint)
    aws.clear_caches()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/_ministack/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"ministack does not answer:\n{log.read_text()[-2000:]}")
