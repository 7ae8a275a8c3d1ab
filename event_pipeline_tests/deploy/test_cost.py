"""The model of costs: how often an hour is built, what that takes, and the goals to meet."""

import pytest

from event_pipeline.deploy import cost
from event_pipeline.deploy.cost import Feed
from event_pipeline.jobs import partition


def builds_by_sensor(throttle: float) -> list[float]:
    """The share of an hour that lies there at each build, as `run_requests` asks for them.

    A slot arrives every five minutes, and a tick follows at once.
    """
    found: list[float] = []
    last, slots, built = -throttle, 0, 0
    for now in range(5, 240, 5):
        slots = min(slots + 1, 12)
        if slots > built and now - last >= throttle:
            found.append(slots / 12)
            last, built = now, slots
    return found


@pytest.mark.parametrize("minutes", [5, 7, 10, 15, 20, 25, 30, 45, 55, 60])
def test_an_hour_is_built_as_often_as_the_throttle_lets_it(minutes: float) -> None:
    assert Feed(minutes=minutes).builds == builds_by_sensor(minutes)


def test_five_minutes_cost_at_most_three_dollars_a_day_at_the_sources_volume() -> None:
    assert Feed(180e6, 5, "embedded").dollars <= 3


def test_a_newcomer_who_sets_nothing_pays_less_than_two_dollars_a_day() -> None:
    assert Feed(20_000 * 288, 60).dollars < 2
    assert Feed(20_000 * 288, 5).dollars > 5


@pytest.mark.parametrize("events", [1e3, 1e6, 180e6, 1.8e9, 1.8e10])
def test_a_run_of_glue_has_ended_before_the_next_slot(events: float) -> None:
    feed = Feed(events)
    work = events / 24 * cost.GLUE_SECONDS / (feed.workers - 1)
    assert cost.START_SECONDS + work <= 60 * cost.SLOT_MINUTES
    assert feed.workers >= 2


def test_the_embedded_engine_keeps_up_until_an_hour_takes_longer_than_the_throttle() -> None:
    assert Feed(1.8e9, 5, "embedded").keeps_up
    assert not Feed(1.8e10, 5, "embedded").keeps_up
    assert Feed(1.8e10, 60, "embedded").keeps_up
    assert Feed(1.8e10, 5, "glue").keeps_up


def test_files_are_those_that_the_job_writes() -> None:
    assert cost.GLUE_BYTES_OF_FILE == partition.BRONZE_PER_FILE
    assert Feed(180e6).files == 24
    assert Feed(1.8e9).files == 4 * 24


@pytest.mark.parametrize("engine", ["glue", "embedded"])
def test_more_events_and_fresher_tables_never_cost_less(engine: cost.Engine) -> None:
    bills = [Feed(events, 5, engine).dollars for events in (1e6, 1e7, 1e8, 1e9, 1e10)]
    assert bills == sorted(bills)
    bills = [Feed(180e6, minutes, engine).dollars for minutes in (60, 30, 15, 5)]
    assert bills == sorted(bills)


def test_the_records_are_the_items_and_their_sum() -> None:
    *items, total = Feed().records
    assert [row["what"] for row in items] == [item.name for item in Feed().items]
    rounded = sum(float(row["USD a day"]) for row in items)
    assert float(total["USD a day"]) == pytest.approx(rounded, abs=0.01)
