"""Partitions: hours of arrival and days. All UTC."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Cadence:
    """How often a table has a partition, and what it is called.

    `step` is a partition's length. The formats, of a partition's key and of the partition column's
    value, are strftime's.
    """

    step: timedelta
    key_format: str
    value_format: str

    def key(self, moment: datetime) -> str:
        """Key of the partition that holds `moment` (aware)."""
        return f"{self.start_of(moment):{self.key_format}}"

    def start_of(self, moment: datetime) -> datetime:
        """Start of the partition that holds `moment` (aware)."""
        moment = moment.astimezone(UTC)
        return moment - (moment - datetime.min.replace(tzinfo=UTC)) % self.step

    def start(self, key: str) -> datetime:
        """Start of the partition with this key. Raises ValueError on another form."""
        return datetime.strptime(key, self.key_format).replace(tzinfo=UTC)

    def value(self, key: str) -> str:
        """The partition column's value as ISO text: `2026-11-24T01:00:00` or `2026-11-24`."""
        return f"{self.start(key):{self.value_format}}"

    def keys_of(self, day: date) -> Iterator[str]:
        """The keys of a day, in order."""
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return (self.key(start + n * self.step) for n in range(DAY // self.step))

    @lru_cache(maxsize=100_000)  # noqa: B019 -- there are two cadences, and they live for ever
    def moment(self, key: str) -> datetime | None:
        """Start of the partition with this key; None if there is no such partition."""
        try:
            start = self.start(key)
        except ValueError:
            return None
        return start if self.key(start) == key else None

    def definition(self, first_day: date) -> "dg.TimeWindowPartitionsDefinition":
        """Dagster's partitions from `first_day`, the current, unfinished one included."""
        import dagster as dg

        kind = dg.DailyPartitionsDefinition if self is DAILY else dg.HourlyPartitionsDefinition
        start = datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC)
        return kind(self.key(start), fmt=self.key_format, end_offset=1)


HOURLY = Cadence(HOUR, key_format="%Y-%m-%d-%H:%M", value_format="%Y-%m-%dT%H:%M:%S")
DAILY = Cadence(DAY, key_format="%Y-%m-%d", value_format="%Y-%m-%d")
