"""Partition keys."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from event_pipeline.partitions import DAILY, HOURLY, Cadence

FIRST = date(2026, 3, 1)


@pytest.mark.parametrize(
    ("now", "last"),
    [
        (datetime(2026, 3, 10, 12, 34, tzinfo=UTC), "2026-03-10-12:00"),
        (datetime(2026, 3, 10, 23, 59, 59, tzinfo=UTC), "2026-03-10-23:00"),
        (datetime(2026, 3, 11, 0, 0, 0, tzinfo=UTC), "2026-03-11-00:00"),
    ],
)
def test_the_current_hour_and_today_are_partitions_and_no_later_ones(
    now: datetime, last: str
) -> None:
    hours = HOURLY.definition(FIRST).get_partition_keys(current_time=now)
    assert (hours[0], hours[-1]) == ("2026-03-01-00:00", last)
    days = DAILY.definition(FIRST).get_partition_keys(current_time=now)
    assert (days[0], days[-1]) == ("2026-03-01", last[:10])


def test_ten_years_of_hours_are_fewer_than_dagster_advises() -> None:
    keys = HOURLY.definition(FIRST).get_partition_keys(
        current_time=datetime(2036, 3, 1, tzinfo=UTC)
    )
    assert len(keys) < 100_000


def test_an_hour_is_of_utc_wherever_the_moment_was_told() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    assert HOURLY.key(datetime(2026, 3, 10, 2, 0, tzinfo=india)) == "2026-03-09-20:00"


def test_a_day_has_its_24_hours_in_order() -> None:
    hours = list(HOURLY.keys_of(date(2026, 3, 29)))  # when Europe's clocks change
    assert hours == [f"2026-03-29-{n:02}:00" for n in range(24)]
    assert [HOURLY.key(HOURLY.start(hour)) for hour in hours] == hours


@pytest.mark.parametrize("key", ["2026-03-10", "2026-03-10-24:00", "", "2026-3-10 01:00"])
def test_another_form_of_key_is_an_error(key: str) -> None:
    with pytest.raises(ValueError, match="format"):
        HOURLY.start(key)


@pytest.mark.parametrize("cadence", [HOURLY, DAILY])
def test_a_key_and_a_value_are_of_one_partition(cadence: Cadence) -> None:
    for key in cadence.keys_of(FIRST):
        assert cadence.key(cadence.start(key)) == key
        assert datetime.fromisoformat(cadence.value(key)).date() == FIRST
