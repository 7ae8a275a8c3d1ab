"""The command line, as a person and as a script use it: real home, real runs."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from event_pipeline.cli import app

DAY = "2026-01-02"
# Packages that take long to import: what runs the work, and what reads tables and records.
ENGINES = {"duckdb", "sqlglot", "pyspark", "matplotlib", "boto3", "botocore", "grpc"}
TABLES_AND_RECORDS = {"dagster", "pyiceberg", "pyarrow", "sqlalchemy", "obstore"}
SETTINGS = {"pydantic_settings"}
UNNEEDED = {
    "--help": ENGINES | TABLES_AND_RECORDS | SETTINGS,
    "query --help": ENGINES | TABLES_AND_RECORDS | SETTINGS,
    "loads": ENGINES | TABLES_AND_RECORDS,
    "status": ENGINES,
    "ledger": ENGINES,
    "rollback silver.events": ENGINES,
    "query silver.events": ENGINES - {"duckdb", "sqlglot"},
}
PROGRAM = """
import sys
from event_pipeline.__main__ import main
try:
    main()
finally:
    print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""
NOPE = ("nope.csv", "--sql", "nope.sql")
USERS = ["load", *NOPE, "--dataset", "commerce_users"]


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
        "refused",
        "outside",
        "checks",
    ]
    assert line["refused"] == round(line["quarantined"] / line["lines"], 4)
    assert line["checks"].startswith("WARN: refused")  # FAULT_SHARE is above the threshold
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


def test_cost_says_what_a_volume_costs_and_when_an_engine_cannot_keep_up(tmp_path: Path) -> None:
    feed = ["cost", "--engine", "embedded", "--freshness-minutes", "5", "--format", "json"]
    found = run(tmp_path, *feed)
    assert found.exit_code == 0
    assert float(json.loads(found.stdout)[-1]["USD a day"]) < 3
    found = run(tmp_path, *feed, "--events-per-day", "18e9")
    assert found.exit_code == 1
    assert "would fall behind" in found.stderr


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
        ([*USERS, "--drop", DAY], {}, "nope.csv: no such file"),
        (["load", *NOPE, "--dataset", "users"], {}, "there is no dataset users; there are: events"),
        (USERS, {}, "commerce_users needs a --drop"),
        (
            [*USERS, "--drop", DAY, "--arrival-hour", f"{DAY}-00:00"],
            {},
            "commerce_users needs --drop instead of --arrival-hour",
        ),
        (["load", *NOPE, "--drop", DAY], {}, "--drop is for commerce datasets"),
        ([*USERS, "--drop", "1.1.26"], {}, "drop 1.1.26: expected a form like 2019-10-01"),
        (["sample-drop", "yesterday"], {}, "drop yesterday: expected a form like 2019-10-01"),
        (["sample-drop", "2999-01-01"], {}, "drop 2999-01-01 is in the future"),
        (["sample-drop", "1999-12-31"], {}, "set EVENT_PIPELINE_FIRST_DAY=1999-12-31"),
        (["query", "activity"], {}, "there is no table activity; there are: gold."),
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
    assert "is rolled back to" in run(home, "rollback", "gold.top_products", snapshot).stdout


def test_status_says_what_waits(home: Path, tmp_path: Path) -> None:
    assert "bronze/commerce_users" in run(home, "status").stdout
    mapping = tmp_path / "all.sql"
    mapping.write_text("SELECT * FROM input")
    events = tmp_path / "events.jsonl"
    events.write_text(
        '{"timestamp": "2026-01-01T00:00:00Z", "user_id": "u", "session_id": "s",'
        ' "event_type": "search"}\n'
    )
    assert run(tmp_path, "load", str(events), "--sql", str(mapping)).exit_code == 0
    told = run(tmp_path, "status")
    assert told.exit_code == 0
    assert "2026-01-01-00:00" in told.stdout
    assert "never built" in told.stdout
    assert "Nothing needs attention." in told.stdout
    [waiting] = json.loads(run(tmp_path, "status", "--format", "json").stdout)["waiting"]
    assert waiting == {
        "asset": "silver/events",
        "partition": "2026-01-01-00:00",
        "why": "never built",
    }


def test_env_prints_what_a_shell_needs(tmp_path: Path) -> None:
    said = run(tmp_path / "a home", "env").stdout
    assert f"export DAGSTER_HOME='{tmp_path}/a home/dagster'" in said
    assert (tmp_path / "a home" / "dagster" / "dagster.yaml").exists()


def test_the_ledger_has_the_tables_of_drops(home: Path) -> None:
    records = rows(run(home, "ledger", "--format", "json"))
    drops = [line for line in records if line["asset"].startswith("silver/commerce_")]
    assert {line["asset"] for line in drops} == {
        "silver/commerce_users",
        "silver/commerce_events",
        "silver/commerce_orders",
    }
    assert all(line["balanced"] and line["lines"] == 20_000 for line in drops)
    assert sum(line["quarantined"] for line in drops) > 0


def test_user_activity_has_the_promised_columns_first_and_adds_up(home: Path) -> None:
    found = rows(run(home, "query", "user_activity", "--format", "json"))
    promised = ["user_id", "country", "total_events", "total_orders", "revenue"]
    assert list(found[0])[:5] == promised
    counts = ", ".join(
        f"(SELECT count(*) FROM silver.commerce_{name}) AS {name}"
        for name in ("users", "events", "orders")
    )
    [silver] = rows(run(home, "query", f"SELECT {counts}", "--format", "json"))
    assert sum(row["users"] for row in found) == silver["users"]
    assert sum(row["total_events"] for row in found) == silver["events"]
    assert sum(row["total_orders"] for row in found) == silver["orders"]
    assert any(row["user_id"] is None for row in found)


def test_a_sample_drop_is_uploaded_once(tmp_path: Path) -> None:
    said = run(tmp_path, "sample-drop", DAY, "--records", "7").stdout.splitlines()
    assert said == [f"{name}.json: 7 records" for name in ("users", "events", "orders")]
    files = sorted((tmp_path / "lake" / "bronze" / "commerce" / f"date={DAY}").iterdir())
    assert [file.name for file in files] == ["events.json", "orders.json", "users.json"]
    before = [file.stat() for file in files]
    assert run(tmp_path, "sample-drop", DAY, "--records", "7").exit_code == 0
    assert [file.stat().st_mtime_ns for file in files] == [each.st_mtime_ns for each in before]


def test_a_file_is_loaded_as_a_dataset_of_a_drop(tmp_path: Path) -> None:
    words = load_users(tmp_path, "user_id\nu1\nu2\n")
    said = run(tmp_path, *words).stdout
    assert f"2 rows read, 1 objects written, 0 there already, partitions {DAY}" in said
    assert "0 objects written, 1 there already" in run(tmp_path, *words).stdout
    load_users(tmp_path, "user_id\nu3\n")
    replaced = run(tmp_path, *words)
    assert "1 rows read, 1 objects written" in replaced.stdout
    assert "replaces what was loaded on" in replaced.stderr

    [load] = rows(run(tmp_path, "loads", "--format", "json"))
    assert (load["dataset"], load["rows"], load["objects"]) == ("commerce_users", 1, 1)
    folder = tmp_path / "lake" / "bronze" / "commerce" / f"date={DAY}"
    (folder / "user.json").write_bytes(b'{"user_id": "u"}\n')
    assert "is removed: 1 rows in 1 objects" in run(tmp_path, "unload", load["load"]).stdout
    assert [file.name for file in folder.iterdir()] == ["user.json"]
    assert rows(run(tmp_path, "loads", "--format", "json")) == []
    assert run(tmp_path, "unload", load["load"]).exit_code == 2


def test_status_names_incomplete_drops_and_unusable_files_until_they_are_mended(
    tmp_path: Path,
) -> None:
    assert run(tmp_path, *load_users(tmp_path, "user_id\nu1\n")).exit_code == 0
    folder = tmp_path / "lake" / "bronze" / "commerce" / f"date={DAY}"
    (folder / "orders.json").write_bytes(b"")
    (folder / "my_orders.json").write_bytes(b"")
    told = run(tmp_path, "status")
    assert told.exit_code == 1
    said = told.stdout
    assert "Drops that are not complete (1)" in said
    for why in (
        "commerce_users (not built yet)",
        "commerce_events (no file)",
        "commerce_orders (orders.json: empty)",
    ):
        assert why in " ".join(said.split())
    found = json.loads(run(tmp_path, "status", "--format", "json").stdout)
    assert [r["object"] for r in found["unusable"]] == [f"bronze/commerce/date={DAY}/orders.json"]
    assert [r["object"] for r in found["unread"]] == [f"bronze/commerce/date={DAY}/my_orders.json"]
    stuck = run(tmp_path, "sync")
    assert stuck.exit_code == 1
    assert f"Objects that cannot be used: bronze/commerce/date={DAY}/orders.json" in stuck.stdout

    (folder / "orders.json").unlink()
    synced = run(tmp_path, "sync")
    assert synced.exit_code == 0
    assert "my_orders.json" in synced.stdout
    told = run(tmp_path, "status")
    assert told.exit_code == 1  # my_orders.json is read by nothing
    assert "commerce_users (" not in told.stdout
    assert "cannot be used" not in told.stdout
    (folder / "my_orders.json").unlink()
    assert run(tmp_path, "status").exit_code == 0


def test_sync_says_what_was_refused_and_exits_1(tmp_path: Path) -> None:
    drop = tmp_path / "lake" / "bronze" / "commerce" / f"date={DAY}"
    drop.mkdir(parents=True)
    order = {"order_id": "o1", "order_amount": 1, "currency": "EUR", "payment_status": "success"}
    (drop / "orders.json").write_text(json.dumps({**order, "order_timestamp": DAY}))
    for _ in range(2):
        synced = run(tmp_path, "sync")
        assert synced.exit_code == 1
        assert "no row is left" in synced.stdout
    [line] = rows(run(tmp_path, "ledger", "--format", "json"))
    assert line["checks"].startswith("FAIL: refused 1 of 1 lines")
    (drop / "orders.json").write_text(json.dumps({**order, "order_timestamp": f"{DAY} 10:00:00"}))
    assert run(tmp_path, "sync").exit_code == 0


@pytest.mark.parametrize("words", UNNEEDED)
def test_a_command_imports_nothing_large_that_it_does_not_need(home: Path, words: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words.split()],
        env={**os.environ, "EVENT_PIPELINE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(ended.stderr.splitlines()[-1].split())
    assert "event_pipeline" in imported
    assert not imported & UNNEEDED[words]


def load_users(tmp_path: Path, text: str) -> list[str]:
    """The words that load these users as a drop's."""
    file, mapping = tmp_path / "users.csv", tmp_path / "users.sql"
    file.write_text(text)
    mapping.write_text("SELECT * FROM input")
    options = {"--sql": str(mapping), "--dataset": "commerce_users", "--drop": DAY}
    return ["load", str(file), *(word for option in options.items() for word in option)]
