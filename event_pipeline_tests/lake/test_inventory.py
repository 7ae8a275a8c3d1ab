"""Everything under Bronze is read by a partition, or named with its kind and the reason."""

import gzip
import os
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from event_pipeline.contracts import COMMERCE_USERS, EVENTS, SILVER, feeds
from event_pipeline.lake import inventory
from event_pipeline.lake.inventory import FOREIGN, Inventory, take_inventory
from event_pipeline.lake.objects import Objects
from event_pipeline_tests.conftest import DROP, HOUR, Lab, jsonl

NOW = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
OBJECT = gzip.compress(b"{}\n")
NAME = "minute=00/events-20260101-100000.jsonl.gz"


def take(lab: Lab) -> Inventory:
    return take_inventory(lab.objects, date(2025, 1, 1), NOW)


def kinds(lab: Lab) -> dict[str, str]:
    return {each.key: each.kind for each in take(lab).unread}


def test_what_is_read_is_what_each_partition_lists(lab: Lab) -> None:
    for hour in ("2025-12-31-23:00", HOUR, "2026-01-01-12:00"):
        lab.deliver(jsonl(["a"]), hour, lines=1)
    lab.upload("users.json", b"{}")
    lab.upload("orders.json", b"{}", "2025-06-01")
    found = take(lab)
    assert found.unread == ()
    assert {c.asset: sorted(found.of(c)) for c in SILVER} == {
        "silver/events": ["2025-12-31-23:00", HOUR, "2026-01-01-12:00"],
        "silver/commerce_users": [DROP],
        "silver/commerce_events": [],
        "silver/commerce_orders": ["2025-06-01"],
    }
    for contract in SILVER:
        for key, listing in found.of(contract).items():
            assert listing == lab.objects.partition(contract, key)


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("year=2026/month=01/day=01/hour=10/_SUCCESS", b"", inventory.MARKER),
        ("year=2026/month=01/day=01/hour=10/.part-0.json.crc", b"crc", inventory.MARKER),
        ("_SUCCESS", b"", inventory.MARKER),
        ("year=2026/month=01/day=01/hour=10/_SUCCESS", b"{}", inventory.FOREIGN),
        ("year=2026/month=01/day=01/hour=10/part-0", b"", inventory.FOREIGN),
    ],
)
def test_a_marker_that_holds_no_data_needs_nobody(
    lab: Lab, name: str, data: bytes, kind: str
) -> None:
    lab.store.put(f"bronze/events/{name}", data)
    [unread] = take(lab).unread
    assert (unread.kind, unread.needs_attention) == (kind, kind != inventory.MARKER)


def test_what_is_not_read_is_named_with_its_kind(lab: Lab) -> None:
    lab.deliver(jsonl(["a"]))
    events = {
        f"year=2026/month=1/day=01/hour=10/{NAME}": inventory.NO_PARTITION,
        f"year=2026/month=13/day=01/hour=10/{NAME}": inventory.NO_SUCH_TIME,
        f"year=2025/month=11/day=31/hour=10/{NAME}": inventory.NO_SUCH_TIME,
        f"year=2026/month=01/day=01/hour=99/{NAME}": inventory.NO_SUCH_TIME,
        f"year=0000/month=01/day=01/hour=00/{NAME}": inventory.NO_SUCH_TIME,
        f"year=2024/month=12/day=31/hour=23/{NAME}": inventory.TOO_OLD,
        f"year=2026/month=01/day=01/hour=13/{NAME}": inventory.SOON,
        f"year=2026/month=01/day=01/hour=14/{NAME}": inventory.TO_COME,
        f"year=2099/month=01/day=01/hour=00/{NAME}": inventory.TO_COME,
        f"Year=2026/month=01/day=01/hour=10/{NAME}": inventory.NO_PARTITION,
        f"year=\uff12\uff10\uff12\uff16/month=01/day=01/hour=10/{NAME}": inventory.NO_PARTITION,
        "year=2026/readme.txt": inventory.NO_PARTITION,
        "events.jsonl.gz": inventory.NO_PARTITION,
        "year=2026/month=01/day=01/hour=10/minute=00/.events.jsonl.gz.Ab3x": inventory.FOREIGN,
        f"year=2026/month=01/day=01/hour=10/{NAME}#1": inventory.FOREIGN,
        "year=2026/month=01/day=01/hour=10/.DS_Store": inventory.FOREIGN,
        f"year=2026/month=01/day=01/hour=11/{NAME}/part-0": inventory.FOREIGN,
    }
    others = {
        "bronze/commerce/date=2026-01-01/products.json": inventory.FOREIGN,
        "bronze/commerce/date=2025-11-31/users.json": inventory.NO_SUCH_TIME,
        "bronze/commerce/date=2026-1-1/users.json": inventory.NO_PARTITION,
        "bronze/commerce/date=2024-01-01/users.json": inventory.TOO_OLD,
        "bronze/commerce/date=2026-01-02/users.json": inventory.SOON,
        "bronze/commerce/date=2026-02-01/users.json": inventory.TO_COME,
        "bronze/other/users.json": inventory.NO_DATASET,
        "bronze/Events/users.json": inventory.NO_DATASET,
        "bronze/loose": inventory.NO_DATASET,
        "bronze/_manifests/events/gone.jsonl.gz.json": inventory.ORPHAN,
        "bronze/_manifests/notes.txt": inventory.NO_DATASET,
    }
    expected = {f"bronze/events/{name}": kind for name, kind in events.items()} | others
    for key in expected:
        lab.store.put(key, OBJECT)
    lab.store.put("bronze/_loads/one.json", b"{}")
    (lab.root / "bronze/events/link").symlink_to("nowhere")
    os.mkfifo(lab.root / "bronze/events/pipe")
    expected |= dict.fromkeys(("bronze/events/link", "bronze/events/pipe"), inventory.UNREADABLE)
    assert kinds(lab) == expected
    found = take(lab)
    assert all(each.why for each in found.unread)
    assert {each.kind for each in found.unread if not each.needs_attention} == {inventory.SOON}
    assert list(found.of(EVENTS)) == [HOUR]
    assert list(found.of(COMMERCE_USERS)) == []


def test_counts_are_exact_of_ten_thousand(lab: Lab) -> None:
    folder = lab.root / "bronze/events/year=2026/month=01/day=01/hour=10"
    folder.mkdir(parents=True)
    for n in range(10_000):
        (folder / f"{n}.csv").touch()
    assert Counter(each.kind for each in take(lab).unread) == {inventory.FOREIGN: 10_000}


def test_what_lies_under_a_feeds_own_root_is_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    bronze = replace(feeds.FIREHOSE, root=str(theirs), names=r"shop-.*", expected="shop-1")
    contract = replace(EVENTS, bronze=bronze)
    for module in ("objects", "inventory"):
        monkeypatch.setattr(f"event_pipeline.lake.{module}.SILVER", (contract, COMMERCE_USERS))
    for name in ("shop-1", "other"):
        path = theirs / "firehose/2026/01/01/10" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    now = datetime(2026, 1, 2, tzinfo=UTC)
    found = take_inventory(Objects(root=str(tmp_path / "lake")), date(2026, 1, 1), now)
    assert list(found.of(contract)) == ["2026-01-01-10:00"]
    (unread,) = found.unread
    assert (unread.key, unread.kind) == (f"{theirs}/firehose/2026/01/01/10/other", FOREIGN)
