"""What can be read of objects that a reader refuses, and of arrays."""

import gzip
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_pipeline.lake import text as text_module
from event_pipeline.lake.spelling import GZIPPED_LINES, Spelling, make_readable
from event_pipeline.lake.text import (
    CHUNK,
    KEPT_OF_LONG_LINE,
    LONGEST_LINE,
    UNCLOSED,
    Unreadable,
    is_joined,
    records,
)
from event_pipeline_tests.conftest import Lab

CUT = "... (cut)"


def readable(tmp_path: Path, data: bytes, *, gzipped: bool = True, array: bool = False) -> str:
    """An object's bytes, made readable."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(data)
    spelling = Spelling("gzip" if gzipped else "", "array" if array else "lines")
    make_readable(str(source), str(target), spelling)
    return gzip.decompress(target.read_bytes()).decode()


def elements(text: str) -> list[str]:
    """The elements of an array."""
    return list(records(io.StringIO(text), array=True))


@contextmanager
def read_in_chunks(size: int) -> Iterator[None]:
    """Reads arrays so many characters at once, as if there were a border after each."""
    with mock.patch.object(text_module, "CHUNK", size):
        yield


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Asserts how much processor time is spent: for one that is quadratic no limit is enough."""
    before = time.process_time()
    yield
    assert time.process_time() - before < seconds


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (b"a\nb\n", "a\nb\n"),
        (b"a\r\nb\rc", "a\nb\nc\n"),
        (b"\n\n", "\n\n"),
        (b"\xef\xbb\xbfa", "a\n"),
        (b"a\xffb\n", "a\\xffb\n"),
        (b"a\x01b\n", "a\\x01b\n"),
        (b"a\x00b\n", "a\x00b\n"),
        ("é\u2028\x85\x0b\n".encode(), "é\u2028\x85\x0b\n"),
        (b"", ""),
    ],
)
def test_bytes_that_are_no_text_stay_in_sight(tmp_path: Path, text: bytes, read: str) -> None:
    assert readable(tmp_path, gzip.compress(text)) == read


def test_members_are_one_text(tmp_path: Path) -> None:
    assert readable(tmp_path, gzip.compress(b"a") + gzip.compress(b"b\n")) == "ab\n"


def test_an_empty_object_has_no_lines(tmp_path: Path) -> None:
    assert readable(tmp_path, b"") == ""


WHOLE = gzip.compress(b"a\n" * 1000)


@pytest.mark.parametrize(
    "data",
    [b"{}", WHOLE[:9], WHOLE[:-9], WHOLE[:-1], WHOLE[:-8] + bytes(8), WHOLE + b"more"],
    ids=["text", "header", "cut", "cut by one", "checksum", "more"],
)
def test_a_damaged_object_is_unreadable(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Unreadable, match=r"."):
        readable(tmp_path, data)


def test_an_object_that_is_gone_is_no_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_readable(str(tmp_path / "gone"), str(tmp_path / "target"), GZIPPED_LINES)


@pytest.mark.parametrize(
    "line",
    ["a" * LONGEST_LINE, "é" * (LONGEST_LINE // 2)],
    ids=["ascii", "two bytes each"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_the_longest_line_is_kept_and_a_longer_one_is_cut(
    tmp_path: Path, line: str, end: str
) -> None:
    for text, read in ((line, line), (line + "a", line[:KEPT_OF_LONG_LINE] + "... (cut)")):
        data = gzip.compress(f"before\n{text}{end}".encode(), 1)
        assert readable(tmp_path, data) == f"before\n{read}\n"


def test_lines_after_a_very_long_one_are_kept(tmp_path: Path) -> None:
    data = gzip.compress(b"a" * (3 * LONGEST_LINE) + b"\nb\n", 1)
    assert readable(tmp_path, data).endswith("(cut)\nb\n")


@pytest.mark.parametrize("neighbour", [None, b"no gzip"], ids=["alone", "beside a broken object"])
@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("x" * (LONGEST_LINE - 200), True),
        ("😀" * (LONGEST_LINE // 4 - 100), True),
        ("x" * LONGEST_LINE, False),
        ("😀" * (LONGEST_LINE // 3), False),
        ("\x01" * (LONGEST_LINE // 3), False),
    ],
    ids=["long", "long of wide characters", "too long", "too wide", "too long once escaped"],
)
def test_a_long_line_is_judged_alike_whatever_lies_beside_it(
    lab: Lab, query: str, kept: bool, neighbour: bytes | None
) -> None:
    event = (
        '{"timestamp": "2026-01-01T00:00:00Z", "user_id": "u", "session_id": "s",'
        ' "event_type": "search", "search_query": "%s"}'
    )
    lab.deliver(gzip.compress(f"{event % query}\n{event % 'short'}\n".encode(), 1))
    if neighbour:
        lab.deliver(neighbour, minute=5)
    (built,) = lab.build()
    assert built.status == "published", built.error
    assert len(lab.rows()) == 1 + kept
    assert len(lab.quarantined()) == (not kept) + (neighbour is not None)


# --- Objects without line ends between them ---------------------------------------------------

A, B, C = '{"a": 1}', '{"b": {"c": "}{"}}', '{"c": [{"x": 1}, {"y": "},{"}]}'


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (A + B + C, [A, B, C]),
        (f"{A} {B}\t{C}", [A, B, C]),
        (f"{A},{B} , {C}", [A, B, C]),
        (f" {A}{B} ", [f" {A}", f"{B} "]),
        (A * 50, [A] * 50),
        (f"{A}{{bad{B}", [A, "{bad" + B]),
        (f"{A}{{bad}}{B}", [A, "{bad}", B]),
        (f'{{"x": bad}}{A}{B}', ['{"x": bad}', A, B]),
        (f'{A}{{"x": 1', [A, '{"x": 1']),
        (f"{A}x{B}{C}", [f"{A}x{B}", C]),
        (A, [A]),
        (B, [B]),
        (C, [C]),
        (A + "[]", [A + "[]"]),
        (f'{{"x": bad, "y": [{A}, {B}, {A}]}}', [f'{{"x": bad, "y": [{A}, {B}, {A}]}}']),
        ("}{", ["}{"]),
        ('{"a": "}{', ['{"a": "}{']),
    ],
)
def test_objects_that_follow_each_other_in_a_line_are_a_record_each(
    line: str, found: list[str]
) -> None:
    assert list(records(io.StringIO(line), array=False)) == found
    assert is_joined(line) == (len(found) > 1)
    assert not any(map(is_joined, found))
    text = f"{A}\n{line}\n\n{B}"
    assert list(records(io.StringIO(text), array=False)) == [A, *found, "", B]


def test_a_stream_of_objects_without_any_line_end_is_read_piece_by_piece() -> None:
    objects = [f'{{"n": {n}, "text": "{"x" * 1000}"}}' for n in range(5000)]
    read = records(io.StringIO("".join(objects) + f"\n{A}"), array=False)
    assert len("".join(objects)) > 2 * LONGEST_LINE
    with within(3):
        assert list(read) == [*objects, A]


def test_a_line_full_of_braces_takes_no_time() -> None:
    for part in ('{"', "}{", '{"a":[}', '{"a":"}'):
        with within(5):
            list(records(io.StringIO(part * 100_000), array=False))


# --- Arrays ---------------------------------------------------------------------------------

PRETTY = """[
  {
    "a": {"b": [1, {"c": null}]},
    "d": []
  },
  {
    "a": {}
  }
]
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[{"a":1},{"b":2}]', ['{"a":1}', '{"b":2}']),
        ('[{"a": 1}, {"b": 2}]', ['{"a": 1}', '{"b": 2}']),
        ('[\n{"a":1},\n{"b":2}\n]\n', ['{"a":1}', '{"b":2}']),
        ('[{"a":1}\n,{"b":2}\n]', ['{"a":1}', '{"b":2}']),
        (' \t\n [ {"a":1} ]', ['{"a":1}']),
        ('[{"a":1},]', ['{"a":1}']),
        ('[{"a":1} {"b":2}\n{"c":3}]', ['{"a":1}', '{"b":2}', '{"c":3}']),
        (
            PRETTY,
            ['{     "a": {"b": [1, {"c": null}]},     "d": []   }', '{     "a": {}   }'],
        ),
        ('[[{"a":1},{"b":2}],{"c":[[],[{}]]}]', ['[{"a":1},{"b":2}]', '{"c":[[],[{}]]}']),
        ('[{"a":"]}, {\\"b\\":"},{"c":"[,\\\\"}]', ['{"a":"]}, {\\"b\\":"}', '{"c":"[,\\\\"}']),
        ('[{"a":", {}, {"},{"b":"[{"}]', ['{"a":", {}, {"}', '{"b":"[{"}']),
        (
            '[1, -2.50, 1e5, "x", true, false, null, {}]',
            ["1", "-2.50", "1e5", '"x"', "true", "false", "null", "{}"],
        ),
        ('[{"a":1.10,"a":01e0}]', ['{"a":1.10,"a":01e0}']),
        ('[{"é":"\u2028\u00a0😀\\ud800"}]', ['{"é":"\u2028\u00a0😀\\ud800"}']),
        ("[]", []),
        (" [ \n ] \n", []),
    ],
)
def test_elements_are_delivered_one_a_line_in_their_own_spelling(
    text: str, found: list[str]
) -> None:
    assert elements(text) == found
    for size in (1, 2, 3, 7):
        with read_in_chunks(size):
            assert elements(text) == found


GOOD = ['{"a": 1}', '{"b": [{}, "]"]}', '{"c": ", {"}']
BAD = {
    "no quote": '{"x: 1, "y": 2}',
    "no closing quote": '{"x": "1, "y": 2}',
    "no brace": '{"x": 1',
    "no opening brace": '"x": 1}',
    "no value": '{"x": }',
    "truncated": '{"x": 1, "y',
    "truncated key": '{"x',
    "one brace": "{",
    "one brace too many": '{"x": {"y": 1}}}',
    "bare word": "word",
    "words": "no record at all",
    "half a number": "1.",
    "half a word": "tru",
    "single quotes": "{'x': 1}",
    "comment": '{"x": 1 /* one */}',
    "bad escape": '{"x": "\\x41"}',
    "tab in a text": '{"x": "\t"}',
    "nested, then bad": '{"x": {"y": [1, 2]}, z}',
}


def in_sight(bad: str, found: list[str]) -> bool:
    """Whether a text is in what is delivered, maybe in parts."""
    return bad.replace(" ", "").replace(",", "") in "".join(found).replace(" ", "").replace(",", "")


@pytest.mark.parametrize("place", [0, 1, 3], ids=["first", "middle", "last"])
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_one_bad_element_takes_no_other_along(bad: str, place: int) -> None:
    for between in (",", ", ", ",\n", "\n, "):
        text = f"[{between.join([*GOOD[:place], bad, *GOOD[place:]])}]"
        found = elements(text)
        assert [element for element in found if element in GOOD] == GOOD, text
        assert in_sight(bad, found), text
        for size in (1, 5):
            with read_in_chunks(size):
                assert elements(text) == found


@pytest.mark.parametrize(
    "text",
    [
        '[{"x": bad, "y": [1, {"z": 2}, {"z": 3}]}, {"a": 1}, {"b": 2}]',
        '[{"y": [{"z": 2}, {"z": 3}], "x": bad}, {"a": 1}, {"b": 2}]',
        '[{"y": [[{"z": 2}, {"z": 3}]\n] , "x": bad}, {"a": 1}, {"b": 2}]',
    ],
)
def test_the_end_of_an_array_in_a_bad_element_is_not_the_end_of_all(text: str) -> None:
    found = elements(text)
    assert found[-2:] == ['{"a": 1}', '{"b": 2}']
    assert "bad" in "".join(found)
    with read_in_chunks(1):
        assert elements(text) == found


def test_a_line_that_is_cut_does_not_take_the_next_along() -> None:
    assert elements('[\n{"a": 1, "b\n{"c": 2},\n{"d": 3}\n]') == [
        '{"a": 1, "b',
        '{"c": 2}',
        '{"d": 3}',
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[", []),
        ('[{"a":1}', ['{"a":1}']),
        ('[{"a":1},', ['{"a":1}']),
        ('[{"a":1}, {"b": ', ['{"a":1}', '{"b":']),
        ('[{"a":1}, {"b": "x, {}', ['{"a":1}', '{"b": "x', "{}"]),
        ('[{"a":1}, {"b": {"c": 1}', ['{"a":1}', '{"b": {"c": 1}']),
        ('[{"a":1}, 12', ['{"a":1}', "12"]),
        ('[{"a":1}, 12.', ['{"a":1}', "12."]),
        ("[word", ["word"]),
        ("[[1]", ["[1]"]),
    ],
)
def test_an_array_that_is_not_closed_is_told_as_a_line_of_its_own(
    text: str, found: list[str]
) -> None:
    assert elements(text) == [*found, UNCLOSED]
    with read_in_chunks(1):
        assert elements(text) == [*found, UNCLOSED]


def test_an_array_that_ends_within_an_inner_one_is_told_by_its_last_element() -> None:
    assert elements('[{"a":1}, {"b": [1, 2]') == ['{"a":1}', '{"b": [1, 2']


@pytest.mark.parametrize(
    ("after", "found"),
    [
        ("\n\n", []),
        (' {"b":2}', [' {"b":2}']),
        ('\n{"b":2}\n\nword\n', ['{"b":2}', "word"]),
        ('\n[{"b":2}]', ['[{"b":2}]']),
        ("\x00", ["\x00"]),
    ],
)
def test_what_follows_an_array_counts_as_lines(after: str, found: list[str]) -> None:
    assert elements(f'[{{"a":1}}]{after}') == ['{"a":1}', *found]
    with read_in_chunks(1):
        assert elements(f'[{{"a":1}}]{after}') == ['{"a":1}', *found]


@pytest.mark.parametrize("gzipped", [True, False])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "BOM"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=repr)
def test_an_array_is_made_readable_however_its_file_is_spelled(
    tmp_path: Path, end: str, mark: bytes, gzipped: bool
) -> None:
    data = mark + PRETTY.replace("\n", end).encode()
    if gzipped:
        data = gzip.compress(data)
    made = readable(tmp_path, data, gzipped=gzipped, array=True)
    assert [json.loads(line) for line in made.splitlines()] == json.loads(PRETTY)


def test_an_arrays_bytes_that_are_no_text_stay_in_sight(tmp_path: Path) -> None:
    data = b'[{"a": "\xff"}, {"b": 1}, {"c": "\x01"}, {"d": 1}]'
    made = readable(tmp_path, data, gzipped=False, array=True)
    assert made == '{"a": "\\xff"}\n{"b": 1}\n{"c": "\\x01"}\n{"d": 1}\n'


def test_bad_elements_side_by_side_are_one() -> None:
    """Where the second begins is nowhere to be seen."""
    assert elements('[{"a": x}, {"b": y}, {"c": 1}]') == ['{"a": x}, {"b": y}', '{"c": 1}']


def test_a_damaged_array_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"."):
        readable(tmp_path, gzip.compress(PRETTY.encode())[:-9], array=True)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
chunks = st.integers(1, 9) | st.just(CHUNK)


@settings(deadline=None)
@given(
    values=st.lists(json_values, max_size=6),
    indent=st.none() | st.integers(0, 3),
    ascii_only=st.booleans(),
    size=chunks,
)
def test_any_array_gives_exactly_its_elements(
    values: list[Any], indent: int | None, ascii_only: bool, size: int
) -> None:
    with read_in_chunks(size):
        found = elements(json.dumps(values, indent=indent, ensure_ascii=ascii_only))
    assert [json.loads(element) for element in found] == values
    assert not any("\n" in element for element in found)


json_objects = st.dictionaries(st.text(max_size=4), json_values, max_size=3).map(json.dumps)


@settings(deadline=None)
@given(
    before=st.lists(json_objects, max_size=3),
    after=st.lists(json_objects, max_size=3),
    bad=st.sampled_from(sorted(BAD.values())),
    between=st.sampled_from([",", ", ", ",\n  ", "\n,"]),
    size=chunks,
)
def test_a_bad_element_among_any_others_takes_none_along(
    before: list[str], after: list[str], bad: str, between: str, size: int
) -> None:
    with read_in_chunks(size):
        found = elements(f"[{between.join([*before, bad, *after])}]")
    assert found[: len(before)] == before
    assert found[len(found) - len(after) :] == after
    assert in_sight(bad, found)


@settings(deadline=None)
@given(text=st.text('[]{},":x1\\ \n', max_size=40), size=chunks)
def test_no_text_is_lost_or_made_up_whatever_it_is(text: str, size: int) -> None:
    """But for the brackets of the array itself, and what may lie between elements."""
    with read_in_chunks(size):
        found = elements(f"[{text}")

    def essence(text: str) -> str:
        return "".join(c for c in text if c not in "[], \n")

    assert essence("".join(found).removesuffix(UNCLOSED)) == essence(text)


@pytest.mark.parametrize(
    "element",
    [
        '{"a": "' + "x" * LONGEST_LINE + '"}',
        '{"a": "' + "é" * (LONGEST_LINE // 2) + '"}',
        '{"a": [' + '{"b": 1}, ' * (LONGEST_LINE // 10) + '{"b": 1}]}',
        '{"a": bad' + "x" * LONGEST_LINE + "}",
        "x" * (LONGEST_LINE + 1),
    ],
    ids=["text", "wide text", "objects", "bad", "word"],
)
def test_an_element_that_is_too_long_is_cut_and_counts_as_one(element: str) -> None:
    found = elements(f'[{{"a": 1}}, {element}, {{"b": 2}}]')
    assert found == ['{"a": 1}', element[:KEPT_OF_LONG_LINE] + CUT, '{"b": 2}']


def test_the_longest_element_is_kept() -> None:
    longest = '{"a": "' + "x" * (LONGEST_LINE - 9) + '"}'
    assert elements(f'[{longest}, {{"b": 2}}]') == [longest, '{"b": 2}']


def test_an_element_or_line_of_fifty_megabytes_is_cut_soon() -> None:
    long = '{"a": "' + "x" * 50_000_000 + '"}'
    cut = long[:KEPT_OF_LONG_LINE] + CUT
    with within(seconds=5):
        assert elements(f'[{long}, {{"b": 2}}]') == [cut, '{"b": 2}']
    with within(seconds=5):
        assert list(records(io.StringIO(f'{long}\n{{"b": 2}}'), array=False)) == [cut, '{"b": 2}']


def test_an_array_with_many_bad_elements_is_read_about_as_fast_as_a_good_one() -> None:
    good = json.dumps({"user_id": "u_1", "signup_date": "2026-01-01", "country": "IN"})
    with within(seconds=3):
        found = elements(f"[{','.join([good, good[:-1]] * 20_000)}]")
    assert found == [good, good[:-1]] * 20_000


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '[{"a":' * 50_000,
        '[{"a": 1}, ' + "[" * 100_000 + ', {"b": 2}]',
        "[x" + ",{" * 20_000,
        "[x" + "\n" * 200_000,
    ],
    ids=["open", "closed", "objects", "among good ones", "beginnings", "blank lines"],
)
def test_deep_nesting_is_a_bad_element_like_any_other(text: str) -> None:
    with within(seconds=5):
        found = elements(text)
    assert 1 <= len(found) <= 3
    if '{"b": 2}' in text:
        assert (found[0], found[-1]) == ('{"a": 1}', '{"b": 2}')


def test_numbers_that_python_would_not_convert_are_numbers() -> None:
    element = '{"a": ' + "9" * 5_000 + "}"
    assert elements(f'[{element}, {{"b": 2}}]') == [element, '{"b": 2}']


@pytest.mark.parametrize(
    "text", ["{\n;]", "{]", '{"a": 1}\n]', "]", "]]]", '{"a": 1} ] {"b": 2}', "{[,]"]
)
def test_objects_in_any_layout_end_whatever_brackets_are_among_them(text: str) -> None:
    found = list(islice(text_module.elements(io.StringIO(text)), 100))
    assert len(found) < 10
    assert "".join("".join(found).split()) == "".join(text.split())
