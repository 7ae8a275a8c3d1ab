"""`event-pipeline repair`, in a home whose name holds all that a name may hold."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from event_pipeline.cli import app
from event_pipeline.contracts import EVENTS, HOURLY_REVENUE
from event_pipeline_tests.conftest import HOUR, Lab, jsonl
from event_pipeline_tests.lake.test_address import DAY, NASTY, line

QUERY = "SELECT user_id, count(*) AS n FROM silver.events GROUP BY 1 ORDER BY 1"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of one hour of events."""
    folder: Path = tmp_path_factory.mktemp("home") / NASTY.replace("\n", "")
    lab = Lab(folder / "lake")
    lab.deliver(jsonl([line("u"), line("v"), "bad"]))
    result = run(folder, "sync")
    assert result.exit_code == 0, result.output
    return folder


def run(folder: Path, *words: str) -> Result:
    # Of three lines one is refused.
    settings = {"EVENT_PIPELINE_HOME": str(folder), "EVENT_PIPELINE_REFUSED_FAIL_SHARE": "0.5"}
    return CliRunner().invoke(app, words, env=settings)


def rows(folder: Path) -> object:
    return json.loads(run(folder, "query", QUERY, "--format", "json").stdout)


def lines(result: Result) -> list[str]:
    """What is said before the progress of sync."""
    assert result.exit_code == 0, result.output
    return result.stdout.split("Silver  arrival")[0].strip().splitlines()


def test_repair_says_what_it_made_anew_and_a_second_time_does_nothing(home: Path) -> None:
    before = rows(home)
    assert before == [{"user_id": "u", "n": 1}, {"user_id": "v", "n": 1}]
    lab = Lab(home / "lake")
    Path(lab.lake.live(EVENTS)[HOUR].paths[0]).unlink()
    Path(lab.lake.live(HOURLY_REVENUE)[DAY].prefix, "receipt.json").write_bytes(b"")
    told = run(home, "ledger")
    assert told.exit_code == 1
    assert f"damaged: silver.events {HOUR}: rows.parquet is lost" in told.stderr
    assert "Damaged parts of the lake" in run(home, "status").stdout
    said = lines(run(home, "repair"))
    assert said == [
        f"silver.events {HOUR}: rows.parquet is lost: rebuilt",
        f"gold.hourly_revenue {DAY}: receipt.json is lost or unreadable: rebuilt",
    ]
    assert rows(home) == before
    assert lines(run(home, "repair", "--verify")) == ["nothing is damaged"]


def test_repair_makes_a_catalog_and_a_table_anew(home: Path) -> None:
    before = rows(home)
    lab = Lab(home / "lake")
    Path(lab.lake.table(EVENTS).metadata_location).unlink()
    said = lines(run(home, "repair"))
    lost = "silver.events: its metadata is lost or unreadable: rebuilt from what can be read"
    assert said[0] == lost
    # Its state of before speaks of a file that is lost.
    assert said[1:] == [f"silver.events {HOUR}: rows.parquet is lost: rebuilt"]
    (home / "lake" / "catalog.db").write_bytes(b"garbage" * 100)
    refused = run(home, "query", QUERY)
    assert refused.exit_code == 2
    assert "event-pipeline repair" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    said = lines(run(home, "repair"))
    assert said == ["catalog.db: file is not a database: rebuilt"]
    assert rows(home) == before
    assert lines(run(home, "repair")) == ["nothing is damaged"]


def test_a_home_that_was_renamed_works_at_once(home: Path) -> None:
    before = rows(home)
    other = home.rename(home.with_name(f"{home.name} renamed"))
    try:
        assert rows(other) == before
        assert run(other, "ledger").exit_code == 0
        assert run(other, "sync").exit_code == 0
        assert rows(other) == before
        assert not home.exists()
    finally:
        other.rename(home)
