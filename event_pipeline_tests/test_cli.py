"""The command line, as a person and as a script use it: real home, real runs."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from event_pipeline.cli import app

EXAMPLES = Path(__file__).parent / "examples"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the demo ran."""
    folder: Path = tmp_path_factory.mktemp("home")
    result = run(folder, "demo", "--hours", "1", EVENTS_PER_SLOT="300", FAULT_SHARE="0.02")
    assert result.exit_code == 0, result.output
    assert "Ledger" in result.output
    assert "gold.hourly_revenue" in result.output
    return folder


def run(folder: Path, *words: str, **settings: str) -> Result:
    environment = {f"EVENT_PIPELINE_{name}": value for name, value in settings.items()}
    return CliRunner().invoke(app, words, env={"EVENT_PIPELINE_HOME": str(folder), **environment})


def rows(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_the_demo_again_changes_nothing(home: Path) -> None:
    before = rows(run(home, "ledger", "--format", "json"))
    assert run(home, "demo", "--hours", "1", EVENTS_PER_SLOT="300").exit_code == 0
    assert rows(run(home, "ledger", "--format", "json"))[: len(before)] == before


def test_the_ledger_balances_and_says_so(home: Path) -> None:
    [line, *_] = rows(run(home, "ledger", "--format", "json"))
    assert list(line) == [
        "asset",
        "partition",
        "lines",
        "rows",
        "duplicates",
        "quarantined",
        "balanced",
    ]
    assert line["asset"] == "silver/events"
    assert line["lines"] == line["rows"] + line["duplicates"] + line["quarantined"]
    assert line["balanced"] is True
    assert line["quarantined"] > 0
    assert line["duplicates"] > 0


def test_gold_adds_up_to_silver(home: Path) -> None:
    [silver] = rows(run(home, "query", "SELECT count(*) n FROM silver.events", "--format", "json"))
    performance = rows(run(home, "query", "category_performance", "--format", "json"))
    activity = rows(run(home, "query", "gold.daily_user_activity", "--format", "json"))
    assert sum(r["total_events"] for r in performance) == silver["n"]
    assert sum(r["total_events"] for r in activity) == silver["n"]


def test_json_and_csv_hold_the_same_rows_in_the_promised_columns(home: Path) -> None:
    as_json = rows(run(home, "query", "hourly_revenue", "--format", "json"))
    as_csv = list(
        csv.DictReader(io.StringIO(run(home, "query", "hourly_revenue", "--format", "csv").stdout))
    )
    promised = ["year", "month", "day", "hour", "total_revenue", "units_sold", "purchase_events"]
    assert list(as_csv[0])[:7] == list(as_json[0])[:7] == promised
    assert [r["units_sold"] for r in as_json] == [int(r["units_sold"]) for r in as_csv]
    assert all(isinstance(r["total_revenue"], float) for r in as_json)


def test_athena_sql_runs_over_all_three_layers(home: Path) -> None:
    query = (
        "SELECT q.n AS refused, s.n AS kept FROM (SELECT count(*) n FROM quarantine.events) q"
        " CROSS JOIN (SELECT count_if(event_ts < current_timestamp) n FROM silver.events) s"
    )
    [row] = rows(run(home, "query", query, "--format", "json"))
    assert row["refused"] > 0
    assert row["kept"] > 0


@pytest.mark.parametrize(
    ("words", "settings", "said"),
    [
        (["query", "nope"], {}, "there is no table nope; there are: gold."),
        (["query", "SELECT * FROM gold.nope"], {}, "there is no table gold.nope"),
        (["query", "SELECT nope FROM silver.events"], {}, '"nope" not found'),
        (["query", "SELEC 1 2"], {}, "event-pipeline: "),
        (["query", "DROP TABLE silver.events"], {}, "one SELECT statement"),
        (["query", "SELECT 1; SELECT 2"], {}, "one SELECT statement"),
        (["query", "SELECT * FROM read_csv('/etc/passwd')"], {}, "event-pipeline: "),
        (["ledger"], {"SEED": "x"}, "EVENT_PIPELINE_SEED='x': Input should be a valid integer"),
        (["ledger"], {"TARGET": "moon"}, "EVENT_PIPELINE_TARGET='moon': Input should be 'local'"),
        (["rollback", "nope"], {}, "there is no table nope"),
        (["rollback", "events", "1"], {}, "silver.events has no snapshot 1"),
        (["load", "nope.csv", "--sql", "nope.sql"], {}, "nope.csv: no such file"),
    ],
)
def test_a_wrong_word_is_one_clear_line_and_exit_code_2(
    home: Path, words: list[str], settings: dict[str, str], said: str
) -> None:
    result = run(home, *words, **settings)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.output


def test_rollback_lists_states_and_goes_back_to_one(home: Path) -> None:
    versions = run(home, "rollback", "gold.top_products").stdout
    snapshot = next(word for word in versions.split() if word.isdigit() and len(word) > 12)
    assert run(home, "rollback", "gold.top_products", snapshot).exit_code == 0
    assert "is back at" in run(home, "rollback", "gold.top_products", snapshot).stdout


def test_status_says_what_waits(home: Path, tmp_path: Path) -> None:
    assert "bronze/commerce_users" in run(home, "status").stdout
    mapping = tmp_path / "all.sql"
    mapping.write_text("SELECT * FROM input")
    events = tmp_path / "events.jsonl"
    events.write_text(
        '{"timestamp": "2026-01-01T00:00:00Z", "user_id": "u", "event_type": "search"}\n'
    )
    assert run(tmp_path, "load", str(events), "--sql", str(mapping)).exit_code == 0
    said = run(tmp_path, "status").stdout
    assert "2026-01-01-00:00" in said
    assert "never built" in said


def test_env_prints_what_a_shell_needs(tmp_path: Path) -> None:
    said = run(tmp_path / "a home", "env").stdout
    assert f"export DAGSTER_HOME='{tmp_path}/a home/dagster'" in said
    assert (tmp_path / "a home" / "dagster" / "dagster.yaml").exists()
