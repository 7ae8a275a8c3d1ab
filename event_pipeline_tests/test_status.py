"""Status: whatever waits, is wrong or strange is named, with its count, and nothing stops it."""

import gzip
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from event_pipeline.contracts import COMMERCE_ORDERS, EVENTS, HOURLY_REVENUE
from event_pipeline.lake.tables import Lake
from event_pipeline.status import ERRORS_KEY, as_json, as_tables, needing_attention, survey
from event_pipeline.tags import NOT_IN_LAKE, WHY
from event_pipeline_tests.dagster_lab import (
    DROP,
    HOUR,
    SILVER_ASSETS,
    TODAY,
    Lab,
    a_user,
    an_event,
    an_order,
    jsonl,
    requests,
    text,
)

QUIET_SECTIONS = {"bronze", "tables"}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab.open(tmp_path) as lab:
        yield lab


def told(lab: Lab) -> dict[str, list[dict[str, Any]]]:
    """What the sections tell, those that only count left out."""
    found = as_json(survey(lab.settings, lab.instance))
    return {key: records for key, records in found.items() if records and key not in QUIET_SECTIONS}


def needs(lab: Lab) -> list[str]:
    return needing_attention(survey(lab.settings, lab.instance))


def records(value: dg.MetadataValue[Any]) -> list[dict[str, Any]]:
    """What a table in the UI shows."""
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def settle(lab: Lab) -> None:
    for sensor in ("arrivals", "gold_refresh"):
        lab.settle(sensor)


def test_what_is_built_and_right_says_nothing(lab: Lab) -> None:
    lab.arrive(HOUR)
    assert told(lab)["waiting"] == [
        {"asset": "silver/events", "partition": HOUR, "why": "never built"}
    ]
    settle(lab)
    assert told(lab) == {}
    assert needs(lab) == []
    found = as_json(survey(lab.settings, lab.instance))
    assert found["bronze"][0]["objects"] == found["bronze"][0]["partitions"] == 1
    assert {r["table"]: r["rows"] for r in found["tables"]}["silver.events"] == 2


def test_what_changed_or_went_waits(lab: Lab) -> None:
    key = lab.arrive(HOUR)
    settle(lab)
    lab.arrive(HOUR, minute=5)
    assert [r["why"] for r in told(lab)["waiting"]] == ["its objects have changed since"]
    lab.settle("arrivals")
    assert {r["why"] for r in told(lab)["waiting"]} == {"Silver has changed since"}
    settle(lab)
    lab.delete(key)
    assert [r["why"] for r in told(lab)["waiting"]] == ["its objects have changed since"]


def test_with_a_day_only_its_partitions_and_later_ones_are_looked_at(lab: Lab) -> None:
    """The others may be as they like."""
    day = HOUR[:10]
    before = "2026-03-08-23:00"
    assert before < day
    for hour in (before, HOUR):
        lab.arrive(hour)
    settle(lab)
    lab.arrive(before, minute=5)
    lab.put("bronze/events/year=2026/month=03/day=08/hour=23/minute=10/odd.txt", b"")
    lake = lab.resources.lake
    Path(lake.live(EVENTS)[before].paths[0]).unlink()
    assert {"waiting", "damaged", "unread"} <= told(lab).keys()

    def since(day: str) -> dict[str, Any]:
        found = as_json(survey(lab.settings, lab.instance, date.fromisoformat(day)))
        return {key: records for key, records in found.items() if records}

    assert since(day).keys() == QUIET_SECTIONS
    assert [r["partitions"] for r in since(day)["bronze"]][:1] == [1]
    assert since(before[:10]).keys() == {*QUIET_SECTIONS, *told(lab)}
    assert since("2026-03-11").keys() == QUIET_SECTIONS
    lab.arrive(HOUR, minute=5)
    assert [r["partition"] for r in since(day)["waiting"]] == [HOUR]


def test_what_the_lake_lost_waits_and_comes_back(lab: Lab) -> None:
    lab.arrive(HOUR)
    settle(lab)
    rows = lab.rows()
    (lab.settings.lake / "catalog.db").unlink()
    lab.forget_tables()
    whys = {record["asset"]: record["why"] for record in told(lab)["waiting"]}
    assert whys["silver/events"] == "recorded as built, but silver.events does not hold it"
    assert whys["gold/hourly_revenue"] == "recorded as built, but not in the lake"
    tick = lab.tick("arrivals")
    assert [(r.partition_key, r.tags[WHY]) for r in requests(tick)] == [(HOUR, NOT_IN_LAKE)]
    assert requests(lab.tick("gold_refresh")) == []  # Silver is brought back first.
    lab.run(requests(tick)[0])
    assert lab.rows() == rows
    settle(lab)
    assert told(lab) == {}


def test_everything_under_bronze_is_counted_by_kind_and_complete_as_json(lab: Lab) -> None:
    for n in range(50):
        lab.put(f"bronze/other/{n}.txt", b"")
    lab.put("bronze/events/year=2026/month=13/day=01/hour=10/x.jsonl.gz", b"")
    lab.put("bronze/events/year=2025/month=01/day=01/hour=10/x.jsonl.gz", b"")
    sections = survey(lab.settings, lab.instance)
    unread = as_json(sections)["unread"]
    assert len(unread) == 52
    assert {"object", "kind", "why"} == set(unread[0])
    titles = [title for title, _ in as_tables(sections)]
    assert "Objects under Bronze that nothing reads, under no dataset (50, the first 20)" in titles
    assert [line for line in needing_attention(sections) if "and 51 more" in line]


def test_a_cut_object_is_named_before_and_after_it_is_built(lab: Lab) -> None:
    key = lab.arrive(HOUR, events=2000)
    lab.settle("arrivals")
    path = lab.settings.lake / key
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for _ in range(2):
        (record,) = told(lab)["deviating"]
        assert (record["object"], record["partition"]) == (key, HOUR)
        assert record["promised_lines"] == 2000
        assert 0 < record["missing_lines"] == 2000 - record["lines"]
        assert any(key in line for line in needs(lab))
        lab.settle("arrivals")
    lab.put(key, b"")
    (lab.settings.lake / key.replace("events/", "_manifests/events/", 1)).with_suffix(
        ".gz.json"
    ).unlink()
    lab.settle("arrivals")
    assert "deviating" not in told(lab)


def test_what_was_refused_is_told_above_the_thresholds(lab: Lab) -> None:
    good, hours = text(HOUR, 0, [TODAY], 100), {}
    for n, bad in enumerate((0, 1, 2, 50)):
        hour = f"2026-03-10-0{n}:00"
        lab.put(lab.arrive(hour), good[: -1 if not bad else None] + b"bad\n" * bad)
        hours[hour] = bad
    lab.settle("arrivals")
    assert [(r["partition"], r["level"]) for r in told(lab)["refused"]] == [
        ("2026-03-10-02:00", "WARN"),
        ("2026-03-10-03:00", "FAIL"),
    ]
    assert told(lab)["refused"][1]["reasons"] == "malformed_json 50"
    (line,) = [line for line in needs(lab) if "refused" in line]
    assert "2026-03-10-03:00" in line
    assert "2026-03-10-02:00" not in line


def test_a_drop_of_which_no_order_is_left_needs_attention(lab: Lab) -> None:
    lab.upload(DROP, "orders.json", jsonl({**an_order("o1", "u1"), "order_timestamp": DROP}))
    lab.upload(DROP, "users.json", jsonl(a_user("u1")))
    lab.upload(DROP, "events.json", jsonl(an_event("e1", "u1")))
    lab.settle("drops")
    (record,) = told(lab)["refused"]
    assert (record["asset"], record["level"]) == (COMMERCE_ORDERS.asset, "FAIL")
    assert "no row is left" in record["why"]
    assert record["reasons"] == "order_timestamp_invalid 1"


def test_rows_that_no_gold_date_holds_are_counted_for_as_long_as_it_is_so(lab: Lab) -> None:
    key = lab.arrive(HOUR, days=[TODAY, "2026-02-28", "2099-01-01"], events=3)
    lab.settle("arrivals")
    assert [(r["event_date"], r["rows"], r["why"]) for r in told(lab)["outside"]] == [
        ("2026-02-28", 3, "before the first day"),
        ("2099-01-01", 3, "yet to come"),
    ]
    assert needs(lab) == []
    lab.put(key, text(HOUR, 0, [TODAY], 3))
    lab.settle("arrivals")
    assert "outside" not in told(lab)


def test_what_an_older_statement_made_is_told_by_table_with_its_range(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in ("2026-03-09-08:00", HOUR):
        lab.arrive(hour)
    lab.settle("arrivals")
    monkeypatch.setitem(EVENTS.__dict__, "version", "another")
    assert told(lab)["stale"] == [
        {
            "table": "silver.events",
            "partitions": 2,
            "of": 2,
            "first": "2026-03-09-08:00",
            "last": HOUR,
        }
    ]
    assert any("older statement" in line for line in needs(lab))


def test_a_rollback_stays_until_the_objects_change(lab: Lab) -> None:
    lab.arrive(HOUR)
    lab.settle("arrivals")
    (first,) = lab.resources.lake.versions(EVENTS)
    lab.arrive(HOUR, minute=5)
    lab.arrive("2026-03-10-09:00")
    lab.settle("arrivals")
    lab.resources.lake.rollback(EVENTS, first.snapshot_id)
    assert requests(lab.tick("arrivals")) == []
    assert [(r["table"], r["partition"]) for r in told(lab)["rolled_back"]] == [
        ("silver.events", "2026-03-10-09:00"),
        ("silver.events", HOUR),
    ]
    assert {r["why"] for r in told(lab)["waiting"]} == {"never built"}  # Gold, of which none is
    assert lab.rows() == 2
    lab.arrive(HOUR, minute=10)
    assert lab.settle("arrivals") == [HOUR]
    assert [r["partition"] for r in told(lab)["rolled_back"]] == ["2026-03-10-09:00"]
    assert lab.materialize(SILVER_ASSETS, "2026-03-10-09:00").success
    assert "rolled_back" not in told(lab)
    assert lab.rows() == 8


def test_gold_that_was_rolled_back_stays_and_gold_that_was_lost_is_made_again(lab: Lab) -> None:
    lake = lab.resources.lake
    lab.arrive(HOUR)
    settle(lab)
    (first,) = lake.versions(HOURLY_REVENUE)
    lab.arrive(HOUR, minute=5)
    settle(lab)
    lake.rollback(HOURLY_REVENUE, first.snapshot_id)
    assert requests(lab.tick("gold_refresh")) == []
    assert told(lab)["rolled_back"][0]["table"] == "gold.hourly_revenue"
    for _ in range(2):  # and a second time too
        lake.open().drop_table(lake.identifier(HOURLY_REVENUE))
        tick = lab.tick("gold_refresh")
        assert [r.partition_key for r in requests(tick)] == [TODAY]
        assert lab.run(requests(tick)[0]).success
        assert requests(lab.tick("gold_refresh")) == []
        assert set(lake.live(HOURLY_REVENUE)) == {TODAY}


def test_runs_under_way_and_partitions_given_up_are_told(lab: Lab) -> None:
    lab.arrive(HOUR)
    run = lab.create(lab.first("arrivals"))
    (record,) = told(lab)["under_way"]
    assert (record["run"], record["partition"]) == (run.run_id[:8], HOUR)
    assert record["minutes"] >= 0
    assert needs(lab) == []
    lab.turn(run, dg.DagsterEventType.RUN_FAILURE)
    for _ in range(lab.settings.max_attempts - 1):
        assert "given_up" not in told(lab)
        lab.fail(lab.first("arrivals"))
    (record,) = told(lab)["given_up"]
    assert (record["partition"], record["tries"]) == (HOUR, lab.settings.max_attempts)
    assert any("given up" in line for line in needs(lab))
    assert lab.materialize(SILVER_ASSETS, HOUR).success
    assert "given_up" not in told(lab)
    assert "failed_runs" not in told(lab)


def test_why_the_last_run_of_what_was_given_up_failed_is_told(lab: Lab) -> None:
    key = lab.arrive(HOUR, events=3)
    lab.promise(key, lines=5)
    for _ in range(lab.settings.max_attempts):
        assert not lab.run(lab.first("arrivals")).success
    (record,) = told(lab)["given_up"]
    assert "the ledger does not balance: 5 lines, but 3 rows" in record["error"]


def test_a_table_that_cannot_be_read_is_told_in_its_place_and_stops_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.arrive(HOUR)
    settle(lab)
    for name in ("live", "folders"):
        real = getattr(Lake, name)

        def broken(lake: Lake, contract: Any, *some: Any, real: Any = real, **more: Any) -> Any:
            if contract == HOURLY_REVENUE:
                raise OSError("half of it is gone\nand more")
            return real(lake, contract, *some, **more)

        monkeypatch.setattr(Lake, name, broken)
    found = told(lab)
    assert {each["why"] for each in found[ERRORS_KEY]} == {
        "gold.hourly_revenue: half of it is gone"
    }
    assert {"tables", "waiting"} <= {each["section"] for each in found[ERRORS_KEY]}
    assert needs(lab)
    lab.arrive(HOUR, minute=5)
    tick = lab.tick("arrivals")
    assert [r.partition_key for r in requests(tick)] == [HOUR]
    assert "gold.hourly_revenue cannot be read" in str(lab.tick("gold_refresh").skip_message)


def test_checks_are_on_record_by_partition_for_one_and_for_a_range(lab: Lab) -> None:
    hours = ["2026-03-10-09:00", "2026-03-10-10:00", HOUR]
    keys = [lab.arrive(hour, events=10) for hour in hours]
    lab.put(keys[1], text(hours[1], 0, [TODAY], 5) + b"bad\n" * 5)
    assert lab.materialize_range(SILVER_ASSETS, hours[0], hours[-1]).success
    assert lab.materialize(SILVER_ASSETS, hours[1]).success
    for name, severity in (("refused_share", "ERROR"), ("object_matches_manifest", "ERROR")):
        found = lab.checks(SILVER_ASSETS[0], name)
        assert {p: e.passed for p, e in found.items()} == {hour: hour != hours[1] for hour in hours}
        assert found[hours[1]].severity.value == severity
    reasons = lab.checks(SILVER_ASSETS[0], "refused_share")[hours[1]].metadata["reasons"]
    assert records(reasons) == [
        {"reason": "malformed_json", "lines": 5, "share of lines": 0.5, "object": keys[1]}
    ]
    said = lab.checks(SILVER_ASSETS[0], "object_matches_manifest")[hours[1]].description
    assert str(said).startswith(keys[1])


def test_gold_of_a_partition_that_fails_its_checks_says_so(lab: Lab) -> None:
    lab.arrive("2026-03-10-09:00")
    lab.put(lab.arrive(HOUR), text(HOUR, 0, [TODAY], 5) + b"bad\n" * 5)
    settle(lab)
    gold = dg.AssetKey(["gold", "hourly_revenue"])
    (record,) = records(lab.materializations(gold)[-1].metadata["doubtful_inputs"])
    assert (record["table"], record["partition"]) == ("silver.events", HOUR)
    assert record["why"]


def test_a_listing_of_history_is_compared_in_what_exists_and_not_in_calendar_days(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty years without anything in them cost nothing."""
    with Lab.open(tmp_path, first_day="1986-01-01", audit_days_per_tick=None) as lab:
        for hour in (HOUR, "2001-09-09-01:00", "1986-01-01-00:00"):
            lab.arrive(hour)
        assert sorted(lab.settle("arrivals")) == ["1986-01-01-00:00", "2001-09-09-01:00", HOUR]
        (lab.settings.lake / lab.arrive("2001-09-09-01:00", minute=5)).unlink()
        listed = []
        walk = type(lab.resources.objects).day

        def day(objects: Any, contract: Any, day: Any) -> Any:
            listed.append(day)
            return walk(objects, contract, day)

        monkeypatch.setattr(type(lab.resources.objects), "day", day)
        assert "nothing new: 3 partitions compared" in str(lab.tick("arrivals").skip_message)
        assert listed == []


def test_the_rotation_goes_over_days_that_exist_or_are_on_record(tmp_path: Path) -> None:
    with Lab.open(tmp_path, first_day="1986-01-01", audit_days_per_tick=1) as lab:
        old = ["1990-05-05-05:00", "2001-09-09-01:00", "2010-10-10-10:00"]
        keys = [lab.arrive(hour) for hour in old]
        assert lab.settle("arrivals") == old
        lab.delete(keys[1])
        (lab.settings.lake / keys[1]).parent.rmdir()
        found = [key for _ in range(4) for key in lab.settle("arrivals")]
        assert found == [old[1]]


def test_a_later_first_day_asks_for_nothing_that_is_older(tmp_path: Path) -> None:
    old = "2026-03-02-10:00"
    with Lab.open(tmp_path) as lab:
        lab.arrive(old)
        lab.arrive(HOUR)
        lab.settle("arrivals")
        lab.settings = lab.settings.model_copy(
            update={"first_day": date(2026, 3, 9), "audit_days_per_tick": None}
        )
        lab.forget_tables()
        lake = lab.resources.lake
        lake.open().drop_table(lake.identifier(EVENTS))
        assert lab.settle("arrivals") == [HOUR]
        assert {record["kind"] for record in told(lab)["unread"]} == {"before the first day"}
        assert all(record["partition"] > old for record in told(lab)["waiting"])


def test_gzip_of_nothing_and_no_lines_are_no_failure(lab: Lab) -> None:
    key = lab.arrive(HOUR)
    (lab.settings.lake / key).write_bytes(gzip.compress(b""))
    lab.delete(key)
    lab.put(key, b"")
    lab.settle("arrivals")
    assert told(lab) == {}
    assert lab.rows() == 0


def test_a_waiting_partition_of_tomorrow_needs_nobody_and_one_of_next_week_does(lab: Lab) -> None:
    now = datetime.now(UTC)
    for days, kind in ((1, "of the next partition, which begins soon"), (8, "yet to come")):
        day = f"{now + timedelta(days=days):%Y-%m-%d}"
        key = lab.upload(day, "users.json", jsonl(a_user("u1")))
        (record,) = told(lab)["unread"]
        assert (record["kind"], bool(needs(lab))) == (kind, days == 8)
        (lab.settings.lake / key).unlink()


def test_the_sections_and_their_keys_never_change(lab: Lab) -> None:
    assert list(as_json(survey(lab.settings, lab.instance))) == [
        "bronze", "tables", "waiting", "given_up", "under_way", "failed_runs", "damaged", "unread",
        "unusable", "deviating", "refused", "stale", "incomplete_drops", "outside", "rolled_back",
        ERRORS_KEY,
    ]  # fmt: skip
