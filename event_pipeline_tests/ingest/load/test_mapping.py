"""Bring your own files: mapped, written once, unreadable lines named."""

import gzip
import json
from pathlib import Path

import duckdb
import pytest

from event_pipeline.contracts import (
    COMMERCE_EVENTS,
    COMMERCE_ORDERS,
    COMMERCE_USERS,
    USER_ACTIVITY,
)
from event_pipeline.errors import LoadError
from event_pipeline_tests.conftest import Lab
from event_pipeline_tests.ingest.load.conftest import DROP, Shelf

EXAMPLES = Path(__file__).parents[2] / "examples"
REES46 = EXAMPLES / "rees46.sql"
HEADER = (
    "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
)
ROWS = [
    "2019-10-01 00:00:07 UTC,view,007,2053,electronics.phone,apple,543.10,u1,s1",
    "2019-10-01 00:04:59 UTC,cart,007,2053,electronics.phone,apple,543.10,u1,s1",
    "2019-10-01 00:05:00 UTC,purchase,007,2053,,,543.10,u1,s1",
]


def test_rows_go_to_the_slot_of_their_own_time_as_the_fields_of_an_event(shelf: Shelf) -> None:
    loaded = shelf.load(shelf.file("shop.csv", "\n".join([HEADER, *ROWS])), REES46)
    assert (loaded.rows, loaded.objects_written) == (3, 2)
    first, second = shelf.objects().items()
    assert first[0].startswith(
        "year=2019/month=10/day=01/hour=00/minute=00/events-20191001-000000-"
    )
    assert second[0].startswith(
        "year=2019/month=10/day=01/hour=00/minute=05/events-20191001-000500-"
    )
    assert first[1][1] == {
        "timestamp": "2019-10-01T00:04:59Z",
        "user_id": "u1",
        "session_id": "s1",
        "event_type": "add_to_cart",
        "product_id": "007",
        "quantity": 1,
        "price": 543.10,
        "category": "electronics",
        "search_query": None,
    }
    assert second[1][0]["category"] is None


def test_the_same_file_again_changes_nothing(shelf: Shelf) -> None:
    file = shelf.file("shop.csv", "\n".join([HEADER, *ROWS]))
    shelf.load(file, REES46)
    before = shelf.objects()
    again = shelf.load(file, REES46)
    assert (again.objects_written, again.objects_there) == (0, 2)
    assert shelf.objects() == before


def test_a_load_that_was_cut_short_is_completed(shelf: Shelf) -> None:
    file = shelf.file("shop.csv", "\n".join([HEADER, *ROWS]))
    shelf.load(file, REES46)
    before = shelf.objects()
    (shelf.settings.lake / "bronze" / "events" / list(before)[1]).unlink()
    again = shelf.load(file, REES46)
    assert (again.objects_written, again.objects_there) == (1, 1)
    assert shelf.objects() == before


def test_lines_that_cannot_be_read_are_counted_and_named(shelf: Shelf) -> None:
    text = "\n".join([HEADER, ROWS[0], "broken", ROWS[1] + ",too,many", ROWS[2]])
    loaded = shelf.load(shelf.file("shop.csv", text), REES46)
    assert [(number, line) for number, line, _ in loaded.unreadable] == [
        (3, "broken"),
        (4, ROWS[1] + ",too,many"),
    ]
    assert loaded.rows == 2


def test_json_lines_that_are_not_json_are_named_and_the_others_loaded(shelf: Shelf) -> None:
    lines = ['{"timestamp": "2019-10-01T00:00:00+00:00", "user_id": "01"}', '{"times', "x"]
    loaded = shelf.load(shelf.file("events.jsonl", "\n".join(lines)), anyway=True)
    assert [number for number, *_ in loaded.unreadable] == [2, 3]
    [[row]] = shelf.objects().values()
    assert (row["timestamp"], row["user_id"]) == ("2019-10-01T00:00:00+00:00", "01")


@pytest.mark.parametrize("suffix", ["json", "jsonl.gz", "parquet"])
def test_json_gzip_and_parquet_are_read(shelf: Shelf, suffix: str) -> None:
    file = shelf.folder / f"events.{suffix}"
    row = {"timestamp": "2019-10-01T00:00:00Z", "user_id": "u", "price": 1.25}
    if suffix == "json":
        file.write_text(json.dumps([row, row]))
    elif suffix == "jsonl.gz":
        file.write_bytes(gzip.compress(f"{json.dumps(row)}\n{json.dumps(row)}\n".encode()))
    else:
        duckdb.execute(
            "COPY (SELECT '2019-10-01T00:00:00Z' AS timestamp, 'u' AS user_id,"
            f" 1.25::DECIMAL(10, 2) AS price FROM range(2)) TO '{file}'"
        )
    assert shelf.load(file, anyway=True).rows == 2
    [written] = shelf.objects().values()
    assert [(r["timestamp"], r["user_id"], r["price"]) for r in written] == [
        ("2019-10-01T00:00:00Z", "u", 1.25)
    ] * 2


def test_a_given_arrival_hour_takes_all_rows_whatever_their_time(shelf: Shelf) -> None:
    text = "\n".join([HEADER, *ROWS]).replace("2019", "1999")
    loaded = shelf.load(shelf.file("shop.csv", text), REES46, "2019-10-02-05:00")
    assert loaded.partitions == {"2019-10-02-05:00"}
    assert len(shelf.objects()) == 1


def test_a_row_whose_time_cannot_be_told_is_kept_for_silver_to_judge(shelf: Shelf) -> None:
    lines = ['{"timestamp": "2019-10-01T07:00:00Z"}', '{"timestamp": "yesterday"}']
    assert shelf.load(shelf.file("events.jsonl", "\n".join(lines)), anyway=True).rows == 2
    [written] = shelf.objects().values()
    assert [row["timestamp"] for row in written] == ["2019-10-01T07:00:00Z", "yesterday"]


@pytest.mark.parametrize(
    ("sql", "hour", "said"),
    [
        ("SELECT 1 AS nope FROM input", None, "the mapping gives nope; the fields are: timestamp"),
        ("SELECT nope FROM input", None, "nope"),
        ("SELEC", None, "syntax error"),
        ("DROP TABLE input", None, "one SELECT"),
        ("SELECT 1; SELECT 2", None, "one SELECT"),
        (
            "SELECT '2018-01-01T00:00:00Z' AS timestamp FROM input",
            None,
            "EVENT_PIPELINE_FIRST_DAY=2018-01-01",
        ),
        ("SELECT '2918-01-01T00:00:00Z' AS timestamp FROM input", None, "in the future"),
        ("SELECT user_id FROM input", "noon", "--arrival-hour noon: expected a form like"),
    ],
)
def test_what_cannot_be_loaded_is_one_clear_line(
    shelf: Shelf, sql: str, hour: str | None, said: str
) -> None:
    file = shelf.file("shop.csv", "\n".join([HEADER, *ROWS]))
    with pytest.raises(LoadError, match=said.replace("(", r"\(")) as error:
        shelf.load(file, sql, hour)
    assert "\n" not in str(error.value)


def test_an_empty_file_loads_no_rows(shelf: Shelf) -> None:
    assert shelf.load(shelf.file("shop.csv", HEADER + "\n"), REES46).rows == 0


# --- Commerce drops -----------------------------------------------------------------------------

USERS = "user_id,country\nu1,IN\nu2,US\n"
UCI = """\
InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,HEART HOLDER,6,2019-10-01 08:26:00,2.55,17850.0,United Kingdom
536365,71053,LANTERN,6,2019-10-01 08:26:00,3.39,17850.0,United Kingdom
536365,85123A,HEART HOLDER,6,2019-10-01 08:26:00,2.55,17850.0,United Kingdom
C536379,D,Discount,-1,2019-10-01 09:41:00,27.50,14527.0,United Kingdom
536370,22728,"CLOCK, PINK",-2,2019-10-01 08:45:00,3.75,12583.0,France
536414,22139,,56,2019-10-01 11:52:00,1.255,,United Kingdom
"""


def test_uci_is_mapped_to_the_three_files_of_a_drop(shelf: Shelf) -> None:
    """With a line that repeats, a cancelled invoice, a negative quantity and no customer."""
    file = shelf.file("online_retail.csv", UCI)
    lab = Lab(shelf.settings.lake)
    for contract in (COMMERCE_USERS, COMMERCE_EVENTS, COMMERCE_ORDERS):
        name = contract.identifier[1].removeprefix("commerce_")
        loaded = shelf.load_drop(file, EXAMPLES / "uci" / f"{name}.sql", contract)
        assert (loaded.objects_written, loaded.span) == (1, DROP)
        built = lab.build_drop(contract, DROP)
        assert (built.status, built.receipt.rejected) == ("published", {})
    found = {name.split("-")[0]: rows for name, rows in shelf.dropped().items()}
    assert [row["user_id"] for row in found["users"]] == ["12583", "14527", "17850"]
    events = {row["event_id"]: row for row in found["events"]}
    assert [(events[f"536365-{n}"]["product_id"]) for n in (1, 2, 3)] == [
        "85123A",
        "71053",
        "85123A",
    ]
    assert len(events) == 6
    assert events["536414-6"]["user_id"] is None
    assert [
        (row["order_id"], row["user_id"], row["order_amount"], row["payment_status"])
        for row in found["orders"]
    ] == [
        ("536365", "17850", 50.94, "success"),
        ("536370", "12583", -7.5, "success"),
        ("536414", None, 70.28, "success"),
        ("C536379", "14527", -27.5, "failed"),
    ]
    assert found["orders"][0]["order_timestamp"] == "2019-10-01T08:26:00Z"

    assert [built.status for built in lab.gold(USER_ACTIVITY, DROP)] == ["published"]
    columns = "user_id, country, total_events, total_orders, revenue"
    rows = lab.querier.fetch(f"SELECT {columns} FROM gold.user_activity ORDER BY revenue, 1")[1]
    assert [(*row[:4], str(row[4])) for row in rows] == [
        ("12583", "France", 1, 1, "-7.50"),
        ("14527", "United Kingdom", 1, 1, "0.00"),
        (None, None, 1, 0, "0.00"),
        ("17850", "United Kingdom", 3, 1, "50.94"),
        (None, None, 0, 1, "70.28"),
    ]


def test_the_same_drop_again_changes_nothing(shelf: Shelf) -> None:
    file = shelf.file("users.csv", USERS)
    shelf.load_drop(file)
    before = Lab(shelf.settings.lake).objects.partition(COMMERCE_USERS, DROP)
    (data,) = [(shelf.settings.lake / found.key).read_bytes() for found in before.objects]
    for replace in (False, True):
        again = shelf.load_drop(file, replace=replace)
        assert (again.rows, again.objects_written, again.objects_there) == (2, 0, 1)
    assert Lab(shelf.settings.lake).objects.partition(COMMERCE_USERS, DROP) == before
    assert (shelf.settings.lake / before.objects[0].key).read_bytes() == data


def test_a_changed_file_of_the_same_name_takes_the_place_of_what_was_loaded(shelf: Shelf) -> None:
    shelf.load_drop(shelf.file("users.csv", USERS))
    assert shelf.load_drop(shelf.file("users.csv", USERS + "u3,EU\n")).replaced
    [rows] = shelf.dropped().values()
    assert [row["user_id"] for row in rows] == ["u1", "u2", "u3"]
    # What was said of the old file, as its number of lines, is said of the new one.
    [found] = Lab(shelf.settings.lake).objects.partition(COMMERCE_USERS, DROP).objects
    manifest = Lab(shelf.settings.lake).objects.manifest(found.key)
    assert manifest is not None
    assert (manifest.lines, manifest.size, manifest.etag) == (3, found.bytes, found.etag)
    built = Lab(shelf.settings.lake).build_drop(COMMERCE_USERS, DROP)
    assert (built.status, built.receipt.lines) == ("published", 3)


def test_files_of_one_dataset_add_up_and_one_can_replace_the_others(shelf: Shelf) -> None:
    shelf.load_drop(shelf.file("users.csv", USERS))
    shelf.load_drop(shelf.file("more.csv", "user_id,country\nu3,EU\n"))
    assert [len(rows) for rows in shelf.dropped().values()] in ([1, 2], [2, 1])
    built = Lab(shelf.settings.lake).build_drop(COMMERCE_USERS, DROP)
    assert (built.status, built.receipt.rows) == ("published", 3)
    replacing = shelf.load_drop(shelf.file("all.csv", USERS + "u4,EU\n"), replace=True)
    assert replacing.objects_removed == 2
    assert [len(rows) for rows in shelf.dropped().values()] == [3]


def test_what_others_uploaded_stays(shelf: Shelf) -> None:
    there = Lab(shelf.settings.lake).upload("user.json", b'{"user_id": "u"}\n', DROP)
    shelf.load_drop(shelf.file("users.csv", USERS), replace=True)
    folder = (shelf.settings.lake / there).parent
    assert "user.json" in [path.name for path in folder.iterdir()]
    built = Lab(shelf.settings.lake).build_drop(COMMERCE_USERS, DROP)
    assert (built.status, built.receipt.rows) == ("published", 3)


def test_files_of_the_other_datasets_are_no_matter(shelf: Shelf) -> None:
    Lab(shelf.settings.lake).upload("events.json", b'{"event_id": "e"}\n', DROP)
    assert shelf.load_drop(shelf.file("users.csv", USERS)).objects_written == 1


def test_a_column_may_differ_in_case_alone(shelf: Shelf) -> None:
    file = shelf.file("users.csv", "USER_ID,Country\nu1,IN\n")
    for sql in ("SELECT * FROM input", "SELECT USER_ID AS user_id, country FROM input"):
        assert shelf.load_drop(file, sql).rows == 1
    [[row]] = shelf.dropped().values()
    assert (row["user_id"], row["country"], row["signup_date"]) == ("u1", "IN", None)


@pytest.mark.parametrize(
    ("sql", "drop", "said"),
    [
        ("SELECT * FROM input", "yesterday", "drop yesterday: expected a form like 2019-10-01"),
        ("SELECT * FROM input", "2019-10-1", "expected a form like"),
        ("SELECT * FROM input", "2019-10-32", "expected a form like"),
        ("SELECT * FROM input", "2019-09-30", "EVENT_PIPELINE_FIRST_DAY=2019-09-30"),
        ("SELECT * FROM input", "2918-01-01", "drop 2918-01-01 is in the future"),
        ("SELECT 1 AS nope FROM input", DROP, "the mapping gives nope; the fields are: user_id"),
        ("SELECT nope FROM input", DROP, "nope"),
        ("SELECT * FROM input WHERE false", DROP, r"users\.csv: the mapping gives no rows"),
        ("SELEC", DROP, "syntax error"),
    ],
)
def test_what_cannot_be_a_drop_is_one_clear_line_and_writes_nothing(
    shelf: Shelf, sql: str, drop: str, said: str
) -> None:
    with pytest.raises(LoadError, match=said) as error:
        shelf.load_drop(shelf.file("users.csv", USERS), sql, drop=drop)
    assert "\n" not in str(error.value)
    assert shelf.dropped() == {}
