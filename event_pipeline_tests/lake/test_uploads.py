"""Uploaded files: which are taken, how they are spelled, and why others are refused."""

import gzip
import io
import json
import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_pipeline.contracts import COMMERCE_USERS
from event_pipeline.lake.spelling import Spelling
from event_pipeline.lake.uploads import FIRST_RECORDS, READ_AT_ONCE, Verdict, in_one_line, judge

KEY = COMMERCE_USERS.key
USERS = [{"user_id": f"u_{n}", "country": "IN", "more": {"a": [n, "]"]}} for n in range(20)]
LINES = "".join(json.dumps(user) + "\n" for user in USERS)
ARRAY = json.dumps(USERS)
BOM = b"\xef\xbb\xbf"


def verdict(data: bytes, key: tuple[str, ...] = KEY) -> Verdict:
    """The judgement of a file, which is still open after it."""
    raw = io.BytesIO(data)
    found = judge(raw, key)
    assert not raw.closed
    return found


def refusal(data: bytes) -> str:
    """Why a file is refused: one line."""
    error = verdict(data).error
    assert error is not None
    assert "\n" not in error
    return error


@pytest.mark.parametrize("mark", [b"", BOM], ids=["", "BOM"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=repr)
@pytest.mark.parametrize(
    ("text", "array"),
    [
        (LINES, False),
        (LINES.rstrip("\n"), False),
        (f"\n \n{LINES}\n\n", False),
        (LINES.splitlines()[0], False),
        (ARRAY, True),
        (json.dumps(USERS, indent=2), True),
        (f"\n\n  {ARRAY}\n", True),
        (json.dumps(USERS[:1]), True),
        ("[\n" + LINES.strip().replace("\n", ",\n") + "\n]\n", True),
    ],
)
def test_a_file_is_taken_by_its_content(text: str, array: bool, end: str, mark: bytes) -> None:
    data = mark + text.replace("\n", end).encode()
    form = "array" if array else "lines"
    assert verdict(data) == Verdict(Spelling("", form))
    assert verdict(gzip.compress(data)) == Verdict(Spelling("gzip", form))


@pytest.mark.parametrize(
    "text", [b"", b"\n", b" \t\r\n" * 99, BOM, BOM + b"\r\n", b"[]", b" [\n] "]
)
def test_a_file_without_a_record_is_empty(text: bytes) -> None:
    assert refusal(text) == refusal(gzip.compress(text)) == "empty"


def test_a_very_long_nothing_is_empty() -> None:
    assert refusal(b" \n" * READ_AT_ONCE) == "empty"


WHOLE = gzip.compress(LINES.encode(), mtime=0)


def test_a_gzipped_file_that_is_cut_anywhere_is_refused() -> None:
    assert verdict(WHOLE).error is None
    for length in range(2, len(WHOLE)):
        found = verdict(WHOLE[:length])
        assert found.spelling == Spelling("gzip")
        assert str(found.error).startswith("damaged gzip: ")
    assert verdict(WHOLE[:1]).error


def test_a_gzipped_file_is_read_to_its_end() -> None:
    """That a long one is cut shows far behind the records that are looked at."""
    long = gzip.compress(LINES.encode() * 20_000, 0)
    assert len(long) > 10 * READ_AT_ONCE
    assert verdict(long).error is None
    for cut in (long[:-1], long[:-9], long[: 5 * READ_AT_ONCE]):
        assert refusal(cut).startswith("damaged gzip: ")


@pytest.mark.parametrize(
    "data",
    [
        WHOLE[:-8] + bytes(4) + WHOLE[-4:],
        WHOLE[:-4] + bytes(4),
        WHOLE + b"more",
        WHOLE + WHOLE[:-3],
        WHOLE[:2] + b"\x07" + WHOLE[3:],
        WHOLE[:60] + bytes(20) + WHOLE[80:],
        b"\x1f\x8b",
    ],
    ids=["checksum", "length", "more", "second member cut", "method", "hole", "two bytes"],
)
def test_a_damaged_gzip_is_refused(data: bytes) -> None:
    assert refusal(data).startswith("damaged gzip: ")


def test_members_of_a_gzipped_file_are_one_text() -> None:
    assert verdict(WHOLE + WHOLE) == Verdict(Spelling("gzip"))
    half = len(ARRAY) // 2
    parts = (gzip.compress(text.encode()) for text in (ARRAY[:half], ARRAY[half:]))
    assert verdict(b"".join(parts)) == Verdict(Spelling("gzip", "array"))


@pytest.mark.parametrize("text", [LINES, ARRAY], ids=["lines", "array"])
@pytest.mark.parametrize("name", ["UTF-16", "UTF-32"])
@pytest.mark.parametrize("endian", ["LE", "BE"])
def test_other_unicode_is_refused(text: str, name: str, endian: str) -> None:
    data = f"\ufeff{text}".encode(f"{name}-{endian}")
    assert refusal(data) == refusal(gzip.compress(data)) == f"{name} text: only UTF-8 is read"
    without_mark = text.encode(f"{name}-{endian}")
    assert "zero bytes" in refusal(without_mark)


def parquet() -> bytes:
    """The users as Parquet."""
    out = io.BytesIO()
    pq.write_table(pa.table({"user_id": ["u_1"], "country": ["IN"]}), out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "spelling"),
    [
        (parquet(), Spelling("", "parquet")),
        (b"user_id,country\nu_1,IN\nu_2,US\n", Spelling("", "csv", ",")),
        (b'"user_id";"country"\n"u_1";"IN"\n', Spelling("", "csv", ";")),
        (json.dumps(USERS[0], indent=2).encode(), Spelling("", "objects")),
        ("\n".join(json.dumps(u, indent=2) for u in USERS).encode(), Spelling("", "objects")),
    ],
    ids=["Parquet", "CSV", "CSV in quotes", "one pretty object", "pretty objects"],
)
def test_a_file_of_records_in_another_spelling_is_taken(data: bytes, spelling: Spelling) -> None:
    assert verdict(data) == Verdict(spelling)


def test_a_parquet_file_that_is_cut_is_refused() -> None:
    assert refusal(parquet()[:-20]).startswith("damaged file: ")


@pytest.mark.parametrize(
    "data",
    [b"PK\x03\x04\x14\x00\x00\x00\x08\x00" + bytes(range(256)), gzip.compress(WHOLE)],
    ids=["zip", "gzip in gzip"],
)
def test_a_binary_file_is_refused(data: bytes) -> None:
    assert "zero bytes" in refusal(data)


NOT_RECORDS = {
    "CSV without a header": "u_1,IN\nu_2,US\n",
    "CSV of something else": "country,city\nIN,Pune\n",
    "error page": "<!DOCTYPE html>\n<html><body><h1>403 Forbidden</h1></body></html>\n",
    "error": "<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "prose": "see attachment",
    "single quotes": "{'user_id': 'u_1'}\n",
    "bare names": "{user_id: 'u_1'}\n",
    "half an object": '{"user_id": "u_1"',
    "values": 'null\n7\n"user_id"\ntrue\n',
    "arrays": '\n[["u_1", "IN"], ["u_2", "US"]]\n',
    "array of texts": '["user_id", "u_1"]',
    "array of nothing": "[null, null]",
    "array of arrays": json.dumps([USERS]),
    "only the beginning of an array": "[",
    "deep nesting": "[" * 100_000,
    "deep objects": '{"user_id": ' * 100_000,
    "zero-width": "\u200b\n",
}


@pytest.mark.parametrize("text", NOT_RECORDS.values(), ids=NOT_RECORDS.keys())
def test_a_file_that_is_not_of_records_is_refused(text: str) -> None:
    what = "not an array of JSON objects" if text.lstrip().startswith("[") else "not JSON Lines"
    assert refusal(text.encode()).startswith(what)
    assert refusal(gzip.compress(text.encode())).startswith(what)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"id": "u_1"},
        {"user_id": None},
        {"User_ID": "u_1"},
        {" user_id": "u_1"},
        {"user": {"user_id": "u_1"}},
        {"event_id": "e_1", "event_type": "product_view"},
    ],
    ids=json.dumps,
)
def test_records_of_another_kind_are_refused(record: dict[str, Any]) -> None:
    line = json.dumps(record)
    assert refusal(f"{line}\n{line}\n".encode()) == "no user_id in its first 2 records"
    assert refusal(f"[{line},{line}]".encode()) == "no user_id in its first 2 records"
    assert refusal(f"{line}\n".encode() * 99) == f"no user_id in its first {FIRST_RECORDS} records"


def test_a_key_of_two_fields_is_wanted_in_one_record() -> None:
    apart, together = b'{"a": 1}\n{"b": 1}\n', b'{"a": 1, "b": 0}\n'
    assert verdict(apart, ("a", "b")).error == "no a and b in its first 2 records"
    assert verdict(apart + together, ("a", "b")).error is None


@pytest.mark.parametrize(
    "first",
    ["word", "{", '{"user_id": null}', '{"country": "IN"}', "[]", "17", '{"user_id": "\\ud800'],
)
@pytest.mark.parametrize("count", [1, FIRST_RECORDS - 1])
def test_single_bad_records_are_not_the_files_fault(first: str, count: int) -> None:
    good = json.dumps(USERS[0])
    assert verdict(f"{first}\n".encode() * count + good.encode()).error is None
    # An array of broken text has no say in where its elements end; one of values has.
    assert verdict(f"[{f'{first}, ' * count}{good}]".encode()).error is None


@pytest.mark.parametrize("value", ['""', "0", "false", "{}", '[{"user_id": []}]', "9" * 5_000])
def test_what_a_key_is_like_is_the_contracts_business(value: str) -> None:
    assert verdict(f'{{"user_id": {value}}}\n'.encode()).error is None
    assert verdict(f'[{{"user_id": {value}}}]'.encode()).error is None


@pytest.mark.parametrize(
    "text",
    [
        b'{"user_id": "u_1"}\n{"user_id": "u\xff"}\n',
        b'{"user_id": "u_1"}\n\xff\xfe\n' + b"\xe4" * 99,
        b'{"user_id": "u_1"}\n[{"user_id": "u_2"}]\n',
        b'[{"user_id": "u_1"}, {"user_id": "u\xff"}]',
        b'[{"user_id": "u_1"}',
        b'[{"user_id": "u_1"}, {"user_id',
        b'[{"user_id": "u_1"}]\nmore',
    ],
)
def test_what_follows_a_good_record_is_judged_by_the_contract(text: bytes) -> None:
    assert verdict(text) == Verdict(Spelling("", "array" if text.startswith(b"[") else "lines"))


def test_a_line_of_fifty_megabytes_is_one_record_and_judged_soon() -> None:
    long = b'{"user_id": "u_1", "x": "' + b"x" * 50_000_000 + b'"}'
    good = b'{"user_id": "u_2"}'
    before = time.process_time()
    assert refusal(long) == "not JSON Lines: none of its first 1 records is a JSON object"
    assert verdict(long + b"\n" + good).error is None
    assert verdict(b"[" + long + b"," + good + b"]").error is None
    assert time.process_time() - before < 10


def test_refusals_are_told_in_one_line_by_the_files_names() -> None:
    refused = {"a/date=2026-01-01/users.json": "empty", "a/date=2026-01-01/orders.json": "why"}
    assert in_one_line(refused) == "orders.json: why; users.json: empty"
    assert in_one_line(dict([*refused.items()][:1]), 2) == "date=2026-01-01/users.json: empty"
    assert in_one_line({}) == ""


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
users = st.builds(
    lambda user, more: {**more, "user_id": user},
    st.text(max_size=4) | st.integers() | json_values.filter(lambda value: value is not None),
    st.dictionaries(st.text(max_size=4), json_values, max_size=3),
)


@settings(deadline=None)
@given(
    found=st.lists(users, min_size=1, max_size=12),
    array=st.booleans(),
    gzipped=st.booleans(),
    ascii_only=st.booleans(),
    indent=st.none() | st.integers(0, 2),
    mark=st.sampled_from([b"", BOM]),
)
def test_any_records_with_the_key_are_taken(
    *,
    found: list[dict[str, Any]],
    array: bool,
    gzipped: bool,
    ascii_only: bool,
    indent: int | None,
    mark: bytes,
) -> None:
    text = (
        json.dumps(found, indent=indent, ensure_ascii=ascii_only)
        if array
        else "\n".join(json.dumps(user, ensure_ascii=ascii_only) for user in found)
    )
    data = mark + text.encode()
    assert verdict(gzip.compress(data) if gzipped else data) == Verdict(
        Spelling("gzip" if gzipped else "", "array" if array else "lines")
    )


def _flipped(data: bytes, place: int) -> bytes:
    place %= len(data)
    return data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]


texts = st.binary(max_size=60) | st.text('[]{},":1x\\ \n', max_size=40).map(str.encode)
files = st.one_of(
    texts,
    texts.map(lambda data: b"[" + data),
    texts.map(gzip.compress),
    texts.map(lambda data: b"\x1f\x8b\x08" + data),
    st.builds(_flipped, texts.map(gzip.compress), st.integers(0, 99)),
    st.builds(_flipped, st.just(WHOLE), st.integers(0, len(WHOLE) - 1)),
    st.builds(lambda n: WHOLE[:n], st.integers(0, len(WHOLE))),
)


@settings(deadline=None, max_examples=300)
@given(data=files)
def test_any_bytes_have_a_verdict(data: bytes) -> None:
    found = verdict(data)
    assert found.error is None or found.error.splitlines() == [found.error]
    # No mark that says gzip, no gzip.
    assert found.spelling
    assert (found.spelling.compression == "gzip") == data.startswith(b"\x1f\x8b")
