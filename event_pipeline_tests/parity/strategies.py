"""Lines that engines may read differently: JSON spelled by hand, so that its spelling varies."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from hypothesis import strategies as st

from event_pipeline.contracts import (
    COMMERCE_EVENTS,
    COMMERCE_ORDERS,
    COMMERCE_USERS,
    EVENTS,
    Contract,
    SilverContract,
)
from event_pipeline.lake.fields import DEEPEST
from event_pipeline_tests.conftest import IDS, NO_IDS

# --- Values, as they are spelled in JSON -----------------------------------------------------

ANYTHING = (
    "null", "true", "false", "{}", "[]", "[[]]", "[null]", '["a", 1]', '{"a": null}',
    '{ "b" : [ 1.50 , 1e2 , -0 ] , "a" : { } }', '{"a": 1, "a": 2}', '["\\u00e9"]', '[ "x" ]',
    '{"\\u0061\\n": "\\/"}', '[0.10, 1E+2, 12345678901234567890123]',
    "NaN", "Infinity", "-Infinity", "nan", "Nul", "None", "True", "undefined", "", "'a'", "a",
    '[NaN]', '{"a": Infinity}', "[1,]", '{"a":1,}', "[", "{", '"', '"a', "/**/1", "1//", "\\u0031",
)  # fmt: skip
NUMBERS = (
    "0", "-0", "0.0", "-0.0", "0e0", "-0e5", "0e400", "1", "-1", "5", "1.0", "1.50", "-1.50",
    "7.00", "2.5", "3.5", "-2.5", "0.5", "1.005", "1.015", "1.045", "2.675", "0.005", "-0.005",
    "0.004", "0.0049999999999999999", "1.004999999999999999", "0.30000000000000004", "0.1", "0.01",
    "0.001", "0.0001", "0.00001", "1e2", "1E2", "1e+2", "1E-2", "1.5e1", "2500e-3", "1e-7", "-1e-7",
    "1E22", "1e21", "1e16", "1e15", "1e7", "1.0E7", "1e300", "-1e300", "1e308",
    "1.7976931348623157e308", "1e309", "1e400", "-1e400", "5e-324", "1e-400", "2.0E-3", "2e-3",
    "1e40", "1e41", "1e-40", "1e-41", "1e99999999999999999999", "1e-99999999999999999999",
    "0e99999999999999999999", "100000000e-8", "99999999", "99999999.0", "99999999.4", "99999999.5",
    "99999999.99", "99999999.994", "99999999.995", "100000000", "-99999999.99", "-100000000",
    "9999999.99", "10000000.01", "12345678.9", "12345678.91", "123456789.01", "9999999999999.99",
    "9999999999999.994", "9999999999999.995", "10000000000000", "99999999999999.99",
    "123456789012345.67", "1234567890123.45", "4503599627370497.5", "2147483647", "2147483648",
    "4294967296", "9007199254740993", "9223372036854775807", "9223372036854775808",
    "-9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616",
    "12345678901234567890123", "1234567890.1234567890", "0.12345678901234567", "0.1234567890123456",
    "0.123456789012345", "-0.123456789012345", "1.00000000000000000000", "10.000000000000000000",
    "1.5000000000000000000000e1", "0.000000000000000000001",
    "1" * 39, "1" * 50, "1" * 5_000, "0." + "3" * 50, "0." + "3" * 5_000, "1." + "0" * 60,
    "1e-00002", "1e00002", "1e+00002", "1E0000000000000000001",
    "1e-0000000000000000000000000000000001", "0." + "0" * 50 + "1e51", "0." + "0" * 500 + "1e501",
    "1" + "0" * 50 + "e-50", "5" + "0" * 500 + "e-500", "0e-400", "-0e400", "0.0e-99", "1e-323",
    "1e-324", "-1e-324", "2.4703282292062327e-324", "2.4703282292062328e-324", "1e-45", "1e39",
    "123456789012345678e-16", "1234567890123456e-15", "0.1e1", "10e-1", "1.005e0", "1005e-3",
    "10.05E-1", "99999999995e-3", "99999999994e-3", "-5.25", "4.35", "8.345", "299.99", "125.15",
    "29999.99",
)  # fmt: skip
NO_NUMBERS = (
    "007", "00", "-01", "+5", ".5", "5.", "-.5", "-", "--5", "1e", "1e+", "1.e2", "1e2.5", "0x10",
    "1d", "1f", "1L", "1_000", "1,000", "1 000", "1 2", "٣", "\uff15", "5\u00a0", "Inf", "INF",
    "-inf", "1e5x",
)  # fmt: skip
NUMBERS_AS_TEXTS = (
    " 5 ", " 5", "5 ", "\t5", "5\n", "5\x00", "\u00a05", "+5.25", "+ 5", "5 .0", "0" * 39 + "7",
    "0" * 40 + "7", "7." + "0" * 40, "7." + "0" * 41, "." + "0" * 40, "." + "0" * 41,
)  # fmt: skip
# Texts as they are, without quotes and escapes.
TEXTS = (
    "", " ", "   ", "\t", "\n", "\r", "\x00", "\x01", "\x1f", "\x7f", "\x85", "\u00a0", "\u2003",
    "\u2028", "\u3000", "\u200b", "\ufeff", "a", " a", "a ", " a ", "\ta", "a\n", "a\r\n", "a\x00b",
    "a\x00", "\u00a0a", "a\u00a0", "\u3000a\u2028", "\ufeffa", "é", "e\u0301", "ß", "İ", "\u0131",
    "\u017f", "ﬁ", "K", "😀", "\U0010ffff", "\uffff", "\ue000", "☃", "玩具", "Ω", "null", "NULL",
    "nan", "NaN", "inf", "Infinity", "-Infinity", "true", "True", "1", "01", "1.0", "1.50", "1e2",
    "1E2", "-0", "0", "-1", "+1", ".5", "5.", "1:", ":", "/", "0/", "-", "-.", "0x10",
    "12345678901234567890123", "[", "[1]", " [1]", "{", "{}", ' {"a": 1}', "]", "}", '"', '"a"',
    "''", "a'b", "\\", "\\\\", "\\u0041", "\\ud83d", "\\x41", "\\xff", "a,b", "a;b", "a|b", "a/b",
    *NO_IDS, *IDS, "//", "/*", "#", "%", "%20", "$", "${a}", "{{", "*", "! ", "!", "a: n", ": N",
    ": -I", ", }", ",}", "a b", "x" * 1_000, "é" * 1_000,
)  # fmt: skip
# Spelled with escapes that a writer need not use, or must not.
ESCAPED = (
    '"\\u00e9"', '"\\u0061"', '"\\u0020a"', '"a\\u0020"', '"\\ud83d\\ude00"', '"\\uD83D\\uDE00"',
    '"\\ud800"', '"\\udc00"', '"a\\ud800b"', '"\\ud83d\\ud83d\\ude00"', '"\\ude00\\ud83d"',
    '"\\ud83d\\n"', '"\\ud83d"', '"\\uDBFF\\uDFFF"', '"\\\\ud800"', '"\\\\\\ud800"', '"\\/"',
    '"a\\/b"', '"\\b\\f"', '"\\u0000"', '"\\u0001"', '"\\u001F"', '"\\u007f"', '"\\u2028"',
    '"\\uFEFF"', '"\\uffff"', '"\\ufffd"', '"\\x41"', '"\\a"', '"\\v"', '"\\0"', '"\\\'"',
    '"\\u00e"', '"\\u00eg"', '"\\U00e9"', '"\\u"', '"\\"', '"\\u+123"', '"\\u 123"', '"\\u-001"',
    '"a\tb"', '"a\x1fb"', '"\x7f"', '"\x0b"', '"\x0c"', '"\x1e"', '"\u2028"', '"\ufeff"',
    '"\ufffd"', '"?"', '"a" ', ' "a"', '\t"a"', '"a"\u00a0', '"a""b"', '"a" "b"', '"a", "b"',
    '"a":1', '"\\u0031"', '"\\u0031\\u002e5"', '"1\\u0000"',
)  # fmt: skip
TIMES = (
    "2026-01-01T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01 00:00:00", "2026-01-01 00:00:00Z",
    "2026-01-01  00:00:00", "2026-01-01T00:00:00z", "2026-01-01t00:00:00Z", "2026-01-01t00:00:00z",
    *(f"2026-01-01T10:20:30.{'1234567890'[:n]}Z" for n in range(11)),
    *(f"2026-01-01T10:20:30.{'9' * n}" for n in range(1, 11)),
    "2026-01-01T10:20:30.000000500Z", "2026-01-01T10:20:30.0000005Z", "2026-01-01T10:20:30,5Z",
    "1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.9999995Z",
    "1900-01-01T00:00:00.1234567Z",
    *(
        f"2026-01-01T00:00:00{offset}"
        for offset in (
            "+00:00", "-00:00", "+0000", "+00", "+05:30", "+0530", "+05", "-05", "-0800", "-14:00",
            "+14:00", "+14:59", "-14:59", "+15:00", "-15:00", "+18:00", "+19:00", "+5:30", "+5",
            "+530", "+05:3", "+05:60", "+05:30:00", "+053000", "+05:30Z", " +05:30", " Z", "ZZ",
            " UTC", "UTC", "UTC+1", "GMT", "[UTC]", "[Europe/Berlin]", " Europe/Berlin", "EST", "+",
            "-", "\u221205:00",
        )
    ),
    "2026-01-01T23:59:60Z", "2016-12-31T23:59:60Z", "2026-01-01T23:59:61Z", "2026-01-01T23:60:00Z",
    "2026-01-01T24:00:00Z", "2026-01-01T24:00:01Z", "2026-01-01T25:00:00Z", "2026-01-01T23:59:99Z",
    "2026-01-01T20:00:00Z", "2026-01-01T19:59:59Z", "2026-01-01T00:99:00Z",
    *(
        f"{day}T12:34:56.789Z"
        for day in (
            "0000-01-01", "0000-12-31", "0001-01-01", "0001-01-02", "0004-02-29", "0099-12-31",
            "0100-02-29", "0999-12-31", "1000-01-01", "1200-02-29", "1500-02-29", "1582-10-04",
            "1582-10-05", "1582-10-10", "1582-10-14", "1582-10-15", "1600-02-29", "1700-02-29",
            "1899-12-31", "1900-01-01", "1900-02-29", "1969-12-31", "1970-01-01", "2000-02-29",
            "2024-02-29", "2024-02-30", "2026-02-28", "2026-02-29", "2026-04-31", "2026-06-31",
            "2026-13-01", "2026-00-01", "2026-01-00", "2026-01-32", "2038-01-19", "2262-04-12",
            "9999-12-31", "10000-01-01", "99999-01-01", "-0001-01-01", "+2026-01-01", "26-01-01",
            "02026-01-01", "2026-1-1", "2026-001", "2026-W01-1",
        )
    ),
    "0000-12-31T23:59:59-00:01", "0000-12-31T23:00:00-01:00", "0000-12-31T23:59:59.999999-14:00",
    "0001-01-01T00:00:00+00:01", "0001-01-01T00:00:00+14:59", "0001-01-01T14:59:00+14:59",
    "0001-01-01T00:00:00-14:59", "0001-01-01T00:00:00.000001Z", "0000-01-01T00:00:00+14:59",
    "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59-00:01",
    "9999-12-31T23:59:59-14:59", "9999-12-31T23:59:59+14:59", "9999-12-31T23:59:59.999999999-14:59",
    "1582-10-15T00:00:00+14:00", "1582-10-04T23:59:59-14:00", "1900-01-01T00:00:00+05:53",
    "2026-03-29T02:30:00", "2026-10-25T02:30:00", "2024-02-29T00:00:00+01:00",
    "2026-01-01T00:00:00Z\n", "2026-01-01T00:00:00\n", "\n2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00Z\r", " 2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z ",
    "2026-01-01T00:00:00Z\x00", "\u00a02026-01-01T00:00:00Z", "2026-01-01T00:00:00Z\u2028",
    "2026-01-01\n00:00:00Z", "2026-01-01\u00a000:00:00Z", "2026-01-01", "2026-01-01T",
    "2026-01-01T00", "2026-01-01T00:00", "2026-01-01T00:00Z", "2026-01-01T0:00:00Z",
    "2026-01-01T00:00:0Z", "2026-01-01T000000Z", "20260101T000000Z", "20260101",
    "2026/01/01T00:00:00Z", "2026-01-01T00.00.00Z", "2026-01", "2026", "T00:00:00", "00:00:00",
    "01/01/2026 00:00:00", "1 Jan 2026 00:00:00", "Thu, 01 Jan 2026 00:00:00 GMT",
    "٢٠٢٦-01-01T00:00:00Z", "\uff12026-01-01T00:00:00Z", "2026-01-01T00:00:00.\uff15Z",
    "2026\u201101-01T00:00:00Z", "epoch", "now", "today", "tomorrow", "yesterday", "infinity",
    "-infinity", "1766000000", "1766000000000", "-1", "1766000000.5", "2026-01-01T00:00:00Z; DROP",
    "2026-01-01 BC", "2026-01-01T00:00:00 (BC)", "2026-01-01T00:00:00 AM",
)  # fmt: skip
DATES = (
    *dict.fromkeys(time[:10] for time in TIMES),
    *(f"2026-01-31{rest}" for rest in ("T", " ", "Z", "\n", "T\n", " x", "Tx", "\t", "\r", "\x00",
                                        "\u00a0", "+01:00", "t00:00:00", "T99:99:99", " 00:00:00")),
    "0001-01-01T00:00:00+14:00", "0000-12-31T23:59:59-14:00", "9999-12-31T23:59:59-14:00",
    "2026-1-31", "2026-01-3", "2026 01 31", "31-01-2026", "2026-02-29T00:00:00", "0000-02-29 ",
)  # fmt: skip
# Whose other case, or part, is an ASCII letter by some rule of Unicode's.
LETTERS = (
    "usd", "USD", " Inr ", "uSd", "u\u017fd", "U\u017fD", "\ufb01m", "ß", "ßa", "aß", "\u0131",
    "iii", "İİİ", "\u212aES", "\uff25UR", "eur\n", "EUR\t", "\u00a0EUR", "EUR\u00a0", "EU", "EURO",
    "E R", "€UR", "ÄÖÜ", "EUR,USD", "978", "E\u0301UR", "eUr\x00", "\x00EUR", "", "  ", "e\u200bur",
    "\u0395UR", "XXX", "aaa", "zzz",
)  # fmt: skip


def quoted(text: str) -> str:
    """A text as JSON, as Python's writer spells it; characters beyond ASCII as they are."""
    return json.dumps(text, ensure_ascii=False)


def cased(words: Sequence[str]) -> Iterator[str]:
    """Words in other cases, with blanks about them, or letters that look the same."""
    for word in words:
        yield from (word, word.upper(), word.title(), f" {word} ", f"  {word.upper()}", f"{word}\t")
        yield from (f"{word}\n", f"\u00a0{word}", f"{word}\x00", word.replace("_", " "), word[:-1])
        for letter, alike in (
            ("i", "İ"),
            ("i", "\u0131"),
            ("s", "\u017f"),
            ("a", "\u0430"),
            ("_", "\uff3f"),
        ):
            yield word.replace(letter, alike)


def _column(*parts: Sequence[str]) -> tuple[str, ...]:
    """Raw values, each once."""
    return tuple(dict.fromkeys(value for part in parts for value in part))


def _quoted(texts: Sequence[str]) -> list[str]:
    return [*map(quoted, texts), *(json.dumps(text) for text in texts if not text.isascii())]


TEXT = _column(ANYTHING, NUMBERS, NO_NUMBERS, _quoted(TEXTS), ESCAPED)
NUMBER = _column(TEXT, _quoted([*NUMBERS, *NO_NUMBERS, *NUMBERS_AS_TEXTS]))
TIME = _column(TEXT, _quoted(TIMES))
DATE = _column(TEXT, _quoted(DATES), _quoted(TIMES))
CURRENCY = _column(TEXT, _quoted(LETTERS))


def _word(*words: str) -> tuple[str, ...]:
    return _column(TEXT, _quoted(list(cased(words))))


# Every raw value to try in each field.
VALUES: dict[Contract, dict[str, tuple[str, ...]]] = {
    EVENTS: {
        "timestamp": TIME,
        "user_id": TEXT,
        "session_id": TEXT,
        "event_type": _word(
            "page_view", "add_to_cart", "remove_from_cart", "purchase", "search"
        ),
        "product_id": TEXT,
        "quantity": NUMBER,
        "price": NUMBER,
        "category": TEXT,
        "search_query": TEXT,
    },
    COMMERCE_USERS: {
        "user_id": TEXT,
        "signup_date": DATE,
        "country": TEXT,
        "device_type": TEXT,
        "marketing_source": TEXT,
    },
    COMMERCE_EVENTS: {
        "event_id": TEXT,
        "user_id": TEXT,
        "event_type": _word("product_view", "product_purchase"),
        "product_id": TEXT,
        "event_timestamp": TIME,
        "session_id": TEXT,
        "device_type": TEXT,
    },
    COMMERCE_ORDERS: {
        "order_id": TEXT,
        "user_id": TEXT,
        "product_id": TEXT,
        "order_amount": NUMBER,
        "currency": CURRENCY,
        "order_timestamp": TIME,
        "payment_status": _word("success", "failed", "in_progress"),
    },
}  # fmt: skip

# Good values, few of a key so that they often meet.
GOOD: dict[Contract, dict[str, tuple[str, ...]]] = {
    EVENTS: {
        "timestamp": (
            '"2026-01-01T10:00:00.718325+00:00"', '"2026-01-01T10:00:00Z"',
            '"2026-01-01 15:30:00+0530"', '"2025-12-31T23:59:59.9999999"',
        ),
        "user_id": ('"u_10000"', '"u_2"', '" u_2"', '"ü"', "7"),
        "session_id": ('"s_1"', '"s_2"', '"2026-01-01"'),
        "event_type": (
            '"page_view"', '"purchase"', '"purchase"', '"add_to_cart"', '"remove_from_cart"',
            '"search"', '" Purchase "',
        ),
        "product_id": ('"p_1001"', '"p_2"', "null", "1.50", '""'),
        "quantity": ("null", "1", "2", '"3"', "-1", "2.5", "1e1"),
        "price": ("null", "9.99", "299.9", '"5"', "10", "0.005", "-0.01", "1.10"),
        "category": ('"books"', '"toys"', "null", '"玩具"'),
        "search_query": ("null", '"a b"', '"\\u00e9"', '"é"', '"say \\"x\\""'),
    },
    COMMERCE_USERS: {
        "user_id": ('"u_1"', '"u_2"', '"u_3"', '" u_1 "', "4", '"4"', '"5.0"', "5.0", '"ü"'),
        "signup_date": (
            '"2026-01-01"', '"2026-01-01T10:00:00Z"', '"2025-12-31"', "null", '"0001-01-01"',
        ),
        "country": ('"IN"', '"US"', "null", '""', '"é"', '"\\u00e9"'),
        "device_type": ('"mobile"', '"PC"', "null"),
        "marketing_source": ('"ads"', "null", '"a/b"', '"a\\/b"', "1.50"),
    },
    COMMERCE_EVENTS: {
        "event_id": ('"e_1"', '"e_2"', '"e_3"', '" e_1"', "4", '"4"', "1e2", '"100"', '"ü"'),
        "user_id": ('"u_1"', "null", '""', '" u_1 "', "7"),
        "event_type": ('"product_view"', '"product_purchase"', '" PRODUCT_VIEW"'),
        "product_id": ('"p_1"', "null"),
        "event_timestamp": (
            '"2026-01-01T10:00:00Z"', '"2026-01-01 15:30:00+05:30"', '"2026-01-01T10:00:00.000001"',
            '"2025-12-31T00:00:00-0800"',
        ),
        "session_id": ('"s_1"', '"s_2"', "null", "1", '"1"'),
        "device_type": ('"mobile"', '"tablet"', "null"),
    },
    COMMERCE_ORDERS: {
        "order_id": ('"o_1"', '"o_2"', '"o_3"', '" o_1"', "4", '"4"', "1e2", '"100"', '"ü"'),
        "user_id": ('"u_1"', "null", '""', '" u_1 "', "7"),
        "product_id": ('"p_1"', "null"),
        "order_amount": ("10", "1e1", '"10.00"', "9.995", "29999.99", "-5", '" +10 "', "0.1"),
        "currency": ('"EUR"', '"eur"', '" USD "', '"INR"'),
        "order_timestamp": (
            '"2026-01-01T10:00:00Z"', '"2026-01-01 15:30:00+05:30"', '"2026-01-01T10:00:00.000001"',
        ),
        "payment_status": ('"success"', '" Failed"', '"in_progress"'),
    },
}  # fmt: skip
# A field of free text, by which lines are told apart.
MARKS: dict[Contract, str] = {
    EVENTS: "search_query",
    COMMERCE_USERS: "marketing_source",
    COMMERCE_EVENTS: "session_id",
    COMMERCE_ORDERS: "product_id",
}

# Of a dataset that is not named above: by the type that a field becomes.
_VALUES_BY_TYPE = {"date": DATE, "timestamp": TIME, "string": TEXT}
_GOOD_BY_TYPE = {
    "date": ('"2026-01-01"', '"2025-12-31"'),
    "timestamp": ('"2026-01-01T10:00:00Z"', '"2025-12-31T23:59:59Z"'),
    "string": ('"x_1"', '"x_2"', '"ü"'),
}


def _type(contract: SilverContract, name: str) -> str:
    """What a field becomes; a field that is no column, or not by its name, is mostly a time."""
    return contract.types.get(name, "timestamp")


def values_of(contract: SilverContract) -> dict[str, tuple[str, ...]]:
    """Every raw value to try in each field of a dataset."""
    types = {name: _type(contract, name) for name in contract.source}
    guessed = {name: _VALUES_BY_TYPE.get(kind, NUMBER) for name, kind in types.items()}
    return VALUES.get(contract, guessed)


def good_of(contract: SilverContract) -> dict[str, tuple[str, ...]]:
    """Good values of each field of a dataset. One with an enumeration must be named in GOOD."""
    types = {name: _type(contract, name) for name in contract.source}
    guessed = {name: _GOOD_BY_TYPE.get(kind, ("1", "2.50", '"3"')) for name, kind in types.items()}
    return GOOD.get(contract, guessed)


def mark_of(contract: SilverContract) -> str:
    """A field of free text of a dataset, by which lines are told apart."""
    ruled = {rule.rpartition("_")[0] for rule in contract.rules}
    texts = [n for n in contract.source if _type(contract, n) == "string" and n not in ruled]
    return MARKS.get(contract) or texts[-1]


# --- Lines -----------------------------------------------------------------------------------

Pairs = list[tuple[str, str]]

UNKNOWN: Pairs = [
    (name, value)
    for name, values in {
        '"more"': ("1", "null", '"x"', "{}", "[]", '{"a": {"b": [1]}}', "1.50", "1e400"),
        '"More"': ("1",),
        '""': ("1", "null"),
        '" "': ("1",),
        '"it\'s"': ("true",),
        '"a\\"b"': ("1",),
        '"\\u00e9"': ("1",),
        '"é"': ("2",),
        '"😀\\n\\u0000"': ("3",),
        '"\\ud83d"': ("1",),
        '"a.b"': ("1",),
        '"a`b"': ("1",),
        '"$"': ("1",),
        '"a\u2028"': ("1",),
        '"x"': (
            "NaN", "[NaN]", "[1,]", "01", '"\\ud800"', '["\\ud800"]', '"\\x"', '"\t"', "1" * 5_000,
        ),
        '"_line"': ("1",),
        '"_path"': ('"x"',),
        '"reasons"': ('"x"',),
        '"arrival_hour"': ('"2026-01-01"',),
        '"drop_date"': ('"2026-01-01"',),
    }.items()
    for value in values
]  # fmt: skip
AROUND = (
    "x", ",", ";", ":", "}", "]", "{}", " {}", ", {}", '{"a": 1}', "null", "1", '"', "//", "/**/",
    "#", "\\", "\u00a0", "\ufeff", "\u2003", "\u2028", "\x0b", "\x0c", "\x1c", "\x1e", "\x7f",
    "\x85", " ", "\t", "  \t ", "\\n", "&", "(", "- ", "\x02",
)  # fmt: skip
WHOLE = (
    "", " ", "\t \t", "{}", "{ }", "[]", "[{}]", '["a"]', "null", "true", "17", "-1.5e3", '"a"',
    '"{}"', "NaN", "word", "{", "}", "[", "]", '{"', '{"a', '{"a"', '{"a":', '{"a":1', "{,}",
    "{1: 2}", "{a: 1}", "{'a': 1}", "{null: 1}", '{"a" 1}', '{"a": 1 "b": 2}', '{"a": 1,, "b": 2}',
    '{,"a": 1}', '{"a"::1}', "{}{}", "{} {}", "{},{}", "{},", "{};", "{}x", "[{}, {}]", "{}\u00a0",
    "\u00a0{}", "\u00a0", "\u2003", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\ufeff", "\ufeff{}",
    "\\", "\\x01", "//", "# {}", "/**/{}", "a,b,c", "1,2", "'", '"a', '"a""b"', "\\N", "NULL",
    "<a/>", "---", "- a: 1", "a\tb", "user_id", "😀",
)  # fmt: skip


def base(contract: SilverContract, mark: str | None = None) -> Pairs:
    """A good record, its fields in the contract's order; with `mark`, told apart by it."""
    pairs = {name: good_of(contract)[name][0] for name in contract.source}
    if mark is not None:
        pairs[mark_of(contract)] = quoted(mark)
        if contract.key:
            pairs[contract.key[0]] = quoted(f"k{mark}")
    return [(quoted(name), value) for name, value in pairs.items()]


def plain(pairs: Sequence[tuple[str, str]]) -> str:
    """A line as the producers write it."""
    return "{" + ", ".join(f"{name}: {value}" for name, value in pairs) + "}"


def compact(pairs: Sequence[tuple[str, str]]) -> str:
    """A line without any blank between tokens."""
    return "{" + ",".join(f"{name}:{value}" for name, value in pairs) + "}"


def _blank_before(pairs: Sequence[tuple[str, str]]) -> str:
    return f" {plain(pairs)}"


def _smiling(pairs: Sequence[tuple[str, str]]) -> str:
    return compact([*pairs, ('"more"', '"\\ud83d\\ude00"')])


# Each engine reads some lines by its own reader and the others by `lake.fields`. Here are one that
# both read by their own, one that DuckDB's is not trusted with, and one that Spark's is not.
LAYOUTS = (plain, _blank_before, _smiling)


def nested(depth: int) -> Iterator[str]:
    """Values that are so deep: arrays, objects, and both in turn."""
    yield "[" * depth + "]" * depth
    yield '{"a":' * depth + "1" + "}" * depth
    yield '[{"a": ' * (depth // 2) + "[]" * (depth % 2) + "}]" * (depth // 2)


def every_depth(contract: SilverContract) -> Iterator[str]:
    """Lines nested as deep as is read, and a little or far deeper."""
    n = 0
    for depth in (1, *range(DEEPEST - 3, DEEPEST + 3), 500, 501, 999, 1_000, 1_001, 2_000, 20_000):
        for value in nested(depth):
            for field in (contract.source[0], contract.source[-1], "more"):
                n += 1
                pairs = dict(base(contract, f"d{n}"))
                pairs[quoted(field)] = value
                yield (plain, compact)[n % 2](list(pairs.items()))


def every_value(contract: SilverContract) -> Iterator[str]:
    """Lines in which each value of VALUES stands in its field, in each layout of LAYOUTS."""
    n = 0
    for field, values in values_of(contract).items():
        for value in values:
            for layout in LAYOUTS:
                n += 1
                pairs = dict(base(contract, f"{n}"))
                pairs[quoted(field)] = value
                yield layout(list(pairs.items()))


def every_shape(contract: SilverContract) -> Iterator[str]:
    """Lines whose values are good, and that are odd in all other ways that there are here."""
    yield from WHOLE
    n = 0

    def marked() -> Pairs:
        nonlocal n
        n += 1
        return base(contract, f"s{n}")

    for layout in (plain, compact):
        for more in UNKNOWN:
            yield layout([*marked(), more])
            yield layout([more, *marked()])
        for field in contract.source:
            name, escaped = quoted(field), f'"\\u{ord(field[0]):04x}{field[1:]}"'
            others = [pair for pair in marked() if pair[0] != name]
            value = dict(marked())[name]
            yield layout(others)
            yield layout([*others, (name, "null")])
            yield layout([*others, (escaped, value)])
            for first, second in ((name, name), (name, escaped), (escaped, name)):
                yield layout([*others, (first, value), (second, value)])
                yield layout([(first, '"x"'), *others, (second, "null")])
            for other in (field.upper(), f" {field}", f"{field} ", f"{field}\\n", f"\\t{field}"):
                yield layout([*others, (f'"{other}"', value)])
            yield layout([(name, value)])
        for around in AROUND:
            yield layout(marked()) + around
            yield around + layout(marked())
            yield layout(marked()).replace(layout([])[1:], f"{around}}}")
            yield layout(marked()).replace(":", f"{around}:", 1)
            yield layout(marked()).replace(":", f":{around}", 2)
        for length in range(1, len(layout(base(contract))), 7):
            yield layout(marked())[:length]
        yield layout(marked()[::-1])
        yield layout([])


# --- Partitions, by chance -------------------------------------------------------------------

BLANKS = ("", "", " ", " ", "  ", "\t", " \t ")
ODD_BLANKS = ("\u00a0", "\u2003", "\u2028", "\ufeff", "\x0b", "\x0c", "\x1f")


def _laid_out(choices: random.Random, pairs: Pairs, blanks: Sequence[str]) -> str:
    def blank() -> str:
        return choices.choice(blanks)

    fields = (f"{blank()}{name}{blank()}:{blank()}{value}{blank()}" for name, value in pairs)
    return f"{blank()}{{{','.join(fields)}}}{blank()}"


def _odd_value(choices: random.Random, contract: SilverContract, pairs: Pairs) -> None:
    at = choices.randrange(len(pairs))
    name, _ = pairs[at]
    pairs[at] = (name, choices.choice(values_of(contract).get(name.strip('"'), TEXT)))


def _another_value(choices: random.Random, contract: SilverContract, pairs: Pairs) -> None:
    at = choices.randrange(len(pairs))
    name, _ = pairs[at]
    pairs[at] = (name, choices.choice(choices.choice(list(values_of(contract).values()))))


def _drop(choices: random.Random, contract: SilverContract, pairs: Pairs) -> None:
    del pairs[choices.randrange(len(pairs))]


def _again(choices: random.Random, contract: SilverContract, pairs: Pairs) -> None:
    name, value = choices.choice(pairs)
    pairs.insert(choices.randrange(len(pairs) + 1), (name, choices.choice((value, "null", '"x"'))))


def _more(choices: random.Random, contract: SilverContract, pairs: Pairs) -> None:
    pairs.insert(choices.randrange(len(pairs) + 1), choices.choice(UNKNOWN))


def _shuffle(choices: random.Random, contract: SilverContract, pairs: Pairs) -> None:
    choices.shuffle(pairs)


def _escape(choices: random.Random, contract: SilverContract, pairs: Pairs) -> None:
    """Spells letters of a text, or of a name, as escapes."""
    at = choices.randrange(len(pairs))
    name, value = pairs[at]
    if choices.random() < 0.2:
        name = name.replace("_", "\\u005f")
    elif value.startswith('"') and "\\" not in value and "\ufeff" not in value:
        letters = (f"\\u{ord(c):04X}" if ord(c) < 0x10000 and choices.random() < 0.5 else c
                   for c in value[1:-1])  # fmt: skip
        value = f'"{"".join(letters)}"' if value.endswith('"') else value
    pairs[at] = (name, value)


def _number(choices: random.Random, contract: SilverContract, pairs: Pairs) -> None:
    """Puts a number of any size and spelling somewhere."""
    digits = str(choices.randrange(10 ** choices.randrange(1, 20)))
    number = choices.choice(("", "", "-")) + digits
    if choices.random() < 0.7:
        number += f".{choices.randrange(10 ** choices.randrange(1, 19)):0{choices.randrange(1, 9)}}"
    if choices.random() < 0.3:
        number += f"{choices.choice('eE')}{choices.choice(('', '+', '-'))}{choices.randrange(30)}"
    at = choices.randrange(len(pairs))
    if choices.random() < 0.5:
        at = choices.choice([n for n, (name, _) in enumerate(pairs)
                             if name in NUMBER_NAMES] or [at])  # fmt: skip
    pairs[at] = (pairs[at][0], number if choices.random() < 0.7 else f'"{number}"')


NUMBER_NAMES = {'"quantity"', '"price"', '"order_amount"'}
Change = Callable[[random.Random, SilverContract, Pairs], None]
CHANGES: Mapping[Change, int] = {
    _odd_value: 6,
    _another_value: 1,
    _drop: 1,
    _again: 1,
    _more: 2,
    _shuffle: 2,
    _escape: 2,
    _number: 4,
}


def line(choices: random.Random, contract: SilverContract) -> str:
    """A line, by chance: a good one, one changed in a place or two, or no record at all."""
    if choices.random() < 0.04:
        return choices.choice(WHOLE)
    values = {name: choices.choice(good_of(contract)[name]) for name in contract.source}
    if contract.key and choices.random() < 0.7:
        values[contract.key[0]] = f'"k{choices.randrange(2_000)}"'
    pairs = [(quoted(name), value) for name, value in values.items()]
    for change in choices.choices(
        list(CHANGES), list(CHANGES.values()), k=choices.choice((0, 0, 1, 1, 1, 2, 3))
    ):
        if pairs:
            change(choices, contract, pairs)
    chance = choices.random()
    if chance < 0.5:
        text = plain(pairs)
    elif chance < 0.7:
        text = compact(pairs)
    else:
        text = _laid_out(choices, pairs, (*BLANKS, *ODD_BLANKS) if chance > 0.98 else BLANKS)
    chance = choices.random()
    if chance < 0.03:
        text += choices.choice(AROUND)
    elif chance < 0.05:
        text = choices.choice(AROUND) + text
    elif chance < 0.07:
        text = text[: choices.randrange(len(text) + 1)]
    elif chance < 0.09:
        at = choices.randrange(len(text) + 1)
        text = text[:at] + choices.choice((*AROUND, "é", "\\u00e9")) + text[at:]
    elif chance < 0.1:
        text += text
    return text


# Bytes that are not UTF-8, or that are no character of a text. Among them those of half a surrogate
# pair, of one that is spelled as two, of letters spelled too long, and of one beyond all.
NO_TEXT = (
    b"\xff", b"\xfe\xff", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xf0\x9f\x98", b"\xf5\x80\x80\x80",
    b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80",
    b"\x80", b"\xbf", b"\xf4\x90\x80\x80", b"\x01", b"\x02", b"\x7f", b"\x0b", b"\x0c", b"\x1c",
    b"\x1e", b"\x1f", b"\xc2\x85", b"\xe2\x80\xa8",
)  # fmt: skip
ENDS = (b"\n", b"\r\n", b"\r", b"\n\n", b"\n \t\n", b"\r\r\n")


def spoiled(contract: SilverContract, odd: Sequence[bytes]) -> Iterator[bytes]:
    """Lines with each of these bytes: in a text, in a name, before, behind and between."""
    for n, each in enumerate(odd):
        for m, layout in enumerate((plain, compact)):
            good = layout(base(contract, f"{n}_{m}_@")).encode()
            yield good.replace(b"@", b"a" + each + b"b")
            yield good.replace(b"@", b"b" + each)
            yield good.replace(b"@", b"c\\" + each)
            yield good.replace(b"@", b"d").replace(b'": "', b'": ' + each + b'"', 1)
            yield good.replace(b"@", b"e").replace(b'{"', b'{"' + each, 1)
            yield each + good.replace(b"@", b"f")
            yield good.replace(b"@", b"g") + each
            yield good.replace(b"@", b"h")[:-1] + b', "more": "' + each + b'"}'
            yield good.replace(b"@", b"i")[:-1] + b', "' + each + b'": 1}'
        yield from (each, each * 3, b" " + each + b" ")


def _objects(seed: int, contract: SilverContract) -> list[bytes]:
    choices = random.Random(seed)
    lines = [line(choices, contract).encode() for _ in range(choices.randrange(1_200, 1_800))]
    lines += choices.choices(lines, k=len(lines) // 10)
    if choices.random() < 0.3:
        # One such byte, and DuckDB cannot read any of the objects as they lie.
        lines += choices.sample(list(spoiled(contract, NO_TEXT)), 20)
    choices.shuffle(lines)
    first = plain(base(contract, "first")).encode()
    objects = []
    for n in range(3):
        end = choices.choice(ENDS)
        objects.append(end.join([first, *lines[n::3]]) + choices.choice((b"", end)))
    return objects


def objects(contract: SilverContract) -> st.SearchStrategy[list[bytes]]:
    """The texts of three objects of a partition, of some lines that are there twice.

    They come of one seed: a partition costs seconds on Spark, as much for a thousand lines as for
    one, so that looking for a smaller one takes too long; and a test that fails names the lines.
    """
    return st.integers(0, 2**64 - 1).map(lambda seed: _objects(seed, contract))
