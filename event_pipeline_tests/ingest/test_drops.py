"""Commerce drops: the original's shape and key density, real sessions, and faults that are told."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_pipeline.ingest.drops import (
    CURRENCIES,
    DEVICES,
    FAULTS,
    FILES,
    SOURCES,
    STATUSES,
    DropProfile,
    file_key,
    generate_drop,
    write_drop,
)
from event_pipeline.ingest.generator import PRODUCTS
from event_pipeline.ingest.handler import FolderStore

DAY = date(2025, 11, 19)
USER = ["user_id", "signup_date", "country", "device_type", "marketing_source"]
EVENT = [
    "event_id",
    "user_id",
    "event_type",
    "product_id",
    "event_timestamp",
    "session_id",
    "device_type",
]
ORDER = [
    "order_id",
    "user_id",
    "product_id",
    "order_amount",
    "currency",
    "order_timestamp",
    "payment_status",
]
SAMPLE = DropProfile(20_000)

days = st.dates(date(2000, 1, 1), date(2099, 12, 31))
profiles = st.builds(
    DropProfile,
    records=st.integers(1, 1500),
    seed=st.integers(-(2**40), 2**40),
    unknown_share=st.sampled_from([0.0, 0.1, 1.0]),
)


@cache
def lines_of(name: str, profile: DropProfile = SAMPLE, day: date = DAY) -> list[str]:
    return b"".join(generate_drop(day, name, profile)).decode().splitlines()


@cache
def records_of(name: str, profile: DropProfile = SAMPLE, day: date = DAY) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_of(name, profile, day)]


def check_moment(text: str, day: date) -> None:
    assert re.fullmatch(r".{10}T.{8}Z", text)
    assert datetime.fromisoformat(text).astimezone(UTC).date() == day


def check_unique(records: list[dict[str, Any]], key: str, profile: DropProfile) -> None:
    assert len({record[key] for record in records}) == len(records) == profile.records


@settings(max_examples=30, deadline=None)
@given(day=days, profile=profiles)
def test_users_have_the_originals_fields(day: date, profile: DropProfile) -> None:
    users = records_of("users", profile, day)
    check_unique(users, "user_id", profile)
    for user in users:
        assert list(user) == USER
        assert re.fullmatch(r"u_\d{7}", user["user_id"])
        assert date(2020, 1, 1) <= date.fromisoformat(user["signup_date"]) < date(2025, 1, 1)
        assert user["country"] in ("IN", "US", "EU", "AU")
        assert user["device_type"] in ("mobile", "PC", "tablet")
        assert user["marketing_source"] in SOURCES


@settings(max_examples=30, deadline=None)
@given(day=days, profile=profiles)
def test_events_have_the_originals_fields(day: date, profile: DropProfile) -> None:
    events = records_of("events", profile, day)
    check_unique(events, "event_id", profile)
    for event in events:
        assert list(event) == EVENT
        assert f"{day:%Y%m%d}" in event["event_id"]
        assert event["event_type"] in ("product_view", "product_purchase")
        assert event["product_id"] in PRODUCTS
        assert event["device_type"] in DEVICES
        check_moment(event["event_timestamp"], day)


@settings(max_examples=30, deadline=None)
@given(day=days, profile=profiles)
def test_orders_have_the_originals_fields(day: date, profile: DropProfile) -> None:
    orders = records_of("orders", profile, day)
    check_unique(orders, "order_id", profile)
    for order, line in zip(orders, lines_of("orders", profile, day), strict=True):
        assert list(order) == ORDER
        assert f"{day:%Y%m%d}" in order["order_id"]
        assert order["product_id"] in PRODUCTS
        assert type(order["order_amount"]) is float
        assert 10 <= order["order_amount"] <= 30_000
        assert re.search(r'"order_amount": \d+\.\d\d,', line)
        assert order["currency"] in CURRENCIES.values()
        assert order["payment_status"] in STATUSES
        check_moment(order["order_timestamp"], day)


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(FILES),
    day=days,
    profile=profiles,
    fault_share=st.sampled_from([0.0, 0.2, 1.0]),
)
def test_a_file_has_the_same_bytes_each_time(
    name: str, day: date, profile: DropProfile, fault_share: float
) -> None:
    profile = DropProfile(**vars(profile) | {"fault_share": fault_share})
    chunks = list(generate_drop(day, name, profile))
    assert chunks == list(generate_drop(day, name, profile))
    assert all(chunk.endswith(b"\n") for chunk in chunks)
    assert b"".join(chunks).count(b"\n") == profile.records


@pytest.mark.parametrize(
    ("name", "sha256"),
    [
        ("users", "644e8f8e41740e46097e1473454bf1e81786ab0383269120c17e3b0bac5df164"),
        ("events", "b0d40da8b5f6c10892d56415464bf0643b0aa31bbca5616cb63994d04045f24d"),
        ("orders", "643e26bad2dbc29f038cded5ff6e2529f5f9019d7b9b75d99104450017416ebc"),
    ],
)
def test_the_lines_are_those_of_earlier_releases(name: str, sha256: str) -> None:
    profile = DropProfile(2000, seed=7, fault_share=0.05, unknown_share=0.05)
    assert hashlib.sha256(b"".join(generate_drop(DAY, name, profile))).hexdigest() == sha256


def test_users_are_the_same_in_every_drop_of_a_seed() -> None:
    tomorrow = DAY + timedelta(1)
    assert lines_of("users") == lines_of("users", SAMPLE, tomorrow)
    assert lines_of("users") != lines_of("users", DropProfile(20_000, seed=1))
    for name, key in (("events", "event_id"), ("orders", "order_id")):
        today, next_day = records_of(name), records_of(name, SAMPLE, tomorrow)
        assert not {r[key] for r in today} & {r[key] for r in next_day}
        assert {r["user_id"] for r in today} & {r["user_id"] for r in next_day}


def test_joining_orders_to_events_by_user_counts_each_order_five_times() -> None:
    events = Counter(event["user_id"] for event in records_of("events"))
    orders = Counter(order["user_id"] for order in records_of("orders"))
    users = {user["user_id"] for user in records_of("users")}
    assert events.keys() | orders.keys() <= users
    for active in (events, orders):
        assert len(active) == pytest.approx(len(users) / 5, rel=0.02)
    # A LEFT JOIN keeps an order without events once.
    joined = sum(n * max(1, events[user]) for user, n in orders.items())
    assert joined / orders.total() == pytest.approx(5.0, rel=0.02)


def test_a_users_orders_are_in_the_currency_of_the_country() -> None:
    country = {user["user_id"]: user["country"] for user in records_of("users")}
    assert {CURRENCIES[c] for c in country.values()} == {"INR", "USD", "EUR", "AUD"}
    for order in records_of("orders"):
        assert order["currency"] == CURRENCIES[country[order["user_id"]]]


def test_most_payments_succeed() -> None:
    statuses = Counter(order["payment_status"] for order in records_of("orders"))
    for status, percent in STATUSES.items():
        assert 100 * statuses[status] / statuses.total() == pytest.approx(percent, rel=0.1)
    assert STATUSES["success"] > 50


@pytest.mark.parametrize("unknown_share", [0.0, 0.2])
def test_A7_a_session_is_one_users_on_one_device_and_makes_sense(unknown_share: float) -> None:
    sessions = defaultdict(list)
    for event in records_of("events", DropProfile(20_000, unknown_share=unknown_share)):
        sessions[event["session_id"]].append(event)
    sizes = Counter(len(session) for session in sessions.values())
    assert set(sizes) == {1, 2, 3, 4}
    for session in sessions.values():
        assert len({(event["user_id"], event["device_type"]) for event in session}) == 1
        times = [event["event_timestamp"] for event in session]
        assert all(a < b for a, b in pairwise(times))
        viewed = set()
        for event in session:
            if event["event_type"] == "product_view":
                viewed.add(event["product_id"])
            assert event["product_id"] in viewed


@pytest.mark.parametrize("name", ["events", "orders"])
def test_unknown_users_are_the_share_asked_for_and_the_rest_is_untouched(name: str) -> None:
    some_unknown = DropProfile(20_000, unknown_share=0.1)
    users = {user["user_id"] for user in records_of("users", some_unknown)}
    unknown = 0
    for a, b in zip(records_of(name), records_of(name, some_unknown), strict=True):
        assert a | {"user_id": None} == b | {"user_id": None}
        unknown += b["user_id"] not in users
        assert a == b or b["user_id"] not in users
    assert unknown / 20_000 == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("name", FILES)
def test_faults_are_the_share_asked_for_and_the_rest_is_untouched(name: str) -> None:
    clean = lines_of(name)
    faulty = lines_of(name, DropProfile(20_000, fault_share=0.05))
    kinds = Counter[str]()
    for n, (before, after) in enumerate(zip(clean, faulty, strict=True)):
        if before != after:
            kinds[kind_of_fault(name, before, after, clean[n - 1])] += 1
    assert kinds.total() / len(clean) == pytest.approx(0.05, rel=0.1)
    assert set(kinds) == set(FAULTS[name])
    assert min(kinds.values()) > kinds.total() / 10


def kind_of_fault(name: str, before: str, after: str, previous: str) -> str:
    if after == previous:
        return "duplicate"
    try:
        record = json.loads(after)
    except json.JSONDecodeError:
        assert before.startswith(after)
        return "truncated"
    key = {"users": "user_id", "events": "event_id", "orders": "order_id"}[name]
    ours = json.loads(before)
    if key not in record:
        assert ours.items() - record.items() == {(key, ours[key])}
        return "key_missing"
    [(field, value)] = record.items() - ours.items()
    if field == key:
        assert value == json.loads(previous)[key]
        return "conflict"
    return kind_of_value(field, value)


def kind_of_value(field: str, value: str) -> str:
    if field == "order_amount":
        assert value == "n/a"
        return "amount_invalid"
    if field == "payment_status":
        assert value not in STATUSES
        return "status_unknown"
    assert field in ("signup_date", "event_timestamp", "order_timestamp")
    with pytest.raises(ValueError, match="Invalid isoformat"):
        datetime.fromisoformat(value)
    return "timestamp_invalid"


def test_what_a_duplicate_or_a_conflict_takes_from_the_line_before_is_there() -> None:
    clean, faulty = (
        lines_of("orders", DropProfile(20_000, fault_share=share)) for share in (0.0, 0.3)
    )
    found = 0
    for n, (before, after) in enumerate(zip(clean, faulty, strict=True)):
        if before != after:
            kind = kind_of_fault("orders", before, after, clean[n - 1])
            if kind in ("duplicate", "conflict"):
                assert faulty[n - 1] == clean[n - 1]
                found += 1
    assert found > 500


def test_a_drop_is_written_where_the_original_expects_it(tmp_path: Path) -> None:
    profile = DropProfile(1200, fault_share=0.1)
    lines = write_drop(FolderStore(tmp_path), DAY, profile)
    assert lines == {"users": 1200, "events": 1200, "orders": 1200}
    for name in FILES:
        path = tmp_path / f"bronze/commerce/date=2025-11-19/{name}.json"
        assert path == tmp_path / file_key(DAY, name)
        assert path.read_text().splitlines() == lines_of(name, profile)


def test_a_drop_that_is_there_is_not_written_again_unless_it_differs(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)

    def etags() -> list[str]:
        found = [store.read(file_key(DAY, name)) for name in FILES]
        return [etag for _, etag in filter(None, found)]

    write_drop(store, DAY, DropProfile(100))
    first = etags()
    assert write_drop(store, DAY, DropProfile(100)) == dict.fromkeys(FILES, 100)
    assert etags() == first
    write_drop(store, DAY, DropProfile(100, unknown_share=0.5))
    users, *others = zip(first, etags(), strict=True)
    assert users[0] == users[1]
    assert all(before != after for before, after in others)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"records": 0}, "records=0: must be at least 1"),
        ({"fault_share": -0.1}, "fault_share=-0.1: must be from 0 to 1"),
        ({"unknown_share": float("nan")}, "unknown_share=nan: must be from 0 to 1"),
    ],
)
def test_a_profile_that_cannot_be_used_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        DropProfile(**fields)


def test_a_file_that_no_drop_has_is_refused() -> None:
    message = re.escape("name='user': must be users, events or orders")
    with pytest.raises(ValueError, match=message):
        file_key(DAY, "user")
    with pytest.raises(ValueError, match=message):
        generate_drop(DAY, "user", SAMPLE)
