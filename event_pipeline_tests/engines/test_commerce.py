"""Commerce drops: how the three statements type and judge, and which row of a key is kept."""

import gzip
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from event_pipeline.contracts import (
    COMMERCE_EVENTS,
    COMMERCE_ORDERS,
    COMMERCE_USERS,
    ENGINE_RULES,
    Contract,
    SilverContract,
)
from event_pipeline.lake.text import KEPT_OF_LONG_LINE, UNCLOSED
from event_pipeline_tests.conftest import DROP, NO_IDS, Lab, Row

USER = {"user_id": "u_1", "signup_date": "2026-01-01", "country": "IN", "device_type": "PC"}
EVENT = {
    "event_id": "e_1",
    "user_id": "u_1",
    "event_type": "product_view",
    "event_timestamp": "2026-01-01T00:00:00Z",
}
ORDER = {
    "order_id": "o_1",
    "user_id": "u_1",
    "order_amount": 10.5,
    "currency": "EUR",
    "order_timestamp": "2026-01-01T00:00:00Z",
    "payment_status": "success",
}
BASES: dict[Contract, dict[str, Any]] = {
    COMMERCE_USERS: USER,
    COMMERCE_EVENTS: EVENT,
    COMMERCE_ORDERS: ORDER,
}
# Of each, a field that is free text, which tells lines and rows apart.
MARKS = {
    COMMERCE_USERS: "marketing_source",
    COMMERCE_EVENTS: "session_id",
    COMMERCE_ORDERS: "product_id",
}
contracts = pytest.mark.parametrize("contract", BASES, ids=[c.identifier[1] for c in BASES])


def name_of(contract: Contract) -> str:
    """What the contract's file is called."""
    return contract.identifier[1].removeprefix("commerce_") + ".json"


def jsonl(*lines: str | Mapping[str, Any]) -> bytes:
    """A file of lines, or of records."""
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    return "".join(f"{text}\n" for text in texts).encode()


def built(lab: Lab, contract: SilverContract, files: Mapping[str, bytes] | None = None) -> Any:
    """The drop with these files more, built and published."""
    for name, data in (files or {}).items():
        lab.upload(name, data)
    found = lab.build_drop(contract)
    assert found.status == "published", found.error
    return found


def ledger(found: Any) -> tuple[int, int, int, int]:
    """Lines, rows, duplicates and quarantined lines."""
    receipt = found.receipt
    lines, *parts = (getattr(receipt, n) for n in ("lines", "rows", "duplicates", "quarantined"))
    assert lines == sum(parts)
    return lines, *parts


def quarantined(lab: Lab, contract: SilverContract) -> list[Row]:
    """(reasons, line, name of the file) of what is in quarantine."""
    rows = lab.rows(contract.quarantine)
    return [(reasons, line, key.rsplit("/", 1)[-1]) for reasons, line, key in rows]


# --- Values ---------------------------------------------------------------------------------


def judged(lab: Lab, contract: SilverContract, name: str, values: Sequence[str]) -> list[Any]:
    """What becomes of each raw JSON value of a field: the typed value, or the reasons as a set."""
    mark = MARKS[contract]
    lines = []
    for n, value in enumerate(values):
        record = {**BASES[contract], contract.key[0]: f"k_{n}", mark: f"{n}"}
        record.pop(name, None)
        lines.append(f'{json.dumps(record)[:-1]}, "{name}": {value}}}')
    assert ledger(built(lab, contract, {name_of(contract): jsonl(*lines)}))[0] == len(values)
    column, marked = contract.column_names.index(name), contract.column_names.index(mark)
    found: dict[int, Any] = {int(row[marked]): row[column] for row in lab.rows(contract)}
    for reasons, line, _ in quarantined(lab, contract):
        found[lines.index(line)] = set(reasons.split(","))
    return [found[n] for n in range(len(values))]


def expect(lab: Lab, contract: SilverContract, name: str, table: Mapping[str, Any]) -> None:
    """Asserts what becomes of each raw value."""
    assert dict(zip(table, judged(lab, contract, name, list(table)), strict=True)) == table


@contracts
def test_keys(lab: Lab, contract: SilverContract) -> None:
    name = contract.key[0]
    missing, invalid = {f"{name}_missing"}, {f"{name}_invalid"}
    placeholder = {f"{name}_placeholder"}
    table = {
        '"a_1"': "a_1",
        '" a_2 "': "a_2",
        '"a 3"': "a 3",
        '"é☃😀"': "é☃😀",
        '"A_1"': "A_1",
        '"\\ta_1"': "\ta_1",
        '" \u00a0a_1 "': "\u00a0a_1",
        **dict.fromkeys(map(json.dumps, NO_IDS), placeholder),
        "7": "7",
        "-8": "-8",
        "-0": "-0",
        "1.50": "1.50",
        "2e2": "200",
        "3.25E+1": "32.5",
        "4e-3": "0.004",
        "12345678901234567890123": "12345678901234567890123",
        "12345678901234567890124": "12345678901234567890124",
        "true": "true",
        '""': missing,
        '"  "': missing,
        "null": missing,
        '{"a": 1}': invalid,
        "{}": invalid,
        "[]": invalid,
        '["a_1"]': invalid,
        '" [1]"': invalid,
    }
    expect(lab, contract, name, table)


@pytest.mark.parametrize("contract", [COMMERCE_EVENTS, COMMERCE_ORDERS], ids=["events", "orders"])
def test_users_of_events_and_orders(lab: Lab, contract: SilverContract) -> None:
    table = {
        '"u_1"': "u_1",
        '" u_1 "': "u_1",
        "7": "7",
        "null": None,
        '""': None,
        '"  "': None,
        '{"id": "u_1"}': {"user_id_invalid"},
        '["u_1"]': {"user_id_invalid"},
    }
    expect(lab, contract, "user_id", table)


def test_signup_dates(lab: Lab) -> None:
    invalid = {"signup_date_invalid"}
    dates = {
        "2026-01-31": date(2026, 1, 31),
        "2024-02-29": date(2024, 2, 29),
        "0001-01-01": date(1, 1, 1),
        "9999-12-31": date(9999, 12, 31),
        "2026-01-31T23:59:59Z": date(2026, 1, 31),
        "2026-01-31T23:59:59.999-08:00": date(2026, 1, 31),
        "2026-01-31 00:00:00": date(2026, 1, 31),
        "0000-01-01": invalid,
        "0000-12-31T00:00:00Z": invalid,
        "2026-02-29": invalid,
        "2026-13-01": invalid,
        "2026-00-10": invalid,
        "10000-01-01": invalid,
        "-2026-01-01": invalid,
        "2026-1-1": invalid,
        "2026/01/31": invalid,
        "31.01.2026": invalid,
        "01/31/2026": invalid,
        "20260131": invalid,
        " 2026-01-31": invalid,
        "2026-01-31Z": invalid,
        "2026-01-31\n": invalid,
        "٢٠٢٦-01-31": invalid,
        "epoch": invalid,
        "today": invalid,
        "infinity": invalid,
        "": invalid,
        " ": invalid,
    }
    raw = {json.dumps(text): value for text, value in dates.items()}
    raw |= {"20260131": invalid, "true": invalid, "{}": invalid, '["2026-01-31"]': invalid}
    expect(lab, COMMERCE_USERS, "signup_date", raw | {"null": None})


@pytest.mark.parametrize("contract", [COMMERCE_EVENTS, COMMERCE_ORDERS], ids=["events", "orders"])
def test_timestamps(lab: Lab, contract: SilverContract) -> None:
    def at(*parts: int) -> datetime:
        return datetime(*parts)  # type: ignore[arg-type]

    assert contract.latest is not None
    invalid = {f"{contract.latest}_invalid"}
    times = {
        "2025-11-19T17:54:54.718325+00:00": at(2025, 11, 19, 17, 54, 54, 718325),
        "2026-01-01T00:00:00Z": at(2026, 1, 1),
        "2026-01-01T00:00:00": at(2026, 1, 1),
        "2026-01-01 00:00:00": at(2026, 1, 1),
        "2026-01-01T00:00:00.5Z": at(2026, 1, 1, 0, 0, 0, 500_000),
        "2026-01-01T00:00:00.123456789Z": at(2026, 1, 1, 0, 0, 0, 123456),
        "2026-01-01T00:00:00+05:30": at(2025, 12, 31, 18, 30),
        "2026-01-01T00:00:00-0800": at(2026, 1, 1, 8),
        "2026-01-01T00:00:00+14": at(2025, 12, 31, 10),
        "2024-02-29T23:59:59Z": at(2024, 2, 29, 23, 59, 59),
        "0001-01-01T00:00:00Z": at(1, 1, 1),
        "9999-12-31T23:59:59.999999Z": at(9999, 12, 31, 23, 59, 59, 999999),
        "0000-01-01T00:00:00Z": invalid,
        "0001-01-01T00:00:00+01:00": invalid,
        "9999-12-31T23:59:59-01:00": invalid,
        "10000-01-01T00:00:00Z": invalid,
        "2026-02-29T00:00:00Z": invalid,
        "2026-01-01T24:00:00Z": invalid,
        "2026-01-01T23:59:60Z": invalid,
        "2026-01-01T00:00:00+15:00": invalid,
        "2026-01-01": invalid,
        "2026-01-01T00:00": invalid,
        "19/11/2025 17:54:54": invalid,
        "2026-01-01t00:00:00z": invalid,
        "2026-01-01T00:00:00 UTC": invalid,
        " 2026-01-01T00:00:00Z": invalid,
        "2026-01-01T00:00:00Z\n": invalid,
        "1766000000": invalid,
        "epoch": invalid,
        "infinity": invalid,
        "": invalid,
    }
    raw = {json.dumps(text): value for text, value in times.items()}
    raw |= {"1766000000": invalid, "1.5": invalid, "true": invalid, "{}": invalid, "[]": invalid}
    expect(lab, contract, contract.latest, raw | {"null": {f"{contract.latest}_missing"}})


def test_event_types(lab: Lab) -> None:
    unknown, missing = {"event_type_unknown"}, {"event_type_missing"}
    table = {
        '"product_view"': "product_view",
        '"product_purchase"': "product_purchase",
        '" Product_View "': "product_view",
        '"PRODUCT_PURCHASE"': "product_purchase",
        '"page_view"': unknown,
        '"product view"': unknown,
        '"product_view\\t"': unknown,
        '"product_view\u00a0"': unknown,
        '"PRODUCT_VİEW"': unknown,
        '"\\uff30roduct_view"': unknown,
        "1": unknown,
        '["product_view"]': unknown,
        '""': missing,
        '" "': missing,
        "null": missing,
    }
    expect(lab, COMMERCE_EVENTS, "event_type", table)


def test_amounts(lab: Lab) -> None:
    invalid = {"order_amount_invalid"}
    table: dict[str, Any] = {
        raw: Decimal(amount)
        for raw, amount in {
            "10": "10.00",
            "29999.99": "29999.99",
            '"10.50"': "10.50",
            '" 10.5 "': "10.50",
            '"+10.5"': "10.50",
            '"00010.5"': "10.50",
            "0.1": "0.10",
            '".5"': "0.50",
            '"5."': "5.00",
            "0": "0.00",
            "-0": "0.00",
            "1e3": "1000.00",
            "1.5E-1": "0.15",
            f'"{"0" * 38}10"': "10.00",
            f'"10.{"0" * 40}"': "10.00",
            "1.005": "1.01",
            '"1.005"': "1.01",
            '"1.004999999"': "1.00",
            "-5": "-5.00",
            '"-29999.99"': "-29999.99",
            "9999999999999.99": "9999999999999.99",
            '"9999999999999.99"': "9999999999999.99",
            "-9999999999999.99": "-9999999999999.99",
        }.items()
    }
    numbers = (
        "10000000000000", "-10000000000000", "99999999999999.99", "1e13", "1e300", "1e400",
        "true", "[10]", '{"value": 10}',
    )  # fmt: skip
    texts = (
        "1_000", "1,000", "1 000", "10,50", "10 EUR", "$10", "10.5.0", "--5", "1e", "0x10", "10d",
        "NaN", "nan", "Infinity", "-inf", "1e400", "9999999999999.995", "ten", "٣", "", " ",
        "1e3", "1.5E-1", "1e0", ".", "+", "\u00a010", "10\t", "10\n", "0" * 39 + "10",
        "10." + "0" * 41, "." + "0" * 41,
    )  # fmt: skip
    table |= dict.fromkeys((*numbers, *map(json.dumps, texts)), invalid)
    table |= {raw: {"malformed_json"} for raw in ("NaN", "Infinity", "-Infinity", "10,")}
    expect(lab, COMMERCE_ORDERS, "order_amount", table | {"null": {"order_amount_missing"}})


def test_an_amount_is_as_exact_as_a_number_as_it_is_as_a_text(lab: Lab) -> None:
    """Else the cents of a large sum would depend on how its line is spelled."""
    choices = random.Random(0)
    cents = [choices.randrange(10**digits) for digits in range(1, 16) for _ in range(20)]
    amounts = [f"{each // 100}.{each % 100:02}" for each in cents]
    table = {raw: Decimal(a) for a in amounts for raw in (a, f'"{a}"')}
    expect(lab, COMMERCE_ORDERS, "order_amount", table)


def test_currencies(lab: Lab) -> None:
    missing, invalid = {"currency_missing"}, {"currency_invalid"}
    table = {
        '"EUR"': "EUR",
        '"usd"': "USD",
        '" Inr "': "INR",
        '"XXX"': "XXX",
        '"EURO"': invalid,
        '"EU"': invalid,
        '"E R"': invalid,
        '"€"': invalid,
        '"ÄÖÜ"': invalid,
        '"ﬁm"': invalid,
        '"u\\u017fd"': invalid,
        '"\\uff25UR"': invalid,
        '"EUR\u00a0"': invalid,
        '"EUR\\n"': invalid,
        '"EUR\\t"': invalid,
        '"EUR,USD"': invalid,
        "978": invalid,
        "true": invalid,
        '["EUR"]': invalid,
        '{"code": "EUR"}': invalid,
        '""': missing,
        '"   "': missing,
        "null": missing,
    }
    expect(lab, COMMERCE_ORDERS, "currency", table)


def test_payment_statuses(lab: Lab) -> None:
    missing, unknown = {"payment_status_missing"}, {"payment_status_unknown"}
    table = {
        '"success"': "success",
        '"SUCCESS"': "success",
        '" Failed "': "failed",
        '"In_Progress"': "in_progress",
        '"in progress"': unknown,
        '"successful"': unknown,
        '"refunded"': unknown,
        '"success\\n"': unknown,
        '"success\u00a0"': unknown,
        '"FAİLED"': unknown,
        '"fa\\u0131led"': unknown,
        '"\\u017fuccess"': unknown,
        "true": unknown,
        "1": unknown,
        '["success"]': unknown,
        '""': missing,
        '" "': missing,
        "null": missing,
    }
    expect(lab, COMMERCE_ORDERS, "payment_status", table)


@pytest.mark.parametrize(
    ("contract", "name"),
    [
        (COMMERCE_USERS, "country"),
        (COMMERCE_USERS, "device_type"),
        (COMMERCE_EVENTS, "product_id"),
        (COMMERCE_EVENTS, "device_type"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.identifier[1],
)
def test_what_is_only_told_is_told_as_it_came(
    lab: Lab, contract: SilverContract, name: str
) -> None:
    table = {
        '"IN"': "IN",
        '" in "': " in ",
        '"\\u0000\\n"': None if name == "product_id" else "\0\n",
        '""': None if name == "product_id" else "",
        '"null"': None if name == "product_id" else "null",
        "7": "7",
        "1.50": "1.50",
        "1e2": "100",
        "-0": "-0",
        "true": "true",
        "null": None,
        '{"a": [1, null]}': '{"a":[1,null]}',
        '[1.50, 1e2, -0, "\\u00e9"]': '[1.50,1e2,-0,"é"]',
    }
    expect(lab, contract, name, table)


ALL_MISSING = {
    COMMERCE_USERS: "user_id_missing",
    COMMERCE_EVENTS: "event_id_missing,event_type_missing,event_timestamp_missing",
    COMMERCE_ORDERS: (
        "order_id_missing,order_amount_missing,currency_missing,order_timestamp_missing,"
        "payment_status_missing"
    ),
}
ALL_WRONG = {
    COMMERCE_USERS: "user_id_invalid,signup_date_invalid",
    COMMERCE_EVENTS: (
        "event_id_invalid,user_id_invalid,event_type_unknown,event_timestamp_invalid"
    ),
    COMMERCE_ORDERS: (
        "order_id_invalid,user_id_invalid,order_amount_invalid,currency_invalid,"
        "order_timestamp_invalid,payment_status_unknown"
    ),
}


@contracts
def test_a_line_tells_every_rule_that_it_breaks_and_all_are_the_contracts(
    lab: Lab, contract: SilverContract
) -> None:
    wrong = json.dumps({name: [1] for name in contract.source})
    none = json.dumps({**BASES[contract], contract.key[0]: "null"})
    lines = (BASES[contract], "{}", wrong, '{"x": 1}', "17", none)
    found = built(lab, contract, {name_of(contract): jsonl(*lines)})
    assert ledger(found) == (6, 1, 0, 5)
    assert sorted(quarantined(lab, contract)) == sorted(
        [
            (ALL_MISSING[contract], "{}", name_of(contract)),
            (ALL_MISSING[contract], '{"x": 1}', name_of(contract)),
            (ALL_WRONG[contract], wrong, name_of(contract)),
            ("malformed_json", "17", name_of(contract)),
            (f"{contract.key[0]}_placeholder", none, name_of(contract)),
        ]
    )
    assert set(found.receipt.rejected) == {*contract.rules, "malformed_json"}
    assert "malformed_json" in ENGINE_RULES


@contracts
def test_a_drops_day_is_in_every_row(lab: Lab, contract: SilverContract) -> None:
    built(lab, contract, {name_of(contract): jsonl(BASES[contract], "bad")})
    for made in (contract, contract.quarantine):
        (live,) = lab.lake.live(made).values()
        (day,) = lab.lake.read(contract, live.paths, ["drop_date"])["drop_date"].to_pylist()
        assert day == date.fromisoformat(DROP)


def test_a_field_in_another_case_is_another_field(lab: Lab) -> None:
    odd = {**USER, "user_id": "u_2", "Signup_Date": "never", "COUNTRY": "US"}
    built(lab, COMMERCE_USERS, {"users.json": jsonl(odd)})
    assert lab.rows(COMMERCE_USERS) == [("u_2", date(2026, 1, 1), "IN", "PC", None)]


# --- One row a key --------------------------------------------------------------------------


def user(key: str = "u_1", day: str | None = "2026-01-01", **more: Any) -> str:
    """A line of a user, with nothing else but what is given."""
    return json.dumps({"user_id": key, "signup_date": day, **more})


def kept(lab: Lab, *files: bytes) -> tuple[list[Row], tuple[int, ...], list[Row]]:
    """Users after a drop of these files: rows without what is null, ledger, and conflicts."""
    names = ("users.json", "user.json", "users.jsonl.gz", "user.jsonl")
    found = built(lab, COMMERCE_USERS, dict(zip(names, files, strict=False)))
    rows = [tuple(v if n != 1 else f"{v}" for n, v in enumerate(row) if v is not None)
            for row in lab.rows(COMMERCE_USERS)]  # fmt: skip
    conflicts = quarantined(lab, COMMERCE_USERS)
    assert {reasons for reasons, *_ in conflicts} <= {"conflict"}
    return sorted(rows), ledger(found), sorted((line, name) for _, line, name in conflicts)


def test_exact_duplicates_are_counted_and_kept_once(lab: Lab) -> None:
    assert kept(lab, jsonl(user(), user(), user("u_2"), user())) == (
        [("u_1", "2026-01-01"), ("u_2", "2026-01-01")],
        (4, 2, 2, 0),
        [],
    )


def test_the_same_content_in_another_spelling_is_a_duplicate(lab: Lab) -> None:
    spellings = (
        '{"signup_date":"2026-01-01","user_id":"u_1"}',
        '  {"user_id" : " u_1 ", "signup_date" : "2026-01-01T12:00:00Z"}  ',
        '{"user_id": "\\u0075_1", "signup_date": "2026-01-01", "country": null}',
        user(unknown={"field": [1]}),
    )
    assert kept(lab, jsonl(user(), *spellings)) == ([("u_1", "2026-01-01")], (5, 1, 4, 0), [])


def test_numbers_and_texts_are_the_same_key(lab: Lab) -> None:
    lines = ('{"user_id": 7}', '{"user_id": "7"}', '{"user_id": "07"}', '{"user_id": " 7"}')
    assert kept(lab, jsonl(*lines)) == ([("07",), ("7",)], (4, 2, 2, 0), [])


def test_of_one_key_the_latest_is_kept_and_the_others_are_told(lab: Lab) -> None:
    early, late, middle = user(day="2024-12-31"), user(day="2026-01-02"), user(day="2026-01-01")
    assert kept(lab, jsonl(early, late, user("u_2"), middle)) == (
        [("u_1", "2026-01-02"), ("u_2", "2026-01-01")],
        (4, 2, 0, 2),
        [(early, "users.json"), (middle, "users.json")],
    )


def test_the_latest_counts_before_any_content(lab: Lab) -> None:
    early = user(day="2025-01-01", country="ZZ", device_type="zz", marketing_source="zz")
    assert kept(lab, jsonl(early, user(day="2025-01-02")))[0] == [("u_1", "2025-01-02")]


def test_no_time_is_earlier_than_any(lab: Lab) -> None:
    never = user(day=None, country="ZZ")
    assert kept(lab, jsonl(never, user(day="0001-01-01"))) == (
        [("u_1", "0001-01-01")],
        (2, 1, 0, 1),
        [(never, "users.json")],
    )


# Pairs of what else a user has, the less one first.
CONTENTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"country": "AU"}, {"country": "IN"}),
    ({}, {"country": ""}),
    ({"country": None}, {"country": "AU"}),
    ({"country": "B"}, {"country": "a"}),
    ({"country": "a"}, {"country": "a "}),
    ({"country": "z"}, {"country": "é"}),
    ({"country": "\uffff"}, {"country": "😀"}),
    ({"country": "10"}, {"country": "9"}),
    ({"country": "AU", "device_type": "tablet"}, {"country": "IN", "device_type": "PC"}),
    ({"country": "IN", "device_type": "PC"}, {"country": "IN", "device_type": "mobile"}),
    ({"device_type": "PC", "marketing_source": "b"}, {"country": "A"}),
    ({"marketing_source": "a"}, {"marketing_source": "b"}),
]


@pytest.mark.parametrize("day", ["2026-01-01", None])
def test_of_the_latest_the_greatest_content_is_kept_column_by_column(
    lab: Lab, day: str | None
) -> None:
    pairs = {f"u_{n}": contents for n, contents in enumerate(CONTENTS)}
    lost = [user(key, day, **less) for key, (less, _) in pairs.items()]
    won = [user(key, day, **greatest) for key, (_, greatest) in pairs.items()]
    found = built(lab, COMMERCE_USERS, {"users.json": jsonl(*won, *lost)})
    assert ledger(found) == (2 * len(pairs), len(pairs), 0, len(pairs))
    assert {line for _, line, _ in quarantined(lab, COMMERCE_USERS)} == set(lost)
    assert {row[0]: row[2:] for row in lab.rows(COMMERCE_USERS)} == {
        key: tuple(map(greatest.get, ("country", "device_type", "marketing_source")))
        for key, (_, greatest) in pairs.items()
    }


def test_copies_of_a_row_that_loses_are_duplicates(lab: Lab) -> None:
    lost, won = user(country="AU"), user(country="IN")
    third = user(day="2025-01-01")
    assert kept(lab, jsonl(lost, won, lost, third, won, won, lost)) == (
        [("u_1", "2026-01-01", "IN")],
        (7, 1, 4, 2),
        [(third, "users.json"), (lost, "users.json")],
    )


def test_of_equal_rows_that_lose_the_least_line_is_told(lab: Lab) -> None:
    spellings = [user(country="AU"), user(country="AU", more=1), user(country="AU", more=0)]
    for n, lines in enumerate((spellings, spellings[::-1])):
        other = Lab(lab.root / f"{n}")
        _, counts, conflicts = kept(other, jsonl(*lines, user(country="IN")))
        assert (counts, conflicts) == ((4, 1, 2, 1), [(min(spellings), "users.json")])


def test_a_line_that_is_refused_has_no_part_in_it(lab: Lab) -> None:
    refused = user(day="9999-99-99", country="ZZ")
    found = built(lab, COMMERCE_USERS, {"users.json": jsonl(refused, user(), refused)})
    assert ledger(found) == (3, 1, 0, 2)
    assert quarantined(lab, COMMERCE_USERS) == [
        ("signup_date_invalid", refused, "users.json")
    ] * 2  # fmt: skip


def test_equal_instants_are_equal_however_they_are_spelled(lab: Lab) -> None:
    zones = [{**ORDER, "order_timestamp": at} for at in (
        "2026-01-01T00:00:00Z", "2026-01-01T05:30:00.000+05:30", "2025-12-31 16:00:00-0800",
    )]  # fmt: skip
    amounts = [{**ORDER, "order_amount": amount} for amount in ("10.50", "+10.5", "10.499999999")]
    number = json.dumps(ORDER).replace("10.5", "1.05e1")
    found = built(lab, COMMERCE_ORDERS, {"orders.json": jsonl(*zones, *amounts, number)})
    assert ledger(found) == (7, 1, 6, 0)


def test_a_microsecond_decides(lab: Lab) -> None:
    late = {**ORDER, "order_timestamp": "2026-01-01T00:00:00.000001Z", "order_amount": 1}
    found = built(lab, COMMERCE_ORDERS, {"orders.json": jsonl(late, ORDER)})
    assert ledger(found) == (2, 1, 0, 1)
    assert quarantined(lab, COMMERCE_ORDERS) == [("conflict", json.dumps(ORDER), "orders.json")]


def test_amounts_are_compared_as_numbers(lab: Lab) -> None:
    amounts = [{**ORDER, "order_amount": amount} for amount in (9, 10, "-100", "9.99")]
    built(lab, COMMERCE_ORDERS, {"orders.json": jsonl(*amounts)})
    assert [row[3] for row in lab.rows(COMMERCE_ORDERS)] == [Decimal("10.00")]


@contracts
def test_a_keys_rows_are_one_over_all_files_of_a_dataset(
    lab: Lab, contract: SilverContract
) -> None:
    base, mark = BASES[contract], MARKS[contract]
    lost, won = ({**base, mark: text} for text in ("a", "b"))
    name = name_of(contract)
    files = {
        name: jsonl(lost, won),
        f"{name}l": json.dumps([won, {**base, contract.key[0]: "other"}], indent=2).encode(),
        f"{name}.gz": gzip.compress(jsonl(won)),
        f"{name}l.gz": gzip.compress(json.dumps([won]).encode()),
    }
    found = built(lab, contract, files)
    assert ledger(found) == (6, 2, 3, 1)
    assert quarantined(lab, contract) == [("conflict", json.dumps(lost), name)]
    marked = contract.column_names.index(mark)
    assert {row[0]: row[marked] for row in lab.rows(contract)} == {
        base[contract.key[0]]: "b",
        "other": None,
    }


def test_unknown_fields_of_all_lines_are_counted_once(lab: Lab) -> None:
    """Also of those that are read again because their key is another's too."""
    lines = [
        user(more=1),
        user(more=1),
        user(country="AU", more={"deep": 1}),
        user(day="never", more=1, other=1),
        "bad",
    ]
    files = {"users.json": jsonl(*lines), "user.json": f"[{', '.join(lines[:4])}]".encode()}
    found = built(lab, COMMERCE_USERS, files)
    assert ledger(found) == (9, 1, 4, 4)
    assert found.receipt.unknown == {"more": 8, "other": 2}


def test_both_names_of_users_are_one_dataset(lab: Lab) -> None:
    old, new = user(day="2024-01-01"), user(day="2025-01-01")
    assert kept(lab, jsonl(new, user("u_2")), f"[{old}, {user('u_3')}]".encode()) == (
        [("u_1", "2025-01-01"), ("u_2", "2026-01-01"), ("u_3", "2026-01-01")],
        (4, 3, 0, 1),
        [(old, "user.json")],
    )


def test_drops_of_two_days_have_nothing_to_do_with_each_other(lab: Lab) -> None:
    lab.upload("users.json", jsonl(user(country="AU")))
    lab.upload("users.json", jsonl(user(country="IN")), "2026-01-02")
    for day in (DROP, "2026-01-02"):
        assert ledger(lab.build_drop(COMMERCE_USERS, day)) == (1, 1, 0, 0)
    assert [row[2] for row in lab.rows(COMMERCE_USERS, DROP)] == ["AU"]


@pytest.mark.parametrize("array", ["user.json", "users.json"])
def test_of_equal_lines_that_lose_the_first_files_is_told(lab: Lab, array: str) -> None:
    """Whatever its form, and wherever the lake and the copies of arrays lie."""
    lost, won = user(country="AU"), user(country="IN")
    files = {"user.json": jsonl(lost), "users.json": jsonl(lost)}
    files[array] = f"[{lost}, {won}]".encode()
    assert ledger(built(lab, COMMERCE_USERS, files)) == (3, 1, 1, 1)
    assert quarantined(lab, COMMERCE_USERS) == [("conflict", lost, "user.json")]


# --- Any lines in any files -----------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A line of orders as it is spelled, and its row or why it has none."""

    text: str
    row: Row = ()
    reasons: str = ""
    in_arrays: bool = True


# Raw spellings of each field and what they mean; few, so that they often meet.
SPELLED: dict[str, dict[str, Any]] = {
    "order_id": {'"o_1"': "o_1", '" o_1 "': "o_1", "7": "7", '"7"': "7"},
    "user_id": {'"u_1"': "u_1", "null": None, '" "': None, '"(not set)"': None},
    "product_id": {'"p_1"': "p_1", '"\\u0070_1"': "p_1", '"p ]}, {"': "p ]}, {", '""': None},
    "order_amount": {
        "10": Decimal("10.00"), "1e1": Decimal("10.00"), "9.995": Decimal("10.00"),
        "9": Decimal("9.00"), "-100": Decimal("-100.00"),
    },
    "currency": {'"EUR"': "EUR", '"eur "': "EUR"},
    "order_timestamp": {
        '"2026-01-01T00:00:00Z"': datetime(2026, 1, 1),
        '"2026-01-01T05:30:00+05:30"': datetime(2026, 1, 1),
        '"2026-01-01 00:00:00.000001"': datetime(2026, 1, 1, 0, 0, 0, 1),
    },
    "payment_status": {'"success"': "success", '"SUCCESS"': "success", '"failed"': "failed"},
}  # fmt: skip
SPOILED = {
    "order_id": {
        '""': "order_id_missing",
        '"N/A"': "order_id_placeholder",
        "[1]": "order_id_invalid",
    },
    "user_id": {'{"user_id": "u_1"}': "user_id_invalid"},
    "order_amount": {
        "null": "order_amount_missing",
        '"1_0"': "order_amount_invalid",
        '"1e1"': "order_amount_invalid",
    },
    "currency": {"null": "currency_missing", '"EURO"': "currency_invalid"},
    "order_timestamp": {
        "null": "order_timestamp_missing",
        '"2026-02-30T00:00:00Z"': "order_timestamp_invalid",
    },
    "payment_status": {'" "': "payment_status_missing", '"paid"': "payment_status_unknown"},
}


def spelled(raw: dict[str, str], spaces: str, spoiled: tuple[str, str, str] | None) -> Line:
    """The line of raw values; `spoiled` is a field, its other value, and the reason."""
    row = tuple(SPELLED[name][raw[name]] for name in SPELLED)
    if spoiled:
        raw = {**raw, spoiled[0]: spoiled[1]}
    text = f",{spaces}".join(f'"{name}":{spaces}{value}' for name, value in raw.items())
    return Line(f"{{{text}}}", () if spoiled else row, spoiled[2] if spoiled else "")


good_values = st.fixed_dictionaries({n: st.sampled_from(list(SPELLED[n])) for n in SPELLED})
spaces = st.sampled_from(["", " "])
reasons = st.sampled_from(
    [(name, *pair) for name, pairs in SPOILED.items() for pair in pairs.items()]
)
hostile = st.sampled_from(
    [
        *(Line(text, reasons="malformed_json") for text in ("17", '"{}"', "null", "[{}]", "true")),
        Line('{"order_id": "o_1", "order_id": "o_1"}', reasons="malformed_json"),
        Line("{}", reasons=ALL_MISSING[COMMERCE_ORDERS]),
        *(
            # In an array such a text would take its neighbours' commas along.
            Line(text, reasons="malformed_json", in_arrays=False)
            for text in (
                '{"order_id": "o_1"',
                "word",
                "{",
                "[",
                "]",
                '{"order_id": "o_1"}, {}',
                '{"order_id": "o_1",}',
                '{"order_id": NaN}',
            )
        ),
    ]
)
some_lines = st.lists(
    st.one_of(
        *[st.builds(spelled, good_values, spaces, st.none())] * 4,
        st.builds(spelled, good_values, spaces, reasons),
        hostile,
    ),
    max_size=25,
)
FILES = ("orders.json", "orders.json.gz", "orders.jsonl")
# One in each file, as a file in which nothing is an order is refused.
ANCHORS = [spelled({name: next(iter(raw)) for name, raw in SPELLED.items()}, " ", None)] * 3


def packed(choices: random.Random, found: Sequence[Line]) -> bytes:
    """A file of these lines in some form."""
    texts = [line.text for line in found]
    if all(line.in_arrays for line in found) and choices.random() < 0.5:
        text = f"[{choices.choice((',', ', ', ',' + chr(10), chr(10) + '  ,')).join(texts)}]"
    else:
        text = choices.choice(("\n", "\r\n", "\n\n \t\n")).join(texts)
        text += choices.choice(("", "\n"))
    return choices.choice((bytes, gzip.compress))(text.encode())


@dataclass
class Expected:
    """What becomes of lines: each a row, a duplicate or in quarantine."""

    rows: Counter[Row]
    quarantine: Counter[tuple[str, str]]
    duplicates: int


def oracle(lines: Iterable[Line]) -> Expected:
    """What the contract says, in plain Python: see contract.py on `key` and `latest`."""
    refused, told = Counter[tuple[str, str]](), dict[Row, str]()
    by_key, good = defaultdict[str, set[Row]](set), 0
    for line in lines:
        if line.reasons:
            refused[line.reasons, line.text] += 1
        else:
            good += 1
            by_key[line.row[0]].add(line.row)
            told[line.row] = min(line.text, told.get(line.row, line.text))
    rows = Counter(max(found, key=_rank) for found in by_key.values())
    conflicts = Counter(("conflict", told[row]) for row in told if row not in rows)
    return Expected(rows, refused + conflicts, good - len(told))


def _rank(row: Row) -> list[Any]:
    """By the time, then by content from the first column on; nothing is less than anything."""
    placed_at = row[list(SPELLED).index("order_timestamp")]
    return [(value is not None, value) for value in (placed_at, *row)]


@settings(
    phases=(Phase.explicit, Phase.generate),
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(found=some_lines, seed=st.integers(0, 2**32))
def test_any_lines_in_any_files_forms_and_order_give_what_the_contract_says(
    new_lab: Callable[[], Lab], found: list[Line], seed: int
) -> None:
    choices = random.Random(seed)
    expected = oracle([*found, *ANCHORS])
    for _ in range(2):
        shuffled = choices.sample(found, len(found))
        cuts = sorted(choices.choices(range(len(found) + 1), k=len(FILES) - 1))
        parts = zip([0, *cuts], [*cuts, len(found)], ANCHORS, strict=True)
        files = {
            name: [anchor, *shuffled[start:end]]
            for name, (start, end, anchor) in zip(FILES, parts, strict=True)
        }
        lab = new_lab()
        made = built(
            lab, COMMERCE_ORDERS, {name: packed(choices, part) for name, part in files.items()}
        )
        assert Counter(lab.rows(COMMERCE_ORDERS)) == expected.rows
        kept = quarantined(lab, COMMERCE_ORDERS)
        assert Counter((why, line) for why, line, _ in kept) == expected.quarantine
        assert all(line in {each.text for each in files[name]} for _, line, name in kept)
        assert ledger(made) == (
            len(found) + len(ANCHORS),
            expected.rows.total(),
            expected.duplicates,
            expected.quarantine.total(),
        )


# --- Hostile files --------------------------------------------------------------------------

GOOD = {contract: jsonl(BASES[contract]) for contract in BASES}
UTF_16 = "UTF-16 text: only UTF-8 is read"
REFUSED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda good: b"", "empty"),
    "blank": (lambda good: b"\n \n", "empty"),
    "empty array": (lambda good: b"[]", "empty"),
    "gzip of nothing": (lambda good: gzip.compress(b""), "empty"),
    "truncated gzip": (lambda good: gzip.compress(good * 99)[:-12], "damaged gzip: "),
    "wrong checksum": (lambda good: gzip.compress(good)[:-8] + bytes(8), "damaged gzip: "),
    "UTF-16": (lambda good: good.decode().encode("utf-16"), UTF_16),
    "gzipped UTF-16": (lambda good: gzip.compress(good.decode().encode("utf-16")), UTF_16),
    "CSV": (lambda good: b"a,b\n1,2\n", "not JSON Lines"),
    "another dataset's": (lambda good: b'{"id": 1}\n', "no "),
}


@pytest.mark.parametrize(
    ("contract", "hostile"),
    [
        *((COMMERCE_USERS, hostile) for hostile in REFUSED),
        *((contract, "another dataset's") for contract in (COMMERCE_EVENTS, COMMERCE_ORDERS)),
    ],
    ids=lambda value: value if isinstance(value, str) else value.identifier[1],
)
def test_a_refused_file_fails_its_drop_with_the_reason_and_what_was_live_stays(
    lab: Lab, contract: SilverContract, hostile: str
) -> None:
    spoil, reason = REFUSED[hostile]

    def live() -> list[Any]:
        made = (contract, contract.quarantine)
        return [(lab.rows(each), lab.lake.live(each)) for each in made]

    built(lab, contract, {name_of(contract): GOOD[contract]})
    before, name = live(), f"{name_of(contract)}.gz"
    lab.upload(name, spoil(GOOD[contract]))
    failed = lab.build_drop(contract)
    assert failed.status == "failed"
    assert str(failed.error).startswith(f"{name}: {reason}")
    assert live() == before
    lab.upload(name, gzip.compress(GOOD[contract]))
    assert ledger(built(lab, contract)) == (2, 1, 1, 0)


def test_every_refused_file_is_named_with_its_reason(lab: Lab) -> None:
    lab.upload("users.json", GOOD[COMMERCE_USERS])
    lab.upload("user.json", b"")
    lab.upload("users.jsonl", b"a,b\n")
    failed = lab.build_drop(COMMERCE_USERS)
    assert (failed.status, lab.rows(COMMERCE_USERS)) == ("failed", [])
    assert failed.error == (
        "user.json: empty; "
        "users.jsonl: not JSON Lines: none of its first 1 records is a JSON object"
    )


def test_a_refused_file_is_no_matter_of_other_datasets_or_days(lab: Lab) -> None:
    for contract, data in GOOD.items():
        lab.upload(name_of(contract), data)
        lab.upload(name_of(contract), data, "2026-01-02")
    lab.upload("users.json", b"")
    assert lab.build_drop(COMMERCE_USERS).status == "failed"
    for contract in (COMMERCE_EVENTS, COMMERCE_ORDERS):
        assert ledger(lab.build_drop(contract)) == (1, 1, 0, 0)
    assert ledger(lab.build_drop(COMMERCE_USERS, "2026-01-02")) == (1, 1, 0, 0)


def test_a_drop_whose_files_are_gone_is_an_empty_one(lab: Lab) -> None:
    built(lab, COMMERCE_USERS, {"users.json": jsonl(USER, "bad")})
    (lab.root / f"bronze/commerce/date={DROP}/users.json").unlink()
    assert ledger(built(lab, COMMERCE_USERS)) == (0, 0, 0, 0)
    assert lab.rows(COMMERCE_USERS) == quarantined(lab, COMMERCE_USERS) == []


@pytest.mark.parametrize(
    ("array", "gzipped"), [(False, True), (True, False)], ids=["gzipped lines", "array"]
)
def test_one_line_of_fifty_megabytes_among_good_ones_is_cut_and_told(
    lab: Lab, array: bool, gzipped: bool
) -> None:
    long = json.dumps({**USER, "user_id": "u_2", "country": "x" * 50_000_000})
    lines = [user("u_1"), long, user("u_3")]
    data = (f"[{','.join(lines)}]" if array else "\n".join(lines)).encode()
    files = {"users.json": gzip.compress(data, 1) if gzipped else data, "user.json": jsonl(USER)}
    assert ledger(built(lab, COMMERCE_USERS, files)) == (4, 2, 0, 2)
    told = {line: (reasons, name) for reasons, line, name in quarantined(lab, COMMERCE_USERS)}
    assert told == {
        long[:KEPT_OF_LONG_LINE] + "... (cut)": ("malformed_json", "users.json"),
        user("u_1"): ("conflict", "users.json"),
    }


def test_an_array_with_one_bad_element_gives_all_others(lab: Lab) -> None:
    bad = user("u_2")[:-1]
    data = json.dumps([json.loads(user(f"u_{n}")) for n in range(5)], indent=1)
    spoiled = data.replace('"u_2",\n  "signup_date": "2026-01-01"\n }', '"u_2"')
    assert spoiled != data
    assert ledger(built(lab, COMMERCE_USERS, {"users.json": spoiled.encode()})) == (5, 4, 0, 1)
    assert quarantined(lab, COMMERCE_USERS) == [
        ("malformed_json", '{   "user_id": "u_2"', "users.json")
    ]
    compact = f"[{user('u_1')},{bad},{user('u_3')}".encode()
    assert ledger(built(lab, COMMERCE_USERS, {"users.json": compact})) == (4, 2, 0, 2)
    assert sorted(line for _, line, _ in quarantined(lab, COMMERCE_USERS)) == [UNCLOSED, bad]


NESTED = (
    '{"user_id": {"user_id": "u_2"}}',
    '{"user_id": ["u_2"]}',
    '[{"user_id": "u_2"}]',
    '{"users": [{"user_id": "u_2"}, {"user_id": "u_3"}]}',
    '{"user_id": "u_4", "country": {"user_id": "u_5"}}',
    '{"user_id": "u_6", "country": "}, {\\"user_id\\": \\"u_7\\"}"}',
    '{"user_id": "u_8", "more": ' + "[" * 90 + "]" * 90 + "}",
    '{"more": {"user_id": "u_9"}}',
)


@pytest.mark.parametrize("array", [False, True], ids=["lines", "array"])
def test_what_is_nested_is_no_row_of_its_own(lab: Lab, array: bool) -> None:
    lines = [user(), *NESTED]
    data = f"[{', '.join(lines)}]".encode() if array else jsonl(*lines)
    assert ledger(built(lab, COMMERCE_USERS, {"users.json": data})) == (9, 4, 0, 5)
    assert {row[0]: row[2] for row in lab.rows(COMMERCE_USERS)} == {
        "u_1": None,
        "u_4": '{"user_id":"u_5"}',
        "u_6": '}, {"user_id": "u_7"}',
        "u_8": None,
    }
    assert sorted((why, line) for why, line, _ in quarantined(lab, COMMERCE_USERS)) == sorted(
        [
            ("user_id_invalid", NESTED[0]),
            ("user_id_invalid", NESTED[1]),
            ("malformed_json", NESTED[2]),
            ("user_id_missing", NESTED[3]),
            ("user_id_missing", NESTED[7]),
        ]
    )


@pytest.mark.parametrize("array", [False, True], ids=["lines", "array"])
def test_bytes_that_are_no_text_cost_their_line_only(lab: Lab, array: bool) -> None:
    lines = [
        user().encode(),
        b'{"user_id": "u\xff"}',
        user("u_é").encode(),
        b"\x01",
        b'{"a":"\x01"}',
    ]
    lines.insert(4, user("u_3").encode())
    data = b"[" + b", ".join(lines) + b"]" if array else b"\n".join(lines)
    assert ledger(built(lab, COMMERCE_USERS, {"users.json": data})) == (6, 3, 0, 3)
    assert sorted(row[0] for row in lab.rows(COMMERCE_USERS)) == ["u_1", "u_3", "u_é"]
    told = {line.replace("\x01", "\\x01") for _, line, _ in quarantined(lab, COMMERCE_USERS)}
    assert told == {'{"user_id": "u\\xff"}', "\\x01", '{"a":"\\x01"}'}


@pytest.mark.parametrize(
    "ends",
    [["\n"] * 4, ["\r\n"] * 4, ["\r"] * 4, ["\n\n \t\n"] * 4, ["\n", "\r\n", "\r", "\r\n \n"]],
    ids=["lf", "crlf", "cr", "blank lines", "all of them"],
)
def test_files_of_lines_are_read_however_they_are_spelled(lab: Lab, ends: list[str]) -> None:
    """The line behind a byte order mark is a row like any other, and so is one without an end."""

    def data(n: int) -> bytes:
        return (ends[n].join(user(f"u_{n}_{line}") for line in range(3)) + ends[n] * n).encode()

    mark = b"\xef\xbb\xbf"
    files = {
        "users.json": data(0),
        "user.json": mark + data(1),
        "users.json.gz": gzip.compress(data(2)),
        "user.json.gz": gzip.compress(mark + data(3)),
    }
    assert ledger(built(lab, COMMERCE_USERS, files)) == (12, 12, 0, 0)
