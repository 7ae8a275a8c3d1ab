"""The schedule that stands in for EventBridge on a laptop."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from event_pipeline_tests.dagster_lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab.open(tmp_path) as lab:
        yield lab


def request(lab: Lab, moment: datetime) -> dg.RunRequest:
    schedule = lab.defs.resolve_schedule_def("ingest_every_5_minutes")
    context = dg.build_schedule_context(
        lab.instance,
        scheduled_execution_time=moment,
        repository_def=lab.defs.get_repository_def(),
    )
    (found,) = schedule.evaluate_tick(context).run_requests or ()
    return found


@pytest.mark.parametrize(
    ("moment", "hour"),
    [
        (datetime(2026, 3, 10, 12, 35, tzinfo=UTC), "2026-03-10-12:00"),
        (datetime(2026, 3, 10, 12, 0, tzinfo=UTC), "2026-03-10-11:00"),
        (datetime(2026, 3, 10, 0, 0, tzinfo=UTC), "2026-03-09-23:00"),
    ],
)
def test_it_asks_for_the_hour_of_the_slot_that_is_just_over(
    lab: Lab, moment: datetime, hour: str
) -> None:
    assert request(lab, moment).partition_key == hour


def test_each_slot_is_asked_for_once(lab: Lab) -> None:
    moments = [datetime(2026, 3, 10, 12, n, tzinfo=UTC) for n in (30, 35, 40)]
    keys = {request(lab, moment).run_key for moment in moments}
    assert len(keys) == 3
    assert request(lab, moments[0]).run_key in keys
