"""Buckets as others fill them: from their objects to Gold, the same by both engines.

The records are made up by the documentation that contracts/feeds.py names.
"""

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from event_pipeline.contracts import EVENTS, HOURLY_REVENUE, TABLES, Column, SilverContract, feeds
from event_pipeline.contracts.statements import check_statement
from event_pipeline_tests.parity.conftest import Outcome, Pair

DAY, HOUR = "2026-01-01", "2026-01-01-10:00"
Record = Mapping[str, Any]
# What a row says, in order; None where there is nothing.
NAMES = ("user_id", "session_id", "event_type", "product_id", "quantity", "price", "category")


def lines(*records: Record) -> bytes:
    """JSON Lines."""
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def by_day(contract: SilverContract) -> SilverContract:
    """A stream whose folders tell no hour."""
    columns = (*contract.columns[:-1], Column("arrival_day", "date", "Day of arrival, UTC."))
    return replace(contract, columns=columns, partition="arrival_day")


@pytest.fixture
def contract(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SilverContract:
    """The clickstream, lying as the parameter says; known to the engines by its table's name."""
    is_hourly = "{HH}" in request.param.layout
    made = replace(EVENTS if is_hourly else by_day(EVENTS), bronze=request.param)
    check_statement(made)
    monkeypatch.setitem(TABLES, EVENTS.table, made)
    return made


def put(pair: Pair, contract: SilverContract, name: str, data: bytes) -> None:
    """Puts an object under the dataset's prefix into both lakes."""
    for lab in pair.labs:
        lab.store.put(f"{contract.bronze.prefix}{name}", data)


def rows(found: Outcome) -> list[tuple[Any, ...]]:
    """The events of a partition, in order of their time and product."""
    names = EVENTS.column_names
    events = [dict(zip(names, row, strict=True)) for row in found.tables[EVENTS.table].elements()]
    events.sort(key=lambda e: (e["event_ts"], e["product_id"] or ""))
    return [tuple(event[name] for name in NAMES) for event in events]


def ledger(found: Outcome) -> tuple[int, ...]:
    """Records, lines, rows, duplicates, quarantined and skipped lines of a partition."""
    names = ("records", "lines", "rows", "duplicates", "quarantined", "skipped")
    return tuple(getattr(found.receipt, name) for name in names)


def text(rows: Sequence[tuple[Any, ...]]) -> list[tuple[str | None, ...]]:
    """Rows as a person reads them."""
    return [tuple(None if v is None else str(v) for v in row) for row in rows]


def revenue(pair: Pair, contract: SilverContract) -> str:
    """The revenue of the day that Gold has of it."""
    gold = replace(HOURLY_REVENUE, inputs=(contract,), rolled="", roll_ups=())
    (built,) = pair.duckdb.gold(gold, DAY)
    assert built.status == "published", built.error
    return str(built.receipt.totals["total_revenue"][0])


def view(n: int, **more: Any) -> Record:
    """An event that has the dataset's own fields."""
    at = f"{DAY}T10:00:{n:02}Z"
    known = {"timestamp": at, "user_id": f"u{n}", "session_id": "s", "event_type": "page_view"}
    return {**known, **more}


@pytest.mark.parametrize("contract", [feeds.FIREHOSE], indirect=True)
def test_firehose_leaves_objects_without_line_ends(pair: Pair, contract: SilverContract) -> None:
    name = "2026/01/01/10/shop-1-2026-01-01-10-05-00-6e2ec1a8-0c5b-4d4c"
    joined = "".join(json.dumps(view(n, product_id=f"p{n}")) for n in range(50))
    put(pair, contract, name, joined.encode())
    again = json.dumps(view(1, product_id="p1")) + json.dumps(view(55)) + '{"broken": '
    put(pair, contract, f"{name}-2.gz", gzip.compress(again.encode()))
    found = pair.build(contract, HOUR)
    assert ledger(found) == (53, 53, 51, 1, 1, 0)
    assert len({row[0] for row in rows(found)}) == 51


def call(n: int, kind: str, event: str | None, **properties: Any) -> Record:
    """A call as Segment's libraries send it."""
    return {
        "anonymousId": f"a{n}",
        "channel": "client",
        "context": {"ip": "192.0.2.1", "page": {"path": "/", "url": "https://shop.test/"},
                    "library": {"name": "analytics.js", "version": "2.11.1"}},
        "event": event,
        "messageId": f"ajs-{n}",
        "originalTimestamp": f"{DAY}T10:00:{n:02}.718Z",
        "properties": properties,
        "receivedAt": f"{DAY}T10:00:{n:02}.900Z",
        "type": kind,
        "userId": f"u{n}" if n % 2 else None,
        "version": 2,
    }  # fmt: skip


PRODUCTS = [
    {"product_id": "p1", "price": 9.99, "quantity": 2, "category": "books"},
    {"product_id": "p2", "price": "0.50", "quantity": 1, "category": "toys"},
    # Twice in one order is two of it, and no repeat.
    {"product_id": "p2", "price": "0.50", "quantity": 1, "category": "toys"},
]
CALLS = [
    call(0, "page", None, title="Shop"),
    call(1, "track", "Product Viewed", product_id="p1", price=9.99, category="books"),
    call(2, "identify", None),
    call(3, "track", "Order Completed", order_id="o1", total=20.98, products=PRODUCTS),
    call(4, "track", "Product Added", product_id="p1", quantity=1, price=9.99, category="books"),
    call(5, "track", "Coupon Applied", coupon="x"),
    call(6, "track", "Order Completed", order_id="o2", total=1, products=[]),
]
SEEN = [
    ("a0", "a0", "page_view", None, None, None, None),
    ("u1", "a1", "page_view", "p1", None, "9.99", "books"),
    ("u3", "a3", "purchase", "p1", "2", "9.99", "books"),
    ("u3", "a3", "purchase", "p2", "1", "0.50", "toys"),
    ("u3", "a3", "purchase", "p2", "1", "0.50", "toys"),
    ("a4", "a4", "add_to_cart", "p1", "1", "9.99", "books"),
    ("a6", "a6", "purchase", None, None, None, None),
]


@pytest.mark.parametrize(
    ("contract", "name"),
    [
        (feeds.SEGMENT, "source1/1767225600000/1700000000000-a.gz"),
        (feeds.RUDDERSTACK, "2abcDEF/01-01-2026/1700000000.2abcDEF.json.gz"),
    ],
    indirect=["contract"],
    ids=["Segment", "RudderStack"],
)
def test_calls_become_events_and_an_order_one_for_each_product(
    pair: Pair, contract: SilverContract, name: str
) -> None:
    put(pair, contract, name, gzip.compress(lines(*CALLS)))
    again = f"{name.removesuffix('a.gz')}b.gz"
    put(pair, contract, again, gzip.compress(lines(CALLS[3], CALLS[2]) + b"no call\n"))
    found = pair.build(contract, DAY)
    assert text(rows(found)) == SEEN
    # 7 + 3 records; the two orders of three products are six lines; one order repeats another.
    assert ledger(found) == (10, 14, 7, 3, 2, 2)
    assert found.receipt.rejected == {"event_type_unknown": 1, "malformed_json": 1}
    assert ("malformed_json", "no call") in {
        row[:2] for row in found.tables[contract.quarantine.table]
    }
    assert found.receipt.unknown == {}
    assert revenue(pair, contract) == "20.98"


def atomic(n: int, event: str, **more: Any) -> Record:
    """An enriched event of Snowplow as JSON."""
    return {
        "app_id": "shop",
        "platform": "web",
        "collector_tstamp": f"{DAY}T10:00:{n:02}.500Z",
        "derived_tstamp": f"{DAY}T10:00:{n:02}.123Z" if n else None,
        "event": event,
        "event_id": f"c6ef3124-b53a-4b13-a233-{n:012}",
        "user_id": None,
        "domain_userid": f"d{n}",
        "domain_sessionid": f"s{n}",
        "contexts_com_acme_1": [{"a": [1, 2]}],
        "geo_latitude": 37.44,
        **more,
    }


@pytest.mark.parametrize("contract", [feeds.SNOWPLOW], indirect=True)
def test_snowplows_enriched_events(pair: Pair, contract: SilverContract) -> None:
    item = {"ti_sku": "p1", "ti_price": 9.99, "ti_quantity": 2, "ti_category": "books"}
    events = [atomic(0, "page_view"), atomic(1, "transaction_item", **item), atomic(2, "unstruct")]
    put(pair, contract, "run=2026-01-01-10-59-01/part-00000", lines(*events))
    put(pair, contract, "run=2026-01-01-10-59-01/_SUCCESS", b"")
    zstd = bytes(pa.compress(lines(atomic(3, "page_view")), codec="zstd", asbytes=True))
    put(pair, contract, "run=2026-01-01-10-59-01/part-00001.zst", zstd)
    found = pair.build(contract, HOUR)
    assert text(rows(found)) == [
        ("d0", "s0", "page_view", None, None, None, None),
        ("d1", "s1", "purchase", "p1", "2", "9.99", "books"),
        ("d3", "s3", "page_view", None, None, None, None),
    ]
    assert ledger(found) == (4, 4, 3, 0, 0, 1)
    assert revenue(pair, contract) == "19.98"


def ga4(n: int, name: str, *items: Record, **params: Any) -> Record:
    """An event of GA4's export: numbers of 64 bits are texts."""
    return {
        "event_date": "20260101",
        "event_timestamp": str(1767261600000000 + n * 1_000_000 + 5),
        "event_name": name,
        "event_params": [
            {"key": "ga_session_id", "value": {"int_value": f"17672616{n:02}"}},
            *({"key": key, "value": {"string_value": value}} for key, value in params.items()),
        ],
        "user_pseudo_id": f"10{n}.176",
        "device": {"category": "mobile", "web_info": {"browser": "Chrome"}},
        "items": list(items),
    }


@pytest.mark.parametrize("contract", [feeds.GA4], indirect=True)
def test_a_day_of_ga4s_export(pair: Pair, contract: SilverContract) -> None:
    items = [
        {"item_id": "p1", "item_category": "books", "price": 9.99, "quantity": "2"},
        {"item_id": "p2", "item_category": "toys", "price": 0.5, "quantity": "1"},
    ]
    day = [
        ga4(0, "page_view"),
        ga4(1, "view_item", items[1]),
        ga4(2, "purchase", *items, transaction_id="T1"),
        ga4(3, "session_start"),
        ga4(4, "view_search_results", search_term="red mug"),
    ]
    put(pair, contract, "events_20260101-000000000000.json.gz", gzip.compress(lines(*day)))
    following = gzip.compress(lines(ga4(9, "scroll")))
    put(pair, contract, "events_20260102-000000000000.json.gz", following)
    found = pair.build(contract, DAY)
    assert text(rows(found)) == [
        ("100.176", "1767261600", "page_view", None, None, None, None),
        ("101.176", "1767261601", "page_view", "p2", "1", "0.50", "toys"),
        ("102.176", "1767261602", "purchase", "p1", "2", "9.99", "books"),
        ("102.176", "1767261602", "purchase", "p2", "1", "0.50", "toys"),
        ("104.176", "1767261604", "search", None, None, None, None),
    ]
    assert ledger(found) == (5, 6, 5, 0, 0, 1)
    assert revenue(pair, contract) == "20.48"
    place = EVENTS.column_names.index("search_query")
    assert {row[place] for row in found.tables[EVENTS.table]} == {None, "red mug"}
