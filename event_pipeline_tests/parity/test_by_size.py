"""One lake made by two engines: small partitions by DuckDB, larger ones by Spark."""

import gzip
from datetime import date

import pytest

from event_pipeline.contracts import (
    COMMERCE_EVENTS,
    COMMERCE_ORDERS,
    COMMERCE_USERS,
    EVENTS,
    USER_ACTIVITY,
)
from event_pipeline.engines.by_size import MB, TransformerBySize
from event_pipeline.ingest.drops import DropProfile, write_drop
from event_pipeline.ingest.generator import Profile, generate
from event_pipeline.partitions import HOURLY
from event_pipeline_tests.conftest import DROP, GOLD_OF_EVENTS, Lab
from event_pipeline_tests.parity.conftest import Pair

# Hours of one day, and how many events each has.
HOURS = {f"{DROP}-{n:02}:00": events for n, events in enumerate((60, 900, 40, 1200))}
# Bytes between those of 60 events and of 900.
LIMIT = 8_000


@pytest.fixture
def mixed(pair: Pair) -> Pair:
    """Two labs, of which Spark's has DuckDB make what is small."""
    pair.spark.transformer = TransformerBySize(
        small=pair.duckdb.transformer, large=pair.spark.transformer, from_mb=LIMIT / MB
    )
    return pair


def engine(lab: Lab, *partition: object) -> str:
    return str(lab.receipt(*partition).run["engine"])  # type: ignore[arg-type]


def deliver(pair: Pair) -> None:
    for hour, events in HOURS.items():
        profile = Profile(events=events, late_share=0.2, fault_share=0.1)
        data = b"".join(generate(HOURLY.start(hour), profile))
        pair.deliver(gzip.compress(data), hour, lines=data.count(b"\n"))


def test_hours_of_both_sizes_and_gold_over_them(mixed: Pair) -> None:
    deliver(mixed)
    for hour in HOURS:
        assert mixed.build(EVENTS, hour).receipt.rejected
    by = [engine(mixed.spark, EVENTS, hour) for hour in HOURS]
    assert by == ["DuckDB", "Spark", "DuckDB", "Spark"]
    for contract in GOLD_OF_EVENTS:
        made = []
        for lab in mixed.labs:
            [built] = lab.gold(contract, DROP)
            assert built.status == "published", built.error
            assert built.receipt.made_from == "roll-ups"
            made.append((sorted(map(repr, lab.rows(contract, DROP))), built.receipt.totals))
        assert made[0] == made[1]
        assert made[0][0]


def test_a_range_is_sparks_whatever_its_size(mixed: Pair) -> None:
    deliver(mixed)
    by_range = mixed.spark.build(*HOURS)
    assert {engine(mixed.spark, EVENTS, built.key) for built in by_range} == {"Spark"}
    mixed.duckdb.build(*HOURS)
    for contract in (EVENTS, EVENTS.quarantine):
        of_duckdb, of_spark = (sorted(map(repr, lab.rows(contract))) for lab in mixed.labs)
        assert of_duckdb == of_spark


def test_what_one_engine_made_the_other_may_make_anew(mixed: Pair) -> None:
    """As with an hour that grows."""
    hour = next(iter(HOURS))
    whole = b"".join(generate(HOURLY.start(hour), Profile(events=900, fault_share=0.1)))
    lines = whole.splitlines(keepends=True)
    for minute, part in ((0, lines[:60]), (5, lines[60:]), (10, lines[:30])):
        mixed.deliver(gzip.compress(b"".join(part)), hour, minute)
        mixed.build(EVENTS, hour)
        assert engine(mixed.spark, EVENTS, hour) == ("DuckDB" if minute == 0 else "Spark")
    assert len(mixed.spark.rows()) == len(mixed.duckdb.rows())


def test_drops_of_both_sizes_and_what_joins_them(mixed: Pair) -> None:
    days = {DROP: 20, "2026-01-02": 300}
    for day, records in days.items():
        for lab in mixed.labs:
            write_drop(lab.store, date.fromisoformat(day), DropProfile(records, fault_share=0.1))
        for contract in (COMMERCE_USERS, COMMERCE_EVENTS, COMMERCE_ORDERS):
            assert mixed.build(contract, day).status == "published"
        assert mixed.gold(day).receipt.rows > 0
    contracts = (COMMERCE_USERS, COMMERCE_EVENTS, COMMERCE_ORDERS, USER_ACTIVITY)
    by = {day: {engine(mixed.spark, c, day) for c in contracts} for day in days}
    assert by["2026-01-02"] == {"Spark"}
    assert by[DROP] >= {"DuckDB"}
