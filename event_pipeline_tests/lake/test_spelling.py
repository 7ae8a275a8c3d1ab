"""Objects in every spelling: told by their content, and the same records of each."""

import datetime as dt
import gzip
import io
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_pipeline.lake.fields import read_fields
from event_pipeline.lake.spelling import POSITION, Spelling, records_of, sniff, split_elements
from event_pipeline.lake.text import DAMAGED

RECORDS = [{"id": f"i{n}", "name": 'Müg, "big"' if n else "a\nb", "n": str(n)} for n in range(5)]
NAMES = ("id", "name", "n")


def zstd(data: bytes) -> bytes:
    """Bytes as zstd compresses them."""
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def parquet(columns: dict[str, Any]) -> bytes:
    """A table as a Parquet file."""
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def csv_of(delimiter: str, end: str) -> bytes:
    """The records as CSV by RFC 4180."""

    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    rows = [NAMES, *([each[name] for name in NAMES] for each in RECORDS)]
    return "".join(delimiter.join(map(quoted, row)) + end for row in rows).encode()


SPELLINGS = {
    "lines": "".join(json.dumps(each) + "\n" for each in RECORDS).encode(),
    "no end": "\n".join(json.dumps(each) for each in RECORDS).encode(),
    "joined": "".join(json.dumps(each) for each in RECORDS).encode(),
    "array": json.dumps(RECORDS, ensure_ascii=False).encode(),
    "pretty array": json.dumps(RECORDS, indent=2).encode(),
    "pretty": "\n".join(json.dumps(each, indent=2) for each in RECORDS).encode(),
    "csv": csv_of(",", "\r\n"),
    "tsv": csv_of("\t", "\n"),
    "semicolons": csv_of(";", "\n"),
    "BOM": b"\xef\xbb\xbf" + csv_of(",", "\n"),
}  # fmt: skip
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {"": bytes, "gzip": gzip.compress, "zstd": zstd}


def read(data: bytes, fields: Sequence[str] = NAMES) -> list[str]:
    """The records of an object, by what it is told as; the file stays open."""
    raw = io.BytesIO(data)
    spelling = sniff(raw, fields)
    raw.seek(0)
    found = [record for record in records_of(raw, spelling) if record.strip()]
    assert not raw.closed
    return found


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("name", SPELLINGS)
def test_the_same_records_whatever_the_spelling(name: str, compression: str) -> None:
    packed = COMPRESSIONS[compression](SPELLINGS[name])
    assert [json.loads(line) for line in read(packed)] == RECORDS


def test_the_same_records_of_parquet() -> None:
    data = parquet({name: [each[name] for each in RECORDS] for name in NAMES})
    assert [json.loads(line) for line in read(data)] == RECORDS


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_an_object_that_ends_early_is_damaged(compression: str) -> None:
    data = COMPRESSIONS[compression](SPELLINGS["lines"] * 1_000)
    for length in (5, 20, len(data) // 2, len(data) - 1):
        with pytest.raises(DAMAGED):
            read(data[:length])
    with pytest.raises(DAMAGED):
        read(parquet({"id": ["a"] * 100})[:-30])


def test_a_row_of_a_csv_that_does_not_fit_is_its_text_and_no_json() -> None:
    found = read(b'id,name\n1,a\n2,b,c\n"3\n4"\n\n5,"e"\n')
    assert [json.loads(found[0]), json.loads(found[3])] == [
        {"id": "1", "name": "a"},
        {"id": "5", "name": "e"},
    ]
    assert found[1] == "3 fields instead of 2: 2,b,c"
    assert found[2] == "1 fields instead of 2: 3\\n4"
    assert [read_fields(line, NAMES) for line in found[1:3]] == [None, None]


def test_an_empty_field_of_a_csv_is_null() -> None:
    assert json.loads(read(b"id,name\n,a\n")[0]) == {"id": None, "name": "a"}


def test_a_header_that_names_a_field_twice_makes_the_object_unreadable() -> None:
    with pytest.raises(DAMAGED, match="the header names id twice"):
        read(b"id,id\n1,2\n")


@pytest.mark.parametrize(
    "text", ["word", "a,b\n1,2", "2026-01-01,x\n", "<html>", "", "\x01", "null", "17"]
)
def test_a_text_that_is_none_of_them_is_lines(text: str) -> None:
    assert sniff(io.BytesIO(text.encode()), NAMES) == Spelling()


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04\x14\x00\x08", gzip.compress(b"x" * 99), b"Obj\x01\x04"]
)
def test_a_binary_file_of_another_kind_cannot_be_read(data: bytes) -> None:
    packed = gzip.compress(data)
    assert sniff(io.BytesIO(packed), NAMES) == Spelling("gzip", "unknown")
    with pytest.raises(DAMAGED, match="not JSON, CSV or Parquet, but a"):
        read(packed)


@pytest.mark.parametrize("odd", [b"\x00", b"\xff\xfe", b"\x00\x01PK"])
def test_a_line_of_odd_bytes_costs_itself_alone(odd: bytes) -> None:
    found = read(odd + b"\n" + b'{"id": 1}\n')
    assert len(found) == 2
    assert found[1] == '{"id": 1}'


def test_values_of_parquet_keep_their_digits() -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    data = parquet(
        {
            "money": pa.array([Decimal("81912345678901234567.89")], pa.decimal128(38, 2)),
            "long": pa.array([2**63 - 1]),
            "double": pa.array([0.1]),
            "none": pa.array([float("nan")]),
            "at": pa.array([dt.datetime(2026, 1, 1, 10, 0, 0, 5)], pa.timestamp("ns")),
            "zoned": pa.array([dt.datetime(2026, 1, 1, 10, tzinfo=zone)]),
            "day": pa.array([dt.date(2026, 1, 1)]),
            "yes": pa.array([True]),
            "bytes": pa.array([b"a\xff"]),
            "inner": pa.array([{"a": [1, None], "b": "x"}]),
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        }
    )
    [line] = read(data)
    names = (*json.loads(line),)
    found = read_fields(line, names)
    assert found is not None
    assert dict(zip(names, found.values, strict=True)) == {
        "money": "81912345678901234567.89",
        "long": "9223372036854775807",
        "double": "0.1",
        "none": None,
        "at": "2026-01-01T10:00:00.000005",
        "zoned": "2026-01-01T08:00:00Z",
        "day": "2026-01-01",
        "yes": "true",
        "bytes": "a\\xff",
        "inner": '{"a":[1,null],"b":"x"}',
        "map": '{"k":1}',
    }


def test_a_record_is_taken_apart_by_its_array() -> None:
    record = '{"id": 1, "cart": {"items": [{"sku": "a"}, {"sku": "a"}, 7], "sum": 1.50}}'
    assert list(split_elements(record, "cart.items")) == [
        f'{{"id":1,"cart":{{"items":{element},"sum":1.50}},"{POSITION}":{n}}}'
        for n, element in enumerate(('{"sku":"a"}', '{"sku":"a"}', "7"), 1)
    ]


@pytest.mark.parametrize(
    "record",
    ['{"id": 1}', '{"cart": null}', '{"cart": {"items": []}}', '{"cart": {"items": {"a": 1}}}',
     '{"cart": {"items": "x"}}', '{"cart": [1]}', "no JSON", '{"id": 1, "id": 2}', "[1]"],
)  # fmt: skip
def test_a_record_without_the_array_is_one_line_as_it_was(record: str) -> None:
    assert list(split_elements(record, "cart.items")) == [record]
    assert list(split_elements(record, "")) == [record]


def test_nested_fields_are_read_by_their_paths() -> None:
    line = '{"a": {"b": {"c": 1e1, "d.e": "x"}, "n": null}, "f.g": true, "h": [{"i": 1}]}'
    paths = ("a.b.c", "a.b.d.e", "a.b", "a.n", "a.x.y", "f.g", "h.i", "z")
    found = read_fields(line, paths)
    assert found is not None
    assert found.values == ["10", "x", '{"c":1e1,"d.e":"x"}', None, None, "true", None, None]
    assert read_fields('{"a": {"b": 1, "b": 2}}', ("a.b",)) is None
    assert read_fields('{"a": {"b": 1, "b": 2}}', ("a.c",)) is not None


@given(data=st.binary(max_size=80), head=st.sampled_from([b"", b"[", b"{", b"PAR1", b"id,name\n"]))
def test_any_bytes_are_told_as_something_and_read_or_damaged(data: bytes, head: bytes) -> None:
    try:
        found = read(head + data)
    except DAMAGED:
        return
    assert all("\n" not in line for line in found)
