"""ministack in this process, with the twin's hooks, until it is told to end."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
import threading
import urllib.request
from importlib import import_module
from pathlib import Path
from typing import Any

from event_pipeline_tests.twin import athena, callers, glue, orders, recorder, runtime
from event_pipeline_tests.twin.hooks import service

HOST = "127.0.0.1"
REGION = "us-east-1"
# In the folder: where a program finds the twin, and what was called.
ENVIRONMENT, CALLS = "environment", "calls.jsonl"
STATEMENTS = "event_pipeline_tests.twin.statements"


def environment(port: int) -> dict[str, str]:
    """What an AWS SDK needs to know, as environment variables."""
    return {
        "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def serve(folder: Path, port: int, *, auth: bool, attached: bool) -> None:
    """Serves until SIGTERM or SIGINT, or with `attached` until standard input ends.

    Objects and state are kept in `folder`, and are there again at the next start. With `auth`,
    policies are enforced for everybody but the root, whose access key is `test`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listener = socket.create_server((HOST, port))
    port = listener.getsockname()[1]
    found = environment(port)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    os.environ.update(
        found,
        AUTH=str(auth).lower(),
        BIND_HOST=HOST,
        GATEWAY_PORT=str(port),
        # It would listen on all interfaces.
        IOT_MTLS_ENABLED="0",
        LAMBDA_EXECUTOR="local",
        LOG_LEVEL="WARNING",
        MINISTACK_HOST=HOST,
        PERSIST_STATE="1",
        PYTHONPATH=str(runtime.packages(scratch / "packages", runtime.LAMBDA)),
        S3_DATA_DIR=str(folder / "s3"),
        S3_PERSIST="1",
        SFTP_ENABLED="0",
        STATE_DIR=str(folder / "state"),
        TMPDIR=str(scratch),
    )
    tempfile.tempdir = str(scratch)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        os.environ.pop(name, None)
    callers.hook()
    recorder.hook(folder / CALLS)
    runtime.hook(scratch)
    orders.hook()
    jobs, queries = glue.Jobs(folder / "jobs"), athena.Queries()
    jobs.hook()
    queries.hook()

    def end() -> None:
        queries.stop()
        jobs.stop()
        service("core.lambda_runtime").reset()

    asyncio.run(_serve(listener, folder, found, attached=attached, end=end))


async def _serve(
    listener: socket.socket, folder: Path, found: dict[str, str], *, attached: bool, end: Any
) -> None:
    from hypercorn.asyncio import serve as serve_asgi
    from hypercorn.config import Config

    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    if attached:
        threading.Thread(target=_wait_for_end, args=(loop, over), daemon=True).start()

    async def until_over() -> None:
        await over.wait()
        await asyncio.to_thread(end)

    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    config.graceful_timeout = 1
    announcing = asyncio.create_task(asyncio.to_thread(_announce, folder, found))
    await serve_asgi(service("app").app, config, shutdown_trigger=until_over)
    await announcing


def _wait_for_end(loop: asyncio.AbstractEventLoop, over: asyncio.Event) -> None:
    sys.stdin.buffer.read()
    loop.call_soon_threadsafe(over.set)


def _announce(folder: Path, found: dict[str, str]) -> None:
    """Says where the twin is, once it answers."""
    with urllib.request.urlopen(f"{found['AWS_ENDPOINT_URL']}/_ministack/health", timeout=60):
        text = "".join(f"{name}={value}\n" for name, value in found.items())
    unfinished = folder / f"{ENVIRONMENT}.new"
    unfinished.write_text(text)
    unfinished.replace(folder / ENVIRONMENT)
    print(text, end="", flush=True)
    # The first query would wait for it.
    threading.Thread(target=import_module, args=(STATEMENTS,), daemon=True).start()
