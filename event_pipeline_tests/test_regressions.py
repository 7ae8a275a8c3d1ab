"""The source systems' defects (SOURCES.md, part C), each a test. A6 and A7: see `ingest/`."""

import json
from datetime import date
from decimal import Decimal

import pytest
from pyiceberg.types import DateType, DecimalType

from event_pipeline.contracts import EVENTS, GOLD, TABLES, Contract
from event_pipeline_tests.conftest import HOUR, Lab, jsonl

EVENT = {
    "timestamp": "2026-01-01T10:00:00Z",
    "user_id": "u_10000",
    "session_id": "s_10000",
    "event_type": "purchase",
    "product_id": "p_1001",
    "category": "books",
    "quantity": 2,
    "price": 9.99,
    "search_query": None,
}
LINE = json.dumps(EVENT)


def test_A1_no_new_objects_is_a_success_with_the_contracts_columns(lab: Lab) -> None:
    (built,) = lab.build()
    assert (built.status, built.receipt["lines"]) == ("published", 0)
    table = lab.lake.read(lab.lake.live(EVENTS)[HOUR].paths)
    assert tuple(table.column_names) == EVENTS.column_names
    assert table.num_rows == 0
    names, rows = lab.querier.fetch(EVENTS.select_all)
    assert (tuple(names), rows) == (EVENTS.column_names, [])


@pytest.mark.parametrize("contract", GOLD, ids=lambda c: c.asset)
def test_A1_a_day_without_events_is_an_empty_gold_partition(lab: Lab, contract: Contract) -> None:
    (built,) = lab.gold(contract, "2026-01-01")
    assert (built.status, built.receipt["rows"]) == ("published", 0)


def test_A2_event_date_is_a_date_in_file_and_table_and_can_be_compared(lab: Lab) -> None:
    lab.deliver(jsonl([LINE]))
    lab.build()
    schema = lab.lake.table(EVENTS).schema()
    assert isinstance(schema.find_type("event_date"), DateType)
    assert isinstance(schema.find_type("price"), DecimalType)
    table = lab.lake.read(lab.lake.live(EVENTS)[HOUR].paths)
    assert table["event_date"].to_pylist() == [date(2026, 1, 1)]
    query = "SELECT count(*) FROM silver.events WHERE event_date >= DATE '2026-01-01'"
    assert lab.querier.fetch(query)[1] == [(1,)]


def test_A3_a_batch_that_is_tried_again_is_not_doubled(lab: Lab) -> None:
    lab.deliver(jsonl([LINE]), lines=1)
    lab.build()
    lab.deliver(jsonl([LINE]), minute=5, lines=1)  # the same rows in another object
    (built,) = lab.build()
    lab.build()
    assert (len(lab.rows()), built.receipt["duplicates"]) == (1, 1)


def test_A4_rows_that_fail_checks_and_malformed_lines_are_kept_and_counted(lab: Lab) -> None:
    nobody = json.dumps({**EVENT, "user_id": None})
    lab.deliver(jsonl([LINE, nobody, LINE[:-1]]))
    (built,) = lab.build()
    assert built.receipt["lines"] == 3
    assert built.receipt["rejected"] == {"malformed_json": 1, "user_id_missing": 1}
    assert sorted(lab.quarantined()) == [
        (lab.key(), "malformed_json", LINE[:-1]),
        (lab.key(), "user_id_missing", nobody),
    ]


def test_A4_a_negative_figure_is_null_and_not_lost(lab: Lab) -> None:
    lab.deliver(jsonl([json.dumps({**EVENT, "quantity": -1, "price": -9.99})]))
    lab.build()
    (row,) = lab.rows()
    assert dict(zip(EVENTS.column_names, row, strict=False)) | {
        "quantity": None,
        "price": None,
        "revenue": None,
    } == dict(zip(EVENTS.column_names, row, strict=False))


def test_A5_a_new_partition_is_read_at_once_without_repair_or_crawler(lab: Lab) -> None:
    for n, hour in enumerate((HOUR, "2026-01-01-11:00", "2026-01-02-00:00"), 1):
        lab.deliver(jsonl([LINE]), hour)
        lab.build(hour)
        query = "SELECT count(*), count(DISTINCT arrival_hour), sum(revenue) FROM silver.events"
        assert lab.querier.fetch(query)[1] == [(n, n, n * Decimal("19.98"))]


def test_A8_no_column_has_a_reserved_name(lab: Lab) -> None:
    names = {name for contract in TABLES.values() for name in contract.column_names}
    assert "event_ts" in names
    assert not names & {"timestamp", "date", "time", "order", "group", "user"}
    for contract in TABLES.values():
        lab.querier.fetch(contract.select_all)  # nothing in it is quoted
