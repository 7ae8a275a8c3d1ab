"""Layouts: where each partition's objects lie, by the pipeline's own template and by others'."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_pipeline.bronze import object_key
from event_pipeline.contracts.contract import LAYOUTS
from event_pipeline.contracts.layout import Layout, ListFolder
from event_pipeline.partitions import DAILY, HOURLY, Cadence

HOURS, DAYS = (Layout(LAYOUTS[cadence], cadence) for cadence in (HOURLY, DAILY))
FIREHOSE = Layout("{yyyy}/{MM}/{dd}/{HH}/", HOURLY)
SEGMENT = Layout("*/{day_ms}/", DAILY)
RUDDERSTACK = Layout("*/{MM}-{dd}-{yyyy}/", DAILY)
SNOWPLOW = Layout("run={yyyy}-{MM}-{dd}-{HH}-*/", HOURLY)
GA4 = Layout("events_{yyyy}{MM}{dd}*", DAILY)
# A table by day whose folders tell the hour, too; and the year in two folders.
BY_HOUR = Layout("{yyyy}/{MM}/{dd}/{HH}/", DAILY)
TWICE = Layout("{yyyy}/{MM}/{yyyy}-{MM}-{dd}/", DAILY)
ALL = (HOURS, DAYS, FIREHOSE, SEGMENT, RUDDERSTACK, SNOWPLOW, GA4, BY_HOUR, TWICE)
DAY = date(2026, 3, 10)


def listing(*paths: str) -> ListFolder:
    """Lists the folders and the names right under a path, of these paths of objects."""

    def under(path: str) -> tuple[list[str], list[str]]:
        below = [each.removeprefix(path) for each in paths if each.startswith(path)]
        folders = {each.partition("/")[0] for each in below if "/" in each}
        return sorted(folders), sorted(each for each in below if "/" not in each)

    return under


@pytest.mark.parametrize(
    ("layout", "path", "key", "name"),
    [
        (HOURS, "year=2026/month=01/day=02/hour=03/minute=04/x", "2026-01-02-03:00", "minute=04/x"),
        (HOURS, "year=2026/month=01/day=02/hour=03/", "2026-01-02-03:00", ""),
        (HOURS, "year=2026/month=01/day=02/hour=99/x", "2026-01-02-99:00", "x"),
        (HOURS, "year=2026/month=01/day=02/x.gz", None, ""),
        (HOURS, "year=26/month=1/day=2/hour=3/x.gz", None, ""),
        (HOURS, "x/year=2026/month=01/day=02/hour=03/", None, ""),
        (DAYS, "date=2026-01-02/users.json", "2026-01-02", "users.json"),
        (DAYS, "date=2026-01-02/more/users.json", "2026-01-02", "more/users.json"),
        (DAYS, "date=2026-1-2/users.json", None, ""),
        (DAYS, "my-date=2026-01-02/users.json", None, ""),
        (DAYS, "", None, ""),
        (FIREHOSE, "2026/01/02/03/s-1-2026-01-02-03-04-05-uuid", "2026-01-02-03:00", None),
        (SEGMENT, "abc/1767312000000/1.gz", "2026-01-02", "1.gz"),
        (SEGMENT, "abc/1767312000000000000/1.gz", None, ""),
        (RUDDERSTACK, "abc/01-02-2026/1.json.gz", "2026-01-02", "1.json.gz"),
        (SNOWPLOW, "run=2026-01-02-03-04-05/part-0", "2026-01-02-03:00", "part-0"),
        (GA4, "events_20260102-0000.json.gz", "2026-01-02", "events_20260102-0000.json.gz"),
        (GA4, "events_2026010.json", None, ""),
        (GA4, "more/events_20260102.json", None, ""),
        (BY_HOUR, "2026/01/02/23/x", "2026-01-02", "x"),
        (TWICE, "2026/01/2026-01-02/x", "2026-01-02", "x"),
        (TWICE, "2026/01/2025-01-02/x", None, ""),
    ],
)
def test_the_partition_of_a_path(layout: Layout, path: str, key: str | None, name: str) -> None:
    found = layout.split(path)
    assert found[0] == key
    assert key is None or name is None or found[1] == name


def test_an_object_of_the_producer_lies_in_the_hour_that_its_key_says() -> None:
    slot = datetime(2026, 11, 24, 1, 55, tzinfo=UTC)
    key = object_key(slot).removeprefix("bronze/events/")
    assert HOURS.split(key) == ("2026-11-24-01:00", "minute=55/events-20261124-015500.jsonl.gz")
    assert key.startswith(HOURS.folder(HOURLY.key(slot)))


PATHS = {
    HOURS: "year=2026/month=03/day={d:02}/hour={h:02}/minute=05/x",
    DAYS: "date=2026-03-{d:02}/x",
    FIREHOSE: "2026/03/{d:02}/{h:02}/x",
    SEGMENT: "source-{h}/{ms}/x",
    RUDDERSTACK: "source-{h}/03-{d:02}-2026/x",
    SNOWPLOW: "run=2026-03-{d:02}-{h:02}-59-01/x",
    GA4: "events_202603{d:02}-{h}.json",
    BY_HOUR: "2026/03/{d:02}/{h:02}/x",
    TWICE: "2026/03/2026-03-{d:02}/x-{h}",
}


def paths(layout: Layout) -> list[str]:
    """Objects of three hours of each of four days."""
    first = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    return [
        PATHS[layout].format(d=d, h=h, ms=int(first + (d - 1) * 86400) * 1000)
        for d in (8, 9, 10, 11)
        for h in (0, 9, 23)
    ]


@pytest.mark.parametrize("layout", ALL, ids=lambda each: each.template)
def test_each_partition_and_day_is_found_where_it_lies(layout: Layout) -> None:
    lying = paths(layout)
    keys = sorted({str(layout.split(path)[0]) for path in lying})
    assert len(keys) == (12 if layout.cadence is HOURLY else 4)

    def under(found: Sequence[str]) -> set[str]:
        return {path for path in lying if any(path.startswith(each) for each in found)}

    for key in keys:
        own = {path for path in lying if layout.split(path)[0] == key}
        assert under([*layout.folders_of(key, listing(*lying))]) == own
    of_day = {path for path in lying if str(layout.split(path)[0]).startswith(f"{DAY}")}
    assert under([*layout.folders_of_day(DAY, listing(*lying))]) == of_day
    days = [date(2026, 3, day) for day in (8, 9, 10, 11)]
    assert list(layout.days(listing(*lying))) == days
    assert list(layout.days(listing(*lying), DAY)) == days[2:]
    assert list(layout.days(listing())) == []


def test_of_years_and_months_before_the_first_day_nothing_is_listed() -> None:
    asked: list[str] = []
    lying = [
        f"year={y}/month={m:02}/day=05/hour=01/x" for y in (2024, 2025, 2026) for m in (1, 2, 3)
    ]

    def under(path: str) -> tuple[list[str], list[str]]:
        asked.append(path)
        return listing(*lying)(path)

    found = HOURS.days(under, date(2025, 3, 1))
    assert next(found) == date(2025, 3, 5)
    assert asked == ["", "year=2025/", "year=2025/month=03/"]
    assert list(found) == [date(2026, m, 5) for m in (1, 2, 3)]


@pytest.mark.parametrize(
    ("layout", "name", "is_folder", "stray"),
    [
        (HOURS, "year=2026", True, False),
        (HOURS, "year=26", True, True),
        (HOURS, "year=2026", False, True),
        (HOURS, "date=2026-01-02", True, True),
        (DAYS, "date=2026-01-02", True, False),
        (DAYS, "date=2026-02-30", True, True),
        (DAYS, "date=2026-1-2", True, True),
        (DAYS, "2026-01-02", True, True),
        (SEGMENT, "anything", True, False),
        (GA4, "events_20260102.json", False, False),
        (GA4, "events_20260102.json", True, True),
        (GA4, "readme.txt", False, True),
    ],
)
def test_what_lies_right_under_the_prefix_is_the_templates_or_a_stray(
    layout: Layout, name: str, is_folder: bool, stray: bool
) -> None:
    assert layout.is_stray(name, is_folder=is_folder) == stray


@pytest.mark.parametrize(
    ("template", "cadence", "said"),
    [
        ("{yyyy}/{MM}/{dd}/", HOURLY, "must name the hour, by {HH}"),
        ("{day_ms}/", HOURLY, "must name the hour"),
        ("{yyyy}/{MM}/", DAILY, "must name the day"),
        ("events/", DAILY, "must name the day"),
        ("{year}/{MM}/{dd}/", DAILY, "there is no field {year}; choose from yyyy, MM, dd, HH, mm"),
        ("/{yyyy}/{MM}/{dd}/", DAILY, "must be folders"),
        ("{yyyy}//{MM}{dd}/", DAILY, "must be folders"),
    ],
)
def test_a_template_that_does_not_tell_the_time_is_one_line(
    template: str, cadence: Cadence, said: str
) -> None:
    found = list(Layout(template, cadence).mistakes())
    assert said in found[0]


def test_the_templates_in_use_are_right() -> None:
    assert [mistake for layout in ALL for mistake in layout.mistakes()] == []


@given(
    moment=st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)),
    n=st.integers(0, len(ALL) - 1),
)
def test_any_partition_lies_where_it_is_looked_for(moment: datetime, n: int) -> None:
    layout = ALL[n]
    key = layout.cadence.key(moment.replace(tzinfo=UTC))
    folder = layout.folder(key).replace("*", "23")
    name = "" if layout.template.endswith("/") else f"events_{moment:%Y%m%d}-x"
    assert layout.split(folder + name)[0] == key
    (where,) = layout.folders_of(key, listing(f"{folder}{name or 'x'}"))
    assert f"{folder}{name}".startswith(where)
