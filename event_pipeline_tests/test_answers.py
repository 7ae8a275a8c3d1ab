"""Answers as JSON and CSV."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from event_pipeline.answers import as_csv, as_json


@pytest.mark.parametrize(
    ("value", "in_json", "in_csv"),
    [
        (None, None, '""'),
        ("a,b", "a,b", '"a,b"'),
        (True, True, "true"),
        (7, 7, "7"),
        (1.5, 1.5, "1.5"),
        (float("nan"), "NaN", "NaN"),
        (float("-inf"), "-Infinity", "-Infinity"),
        (Decimal("1.50"), 1.5, "1.50"),
        (Decimal("12345678901234567890.12"), "12345678901234567890.12", "12345678901234567890.12"),
        (Decimal("0E-10"), 0.0, "0.0000000000"),
        (date(2026, 11, 24), "2026-11-24", "2026-11-24"),
        (datetime(2026, 11, 24, 1), "2026-11-24T01:00:00", "2026-11-24 01:00:00.000"),
        (
            datetime(2026, 11, 24, 1, 0, 0, 123456),
            "2026-11-24T01:00:00.123456",
            "2026-11-24 01:00:00.123456",
        ),
        (
            datetime(2026, 11, 24, 1, tzinfo=UTC),
            "2026-11-24T01:00:00+00:00",
            "2026-11-24 01:00:00.000 UTC",
        ),
        (
            datetime(2026, 11, 24, 1, tzinfo=ZoneInfo("Europe/Berlin")),
            "2026-11-24T01:00:00+01:00",
            "2026-11-24 01:00:00.000 Europe/Berlin",
        ),
        (timedelta(days=59, hours=1), "59 01:00:00.000", "59 01:00:00.000"),
        (b"\x01\xff", "01 ff", "01 ff"),
        (["a", None], ["a", None], '"[a, null]"'),
        ({"a": Decimal("1.5")}, {"a": 1.5}, "{a=1.5}"),
        ({1: [True]}, {"1": [True]}, "{1=[true]}"),
    ],
)
def test_a_value_in_json_and_csv(value: Any, in_json: Any, in_csv: str) -> None:
    assert json.loads(as_json(["v"], [(value,)])) == [{"v": in_json}]
    assert as_csv(["v"], [(value,)]) == f"v\n{in_csv}"


def test_no_column_is_lost_for_its_name() -> None:
    assert json.loads(as_json(["a", "a", "a_2"], [(1, 2, 3)])) == [{"a": 1, "a_2": 2, "a_2_2": 3}]


def test_a_query_without_rows_has_its_header() -> None:
    assert as_csv(["a", "b"], []) == "a,b"
    assert as_json(["a"], []) == "[]"
