"""Roll-ups: Gold made from them is Gold made from Silver, and they are used only if they fit."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event_pipeline.build.gold import are_rolled_up
from event_pipeline.contracts import (
    DAILY_USER_ACTIVITY,
    EVENTS,
    HOURLY_REVENUE,
    ROLL_UPS,
    GoldContract,
)
from event_pipeline.engines.duckdb import DuckDBQuerier
from event_pipeline.lake.tables import Lake, PublishError
from event_pipeline_tests.conftest import GOLD_OF_EVENTS, HOUR, Lab, jsonl

DAY = "2026-01-01"
HOURS = (HOUR, "2026-01-01-11:00", "2026-01-02-00:00")


def event(user: str = "u", day: str = DAY, **fields: Any) -> dict[str, Any]:
    """A purchase."""
    return {
        "timestamp": f"{day}T10:59:59Z",
        "user_id": user,
        "session_id": f"s-{user}",
        "event_type": "purchase",
        "product_id": "p1",
        "category": "toys",
        "quantity": 1,
        "price": 0.1,
        **fields,
    }


def lines(*events: dict[str, Any]) -> bytes:
    """A Bronze object of these events."""
    return jsonl([json.dumps(each) for each in events])


def by_statement(lab: Lab, contract: GoldContract, day: str) -> list[str]:
    """A day's rows as the statement over Silver gives them."""
    (built,) = lab.gold(replace(contract, rolled="", roll_ups=()), day)
    assert built.error is None
    return sorted(map(repr, lab.rows(contract, day)))


def by_roll_ups(lab: Lab, contract: GoldContract, day: str) -> list[str]:
    """A day's rows as the statement over roll-ups gives them."""
    assert are_rolled_up(contract, lab.lake, day)
    (built,) = lab.gold(contract, day)
    assert built.error is None
    assert built.receipt.made_from == "roll-ups"
    return sorted(map(repr, lab.rows(contract, day)))


def answer(lab: Lab, contract: GoldContract, sql: str, day: str) -> list[str]:
    """A day's rows as a statement gives them, in the types of the table."""
    kinds = {"string": "varchar", "long": "bigint"}
    columns = ", ".join(
        f"CAST({name} AS {kinds.get(kind, kind)})" for name, kind in contract.typed_columns
    )
    query = f"SELECT {columns} FROM ({sql}) WHERE {contract.partition} = DATE '{day}'"
    return sorted(map(repr, lab.querier.fetch(query, day)[1]))


EVENT = st.fixed_dictionaries(
    {
        "timestamp": st.sampled_from(
            ["2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z", "2026-01-01T10:30:00.5Z", "never"]
        ),
        "user_id": st.sampled_from(["u1", "u2", "U1", "null", ""]),
        "session_id": st.sampled_from(["s1", "s2", "s3"]),
        "event_type": st.sampled_from(
            ["page_view", "add_to_cart", "remove_from_cart", "purchase", "search", "wish"]
        ),
        "product_id": st.sampled_from(["p1", "p2", "", "none", None]),
        "category": st.sampled_from(["toys", "books", "", None]),
        "quantity": st.sampled_from([1, 3, -1, None, 99_999_999]),
        "price": st.sampled_from([0.1, 19.99, -5, None, "99999999.99"]),
    }
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(hours=st.lists(st.lists(EVENT, max_size=25), min_size=3, max_size=3))
def test_they_give_the_rows_of_the_statement(
    new_lab: Callable[[], Lab], hours: list[list[dict[str, Any]]]
) -> None:
    lab, days = new_lab(), set()
    for hour, events in zip(HOURS, hours, strict=True):
        lab.deliver(lines(*events), hour)
    for built in lab.build(*HOURS):
        days |= set(built.receipt.touched)
    for contract in GOLD_OF_EVENTS:
        for day in days:
            assert are_rolled_up(contract, lab.lake, day)
            rows = answer(lab, contract, contract.rolled_sql, day)
            assert rows == answer(lab, contract, contract.sql, day)
    if DAY in days:  # a build of each costs much more, and is the same for all tables
        found = by_roll_ups(lab, DAILY_USER_ACTIVITY, DAY)
        assert found == by_statement(lab, DAILY_USER_ACTIVITY, DAY)


def test_they_are_not_used_until_every_hour_of_the_day_has_them(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a lake that was made before there were any."""
    lab.deliver(lines(event()))
    with monkeypatch.context() as patch:
        patch.setattr("event_pipeline.build.silver.roll_ups_of", lambda _: ())
        patch.setattr("event_pipeline.engines.roll_ups_of", lambda _: ())
        patch.setattr("event_pipeline.engines.sums_of", lambda _: ())
        lab.build()
    lab.deliver(lines(event("v")), HOURS[1])
    lab.build(HOURS[1])
    assert not are_rolled_up(DAILY_USER_ACTIVITY, lab.lake, DAY)
    for contract in GOLD_OF_EVENTS:
        (built,) = lab.gold(contract, DAY)
        assert built.status == "published"
    assert lab.rows(DAILY_USER_ACTIVITY, DAY) == [(2, 2, 2)]
    lab.deliver(lines(event("w")), minute=5)
    lab.build()
    assert by_roll_ups(lab, DAILY_USER_ACTIVITY, DAY) == ["(3, 3, 3)"]


@pytest.mark.parametrize("failing", ["silver/events", "silver/event_visitors"])
def test_those_of_a_publish_that_was_cut_short_are_not_used(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    lab.deliver(lines(event()))
    lab.build()
    lab.deliver(lines(event("v")), minute=5)
    publish = Lake.publish

    def fail(lake: Lake, contract: Any, *others: Any) -> None:
        if contract.asset == failing:
            raise PublishError("no luck")
        publish(lake, contract, *others)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "publish", fail)
        assert lab.build()[0].error == "not published: no luck"
    assert not are_rolled_up(DAILY_USER_ACTIVITY, lab.lake, DAY)
    (built,) = lab.gold(DAILY_USER_ACTIVITY, DAY)
    assert built.error is None
    assert lab.rows(DAILY_USER_ACTIVITY, DAY) == [(1, 1, 1)]
    lab.build()
    assert by_roll_ups(lab, DAILY_USER_ACTIVITY, DAY) == ["(2, 2, 2)"]


def test_those_that_are_published_while_a_date_is_read_are_not_used(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.deliver(lines(event()))
    lab.build()
    lab.deliver(lines(event("v")), minute=5)
    publish, unload = Lake.publish, DuckDBQuerier.unload
    begun: list[bool] = []

    def without_silver(lake: Lake, contract: Any, *others: Any) -> None:
        if contract == EVENTS:
            raise PublishError("no luck")
        publish(lake, contract, *others)

    def while_it_is_read(*arguments: Any) -> Any:
        if not begun:
            begun.append(True)
            with monkeypatch.context() as patch:
                patch.setattr(Lake, "publish", without_silver)
                assert lab.build()[0].error == "not published: no luck"
        return unload(*arguments)

    monkeypatch.setattr(DuckDBQuerier, "unload", while_it_is_read)
    (built,) = lab.gold(DAILY_USER_ACTIVITY, DAY)
    assert (built.status, built.receipt.made_from) == ("published", "silver")
    assert lab.rows(DAILY_USER_ACTIVITY, DAY) == [(1, 1, 1)]


def test_those_of_other_rows_are_not_used_after_a_rollback(lab: Lab) -> None:
    lab.deliver(lines(event()))
    lab.build()
    (first,) = lab.lake.versions(EVENTS)
    lab.deliver(lines(event("v")), minute=5)
    lab.build()
    lab.lake.rollback(EVENTS, first.snapshot_id)
    assert not are_rolled_up(HOURLY_REVENUE, lab.lake, DAY)
    assert by_statement(lab, DAILY_USER_ACTIVITY, DAY) == ["(1, 1, 1)"]


def test_those_of_an_older_statement_are_not_used(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.deliver(lines(event()))
    lab.build()
    monkeypatch.setitem(ROLL_UPS[0].__dict__, "version", "another")
    assert not are_rolled_up(HOURLY_REVENUE, lab.lake, DAY)
    lab.deliver(lines(event("v")), minute=5)
    lab.build()
    assert are_rolled_up(HOURLY_REVENUE, lab.lake, DAY)


def test_gold_that_roll_ups_make_wrong_is_refused(lab: Lab, tmp_path: Path) -> None:
    """What it must add up to is on record with Silver's rows, not with the roll-ups."""
    lab.deliver(lines(event(), event("v")))
    lab.build()
    wrong = tmp_path / "wrong.sql"
    wrong.write_text(HOURLY_REVENUE.rolled_sql.replace("sum(revenue)", "2 * sum(revenue)"))
    (built,) = lab.gold(replace(HOURLY_REVENUE, rolled=str(wrong)), DAY)
    assert built.error == "total_revenue adds up to 0.40 in Gold and 0.20 in Silver"
    assert lab.rows(HOURLY_REVENUE, DAY) == []


def test_a_day_reads_none_of_silvers_rows(lab: Lab) -> None:
    lab.deliver(lines(event()))
    lab.build()
    for path in lab.lake.live(EVENTS)[HOUR].paths:
        Path(path).rename(f"{path}.away")
    assert by_roll_ups(lab, DAILY_USER_ACTIVITY, DAY) == ["(1, 1, 1)"]
    assert by_roll_ups(lab, HOURLY_REVENUE, DAY) != []


def test_damaged_ones_are_made_anew_with_their_hour(lab: Lab) -> None:
    lab.deliver(lines(event()))
    lab.build()
    for path in lab.lake.live(ROLL_UPS[0])[HOUR].paths:
        Path(path).unlink()
    assert [built.status for built in lab.build()] == ["published"]
    assert by_roll_ups(lab, HOURLY_REVENUE, DAY) != []
    assert [built.status for built in lab.build()] == ["unchanged"]
