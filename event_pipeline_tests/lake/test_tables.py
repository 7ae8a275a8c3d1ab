"""Iceberg tables: a publish replaces one partition, and nothing else, at once."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.exceptions import CommitFailedException

from event_pipeline.contracts import DAILY_USER_ACTIVITY, EVENTS
from event_pipeline.lake import commits, live, tables
from event_pipeline.lake.tables import Lake, PublishError
from event_pipeline.partitions import HOURLY
from event_pipeline_tests.conftest import HOUR, Lab, clock, receipt

OTHER = "2026-01-01-11:00"


def write(lab: Lab, hour: str, users: Sequence[str], as_hour: str | None = None) -> list[str]:
    """A Parquet file of rows of `hour`, under a fresh prefix."""
    schema = lab.lake.table(EVENTS).schema().as_arrow()
    value = HOURLY.start(as_hour or hour).replace(tzinfo=None)
    rows = [{"user_id": user, "arrival_hour": value} for user in users]
    path = f"{lab.lake.new_prefix(EVENTS, hour, 'digest')}/rows.parquet"
    plain = pa.schema([(field.name, field.type) for field in schema])
    pq.write_table(pa.Table.from_pylist(rows, plain), path)
    return [path]


def publish(lab: Lab, users: Sequence[str], hour: str = HOUR, of: str = "digest") -> None:
    """Publishes rows of these users, made of the input with this digest."""
    lab.lake.publish(EVENTS, hour, write(lab, hour, users), receipt(of, len(users)))


def users(lab: Lab, hour: str = HOUR) -> list[str]:
    """Whom a reader sees in an hour."""
    return sorted(row[2] for row in lab.rows(EVENTS, hour))


def test_a_publish_replaces_its_partition_alone(lab: Lab) -> None:
    publish(lab, ["a", "b"])
    publish(lab, ["c"], OTHER)
    publish(lab, ["d"])
    assert (users(lab), users(lab, OTHER)) == (["d"], ["c"])
    assert lab.querier.fetch("SELECT count(*) FROM silver.events")[1] == [(2,)]


def test_two_workers_that_publish_the_same_files_publish_them_once(lab: Lab) -> None:
    files = write(lab, HOUR, ["a", "b"])
    for _ in range(3):
        lab.lake.publish(EVENTS, HOUR, files, receipt())
        assert users(lab) == ["a", "b"]
        assert lab.lake.live(EVENTS, {HOUR})[HOUR].rows == 2


def test_an_empty_partition_is_published_and_stays(lab: Lab) -> None:
    publish(lab, [])
    publish(lab, ["a"], OTHER)
    publish(lab, ["b"], OTHER)
    live = lab.lake.live(EVENTS)
    assert {key: found.rows for key, found in live.items()} == {HOUR: 0, OTHER: 1}
    assert lab.receipt().rows == 0
    publish(lab, [])  # again, and then with rows, and empty once more
    publish(lab, ["c"])
    assert users(lab) == ["c"]
    publish(lab, [])
    assert lab.lake.live(EVENTS)[HOUR].rows == 0
    assert len(lab.lake.live(EVENTS)[HOUR].paths) == 1


def test_empty_partitions_outlive_the_merging_of_manifests(lab: Lab) -> None:
    hours = [f"2026-01-{day:02}-{hour:02}:00" for day in (1, 2) for hour in range(15)]
    for n, hour in enumerate(hours):
        publish(lab, [] if n % 2 else ["a"], hour)
    manifests = (
        lab.lake.table(EVENTS)
        .current_snapshot()
        .manifests(  # type: ignore[union-attr]
            lab.lake.table(EVENTS).io
        )
    )
    assert len(manifests) < len(hours)
    publish(lab, ["b"], hours[0])
    live = lab.lake.live(EVENTS)
    assert {hour: live[hour].rows for hour in hours} == {
        hour: (n + 1) % 2 for n, hour in enumerate(hours)
    }
    assert lab.lake.live(EVENTS, {hours[1]}).keys() == {hours[1]}
    assert lab.lake.live(EVENTS, set()) == {}


def test_partitions_that_were_never_made_are_not_live(lab: Lab) -> None:
    publish(lab, ["a"])
    assert lab.lake.live(EVENTS, {OTHER}) == {}
    assert lab.lake.live(DAILY_USER_ACTIVITY) == {}


def test_the_folders_of_runs_are_those_of_what_is_live(lab: Lab) -> None:
    """And are told of a day and later ones, of which no other manifest is opened."""
    for n, hour in enumerate((HOUR, OTHER, "2026-02-03-04:00")):
        publish(lab, ["a"] * n, hour)
    before = lab.lake.folders(EVENTS)
    publish(lab, ["b"])
    live = {key: found.folder for key, found in lab.lake.live(EVENTS).items()}
    assert lab.lake.folders(EVENTS) == live
    assert {key for key in live if live[key] != before[key]} == {HOUR}
    assert lab.lake.folders(EVENTS, since="2026-02-03").keys() == {"2026-02-03-04:00"}
    assert lab.lake.folders(EVENTS, since="2026-02-04") == {}
    assert lab.lake.folders(DAILY_USER_ACTIVITY) == {}


def test_a_lake_as_loaded_is_of_one_moment(lab: Lab) -> None:
    publish(lab, ["a"])
    loaded = lab.lake.as_loaded()
    before = loaded.folders(EVENTS)
    publish(lab, ["b"], OTHER)
    assert loaded.folders(EVENTS) == before
    assert loaded.live(EVENTS).keys() == {HOUR}
    assert lab.lake.folders(EVENTS).keys() == {HOUR, OTHER}
    assert loaded.as_loaded().folders(EVENTS).keys() == {HOUR, OTHER}


def test_rollback_brings_rows_and_receipt_back(lab: Lab) -> None:
    publish(lab, ["a"], of="first")
    publish(lab, ["b", "c"], of="second")
    second, first = lab.lake.versions(EVENTS)
    assert (second.current, first.current) == (True, False)
    assert (second.rows, first.rows) == (2, 1)
    assert second.partition == first.partition == HOUR
    lab.lake.rollback(EVENTS, first.snapshot_id)
    assert users(lab) == ["a"]
    assert lab.receipt().digest == "first"
    assert [v.snapshot_id for v in lab.lake.versions(EVENTS) if v.current] == [first.snapshot_id]
    lab.lake.rollback(EVENTS, second.snapshot_id)
    assert users(lab) == ["b", "c"]


def test_a_publish_after_a_rollback_builds_on_what_is_live(lab: Lab) -> None:
    publish(lab, ["a"])
    (first,) = lab.lake.versions(EVENTS)
    publish(lab, ["lost"], OTHER)
    lab.lake.rollback(EVENTS, first.snapshot_id)
    publish(lab, ["b"])
    assert (users(lab), set(lab.lake.live(EVENTS))) == (["b"], {HOUR})


def test_there_is_no_rollback_to_what_never_was(lab: Lab) -> None:
    publish(lab, ["a"])
    with pytest.raises(ValueError, match=r"silver\.events has no snapshot 17"):
        lab.lake.rollback(EVENTS, 17)
    assert users(lab) == ["a"]


def test_many_publishes_keep_what_is_live_and_forget_old_versions(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "SNAPSHOTS_KEPT", 4)
    monkeypatch.setattr(commits, "SNAPSHOTS_MOST", 8)
    publish(lab, ["stays"], OTHER)
    for n in range(20):
        publish(lab, [f"{n}"])
        assert len(lab.lake.versions(EVENTS)) <= 8
        assert (users(lab), users(lab, OTHER)) == ([f"{n}"], ["stays"])
    newest, *others = lab.lake.versions(EVENTS)
    assert newest.current
    lab.lake.rollback(EVENTS, others[-1].snapshot_id)
    assert users(lab, OTHER) == ["stays"]


def test_versions_are_forgotten_by_age_even_if_the_clock_was_set_back(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "SNAPSHOTS_KEPT", 2)
    monkeypatch.setattr(commits, "SNAPSHOTS_MOST", 3)
    for n in range(3):
        publish(lab, [f"{n}"])
    monkeypatch.setattr("pyiceberg.table.snapshots.time.time", lambda: 1.0)
    monkeypatch.setattr("time.time", lambda: 1.0)
    publish(lab, ["last"])
    assert users(lab) == ["last"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda lab: write(lab, HOUR, ["b"], as_hour=OTHER),
        lambda lab: write(lab, HOUR, ["b"]) + write(lab, HOUR, ["c"], as_hour=OTHER),
    ],
    ids=["another partition's", "one of two"],
)
def test_a_file_of_another_partition_is_refused(lab: Lab, wrong: Any) -> None:
    publish(lab, ["a"])
    with pytest.raises(ValueError, match="does not hold partition"):
        lab.lake.publish(EVENTS, HOUR, wrong(lab), receipt())
    assert (users(lab), len(lab.lake.versions(EVENTS))) == (["a"], 1)


def test_a_file_of_two_partitions_is_refused(lab: Lab) -> None:
    publish(lab, ["a"])
    parts = [pq.read_table(write(lab, hour, ["b"])[0]) for hour in (HOUR, OTHER)]
    path = f"{lab.lake.new_prefix(EVENTS, HOUR, 'digest')}/rows.parquet"
    pq.write_table(pa.concat_tables(parts), path)
    with pytest.raises(ValueError, match="partition"):
        lab.lake.publish(EVENTS, HOUR, [path], receipt())
    assert users(lab) == ["a"]


@pytest.mark.parametrize(
    "columns",
    [{"user_id": [7]}, {"unknown": ["x"]}, {"event_date": ["2026-01-01"]}],
    ids=["type", "column", "A2: date as text"],
)
def test_a_file_that_does_not_fit_the_contract_is_refused(
    lab: Lab, columns: dict[str, list[Any]]
) -> None:
    publish(lab, ["a"])
    path = f"{lab.lake.new_prefix(EVENTS, HOUR, 'digest')}/rows.parquet"
    hour = pa.array([datetime(2026, 1, 1, 10)], pa.timestamp("us"))
    pq.write_table(pa.table({**columns, "arrival_hour": hour}), path)
    with pytest.raises(ValueError, match=r"."):
        lab.lake.publish(EVENTS, HOUR, [path], receipt())
    assert users(lab) == ["a"]


def test_a_file_that_is_gone_leaves_what_was_live(lab: Lab) -> None:
    publish(lab, ["a"])
    files = write(lab, HOUR, ["b"])
    Path(files[0]).unlink()
    with pytest.raises(OSError, match=r"."):
        lab.lake.publish(EVENTS, HOUR, files, receipt())
    assert users(lab) == ["a"]


def test_a_publish_that_loses_every_race_leaves_what_was_live(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(lab, ["a"])
    lost = []

    def lose(*arguments: Any) -> None:
        lost.append(arguments)
        raise CommitFailedException("another writer was faster")

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "_commit", lose)
        patch.setattr("event_pipeline.lake.tables.time", clock(lambda _: None))
        with pytest.raises(PublishError, match=r"silver/events 2026-01-01-10:00: other writers"):
            publish(lab, ["b"])
    assert (users(lab), len(lost)) == (["a"], tables.COMMIT_ATTEMPTS)
    publish(lab, ["c"])
    assert users(lab) == ["c"]


def test_a_publish_that_loses_a_race_for_its_partition_replaces_the_winners(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between plan and commit of one writer, another publishes the same partition."""
    publish(lab, ["old"])
    plan, rivals = live.live_in, [["rival"], ["second rival"]]

    def planned(*arguments: Any, **more: Any) -> Any:
        found = plan(*arguments, **more)
        if rivals:
            with monkeypatch.context() as patch:
                patch.setattr(tables, "live_in", plan)
                publish(Lab(lab.root), rivals.pop())
        return found

    monkeypatch.setattr(tables, "live_in", planned)
    publish(lab, ["mine"])
    assert users(lab) == ["mine"]
    assert len(lab.lake.versions(EVENTS)) == 4


def test_a_reader_keeps_its_files_while_they_are_replaced(lab: Lab) -> None:
    publish(lab, ["a"])
    files = lab.lake.scan(EVENTS)
    publish(lab, ["b"])
    assert lab.lake.read(EVENTS, files, ["user_id"]).to_pylist() == [{"user_id": "a"}]
    assert lab.lake.scan(EVENTS) != files


def test_no_two_runs_share_a_folder(lab: Lab) -> None:
    prefixes = {lab.lake.new_prefix(EVENTS, HOUR, "digest") for _ in range(50)}
    assert len(prefixes) == 50
