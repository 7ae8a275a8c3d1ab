"""Partitions: hours of arrival and days, and where each hour lies in Bronze. All UTC."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import dagster as dg

HOUR_FORMAT = "%Y-%m-%d-%H:%M"
DAY_FORMAT = "%Y-%m-%d"
HOUR = timedelta(hours=1)


def hourly(first_day: date) -> dg.HourlyPartitionsDefinition:
    """Hours of arrival from `first_day`, the current, unfinished hour included."""
    return dg.HourlyPartitionsDefinition(
        f"{first_day:{DAY_FORMAT}}-00:00", fmt=HOUR_FORMAT, end_offset=1
    )


def daily(first_day: date) -> dg.DailyPartitionsDefinition:
    """Days from `first_day`, today included."""
    return dg.DailyPartitionsDefinition(f"{first_day:{DAY_FORMAT}}", fmt=DAY_FORMAT, end_offset=1)


def hour_key(moment: datetime) -> str:
    """Partition key of the hour that holds `moment`: `2026-11-24-01:00`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d-%H:00")


def hour_start(key: str) -> datetime:
    """Start of the hour with this partition key. Raises ValueError on another form."""
    return datetime.strptime(key, HOUR_FORMAT).replace(tzinfo=UTC)


def hour_prefix(key: str) -> str:
    """Folder under a dataset's Bronze prefix that holds an hour: `year=2026/.../hour=01/`."""
    return f"{hour_start(key):year=%Y/month=%m/day=%d/hour=%H/}"


def day_prefix(day: date) -> str:
    """Folder under a dataset's Bronze prefix that holds a day: `year=2026/month=11/day=24/`."""
    return f"{day:year=%Y/month=%m/day=%d/}"


def hours_of(day: date) -> Iterator[str]:
    """The 24 hour keys of a day."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return (hour_key(start + n * HOUR) for n in range(24))
