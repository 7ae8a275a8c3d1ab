"""Whole feeds: those that the project's producers write, and real ones where they are at hand."""

import gzip
from datetime import date
from pathlib import Path

import pytest

from event_pipeline.contracts import (
    COMMERCE_EVENTS,
    COMMERCE_ORDERS,
    COMMERCE_USERS,
    EVENTS,
    SilverContract,
)
from event_pipeline.ingest.drops import DropProfile, write_drop
from event_pipeline.ingest.generator import Mode, Profile, generate
from event_pipeline.ingest.load.ledger import Loads
from event_pipeline.ingest.load.loading import Loaded, Order, load
from event_pipeline.ingest.load.mapping import read_mapping
from event_pipeline.ingest.load.sources import find_sources
from event_pipeline.partitions import HOURLY
from event_pipeline.settings import Settings
from event_pipeline_tests.conftest import DROP, HOUR
from event_pipeline_tests.parity.conftest import Pair

DROPS = {"users": COMMERCE_USERS, "events": COMMERCE_EVENTS, "orders": COMMERCE_ORDERS}
EXAMPLES = Path(__file__).parents[1] / "examples"
# Real data lies beside the project and is no part of it.
REAL = Path(__file__).parents[3] / "shared/data"
OBJECT = REAL / "events-20251119-175454.jsonl.gz"
REES46 = REAL / "rees46-2019-10-01-small.csv"
UCI = REAL / "uci-online-retail"
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data in {REAL}")


def test_what_the_producer_writes(pair: Pair) -> None:
    modes: tuple[Mode, ...] = ("sessions", "original")
    for n, mode in enumerate(modes):
        profile = Profile(events=400, mode=mode, late_share=0.1, fault_share=0.2)
        data = b"".join(generate(HOURLY.start(HOUR).replace(minute=5 * n), profile))
        pair.deliver(gzip.compress(data), minute=5 * n, lines=data.count(b"\n"))
    found = pair.build()
    assert found.status == "published", found.error
    assert len(found.receipt.event_dates) > 1
    assert found.receipt.duplicates > 10
    assert len(found.receipt.rejected) == 5


def test_what_the_generator_of_drops_writes(pair: Pair) -> None:
    for lab in pair.labs:
        write_drop(lab.store, date.fromisoformat(DROP), DropProfile(records=600, fault_share=0.2))
    for contract in DROPS.values():
        found = pair.build(contract)
        assert found.status == "published", found.error
        assert found.receipt.rejected["conflict"] > 1
    assert pair.gold().receipt.rows > 100


def loaded(
    pair: Pair, file: Path, mapping: Path, contract: SilverContract, drop: str = ""
) -> Loaded:
    """Loads a file into both labs, as a person does."""
    order = Order(contract, read_mapping(mapping), drop=drop or None)
    (source,) = find_sources([str(file)])
    for lab in pair.labs:
        settings = Settings(home=lab.root.parent, first_day=date(2010, 1, 1))
        done = load(settings, source, order, Loads(settings.root))
    return done


@real
def test_an_object_of_the_source(pair: Pair) -> None:
    pair.deliver(OBJECT.read_bytes())
    assert pair.build().receipt.rows == 100


@real
def test_a_real_shops_clickstream(pair: Pair) -> None:
    assert loaded(pair, REES46, EXAMPLES / "rees46.sql", EVENTS).rows == 5_019
    receipt = pair.build(EVENTS, "2019-10-01-02:00").receipt
    assert (receipt.lines, receipt.rows, receipt.duplicates) == (3_815, 3_812, 3)


@real
def test_a_real_retailers_day(pair: Pair) -> None:
    """Some of its invoices are cancelled, and some are of no known customer."""
    day, mapping = "2010-12-01", EXAMPLES / "uci/orders.sql"
    done = loaded(pair, UCI / f"{day}.csv", mapping, COMMERCE_ORDERS, day)
    assert pair.build(COMMERCE_ORDERS, day).receipt.rows == done.rows > 100
