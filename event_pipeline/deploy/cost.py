"""What the data plane costs a day at a given volume: a model of measured and assumed units.

Prices are the list prices of us-east-1 as known in 2025 (aws.amazon.com/<service>/pricing), without
free tier, discount or tax. Dagster's own services are in infra/CONTROL_PLANE.md.
"""

import math
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Literal

Engine = Literal["glue", "embedded"]

# USD.
GB_MONTH, GB_MONTH_SELDOM, GB_MONTH_AT_REST = 0.023, 0.0125, 0.004  # S3
WATCHED_1000, WRITES_1000, READS_1000 = 0.0025, 0.005, 0.0004  # S3
LAMBDA_GB_SECOND = 0.0000133334  # on ARM
DPU_HOUR, CATALOG_1000 = 0.44, 0.001  # Glue
VCPU_HOUR, MEMORY_GB_HOUR = 0.04048, 0.004445  # Fargate
SCANNED_GB, LEAST_SCANNED_GB = 0.005, 0.01  # Athena
LOGS_GB, ALARM_METRIC_MONTH = 0.50, 0.10  # CloudWatch
KEY_MONTH, KEY_REQUESTS_10000 = 1.00, 0.03  # KMS

DAYS_OF_MONTH = 30.4
SLOTS_OF_HOUR, SLOTS_OF_DAY, SLOT_MINUTES = 12, 288, 5
TICKS = 24 * 3600 / 30  # of each sensor

# Measured by `make bench` and `make bench-day`: bytes of an event, and two cores' seconds.
BRONZE_BYTES, SILVER_BYTES, ROLL_UP_BYTES = 19, 8.4, 0.053
GLUE_SECONDS, EMBEDDED_SECONDS = 55 / 7.5e6, 8.2 / 7.2e6
LAMBDA_SECONDS, LAMBDA_GB = 1 / 625_000, 1.73
# Counted by `make bench-requests`: (PUT and LIST, GET, catalog) of a build of Silver, a refresh of
# Gold. What Athena reads is what its stand-in does.
BUILD: dict[Engine, tuple[float, ...]] = {"glue": (106, 566, 28), "embedded": (46, 227, 28)}
REFRESH: dict[Engine, tuple[float, ...]] = {"glue": (64, 1647, 88), "embedded": (45, 610, 94)}
NEWS_READS = 106  # of the ticks that find a build
TICK_LISTINGS, TICK_CATALOG = 17, 56  # of all sensors together
# The embedded engine uploads files in parts of this size.
PART_BYTES = 5 * 2**20

# Assumed: seconds until Spark or a task of Fargate is up, and seconds that Gold takes then. A vCPU
# does half of what a laptop's core does, and the Lambda's core a third.
START_SECONDS, GOLD_SECONDS = 60, 10
TASK_VCPU, TASK_GB = 2, 4
# A run of Glue works at most so long, that it has ended before the next slot arrives.
WORK_SECONDS = 180
# One file of Silver is made of so much Bronze: `jobs.partition.BRONZE_PER_FILE`.
GLUE_BYTES_OF_FILE = 384 * 2**20
# Maintenance removes replaced files after a day and a half; the bucket keeps them for two weeks.
REPLACED_DAYS = 1.5 + 14
LOG_GB_OF_RUN = 0.003


@dataclass(frozen=True)
class Item:
    """One line of the bill: `amount` of a unit a day, at `price` dollars a unit."""

    name: str
    amount: float
    unit: str
    price: float

    @property
    def dollars(self) -> float:
        """USD a day."""
        return self.amount * self.price

    @property
    def price_text(self) -> str:
        """The price with all of its digits."""
        return f"{self.price:.10f}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Feed:
    """`events` a day, evenly; an hour of Silver is built every `minutes` while it fills.

    `engine` makes Silver and Gold: Glue and Athena, or DuckDB in the run's task on Fargate. Data is
    kept for a year.
    """

    events: float = 180e6
    minutes: float = SLOT_MINUTES
    engine: Engine = "glue"

    @property
    def builds(self) -> list[float]:
        """The share of an hour that each of its builds reads."""
        step = max(1, math.ceil(self.minutes / SLOT_MINUTES))
        slots = takewhile(lambda n: n < SLOTS_OF_HOUR, count(1, step))
        return [n / SLOTS_OF_HOUR for n in (*slots, SLOTS_OF_HOUR)]

    @property
    def workers(self) -> int:
        """G.1X workers of a Glue run, the driver among them."""
        return 1 + math.ceil(self.events / 24 * GLUE_SECONDS / WORK_SECONDS)

    @property
    def dpu_hours(self) -> float:
        """DPU-hours a day, if Glue makes Silver."""
        hour = self.events / 24 * GLUE_SECONDS / (self.workers - 1)
        seconds = sum(START_SECONDS + share * hour for share in self.builds)
        return 24 * seconds * self.workers / 3600

    @property
    def files(self) -> int:
        """Silver's live files of a day."""
        hour = self.events / 24 * BRONZE_BYTES
        return 24 * (math.ceil(hour / GLUE_BYTES_OF_FILE) if self.engine == "glue" else 1)

    @property
    def embedded_seconds(self) -> float:
        """Seconds in which a task makes a whole hour of Silver, its start included."""
        return START_SECONDS + 2 * EMBEDDED_SECONDS * self.events / 24

    @property
    def keeps_up(self) -> bool:
        """Whether a build has ended before the next one is due."""
        return self.engine == "glue" or self.embedded_seconds <= 60 * self.minutes

    @property
    def scanned_gb(self) -> float:
        """GB a day that Athena bills, if it makes Gold: five statements over a day's roll-ups."""
        return self._refreshes * 5 * max(LEAST_SCANNED_GB, self.events * ROLL_UP_BYTES / 1e9)

    @property
    def refresh_dollars(self) -> float:
        """USD of one refresh of a date of Gold."""
        writes, reads, catalog = REFRESH[self.engine]
        requests = writes * WRITES_1000 + reads * READS_1000 + catalog * CATALOG_1000
        work = self.scanned_gb / self._refreshes * SCANNED_GB
        if self.engine == "embedded":
            hours = (START_SECONDS + GOLD_SECONDS) / 3600
            work = hours * (TASK_VCPU * VCPU_HOUR + TASK_GB * MEMORY_GB_HOUR)
        return requests / 1000 + work

    @property
    def _refreshes(self) -> int:
        return 24 * len(self.builds)

    @property
    def items(self) -> list[Item]:
        """The whole bill."""
        bronze, silver = self.events * BRONZE_BYTES / 1e9, self.events * SILVER_BYTES / 1e9
        replaced = (sum(self.builds) - 1) * silver * REPLACED_DAYS / DAYS_OF_MONTH
        runs = self._refreshes
        writes, reads, catalog = self._requests
        gb_seconds = self.events * LAMBDA_SECONDS * 3 * LAMBDA_GB
        return [
            Item("Bronze for a year: its first month", bronze, "GB-month", GB_MONTH),
            Item("its next two, seldom read", 2 * bronze, "GB-month", GB_MONTH_SELDOM),
            Item("and nine, at rest", 9 * bronze, "GB-month", GB_MONTH_AT_REST),
            Item("Intelligent-Tiering", 12 * 0.288, "1,000 object-months", WATCHED_1000),
            Item("Silver for a year", 12 * silver, "GB-month", GB_MONTH),
            Item("Silver: builds that were replaced", replaced, "GB-month", GB_MONTH),
            Item("S3: PUT", writes / 1000, "1,000 requests", WRITES_1000),
            Item(
                "S3: LIST by sensors", TICKS * TICK_LISTINGS / 1000, "1,000 requests", WRITES_1000
            ),
            Item("S3: GET", reads / 1000, "1,000 requests", READS_1000),
            Item("Catalog", catalog / 1000, "1,000 requests", CATALOG_1000),
            Item("Lambda", gb_seconds, "GB-second", LAMBDA_GB_SECOND),
            *(self._by_glue if self.engine == "glue" else self._embedded),
            Item("Alarms, of four metrics", 4 / DAYS_OF_MONTH, "metric-month", ALARM_METRIC_MONTH),
            Item("KMS: the key", 1 / DAYS_OF_MONTH, "key-month", KEY_MONTH),
            Item("KMS: requests", runs / 288, "10,000 requests", KEY_REQUESTS_10000),
        ]

    @property
    def _requests(self) -> tuple[float, float, float]:
        """PUT and LIST (without the sensors'), GET, and requests of the catalog, a day."""
        pairs = zip(BUILD[self.engine], REFRESH[self.engine], strict=True)
        writes, reads, catalog = (self._refreshes * sum(pair) for pair in pairs)
        writes += 2 * SLOTS_OF_DAY  # the Lambda's
        if self.engine == "embedded":
            writes += self.events * SILVER_BYTES * sum(self.builds) / PART_BYTES
        reads += self._refreshes * NEWS_READS
        return writes, reads, catalog + TICKS * TICK_CATALOG

    @property
    def _by_glue(self) -> list[Item]:
        logs = self._refreshes * LOG_GB_OF_RUN
        return [
            Item(f"Glue: {self.workers} workers", self.dpu_hours, "DPU-hour", DPU_HOUR),
            Item("Athena", self.scanned_gb, "GB scanned", SCANNED_GB),
            Item("Logs of Glue", logs, "GB", LOGS_GB),
        ]

    @property
    def _embedded(self) -> list[Item]:
        silver = [
            START_SECONDS + share * (self.embedded_seconds - START_SECONDS) for share in self.builds
        ]
        hours = 24 * sum(each + START_SECONDS + GOLD_SECONDS for each in silver) / 3600
        return [
            Item("Fargate: processors", hours * TASK_VCPU, "vCPU-hour", VCPU_HOUR),
            Item("Fargate: memory", hours * TASK_GB, "GB-hour", MEMORY_GB_HOUR),
        ]

    @property
    def dollars(self) -> float:
        """USD a day."""
        return sum(item.dollars for item in self.items)

    @property
    def records(self) -> list[dict[str, str]]:
        """The bill as rows of a table, its sum last."""
        rows = [
            (i.name, f"{i.amount:,.2f}", i.unit, i.price_text, f"{i.dollars:.3f}")
            for i in self.items
        ]
        rows.append(("in all", "", "", "", f"{self.dollars:.2f}"))
        names = ("what", "a day", "unit", "USD a unit", "USD a day")
        return [dict(zip(names, row, strict=True)) for row in rows]
