"""The source systems' defects (SOURCES.md, part C), each a test. A6 and A7: see `ingest/`.

B4, permissions that do not fit what the job calls, is of the target `aws` and is proved with it.
"""

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
import sqlglot
from pyiceberg.types import DateType, DecimalType

from event_pipeline.contracts import (
    COMMERCE_EVENTS,
    COMMERCE_ORDERS,
    COMMERCE_USERS,
    EVENTS,
    GOLD,
    TABLES,
    USER_ACTIVITY,
    GoldContract,
)
from event_pipeline.ingest.drops import DropProfile, file_key, write_drop
from event_pipeline_tests import dagster_lab
from event_pipeline_tests.conftest import DROP, HOUR, Lab, jsonl
from event_pipeline_tests.dagster_lab import a_user, an_event, an_order, asked

ORIGINAL = Path(__file__).parent / "benchmarks" / "original_user_activity.sql"

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
    assert (built.status, built.receipt.lines) == ("published", 0)
    table = lab.lake.read(EVENTS, lab.lake.live(EVENTS)[HOUR].paths)
    assert tuple(table.column_names) == EVENTS.column_names
    assert table.num_rows == 0
    names, rows = lab.querier.fetch(EVENTS.select_all)
    assert (tuple(names), rows) == (EVENTS.column_names, [])


@pytest.mark.parametrize("contract", GOLD, ids=lambda c: c.asset)
def test_A1_a_day_without_events_is_an_empty_gold_partition(
    lab: Lab, contract: GoldContract
) -> None:
    (built,) = lab.gold(contract, "2026-01-01")
    assert (built.status, built.receipt.rows) == ("published", 0)


def test_A2_event_date_is_a_date_in_file_and_table_and_can_be_compared(lab: Lab) -> None:
    lab.deliver(jsonl([LINE]))
    lab.build()
    schema = lab.lake.table(EVENTS).schema()
    assert isinstance(schema.find_type("event_date"), DateType)
    assert isinstance(schema.find_type("price"), DecimalType)
    table = lab.lake.read(EVENTS, lab.lake.live(EVENTS)[HOUR].paths)
    assert table["event_date"].to_pylist() == [date(2026, 1, 1)]
    query = "SELECT count(*) FROM silver.events WHERE event_date >= DATE '2026-01-01'"
    assert lab.querier.fetch(query)[1] == [(1,)]


def test_A3_a_batch_that_is_tried_again_is_not_doubled(lab: Lab) -> None:
    lab.deliver(jsonl([LINE]), lines=1)
    lab.build()
    lab.deliver(jsonl([LINE]), minute=5, lines=1)  # the same rows in another object
    (built,) = lab.build()
    lab.build()
    assert (len(lab.rows()), built.receipt.duplicates) == (1, 1)


def test_A4_rows_that_fail_checks_and_malformed_lines_are_kept_and_counted(lab: Lab) -> None:
    nobody = json.dumps({**EVENT, "user_id": None})
    lab.deliver(jsonl([LINE, nobody, LINE[:-1]]))
    (built,) = lab.build()
    assert built.receipt.lines == 3
    assert built.receipt.rejected == {"malformed_json": 1, "user_id_missing": 1}
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


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[dagster_lab.Lab]:
    """The whole graph, where a defect is one of what is asked for when."""
    with dagster_lab.Lab.open(tmp_path) as lab:
        yield lab


def upload(graph: dagster_lab.Lab, day: str) -> None:
    """A drop of one user, one event and one order."""
    graph.upload(day, "users.json", dagster_lab.jsonl(a_user("u")))
    graph.upload(day, "events.json", dagster_lab.jsonl(an_event("e", "u")))
    graph.upload(day, "orders.json", dagster_lab.jsonl(an_order("o", "u")))


def user_activity(lab: Lab) -> list[dict[str, object]]:
    """Builds the drop, and what readers then see of it."""
    for contract in (COMMERCE_USERS, COMMERCE_EVENTS, COMMERCE_ORDERS):
        assert lab.build_drop(contract).status == "published"
    (built,) = lab.gold(USER_ACTIVITY, DROP)
    assert built.status == "published", built.error
    names, rows = lab.querier.fetch(USER_ACTIVITY.select_all)
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_B1_an_order_counts_once_and_not_once_for_each_event_of_its_user(lab: Lab) -> None:
    day = date.fromisoformat(DROP)
    write_drop(lab.store, day, DropProfile(records=4_000))
    files = {name: lab.root / file_key(day, name) for name in ("users", "events", "orders")}
    with duckdb.connect() as connection:
        for name, path in files.items():
            connection.execute(f"CREATE VIEW {name} AS FROM read_json('{path}')")
        original = sqlglot.transpile(ORIGINAL.read_text(), read="spark", write="duckdb")[0]
        [(theirs,)] = connection.execute(f"SELECT sum(revenue) FROM ({original})").fetchall()
    orders = [
        json.loads(line, parse_float=Decimal) for line in files["orders"].read_text().splitlines()
    ]
    everything = sum(order["order_amount"] for order in orders)
    assert theirs / float(everything) == pytest.approx(5.0, abs=0.1)

    ours = user_activity(lab)
    paid = [order for order in orders if order["payment_status"] == "success"]
    for currency in {order["currency"] for order in orders}:
        plain = sum(order["order_amount"] for order in paid if order["currency"] == currency)
        assert sum(row["revenue"] for row in ours if row["currency"] == currency) == plain  # type: ignore[misc]
    assert sum(row["total_orders"] for row in ours) == len(orders)  # type: ignore[misc]
    assert sum(row["total_events"] for row in ours) == 4_000  # type: ignore[misc]


def test_B2_what_is_not_paid_is_no_revenue_and_currencies_are_not_added(lab: Lab) -> None:
    lab.upload("users.json", dagster_lab.jsonl(a_user("u")))
    lab.upload("events.json", dagster_lab.jsonl(an_event("e", "u")))
    orders = [
        an_order("o1", "u", 1, "USD", "success"),
        an_order("o2", "u", 20, "USD", "failed"),
        an_order("o3", "u", 300, "USD", "in_progress"),
        an_order("o4", "u", 4000, "INR", "success"),
    ]
    lab.upload("orders.json", dagster_lab.jsonl(*orders))
    found = {row["currency"]: row for row in user_activity(lab)}
    assert {currency: row["revenue"] for currency, row in found.items()} == {"USD": 1, "INR": 4000}
    assert [found["USD"][n] for n in ("total_orders", "successful_orders")] == [3, 1]


def test_B3_a_single_upload_starts_no_job_of_another_drop(graph: dagster_lab.Lab) -> None:
    upload(graph, "2026-03-08")
    graph.settle("drops")
    assert graph.settle("promotion") == ["2026-03-08"]
    for name, record in {"orders.json": an_order("o", "u"), "users.json": a_user("u")}.items():
        graph.upload("2026-03-09", name, dagster_lab.jsonl(record))
        graph.settle("drops")
        assert asked(graph.tick("promotion")) == []
    graph.upload("2026-03-09", "events.json", dagster_lab.jsonl(an_event("e", "u")))
    graph.settle("drops")
    assert graph.settle("promotion") == ["2026-03-09"]


def test_B5_an_empty_file_does_not_stop_the_others(graph: dagster_lab.Lab) -> None:
    upload(graph, "2026-03-09")
    graph.upload("2026-03-09", "events.json", b"")
    assert graph.settle("drops") == ["2026-03-09"] * 2
    tables = ("users", "events", "orders")
    assert [graph.rows(f"silver.commerce_{name}") for name in tables] == [1, 0, 1]


def test_B6_every_name_is_seen_and_matched_as_a_whole(lab: Lab) -> None:
    odd = [f"a{n:04}_users.json" for n in range(1_200)] + ["my_users.json", "users.json.bak"]
    folder = lab.root / file_key(date.fromisoformat(DROP), "users")
    folder.parent.mkdir(parents=True)
    for name in odd:
        folder.with_name(name).write_bytes(b"{}")
    key = lab.upload("users.json", dagster_lab.jsonl(a_user("u")))
    listing = lab.objects.partition(COMMERCE_USERS, DROP)
    assert [found.key for found in listing.objects] == [key]
    assert {name.rsplit("/", 1)[-1] for name in listing.foreign} == set(odd)
