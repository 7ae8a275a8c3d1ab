"""Law 5: whatever arrives, changes or goes is built, once; and Gold follows, date by date."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from event_pipeline.assets.bronze import BRONZE_EVENTS
from event_pipeline.build import build_silver
from event_pipeline.contracts import EVENTS
from event_pipeline.lake.objects import EMPTY
from event_pipeline.recorded import recorded_versions
from event_pipeline.sensors import gold
from event_pipeline.tags import INPUT, SENSOR
from event_pipeline_tests.dagster_lab import (
    GOLD_ASSETS,
    HOUR,
    NOW,
    SILVER_ASSETS,
    SILVER_EVENTS,
    TODAY,
    Lab,
    asked,
    requests,
    text,
)

OLD_HOUR = "2026-03-02-05:00"
LATE_HOUR = "2026-03-09-08:00"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab.open(tmp_path) as lab:
        yield lab


class TestArrivals:
    def test_a_new_object_asks_for_its_hour_and_no_other(self, lab: Lab) -> None:
        lab.arrive(HOUR)
        tick = lab.tick("arrivals")
        assert asked(tick) == [HOUR]
        assert lab.run(requests(tick)[0]).success
        assert lab.rows() == 2
        assert asked(lab.tick("arrivals")) == []

    def test_a_late_object_in_the_window_is_found_by_the_next_tick(self, lab: Lab) -> None:
        lab.arrive(HOUR)
        lab.settle("arrivals")
        lab.arrive(LATE_HOUR)
        assert asked(lab.tick("arrivals")) == [LATE_HOUR]

    def test_a_late_object_far_outside_the_window_is_found_by_the_audit(self, lab: Lab) -> None:
        ticks = [lab.tick("arrivals") for _ in range(2)]
        lab.arrive(OLD_HOUR)  # the audit is past that day, and comes round again
        ticks += [lab.tick("arrivals") for _ in range(4)]
        assert OLD_HOUR in {hour for tick in ticks for hour in asked(tick)}

    def test_the_audit_comes_round_to_every_day_from_the_first(self, tmp_path: Path) -> None:
        with Lab.open(tmp_path, first_day="2026-02-01", audit_days_per_tick=3) as lab:
            hours = {f"{NOW - timedelta(days=n):%Y-%m-%d}-00:00" for n in range(38)}
            for hour in hours:
                lab.arrive(hour, events=1)
            window_days = 3
            found = {hour for _ in range((38 - window_days) // 3 + 1) for hour in _run_all(lab)}
            assert found == hours

    def test_an_overwritten_object_asks_again(self, lab: Lab) -> None:
        key = lab.arrive(HOUR)
        lab.settle("arrivals")
        lab.put(key, text(HOUR, 7, [TODAY], 5))
        assert lab.settle("arrivals") == [HOUR]
        assert lab.rows() == 5

    def test_a_deleted_object_empties_its_hour(self, lab: Lab) -> None:
        key = lab.arrive(HOUR)
        lab.settle("arrivals")
        lab.delete(key)
        assert lab.settle("arrivals") == [HOUR]
        assert lab.rows() == 0
        assert lab.materializations(SILVER_EVENTS)[-1].metadata["lines"].value == 0
        assert asked(lab.tick("arrivals")) == []

    def test_two_objects_of_the_same_moment_are_both_read(self, lab: Lab) -> None:
        first = lab.arrive(HOUR, minute=0)
        lab.settle("arrivals")
        second = lab.arrive(HOUR, minute=5)
        moment = (lab.settings.lake / first).stat().st_mtime_ns
        os.utime(lab.settings.lake / second, ns=(moment, moment))
        assert lab.settle("arrivals") == [HOUR]
        assert lab.rows() == 4

    def test_an_object_older_than_what_was_read_is_read(self, lab: Lab) -> None:
        lab.arrive(HOUR, minute=5)
        lab.settle("arrivals")
        os.utime(lab.settings.lake / lab.arrive(HOUR, minute=0), (0, 0))
        assert lab.settle("arrivals") == [HOUR]
        assert lab.rows() == 4

    def test_an_hour_waits_for_the_throttle_and_is_then_built(self, tmp_path: Path) -> None:
        with Lab.open(tmp_path, silver_throttle_minutes=60) as lab:
            lab.arrive(HOUR, minute=0)
            assert lab.settle("arrivals") == [HOUR]
            lab.arrive(HOUR, minute=5)
            tick = lab.tick("arrivals")
            assert asked(tick) == []
            assert "throttled until 2026-03-10 13:34 UTC" in str(tick.skip_message)
            lab.now = NOW + timedelta(minutes=60)
            assert lab.settle("arrivals") == [HOUR]
            assert lab.rows() == 4

    def test_a_foreign_name_is_said_and_not_read(self, lab: Lab) -> None:
        folder = Path(lab.arrive(HOUR)).parent
        lab.put(f"{folder}/notes.txt", b"{}\n")
        tick = lab.tick("arrivals")
        assert tick.asset_events[0].metadata["foreign_objects"].value == [f"{folder}/notes.txt"]
        lab.run(requests(tick)[0])
        assert lab.rows() == 2
        assert f"their names do not match: {folder}/notes.txt" in str(
            lab.tick("arrivals").skip_message
        )

    def test_a_foreign_name_alone_is_said_and_no_run_is_asked_for(self, lab: Lab) -> None:
        lab.put("bronze/events/year=2026/month=03/day=10/hour=11/orders.csv", b"")
        tick = lab.tick("arrivals")
        assert asked(tick) == []
        assert "orders.csv" in str(tick.skip_message)

    def test_arrivals_are_reported_once_for_each_partition(self, lab: Lab) -> None:
        lab.arrive(HOUR, minute=0)
        lab.arrive(HOUR, minute=5)
        lab.arrive(LATE_HOUR)
        events = lab.tick("arrivals").asset_events
        assert [event.partition for event in events] == [LATE_HOUR, HOUR]
        assert events[1].metadata["objects"].value == 2
        assert lab.tick("arrivals").asset_events == []
        lab.arrive(HOUR, minute=10)
        assert [e.partition for e in lab.tick("arrivals").asset_events] == [HOUR]
        assert len(lab.materializations(BRONZE_EVENTS)) == 3

    def test_an_hour_is_asked_for_once_while_its_run_is_queued_or_under_way(self, lab: Lab) -> None:
        lab.arrive(HOUR)
        run = lab.create(lab.first("arrivals"))
        waiting = lab.tick("arrivals")
        assert asked(waiting) == []
        assert f"{HOUR}: a run is under way" in str(waiting.skip_message)
        lab.turn(run, dg.DagsterEventType.RUN_START)
        lab.arrive(HOUR, minute=5)
        assert asked(lab.tick("arrivals")) == []

    def test_what_arrives_during_a_run_is_asked_for_after_it(self, lab: Lab) -> None:
        lab.arrive(HOUR)
        first = lab.first("arrivals")
        assert lab.run(first).success
        lab.arrive(HOUR, minute=5)
        second = lab.first("arrivals")
        assert second.partition_key == HOUR
        assert second.run_key != first.run_key

    def test_a_failed_run_is_asked_for_again_up_to_the_limit(self, lab: Lab) -> None:
        lab.arrive(HOUR)
        keys = set()
        for _ in range(lab.settings.max_attempts):
            request = lab.first("arrivals")
            keys.add(request.run_key)
            last = lab.fail(request)
        assert len(keys) == lab.settings.max_attempts  # else Dagster would drop the second
        tick = lab.tick("arrivals")
        assert asked(tick) == []
        assert "given up after 3 failed runs" in str(tick.skip_message)
        assert last.run_id[:8] in str(tick.skip_message)

    def test_a_partition_given_up_is_asked_for_when_its_input_changes(self, lab: Lab) -> None:
        lab.arrive(HOUR)
        for _ in range(lab.settings.max_attempts):
            lab.fail(lab.first("arrivals"))
        assert asked(lab.tick("arrivals")) == []
        lab.arrive(HOUR, minute=5)
        assert lab.settle("arrivals") == [HOUR]

    def test_a_partition_given_up_is_forgotten_once_a_person_made_it(self, lab: Lab) -> None:
        lab.arrive(HOUR)
        for _ in range(lab.settings.max_attempts):
            lab.fail(lab.first("arrivals"))
        assert lab.materialize(SILVER_ASSETS, HOUR).success
        assert "nothing new" in str(lab.tick("arrivals").skip_message)

    def test_a_tick_asks_for_so_many_runs_and_the_next_for_the_rest(self, tmp_path: Path) -> None:
        with Lab.open(tmp_path, runs_per_tick=2) as lab:
            hours = [f"2026-03-10-{n:02}:00" for n in range(5)]
            for hour in hours:
                lab.arrive(hour, events=1)
            ticks: list[list[str]] = []
            while found := asked(tick := lab.tick("arrivals")):
                ticks.append(found)
                for request in requests(tick):
                    lab.create(request)
            assert ticks == [hours[:2:-1], hours[2:0:-1], hours[:1]]  # the latest hours first

    def test_the_cursor_is_small_however_long_the_history(self, tmp_path: Path) -> None:
        with Lab.open(tmp_path, first_day="2023-03-10", audit_days_per_tick=500) as lab:
            for year in (2023, 2024, 2025, 2026):
                lab.arrive(f"{year}-03-10-10:00")
            ticks = [lab.tick("arrivals") for _ in range(3)]
            assert max(len(str(tick.cursor)) for tick in ticks) < 60

    @pytest.mark.parametrize(
        "cursor",
        [
            "",
            "garbage",
            "{}",
            "[]",
            *(
                json.dumps({"audited": day, "bad": [day], "told": {}})
                for day in ("2026-99-99", "1066-10-14", "9999-12-31")
            ),
        ],
    )
    def test_a_cursor_of_any_text_starts_the_audit_anew(self, lab: Lab, cursor: str) -> None:
        lab.cursors["arrivals"] = cursor
        lab.arrive("2026-03-01-00:00")
        assert asked(lab.tick("arrivals")) == ["2026-03-01-00:00"]

    @pytest.mark.parametrize(
        ("moment", "latest"),
        [
            ("2026-03-10T23:59:59+00:00", "2026-03-10-23:00"),
            ("2026-03-11T00:00:00+00:00", "2026-03-11-00:00"),
        ],
    )
    def test_midnight_neither_hides_an_hour_nor_makes_one_up(
        self, lab: Lab, moment: str, latest: str
    ) -> None:
        lab.arrive("2026-03-10-23:00")
        lab.arrive("2026-03-11-00:00")
        lab.now = datetime.fromisoformat(moment)
        found = asked(lab.tick("arrivals"))
        assert found[0] == latest
        assert "2026-03-10-23:00" in found

    def test_an_object_of_an_hour_to_come_waits_for_it(self, lab: Lab) -> None:
        lab.arrive("2026-03-10-13:00")
        lab.arrive(HOUR)
        assert lab.settle("arrivals") == [HOUR]
        assert "not built, no such partition exists yet: 2026-03-10-13:00" in str(
            lab.tick("arrivals").skip_message
        )
        lab.now = NOW + timedelta(hours=1)
        assert lab.settle("arrivals") == ["2026-03-10-13:00"]

    def test_an_object_of_an_impossible_hour_stops_nothing(self, lab: Lab) -> None:
        name = "minute=00/events-20260310-110000.jsonl.gz"
        lab.put(f"bronze/events/year=2026/month=03/day=10/hour=99/{name}", b"")
        lab.arrive(HOUR)
        assert lab.settle("arrivals") == [HOUR]
        assert "2026-03-10-99:00" in str(lab.tick("arrivals").skip_message)

    @pytest.mark.parametrize("first_day", ["2026-03-10", "2026-03-11", "2027-01-01"])
    def test_a_first_day_of_today_or_later_is_no_error(
        self, tmp_path: Path, first_day: str
    ) -> None:
        with Lab.open(tmp_path, first_day=first_day) as lab:
            lab.arrive(HOUR)
            for _ in range(3):
                assert asked(lab.tick("arrivals")) == ([HOUR] if first_day == TODAY else [])

    @pytest.mark.parametrize("changed_since", [False, True])
    def test_a_process_killed_between_publish_and_record_loses_no_date(
        self, lab: Lab, changed_since: bool
    ) -> None:
        """The build that replaced a day's rows died; Gold of the old and the new day is due."""
        key = lab.arrive(HOUR, days=["2026-03-08"])
        lab.settle("arrivals")
        assert _pretend(lab) == ["2026-03-08"]
        lab.put(key, text(HOUR, 0, ["2026-03-09"], 3))
        _publish_and_die(lab)
        if changed_since:
            lab.put(key, text(HOUR, 0, ["2026-03-07"], 4))
        assert lab.settle("arrivals") == [HOUR]
        last = lab.materializations(SILVER_EVENTS)[-1]
        assert last.metadata["status"].value == ("published" if changed_since else "unchanged")
        newest = ["2026-03-07"] if changed_since else []
        assert _pretend(lab) == ["2026-03-09", "2026-03-08", *newest]


class TestGoldRefresh:
    def test_exactly_the_dates_that_silver_touched_are_refreshed(self, lab: Lab) -> None:
        lab.arrive(HOUR, days=[TODAY, "2026-03-07", "2026-03-02"])
        lab.settle("arrivals")
        assert _pretend(lab) == [TODAY, "2026-03-07", "2026-03-02"]
        assert asked(lab.tick("gold_refresh")) == []

    def test_a_late_event_refreshes_its_own_date(self, lab: Lab) -> None:
        lab.arrive(LATE_HOUR)
        lab.settle("arrivals")
        assert lab.settle("gold_refresh") == [LATE_HOUR[:10]]
        lab.arrive(HOUR, days=[LATE_HOUR[:10]])
        lab.settle("arrivals")
        assert lab.settle("gold_refresh") == [LATE_HOUR[:10]]
        query = "SELECT total_events FROM gold.daily_user_activity"
        assert lab.resources.querier.fetch(query)[1] == [(4,)]

    def test_a_date_that_lost_its_rows_is_refreshed(self, lab: Lab) -> None:
        gone = lab.arrive(HOUR, minute=0, days=["2026-03-05"])
        moved = lab.arrive(HOUR, minute=5, days=["2026-03-06"])
        lab.settle("arrivals")
        assert _pretend(lab) == ["2026-03-06", "2026-03-05"]
        lab.delete(gone)
        lab.put(moved, text(HOUR, 5, ["2026-03-07"], 2))
        lab.settle("arrivals")
        assert _pretend(lab) == ["2026-03-07", "2026-03-06", "2026-03-05"]

    def test_no_materialization_between_two_ticks_is_missed(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gold, "RECORDS_PER_TICK", 3)
        days = [f"2026-03-{n:02}" for n in range(1, 11)]
        for day in days:
            _silver_touched(lab, day)
        assert {day for _ in range(4) for day in _pretend(lab)} == set(days)

    def test_a_refresh_under_way_is_asked_for_again_after_a_new_touch(self, lab: Lab) -> None:
        _silver_touched(lab, TODAY)
        run = lab.create(lab.first("gold_refresh"))
        _silver_touched(lab, TODAY)
        assert asked(lab.tick("gold_refresh")) == []
        lab.turn(run, dg.DagsterEventType.RUN_SUCCESS)
        assert asked(lab.tick("gold_refresh")) == [TODAY]

    def test_a_date_waits_for_the_throttle_and_is_then_refreshed(self, tmp_path: Path) -> None:
        with Lab.open(tmp_path, gold_throttle_minutes=10) as lab:
            _silver_touched(lab, TODAY)
            assert _pretend(lab) == [TODAY]
            _silver_touched(lab, TODAY)
            tick = lab.tick("gold_refresh")
            assert asked(tick) == []
            assert "throttled until 2026-03-10 12:44 UTC" in str(tick.skip_message)
            lab.now = NOW + timedelta(minutes=10)
            assert _pretend(lab) == [TODAY]

    def test_late_events_of_a_date_that_is_over_wait_and_are_not_forgotten(
        self, tmp_path: Path
    ) -> None:
        before = "2026-03-09"
        with Lab.open(tmp_path, late_gold_throttle_minutes=60) as lab:
            for _ in range(3):
                _silver_touched(lab, TODAY, before)
                found = _pretend(lab)
            assert found == [TODAY]
            tick = lab.tick("gold_refresh")
            assert f"{before}: throttled until 2026-03-10 13:34 UTC" in str(tick.skip_message)
            lab.now = NOW + timedelta(minutes=60)
            assert _pretend(lab) == [before]
            assert _pretend(lab) == []

    def test_a_failed_refresh_is_asked_for_again_up_to_the_limit(self, lab: Lab) -> None:
        _silver_touched(lab, TODAY)
        for _ in range(lab.settings.max_attempts):
            last = lab.fail(lab.first("gold_refresh"))
        tick = lab.tick("gold_refresh")
        assert asked(tick) == []
        assert f"the last is {last.run_id[:8]}" in str(tick.skip_message)
        assert lab.materialize(GOLD_ASSETS, TODAY).success
        assert lab.tick("gold_refresh").skip_message == "Silver touched nothing new"

    def test_a_refresh_of_some_tables_does_not_count_for_all(self, lab: Lab) -> None:
        _silver_touched(lab, TODAY)
        lab.fail(lab.first("gold_refresh"))
        assert lab.materialize(GOLD_ASSETS[:1], TODAY).success
        assert asked(lab.tick("gold_refresh")) == [TODAY]

    @pytest.mark.parametrize("day", ["2026-02-28", "2026-03-12", "0000-01-01", "10000-01-01"])
    def test_a_date_without_a_partition_is_said_and_not_asked_for(self, lab: Lab, day: str) -> None:
        _silver_touched(lab, day)
        tick = lab.tick("gold_refresh")
        assert asked(tick) == []
        assert f"no Gold partition covers the event dates {day}" in str(tick.skip_message)
        _silver_touched(lab, TODAY)
        assert asked(lab.tick("gold_refresh")) == [TODAY]

    def test_tomorrow_is_refreshed_when_it_comes(self, lab: Lab) -> None:
        """A producer's clock may be a little ahead."""
        _silver_touched(lab, "2026-03-11")
        assert asked(lab.tick("gold_refresh")) == []
        lab.now = datetime(2026, 3, 11, tzinfo=UTC)
        assert asked(lab.tick("gold_refresh")) == ["2026-03-11"]

    @pytest.mark.parametrize("cursor", ["garbage", "[]", "{}", '{"read": "x", "pending": 3}'])
    def test_a_cursor_of_any_text_reads_everything_again(self, lab: Lab, cursor: str) -> None:
        _silver_touched(lab, TODAY)
        lab.cursors["gold_refresh"] = cursor
        assert _pretend(lab) == [TODAY]
        lab.cursors["gold_refresh"] = cursor
        assert _pretend(lab) == []  # its runs are known

    def test_the_cursor_holds_only_what_is_pending(self, lab: Lab) -> None:
        for day in (TODAY, "2026-03-09"):
            _silver_touched(lab, day)
        assert _pretend(lab) == [TODAY, "2026-03-09"]
        assert _pretend(lab) == []
        (state,) = json.loads(str(lab.cursors["gold_refresh"])).values()
        assert state["pending"] == {}


def _publish_and_die(lab: Lab) -> None:
    """A build of HOUR whose process is killed before Dagster hears of it."""
    used = lab.resources
    (built,) = build_silver(
        EVENTS,
        [HOUR],
        objects=used.objects,
        transformer=used.transformer,
        lake=used.lake,
        recorded=recorded_versions(lab.instance, SILVER_EVENTS, [HOUR]),
        redelivery_hours=48,
    )
    assert built.status == "published"


def _run_all(lab: Lab) -> list[str]:
    tick = lab.tick("arrivals")
    for request in requests(tick):
        lab.create(request)
    return asked(tick)


def _pretend(lab: Lab) -> list[str]:
    """A tick of the Gold sensor whose runs succeed at once; what it asked for."""
    tick = lab.tick("gold_refresh")
    for request in requests(tick):
        lab.succeed(request)
    return asked(tick)


def _silver_touched(lab: Lab, *days: str) -> None:
    """Silver on record as having touched these dates."""
    lab.instance.report_runless_asset_event(
        dg.AssetMaterialization(
            SILVER_EVENTS,
            partition=HOUR,
            metadata={"event_dates_touched": dg.MetadataValue.json(list(days))},
            tags={"dagster/data_version": EMPTY.digest},
        )
    )


def test_a_lost_run_is_asked_for_again_at_once_however_old_its_hour_is(tmp_path: Path) -> None:
    tags = {SENSOR: "arrivals", INPUT: "v1"}
    request = dg.RunRequest("key", partition_key="2025-02-03-04:00", tags=tags)
    asked = request.with_replaced_attrs(asset_selection=SILVER_ASSETS)
    with Lab.open(tmp_path, persistent=True, first_day="2025-01-01") as lab:
        lab.turn(lab.create(asked), dg.DagsterEventType.RUN_START)
        assert lab.tick("lost_runs").skip_message == "no run was lost"
        lab.now += timedelta(minutes=1)
        (again,) = requests(lab.tick("lost_runs"))
        assert again.partition_key == asked.partition_key
        assert set(again.asset_selection or ()) == set(SILVER_ASSETS)
        assert {**again.tags, **tags} == again.tags
        lab.turn(lab.create(again), dg.DagsterEventType.RUN_START)
        assert requests(lab.tick("lost_runs")) == []


def test_an_hour_of_events_that_a_lost_run_was_to_make_is_made_by_another(tmp_path: Path) -> None:
    """No sensor would miss it."""
    scheduled = dg.RunRequest(partition_key=HOUR, asset_selection=[BRONZE_EVENTS])
    by_hand = dg.RunRequest(partition_key=HOUR, asset_selection=GOLD_ASSETS)
    with Lab.open(tmp_path, persistent=True) as lab:
        lab.create(scheduled)
        lab.create(by_hand)
        lab.now += timedelta(minutes=1)
        (again,) = requests(lab.tick("lost_runs"))
        assert (again.partition_key, again.asset_selection) == (HOUR, [BRONZE_EVENTS])
