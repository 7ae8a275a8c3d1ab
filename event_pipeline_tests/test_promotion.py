"""user_activity: asked for when a drop is whole, again when it changed, and equal to an oracle."""

import dataclasses
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from event_pipeline import report
from event_pipeline.assets.bronze import BRONZE_EVENTS
from event_pipeline.build import build_gold, build_silver
from event_pipeline.contracts import USER_ACTIVITY, GoldContract
from event_pipeline_tests.dagster_lab import (
    COMMERCE,
    DROP,
    HOUR,
    SILVER_ASSETS,
    USER_ACTIVITY_ASSET,
    Lab,
    a_user,
    an_event,
    an_order,
    asked,
    jsonl,
    requests,
    tables,
)

Records = Sequence[dict[str, Any]]

OTHER_DROP = "2026-03-08"
DROP_ASSETS = [*tables(*COMMERCE), USER_ACTIVITY_ASSET]
NAMES = ("users", "events", "orders")
KINDS = ("product_view", "product_purchase")
FILES: dict[str, Records] = {
    "users": [a_user("u1"), a_user("u2", "US")],
    "events": [an_event("e1", "u1"), an_event("e2", "u1", "product_purchase")],
    "orders": [an_order("o1", "u1", 10.5), an_order("o2", "u2", 7, "USD", "failed")],
}
SUBSETS = [names for n in (1, 2) for names in combinations(NAMES, n)]


@pytest.fixture(autouse=True)
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes as long as the join, and assets/test_gold.py looks at it."""
    monkeypatch.setattr(report, "chart", lambda contract, key, table: "")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab.open(tmp_path) as lab:
        yield lab


def upload(lab: Lab, *names: str, day: str = DROP, **files: Records) -> None:
    """Uploads the usual files of these names, and other files."""
    for name, records in {**{name: FILES[name] for name in names}, **files}.items():
        lab.upload(day, f"{name}.json", jsonl(*records))


def delete(lab: Lab, *names: str, day: str = DROP) -> None:
    for name in names:
        lab.delete(f"bronze/commerce/date={day}/{name}.json")


def promoted(lab: Lab) -> list[str]:
    """All that the sensors of drops ask for is run; what the promotion's asked for."""
    lab.settle("drops")
    return lab.settle("promotion")


def activity(lab: Lab, *columns: str, day: str = DROP) -> list[tuple[Any, ...]]:
    """Columns of the published rows of a drop, in the order in which a person reads them."""
    names = ", ".join(columns or ACTIVITY)
    query = f"SELECT {names} FROM gold.user_activity WHERE drop_date = DATE '{day}'"
    order = USER_ACTIVITY.order_by.removeprefix("drop_date DESC, ")
    return lab.resources.querier.fetch(f"{query} ORDER BY {order}")[1]


ACTIVITY = tuple(name for name in USER_ACTIVITY.column_names if name != "drop_date")


class TestWhenItIsAskedFor:
    def test_once_the_three_are_built(self, lab: Lab) -> None:
        upload(lab, *NAMES)
        assert asked(lab.tick("promotion")) == []
        lab.settle("drops")
        tick = lab.tick("promotion")
        assert asked(tick) == [DROP]
        assert lab.run(requests(tick)[0]).success
        assert activity(lab, "user_id", "total_events", "revenue") == [
            ("u1", 2, Decimal("10.50")),
            ("u2", 0, Decimal("0.00")),
        ]
        for _ in range(2):
            assert asked(lab.tick("promotion")) == []

    @pytest.mark.parametrize("name", NAMES)
    def test_again_for_each_input_that_changed_also_by_a_sensor_that_remembers_nothing(
        self, lab: Lab, name: str
    ) -> None:
        upload(lab, *NAMES)
        assert promoted(lab) == [DROP]
        more = {
            "users": a_user("u3"),
            "events": an_event("e3", "u1"),
            "orders": an_order("o3", "u1"),
        }
        lab.upload(DROP, f"{name}.json", jsonl(*FILES[name], more[name]))
        lab.cursors.clear()  # as for `sync`, each of whose commands begins anew
        assert promoted(lab) == [DROP]
        lab.cursors.clear()
        assert promoted(lab) == []

    def test_once_while_its_run_is_under_way(self, lab: Lab) -> None:
        upload(lab, *NAMES)
        lab.settle("drops")
        lab.create(lab.first("promotion"))
        tick = lab.tick("promotion")
        assert asked(tick) == []
        assert "a run is under way" in str(tick.skip_message)

    @pytest.mark.parametrize("there", SUBSETS, ids="+".join)
    def test_not_before_and_the_reason_says_what_is_missing_and_since_when(
        self, lab: Lab, there: tuple[str, ...]
    ) -> None:
        upload(lab, *there)
        for n, name in enumerate(there):
            came(lab, name, datetime(2026, 3, 9, 8, n, tzinfo=UTC))
        lab.settle("drops")
        missing = [f"commerce_{name} (no file)" for name in NAMES if name not in there]
        why = f"waits since 2026-03-09 08:00 UTC for {', '.join(missing)}"
        for _ in range(2):
            tick = lab.tick("promotion")
            assert asked(tick) == []
            assert f"{DROP} {why}" in str(tick.skip_message)
        (told,) = lab.observations(USER_ACTIVITY_ASSET)
        assert (told.partition, told.description) == (DROP, why)

    def test_of_no_file_nothing_is_said(self, lab: Lab) -> None:
        lab.settle("drops")
        assert lab.tick("promotion").skip_message == "Silver touched nothing new"
        assert lab.observations(USER_ACTIVITY_ASSET) == []

    def test_what_it_waits_for_is_told_once_for_each_change(self, lab: Lab) -> None:
        upload(lab, "users")
        came(lab, "users", datetime(2026, 3, 9, 8, 0, tzinfo=UTC))
        for name, hour in (("events", 9), ("orders", 10)):
            assert promoted(lab) == []
            lab.upload(DROP, f"{name}.json", b"")
            came(lab, name, datetime(2026, 3, 9, hour, 0, tzinfo=UTC))
        for _ in range(2):
            assert promoted(lab) == []
        upload(lab, "events", "orders")
        assert promoted(lab) == [DROP]
        assert [each.description for each in lab.observations(USER_ACTIVITY_ASSET)] == [
            "waits since 2026-03-09 08:00 UTC for commerce_events (no file), commerce_orders"
            " (no file)",
            "waits since 2026-03-09 08:00 UTC for commerce_events (events.json: empty),"
            " commerce_orders (no file)",
            "waits since 2026-03-09 09:00 UTC for commerce_events (events.json: empty),"
            " commerce_orders (orders.json: empty)",
        ]

    def test_not_while_one_is_not_built_yet(self, lab: Lab) -> None:
        upload(lab, *NAMES)
        for request in requests(lab.tick("drops"))[:2]:
            lab.run(request)
        tick = lab.tick("promotion")
        assert asked(tick) == []
        assert "for commerce_orders (not built yet)" in str(tick.skip_message)

    def test_never_of_two_generations(self, lab: Lab) -> None:
        """New users with the old orders would be a drop that nobody sent."""
        upload(lab, *NAMES)
        assert promoted(lab) == [DROP]
        upload(lab, users=[a_user("u9")])
        lab.upload(DROP, "orders.json", b"")
        assert promoted(lab) == []
        assert [user for (user,) in activity(lab, "user_id")] == ["u1", "u2"]
        upload(lab, orders=[an_order("o9", "u9", 3)])
        assert promoted(lab) == [DROP]
        assert activity(lab, "user_id", "revenue", "total_events") == [
            ("u9", Decimal(3), 0),
            (None, Decimal(0), 2),
        ]

    def test_never_of_two_drops(self, lab: Lab) -> None:
        upload(lab, "users", "events")
        upload(lab, "orders", day=OTHER_DROP)
        assert promoted(lab) == []
        upload(lab, day=OTHER_DROP, users=[a_user("u1", "EU")], events=[])
        lab.upload(OTHER_DROP, "events.json", jsonl(an_event("e1", "u1")))
        assert promoted(lab) == [OTHER_DROP]
        assert activity(lab, "user_id", "country", "total_events", day=OTHER_DROP) == [
            ("u1", "EU", 1),
            (None, None, 0),
        ]
        assert activity(lab) == []
        upload(lab, orders=[an_order("o1", "u2", 1)])
        assert promoted(lab) == [DROP]
        assert activity(lab, "user_id", "country", "total_events", "revenue") == [
            ("u2", "US", 0, Decimal(1)),
            ("u1", "IN", 2, Decimal(0)),
        ]

    def test_again_only_when_one_of_the_three_changed(self, lab: Lab) -> None:
        upload(lab, *NAMES)
        assert promoted(lab) == [DROP]
        upload(lab, "users", day=OTHER_DROP)
        assert promoted(lab) == []
        assert lab.materialize(tables(*COMMERCE), DROP).success  # finds all of it unchanged
        assert promoted(lab) == []
        lab.upload(DROP, "my_users.json", b"")
        assert promoted(lab) == []
        for name in NAMES:
            lab.upload(DROP, f"{name}.json", jsonl(*FILES[name][:1]))
            assert promoted(lab) == [DROP]
        assert activity(lab, "user_id", "total_events", "total_orders") == [("u1", 1, 1)]
        assert len(lab.materializations(USER_ACTIVITY_ASSET)) == 1 + len(NAMES)

    def test_after_a_failed_run_again_up_to_the_limit(self, lab: Lab) -> None:
        upload(lab, *NAMES)
        lab.settle("drops")
        for _ in range(lab.settings.max_attempts):
            last = lab.fail(lab.first("promotion"))
        tick = lab.tick("promotion")
        assert asked(tick) == []
        assert f"given up after 3 failed runs; the last is {last.run_id[:8]}" in str(
            tick.skip_message
        )
        assert lab.materialize([USER_ACTIVITY_ASSET], DROP).success
        assert lab.tick("promotion").skip_message == "Silver touched nothing new"
        upload(lab, "users")
        assert promoted(lab) == [DROP]

    def test_a_cursor_of_any_text_asks_for_nothing_that_is_made(self, lab: Lab) -> None:
        upload(lab, *NAMES)
        lab.cursors["promotion"] = "garbage"
        assert promoted(lab) == [DROP]
        for cursor in ("", "garbage", "[]", "{}", '{"read": "x", "pending": 3, "told": 0}'):
            lab.cursors["promotion"] = cursor
            assert asked(lab.tick("promotion")) == []


class TestWhatIsDeleted:
    def test_a_deletion_leaves_the_drop_incomplete_and_the_table_as_it_was(self, lab: Lab) -> None:
        upload(lab, *NAMES)
        assert promoted(lab) == [DROP]
        before = activity(lab)
        delete(lab, "orders")
        assert promoted(lab) == []
        assert lab.rows("silver.commerce_orders") == 0
        assert activity(lab) == before
        assert "for commerce_orders (no file)" in str(lab.tick("promotion").skip_message)
        upload(lab, orders=[an_order("o1", "u1", 99)])
        assert promoted(lab) == [DROP]
        assert activity(lab, "revenue") == [(Decimal(99),), (Decimal(0),)]

    def test_a_drop_that_is_deleted_as_a_whole_empties_it_once_silver_is_empty(
        self, lab: Lab
    ) -> None:
        upload(lab, *NAMES)
        upload(lab, *NAMES, day=OTHER_DROP)
        assert lab.materialize_range(DROP_ASSETS, OTHER_DROP, DROP).success
        assert promoted(lab) == []
        delete(lab, *NAMES)
        found = requests(lab.tick("drops"))
        for request in found[:-1]:
            lab.run(request)
            assert asked(lab.tick("promotion")) == []
        lab.run(found[-1])
        assert lab.settle("promotion") == [DROP]
        assert activity(lab) == []
        assert len(activity(lab, day=OTHER_DROP)) == 2
        assert promoted(lab) == []


class TestByHand:
    def test_an_incomplete_drop_fails_with_a_clear_reason(self, lab: Lab) -> None:
        upload(lab, "users")
        run = lab.materialize(DROP_ASSETS, DROP)
        assert why(run) == (
            f"{DROP}: incomplete: silver/commerce_events, silver/commerce_orders of {DROP} not"
            " built"
        )
        assert activity(lab) == []
        assert lab.materializations(USER_ACTIVITY_ASSET) == []

    def test_an_incomplete_drop_keeps_what_was_published(self, lab: Lab) -> None:
        upload(lab, *NAMES)
        assert lab.materialize(DROP_ASSETS, DROP).success
        before = activity(lab)
        delete(lab, "users")
        assert "silver/commerce_users" in why(lab.materialize(DROP_ASSETS, DROP))
        assert activity(lab) == before

    def test_a_whole_drop_in_one_run_leaves_the_sensors_nothing(self, lab: Lab) -> None:
        upload(lab, *NAMES)
        assert lab.materialize(DROP_ASSETS, DROP).success
        assert len(activity(lab)) == 2
        assert promoted(lab) == []
        assert asked(lab.tick("drops")) == []

    def test_a_day_without_a_drop_is_empty(self, lab: Lab) -> None:
        assert lab.materialize(DROP_ASSETS, DROP).success
        assert activity(lab) == []

    def test_a_range_in_one_run_builds_gold_after_silver_each_day_with_its_own_numbers(
        self, lab: Lab
    ) -> None:
        days = ["2026-03-07", OTHER_DROP, DROP]
        for n, day in enumerate(days, 1):
            upload(
                lab,
                day=day,
                users=[a_user(f"u{k}") for k in range(n)],
                events=[an_event(f"e{k}", "u0") for k in range(2 * n)],
                orders=[an_order(f"o{k}", "u0") for k in range(3 * n)],
            )
        assert lab.materialize_range(DROP_ASSETS, days[0], days[-1]).success
        users, _, events, _, orders, _ = tables(*COMMERCE)
        per_day = {users: 1, events: 2, orders: 3, USER_ACTIVITY_ASSET: 1}
        for asset in DROP_ASSETS:
            counts = [(day, n * per_day.get(asset, 0)) for n, day in enumerate(days, 1)]
            assert row_counts(lab, asset) == counts
        assert activity(lab, "total_events", "total_orders")[0] == (6, 9)
        lab.tick("drops")
        assert asked(lab.tick("drops")) == asked(lab.tick("promotion")) == []

    def test_in_a_range_an_incomplete_day_stops_no_other(self, lab: Lab) -> None:
        upload(lab, *NAMES)
        upload(lab, "users", "events", day=OTHER_DROP)
        upload(lab, *NAMES, day="2026-03-07")
        run = lab.materialize_range(DROP_ASSETS, "2026-03-07", DROP)
        assert why(run) == (
            f"{OTHER_DROP}: incomplete: silver/commerce_orders of {OTHER_DROP} not built"
        )
        assert row_counts(lab, USER_ACTIVITY_ASSET) == [("2026-03-07", 2), (DROP, 2)]

    def test_bronze_and_silver_of_an_hour_in_one_run(self, tmp_path: Path) -> None:
        with Lab.open(tmp_path, events_per_slot=20, fault_share=0) as lab:
            assert lab.materialize([BRONZE_EVENTS, *SILVER_ASSETS], HOUR).success
            (made,) = lab.materializations(BRONZE_EVENTS)
            assert (made.partition, made.metadata["objects"].value) == (HOUR, 12)
            assert made.metadata["lines"].value == lab.rows() > 0
            assert row_counts(lab, SILVER_ASSETS[0]) == [(HOUR, lab.rows())]
            assert row_counts(lab, SILVER_ASSETS[1]) == [(HOUR, 0)]


class TestTheStatement:
    def test_users_without_activity_appear_with_zeros(self, lab: Lab) -> None:
        assert build(lab, [a_user("u1", "AU")], [an_event("e1", None)], [])
        assert activity(lab) == [
            ("u1", "AU", 0, 0, Decimal(0), None, 0, 0, 0, 1, None, None, None),
            (None, None, 1, 0, Decimal(0), None, 0, 1, 0, 0, None, None, None),
        ]

    def test_currencies_are_never_added_and_every_number_stands_in_one_row(self, lab: Lab) -> None:
        orders = [
            an_order("o1", "u1", "10.10", "INR"),
            an_order("o2", "u1", "0.20", "USD"),
            an_order("o3", "u1", "0.10", "USD"),
            an_order("o4", "u2", "5", "USD"),
        ]
        events = [an_event(f"e{n}", "u1", kind) for n, kind in enumerate(KINDS)]
        assert build(lab, [a_user("u1"), a_user("u2")], events, orders)
        columns = ("user_id", "currency", "revenue", "total_orders", "total_events", "users")
        assert activity(lab, *columns, "product_views", "product_purchases") == [
            ("u1", "INR", Decimal("10.10"), 1, 2, 1, 1, 1),
            ("u2", "USD", Decimal("5.00"), 1, 0, 1, 0, 0),
            ("u1", "USD", Decimal("0.30"), 2, 0, 0, 0, 0),
        ]

    def test_unknown_and_missing_users_have_rows_without_a_user(self, lab: Lab) -> None:
        events = [an_event("e1", "x"), an_event("e2", None), an_event("e3", " ")]
        orders = [
            an_order("o1", "x", 1, "USD"),
            an_order("o2", None, 2, "USD"),
            an_order("o3", "y", 3, "EUR"),
            an_order("o4", "u1", 4, "EUR"),
        ]
        assert build(lab, [a_user("u1")], events, orders)
        columns = ("user_id", "currency", "revenue", "total_orders", "total_events", "users")
        assert Counter(activity(lab, *columns)) == Counter(
            [
                ("u1", "EUR", Decimal(4), 1, 0, 1),
                (None, "USD", Decimal(3), 2, 0, 0),
                (None, "EUR", Decimal(3), 1, 0, 0),
                (None, None, Decimal(0), 0, 3, 0),
            ]
        )

    def test_totals_reconcile_to_the_cent_by_currency(self, lab: Lab) -> None:
        orders = [
            an_order("o1", "u1", "0.01", "EUR"),
            an_order("o2", "x", "99999.99", "EUR"),
            an_order("o3", "u1", "5", "EUR", "failed"),
            an_order("o4", None, "0.10", "USD"),
            an_order("o5", "u2", "0.20", "USD"),
            an_order("o6", "u2", "5", "USD", "in_progress"),
        ]
        built = build(lab, FILES["users"], FILES["events"], orders)
        assert built.receipt.totals == {
            "users": ("2", "2"),
            "total_events": ("2", "2"),
            "total_orders EUR": ("3", "3"),
            "total_orders USD": ("3", "3"),
            "revenue EUR": ("100000.00", "100000.00"),
            "revenue USD": ("0.30", "0.30"),
        }

    def test_one_that_multiplies_is_refused_and_publishes_nothing(
        self, lab: Lab, tmp_path: Path
    ) -> None:
        assert build(lab, *FILES.values())
        before = activity(lab)
        joined = tmp_path / "joined.sql"
        joined.write_text(MULTIPLIES)
        wrong = dataclasses.replace(USER_ACTIVITY, statement=str(joined))
        (built,) = gold(lab, wrong)
        assert built.status == "failed"
        assert built.error == "revenue INR adds up to 21.00 in Gold and 10.50 in Silver"
        assert activity(lab) == before


# Ours, but joined before it is aggregated.
MULTIPLIES = """
SELECT
  users.user_id, max(users.country) AS country, count(DISTINCT events.event_id) AS total_events,
  count(DISTINCT orders.order_id) AS total_orders,
  sum(CASE WHEN payment_status = 'success' THEN order_amount ELSE 0 END) AS revenue,
  max(orders.currency) AS currency, 0 AS successful_orders, 0 AS product_views,
  0 AS product_purchases, 1 AS users, max(users.signup_date) AS signup_date,
  max(users.device_type) AS device_type, max(users.marketing_source) AS marketing_source,
  users.drop_date
FROM silver.commerce_users AS users
LEFT JOIN silver.commerce_events AS events
  ON events.drop_date = users.drop_date AND events.user_id = users.user_id
LEFT JOIN silver.commerce_orders AS orders
  ON orders.drop_date = users.drop_date AND orders.user_id = users.user_id
GROUP BY users.drop_date, users.user_id
"""


def build(lab: Lab, *files: Records, day: str = DROP) -> Any:
    """Builds Silver and Gold of a drop of these files, without Dagster; a file may be empty."""
    used = lab.resources
    for contract, name, file in zip(COMMERCE, NAMES, files, strict=True):
        # A file of no record is unusable as a whole; one whose only record is refused is not.
        records = file or [{contract.key[0]: "refused", "signup_date": "never"}]
        lab.upload(day, f"{name}.json", jsonl(*records))
        (built,) = build_silver(
            contract,
            [day],
            objects=used.objects,
            transformer=used.transformer,
            lake=used.lake,
            recorded={},
            redelivery_hours=1,
        )
        assert built.status == "published", built.error
    (built,) = gold(lab, day=day)
    assert built.status == "published", built.error
    return built


def gold(lab: Lab, contract: GoldContract = USER_ACTIVITY, day: str = DROP) -> list[Any]:
    used = lab.resources
    return list(
        build_gold(
            contract,
            [day],
            transformer=used.transformer,
            querier=used.querier,
            lake=used.lake,
        )
    )


def came(lab: Lab, name: str, moment: datetime) -> None:
    """Makes a file have come at another moment."""
    path = lab.settings.lake / f"bronze/commerce/date={DROP}/{name}.json"
    os.utime(path, (moment.timestamp(), moment.timestamp()))


def why(run: dg.ExecuteInProcessResult) -> str:
    """Why a run failed, in a person's words."""
    (failed,) = run.get_step_failure_events()
    reason = failed.step_failure_data.user_failure_data
    assert reason is not None
    return str(reason.description)


def row_counts(lab: Lab, asset: dg.AssetKey) -> list[tuple[str | None, Any]]:
    """(partition, rows) of every materialization on record."""
    return sorted(
        (each.partition or "", each.metadata["dagster/partition_row_count"].value)
        for each in lab.materializations(asset)
    )


# --- Any history ends in the same table -------------------------------------------------------

few = settings(
    phases=(Phase.explicit, Phase.generate),
    max_examples=2,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

some_users = st.lists(
    st.sampled_from(
        [
            a_user("u1"),
            a_user("u2", "US"),
            {**a_user("u3", "EU"), "signup_date": "2020-02-29", "device_type": "PC"},
            {**a_user("u4", "AU"), "marketing_source": "email"},
        ]
    ),
    min_size=1,
    unique_by=lambda record: str(record["user_id"]),
)
whose = st.sampled_from(["u1", "u2", "u3", "x1", "x2", None])
some_events = st.lists(
    st.builds(an_event, st.integers(1, 9).map("e{}".format), whose, st.sampled_from(KINDS)),
    min_size=1,
    max_size=8,
    unique_by=lambda record: str(record["event_id"]),
)
some_orders = st.lists(
    st.builds(
        an_order,
        st.integers(1, 9).map("o{}".format),
        whose,
        st.sampled_from(["0.01", "0.10", "10.50", "99999.99", "-3.30"]),
        st.sampled_from(["EUR", "INR", "USD"]),
        st.sampled_from(["success", "success", "failed", "in_progress"]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda record: str(record["order_id"]),
)
CONTENT = {"users": some_users, "events": some_events, "orders": some_orders}


def look(what: str) -> tuple[str, None, None]:
    return what, None, None


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Any], dict[str, dict[str, Records]]]:
    """What happens, in order, and what each drop holds in the end."""
    days = draw(st.sampled_from([[DROP], [DROP, OTHER_DROP]]))
    places = [(day, name) for day in days for name in NAMES]
    upload = st.sampled_from(places).flatmap(
        lambda place: st.tuples(st.just("upload"), st.just(place), CONTENT[place[1]])
    )
    other = st.tuples(st.sampled_from(["refused", "deleted"]), st.sampled_from(places), st.none())
    looks = st.sampled_from(["drops", "promotion", "one table", "failed"]).map(look)
    happens = draw(st.lists(st.one_of(upload, other, looks), max_size=6))
    last: dict[str, dict[str, Records]] = defaultdict(dict)
    for day, name in draw(st.permutations(places)):
        last[day][name] = draw(CONTENT[name])
        happens += [("upload", (day, name), last[day][name]), *draw(st.lists(looks, max_size=1))]
    return happens, last


def live(lab: Lab, what: str, place: tuple[str, str], records: Records) -> None:
    """Makes one thing of a history happen."""
    if what in ("upload", "refused"):
        day, name = place
        # A line that is sent twice counts once.
        lab.upload(day, f"{name}.json", jsonl(*records, *records[:1]) if records else b"no")
    elif what == "deleted":
        day, name = place
        (lab.settings.lake / f"bronze/commerce/date={day}/{name}.json").unlink(missing_ok=True)
    elif what == "failed":
        for sensor in ("drops", "promotion"):
            for request in requests(lab.tick(sensor)):
                lab.fail(request)
    elif what == "drops":
        lab.settle("drops")
    else:
        found = requests(lab.tick("promotion" if what == "promotion" else "drops"))
        for request in found[:1]:
            assert lab.run(request).success


IN_THE_END: dict[str, Records] = {
    "users": FILES["users"][1:],
    "events": [*FILES["events"][1:], an_event("e3", "u2")],
    "orders": [*FILES["orders"], an_order("o3", "u2", "2.50", "EUR")],
}
# Published, one deleted, one refused, and both mended, with looks and a failed run in between.
MENDED = (
    [
        *(("upload", (DROP, name), FILES[name]) for name in NAMES),
        *map(look, ("drops", "promotion")),
        ("deleted", (DROP, "orders"), None),
        *map(look, ("drops", "promotion")),
        ("refused", (DROP, "users"), None),
        ("upload", (DROP, "orders"), IN_THE_END["orders"]),
        *map(look, ("drops", "promotion")),
        ("upload", (DROP, "users"), IN_THE_END["users"]),
        *map(look, ("failed", "one table", "promotion")),
        ("upload", (DROP, "events"), IN_THE_END["events"]),
    ],
    {DROP: IN_THE_END},
)


@few
@example(history=MENDED)
@given(history=histories())
def test_any_history_ends_as_one_recompute_of_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, history: Any
) -> None:
    happens, last = history
    with Lab.open(tmp_path_factory.mktemp("lab")) as lab:
        for what, place, records in happens:
            live(lab, what, place, records or ())
        promoted(lab)
        assert asked(lab.tick("drops")) == asked(lab.tick("promotion")) == []
        found = {day: Counter(activity(lab, day=day)) for day in last}
    with Lab.open(tmp_path_factory.mktemp("fresh")) as fresh:
        for day, files in last.items():
            build(fresh, *map(files.__getitem__, NAMES), day=day)
        assert found == {day: Counter(activity(fresh, day=day)) for day in last}
    assert found == {day: Counter(user_activity(**files)) for day, files in last.items()}


def user_activity(users: Records, events: Records, orders: Records) -> list[tuple[Any, ...]]:
    """The rows of a drop in plain Python: written from the contract, not from the statement."""
    known = {record["user_id"]: record for record in users}
    of_user: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    paid: dict[tuple[str | None, str], list[Decimal]] = defaultdict(list)
    placed: Counter[tuple[str | None, str]] = Counter()
    for event in events:
        of_user[event["user_id"] if event["user_id"] in known else None].append(event)
    for order in orders:
        owner = order["user_id"] if order["user_id"] in known else None
        placed[owner, order["currency"]] += 1
        if order["payment_status"] == "success":
            paid[owner, order["currency"]].append(Decimal(order["order_amount"]))
    rows: list[tuple[Any, ...]] = []
    for owner in [*known, None]:
        about = known.get(owner, {})
        kinds = Counter(event["event_type"] for event in of_user[owner])
        counted = (kinds.total(), *(kinds[kind] for kind in KINDS))
        currencies = sorted(currency for who, currency in placed if who == owner)
        if owner is None:
            # Events of nobody stand in a row of their own.
            firsts = [("", counted)] if counted[0] else []
            shown = [*firsts, *((currency, (0, 0, 0)) for currency in currencies)]
        else:
            first, *others = currencies or [""]
            shown = [(first, counted), *((currency, (0, 0, 0)) for currency in others)]
        for n, (currency, (total, views, purchases)) in enumerate(shown):
            money = paid[owner, currency]
            rows.append(
                (
                    owner,
                    about.get("country"),
                    total,
                    placed[owner, currency],
                    sum(money, Decimal(0)),
                    currency or None,
                    len(money),
                    views,
                    purchases,
                    int(owner is not None and n == 0),
                    date.fromisoformat(about["signup_date"]) if "signup_date" in about else None,
                    about.get("device_type"),
                    about.get("marketing_source"),
                )
            )
    return rows
