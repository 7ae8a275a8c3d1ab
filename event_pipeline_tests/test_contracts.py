"""The contracts: one statement of each table, which writer, catalog and statement share."""

from dataclasses import replace

import pytest
from pyiceberg.schema import Schema

from event_pipeline.contracts import (
    EVENTS,
    GOLD,
    HOURLY_REVENUE,
    TABLES,
    Contract,
)
from event_pipeline_tests.conftest import Lab

# SOURCES.md, the five queries: ours keep their columns in order, further ones may follow.
THEIRS = {
    "gold.conversion_funnel": (
        "product_id views adds purchases"
        " view_to_add_rate add_to_purchase_rate view_to_purchase_rate"
    ),
    "gold.hourly_revenue": "year month day hour total_revenue units_sold purchase_events",
    "gold.top_products": "product_id category view_count",
    "gold.category_performance": (
        "event_day category total_events page_views adds removes purchases searches"
    ),
    "gold.daily_user_activity": "event_day unique_users unique_sessions total_events",
    "gold.user_activity": "user_id country total_events total_orders revenue",
}


@pytest.mark.parametrize("contract", GOLD, ids=lambda c: c.table)
def test_gold_has_the_sources_columns_in_order(contract: Contract) -> None:
    theirs = THEIRS[contract.table].split()
    assert list(contract.column_names[: len(theirs)]) == theirs


@pytest.mark.parametrize("contract", TABLES.values(), ids=lambda c: c.table)
def test_the_catalog_has_the_contracts_columns_and_partition(lab: Lab, contract: Contract) -> None:
    table = lab.lake.table(contract)
    schema: Schema = table.schema()
    found = [(f.name, str(f.field_type), f.doc) for f in schema.fields]
    assert found == [(c.name, c.type, c.description) for c in contract.columns]
    assert [field.name for field in table.spec().fields] == [contract.partition]


@pytest.mark.parametrize("contract", TABLES.values(), ids=lambda c: c.table)
def test_the_reading_order_and_the_totals_are_of_columns(contract: Contract) -> None:
    ordered = {part.split()[0] for part in contract.order_by.split(", ")}
    promised = {total.column for total in contract.totals} | set(contract.chart or ())
    assert ordered | promised | {contract.partition} <= set(contract.column_names)


def test_another_contract_or_statement_is_another_version() -> None:
    assert replace(EVENTS).version == EVENTS.version
    others = [
        replace(EVENTS, columns=EVENTS.columns[:-1]),
        replace(EVENTS, source=EVENTS.source[:-1]),
        replace(EVENTS, rules={}),
        replace(EVENTS, statement=HOURLY_REVENUE.statement),
        replace(EVENTS, partition="event_date"),
    ]
    assert len({EVENTS.version, *(other.version for other in others)}) == 6


def test_a_quarantine_has_no_statement() -> None:
    with pytest.raises(ValueError, match="quarantine/events is not made by a statement"):
        _ = EVENTS.quarantine().sql
