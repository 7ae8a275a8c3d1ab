"""What Silver would say of a load is said before anything is written."""

import json

import pytest

from event_pipeline.contracts import COMMERCE_ORDERS, COMMERCE_USERS
from event_pipeline.errors import LoadError
from event_pipeline_tests.conftest import Lab
from event_pipeline_tests.ingest.load.conftest import ALL, Shelf, event, jsonl

DROP = "2019-10-02"
HOUR = "2019-10-01-10:00"
# Each as it may stand in a file, and the moment that is meant.
TIMES = {
    "2019-10-01 10:00:00 UTC": "2019-10-01 10:00:00Z",
    "01/10/2019 10:00": "2019-10-01T10:00:00Z",
    "13/10/2019 10:00:05": "2019-10-13T10:00:05Z",
    "10/13/2019 10:00 PM": "2019-10-13T22:00:00Z",
    "13.10.2019": "2019-10-13T00:00:00Z",
    "1569924000": "2019-10-01T10:00:00Z",
    "1569924000.25": "2019-10-01T10:00:00.250000Z",
    "1569924000123": "2019-10-01T10:00:00.123000Z",
    "1569924000123456": "2019-10-01T10:00:00.123456Z",
    "1569924000123456789": "2019-10-01T10:00:00.123456Z",
    "2019-10-01": "2019-10-01T00:00:00Z",
    "2019-10-01T10:00": "2019-10-01T10:00:00Z",
    "2019-10-1 9:00:00": "2019-10-01T09:00:00Z",
    "2019/10/01 10:00:00": "2019-10-01T10:00:00Z",
    "20191001T100000Z": "2019-10-01T10:00:00Z",
    "2019-10-01 10:00:00.5 UTC": "2019-10-01T10:00:00.500000Z",
    "2019-10-01 10:00:00 +0200": "2019-10-01T08:00:00Z",
    "01/Oct/2019:10:00:00 +0200": "2019-10-01T08:00:00Z",
    "Tue, 01 Oct 2019 10:00:00 GMT": "2019-10-01T10:00:00Z",
    "Oct 1, 2019 1:05 PM": "2019-10-01T13:05:00Z",
    "October 1, 2019": "2019-10-01T00:00:00Z",
}


@pytest.mark.parametrize("time", TIMES)
def test_what_to_write_for_a_time_is_said_and_is_right(shelf: Shelf, time: str) -> None:
    file = shelf.file("events.csv", f"t;u\n{time};u1\n{time};u2\n")
    fields = "u AS user_id, 's' AS session_id, 'search' AS event_type FROM input"
    refused = shelf.load(file, f"SELECT t AS timestamp, {fields}")
    assert refused.stopped
    assert refused.judgement is not None
    [refusal] = refused.judgement.refusals
    assert (refusal.reason, refusal.rows) == ("timestamp_invalid", 2)
    assert refusal.example == f"timestamp is {json.dumps(time)}"
    assert not shelf.root.exists()
    expression = refusal.advice.removeprefix("write ").replace(
        " (or %m before %d, if months come first)", ""
    )
    assert shelf.load(file, f"SELECT {expression}, {fields}").judgement
    assert {row["timestamp"] for row in shelf.rows()} == {TIMES[time]}


def test_of_a_column_that_is_taken_as_it_is_the_whole_select_is_said(shelf: Shelf) -> None:
    file = shelf.file("events.jsonl", jsonl(event(1569924000), event(1569924001)))
    refused = shelf.load(file).judgement
    assert refused is not None
    sql = refused.refusals[0].advice.removeprefix("write ")
    assert sql.startswith("SELECT * REPLACE (")
    assert not shelf.load(file, sql).stopped
    assert [row["timestamp"] for row in shelf.rows()] == [
        "2019-10-01T10:00:00Z",
        "2019-10-01T10:00:01Z",
    ]


def test_an_open_order_of_day_and_month_is_said(shelf: Shelf) -> None:
    file = shelf.file("events.jsonl", jsonl(event("01/10/2019 10:00")))
    judgement = shelf.load(file).judgement
    assert judgement is not None
    assert "%d/%m/%Y" in judgement.refusals[0].advice
    assert "or %m before %d" in judgement.refusals[0].advice


def test_a_time_that_is_none_costs_its_row_which_silver_quarantines(shelf: Shelf) -> None:
    good = [event("2019-10-01T10:00:00Z", product_id=f"p{n}") for n in range(50)]
    loaded = shelf.load(shelf.file("events.jsonl", jsonl(*good, event(1569924000))))
    assert (loaded.stopped, loaded.rows, len(shelf.rows())) == (False, 51, 51)
    assert loaded.judgement is not None
    assert [(r.reason, r.rows) for r in loaded.judgement.refusals] == [("timestamp_invalid", 1)]
    [built] = Lab(shelf.settings.lake).build(HOUR)
    assert built.receipt.rejected == {"timestamp_invalid": 1}
    assert (built.receipt.lines, built.receipt.rows) == (51, 50)


@pytest.mark.parametrize("other", ["1970-01-01T00:00:00Z", "2137-01-01T00:00:00Z"])
def test_a_row_that_no_partition_holds_is_named_and_the_others_are_loaded(
    shelf: Shelf, other: str
) -> None:
    good = [event("2019-10-01T10:00:00Z", product_id=f"p{n}") for n in range(1_000)]
    file = shelf.file("events.jsonl", jsonl(event(other), *good))
    loaded = shelf.load(file)
    assert (loaded.stopped, len(shelf.rows())) == (False, 1_000)
    assert loaded.judgement is not None
    [outside] = loaded.judgement.outside
    assert outside.rows == 1
    assert other in outside.example
    assert "--arrival-hour" in outside.advice
    assert shelf.all[0].left_out == 1


def test_what_is_left_out_is_loaded_once_there_is_a_partition(shelf: Shelf) -> None:
    good = [event("2019-10-01T10:00:00Z"), event("2019-10-01T10:00:00Z", user_id="v")]
    file = shelf.file("events.jsonl", jsonl(*good, event("2019-09-30T10:00:00Z")))
    shelf.load(file)
    shelf.settings = type(shelf.settings)(home=shelf.settings.home, first_day="2019-09-01")
    again = shelf.load(file)
    assert (again.objects_written, again.objects_there, len(shelf.rows())) == (1, 1, 3)


def test_more_than_half_refused_stops_unless_told_to_go_on(shelf: Shelf) -> None:
    rows = [event("2019-10-01T10:00:00Z", event_type=kind) for kind in ("search", "click", "tap")]
    file = shelf.file("events.jsonl", jsonl(*rows))
    refused = shelf.load(file)
    assert refused.stopped
    assert refused.judgement is not None
    assert [(r.reason, r.rows, r.example) for r in refused.judgement.refusals] == [
        ("event_type_unknown", 2, 'event_type is "click"')
    ]
    assert not shelf.root.exists()
    assert not shelf.load(file, anyway=True).stopped
    assert len(shelf.rows()) == 3


def test_half_refused_and_records_that_cannot_be_read_count_alike(shelf: Shelf) -> None:
    good = event("2019-10-01T10:00:00Z")
    half = jsonl(good, good, event("no"), event("no"))
    assert not shelf.load(shelf.file("half.jsonl", half)).stopped
    assert shelf.load(shelf.file("more.jsonl", half + '{"cut": \n')).stopped


def test_a_dry_run_writes_nothing(shelf: Shelf) -> None:
    loaded = shelf.load(shelf.file("e.jsonl", jsonl(event("2019-10-01T10:00:00Z"))), dry_run=True)
    assert (loaded.rows, loaded.stopped, loaded.objects_written) == (1, False, 0)
    assert not shelf.settings.home.exists()


def test_orders_without_a_time_are_said_before_they_are_a_drop_without_orders(
    shelf: Shelf,
) -> None:
    text = "order_id,user_id,order_amount,currency,order_timestamp,payment_status\n"
    file = shelf.file("orders.csv", f"{text}o1,u1,10.00,EUR,2019-10-01,success\n")
    loaded = shelf.load(file, contract=COMMERCE_ORDERS, drop=DROP)
    assert loaded.stopped
    assert loaded.judgement is not None
    [refusal] = loaded.judgement.refusals
    assert refusal.reason == "order_timestamp_invalid"
    assert "order_timestamp || 'T00:00:00Z' AS order_timestamp" in refusal.advice


def test_rows_that_would_be_conflicts_are_said(shelf: Shelf) -> None:
    text = "user_id,country\nu1,IN\nu1,US\nu2,US\nu2,US\nu3,EU\n"
    loaded = shelf.load(shelf.file("u.csv", text), contract=COMMERCE_USERS, drop=DROP)
    assert loaded.judgement is not None
    assert [(r.reason, r.rows) for r in loaded.judgement.refusals] == [("conflict", 1)]
    built = Lab(shelf.settings.lake).build_drop(COMMERCE_USERS, DROP)
    assert built.receipt.rejected == {"conflict": 1}
    assert built.receipt.rows == 3


def test_the_judgement_is_silvers_for_every_kind_of_bad_row(shelf: Shelf) -> None:
    """Also where a value is spelled so that only the exact reader can tell."""
    when = "2019-10-01T10:00:00Z"
    bad = [
        event(when, user_id=" "),
        event(when, session_id=None),
        event(when, event_type="PURCHASE", price="1e3", quantity="two"),
        event(when, price="NaN"),
        event("0000-01-01T00:00:00Z"),
        event("2019-10-01T10:00:00+25:00"),
        event(when, price={"a": 1}),
    ]
    good = [
        event(when, user_id='a "quoted" \\ user\n☃', price="007", quantity="+5"),
        event(when, user_id="☃", price="123456789012345678901"[:8], category="{}"),
        *(event(when, product_id=f"p{n}", price=1.10) for n in range(9)),
    ]
    loaded = shelf.load(shelf.file("events.jsonl", jsonl(*bad, *good)), ALL, HOUR)
    assert loaded.judgement is not None
    [built] = Lab(shelf.settings.lake).build(HOUR)
    said = {r.reason: r.rows for r in loaded.judgement.refusals}
    assert said == built.receipt.rejected
    assert loaded.judgement.refused == built.receipt.quarantined == len(bad)


def test_a_row_that_is_too_long_for_any_reader_costs_itself(shelf: Shelf) -> None:
    when = "2019-10-01T10:00:00Z"
    sql = (
        "SELECT * REPLACE (CASE WHEN user_id = 'long' THEN repeat('x', 2000000) END AS category)"
        " FROM input"
    )
    rows = [event(when, user_id=user, category="") for user in ("long", "u1", "u2")]
    loaded = shelf.load(shelf.file("events.jsonl", jsonl(*rows)), sql)
    assert loaded.judgement is not None
    assert [(each.rows, each.why) for each in loaded.judgement.outside] == [
        (1, "a line is longer than 2,000,000 bytes")
    ]
    assert [row["user_id"] for row in shelf.rows()] == ["u1", "u2"]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_file_of_another_time_is_one_clear_line(shelf: Shelf, rows: int) -> None:
    file = shelf.file("events.jsonl", jsonl(*[event("2018-01-01T00:00:00Z")] * rows))
    with pytest.raises(LoadError, match="set EVENT_PIPELINE_FIRST_DAY=2018-01-01") as error:
        shelf.load(file)
    assert "\n" not in str(error.value)
