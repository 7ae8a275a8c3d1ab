"""What each user of a drop did and paid: derived of the same tables, the same by both engines."""

import json
import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from event_pipeline.contracts import (
    COMMERCE_EVENTS,
    COMMERCE_ORDERS,
    COMMERCE_USERS,
    USER_ACTIVITY,
    SilverContract,
)
from event_pipeline_tests.conftest import DROP
from event_pipeline_tests.parity.conftest import Outcome, Pair

Records = Sequence[Mapping[str, Any]]
OTHER_DROP = "2026-01-02"
# Neither of two such names is the other's, by any rule of another language.
NAMES = (
    "u_1", "U_1", "u_1\u00a0", "é", "e\u0301", "ß", "ss", "SS", "\u0131", "i", "I", "İ", "ﬁ", "fi",
    "😀", "\uffff", "玩具", "a b", "\ta", "a\n", "\x00", "a\x00b", "null", "NULL", "nan", "0", "-0",
    "00", "1.0", "1", "'", '"', "\\", "%", "_", "*", "", "x" * 500,
)  # fmt: skip


def derived(
    pair: Pair, users: Records, events: Records, orders: Records, day: str = DROP
) -> Outcome:
    """The activity of a drop that holds these records, its three tables built before."""
    silver(pair, users, events, orders, day)
    return pair.gold(day)


def silver(pair: Pair, users: Records, events: Records, orders: Records, day: str = DROP) -> None:
    """Builds a drop's tables in both labs, by DuckDB: this is about what is made of them."""
    tables: dict[SilverContract, Records] = {
        COMMERCE_USERS: users,
        COMMERCE_EVENTS: events,
        COMMERCE_ORDERS: orders,
    }
    for contract, records in tables.items():
        name = contract.asset.removeprefix("silver/commerce_")
        lines = "".join(json.dumps(record) + "\n" for record in records)
        pair.upload({f"{name}.json": lines.encode()}, day)
        build(pair, contract, day)


def build(pair: Pair, contract: SilverContract, day: str = DROP) -> int:
    """Builds a table of a drop in both labs, by DuckDB; its rows."""
    engine, pair.spark.transformer = pair.spark.transformer, pair.duckdb.transformer
    try:
        found = pair.build(contract, day)
    finally:
        pair.spark.transformer = engine
    assert found.status == "published", found.error
    return int(found.receipt.rows)


def event(number: int, user: str | None, kind: str = "product_view") -> dict[str, Any]:
    """An event of a user."""
    at = "2026-01-01T00:00:00Z"
    return {"event_id": f"e{number}", "user_id": user, "event_type": kind, "event_timestamp": at}


def order(
    number: int,
    user: str | None,
    amount: object = 10,
    currency: str = "EUR",
    status: str = "success",
) -> dict[str, Any]:
    """An order of a user."""
    return {
        "order_id": f"o{number}",
        "user_id": user,
        "order_amount": amount,
        "currency": currency,
        "payment_status": status,
        "order_timestamp": "2026-01-01T00:00:00Z",
    }


def rows(found: Outcome) -> list[dict[str, Any]]:
    """The rows of a table that is published, each told once."""
    assert found.status == "published", found.error
    table = found.tables[USER_ACTIVITY.table]
    assert table.total() == len(table) == found.receipt.rows
    return [dict(zip(USER_ACTIVITY.column_names, row, strict=True)) for row in table]


def test_a_user_has_a_row_for_each_currency(pair: Pair) -> None:
    users = [{"user_id": name, "country": "IN"} for name in ("a", "b", "c", "d")]
    events = [event(n, user) for n, user in enumerate(["a", "a", "b", "x", None, None])]
    events += [event(9, "a", "product_purchase")]
    orders = [
        order(1, "a", "0.10"), order(2, "a", "0.20"), order(3, "a", 5, "USD", "failed"),
        order(4, "a", 7, "inr", "in_progress"), order(5, "b", -3), order(6, "x", 4, "USD"),
        order(7, None, 8), order(8, None, 8, "USD", "failed"), order(9, "c", 1, "AUD", "failed"),
    ]  # fmt: skip
    found = rows(derived(pair, users, events, orders))
    paid = {(row["user_id"], row["currency"]): row["revenue"] for row in found}
    assert paid == {
        ("a", "EUR"): Decimal("0.30"), ("a", "USD"): 0, ("a", "INR"): 0, ("b", "EUR"): -3, ("c",
        "AUD"): 0, ("d", None): 0, (None, "USD"): 4, (None, "EUR"): 8, (None, None): 0,
    }  # fmt: skip
    assert sum(row["total_events"] for row in found) == len(events)


def test_users_whose_names_look_alike(pair: Pair) -> None:
    known = NAMES[::2]
    users = [
        {"user_id": name, "country": name, "device_type": f" {name}"} for name in known if name
    ]
    events = [event(n, name) for n, name in enumerate((*NAMES, *NAMES[::3]))]
    orders = [order(n, name, n + 1) for n, name in enumerate((*NAMES, *NAMES[::5]))]
    found = rows(derived(pair, users, events, orders))
    no_ids = {"null", "nan", "_", "\x00"}
    assert no_ids < {*known}
    assert {row["user_id"] for row in found} == {*filter(None, known), None} - no_ids


def test_sums_are_exact(pair: Pair) -> None:
    """No double would hold them, nor the greatest amount's sum fit in its own type."""
    most = "9999999999999.99"
    users = [{"user_id": name} for name in ("a", "b", "c")]
    orders = [order(n, "a", most) for n in range(1_200)]
    orders += [order(2_000 + n, "b", "0.01") for n in range(1_001)]
    orders += [order(4_000 + n, "c", amount) for n, amount in enumerate([most, f"-{most}", "0.01"])]
    orders += [order(5_000 + n, None, most) for n in range(3)]
    found = rows(derived(pair, users, [event(1, "a")], orders))
    paid = {row["user_id"]: row["revenue"] for row in found if row["currency"]}
    assert paid == {
        "a": 1_200 * Decimal(most), "b": Decimal("10.01"), "c": Decimal("0.01"),
        None: 3 * Decimal(most),
    }  # fmt: skip


REFUSED = '{"user_id": "", "event_id": "e", "order_id": "o", "signup_date": "never"}\n'


@pytest.mark.parametrize("full", [(), (1, 2)], ids=["none", "events and orders"])
def test_tables_without_rows(pair: Pair, full: tuple[int, ...]) -> None:
    """Files of which all is refused make a table that is there and has no row of the day."""
    records = (
        [{"user_id": "a"}, {"user_id": "b"}],
        [event(1, "a"), event(2, "x")],
        [order(1, "a")],
    )
    names = ("users", "events", "orders")
    for n, contract in enumerate((COMMERCE_USERS, COMMERCE_EVENTS, COMMERCE_ORDERS)):
        lines = [json.dumps(record) + "\n" for record in records[n]] if n in full else []
        refused = REFUSED if contract != COMMERCE_USERS else REFUSED.replace('""', '"u"')
        pair.upload({f"{names[n]}.json": "".join([refused, *lines]).encode()})
        assert build(pair, contract) == len(lines)
    assert len(rows(pair.gold())) == len(full)


def test_a_drop_of_which_a_part_is_missing(pair: Pair) -> None:
    pair.upload({"users.json": b'{"user_id": "a"}\n'})
    build(pair, COMMERCE_USERS)
    assert (pair.gold().status, pair.gold("2025-12-31").status) == ("failed", "published")


def test_other_drops_have_no_part_in_it(pair: Pair) -> None:
    for n, day in enumerate((OTHER_DROP, DROP)):
        users = [{"user_id": name, "country": f"{n}"} for name in "ab"]
        silver(pair, users[n:], [event(n, "a")], [order(n, "a"), order(5, "b", n)], day)
    assert len(rows(pair.gold(DROP))) == 3
    assert pair.gold(DROP).status == "unchanged"


def test_a_drop_by_chance(pair: Pair) -> None:
    choices = random.Random(7)
    days = ["2026-01-01", "0001-01-01", "9999-12-31", "1582-10-10", None]

    def user() -> str | None:
        return choices.choice([f"u{choices.randrange(300)}", f"ü{choices.randrange(99)}", None, ""])

    users = [
        {
            "user_id": f"{letter}{n}",
            "signup_date": choices.choice(days),
            "country": choices.choice("IA"),
            "device_type": choices.choice(["PC", "é", None]),
            "marketing_source": choices.choice(["", " "]),
        }
        for letter in "uü"
        for n in range(0, 250, 2)
    ]
    kinds = ("product_view", "product_purchase")
    events = [event(n, user(), choices.choice(kinds)) for n in range(2_000)]
    orders = [
        order(
            n,
            user(),
            f"{choices.randrange(-50_000, 3_000_000) / 100:.2f}",
            choices.choice(["EUR", "usd", "INR", "AUD"]),
            choices.choice(["success", "failed", "in_progress"]),
        )
        for n in range(2_000)
    ]
    found = rows(derived(pair, users, events, orders))
    assert sum(row["total_orders"] for row in found) == 2_000
    assert sum(row["users"] for row in found) == len(users)
