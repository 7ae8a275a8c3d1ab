"""The rules by which sensors ask: never twice at a time, and never silently never."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import RUN_FAILURE_REASON_TAG

from event_pipeline.assets.bronze import BRONZE_EVENTS
from event_pipeline.errors import MAX_NAMED
from event_pipeline.partitions import HOUR as AN_HOUR
from event_pipeline.partitions import HOURLY
from event_pipeline.recorded import BATCH, recorded_versions
from event_pipeline.run_requests import MAX_LOST_RUNS, UNDER_WAY, Requests, request_runs
from event_pipeline.runs import LOST, LOST_REASONS
from event_pipeline.tags import DATA_VERSION
from event_pipeline_tests.dagster_lab import HOUR, NOW, SILVER_ASSETS, SILVER_EVENTS, Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab.open(tmp_path) as lab:
        yield lab


def ask(lab: Lab, version: str = "v1", hour: str = HOUR) -> Requests:
    return request_runs(
        lab.instance, "arrivals", SILVER_ASSETS, {hour: version}, most=9, max_attempts=3
    )


def test_a_run_of_a_range_counts_for_each_of_its_partitions(lab: Lab) -> None:
    run = lab.instance.create_run_for_job(
        lab.defs.resolve_implicit_global_asset_job_def(),
        tags={
            "dagster/asset_partition_range_start": "2026-03-10-09:00",
            "dagster/asset_partition_range_end": HOUR,
        },
        asset_selection=frozenset(SILVER_ASSETS),
    )
    assert ask(lab).waiting == {HOUR: "a run is under way"}
    assert len(ask(lab, hour="2026-03-10-12:00").runs) == 1
    lab.turn(run, dg.DagsterEventType.RUN_SUCCESS)
    assert len(ask(lab).runs) == 1


def test_a_run_of_other_assets_holds_nothing_up(lab: Lab) -> None:
    lab.create(dg.RunRequest(partition_key=HOUR, asset_selection=[BRONZE_EVENTS]))
    assert len(ask(lab).runs) == 1


def test_a_run_of_the_whole_job_counts(lab: Lab) -> None:
    lab.create(dg.RunRequest(partition_key=HOUR))
    assert ask(lab).waiting == {HOUR: "a run is under way"}


def lose(lab: Lab, request: dg.RunRequest, why: dict[str, str]) -> None:
    run = lab.fail(request)
    lab.instance.add_run_tags(run.run_id, why)


@pytest.mark.parametrize(
    "tags", [{LOST: "gone"}, {RUN_FAILURE_REASON_TAG: next(iter(LOST_REASONS))}]
)
def test_a_lost_run_is_no_failure_and_is_asked_for_again_at_once(
    lab: Lab, tags: dict[str, str]
) -> None:
    keys = set()
    for _ in range(MAX_LOST_RUNS):
        asked = request_runs(
            lab.instance,
            "arrivals",
            SILVER_ASSETS,
            {HOUR: "v1"},
            most=9,
            max_attempts=3,
            throttle=lambda _: timedelta(days=1),
        )
        (request,) = asked.runs
        keys.add(request.run_key)
        lose(lab, request, tags)
    assert len(keys) == MAX_LOST_RUNS
    # One that takes its process along each time is not tried for ever.
    assert f"after {MAX_LOST_RUNS} lost runs" in ask(lab).given_up[HOUR]


def test_failures_count_whatever_was_lost_between_them(lab: Lab) -> None:
    for _ in range(2):
        lab.fail(ask(lab).runs[0])
        lose(lab, ask(lab).runs[0], {LOST: "gone"})
    assert len(ask(lab).runs) == 1
    lab.fail(ask(lab).runs[0])
    assert "after 3 failed runs" in ask(lab).given_up[HOUR]


def test_a_run_may_be_under_way_for_as_long_as_it_takes(lab: Lab) -> None:
    run = lab.create(ask(lab).runs[0])
    for began in (None, dg.DagsterEventType.RUN_START):
        if began:
            lab.turn(run, began)
        lab.now += timedelta(days=3650)
        assert ask(lab).waiting == {HOUR: UNDER_WAY}
        assert ask(lab).under_way == [HOUR]


def test_an_input_that_comes_back_is_asked_for_with_a_new_run_key(lab: Lab) -> None:
    keys = []
    for version in ("v1", "v2", "v1"):
        (request,) = ask(lab, version).runs
        keys.append(request.run_key)
        lab.succeed(request)
    assert len(set(keys)) == 3


def test_a_canceled_run_counts_as_failed(lab: Lab) -> None:
    for _ in range(3):
        lab.turn(lab.create(ask(lab).runs[0]), dg.DagsterEventType.RUN_CANCELED)
    assert list(ask(lab).given_up) == [HOUR]


def test_failures_of_another_input_are_not_held_against_this_one(lab: Lab) -> None:
    for _ in range(3):
        lab.fail(ask(lab, "v1").runs[0])
    assert len(ask(lab, "v2").runs) == 1


def test_a_message_names_what_is_given_up_first_and_is_never_endless() -> None:
    requests = Requests(
        waiting={f"hour {n}": "waits" for n in range(1000)}, given_up={"hour x": "given up"}
    )
    assert requests.message.startswith("hour x: given up; hour 0: waits")
    assert requests.message.endswith(f"and {1001 - MAX_NAMED} more")
    assert Requests().message == ""


def test_recorded_versions_are_the_latest_of_each_partition_however_many(lab: Lab) -> None:
    hours = [HOURLY.key(NOW - n * AN_HOUR) for n in range(BATCH + 5)]
    for version, hour in (("old", hours[0]), ("new", hours[0]), ("only", hours[-1])):
        lab.instance.report_runless_asset_event(
            dg.AssetMaterialization(SILVER_EVENTS, partition=hour, tags={DATA_VERSION: version})
        )
    found = recorded_versions(lab.instance, SILVER_EVENTS, hours)
    assert found == {hours[0]: "new", hours[-1]: "only"}
    assert recorded_versions(lab.instance, SILVER_EVENTS, hours[1:-1]) == {}
