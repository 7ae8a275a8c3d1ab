"""Gold: what a person sees of a day, and a backfill of many."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from event_pipeline_tests.dagster_lab import GOLD_ASSETS, HOUR, TODAY, Lab

DAYS = ["2026-03-08", "2026-03-09", TODAY]
REVENUE = next(key for key in GOLD_ASSETS if key.path[-1] == "hourly_revenue")
ACTIVITY = next(key for key in GOLD_ASSETS if key.path[-1] == "daily_user_activity")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab.open(tmp_path) as lab:
        yield lab


def test_a_person_sees_the_reconciliation_a_preview_and_a_chart(lab: Lab) -> None:
    lab.arrive(HOUR, events=4)  # of which two are purchases, of 2 and 4 units at 9.99
    lab.settle("arrivals")
    run = lab.materialize([REVENUE], TODAY)
    assert run.success
    checks = {each.check_name: each.passed for each in run.get_asset_check_evaluations()}
    assert checks == {"reconciles_with_silver": True, "statement_is_current": True}
    (made,) = lab.materializations(REVENUE)
    found = {key: value.value for key, value in made.metadata.items()}
    reconciliation = made.metadata["reconciliation"]
    assert isinstance(reconciliation, dg.TableMetadataValue)
    totals = {r.data["total"]: (r.data["gold"], r.data["silver"]) for r in reconciliation.records}
    assert totals["total_revenue"] == ("59.94", "59.94")
    assert totals["units_sold"] == ("6", "6")
    assert found["dagster/partition_row_count"] == 2
    assert "| 2026 | 3 | 10 | 1 |" in str(found["preview"])
    assert str(found["chart"]).startswith("![total_revenue by hour](data:image/png;base64,iVBOR")
    assert found["seconds"] is not None


def test_a_day_without_events_is_made_without_a_chart(lab: Lab) -> None:
    assert lab.materialize([REVENUE], TODAY).success
    (made,) = lab.materializations(REVENUE)
    assert made.metadata["dagster/partition_row_count"].value == 0
    assert "chart" not in made.metadata


def test_a_backfill_of_days_records_each_with_its_own_numbers(lab: Lab) -> None:
    lab.arrive(HOUR, days=DAYS, events=3)
    lab.arrive(HOUR, minute=5, days=DAYS[2:], events=2)
    lab.settle("arrivals")
    assert lab.materialize_range([ACTIVITY], DAYS[0], DAYS[-1]).success
    made = lab.materializations(ACTIVITY)
    assert [m.partition for m in made] == DAYS
    query = "SELECT total_events FROM gold.daily_user_activity ORDER BY event_day"
    assert lab.resources.querier.fetch(query)[1] == [(3,), (3,), (5,)]
