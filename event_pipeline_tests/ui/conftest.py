"""`dagster dev` on a home of its own, and headless Chromium to look at it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import dagster as dg
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from event_pipeline.home import ensure_home
from event_pipeline.settings import Settings

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_SECONDS = 120
STOP_SECONDS = 10


@dataclass(frozen=True)
class Server:
    """A running `dagster dev`."""

    url: str
    settings: Settings
    instance: dg.DagsterInstance

    def latest(self, asset: str, partition: str) -> dg.EventLogRecord | None:
        """The latest materialization of an asset's partition."""
        found = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(asset.split("/")), asset_partitions=[partition]),
            limit=1,
        )
        return found.records[0] if found.records else None


@pytest.fixture(scope="session")
def server(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server; it and all that it started are gone afterwards."""
    home = tmp_path_factory.mktemp("ui")
    # Enough broken lines that each hour surely has some.
    settings = Settings(home=home, events_per_slot=500, fault_share=0.02)
    ensure_home(settings)
    url, log = f"http://127.0.0.1:{(port := _free_port())}", home / "dagster.log"
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("EVENT_PIPELINE_")},
        "EVENT_PIPELINE_HOME": str(settings.home),
        "EVENT_PIPELINE_EVENTS_PER_SLOT": str(settings.events_per_slot),
        "EVENT_PIPELINE_FAULT_SHARE": str(settings.fault_share),
        "DAGSTER_HOME": str(settings.dagster_home),
        # `dagster dev` starts the others by name.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = ["-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", *command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_it_answers(process, url, log)
        with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
            yield Server(url, settings, instance)
    finally:
        _end(process)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(f"{url}/server_info", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"dagster dev does not answer:\n{log.read_text()[-5000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the process group: first in good order, then for certain."""
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Continuous integration (CI=true) must have it; elsewhere, skip."""
    if not CHROMIUM.exists():
        reason = f"{CHROMIUM} is missing: apt-get install chromium"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, server: Server, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A fresh window on the server. Errors on its console fail the test."""
    context = browser.new_context(
        base_url=server.url, viewport={"width": 1500, "height": 1400}, timezone_id="UTC"
    )
    errors: list[str] = []
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    yield page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{request.node.name}.png")
    context.close()
    assert not errors
