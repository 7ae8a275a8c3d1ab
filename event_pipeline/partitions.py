"""Partitions: hours of arrival and days, and where each lies in Bronze. All UTC."""

import re
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
    """How often a table has a partition, what it is called, and its folder in Bronze.

    The formats are strftime's: of a partition's key and folder, of the folder that holds a whole
    day, of the topmost folder, and of the partition column's value. `folder_pattern` finds a
    folder at the beginning of a path, and `key_template` makes the key of its groups.
    """

    step: timedelta
    key_format: str
    folder_format: str
    day_format: str
    top_format: str
    folder_pattern: re.Pattern[str]
    key_template: str
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

    def folder(self, key: str) -> str:
        """Folder under a dataset's Bronze prefix that holds a partition."""
        return f"{self.start(key):{self.folder_format}}"

    def day_folder(self, day: date) -> str:
        """Folder under a dataset's Bronze prefix that holds a day's partitions."""
        return f"{day:{self.day_format}}"

    def keys_of(self, day: date) -> Iterator[str]:
        """The keys of a day, in order."""
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return (self.key(start + n * self.step) for n in range(DAY // self.step))

    def split(self, path: str) -> tuple[str | None, str]:
        """Key of the partition that a path under the Bronze prefix lies in, and what follows.

        None, and the whole path, where it lies in none. A folder that only looks like one's, as
        hour=99, gives a key that is none of `keys_of`.
        """
        match = self.folder_pattern.match(path)
        if match is None:
            return None, path
        return self.key_template.format(*match.groups()), path[match.end() :]

    def top_of(self, folder: str) -> datetime | None:
        """The time that a topmost folder under the Bronze prefix stands for, if it is one."""
        try:
            top = datetime.strptime(folder, self.top_format).replace(tzinfo=UTC)
        except ValueError:
            return None
        return top if f"{top:{self.top_format}}" == folder else None

    def day_of(self, folder: str) -> date | None:
        """The day that a folder of whole days stands for, if it is one."""
        try:
            day = datetime.strptime(folder, self.day_format).date()
        except ValueError:
            return None
        return day if self.day_folder(day) == folder else None

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


HOURLY = Cadence(
    step=HOUR,
    key_format="%Y-%m-%d-%H:%M",
    folder_format="year=%Y/month=%m/day=%d/hour=%H/",
    day_format="year=%Y/month=%m/day=%d/",
    top_format="year=%Y",
    folder_pattern=re.compile(r"year=(\d{4})/month=(\d\d)/day=(\d\d)/hour=(\d\d)/", re.ASCII),
    key_template="{}-{}-{}-{}:00",
    value_format="%Y-%m-%dT%H:%M:%S",
)
DAILY = Cadence(
    step=DAY,
    key_format="%Y-%m-%d",
    folder_format="date=%Y-%m-%d/",
    day_format="date=%Y-%m-%d/",
    top_format="date=%Y-%m-%d",
    folder_pattern=re.compile(r"date=(\d{4}-\d\d-\d\d)/", re.ASCII),
    key_template="{}",
    value_format="%Y-%m-%d",
)
