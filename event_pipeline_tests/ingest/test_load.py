"""Bring your own files: mapped, written once, unreadable lines named."""

import gzip
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from event_pipeline.errors import LoadError
from event_pipeline.ingest.load import Loaded, load_events
from event_pipeline.settings import Settings

REES46 = Path(__file__).parents[1] / "examples" / "rees46.sql"
HEADER = (
    "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
)
ROWS = [
    "2019-10-01 00:00:07 UTC,view,007,2053,electronics.phone,apple,543.10,u1,s1",
    "2019-10-01 00:04:59 UTC,cart,007,2053,electronics.phone,apple,543.10,u1,s1",
    "2019-10-01 00:05:00 UTC,purchase,007,2053,,,543.10,u1,s1",
]


class Shelf:
    """A lake and files to load into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(home=folder / "home", first_day="2019-10-01")

    def file(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def load(
        self, file: Path, sql: str | Path = "SELECT * FROM input", hour: str | None = None
    ) -> Loaded:
        mapping = sql if isinstance(sql, Path) else self.file("mapping.sql", sql)
        return load_events(self.settings, file, mapping, hour)

    def objects(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of each Bronze object, by its key below bronze/events."""
        root = self.settings.lake / "bronze" / "events"
        return {
            str(path.relative_to(root)): [
                json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()
            ]
            for path in sorted(root.rglob("*.jsonl.gz"))
        }


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


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
    loaded = shelf.load(shelf.file("events.jsonl", "\n".join(lines)))
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
    assert shelf.load(file).rows == 2
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
    assert shelf.load(shelf.file("events.jsonl", "\n".join(lines))).rows == 2
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
        ("SELECT user_id FROM input", None, "give an --arrival-hour"),
        (
            "SELECT '2018-01-01' AS timestamp FROM input",
            None,
            "EVENT_PIPELINE_FIRST_DAY=2018-01-01",
        ),
        ("SELECT '2918-01-01' AS timestamp FROM input", None, "yet to come"),
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
