"""The generator: the source's shape, the oracle's rates, and real sessions."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_pipeline.ingest.generator import (
    PRODUCTS,
    SEARCHES,
    SLOT,
    WEIGHTS,
    Mode,
    Profile,
    event_count,
    generate,
)

START = datetime(2025, 11, 19, 17, 50, tzinfo=UTC)
KEYS = [
    "timestamp",
    "user_id",
    "session_id",
    "event_type",
    "product_id",
    "quantity",
    "price",
    "category",
    "search_query",
]

slots = st.integers(0, 12 * 24 * 365).map(lambda n: datetime(2025, 1, 1, tzinfo=UTC) + n * SLOT)
profiles = st.builds(
    Profile,
    events=st.integers(1, 1500),
    seed=st.integers(-(2**40), 2**40),
    mode=st.sampled_from(get_args(Mode)),
    late_share=st.sampled_from([0.0, 0.01, 1.0]),
)


def lines_of(slot: datetime, profile: Profile) -> list[str]:
    return b"".join(generate(slot, profile)).decode().splitlines()


def events_of(slot: datetime, profile: Profile) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_of(slot, profile)]


def time_of(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["timestamp"])


@settings(max_examples=40, deadline=None)
@given(slot=slots, profile=profiles)
def test_every_line_is_json_dumps_of_the_nine_keys(slot: datetime, profile: Profile) -> None:
    lines = lines_of(slot, profile)
    assert len(lines) == event_count(slot, profile)
    assert 0.8 * profile.events - 1 <= len(lines) <= 1.2 * profile.events + 1
    for line in lines:
        event = json.loads(line)
        assert json.dumps(event) == line
        assert list(event) == KEYS
        assert re.fullmatch(r"u_[1-9]\d{4}", event["user_id"])
        assert re.fullmatch(r"s_[1-9]\d{4}", event["session_id"])
        assert re.fullmatch(r".{19}\.\d{6}\+00:00", event["timestamp"])
        late = slot - timedelta(hours=26) <= time_of(event) < slot - timedelta(hours=1)
        assert late or slot <= time_of(event) < slot + SLOT
        check_fields(event)


def check_fields(event: dict[str, Any]) -> None:
    kind = event["event_type"]
    assert kind in WEIGHTS
    if kind == "search":
        assert event["search_query"] in SEARCHES
        assert event["product_id"] is event["category"] is None
    else:
        assert PRODUCTS[event["product_id"]] == event["category"]
        assert event["search_query"] is None
    if kind in ("page_view", "search"):
        assert event["quantity"] is event["price"] is None
    else:
        assert type(event["quantity"]) is int
        assert event["quantity"] in range(1, 6)
        assert type(event["price"]) is float
        assert 9.99 <= event["price"] <= 299.99
        assert event["price"] == round(event["price"], 2)


@settings(max_examples=20, deadline=None)
@given(slot=slots, profile=profiles, fault_share=st.sampled_from([0.0, 0.2]))
def test_a_slot_has_the_same_bytes_each_time(
    slot: datetime, profile: Profile, fault_share: float
) -> None:
    profile = Profile(**vars(profile) | {"fault_share": fault_share})
    assert b"".join(generate(slot, profile)) == b"".join(generate(slot, profile))


@pytest.mark.parametrize(
    ("mode", "sha256"),
    [
        ("sessions", "e4e1c42ec25b98d86c4c71ac04bd155f41d8d61d9827e12b7bac4c2a3a84aaf1"),
        ("original", "7c015e60db67d9de5c78f7bb38ebd8df9d3a705a6a78a03d3a3b578f62b2e097"),
    ],
)
def test_the_lines_are_those_of_earlier_releases(mode: Mode, sha256: str) -> None:
    profile = Profile(2000, seed=7, mode=mode, late_share=0.05, fault_share=0.05)
    assert hashlib.sha256(b"".join(generate(START, profile))).hexdigest() == sha256


def test_slots_and_seeds_differ() -> None:
    texts = {
        b"".join(generate(slot, Profile(50, seed=seed)))[60:]
        for slot in (START, START + SLOT)
        for seed in (0, 1)
    }
    assert len(texts) == 4


@pytest.mark.parametrize("mode", get_args(Mode))
def test_rates_and_revenue_are_the_oracles(mode: Mode) -> None:
    events = events_of(START, Profile(60_000, mode=mode))
    count = Counter(event["event_type"] for event in events)
    for kind, percent in WEIGHTS.items():
        assert 100 * count[kind] / len(events) == pytest.approx(percent, rel=0.05)
    views, adds, purchases = count["page_view"], count["add_to_cart"], count["purchase"]
    assert adds / views == pytest.approx(0.40, rel=0.04)
    assert purchases / adds == pytest.approx(0.50, rel=0.04)
    assert purchases / views == pytest.approx(0.20, rel=0.04)
    revenue = sum(e["price"] * e["quantity"] for e in events if e["event_type"] == "purchase")
    assert revenue / purchases == pytest.approx(464.97, rel=0.03)
    assert len({e["product_id"] for e in events}) == 31  # and null
    assert {e["quantity"] for e in events} == {None, 1, 2, 3, 4, 5}


def check_cart(session: list[dict[str, Any]]) -> None:
    viewed, cart = set(), Counter[tuple[str, float]]()
    for event in session:
        product, quantity = event["product_id"], event["quantity"]
        match event["event_type"]:
            case "page_view":
                viewed.add(product)
            case "add_to_cart":
                assert product in viewed
                cart[product, event["price"]] += quantity
            case "remove_from_cart" | "purchase":
                assert cart[product, event["price"]] >= quantity
                cart[product, event["price"]] -= quantity


@pytest.mark.parametrize("late_share", [0.0, 0.3])
def test_A7_a_session_is_one_users_and_makes_sense(late_share: float) -> None:
    sessions = defaultdict(list)
    for event in events_of(START, Profile(20_000, late_share=late_share)):
        sessions[event["session_id"]].append(event)
    assert len({s[0]["user_id"] for s in sessions.values()}) == len(sessions)
    sizes = Counter(len(session) for session in sessions.values())
    assert sizes[4] > 100
    assert sizes[14] > 100
    for session in sessions.values():
        assert len({event["user_id"] for event in session}) == 1
        times = [time_of(event) for event in session]
        assert all(a < b for a, b in pairwise(times))
        assert times[-1] - times[0] < SLOT
        check_cart(session)


@pytest.mark.parametrize("ids", [90_000, 700])  # more than the slot's 12,000 sessions, and fewer
def test_A7_a_session_id_has_one_user_also_if_ids_run_out(
    ids: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("event_pipeline.ingest.generator.IDS", range(10_000, 10_000 + ids))
    lines = b"".join(generate(START, Profile(120_000))).decode()
    visitors = re.findall(r'"user_id": "(.{7})", "session_id": "(.{7})"', lines)
    users = dict[str, str]()
    for user, session in visitors:
        assert users.setdefault(session, user) == user
    # 10 events a session: the source's largest slot, 750,000 events, needs 75,000 of 90,000 ids.
    assert len(users) == pytest.approx(min(ids, len(visitors) / 10), rel=0.03)


def test_original_mode_has_one_timestamp_and_no_sessions() -> None:
    events = events_of(START, Profile(5000, mode="original"))
    assert {e["timestamp"] for e in events} == {"2025-11-19T17:50:00.718325+00:00"}
    users = defaultdict(set)
    for event in events:
        users[event["session_id"]].add(event["user_id"])
    assert any(len(of_session) > 1 for of_session in users.values())


@pytest.mark.parametrize("mode", get_args(Mode))
def test_late_events_are_the_others_moved_back(mode: Mode) -> None:
    on_time = events_of(START, Profile(20_000, mode=mode))
    some_late = events_of(START, Profile(20_000, mode=mode, late_share=0.1))
    moved = 0
    for a, b in zip(on_time, some_late, strict=True):
        moved += a["timestamp"] != b["timestamp"]
        assert a | {"timestamp": None} == b | {"timestamp": None}
        if a["timestamp"] != b["timestamp"]:
            assert timedelta(hours=1) < START - time_of(b) <= timedelta(hours=26)
    assert moved / len(on_time) == pytest.approx(0.1, rel=0.2)


def test_faults_are_the_share_asked_for_and_the_rest_is_untouched() -> None:
    clean = lines_of(START, Profile(20_000))
    faulty = lines_of(START, Profile(20_000, fault_share=0.05))
    kinds = Counter[str]()
    for n, (before, after) in enumerate(zip(clean, faulty, strict=True)):
        if before != after:
            kinds[kind_of_fault(before, after, faulty[n - 1])] += 1
    assert kinds.total() / len(clean) == pytest.approx(0.05, rel=0.1)
    assert len(kinds) == 6
    assert min(kinds.values()) > kinds.total() / 10


def kind_of_fault(before: str, after: str, previous: str) -> str:
    if after == previous:
        return "duplicate"
    try:
        event = json.loads(after)
    except json.JSONDecodeError:
        assert before.startswith(after)
        return "truncated"
    [changed] = event.items() - json.loads(before).items()
    assert not _is_usable(event)
    return str(changed[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"events": 0}, "events=0: must be at least 1"),
        ({"mode": "real"}, "mode='real': must be sessions or original"),
        ({"late_share": 1.1}, "late_share=1.1: must be from 0 to 1"),
        ({"fault_share": float("nan")}, "fault_share=nan: must be from 0 to 1"),
    ],
)
def test_a_profile_that_cannot_be_used_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Profile(**fields)


def _is_usable(event: dict[str, Any]) -> bool:
    try:
        time_of(event)
        float(event["price"] or 0)
    except (ValueError, TypeError, AssertionError):
        return False
    return event["event_type"] in WEIGHTS and event["user_id"] is not None
