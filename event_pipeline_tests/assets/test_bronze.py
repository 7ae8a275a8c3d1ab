"""bronze/events: materializing an hour makes its missing slots, and changes none."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from event_pipeline.assets.bronze import BRONZE_EVENTS
from event_pipeline_tests.dagster_lab import HOUR, Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab.open(tmp_path, events_per_slot=50) as lab:
        yield lab


def test_only_missing_slots_are_made_and_none_is_changed(lab: Lab) -> None:
    there = lab.settings.lake / lab.arrive(HOUR, minute=20)
    before = there.read_bytes()
    assert lab.materialize([BRONZE_EVENTS], HOUR).success
    (made,) = lab.materializations(BRONZE_EVENTS)
    assert made.metadata["slots_written"].value == 11
    assert made.metadata["slots_there_already"].value == 1
    assert made.metadata["objects"].value == 12
    assert there.read_bytes() == before


def test_materializing_again_writes_nothing(lab: Lab) -> None:
    for _ in range(2):
        assert lab.materialize([BRONZE_EVENTS], HOUR).success
    first, second = lab.materializations(BRONZE_EVENTS)
    assert second.metadata["slots_written"].value == 0
    assert second.metadata["input_digest"] == first.metadata["input_digest"]


def test_what_it_made_goes_to_silver_and_is_not_reported_as_an_arrival_too(lab: Lab) -> None:
    assert lab.materialize([BRONZE_EVENTS], HOUR).success
    tick = lab.tick("arrivals")
    assert tick.asset_events == []
    assert [request.partition_key for request in tick.run_requests or ()] == [HOUR]


def test_a_range_makes_each_of_its_hours_with_its_own_numbers(lab: Lab) -> None:
    assert lab.materialize_range([BRONZE_EVENTS], "2026-03-10-10:00", HOUR).success
    made = {m.partition: m.metadata["bytes"].value for m in lab.materializations(BRONZE_EVENTS)}
    assert list(made) == ["2026-03-10-10:00", HOUR]
    assert len(set(made.values())) == 2
