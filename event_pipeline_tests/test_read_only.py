"""Reading needs no right to write; without it, writing is refused in a line."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from event_pipeline.contracts import HOURLY_REVENUE
from event_pipeline_tests.conftest import HOUR, Lab, jsonl
from event_pipeline_tests.lake.test_address import DAY, content, line

# Without these root is bound by a file's mode as others are.
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]
pytestmark = pytest.mark.skipif(
    os.getuid() == 0 and not shutil.which("setpriv"), reason="root may write everywhere"
)


def run(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """A command by one who may only read."""
    command = [sys.executable, "-c", "from event_pipeline.__main__ import main; main()", *words]
    return subprocess.run(
        [*(BOUND if os.getuid() == 0 else []), *command],
        env={**os.environ, "EVENT_PIPELINE_HOME": str(home), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home that was moved, and that may not be written to."""
    first: Path = tmp_path_factory.mktemp("home") / "first"
    lab = Lab(first / "lake")
    lab.deliver(jsonl([line("u")]))
    lab.build()
    lab.gold(HOURLY_REVENUE, DAY)
    (first / "dagster").mkdir()
    home = first.rename(first.with_name("home"))
    every = [home, *home.rglob("*")]
    for path in every:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield home
    for path in every:
        path.chmod(0o755)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("query", "SELECT user_id FROM silver.events", "--format", "csv"), "user_id\nu\n"),
        (("ledger",), HOUR),
        (("status",), "silver.events"),
        (("rollback", "gold.hourly_revenue"), DAY),
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else "",
)
def test_reading_needs_no_right_to_write(home: Path, words: tuple[str, ...], said: str) -> None:
    before = content(home)
    result = run(home, *words)
    assert (result.returncode, result.stderr) == (0, "")
    assert said in result.stdout
    assert content(home) == before


@pytest.mark.parametrize(
    "words", [("sync",), ("repair",), ("maintain",), ("rollback", "events", "1")], ids=str
)
def test_writing_is_refused_in_a_line(home: Path, words: tuple[str, ...]) -> None:
    before = content(home)
    result = run(home, *words)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert str(home) in result.stderr
    assert content(home) == before


def test_a_home_that_is_not_there_is_empty_and_is_not_made(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    result = run(tmp_path / "nothing", "query", "SELECT count(*) n FROM silver.events")
    assert (result.returncode, result.stderr) == (0, "")
    assert "0" in result.stdout
    assert list(tmp_path.iterdir()) == []
    refused = run(tmp_path / "nothing", "sync")
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1
