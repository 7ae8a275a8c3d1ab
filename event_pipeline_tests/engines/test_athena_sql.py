"""Athena's SQL on DuckDB.

No Trino runs here: what is expected is what Trino's documentation says (functions and operators,
language/types), and where that is silent what its operators' source does. Each statement is also
parsed by Trino's grammar, so that no example is of another dialect.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import inf, isnan
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trino_sql_validator import validate

from event_pipeline.contracts import EVENTS, GOLD, TABLES
from event_pipeline.engines.duckdb.athena import translated
from event_pipeline.engines.duckdb.athena.functions import ONLY_ON_AWS, functions
from event_pipeline.engines.duckdb.athena.nodes import add_macros
from event_pipeline.engines.duckdb.athena.patterns import left_out
from event_pipeline.engines.duckdb.session import connect, make_view, translate_errors
from event_pipeline.errors import QueryError
from event_pipeline_tests.conftest import Lab, jsonl

D = Decimal
T = "TIMESTAMP '2026-03-01 10:59:30.500'"
NUMBERS = "FROM (VALUES (1, 'a'), (2, 'b'), (3, 'a'), (NULL, 'c')) AS t(n, s)"
NO_ROWS = f"{NUMBERS} WHERE n > 9"


class Engine:
    """One connection for all examples."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.macros: set[str] = set()

    def answer(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        query = translated(sql)
        add_macros(self.connection, query.sql, self.macros)
        with translate_errors():
            return self.connection.execute(query.sql).fetchall()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Tables without rows."""
    with connect(512, 1, str(tmp_path_factory.mktemp("spill"))) as connection:
        connection.execute("SET integer_division=false")
        for contract in TABLES.values():
            make_view(connection, contract, [])
        yield Engine(connection)


# What stands behind SELECT, and the one row that it gives.
EXAMPLES: dict[str, Any] = {
    # Numbers: integers are divided without a rest, decimals to the scale of the finer, half up.
    "7 / 2": 3,
    "-7 / 2": -3,
    "-7 % 3": -1,
    "mod(7, -3)": 1,
    "7 / 2e0": 3.5,
    "5e0 / 0": inf,
    "1.00 / 3": D("0.33"),
    "2.00 / 3": D("0.67"),
    "-2.00 / 3": D("-0.67"),
    "1.5 / 2": D("0.8"),
    "DECIMAL '1.50' / DECIMAL '3.0'": D("0.50"),
    "DECIMAL '10' / DECIMAL '3'": D("3"),
    "1 / 3.000": D("0.333"),
    "10 / 4 * 1.0": D("2.0"),
    "0.1 + 0.2": D("0.3"),
    "2.50 * 3": D("7.50"),
    "10.5 % 3": D("1.5"),
    "TRY(1 / 0)": None,
    "TRY(1.0 / 0)": None,
    "round(2.5)": D("3"),
    "round(-2.5)": D("-3"),
    "round(2.5e0)": 3.0,
    "round(-2.5e0)": -3.0,
    "round(1.256, 2)": D("1.260"),
    "round(25, -1)": 30,
    "truncate(1.9)": D("1"),
    "truncate(-1.9e0)": -1.0,
    "ceil(1.2)": D("2"),
    "ceiling(5)": 5,
    "floor(-1.2)": D("-2"),
    "floor(1.7e0)": 1.0,
    "sign(-2.5)": D("-1"),
    "sign(7)": 1,
    "abs(-3)": 3,
    "power(2, 10)": 1024.0,
    "pow(2, 3)": 8.0,
    "sqrt(16)": 4.0,
    "round(cbrt(27))": 3.0,
    "exp(0)": 1.0,
    "ln(1)": 0.0,
    "ln(0)": -inf,
    "log(2, 8)": 3.0,
    "log2(8)": 3.0,
    "log10(100)": 2.0,
    "round(e() * 100)": 272.0,
    "round(pi() * 100)": 314.0,
    "degrees(0)": 0.0,
    "radians(0)": 0.0,
    "sin(0), cos(0), tan(0), asin(0), acos(1), atan(0), atan2(0, 1)": (0, 1, 0, 0, 0, 0, 0),
    "sinh(0), cosh(0), tanh(0)": (0, 1, 0),
    "infinity()": inf,
    "is_nan(sqrt(-1)), is_finite(1e0), is_infinite(infinity())": (True, True, True),
    "greatest(1, 3, 2), least(1, 3, 2)": (3, 1),
    "greatest(1, NULL), least(NULL, 'a')": (None, None),
    "width_bucket(3.14, 0, 4, 3)": 3,
    "width_bucket(2, 0, 4, 3)": 2,
    "width_bucket(-1, 0, 4, 3), width_bucket(4, 0, 4, 3)": (0, 4),
    "width_bucket(1, 4, 0, 4)": 3,
    "width_bucket(3.14, ARRAY[0, 2, 4])": 2,
    "bitwise_and(19, 25), bitwise_or(19, 25), bitwise_xor(19, 25), bitwise_not(-12)": (
        17, 27, 10, 11,
    ),
    "random() < 1, rand() >= 0, random() IS NULL": (True, True, False),
    "length(CAST(uuid() AS varchar))": 36,
    # Casts: what a text may be, where numbers are rounded, and how values are spelled.
    "CAST(2.5 AS integer), CAST(-2.5 AS integer)": (3, -3),
    "CAST(2.5e0 AS integer), CAST(-2.5e0 AS bigint), CAST(3.5e0 AS smallint)": (3, -3, 4),
    "CAST('12' AS integer), TRY_CAST('2.5' AS integer), TRY_CAST(' 1' AS bigint)": (12, None, None),
    "TRY_CAST('1_000' AS integer), TRY_CAST('x' AS double)": (None, None),
    "CAST('1.5' AS double), CAST('1e3' AS double)": (1.5, 1000.0),
    "CAST('1.50' AS decimal(10, 2)), CAST('2.5' AS decimal)": (D("1.50"), D("3")),
    "CAST('true' AS boolean), CAST('F' AS boolean), TRY_CAST('yes' AS boolean)": (
        True, False, None,
    ),
    "CAST(1 AS boolean), CAST(true AS integer)": (True, 1),
    "CAST('2026-03-01' AS date), TRY_CAST('2026-02-30' AS date)": (date(2026, 3, 1), None),
    "TRY_CAST('epoch' AS date), TRY_CAST('2026/03/01' AS date)": (None, None),
    "CAST('2026-03-01 10:00' AS timestamp)": datetime(2026, 3, 1, 10),
    "CAST('2026-03-01' AS timestamp)": datetime(2026, 3, 1),
    "TRY_CAST('2026-03-01T10:00:00' AS timestamp), TRY_CAST('infinity' AS timestamp)": (None, None),
    "CAST(TIMESTAMP '2026-03-01 10:00:00.123456' AS timestamp)": (
        datetime(2026, 3, 1, 10, 0, 0, 123000)
    ),
    "CAST(TIMESTAMP '2026-03-01 10:00:00.600' AS timestamp(0))": datetime(2026, 3, 1, 10, 0, 1),
    f"CAST({T} AS date)": date(2026, 3, 1),
    "CAST(true AS varchar), CAST(42 AS varchar), CAST(1.10 AS varchar)": ("true", "42", "1.10"),
    "CAST(1e0 AS varchar), CAST(12345.678e0 AS varchar)": ("1.0E0", "1.2345678E4"),
    "CAST(1e-5 AS varchar), CAST(-0.5e0 AS varchar)": ("1.0E-5", "-5.0E-1"),
    "CAST(1e22 AS varchar), CAST(0e0 AS varchar)": ("1.0E22", "0.0E0"),
    "CAST(infinity() AS varchar), CAST(-infinity() AS varchar)": ("Infinity", "-Infinity"),
    "CAST(DATE '2026-03-01' AS varchar)": "2026-03-01",
    "CAST(TIMESTAMP '2026-03-01 10:00:00' AS varchar)": "2026-03-01 10:00:00",
    f"CAST({T} AS varchar)": "2026-03-01 10:59:30.500",
    "CAST(TIMESTAMP '2026-03-01 10:00:00 UTC' AS varchar)": "2026-03-01 10:00:00.000 UTC",
    "CAST('abcdef' AS varchar(3)), TRY_CAST(12345 AS varchar(3))": ("abc", None),
    "CAST(ARRAY[1, 2] AS array(varchar))": ["1", "2"],
    "date('2026-03-01')": date(2026, 3, 1),
    # Texts.
    "'a' || 'b', 'a' || NULL, concat('a', NULL), concat('a', 'b', 'c')": ("ab", None, None, "abc"),
    "concat(ARRAY[1], ARRAY[2])": [1, 2],
    "concat_ws(',', 'a', NULL, 'b'), concat_ws(',', ARRAY['a', 'b'])": ("a,b", "a,b"),
    "substr('abc', 0), substr('abc', -2), substr('abc', -5)": ("", "bc", ""),
    "substr('abc', 2, 1), substr('abc', 2, 0), substr('abc', 4)": ("b", "", ""),
    "substring('abc' FROM 2), substring('abc' FROM 1 FOR 2)": ("bc", "ab"),
    "split_part('a,b', ',', 2), split_part('a,b', ',', 5)": ("b", None),
    "split('a,b', ',')": ["a", "b"],
    "split_to_map('a=1,b=2', ',', '=')": {"a": "1", "b": "2"},
    "strpos('abc', 'c'), strpos('abc', 'x'), position('b' IN 'abc')": (3, 0, 2),
    "reverse('a\u00e9\U0001f600'), reverse(ARRAY[1, 2])": ("\U0001f600\u00e9a", [2, 1]),
    "length('\U0001f600'), upper('a'), lower('A')": (1, "A", "a"),
    "trim(' \t a \n'), ltrim(' a'), rtrim('a ')": ("a", "a", "a"),
    "trim(BOTH 'x' FROM 'xax'), trim(LEADING 'x' FROM 'xax')": ("a", "ax"),
    "lpad('7', 3, '0'), rpad('abcd', 2, 'x')": ("007", "ab"),
    "replace('aba', 'a'), replace('aba', 'a', 'x'), replace('ab', '', '-')": ("b", "xbx", "-a-b-"),
    "translate('abcd', 'ab', 'x')": "xcd",
    "starts_with('abc', 'ab')": True,
    "chr(65), codepoint('A')": ("A", 65),
    "levenshtein_distance('ab', 'ac'), hamming_distance('ab', 'ac')": (1, 1),
    "to_hex(to_utf8('a')), from_utf8(from_hex('61'))": ("61", "a"),
    "to_base64(to_utf8('abc')), from_utf8(from_base64('YWJj'))": ("YWJj", "abc"),
    "lower(to_hex(md5(to_utf8('a'))))": "0cc175b9c0f1b6a831c399e269772661",
    "substr(to_hex(sha1(to_utf8('a'))), 1, 8)": "86F7E437",
    "substr(to_hex(sha256(to_utf8('a'))), 1, 8)": "CA978112",
    # Patterns.
    "regexp_like('1a 2b', '\\d+b'), regexp_like('a', 'A')": (True, False),
    "regexp_extract('1a 2b', '\\d+'), regexp_extract('1a', 'x')": ("1", None),
    "regexp_extract('1a 2b', '(\\d+)([a-z]+)', 2), regexp_extract('1a', 'x(y)', 1)": ("a", None),
    "regexp_extract('b', '(a)?b', 1), regexp_extract('7', '(\\d+)(\\.\\d+)?', 2)": (None, None),
    "regexp_extract('7.5', '(\\d+)(\\.\\d+)?', 2), regexp_extract('b', '(a)|(b)', 1)": (".5", None),
    "regexp_extract('http://w.a/b', '(?:https?://)?(w\\.)?([^/|]*)', 2)": "a",
    "regexp_extract_all('1a 2b', '(\\d+)([a-z]+)', 2)": ["a", "b"],
    "regexp_replace('1a 2b', '\\d')": "a b",
    "regexp_replace('1a 2b', '(\\d+)([ab]) ', '3c$2 ')": "3ca 2b",
    "regexp_replace('a.b', '\\.', '\\$')": "a$b",
    "regexp_count('1a 2b 14m', '\\s*[a-z]+\\s*')": 3,
    "regexp_split('1a 2b 14m', '\\s*[a-z]+\\s*')": ["1", "2", "14", ""],
    "'abc' LIKE 'a%', 'a%' LIKE 'a#%' ESCAPE '#', 'abc' NOT LIKE '_'": (True, True, True),
    # Addresses.
    "url_extract_host('https://u@example.com:8080/p/a?x=1#f')": "example.com",
    "url_extract_port('https://example.com:8080/p'), url_extract_port('http://a/')": (8080, None),
    "url_extract_path('https://example.com/p/a?x=1'), url_extract_protocol('http://a')": (
        "/p/a", "http",
    ),
    "url_extract_query('http://a/b?c=d&e#f'), url_extract_fragment('http://a/b#f')": ("c=d&e", "f"),
    "url_extract_parameter('http://a/b?c=d&e=f%20g', 'e')": "f g",
    "url_extract_parameter('http://a/b?c=d', 'x'), url_extract_host('not a url')": (None, None),
    "url_encode('a b/c'), url_decode('a+b%2Fc')": ("a+b%2Fc", "a b/c"),
    # Dates and times: whole units that elapsed, and dates that stay dates.
    "date_diff('hour', TIMESTAMP '2026-01-01 10:59:00', TIMESTAMP '2026-01-01 11:01:00')": 0,
    "date_diff('hour', TIMESTAMP '2026-01-01 11:59:00', TIMESTAMP '2026-01-01 10:01:00')": -1,
    "date_diff('minute', TIMESTAMP '2026-01-01 00:00:59', TIMESTAMP '2026-01-01 00:02:00')": 1,
    "date_diff('day', TIMESTAMP '2026-01-01 23:00:00', TIMESTAMP '2026-01-02 01:00:00')": 0,
    "date_diff('day', DATE '2026-03-01', DATE '2026-02-27')": -2,
    "date_diff('week', DATE '2026-01-01', DATE '2026-01-14')": 1,
    "date_diff('month', DATE '2026-01-15', DATE '2026-02-14')": 0,
    "date_diff('month', DATE '2026-01-31', DATE '2026-02-28')": 1,
    "date_diff('quarter', DATE '2026-01-01', DATE '2026-06-30')": 1,
    "date_diff('year', DATE '2025-06-02', DATE '2026-06-01')": 0,
    "date_diff('year', DATE '2024-02-29', DATE '2025-02-28')": 1,
    "date_diff('millisecond', TIMESTAMP '2026-01-01 00:00:00.5', localtimestamp) > 0": True,
    "date_add('day', 1, DATE '2026-02-28')": date(2026, 3, 1),
    "date_add('month', 1, DATE '2026-01-31')": date(2026, 2, 28),
    "date_add('quarter', -1, DATE '2026-01-31'), date_add('week', 1, DATE '2026-01-01')": (
        date(2025, 10, 31), date(2026, 1, 8),
    ),
    "date_add('hour', -1, TIMESTAMP '2026-01-01 00:00:00')": datetime(2025, 12, 31, 23),
    "DATE '2026-01-31' + INTERVAL '1' MONTH": date(2026, 2, 28),
    "DATE '2026-01-01' - INTERVAL '1' DAY": date(2025, 12, 31),
    "DATE '2026-03-01' - DATE '2026-01-01'": timedelta(days=59),
    f"{T} + INTERVAL '2' HOUR": datetime(2026, 3, 1, 12, 59, 30, 500000),
    "TIMESTAMP '2026-01-02 00:00:00' - TIMESTAMP '2026-01-01 12:00:00'": timedelta(hours=12),
    "date_trunc('month', DATE '2026-05-05'), date_trunc('week', DATE '2026-11-29')": (
        date(2026, 5, 1), date(2026, 11, 23),
    ),
    f"date_trunc('hour', {T})": datetime(2026, 3, 1, 10),
    f"date_format({T}, '%Y-%m-%d %H:%i:%s')": "2026-03-01 10:59:30",
    f"date_format({T}, '%W %a %b %M %c %e %k %l %p %j %f %T %%')": (
        "Sunday Sun Mar March 3 1 10 10 AM 060 500000 10:59:30 %"
    ),
    "date_parse('2026-03-01 10:59', '%Y-%m-%d %H:%i')": datetime(2026, 3, 1, 10, 59),
    "date_parse('1/3/26 10:59:30.25 PM', '%e/%c/%y %h:%i:%s.%f %p')": (
        datetime(2026, 3, 1, 22, 59, 30, 250000)
    ),
    f"format_datetime({T}, 'yyyy-MM-dd''T''HH:mm:ss.SSS')": "2026-03-01T10:59:30.500",
    f"format_datetime({T}, 'EEEE, d MMMM yy h a')": "Sunday, 1 March 26 10 AM",
    "parse_datetime('2026-03-01 10:59', 'yyyy-MM-dd HH:mm')": (
        datetime(2026, 3, 1, 10, 59, tzinfo=UTC)
    ),
    "parse_datetime('2026-03-01 10:59 +0200', 'yyyy-MM-dd HH:mm Z')": (
        datetime(2026, 3, 1, 8, 59, tzinfo=UTC)
    ),
    "to_iso8601(DATE '2026-03-01')": "2026-03-01",
    f"to_iso8601({T})": "2026-03-01T10:59:30.500",
    "to_iso8601(TIMESTAMP '2026-03-01 10:59:30')": "2026-03-01T10:59:30",
    "to_iso8601(from_unixtime(0))": "1970-01-01T00:00:00.000Z",
    "from_iso8601_timestamp('2026-03-01T10:00:00+02:00')": datetime(2026, 3, 1, 8, tzinfo=UTC),
    "from_iso8601_date('2026-03-01')": date(2026, 3, 1),
    "from_unixtime(1.5)": datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=UTC),
    f"to_unixtime({T})": 1772362770.5,
    "to_milliseconds(INTERVAL '2' MINUTE)": 120_000,
    f"year({T}), quarter({T}), month({T}), week({T}), day({T})": (2026, 1, 3, 9, 1),
    f"day_of_month({T}), day_of_week({T}), dow({T}), day_of_year({T}), doy({T})": (1, 7, 7, 60, 60),
    f"hour({T}), minute({T}), second({T}), millisecond({T})": (10, 59, 30, 500),
    "year_of_week(DATE '2027-01-01'), yow(DATE '2026-01-01'), week_of_year(DATE '2027-01-01')": (
        2026, 2026, 53,
    ),
    f"EXTRACT(DAY_OF_WEEK FROM {T}), EXTRACT(YEAR FROM {T}), EXTRACT(DOW FROM {T})": (7, 2026, 7),
    "last_day_of_month(DATE '2026-02-03')": date(2026, 2, 28),
    "current_date = CAST(now() AS date), current_timestamp <= now()": (True, True),
    "localtimestamp <= localtimestamp, current_timezone()": (True, "UTC"),
    # Times in a zone.
    "at_timezone(TIMESTAMP '2026-03-01 10:00:00 UTC', 'Europe/Berlin')": (
        datetime(2026, 3, 1, 11, tzinfo=ZoneInfo("Europe/Berlin"))
    ),
    f"hour({T} AT TIME ZONE 'Europe/Berlin')": 11,
    f"hour(at_timezone({T} AT TIME ZONE 'Asia/Tokyo', 'America/New_York'))": 5,
    "hour(TIMESTAMP '2026-03-01 10:00:00 Europe/Berlin')": 10,
    "CAST(TIMESTAMP '2026-03-01 23:30:00' AT TIME ZONE 'Europe/Berlin' AS date)": date(2026, 3, 2),
    "date_trunc('day', TIMESTAMP '2026-03-01 23:30:00' AT TIME ZONE 'Europe/Berlin')": (
        datetime(2026, 3, 2, tzinfo=ZoneInfo("Europe/Berlin"))
    ),
    "date_add('day', 1, TIMESTAMP '2026-03-28 12:00:00 Europe/Berlin')": (
        datetime(2026, 3, 29, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    ),
    f"date_format({T} AT TIME ZONE 'America/New_York', '%H')": "05",
    f"to_iso8601({T} AT TIME ZONE 'America/New_York')": "2026-03-01T05:59:30.500-05:00",
    f"CAST({T} AT TIME ZONE 'Asia/Tokyo' AS varchar)": "2026-03-01 19:59:30.500 Asia/Tokyo",
    "with_timezone(TIMESTAMP '2026-03-01 10:00:00', 'Europe/Berlin')": (
        datetime(2026, 3, 1, 10, tzinfo=ZoneInfo("Europe/Berlin"))
    ),
    "from_unixtime(0, 'Asia/Tokyo')": datetime(1970, 1, 1, 9, tzinfo=ZoneInfo("Asia/Tokyo")),
    "TIMESTAMP '2026-03-01 10:00:00 UTC' = TIMESTAMP '2026-03-01 11:00:00 Europe/Berlin'": True,
    # Nulls.
    "NULL IS NOT DISTINCT FROM NULL, 1 IS DISTINCT FROM NULL": (True, True),
    "coalesce(NULL, 2), nullif(1, 1), if(false, 1), if(true, 1, 2)": (2, None, None, 1),
    "CASE WHEN NULL THEN 1 ELSE 2 END": 2,
    "1 NOT IN (2, NULL)": None,
    # JSON.
    """json_extract_scalar('{"a": {"b": [1, "x"]}}', '$.a.b[1]')""": "x",
    """json_extract_scalar('{"a": {"b": 1}}', '$.a'), json_extract_scalar('no', '$.a')""": (
        None, None,
    ),
    """json_extract_scalar('{"a b": null, "c": true}', '$["a b"]')""": None,
    """json_extract_scalar('{"c": true}', '$.c')""": "true",
    """json_format(json_extract('{"a": {"b": 1}}', '$.a')), json_extract('{}', '$.a')""": (
        '{"b":1}', None,
    ),
    """CAST(json_extract('{"a": "x"}', '$.a') AS varchar), CAST(json_parse('7') AS integer)""": (
        "x", 7,
    ),
    """json_array_length('[1, 2]'), json_array_length('{}')""": (2, None),
    """json_size('{"a": [1, 2]}', '$.a'), json_size('{"a": 1}', '$.a')""": (2, 0),
    """is_json_scalar('1'), is_json_scalar('[1]')""": (True, False),
    "json_format(CAST('x' AS json))": '"x"',
    # Arrays, maps, rows.
    "ARRAY[1, 2][1], MAP(ARRAY['a'], ARRAY[1])['a']": (1, 1),
    "element_at(ARRAY[1, 2], 3), element_at(ARRAY[1, 2], -1)": (None, 2),
    "element_at(MAP(ARRAY['a'], ARRAY[1]), 'b')": None,
    "cardinality(ARRAY[1, NULL]), cardinality(MAP(ARRAY[1], ARRAY[2]))": (2, 1),
    "contains(ARRAY[1, 2], 2), contains(ARRAY[1], 2), contains(ARRAY[1, NULL], 2)": (
        True, False, None,
    ),
    "array_distinct(ARRAY[2, NULL, 1, 2, NULL])": [2, None, 1],
    "array_sort(ARRAY[3, NULL, 1])": [1, 3, None],
    "array_max(ARRAY[1, 2]), array_max(ARRAY[1, NULL]), array_min(ARRAY[2, 1])": (2, None, 1),
    "array_position(ARRAY['a', 'b'], 'b'), array_position(ARRAY['a'], 'x')": (2, 0),
    "array_remove(ARRAY[1, 2, 1], 1)": [2],
    "array_join(ARRAY[1, NULL, 2], ','), array_join(ARRAY['a', NULL], ',', '-')": ("1,2", "a,-"),
    "slice(ARRAY[1, 2, 3], 2, 2), slice(ARRAY[1, 2, 3], -2, 1), slice(ARRAY[1], 1, 0)": (
        [2, 3], [2], [],
    ),
    "flatten(ARRAY[ARRAY[1], ARRAY[2]])": [1, 2],
    "repeat('a', 2)": ["a", "a"],
    "sequence(1, 3), sequence(3, 1), sequence(1, 7, 3)": ([1, 2, 3], [3, 2, 1], [1, 4, 7]),
    "sequence(DATE '2026-01-31', DATE '2026-02-01')": [date(2026, 1, 31), date(2026, 2, 1)],
    "sequence(DATE '2026-01-01', DATE '2026-03-01', INTERVAL '1' MONTH)": [
        date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1),
    ],
    "filter(ARRAY[1, 2, 3], x -> x > 1), transform(ARRAY[1, 2], x -> x * 2)": ([2, 3], [2, 4]),
    "transform(ARRAY[1.5, 2.5], x -> x / 2)": [D("0.8"), D("1.3")],
    "reduce(ARRAY[1, 2, 3], 0, (s, x) -> s + x, s -> s * 10)": 60,
    "any_match(ARRAY[1, 2], x -> x > 1), all_match(ARRAY[1, 2], x -> x > 1)": (True, False),
    "none_match(ARRAY[1], x -> x > 1), any_match(ARRAY[1, NULL], x -> x > 1)": (True, None),
    "map_keys(MAP(ARRAY['a'], ARRAY[1])), map_values(MAP(ARRAY['a'], ARRAY[1]))": (["a"], [1]),
    "map_concat(MAP(ARRAY['a'], ARRAY[1]), MAP(ARRAY['a'], ARRAY[2]))": {"a": 2},
    "map_from_entries(ARRAY[ROW('a', 1)])": {"a": 1},
    "cardinality(map_entries(MAP(ARRAY['a'], ARRAY[1])))": 1,
    "CAST(ROW(1, 'x') AS ROW(a integer, b varchar)).b": "x",
    # Aggregates; of no rows, too.
    f"count(*), count(n), count(DISTINCT s), count_if(n > 1) {NUMBERS}": (4, 3, 3, 2),
    f"count_if(n > 1), count(*), sum(n), avg(n), array_agg(n) {NO_ROWS}": (0, 0, None, None, None),
    f"sum(n), avg(n), min(n), max(n) {NUMBERS}": (6, 2.0, 1, 3),
    "avg(x), sum(x) FROM (VALUES DECIMAL '1.55', DECIMAL '2.60') AS t(x)": (D("2.08"), D("4.15")),
    "avg(-x), avg(x) FILTER (WHERE x > 2) FROM (VALUES 1.55, 2.60) AS t(x)": (
        D("-2.08"), D("2.60"),
    ),
    "avg(DISTINCT x), sum(DISTINCT x) FROM (VALUES 1.5, 1.5, 2.5) AS t(x)": (D("2.0"), D("4.0")),
    "sum(x) / count(*), sum(x) * 1.0 / 7 FROM (VALUES 10.00, 0.01) AS t(x)": (
        D("5.01"), D("1.430"),
    ),
    f"approx_distinct(s), approx_percentile(n, 0.5) {NUMBERS}": (3, 2),
    f"approx_percentile(n, ARRAY[0.1, 0.9]) {NUMBERS}": [1, 3],
    f"max_by(s, n), min_by(s, n) {NUMBERS}": ("a", "a"),
    "max_by(x, y) FROM (VALUES (1, 1), (NULL, 2)) AS t(x, y)": None,
    f"every(n > 0), bool_and(n > 1), bool_or(n > 2) {NUMBERS}": (True, False, True),
    f"arbitrary(n) IN (1, 2, 3), any_value(s) IS NULL {NUMBERS}": (True, False),
    f"array_agg(n ORDER BY n DESC), array_agg(s ORDER BY s) FILTER (WHERE n > 1) {NUMBERS}": (
        [3, 2, 1, None], ["a", "b"],
    ),
    f"histogram(s) {NUMBERS}": {"a": 2, "b": 1, "c": 1},
    f"map_agg(n, s) {NUMBERS}": {1: "a", 2: "b", 3: "a"},
    f"map_agg(s, 1) FILTER (WHERE s = 'a') {NUMBERS}": {"a": 1},
    f"multimap_agg(s, n) FILTER (WHERE s = 'a') {NUMBERS}": {"a": [1, 3]},
    f"listagg(s, '-') WITHIN GROUP (ORDER BY s) {NUMBERS}": "a-a-b-c",
    f"bitwise_and_agg(n), bitwise_or_agg(n), geometric_mean(n * n) > 3.3 {NUMBERS}": (0, 3, True),
    f"stddev(n), stddev_samp(n), variance(n), var_samp(n) {NUMBERS}": (1, 1, 1, 1),
    f"round(stddev_pop(n), 2), round(var_pop(n), 2) {NUMBERS}": (0.82, 0.67),
    f"corr(n, n), covar_samp(n, n), round(covar_pop(n, n), 2) {NUMBERS}": (1, 1, 0.67),
    f"regr_slope(n, n), regr_intercept(n, n) {NUMBERS}": (1, 0),
    "date_diff('hour', min(t), max(t)), to_iso8601(max(t)), date_trunc('day', max(t))"
    " FROM (VALUES TIMESTAMP '2026-01-01 00:00:00.0', TIMESTAMP '2026-01-02 01:30:00.0') AS v(t)": (
        25, "2026-01-02T01:30:00.000", datetime(2026, 1, 2),
    ),
    "date_diff('day', min(d), max(d)), date_trunc('month', max(d)), date_add('day', 1, max(d)),"
    " max(d) - INTERVAL '1' DAY, sequence(min(d), max(d)), to_iso8601(min(d))"
    " FROM (VALUES DATE '2026-01-01', DATE '2026-01-02') AS v(d)": (
        1, date(2026, 1, 1), date(2026, 1, 3), date(2026, 1, 1),
        [date(2026, 1, 1), date(2026, 1, 2)], "2026-01-01",
    ),
    "hour(max(t) AT TIME ZONE 'Asia/Tokyo'), reverse(max(s)), reverse(array_agg(s))"
    " FROM (VALUES (TIMESTAMP '2026-01-01 00:00:00', 'ab')) AS v(t, s)": (9, "ba", ["ab"]),
    "sequence(min(n), max(n)), to_unixtime(from_unixtime(max(n))) FROM (VALUES 1, 3) AS v(n)": (
        [1, 2, 3], 3.0,
    ),
    "grouping(a) FROM (VALUES 1) AS t(a) GROUP BY a": 0,
}  # fmt: skip

# Whole statements, and their rows in order.
STATEMENTS: dict[str, list[Any]] = {
    f"SELECT n {NUMBERS} ORDER BY n DESC": [3, 2, 1, None],
    f"SELECT n {NUMBERS} ORDER BY n": [1, 2, 3, None],
    f"SELECT n {NUMBERS} ORDER BY n OFFSET 1 LIMIT 2": [2, 3],
    f"SELECT n {NUMBERS} ORDER BY n FETCH FIRST 1 ROWS ONLY": [1],
    "SELECT row_number() OVER (ORDER BY n), rank() OVER (ORDER BY s),"
    f" dense_rank() OVER (ORDER BY s), ntile(2) OVER (ORDER BY n) {NUMBERS} ORDER BY n": [
        (1, 1, 1, 1), (2, 3, 2, 1), (3, 1, 1, 2), (4, 4, 3, 2),
    ],
    "SELECT lag(n) OVER (ORDER BY n), lead(n, 1, 0) OVER (ORDER BY n)"
    f" {NUMBERS} ORDER BY n LIMIT 2": [
        (None, 2), (1, 3),
    ],
    f"SELECT lag(n) IGNORE NULLS OVER (ORDER BY n DESC NULLS FIRST) {NUMBERS} ORDER BY n": [
        2, 3, None, None,
    ],
    f"SELECT sum(n) OVER (ORDER BY n), avg(n * 1.5) OVER (), first_value(n) OVER (ORDER BY n),"
    " last_value(n) OVER (ORDER BY n), nth_value(n, 2) OVER (ORDER BY n)"
    f" {NUMBERS} ORDER BY n LIMIT 2": [
        (1, D("3.0"), 1, 1, None), (3, D("3.0"), 1, 2, 2),
    ],
    "SELECT percent_rank() OVER (ORDER BY n), cume_dist() OVER (ORDER BY n)"
    f" {NUMBERS} ORDER BY n": [
        (0.0, 0.25), (1 / 3, 0.5), (2 / 3, 0.75), (1.0, 1.0),
    ],
    f"SELECT s, sum(n) {NUMBERS} GROUP BY ROLLUP (s) ORDER BY s": [
        ("a", 4), ("b", 2), ("c", None), (None, 6),
    ],
    f"SELECT n / 2, count(*) {NUMBERS} WHERE n IS NOT NULL GROUP BY n / 2 ORDER BY n / 2": [
        (0, 1), (1, 2),
    ],
    "SELECT * FROM UNNEST(ARRAY['a', 'b']) WITH ORDINALITY AS t(x, n)": [("a", 1), ("b", 2)],
    "SELECT a, x, y, n FROM (VALUES 1) AS v(a)"
    " CROSS JOIN UNNEST(ARRAY[1, 2], ARRAY['a']) WITH ORDINALITY AS t(x, y, n) ORDER BY n": [
        (1, 1, "a", 1), (1, 2, None, 2),
    ],
    "SELECT k, v FROM UNNEST(MAP(ARRAY['a', 'b'], ARRAY[1, 2])) AS t(k, v) ORDER BY k": [
        ("a", 1), ("b", 2),
    ],
    "SELECT a, x FROM (VALUES (ARRAY[1]), (NULL)) AS v(a)"
    " LEFT JOIN UNNEST(a) AS t(x) ON true ORDER BY x": [
        ([1], 1), (None, None),
    ],
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT n FROM t": (
        [1, 2, 3]
    ),
    "WITH d AS (SELECT avg(x) AS p FROM (VALUES 1.00, 2.00) AS v(x)) SELECT p / 4 FROM d": (
        [D("0.38")]
    ),
    "SELECT (SELECT max(x) / v.y FROM (VALUES 7.00) AS w(x)) FROM (VALUES 2) AS v(y)": [D("3.50")],
    "SELECT 1 UNION ALL SELECT 2 EXCEPT SELECT 3 ORDER BY 1": [1, 2],
    "TABLE silver.events": [],
    "SELECT user_id FROM silver.events; -- remark": [],
    "SELECT e.user_id FROM \"Silver\".\"EVENTS\" e WHERE e.event_date = DATE '2026-01-01'": [],
    "SELECT events.user_id FROM AwsDataCatalog.silver.events": [],
    "WITH events AS (SELECT 1 AS a) SELECT a FROM Events": [1],
    "SELECT t.a FROM (WITH x AS (SELECT 1 AS a) SELECT a FROM x) AS t": [1],
    "SELECT count(*) FROM silver.events WHERE (user_id IN ('1', '2') OR user_id = 'a' || 'b')"
    " AND quantity > 1 AND price > 1.5 AND revenue <= 1e0 AND event_ts > DATE '2026-01-01'"
    " AND event_date BETWEEN DATE '2026-01-01' AND current_date AND NOT event_type LIKE 'a%'"
    " AND price = (SELECT max(price) FROM silver.events) AND user_id <> ALL (SELECT 'a')": [0],
    "SELECT sum(revenue) / nullif(sum(quantity), 0), avg(price) FROM silver.events": [(None, None)],
}  # fmt: skip


def shown(value: Any) -> Any:
    """A value beside which its type tells: a decimal's scale, a double that is no integer."""
    if isinstance(value, Decimal):
        return f"decimal {value}"
    if isinstance(value, list | tuple):
        return [shown(each) for each in value]
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC)
    return value


@pytest.mark.parametrize("expression", EXAMPLES)
def test_an_expression_gives_what_trino_documents(engine: Engine, expression: str) -> None:
    expected = EXAMPLES[expression]
    [row] = engine.answer(f"SELECT {expression}")
    assert shown(row) == shown(expected if isinstance(expected, tuple) else (expected,))


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_statement_gives_what_trino_documents(engine: Engine, statement: str) -> None:
    expected = [each if isinstance(each, tuple) else (each,) for each in STATEMENTS[statement]]
    assert shown(engine.answer(statement)) == shown(expected)


@pytest.mark.parametrize("statement", [*(f"SELECT {each}" for each in EXAMPLES), *STATEMENTS])
def test_each_example_is_trinos(statement: str) -> None:
    found = validate(statement)
    assert not found.error, found.error


def test_each_function_has_an_example() -> None:
    written = " ".join([*EXAMPLES, *STATEMENTS]).lower()
    called = set(re.findall(r"\b(\w+)\s*\(", written))
    # `current_timestamp(3)` is the same as without digits.
    assert functions() - called <= {"current_timestamp"}
    assert not functions() & ONLY_ON_AWS


@given(
    st.decimals(-(10**12), 10**12, places=2),
    st.decimals(-(10**5), 10**5, places=3).filter(bool),
)
@settings(max_examples=60, deadline=None)
def test_decimals_are_divided_half_up(engine: Engine, a: Decimal, b: Decimal) -> None:
    kinds = "CAST('{}' AS decimal(15, 2)) / CAST('{}' AS decimal(9, 3))"
    [(found,)] = engine.answer(f"SELECT {kinds.format(a, b)}")
    exact = abs(Fraction(a) / Fraction(b)) * 1000
    rounded = int(exact + Fraction(1, 2))
    assert abs(found) == Decimal(rounded).scaleb(-3)
    assert found == 0 or (found < 0) == (a * b < 0)
    assert found.as_tuple().exponent == -3


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=60, deadline=None)
def test_a_double_as_text_is_the_same_double(engine: Engine, value: float) -> None:
    [(found,)] = engine.answer(f"SELECT CAST(CAST('{value!r}' AS double) AS varchar)")
    assert float(found) == value
    assert re.fullmatch(r"-?\d\.(0|\d*[1-9])E-?(0|[1-9]\d*)", found)


@pytest.mark.parametrize(
    ("pattern", "nth", "told"),
    [
        ("(a)b", 1, None),
        ("(a)?b", 1, "never_empty"),
        ("(a*)?b", 1, "either"),
        ("(a)|(b)", 2, "never_empty"),
        ("(a|b*)c", 1, None),
        ("(a){0,2}", 1, "never_empty"),
        ("((a)(b)?)", 2, None),
        ("((a*))?", 2, "either"),
        ("(?:(a)b)?c", 1, "never_empty"),
        ("^(?:http|https)://([^/]*)", 1, None),
        (r"\|[|](x*)", 1, None),
        (r"\((x*)\)|y", 1, "either"),
        ("(?i)(?P<n>a*)(?<m>b*)", 2, None),
    ],
)
def test_a_group_that_may_take_no_part_is_known(pattern: str, nth: int, told: str | None) -> None:
    assert left_out(pattern, nth) == told


def test_zero_by_zero_is_no_number(engine: Engine) -> None:
    [(found,)] = engine.answer("SELECT 0e0 / 0")
    assert isnan(found)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT 1 / 0", "division by zero"),
        ("SELECT 1 % 0", "division by zero"),
        ("SELECT 1.0 / 0", "division by zero"),
        ("SELECT 2147483647 + 1", "Overflow"),
        ("SELECT CAST('x' AS integer)", "Cannot cast 'x' to a whole number"),
        ("SELECT CAST('2026-02-30' AS date)", "2026-02-30"),
        ("SELECT CAST('yes' AS boolean)", "Cannot cast 'yes' to boolean"),
        ("SELECT CAST(1 AS date)", "INTEGER cannot be cast"),
        ("SELECT ARRAY[1, 2][3]", "array's length"),
        ("SELECT MAP(ARRAY['a'], ARRAY[1])['b']", "the key is not in the map"),
        ("SELECT split_part('a', ',', 0)", "the index must be greater than zero"),
        ("SELECT date_add('hour', 1, DATE '2026-01-01')", "hour is not a unit of dates"),
        ("SELECT date_trunc('minute', DATE '2026-01-01')", "minute is not a unit of dates"),
        ("SELECT date_trunc('decade', now())", "decade is not a unit of time"),
        ("SELECT date_format(now(), '%U')", "%U is not supported"),
        ("SELECT format_datetime(now(), 'zzz')", "zzz in the format zzz: not supported"),
        ("SELECT DATE '2026-01-01' + nullif(1, 2)", "Athena cannot apply + to DATE and INTEGER"),
        ("SELECT DATE '2026-01-01' + 1", "Athena cannot apply + to DATE and INTEGER"),
        ("SELECT event_date + 1 FROM silver.events", "Athena cannot apply + to DATE and INTEGER"),
        ("SELECT sum('a')", "Athena has no sum of VARCHAR"),
        ("SELECT regexp_extract('b', '(a*)?b', 1)", "group 1 of (a*)?b may be absent"),
        ("SELECT regexp_like('a', '(?=b)')", "a pattern that is not understood on target local"),
        ("SELECT 1 FROM silver.events WHERE user_id = 5", "apply = to varchar and a number"),
        ("SELECT 1 FROM silver.events WHERE quantity > '5'", "apply > to a number and varchar"),
        ("SELECT 1 FROM silver.events WHERE user_id IN ('a', 1)", "apply IN to varchar and"),
        ("SELECT 1 FROM silver.events WHERE event_date = '2026-01-01'",
         "apply = to a time and varchar; write DATE '...'"),
        ("SELECT 1 FROM silver.events WHERE event_date BETWEEN '2026-01-01' AND '2026-01-02'",
         "apply BETWEEN to a time and varchar"),
        ("SELECT max(price) || ' EUR' FROM silver.events", "apply || to a number and varchar"),
        # DuckDB's functions, and Athena's that are not here.
        ("SELECT list_sum(ARRAY[1])", "Athena has no function list_sum()"),
        ("SELECT strftime(now(), '%Y')", "Athena has no function strftime()"),
        ("SELECT regexp_matches('a', 'b')", "Athena has no function regexp_matches()"),
        ("SELECT \"read_text\"('x')", "Athena has no function read_text()"),
        ("SELECT getenv('HOME')", "Athena has no function getenv()"),
        ("SELECT _divided(1, 2)", "Athena has no function _divided()"),
        ("SELECT zoned(1, 2)", "Athena has no function zoned()"),
        ("SELECT checksum(1)", "checksum() is not supported on target local; target aws has it"),
        ("SELECT zip(ARRAY[1], ARRAY[2])", "zip() is not supported on target local"),
        ("SELECT ST_Point(1, 2)", "st_point() is not supported on target local; target aws has it"),
        ("SELECT max(1, 2)", "max() takes 1 arguments"),
        ("SELECT split_part('a', 'b')", "split_part() takes 3 arguments"),
        ("SELECT date_diff('day', now())", "date_diff() does not take these arguments"),
        ("SELECT nope FROM silver.events", '"nope" not found'),
        ("SELECT nope / 2 FROM silver.events", '"nope" not found'),
        # What DuckDB understands and Athena does not.
        ("SELECT * EXCLUDE (user_id) FROM silver.events", "not understood on target local"),
        ("SELECT DISTINCT ON (a) a FROM (VALUES 1) AS t(a)", "not understood on target local"),
        ("SELECT {'a': 1}", "not understood on target local"),
        ("SELECT user_id FROM silver.events WHERE user_id ILIKE 'a'", "not understood on target"),
        ("SELECT main.lower('A')", "not understood on target local"),
        (
            "SELECT a FROM (VALUES 1) AS t(a) ASOF JOIN (VALUES 1) AS u(b) ON a = b",
            "not understood",
        ),
        (
            "SELECT * FROM silver.events TABLESAMPLE BERNOULLI (10)",
            "not understood on target local",
        ),
        (
            "SELECT a FROM (VALUES 1) AS t(a) QUALIFY true",
            "Unexpected token at line 1, column 40: QUALIFY",
        ),
        # What is no table.
        ("SELECT * FROM read_text('/etc/passwd')", "a query reads tables, not READ_TEXT"),
        ("SELECT * FROM read_csv('x')", "a query reads tables, not READ_CSV"),
        ("SELECT * FROM glob('/*')", "a query reads tables, not GLOB"),
        ("SELECT * FROM duckdb_settings()", "a query reads tables, not DUCKDB_SETTINGS"),
        ("SELECT * FROM TABLE(sequence(1, 3))", "a query reads tables"),
        ("SELECT * FROM 'x.csv'", "there is no table x.csv"),
        ('SELECT * FROM "/etc/passwd"', "there is no table /etc/passwd"),
        ("SELECT * FROM duckdb_settings", "there is no table duckdb_settings"),
        ("SELECT * FROM sqlite_master", "there is no table sqlite_master"),
        ("SELECT * FROM information_schema.tables", "there is no table information_schema.tables"),
        ("SELECT * FROM engine", "there is no table engine"),
        (
            "SELECT * FROM events",
            "there is no table events; there are: quarantine.events, silver.events",
        ),
        (
            "SELECT * FROM shop_silver.events",
            "no table shop_silver.events; there is: silver.events",
        ),
        ("SELECT * FROM other.silver.events", "there is no table other.silver.events"),
        ("WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a", "there is no table b"),
        ("SELECT (WITH x AS (SELECT 1) SELECT * FROM x), (SELECT * FROM x)", "there is no table x"),
        ("SELECT 1; SELECT 2", "one SELECT statement is expected"),
        ("COPY silver.events TO 'x'", "one SELECT statement is expected"),
        ("SET x = 1", "one SELECT statement is expected"),
        ("INSERT INTO silver.events VALUES 1", "one SELECT statement is expected"),
        ("", "one SELECT statement is expected"),
        ("VALUES 1, 2", "one SELECT statement is expected"),
        ("-- nothing", "one SELECT statement is expected"),
        ("SELECT " + "(" * 2000 + "1" + ")" * 2000, "nested too deeply"),
        # A zone that would be lost on the way.
        ("SELECT hour(t) FROM (SELECT event_ts AT TIME ZONE 'Asia/Tokyo' AS t FROM silver.events)",
         "cannot be a column of a subquery"),
        ("SELECT array_agg(now() AT TIME ZONE 'Asia/Tokyo')", "array_agg() of a time AT TIME ZONE"),
        ("SELECT hour(TIMESTAMP '2026-01-01 00:00:00 +05:00')", "a time at an offset"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_one_line(engine: Engine, statement: str, said: str) -> None:
    with pytest.raises(QueryError, match=re.escape(said)) as caught:
        engine.answer(statement)
    assert "\n" not in str(caught.value)
    assert "LINE 1" not in str(caught.value)


@pytest.mark.parametrize(
    "contract", [c for c in GOLD if c.dialect == "athena"], ids=lambda c: c.table
)
def test_gold_calls_no_macro(contract: Any) -> None:
    """DuckDB's own functions are what keeps it fast."""
    assert "athena." not in translated(contract.sql).sql


def test_a_query_reads_its_tables_files_and_no_others(lab: Lab) -> None:
    lab.deliver(jsonl(['{"timestamp": "2026-01-01T00:00:00Z", "user_id": "u", "session_id": "s",'
                       ' "event_type": "search"}']))  # fmt: skip
    lab.build()
    names, rows = lab.querier.fetch(
        "SELECT count(*), user_id, max(event_ts AT TIME ZONE 'Asia/Tokyo') AS t"
        " FROM Silver.Events GROUP BY user_id;"
    )
    assert names == ["_col0", "user_id", "t"]
    assert [(*row[:2], row[2].isoformat()) for row in rows] == [
        (1, "u", "2026-01-01T09:00:00+09:00")
    ]
    [file] = lab.lake.scan(EVENTS)
    for statement in (f"SELECT * FROM read_parquet('{file}')", f"SELECT * FROM '{file}'"):
        with pytest.raises(QueryError):
            lab.querier.fetch(statement)
