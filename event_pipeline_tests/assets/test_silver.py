"""silver/events and quarantine/events: what a person sees, and failures that stay contained."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from event_pipeline.contracts import EVENTS
from event_pipeline_tests.dagster_lab import HOUR, SILVER_ASSETS, SILVER_EVENTS, TODAY, Lab, text

ROOT = Path(__file__).parents[2]
MATERIALIZE = "dagster asset materialize -m event_pipeline.definitions"
QUARANTINE = SILVER_ASSETS[1]
HOURS = ["2026-03-10-09:00", "2026-03-10-10:00", HOUR]
BROKEN = b'not json\n{"event_type": "dance", "user_id": "u", "session_id": "s"}\n'


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab.open(tmp_path) as lab:
        yield lab


def seen(lab: Lab, asset: dg.AssetKey = SILVER_EVENTS) -> dict[str, Any]:
    """Metadata of the asset's latest materialization."""
    return {
        key: [record.data for record in value.records]
        if isinstance(value, dg.TableMetadataValue)
        else value.value
        for key, value in lab.materializations(asset)[-1].metadata.items()
    }


def test_a_person_sees_the_counts_the_ledger_the_reasons_and_a_preview(lab: Lab) -> None:
    key = lab.arrive(HOUR, events=4)
    lines = text(HOUR, 0, [TODAY], 4)
    lab.put(key, lines + lines[: lines.index(b"\n") + 1] + BROKEN)
    assert lab.materialize(SILVER_ASSETS, HOUR).success
    found = seen(lab)
    counts = {"lines": 7, "rows": 4, "duplicates": 1, "quarantined": 2}
    (ledger,) = found["ledger"]
    assert ledger | counts == ledger
    assert (ledger["balanced"], ledger["refused"]) == (True, round(2 / 7, 4))
    # Two of seven lines are bad, and they are not what the manifest promised.
    assert ledger["checks"].startswith("FAIL: bronze/events/")
    assert found["dagster/partition_row_count"] == 4
    assert {name: found[name] for name in ("lines", "duplicates", "quarantined")} == {
        name: counts[name] for name in ("lines", "duplicates", "quarantined")
    }
    reasons = found["rejected_by_reason"]
    assert {r["reason"]: r["lines"] for r in reasons} == {
        "malformed_json": 1,
        "timestamp_missing": 1,
        "event_type_unknown": 1,
    }
    assert all(r["meaning"] for r in reasons)
    assert found["event_dates_touched"] == [TODAY]
    assert found["bronze_objects"] == 1
    assert found["seconds"] > 0
    assert found["events_per_second"] > 0
    assert [c.name for c in found["dagster/column_schema"].columns] == list(EVENTS.column_names)
    assert found["preview"].count("\n| ") == 1 + 4  # the rule below the head, and the rows
    assert "user-2026-03-10" in found["preview"]


def test_the_quarantine_shows_the_lines_and_their_reasons(lab: Lab) -> None:
    lab.put(lab.arrive(HOUR), BROKEN)
    assert lab.materialize(SILVER_ASSETS, HOUR).success
    found = seen(lab, QUARANTINE)
    assert found["dagster/partition_row_count"] == 2
    assert "`not json`" in found["preview"]
    assert "malformed_json" in found["preview"]


def test_text_of_a_stranger_cannot_break_out_of_the_preview(lab: Lab) -> None:
    lab.put(lab.arrive(HOUR), b"<script>alert(1)</script> | ![x](http://evil) `code` | \x1b[31m\n")
    assert lab.materialize(SILVER_ASSETS, HOUR).success
    *_, row = seen(lab, QUARANTINE)["preview"].split("\n")
    assert row.count("`") == 2 * 2  # the line and the object's name
    assert row.replace("\\|", "").count("|") == 4
    assert "\x1b" not in row


@pytest.mark.parametrize("moment", ["0000-01-01T00:00:00Z", "9999-12-31T23:00:00-05:00"])
def test_a_date_that_python_cannot_hold_stops_nothing(lab: Lab, moment: str) -> None:
    strange = text(HOUR, 0, [TODAY], 1).replace(
        f"{TODAY}T00:00:00.000000Z".encode(), moment.encode()
    )
    assert moment.encode() in strange
    lab.put(lab.arrive(HOUR), strange + text(HOUR, 5, [TODAY], 2))
    assert lab.materialize(SILVER_ASSETS, HOUR).success
    assert lab.settle("gold_refresh") == [TODAY]


def test_an_hour_without_objects_is_made_and_shows_nothing(lab: Lab) -> None:
    assert lab.materialize(SILVER_ASSETS, HOUR).success
    assert seen(lab)["lines"] == 0
    assert seen(lab)["rejected_by_reason"] == "none"


def test_a_second_run_is_unchanged_and_on_record(lab: Lab) -> None:
    lab.arrive(HOUR)
    for _ in range(2):
        assert lab.materialize(SILVER_ASSETS, HOUR).success
    assert [m.metadata["status"].value for m in lab.materializations(SILVER_EVENTS)] == [
        "published",
        "unchanged",
    ]


def test_a_range_is_one_run_with_a_materialization_and_numbers_for_each_hour(lab: Lab) -> None:
    for n, hour in enumerate(HOURS, 1):
        lab.arrive(hour, events=n)
    assert lab.materialize_range(SILVER_ASSETS, HOURS[0], HOURS[-1]).success
    for asset in SILVER_ASSETS:
        assert {m.partition for m in lab.materializations(asset)} == set(HOURS)
    rows = {
        m.partition: m.metadata["dagster/partition_row_count"].value
        for m in lab.materializations(SILVER_EVENTS)
    }
    assert rows == {HOURS[0]: 1, HOURS[1]: 2, HOURS[2]: 3}
    assert len({m.tags["dagster/data_version"] for m in lab.materializations(SILVER_EVENTS)}) == 3  # type: ignore[index]
    lab.tick("arrivals")
    assert "nothing new" in str(lab.tick("arrivals").skip_message)


def test_an_hour_that_fails_leaves_the_others_published_and_says_why(lab: Lab) -> None:
    keys = [lab.arrive(hour, events=3) for hour in HOURS]
    lab.promise(keys[1], lines=5)
    run = lab.materialize_range(SILVER_ASSETS, HOURS[0], HOURS[-1])
    assert not run.success
    assert {m.partition for m in lab.materializations(SILVER_EVENTS)} == {HOURS[0], HOURS[2]}
    assert lab.rows() == 6
    checks = {c.check_name: c.passed for c in run.get_asset_check_evaluations() if not c.partition}
    assert checks == {"ledger_balances": False, "fields_are_known": True}
    for name in ("refused_share", "object_matches_manifest"):
        by_hour = lab.checks(SILVER_EVENTS, name)
        assert {hour: each.passed for hour, each in by_hour.items()} == {
            HOURS[0]: True,
            HOURS[2]: True,
        }
    why = f"{HOURS[1]}: the ledger does not balance: 5 lines, but 3 rows"
    (failed,) = run.get_step_failure_events()
    assert why in str(failed.step_failure_data.user_failure_data)
    # Only what failed is asked for again, and mended it goes through.
    assert [r.partition_key for r in lab.tick("arrivals").run_requests or ()] == [HOURS[1]]
    lab.promise(keys[1], lines=3)
    assert lab.materialize(SILVER_ASSETS, HOURS[1]).success
    assert lab.rows() == 9


def test_on_a_persistent_instance_a_new_process_knows_what_was_built(tmp_path: Path) -> None:
    with Lab.open(tmp_path, persistent=True) as lab:
        lab.arrive(HOUR)
        assert lab.settle("arrivals") == [HOUR]
    with Lab.open(tmp_path, persistent=True) as lab:
        tick = lab.tick("arrivals")
        assert (tick.run_requests, tick.asset_events) == ([], [])
        assert [r.partition_key for r in lab.tick("gold_refresh").run_requests or ()] == [TODAY]


@pytest.mark.parametrize(
    ("command", "rows"),
    [
        (f"{MATERIALIZE} --select silver/events --partition {HOUR}", 2),
        (f"{MATERIALIZE} --select silver/events --partition-range {HOURS[0]}...{HOUR}", 6),
        (f"dg launch --assets silver/events --partition {HOUR}", 2),
    ],
    ids=["partition", "range", "dg"],
)
def test_the_command_line_materializes_it(
    lab: Lab, tmp_path: Path, command: str, rows: int
) -> None:
    for hour in HOURS:
        lab.arrive(hour)
    (tmp_path / "home").mkdir()
    program, *arguments = command.split()
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "DAGSTER_HOME": str(tmp_path / "home"),
            "EVENT_PIPELINE_HOME": str(lab.settings.home),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert lab.rows() == rows
