"""A load is known by its source: given again it changes nothing, corrected it replaces, and it can
be taken back."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from event_pipeline.contracts import COMMERCE_ORDERS, COMMERCE_USERS
from event_pipeline.errors import LoadError
from event_pipeline.ingest.handler import FolderStore
from event_pipeline.ingest.load import writing
from event_pipeline.ingest.load.ledger import take_back
from event_pipeline_tests.conftest import Lab
from event_pipeline_tests.ingest.load.conftest import ALL, Shelf, event, jsonl

DROP = "2019-10-02"
HOUR = "2019-10-01-10:00"
CENTS = "SELECT * FROM input"
EUROS = "SELECT * REPLACE (CAST(price AS DECIMAL(18, 2)) / 100 AS price) FROM input"
USERS = "user_id,country\nu1,IN\nu2,US\n"


def purchases(*prices: int, minute: int = 0) -> str:
    times = [f"2019-10-01T10:{minute + n * 5:02d}:00Z" for n in range(len(prices))]
    return jsonl(
        *(
            event(at, event_type="purchase", product_id=f"p{n}", quantity=1, price=price)
            for n, (at, price) in enumerate(zip(times, prices, strict=True))
        )
    )


def revenue(shelf: Shelf) -> str:
    lab = Lab(shelf.settings.lake)
    lab.build(HOUR)
    [(total,)] = lab.querier.fetch("SELECT sum(revenue) FROM silver.events")[1]
    return str(total)


def test_a_corrected_mapping_takes_the_place_of_what_the_old_one_wrote(shelf: Shelf) -> None:
    file = shelf.file("shop.jsonl", purchases(1_050, 5_000, 4_450))
    shelf.load(file, CENTS)
    assert revenue(shelf) == "10500.00"
    corrected = shelf.load(file, EUROS)
    assert (corrected.objects_written, bool(corrected.replaced)) == (3, True)
    assert revenue(shelf) == "105.00"
    assert len(shelf.all) == 1


def test_a_changed_file_takes_the_place_of_the_old_one_and_what_is_gone_goes(shelf: Shelf) -> None:
    shelf.load(shelf.file("shop.jsonl", purchases(100, 200, 300)))
    before = shelf.state()
    changed = shelf.load(shelf.file("shop.jsonl", purchases(100, 250)))
    assert (changed.objects_written, changed.objects_there, changed.objects_removed) == (1, 1, 1)
    assert revenue(shelf) == "350.00"
    shelf.load(shelf.file("shop.jsonl", purchases(100, 200, 300)))
    assert shelf.state() == before
    manifests = list((shelf.root / "_manifests").rglob("*.json"))
    assert len(manifests) == len(shelf.objects()) == 3


def test_a_file_is_known_by_its_content_too(shelf: Shelf) -> None:
    """A copy of it, or the file under another name, is not loaded twice."""
    text = purchases(100, 200)
    shelf.load(shelf.file("shop.jsonl", text), CENTS)
    again = shelf.load(shelf.file("moved/shop (1).jsonl", text), CENTS)
    assert (again.objects_written, again.objects_there) == (0, 2)
    shelf.load(shelf.file("moved/shop (1).jsonl", text), EUROS)
    assert revenue(shelf) == "3.00"


def test_files_of_one_name_in_two_folders_are_two(shelf: Shelf) -> None:
    shelf.load(shelf.file("a/shop.jsonl", purchases(100)))
    shelf.load(shelf.file("b/shop.jsonl", purchases(200)))
    assert len(shelf.all) == 2
    assert revenue(shelf) == "300.00"


def test_another_drop_of_a_file_of_one_name_is_another_load(shelf: Shelf) -> None:
    shelf.load(shelf.file("users.csv", USERS), contract=COMMERCE_USERS, drop="2019-10-01")
    shelf.load(shelf.file("users.csv", USERS + "u3,EU\n"), contract=COMMERCE_USERS, drop=DROP)
    assert sorted(map(len, shelf.objects("commerce").values())) == [2, 3]


def test_a_load_can_be_taken_back_and_nothing_else_goes(shelf: Shelf) -> None:
    lab = Lab(shelf.settings.lake)
    other = lab.deliver(b"", HOUR, 5, lines=0)
    shelf.load(shelf.file("a.jsonl", purchases(100)))
    before = shelf.state()
    loaded = shelf.load(shelf.file("b.jsonl", purchases(200, 300)))
    lab.build(HOUR)
    assert take_back(shelf.loads, loaded.id[:6]).rows == 2
    assert shelf.state() == before
    assert other in [f"bronze/{key}" for key in shelf.state()]
    assert revenue(shelf) == "100.00"
    with pytest.raises(LoadError, match=f"no load named {loaded.id}"):
        take_back(shelf.loads, loaded.id)
    shelf.load(shelf.file("c.jsonl", purchases(400)))
    with pytest.raises(LoadError, match="several loads named"):
        take_back(shelf.loads, "")


def test_a_file_that_has_become_empty_does_not_take_all_away(shelf: Shelf) -> None:
    shelf.load(shelf.file("shop.csv", CSV_HEADER + CSV_ROW))
    before = shelf.state()
    with pytest.raises(LoadError, match="gives no rows; to remove what was loaded"):
        shelf.load(shelf.file("shop.csv", CSV_HEADER))
    assert shelf.state() == before


CSV_HEADER = "timestamp,user_id,session_id,event_type\n"
CSV_ROW = "2019-10-01T10:00:00Z,u,s,search\n"


def test_what_a_mapping_reads_beside_the_file_is_part_of_the_load(shelf: Shelf) -> None:
    file = shelf.file("shop.jsonl", purchases(100))
    prices = shelf.file("prices [1].csv", "product_id,price\np0,7.00\n")
    sql = "SELECT i.* REPLACE (p.price AS price) FROM input i JOIN prices p USING (product_id)"
    from event_pipeline.ingest.load.sources import find_sources

    def load() -> int:
        also = {"prices": find_sources([str(prices)])[0]}
        return shelf.load(file, sql, also=also).objects_written

    assert (load(), load()) == (1, 0)
    shelf.file("prices [1].csv", "product_id,price\np0,9.00\n")
    assert load() == 1
    assert revenue(shelf) == "9.00"


@pytest.mark.parametrize(
    "reading",
    [
        "read_csv('{}')",
        "read_text('{}')",
        "'{}'",
        "glob('/*')",
        "read_parquet('s3://bucket/x')",
        "read_csv('https://127.0.0.1/x')",
    ],
)
def test_a_mapping_reads_nothing_that_is_not_named(shelf: Shelf, reading: str) -> None:
    secret = shelf.file("prices.csv", "product_id,price\np0,7.00\n")
    file = shelf.file("shop.jsonl", purchases(100))
    with pytest.raises(LoadError, match="the mapping: ") as error:
        shelf.load(file, f"SELECT i.* FROM input i, {reading.format(secret)}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "sql",
    [
        f"{ALL} -- remark",
        f"{ALL};",
        f"{ALL}; -- remark\n",
        f"-- remark\n{ALL}\n;\n-- end; of it",
        f"/* a */ {ALL} /* ; */",
        "FROM input",
        f"WITH w AS ({ALL}) SELECT * FROM w -- ;",
        f"({ALL})",
    ],
)
def test_a_mapping_may_end_in_a_remark(shelf: Shelf, sql: str) -> None:
    assert shelf.load(shelf.file("shop.jsonl", purchases(100)), sql, dry_run=True).rows == 1


def test_numbers_in_bronze_have_the_digits_of_the_file(shelf: Shelf) -> None:
    text = jsonl(*({"price": 20, **event("2019-10-01T10:00:00Z")} for _ in range(3)))
    last = '{"price": 19.49, "timestamp": "2019-10-01T10:00:01Z", "user_id": "u"'
    shelf.load(shelf.file("e.jsonl", f'{text}{last}, "session_id": "s", "event_type": "search"}}'))
    assert [row["price"] for row in shelf.rows()] == [20, 20, 20, 19.49]


def test_ids_that_are_long_numbers_are_two_orders(shelf: Shelf) -> None:
    rows = "".join(
        f'{{"order_id": {number}, "user_id": "u", "order_amount": 10.10, "currency": "EUR",'
        ' "order_timestamp": "2019-10-02T10:00:00Z", "payment_status": "success"}\n'
        for number in (81912345678901234567, 81912345678901234568)
    )
    shelf.load(shelf.file("orders.json", rows), contract=COMMERCE_ORDERS, drop=DROP)
    lab = Lab(shelf.settings.lake)
    built = lab.build_drop(COMMERCE_ORDERS, DROP)
    assert (built.receipt.rows, built.receipt.rejected) == (2, {})
    assert sorted(str(row[0]) for row in lab.rows(COMMERCE_ORDERS)) == [
        "81912345678901234567",
        "81912345678901234568",
    ]


# --- The day of a drop --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("users-2019-10-02.csv", None),
        ("users_20191002.csv", None),
        ("users.2019_10_02.export.csv", None),
        ("2019-10-02/users.csv", None),
        ("date=2019-10-02/users 1234567.csv", None),
        ("users-02102019.csv", "%d%m%Y"),
        ("02.10.19 users.csv", "%d.%m.%y"),
        ("Oct 2, 2019.csv", "%b %d, %Y"),
    ],
)
def test_a_drop_is_told_by_the_files_name(shelf: Shelf, name: str, form: str | None) -> None:
    loaded = shelf.load(shelf.file(name, USERS), contract=COMMERCE_USERS, drop_from_name=form)
    assert loaded.partitions == {DROP}


@pytest.mark.parametrize(
    ("name", "form", "said"),
    [
        ("users.csv", None, "commerce_users needs a --drop"),
        ("users-2019-13-45.csv", None, "commerce_users needs a --drop"),
        ("users-2019-10-02.csv", "%d%m%Y", "tells none by %d%m%Y"),
        ("2019-10-02 to 2019-10-03.csv", None, "holds two days, 2019-10-02 and 2019-10-03"),
        ("users-2018-10-02.csv", None, "set EVENT_PIPELINE_FIRST_DAY=2018-10-02"),
        ("users.csv", "%Q", "%Q is not supported; choose from %Y"),
    ],
)
def test_a_name_that_tells_no_drop_is_one_clear_line(
    shelf: Shelf, name: str, form: str | None, said: str
) -> None:
    with pytest.raises(LoadError, match=said):
        shelf.load(shelf.file(name, USERS), contract=COMMERCE_USERS, drop_from_name=form)


def test_a_column_tells_each_rows_drop(shelf: Shelf) -> None:
    text = "order_id,order_amount,currency,order_timestamp,payment_status,day\n" + "".join(
        f"o{n},1.10,EUR,2019-{10 + n % 3}-05T23:30:00-05:00,success,x\n" for n in range(9)
    )
    file = shelf.file("year.csv", text)
    sql = "SELECT * EXCLUDE (day) FROM input"
    loaded = shelf.load(file, sql, contract=COMMERCE_ORDERS, drop_from="Order_Timestamp")
    assert loaded.partitions == {"2019-10-06", "2019-11-06", "2019-12-06"}
    assert [len(rows) for rows in shelf.objects("commerce").values()] == [3, 3, 3]
    again = shelf.load(file, sql, contract=COMMERCE_ORDERS, drop_from="order_timestamp")
    assert (again.objects_written, again.objects_there) == (0, 3)
    with pytest.raises(LoadError, match="the mapping gives no column nope"):
        shelf.load(file, sql, contract=COMMERCE_ORDERS, drop_from="nope")


def test_a_column_for_the_drop_need_not_be_a_field(shelf: Shelf) -> None:
    text = "user_id,seen\nu1,2019-10-01\nu2,2019-10-02 10:00:00\nu3,never\nu4,1999-01-01\n"
    sql = "SELECT user_id, seen AS day FROM input"
    file = shelf.file("users.csv", text)
    loaded = shelf.load(file, sql, contract=COMMERCE_USERS, drop_from="day")
    assert loaded.partitions == {"2019-10-01", "2019-10-02"}
    assert "day" not in shelf.rows("commerce")[0]
    assert loaded.judgement is not None
    assert {(each.rows, each.why) for each in loaded.judgement.outside} == {
        (1, "no day in the column day"),
        (1, "before the first partition"),
    }


# --- Killed at any instant ----------------------------------------------------------------------


class Killed(BaseException):
    """What ends a process in these tests; nothing may catch it."""


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of writes that a process lives to do; and the writers write one by one."""
    left = [1_000]
    monkeypatch.setattr(writing, "WRITERS", 1)

    def mortal(name: str) -> None:
        real = getattr(FolderStore, name)

        def done(*args: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*args)

        monkeypatch.setattr(FolderStore, name, done)

    for name in ("create", "put", "delete"):
        mortal(name)
    return left


def test_a_load_that_is_killed_anywhere_is_completed_by_giving_it_again(
    shelf: Shelf, fragile: list[int]
) -> None:
    """The first load, and one that takes another's place, at each of their writes."""
    old, new = purchases(100, 200, 300), purchases(100, 250, minute=5)
    file = shelf.file("shop.jsonl", new)
    shelf.load(file)
    undisturbed, kills = shelf.state(), 0
    for text in (old, new):
        for lives in range(100):
            if text == old:  # a load of the old is replaced by one of the new
                fragile[0] = 1_000
                shelf.file("shop.jsonl", old)
                shelf.load(file)
                shelf.file("shop.jsonl", new)
            else:
                take_back(shelf.loads, str(file))
            fragile[0] = lives
            try:
                shelf.load(file)
            except Killed:
                kills += 1
                fragile[0] = 1_000
                shelf.load(file)
                assert shelf.state() == undisturbed
                continue
            fragile[0] = 1_000
            break
        assert shelf.state() == undisturbed
    assert kills > 10
    assert revenue(shelf) == "350.00"


def test_what_a_killed_load_wrote_can_be_taken_back(shelf: Shelf, fragile: list[int]) -> None:
    file = shelf.file("shop.jsonl", purchases(100, 200, 300))
    fragile[0] = 4
    with pytest.raises(Killed):
        shelf.load(file)
    assert shelf.objects()
    fragile[0] = 1_000
    take_back(shelf.loads, str(file))
    assert shelf.state() == {}


def test_a_process_that_is_killed_leaves_whole_objects_and_goes_on(shelf: Shelf) -> None:
    times = [f"2019-10-01T{n // 12:02d}:{n % 12 * 5:02d}:00Z" for n in range(60)]
    file = shelf.file("many.jsonl", jsonl(*map(event, times)))
    mapping = shelf.file("all.sql", ALL)
    words = ["load", str(file), "--sql", str(mapping)]
    process = subprocess.Popen(
        [sys.executable, "-c", "from event_pipeline.__main__ import main; main()", *words],
        env=os.environ
        | {
            "EVENT_PIPELINE_HOME": str(shelf.settings.home),
            "EVENT_PIPELINE_FIRST_DAY": "2019-10-01",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not list(shelf.root.rglob("events/**/*.gz")):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(shelf.rows()) == len(shelf.objects()) > 0
    shelf.load(file)
    assert sorted(row["timestamp"] for row in shelf.rows()) == sorted(times)
    assert [load.complete for load in shelf.all] == [True]


def test_a_large_object_is_cut_and_its_parts_go_with_it(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "OBJECT_BYTES", 10_000)
    monkeypatch.setattr(writing, "ROWS_AT_ONCE", 100)
    rows = [event("2019-10-01T10:00:00Z", product_id=f"p{n:04d}") for n in range(1_000)]
    file = shelf.file("e.jsonl", jsonl(*rows))
    shelf.load(file)
    assert len(shelf.objects()) > 5
    assert [row["product_id"] for row in shelf.rows()] != []
    assert sorted(row["product_id"] for row in shelf.rows()) == [f"p{n:04d}" for n in range(1_000)]
    [built] = Lab(shelf.settings.lake).build(HOUR)
    assert (built.status, built.receipt.rows) == ("published", 1_000)
    shelf.load(shelf.file("e.jsonl", jsonl(*rows[:10])))
    assert len(shelf.objects()) == 1


def test_a_drop_is_cut_alike(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "OBJECT_BYTES", 5_000)
    monkeypatch.setattr(writing, "ROWS_AT_ONCE", 10)
    text = "user_id\n" + "".join(f"u{n}\n" for n in range(200))
    shelf.load(shelf.file("users.csv", text), contract=COMMERCE_USERS, drop=DROP)
    assert len(shelf.objects("commerce")) > 3
    built = Lab(shelf.settings.lake).build_drop(COMMERCE_USERS, DROP)
    assert (built.status, built.receipt.rows) == ("published", 200)


def test_scratch_is_gone(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch: Path = shelf.folder / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    shelf.load(shelf.file("shop.jsonl", purchases(100)))
    assert list(scratch.iterdir()) == []
