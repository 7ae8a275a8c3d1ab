"""A date's files are found without opening the manifests of partitions that are far from it."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_pipeline.contracts import COMMERCE_USERS, EVENTS
from event_pipeline.errors import DamagedError
from event_pipeline.lake import compacting, dates
from event_pipeline.lake.commits import data_file, replace_files
from event_pipeline.lake.dates import FAR, TOO_MANY, with_far
from event_pipeline.lake.tables import Lake
from event_pipeline.partitions import DAY, HOURLY
from event_pipeline_tests.conftest import Lab, receipt

FIRST = date(2026, 1, 1)


def write(lake: Lake, day: date, held: Sequence[date | None]) -> str:
    """Writes a file of a day's first hour, with a row of each of the dates; returns its path."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    prefix = lake.new_prefix(EVENTS, HOURLY.key(start), "digest")
    types = {"timestamp": pa.timestamp("us"), "date": pa.date32(), "int": pa.int32()}
    columns = {
        c.name: pa.nulls(len(held), types.get(c.type, pa.string()))
        for c in EVENTS.columns
        if not c.type.startswith("decimal")
    }
    columns["event_date"] = pa.array(held, pa.date32())
    columns["arrival_hour"] = pa.array([start.replace(tzinfo=None)] * len(held), pa.timestamp("us"))
    pq.write_table(pa.table(columns), f"{prefix}/rows.parquet")
    return f"{prefix}/rows.parquet"


def publish(lake: Lake, day: date, held: Sequence[date | None]) -> str:
    """Publishes the first hour of a day, with a row of each of the dates."""
    path = write(lake, day, held)
    key = HOURLY.key(datetime(day.year, day.month, day.day, tzinfo=UTC))
    lake.publish(EVENTS, key, [path], receipt())
    return path


def listed(lake: Lake) -> str | None:
    return lake.table(EVENTS).properties.get(FAR)


days = st.integers(-400, 400).map(lambda n: FIRST + n * DAY)
near = st.integers(-9, 9)


@settings(max_examples=25, deadline=None)
@given(
    held=st.dictionaries(
        days,
        st.lists(st.one_of(st.none(), near, st.integers(-9000, 9000)), max_size=3),
        max_size=12,
    ),
    asked=st.lists(st.tuples(days, st.integers(0, 20)), min_size=1, max_size=8),
)
def test_any_dates_in_any_partitions_are_found(
    tmp_path_factory: pytest.TempPathFactory,
    held: dict[date, list[int | None]],
    asked: list[tuple[date, int]],
) -> None:
    lake, files, ranges = Lake(root=str(tmp_path_factory.mktemp("lake"))), [], {}
    table = lake.table(EVENTS)
    for day, distances in held.items():
        found = [None if n is None else day + n * DAY for n in distances]
        path = write(lake, day, found)
        files.append(data_file(table, path, EVENTS, f"{day}-00:00"))
        ranges[path] = found
    # Two commits, the second of which adds to the list.
    for part in (files[::2], files[1::2]):
        replace_files(table, [], part, {}, with_far(table, EVENTS, part))
    lake.compact(EVENTS)
    for first, length in asked:
        last = first + length * DAY
        paths = set(lake.scan(EVENTS, (first.isoformat(), last.isoformat())))
        for path, found in ranges.items():
            known = [day for day in found if day is not None]
            if any(first <= day <= last for day in known):
                assert path in paths
            elif known:
                assert path not in paths or min(known) < first <= last < max(known)


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """One whose manifests list one file each, once they are written anew."""
    monkeypatch.setattr(compacting, "FILES_OF_A_MANIFEST", 1)
    monkeypatch.setattr(compacting, "MANIFESTS_LEAST", 0)
    return Lake(root=str(tmp_path))


def test_manifests_of_other_times_are_not_opened(lake: Lake) -> None:
    months = [FIRST + 30 * n * DAY for n in range(4)]
    paths = [publish(lake, day, [day, day - DAY]) for day in months]
    publish(lake, months[0], [months[2]])  # its producer's clock is two months ahead
    late = lake.scan(EVENTS, ("2026-03-02", "2026-03-02"))
    assert len(late) == 2  # that one, and the one of its own time
    assert compacting.compact(lake.table(EVENTS), EVENTS)
    table = lake.table(EVENTS)
    snapshot = table.current_snapshot()
    assert snapshot
    for manifest in snapshot.manifests(table.io):
        [entry] = manifest.fetch_manifest_entry(table.io)
        if entry.data_file.file_path == paths[3]:
            Path(manifest.manifest_path).write_bytes(b"")
    assert lake.scan_day(EVENTS, "2026-03-02") == late
    assert lake.scan_day(EVENTS, "2026-01-31") == [paths[1]]
    with pytest.raises(DamagedError, match="lost or unreadable"):
        lake.scan_day(EVENTS, "2026-04-01")
    with pytest.raises(DamagedError, match="lost or unreadable"):
        lake.scan(EVENTS)


def test_what_is_far_stays_so_for_a_rollback(lake: Lake) -> None:
    old = publish(lake, FIRST, [FIRST - 300 * DAY])
    [version] = lake.versions(EVENTS)
    publish(lake, FIRST, [FIRST])
    assert lake.scan_day(EVENTS, "2025-03-07") == []
    lake.rollback(EVENTS, version.snapshot_id)
    assert lake.scan_day(EVENTS, "2025-03-07") == [old]


def test_a_table_of_before_finds_all_and_gets_the_list_by_maintenance(lake: Lake) -> None:
    publish(lake, FIRST, [FIRST - 300 * DAY])
    publish(lake, FIRST + DAY, [FIRST])
    [_, first] = lake.versions(EVENTS)
    lake.rollback(EVENTS, first.snapshot_id)
    publish(lake, FIRST, [FIRST])  # so that what is far is in an earlier state only
    with lake.table(EVENTS).transaction() as transaction:
        transaction.remove_properties(FAR)
    far = publish(lake, FIRST + 2 * DAY, [FIRST - 400 * DAY])
    assert listed(lake) is None
    assert lake.scan_day(EVENTS, "2024-11-27") == [far]
    assert lake.compact(EVENTS)
    assert json.loads(listed(lake) or "") == ["2026-01-01-00:00", "2026-01-03-00:00"]
    assert lake.scan_day(EVENTS, "2024-11-27") == [far]
    lake.compact(EVENTS)
    assert not lake.compact(EVENTS)


def test_too_many_far_partitions_are_not_listed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dates, "FAR_MOST", 2)
    paths = [publish(lake, FIRST + n * DAY, [date(1970, 1, 1)]) for n in range(4)]
    assert listed(lake) == TOO_MANY
    assert lake.scan_day(EVENTS, "1970-01-01") == sorted(paths)
    assert lake.scan_day(EVENTS, "2026-01-01") == []


def test_tables_whose_date_is_their_partition_need_no_list(lab: Lab) -> None:
    assert FAR not in lab.lake.table(COMMERCE_USERS).properties


def test_the_first_and_the_last_days_there_are_can_be_asked_for(lake: Lake) -> None:
    path = publish(lake, FIRST, [date.min, date.max])
    for day in ("0001-01-01", "9999-12-31", "2026-01-01"):
        assert lake.scan_day(EVENTS, day) == [path]


def test_dates_are_seven_days_apart_at_most_to_be_near(lake: Lake) -> None:
    publish(lake, FIRST, [FIRST - 7 * DAY, FIRST + 7 * DAY])
    assert listed(lake) == "[]"
    publish(lake, FIRST, [FIRST - 8 * DAY])
    publish(lake, FIRST + timedelta(1), [FIRST + 9 * DAY])
    assert json.loads(listed(lake) or "") == ["2026-01-01-00:00", "2026-01-02-00:00"]
