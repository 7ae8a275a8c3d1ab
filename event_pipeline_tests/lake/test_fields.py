"""A line's fields, read exactly: what is one JSON object, and each value as text."""

import json
import random
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_pipeline.lake.fields import DEEPEST, EXACT_DIGITS, MAX_DIGITS, Fields, read_fields
from event_pipeline_tests import oracle


def shown(raw: str) -> str:
    """A raw value as it is shown in a test's name."""
    return raw if len(raw) <= 40 else f"{raw[:20]}...{len(raw)}"


def value(raw: str) -> str | None:
    """The text of a field's raw JSON value."""
    read = read_fields(f'{{"a": {raw}}}', ["a"])
    assert read is not None
    return read.values[0]


@pytest.mark.parametrize(
    ("line", "values", "unknown"),
    [
        ("{}", [None, None], []),
        ('{"a": "1", "b": "2"}', ["1", "2"], []),
        ('{"b": "2", "a": "1"}', ["1", "2"], []),
        ('{"b":"2"}', [None, "2"], []),
        ('{"a": null, "b": "null"}', [None, "null"], []),
        (' \t{ "a"\t:\t"1" ,"b" : "2" }\t ', ["1", "2"], []),
        ('\r\n{"a":\n"1"}\r', ["1", None], []),
        ('{"\\u0061": "1"}', ["1", None], []),
        ('{"A": "1", " a": "2", "a ": "3"}', [None, None], ["A", " a", "a "]),
        ('{"y": 1, "a": "1", "x": {"b": 2}, "": null}', ["1", None], ["y", "x", ""]),
        ('{"a\\"b": 1, "it\'s": 1, "é☃😀\\u2028\\u0000": 1}', [None] * 2,
         ['a"b', "it's", "é☃😀\u2028\0"]),
        ('{"a": {"b": "2", "b": "3"}}', ['{"b":"2","b":"3"}', None], []),
    ],
)  # fmt: skip
def test_fields_are_found_by_their_names_and_others_are_told_in_order(
    line: str, values: list[str | None], unknown: list[str]
) -> None:
    assert read_fields(line, ("a", "b")) == Fields(values, unknown)


def test_values_come_in_the_order_in_which_they_are_asked_for() -> None:
    line = '{"a": 1, "b": 2, "c": 3}'
    assert read_fields(line, ["c", "a"]) == Fields(["3", "1"], ["b"])
    assert read_fields(line, []) == Fields([], ["a", "b", "c"])


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ('""', ""),
        ('" a "', " a "),
        ('"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\/\b\f\n\r\t'),
        ('"\\u0000\\u001f\\u00e9\\u2603"', "\0\x1fé☃"),
        ('"\x7f\x85\u2028é☃😀"', "\x7f\x85\u2028é☃😀"),
        ('"\\ud83d\\ude00\\uD83D\\uDE00"', "😀😀"),
        ('"\\\\ud83d"', "\\ud83d"),
        ('"NaN"', "NaN"),
        ('"1.50"', "1.50"),
        ('"1e2"', "1e2"),
        ('"{\\"a\\": [1, 2]}"', '{"a": [1, 2]}'),
        ("true", "true"),
        ("false", "false"),
        ("null", None),
        ("[]", "[]"),
        ("{}", "{}"),
        ("[ 1 , [ ] , { } ]", "[1,[],{}]"),
        ('{ "b" : [ true , false , null ] , "a" : "c d" }', '{"b":[true,false,null],"a":"c d"}'),
        ('["1", 1, 1.0, 1.50, 1e2, 1E+2, -0, 0.10]', '["1",1,1.0,1.50,1e2,1E+2,-0,0.10]'),
        (f"[{'9' * 5_000}, 1e{'9' * 5_000}]", f"[{'9' * 5_000},1e{'9' * 5_000}]"),
        ('["\\u00e9\\u2028\\ud83d\\ude00", "\\/"]', '["é\u2028😀","/"]'),
        ('["\\"\\\\\\b\\f\\n\\r\\t\\u0000"]', '["\\"\\\\\\b\\f\\n\\r\\t\\u0000"]'),
        ('{"\\u0061\\"": {"\\n": 1}}', '{"a\\"":{"\\n":1}}'),
        ('{"b": 1, "b": 1}', '{"b":1,"b":1}'),
    ],
)
def test_a_text_is_itself_and_what_is_nested_is_compact_json(raw: str, text: str | None) -> None:
    assert value(raw) == text


@pytest.mark.parametrize(
    "line",
    [
        "", " ", "word", "17", "-1.5", "null", "true", '"a"', '"{}"', "[]", '[{"a": 1}]', "NaN",
        "{", "}", '{"a"', '{"a":', '{"a": 1', '{"a": }', '{"a" 1}', '{"a": 1 "b": 2}', "{1: 2}",
        "{null: 1}", "{a: 1}", "{'a': 1}", '{"a": \'1\'}', '{"a": 1}}', "{}{}", "{} x", "{},",
        "{}\0", '{"a": 1,}', '{"a": 1 , }', "{,}", '{,"a": 1}', '{"a": 1,, "b": 2}', '{"a": [1,]}',
        '{"a": {"b": 1,}}', '{"x": [[],]}',
        '{"a": NaN}', '{"a": Infinity}', '{"a": -Infinity}', '{"x": NaN}', '{"x": [-Infinity]}',
        '{"a": nan}', '{"a": inf}', '{"a": -nan}', '{"a": True}', '{"a": None}', '{"a": nul}',
        '{"a": +1}', '{"a": 01}', '{"a": -01}', '{"a": 00}', '{"a": .5}', '{"a": 5.}', '{"a": -}',
        '{"a": 1e}', '{"a": 1e+}', '{"a": 1.e2}', '{"a": 1e2.5}', '{"a": 0x10}', '{"a": 1_000}',
        '{"a": 1 2}', '{"a": ٣}', '{"a": 1,5}',
        '{"a": "\t"}', '{"a": "\0"}', '{"a": "\x1f"}', '{"a": "\n"}', '{"a\t": 1}',
        '{"a": "\\x41"}', '{"a": "\\u00e"}', '{"a": "\\u00eg"}', '{"a": "\\"}', '{"a": "b}',
        '{"a": "\\ud83d"}', '{"a": "\\ude00"}', '{"a": "\\ude00\\ud83d"}', '{"a": "\\ud83d\\n"}',
        '{"a": "\\ud83d\\ud83d\\ude00"}', '{"a": ["\\ud83d"]}', '{"a": {"\\ud83d": 1}}',
        '{"\\ud83d": 1}', '{"x": "\\ud83d"}', '{"x": [{"y": "\\ude00"}]}',
        '{"a": 1} // one', '{"a": /* one */ 1}', "# one\n{}", "/**/{}",
        "\ufeff{}", "{}\ufeff", "\u00a0{}", "{}\u00a0", "{\u00a0}", "\x0b{}", "{}\x0c", "\x1e{}",
        '{"a": 1, "a": 1}', '{"a": 1, "b": 2, "a": null}', '{"a": null, "a": null}',
        '{"x": 1, "x": 2}', '{"a": 1, "\\u0061": 1}', '{"": 1, "": 1}', '{"x": [], "x": {}}',
    ],
)  # fmt: skip
def test_what_is_not_one_object_that_names_each_field_once_is_refused(line: str) -> None:
    assert read_fields(line, ("a", "b")) is None
    assert oracle.read(line) is None


# --- Nesting --------------------------------------------------------------------------------


def arrays(depth: int) -> str:
    """Arrays in one another."""
    return "[" * depth + "]" * depth


def objects(depth: int) -> str:
    """Objects in one another."""
    return '{"a":' * depth + "1" + "}" * depth


def both(depth: int) -> str:
    """Arrays and objects in one another, as many of each."""
    return '[{"a":' * (depth // 2) + (arrays(depth % 2) or "1") + "}]" * (depth // 2)


nestings = pytest.mark.parametrize("nested", [arrays, objects, both])


@nestings
@pytest.mark.parametrize("depth", [99, 100, 101, 102])
def test_a_line_is_nested_two_hundred_deep_at_most(
    nested: Callable[[int], str], depth: int
) -> None:
    """The line's own brace is the first, and neither what is asked for nor a text counts."""
    raw = nested(depth - 1)
    wide = f"[{', '.join([arrays(1), objects(1)] * 300)}]"
    for more in ("", ', "b": "\\u00e9"', f', "b": {wide}', ', "b": "[{"', ', "b": "]}\\"]}"'):
        read = read_fields(f'{{"a": {raw}{more}}}', ["a"])
        assert (None if read is None else read.values) == ([raw] if depth <= 100 else None)
        read = read_fields(f'{{"x": {raw}{more}}}', ["a"])
        assert (None if read is None else read.values) == ([None] if depth <= 100 else None)


@nestings
@pytest.mark.parametrize("depth", [400, 1_000, 100_000])
def test_deep_nesting_is_refused_however_deep_it_is(
    nested: Callable[[int], str], depth: int
) -> None:
    for line in (f'{{"a": {nested(depth)}}}', f'{{"b": "\\u00e9", "x": {nested(depth)}}}'):
        assert read_fields(line, ["a"]) is None
        assert read_fields(line[: depth + 7], ["a"]) is None


@nestings
def test_the_deepest_line_is_read_from_deep_within_a_program(
    nested: Callable[[int], str],
) -> None:
    def deeper(frames: int) -> Fields | None:
        if frames:
            return deeper(frames - 1)
        return read_fields(f'{{"a": {nested(99)}, "b": "\\u00e9"}}', ["b"])

    assert deeper(300) == Fields(["é"], ["a"])


@pytest.mark.parametrize(
    "text",
    ["[" * 500, "{" * 500, "]" * 500, '[\\"' * 500, "\\\\", "[{" * 500 + "\\\\", '\\\\\\"[' * 500],
    ids=["[", "{", "]", "quotes", "backslash", "backslash at the end", "both"],
)
def test_brackets_within_texts_are_no_nesting(text: str) -> None:
    read = read_fields(f'{{"a": "{text}", "{text}": [["{text}"]], "b": {arrays(99)}}}', ["a", "b"])
    assert read == Fields([json.loads(f'"{text}"'), arrays(99)], [json.loads(f'"{text}"')])
    assert read_fields(f'{{"a": "{text}", "b": {arrays(100)}}}', ["b"]) is None


def test_brackets_side_by_side_are_no_nesting() -> None:
    raw = f"[{','.join([arrays(50), objects(50)] * 500)}]"
    assert value(raw) == raw


@pytest.mark.parametrize(
    "line",
    [
        '{"a": "' + '\\"' * 20_000 + "[" * 101,
        '{"a": ' + '"[' * 20_000,
        '{"a": ' + "[" * 101 + '"\\' * 20_000,
        '{"a": "' + "\\" * 40_001 + '"' + "[" * 101,
    ],
    ids=["escaped quotes", "quotes", "quotes and backslashes", "backslashes"],
)
def test_a_text_without_an_end_is_refused_soon(line: str) -> None:
    before = time.process_time()
    assert read_fields(line, ["a"]) is None
    assert time.process_time() - before < 1


# --- Numbers --------------------------------------------------------------------------------

LONG = "1234567890" * 500


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        *((same, same) for same in (
            "0", "-0", "7", "-8", "1.5", "1.50", "0.10", "-0.0", "0.000", "100.00", "-12.340",
            "9007199254740993", "18446744073709551616", "123456789012345", "1234567890123456789",
            "0.123456789012345", "123456789.012345", "0.000000000000123456789012345", LONG,
            f"-{LONG}",
        )),
        ("1e2", "100"),
        ("1E2", "100"),
        ("1e+2", "100"),
        ("1e002", "100"),
        ("1e+00000002", "100"),
        (f"1e-{'0' * 5_000}2", "0.01"),
        ("-1e2", "-100"),
        ("1e0", "1"),
        ("1E-0", "1"),
        ("1.5e0", "1.5"),
        ("1.50e0", "1.50"),
        ("1.50e1", "15.0"),
        ("1.50e2", "150"),
        ("1.50e3", "1500"),
        ("1e-2", "0.01"),
        ("-15e-1", "-1.5"),
        ("150e-1", "15.0"),
        ("0e5", "0"),
        ("-0e-2", "-0.00"),
        ("0.000e2", "0.0"),
        ("1e40", f"1{'0' * 40}"),
        ("1E+40", f"1{'0' * 40}"),
        ("-1.5e40", f"-15{'0' * 39}"),
        ("1e-40", f"0.{'0' * 39}1"),
        ("1.5e-40", f"0.{'0' * 39}15"),
        ("123456789012345e40", f"123456789012345{'0' * 40}"),
        ("123456789012345e-40", f"0.{'0' * 25}123456789012345"),
    ],
    ids=shown,
)  # fmt: skip
def test_a_number_is_in_digits_as_it_was_spelled(raw: str, text: str) -> None:
    assert value(raw) == text


@pytest.mark.parametrize(
    "raw",
    [
        *("1e41", "1E+41", "-1.50e41", "1e-41", "1e400", "-1E400", "1e999999999"),
        *("1e99999999999999999999", f"1e{LONG}", f"-1.5E+{LONG}"),
    ],
    ids=shown,
)
def test_a_number_beyond_all_reason_stays_as_it_is(raw: str) -> None:
    assert value(raw) == raw


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("0.1000000000000000055511151231257827", "0.1"),
        ("0.1234567890123456", "0.1234567890123456"),
        ("0.12345678901234567", "0.12345678901234566"),
        ("-0.12345678901234567", "-0.12345678901234566"),
        ("1234567890123456.5", "1234567890123456.5"),
        ("12345678901234567.5", "12345678901234568"),
        ("9007199254740993.0", "9007199254740992.0"),
        ("9007199254740993e0", "9007199254740992.0"),
        ("9007199254740991e-1", "900719925474099.1"),
        ("1.00000000000000000", "1.0"),
        ("1.0000000000000000000001", "1.0"),
        ("100000000000000000e-15", "100.0"),
        ("0.99499999999999999999", "0.995"),
        ("99999999.994999999999999999", "99999999.995"),
        ("0.00000123456789012345678", "0.0000012345678901234567"),
        ("123456789012345678e-40", f"0.{'0' * 22}12345678901234567"),
        ("12345678901234567e10", "123456789012345680000000000"),
        (f"1.{LONG}", "1.1234567890123457"),
        (f"0.{LONG}", "0.12345678901234568"),
        (f"{LONG}e-4999", "1.2345678901234567"),
    ],
    ids=shown,
)
def test_a_number_with_a_fraction_of_many_digits_is_the_nearest_double(raw: str, text: str) -> None:
    """It is spelled in the fewest digits that mean this double."""
    assert value(raw) == text
    assert float(text) == float(raw)


@pytest.mark.parametrize(
    "raw",
    [
        *("0e41", "0.0e-41", "1e-400", "1e-99999999999999999999", f"1e-{LONG}"),
        *(f"0.{'0' * 5_000}", f"0.{'0' * 5_000}1", f"0.{'0' * 50}12345678901234567"),
        *("12345678901234567e30", "-1.2345678901234567e41", "1.2345678901234567e-41"),
        *("1.2345678901234567e400", "1.2345678901234567e-400", f"1.2345678901234567e{LONG}"),
        *(f"{'9' * 400}.5", f"-{'9' * 400}.5", f"{LONG}e10"),
    ],
    ids=shown,
)
def test_a_number_that_no_column_holds_is_in_digits_or_as_it_was(raw: str) -> None:
    """Not in Python's own spelling, such as `inf` or with another exponent."""
    read = value(raw)
    assert read is not None
    assert read == raw or set(read) <= set("-.0123456789")


# --- Any line -------------------------------------------------------------------------------

NAMES = ("a", "b", "user_id")
names = st.sampled_from([*NAMES, "x", "y", "A", "", "é", 'a"b', "user_id\0"])


def spelled(sign: str, whole: str, fraction: str, exponent: str) -> str:
    """A number of these parts."""
    return sign + (whole.lstrip("0") or "0") + (fraction and f".{fraction}") + exponent


def exponents(most: int) -> st.SearchStrategy[str]:
    """Exponents of up to `most`, in all spellings, or none."""
    return st.just("") | st.builds(
        lambda mark, n, width: f"{mark}{n:0{width}d}",
        st.sampled_from("eE"), st.integers(-most, most), st.integers(1, 4),
    ) | st.integers(0, most).map("e+{}".format)  # fmt: skip


signs = st.sampled_from(["", "-"])
short_numbers = st.builds(
    spelled,
    signs,
    st.text("0123456789", max_size=8),
    st.text("0123456789", max_size=EXACT_DIGITS - 8),
    exponents(MAX_DIGITS),
)
# As doubles they are of no more digits than have a place before or after the point.
long_numbers = st.builds(
    spelled,
    signs,
    st.text("0123456789", max_size=24),
    st.text("0123456789", max_size=24),
    exponents(MAX_DIGITS - 26),
)
numbers = short_numbers | long_numbers | st.sampled_from(["1e41", "-1.50E300", f"1e{LONG}"[:99]])


@given(raw=short_numbers)
def test_a_number_of_few_digits_is_exact(raw: str) -> None:
    text = value(raw)
    assert text is not None
    assert set(text) <= set("-.0123456789")
    assert Decimal(text) == Decimal(raw)
    assert text == raw or "e" in raw.lower()


@given(raw=long_numbers)
def test_a_number_of_any_digits_is_the_same_double(raw: str) -> None:
    text = value(raw)
    assert text is not None
    assert set(text) <= set("-.0123456789")
    assert float(text) == float(raw)
    if raw.lstrip("-").isdigit():
        assert text == raw


texts = st.text(max_size=8) | st.sampled_from(["[", "}", '{"a": [', "1e2", "\\", '"', "\\ud83d"])


@st.composite
def raw_texts(draw: st.DrawFn, found: st.SearchStrategy[str] = texts) -> str:
    """A text as JSON spells it, with escapes or without."""
    text = json.dumps(draw(found), ensure_ascii=draw(st.booleans()))
    # No hexadecimal digit and no letter of an escape.
    return text.replace("x", "\\u0078").replace("s", "\\u0073") if draw(st.booleans()) else text


blanks = st.sampled_from(["", "", " ", "\t", "  "])


def joined(start: str, parts: Sequence[str], end: str, blank: str) -> str:
    """Parts between brackets."""
    return start + blank + f"{blank},{blank}".join(parts) + blank + end


def pair(name: str, raw: str, blank: str) -> str:
    """A name and its value."""
    return f"{name}{blank}:{blank}{raw}"


def raw_arrays(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Arrays of raw values."""
    return st.builds(joined, st.just("["), st.lists(inner, max_size=3), st.just("]"), blanks)


def raw_objects(inner: st.SearchStrategy[str], most: int = 3) -> st.SearchStrategy[str]:
    """Objects of raw values, which may name a field twice."""
    pairs = st.lists(st.builds(pair, raw_texts(names), inner, blanks), max_size=most)
    return st.builds(joined, st.just("{"), pairs, st.just("}"), blanks)


raw_values = st.recursive(
    st.sampled_from(["null", "true", "false"]) | numbers | raw_texts(),
    lambda inner: raw_arrays(inner) | raw_objects(inner),
    max_leaves=6,
)
lines = st.builds("{}{}{}".format, blanks, raw_objects(raw_values, most=5), blanks)
SPOILING = (*',"\\{}[]:0-.e\t', "", "NaN", "\\ud83d")


@settings(deadline=None)
@given(line=lines)
def test_any_object_is_read_as_an_independent_reader_does(line: str) -> None:
    expected, read = oracle.read(line), read_fields(line, NAMES)
    if expected is None:
        assert read is None
    else:
        others = [name for name in expected if name not in NAMES]
        assert read == Fields([expected.get(name) for name in NAMES], others)


@settings(deadline=None)
@given(line=lines, data=st.data())
def test_any_text_is_refused_where_an_independent_reader_does(
    line: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(start, min(start + 2, len(line))))
    spoiled = line[:start] + data.draw(st.sampled_from(SPOILING)) + line[end:]
    expected, read = oracle.read(spoiled), read_fields(spoiled, NAMES)
    if expected is None:
        assert read is None
    else:
        assert read is not None
        assert read.values == [expected.get(name) for name in NAMES]


@settings(deadline=None)
@given(raw=raw_arrays(raw_values) | raw_objects(raw_values))
def test_a_nested_value_means_the_same_and_is_as_compact_as_can_be(raw: str) -> None:
    def pairs(text: str) -> Any:
        return json.loads(text, object_pairs_hook=list, parse_float=str, parse_int=str)

    text = value(raw)
    assert text is not None
    assert pairs(text) == pairs(raw)
    assert value(text) == text
    assert len(text) <= len(raw)


@settings(deadline=None, max_examples=30)
@given(depth=st.integers(DEEPEST - 3, DEEPEST + 3), seed=st.integers(0, 2**32))
def test_depth_is_that_of_the_deepest_value_whatever_it_is_made_of(depth: int, seed: int) -> None:
    kinds = ('{"a": ', '{"b": "}", "a": ', '{"[": 0, "a": ', "[", '["[", ', '["{", "\\"", ')
    starts = random.Random(seed).choices(kinds, k=depth - 1)
    ends = ["}" if start[0] == "{" else "]" for start in reversed(starts)]
    read = read_fields(f'{{"x": {"".join(starts)}1{"".join(ends)}}}', NAMES)
    assert (read is None) == (depth > DEEPEST)
