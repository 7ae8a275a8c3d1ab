"""The target `spark`: the same graph, one job for many partitions, and errors with their cause."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from event_pipeline.contracts import COMMERCE_USERS, EVENTS, USER_ACTIVITY
from event_pipeline.engines import DeriveRequest
from event_pipeline.engines.requests import derivation_as_json
from event_pipeline.engines.spark import SparkTransformer
from event_pipeline.errors import QueryError
from event_pipeline_tests.conftest import HOUR
from event_pipeline_tests.conftest import Lab as Lake
from event_pipeline_tests.dagster_lab import SILVER_ASSETS, SILVER_EVENTS, Lab, text

HOURS = [f"2026-03-10-{n:02}:00" for n in range(4)]


@pytest.fixture
def lab(tmp_path: Path, spark: SparkTransformer) -> Iterator[Lab]:
    with Lab.open(tmp_path, target="spark", threads=2) as lab:
        assert isinstance(lab.resources.transformer, SparkTransformer)
        yield lab


def test_a_range_is_one_job_whose_hours_stand_each_for_itself(lab: Lab) -> None:
    keys = [lab.arrive(hour, events=n + 1) for n, hour in enumerate(HOURS)]
    lab.promise(keys[1], lines=99)
    # Half an object: what of it can be read is not known, and that is told.
    data = gzip.compress(text(HOURS[2], 0, ["2026-03-10"], 50), mtime=0)
    lab.store.put(keys[2], data[: len(data) // 2])

    run = lab.materialize_range(SILVER_ASSETS, HOURS[0], HOURS[-1])

    assert not run.success
    (failed,) = run.get_step_failure_events()
    told = str(failed.step_failure_data.user_failure_data)
    assert f"{HOURS[1]}: the ledger does not balance: 99 lines, but 2 rows" in told
    assert {m.partition for m in lab.materializations(SILVER_EVENTS)} == {*HOURS} - {HOURS[1]}
    assert lab.rows() == 1 + 4
    reasons = "SELECT reasons, line FROM quarantine.events"
    assert lab.resources.querier.fetch(reasons)[1] == [
        ("object_unreadable", "Compressed file ended before the end-of-stream marker was reached")
    ]

    lab.promise(keys[1], lines=2)
    assert lab.materialize_range(SILVER_ASSETS, HOURS[0], HOURS[-1]).success
    assert lab.rows() == 1 + 2 + 4


def test_what_one_target_made_the_other_finds_unchanged_and_can_make_anew(
    lab: Lab, tmp_path: Path
) -> None:
    lab.arrive(HOURS[0], events=3)
    assert lab.materialize(SILVER_ASSETS, HOURS[0]).success
    local = Lake(lab.settings.lake)
    assert [built.status for built in local.build(HOURS[0])] == ["unchanged"]
    before = local.rows(EVENTS, HOURS[0])
    local.deliver(gzip.compress(text(HOURS[0], 5, ["2026-03-10"], 1)), HOURS[0], 5)
    assert [built.status for built in local.build(HOURS[0])] == ["published"]
    assert len(local.rows(EVENTS, HOURS[0])) == len(before) + 1


def test_an_error_of_a_statement_is_one_line_without_java(lab: Lab, tmp_path: Path) -> None:
    request = DeriveRequest(
        USER_ACTIVITY.sql.replace("order_amount", "nothing_such"),
        {each.table: [] for each in USER_ACTIVITY.inputs},
        USER_ACTIVITY.typed_columns,
        ("drop_date", "2026-01-01"),
        str(tmp_path / "out"),
    )
    with pytest.raises(QueryError) as error:
        lab.resources.transformer.derive(request)
    assert "nothing_such" in str(error.value)
    assert "\n" not in str(error.value)
    assert "at org.apache" not in str(error.value)


def test_an_object_that_is_gone_fails_its_partition_with_the_reason(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = lab.arrive(HOURS[0])
    lab.arrive(HOURS[1])
    objects = lab.resources.objects
    listing = objects.partition(EVENTS, HOURS[0])
    (lab.settings.lake / key).unlink()
    real = type(objects).partition
    monkeypatch.setattr(
        type(objects),
        "partition",
        lambda self, contract, hour: listing if hour == HOURS[0] else real(self, contract, hour),
    )
    run = lab.materialize_range(SILVER_ASSETS, HOURS[0], HOURS[1])
    assert not run.success
    (failed,) = run.get_step_failure_events()
    told = str(failed.step_failure_data.user_failure_data)
    assert HOURS[0] in told
    assert "it was deleted after it was listed" in told
    assert len(told) < 1000
    assert {m.partition for m in lab.materializations(SILVER_EVENTS)} == {HOURS[1]}


def test_tables_become_views_whose_names_and_aliases_spark_takes() -> None:
    statement = "SELECT u.user_id FROM silver.commerce_users AS u, silver.commerce_users"
    request = DeriveRequest(statement, {COMMERCE_USERS.table: []}, (), ("drop_date", HOUR), "")
    assert derivation_as_json(request)["statement"] == (
        "SELECT u.user_id FROM silver__commerce_users AS u CROSS JOIN silver__commerce_users"
        " AS commerce_users"
    )
