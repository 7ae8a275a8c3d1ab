"""Bronze objects: what counts as one, and the digest that stands for a set of them."""

import errno
import gzip
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_pipeline.contracts import (
    COMMERCE_EVENTS,
    COMMERCE_ORDERS,
    COMMERCE_USERS,
    EVENTS,
    Contract,
    feeds,
)
from event_pipeline.lake.listing import BronzeObject
from event_pipeline.lake.manifests import Deviation
from event_pipeline.lake.objects import EMPTY, Listing
from event_pipeline.lake.spelling import Spelling
from event_pipeline.lake.uploads import Verdict, judge
from event_pipeline_tests.conftest import DROP, HOUR, Lab, jsonl

DATASETS = (COMMERCE_USERS, COMMERCE_EVENTS, COMMERCE_ORDERS)
FOLDER = f"bronze/commerce/date={DROP}/"
USERS = b'{"user_id": "u_1"}\n'

found = st.builds(
    BronzeObject, st.text("abc/=-.", min_size=1), st.text("0123-", min_size=1), st.integers(0, 9)
)
sets = st.lists(found, max_size=5, unique_by=lambda item: item.key).map(tuple)


@given(one=sets, other=sets)
def test_digests_are_equal_exactly_when_keys_and_versions_are(
    one: tuple[BronzeObject, ...], other: tuple[BronzeObject, ...]
) -> None:
    def versions(objects: tuple[BronzeObject, ...]) -> set[tuple[str, str]]:
        return {(item.key, item.etag) for item in objects}

    assert (Listing(one).digest == Listing(other).digest) == (versions(one) == versions(other))


@given(one=sets.filter(bool))
def test_a_digest_depends_on_every_object_and_on_no_order(one: tuple[BronzeObject, ...]) -> None:
    digest = Listing(one).digest
    assert Listing(one[::-1]).digest == digest
    assert Listing(one, foreign=("more",)).digest == digest
    assert Listing(one[1:]).digest != digest
    assert Listing((replace(one[0], etag=one[0].etag + "0"), *one[1:])).digest != digest
    assert Listing((replace(one[0], key=one[0].key + "a"), *one[1:])).digest != digest


def test_an_hours_digest_follows_its_objects(lab: Lab) -> None:
    assert lab.objects.partition(EVENTS, HOUR) == EMPTY
    digests = {EMPTY.digest}
    lab.deliver(jsonl(["a"]))
    digests.add(lab.objects.partition(EVENTS, HOUR).digest)
    lab.deliver(jsonl(["b"]))  # the same size, the same second
    digests.add(lab.objects.partition(EVENTS, HOUR).digest)
    lab.deliver(jsonl(["a"]), minute=5)
    digests.add(both := lab.objects.partition(EVENTS, HOUR).digest)
    assert len(digests) == 4
    lab.deliver(jsonl(["elsewhere"]), "2026-01-01-11:00")
    assert lab.objects.partition(EVENTS, HOUR).digest == both
    lab.delete(minute=5)
    assert lab.objects.partition(EVENTS, HOUR).digest in digests - {both}


@pytest.mark.parametrize(
    "name",
    [
        "minute=00/_SUCCESS",
        "minute=00/events-20260101-100000.jsonl",
        "minute=00/events-20260101-100000.jsonl.gz.tmp",
        "minute=00/xevents-20260101-100000.jsonl.gz",
        "minute=0/events-20260101-100000.jsonl.gz",
        "minute=00/events-2026-01-01.jsonl.gz",
        "events-20260101-100000.jsonl.gz",
        "minute=00/events-20260101-100000-UP.jsonl.gz",
    ],
)
def test_a_foreign_object_is_reported_and_not_read(lab: Lab, name: str) -> None:
    key = lab.deliver(jsonl(["bad"]))
    digest = lab.objects.partition(EVENTS, HOUR).digest
    foreign = f"{key.split('minute=')[0]}{name}"
    path = lab.root / foreign
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jsonl(["bad"]))
    listing = lab.objects.partition(EVENTS, HOUR)
    assert ([item.key for item in listing.objects], listing.foreign) == ([key], (foreign,))
    assert listing.digest == digest
    (built,) = lab.build()
    assert (built.receipt.lines, built.receipt.foreign) == (1, (foreign,))


def test_a_loaded_file_beside_a_producers_object_is_read(lab: Lab) -> None:
    key = lab.deliver(jsonl(["bad"]))
    (lab.root / key.replace(".jsonl", "-0123abcdef45.jsonl")).write_bytes(jsonl(["worse"]))
    (built,) = lab.build()
    assert built.receipt.lines == 2


def test_a_day_lists_its_hours_and_no_others(lab: Lab) -> None:
    lab.deliver(jsonl(["a"]), "2026-01-01-00:00")
    lab.deliver(jsonl(["a"]), "2026-01-01-23:00", 55)
    lab.deliver(jsonl(["a"]), "2026-01-02-00:00")
    hours = lab.objects.day(EVENTS, date(2026, 1, 1))
    assert sorted(hours) == ["2026-01-01-00:00", "2026-01-01-23:00"]
    assert hours == {hour: lab.objects.partition(EVENTS, hour) for hour in hours}


def test_a_manifest_counts_for_what_it_was_written_for(lab: Lab) -> None:
    key = lab.deliver(jsonl(["a", "b"]), lines=2)
    (source,) = lab.objects.sources(EVENTS, lab.objects.partition(EVENTS, HOUR))
    assert (source.key, source.lines) == (key, 2)
    lab.deliver(jsonl(["a", "b", "c"]))
    (source,) = lab.objects.sources(EVENTS, lab.objects.partition(EVENTS, HOUR))
    assert source.lines is None
    (built,) = lab.build()
    assert (built.status, built.receipt.lines) == ("published", 3)


def test_in_a_copy_of_a_lake_manifests_count_though_etags_are_others(lab: Lab) -> None:
    key = lab.deliver(jsonl(["a", "b"]), lines=2)
    data = (lab.root / key).read_bytes()
    (lab.root / key).unlink()
    (lab.root / key).write_bytes(data)
    listing = lab.objects.partition(EVENTS, HOUR)
    assert listing.objects[0].etag not in lab.manifest(key).read_text()
    (source,) = lab.objects.sources(EVENTS, listing)
    assert source.lines == 2
    assert source.sha256
    assert lab.objects.deviations(listing) == ()


def deviation(lab: Lab) -> Deviation:
    """How the hour's one object deviates."""
    (found,) = lab.objects.deviations(lab.objects.partition(EVENTS, HOUR))
    return found


@pytest.mark.parametrize("after", [0, 1, 300, -20, -4])
def test_an_object_that_is_cut_is_named_with_the_lines_that_it_lacks(lab: Lab, after: int) -> None:
    lines = [f'{{"n": {n}, "text": "{n * 7919 % 1000003}"}}' for n in range(1000)]
    key = lab.deliver(jsonl(lines), lines=1000)
    (lab.root / key).write_bytes((lab.root / key).read_bytes()[:after])
    found = deviation(lab)
    assert (found.object, found.promised_lines) == (key, 1000)
    assert found.lines is not None
    assert found.missing_lines == 1000 - found.lines
    assert found.lines < (1000 if after != -4 else 1001)
    assert "its producer wrote" in found.why


def test_other_bytes_of_the_same_number_are_seen_even_where_the_etag_is_the_same(lab: Lab) -> None:
    key = lab.deliver(jsonl(["a", "b"]), lines=2)
    path = lab.root / key
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(4)
        file.write(b"\x07")  # in the header's time, which no reader looks at
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (
        lab.objects.partition(EVENTS, HOUR).objects[0].etag
        in json.loads(lab.manifest(key).read_text())["etag"]
    )
    assert deviation(lab).why == "its sha256 differs from what its producer wrote"
    assert deviation(lab).missing_lines == 0


@pytest.mark.parametrize(
    "change",
    [{"bytes": 1}, {"sha256": "0"}, {"lines": None}, {"lines": "9"}, {"lines": 9.0}],
    ids=str,
)
def test_a_manifest_that_does_not_fit_is_not_trusted(lab: Lab, change: dict[str, object]) -> None:
    key = lab.deliver(jsonl(["a", "b"]), lines=9)
    manifest = lab.manifest(key)
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **change}))
    assert deviation(lab).lines == 2
    (built,) = lab.build()
    assert (built.status, built.receipt.lines) == ("published", 2)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "\xff"])
def test_a_manifest_that_is_none_is_not_trusted(lab: Lab, text: str) -> None:
    key = lab.deliver(jsonl(["a", "b"]), lines=9)
    lab.manifest(key).write_bytes(text.encode("latin-1"))
    assert "its manifest does not state lines" in deviation(lab).why
    (built,) = lab.build()
    assert (built.status, built.receipt.lines) == ("published", 2)


def test_an_object_delivered_again_in_another_hour_is_told(lab: Lab) -> None:
    data = jsonl(["bad"])
    first = lab.deliver(data, "2026-01-01-09:00", lines=1)
    again = lab.deliver(data, HOUR, 30, lines=1)
    lab.build("2026-01-01-09:00")
    (built,) = lab.build()
    assert built.receipt.redelivered == {again: first}


# --- Drops ----------------------------------------------------------------------------------


def in_drop(lab: Lab, day: str = DROP) -> dict[str, Contract]:
    """The dataset that reads each of a drop's files."""
    return {
        item.key.removeprefix(FOLDER): contract
        for contract in DATASETS
        for item in lab.objects.partition(contract, day).objects
    }


def foreign_in_drop(lab: Lab, day: str = DROP) -> list[tuple[str, Contract]]:
    """Foreign files, each with the dataset under which it is shown."""
    return [
        (key.removeprefix(FOLDER), contract)
        for contract in DATASETS
        for key in lab.objects.partition(contract, day).foreign
    ]


@pytest.mark.parametrize("end", ["json", "jsonl", "json.gz", "jsonl.gz"])
@pytest.mark.parametrize(
    ("name", "contract"),
    [
        ("users", COMMERCE_USERS),
        ("user", COMMERCE_USERS),
        ("events", COMMERCE_EVENTS),
        ("orders", COMMERCE_ORDERS),
    ],
)
def test_a_file_of_a_drop_is_its_datasets_by_its_whole_name(
    lab: Lab, name: str, contract: Contract, end: str
) -> None:
    lab.upload(f"{name}.{end}", b"{}")
    assert in_drop(lab) == {f"{name}.{end}": contract}
    assert foreign_in_drop(lab) == []


FOREIGN = {
    "users.json.bak": COMMERCE_USERS,
    "my_users.json": COMMERCE_USERS,
    "users.json/part": COMMERCE_USERS,
    "users.json/part-0000.json.gz": COMMERCE_USERS,
    "archive/users.json": COMMERCE_USERS,
    "Users.json": COMMERCE_USERS,
    "USER.JSON.GZ": COMMERCE_USERS,
    "users.json.gz.gz": COMMERCE_USERS,
    "users.jsonll": COMMERCE_USERS,
    "usersxjson": COMMERCE_USERS,
    "users.json ": COMMERCE_USERS,
    "users.csv": COMMERCE_USERS,
    "users": COMMERCE_USERS,
    "users.json.tmp": COMMERCE_USERS,
    "event.json": COMMERCE_EVENTS,
    "events_2.json": COMMERCE_EVENTS,
    "events.parquet": COMMERCE_EVENTS,
    "order.json": COMMERCE_ORDERS,
    "orders (1).json": COMMERCE_ORDERS,
    "orders.zip": COMMERCE_ORDERS,
    "ordérs.json": COMMERCE_ORDERS,
}


@pytest.mark.parametrize(("name", "nearest"), FOREIGN.items(), ids=map(repr, FOREIGN))
def test_a_foreign_file_is_told_once_and_under_the_dataset_it_is_most_like(
    lab: Lab, name: str, nearest: Contract
) -> None:
    lab.upload(name, USERS)
    assert in_drop(lab) == {}
    assert foreign_in_drop(lab) == [(name, nearest)]


@pytest.mark.parametrize("name", ["_SUCCESS", "readme.md", "products.json", "x", "date=2026-01-02"])
def test_a_file_that_is_like_none_is_told_once_all_the_same(lab: Lab, name: str) -> None:
    lab.upload(name, USERS)
    assert [found for found, _ in foreign_in_drop(lab)] == [name]


def test_all_that_lies_in_a_drop_is_read_or_told_by_exactly_one_dataset(lab: Lab) -> None:
    good = ["events.json.gz", "orders.jsonl", "user.json", "users.json"]
    for name in (*good, "events.txt", "orders.json.bak", "users (1).json", "_SUCCESS"):
        lab.upload(name, USERS)
    assert sorted(in_drop(lab)) == good
    found = foreign_in_drop(lab)
    assert sorted(name for name, _ in found) == [
        "_SUCCESS",
        "events.txt",
        "orders.json.bak",
        "users (1).json",
    ]
    for contract in DATASETS:
        listing = lab.objects.partition(contract, DROP)
        assert lab.objects.day(contract, date.fromisoformat(DROP)) == {DROP: listing}


def test_what_another_dataset_brings_does_not_change_a_listing(lab: Lab) -> None:
    lab.upload("users.json", USERS)
    before = lab.objects.partition(COMMERCE_USERS, DROP)
    lab.upload("orders.json", USERS)
    lab.upload("orders.csv", USERS)
    lab.upload("users.json", USERS, "2026-01-02")
    assert lab.objects.partition(COMMERCE_USERS, DROP) == before
    assert lab.objects.partition(COMMERCE_EVENTS, DROP) == EMPTY


def test_a_foreign_file_changes_the_version_and_not_the_digest(lab: Lab) -> None:
    lab.upload("users.json", USERS)
    alone = lab.objects.partition(COMMERCE_USERS, DROP)
    assert alone.version == alone.digest
    versions = {alone.version}
    for name in ("users.csv", "users.txt"):
        lab.upload(name, USERS)
        listing = lab.objects.partition(COMMERCE_USERS, DROP)
        assert listing.digest == alone.digest
        versions.add(listing.version)
    assert len(versions) == 3
    lab.upload("users.txt", USERS * 2)  # Nobody reads it, whatever is in it.
    assert lab.objects.partition(COMMERCE_USERS, DROP).version in versions
    (lab.root / FOLDER / "users.txt").unlink()
    (lab.root / FOLDER / "users.csv").unlink()
    assert lab.objects.partition(COMMERCE_USERS, DROP) == alone


@given(one=sets, foreign=st.lists(st.text("abc", min_size=1), min_size=1, unique=True).map(tuple))
def test_a_version_is_of_objects_and_foreign_ones(
    one: tuple[BronzeObject, ...], foreign: tuple[str, ...]
) -> None:
    version = Listing(one, foreign).version
    assert version == Listing(one[::-1], foreign).version
    assert version not in {Listing(one).version, Listing(one, foreign[1:]).version}
    assert version != Listing((*one, BronzeObject("new", "0", 0)), foreign).version


def test_what_lies_beside_the_drops_is_a_stray(lab: Lab) -> None:
    lab.upload("users.json", USERS)
    assert lab.objects.strays(COMMERCE_USERS) == []
    for path in (
        "users.json",
        "date=2026-02-30/users.json",
        "date=2026-1-2/users.json",
        "date=20260102/users.json",
        "date=2026-01-02 /users.json",
        "Date=2026-01-02/users.json",
        "2026-01-02/users.json",
        "year=2026/month=01/day=02/users.json",
    ):
        lab.store.put(f"bronze/commerce/{path}", USERS)
    strays = [
        f"bronze/commerce/{name}"
        for name in (
            "2026-01-02",
            "Date=2026-01-02",
            "date=2026-01-02 ",
            "date=2026-02-30",
            "date=2026-1-2",
            "date=20260102",
            "users.json",
            "year=2026",
        )
    ]
    for contract in DATASETS:
        assert lab.objects.strays(contract) == strays
        assert list(lab.objects.days(contract)) == [date.fromisoformat(DROP)]
    assert lab.objects.strays(EVENTS) == []


def test_days_are_the_folders_of_drops_in_order(lab: Lab) -> None:
    assert list(lab.objects.days(COMMERCE_USERS)) == []
    for day in ("2026-01-10", "2025-12-31", "2024-02-29", "9999-12-31"):
        lab.upload("users.json", USERS, day)
    lab.upload("readme.md", USERS, "2026-01-09")
    assert [f"{day}" for day in lab.objects.days(COMMERCE_ORDERS)] == [
        "2024-02-29",
        "2025-12-31",
        "2026-01-09",
        "2026-01-10",
        "9999-12-31",
    ]


def test_files_that_cannot_be_used_are_refused_each_on_its_own(lab: Lab) -> None:
    good = lab.upload("users.json", USERS)
    empty = lab.upload("user.json", b"")
    cut = lab.upload("users.json.gz", gzip.compress(USERS)[:-4])
    listing = lab.objects.partition(COMMERCE_USERS, DROP)
    assert {item.key for item in listing.objects} == {good, empty, cut}
    refused = lab.objects.refused(COMMERCE_USERS, listing)
    assert (sorted(refused), refused[empty]) == ([empty, cut], "empty")
    assert refused[cut].startswith("damaged gzip")
    assert lab.objects.refused(COMMERCE_USERS, EMPTY) == {}


def test_a_producers_object_is_never_refused_as_a_whole(lab: Lab) -> None:
    """Its bad lines go to quarantine, so that an hour is made whatever one object holds."""
    lab.deliver(b"no gzip")
    listing = lab.objects.partition(EVENTS, HOUR)
    assert lab.objects.refused(EVENTS, listing) == {}
    assert lab.objects.verdict(EVENTS, listing.objects[0]) == Verdict()


def test_a_source_says_how_its_file_is_spelled(lab: Lab) -> None:
    spelled = {
        "users.json": (USERS, Spelling()),
        "users.json.gz": (b"[" + USERS + b"]", Spelling("", "array")),
        "user.json": (gzip.compress(USERS), Spelling("gzip")),
        "user.jsonl": (gzip.compress(b"[" + USERS + b"]"), Spelling("gzip", "array")),
    }
    for name, (data, _) in spelled.items():
        lab.upload(name, data)
    sources = lab.objects.sources(COMMERCE_USERS, lab.objects.partition(COMMERCE_USERS, DROP))
    assert {s.key.removeprefix(FOLDER): s.spelling for s in sources} == {
        name: spelling for name, (_, spelling) in spelled.items()
    }


def test_a_file_is_judged_once_and_an_overwritten_one_anew(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = []

    def counting(raw: IO[bytes], key: Sequence[str], names: Sequence[str]) -> Verdict:
        judged.append(key)
        return judge(raw, key, names)

    monkeypatch.setattr("event_pipeline.lake.objects.judge", counting)

    def refused() -> dict[str, str]:
        listing = lab.objects.partition(COMMERCE_USERS, DROP)
        return lab.objects.refused(COMMERCE_USERS, listing)

    key = lab.upload("users.json", b'{"user_jd": "u_1"}\n')
    for _ in range(3):
        assert refused() == {key: "no user_id in its first 1 records"}
    assert len(judged) == 1
    modified = (lab.root / key).stat().st_mtime_ns
    lab.upload("users.json", USERS)  # of the same size
    os.utime(lab.root / key, ns=(modified, modified))  # and the same time
    for _ in range(3):
        assert refused() == {}
    assert len(judged) == 2
    (lab.root / key).unlink()
    assert refused() == {}
    lab.upload("users.json", b"")
    assert refused() == {key: "empty"}


def test_a_file_that_went_after_it_was_listed_is_refused_for_that(lab: Lab) -> None:
    key = lab.upload("users.json", USERS)
    listing = lab.objects.partition(COMMERCE_USERS, DROP)
    (lab.root / key).unlink()
    assert lab.objects.refused(COMMERCE_USERS, listing) == {
        key: "it was deleted after it was listed"
    }
    assert lab.objects.verdict(COMMERCE_USERS, listing.objects[0]).error


def test_the_same_file_in_two_lakes_is_judged_in_each(lab: Lab) -> None:
    other = Lab(lab.root / "other")
    lab.upload("users.json", b"")
    other.upload("users.json", USERS)
    assert lab.objects.refused(COMMERCE_USERS, lab.objects.partition(COMMERCE_USERS, DROP))
    assert not other.objects.refused(COMMERCE_USERS, other.objects.partition(COMMERCE_USERS, DROP))


def test_an_empty_partition_has_no_sources(lab: Lab) -> None:
    for contract in DATASETS:
        assert lab.objects.partition(contract, DROP) == EMPTY
        assert lab.objects.day(contract, date.fromisoformat(DROP)) == {}
        assert lab.objects.sources(contract, EMPTY) == ()


@pytest.mark.parametrize("name", [b"users.json\n", b"us\xffers.json"])
def test_a_name_that_no_store_can_hold_is_foreign_and_stops_nothing(lab: Lab, name: bytes) -> None:
    key = lab.upload("users.json", b"{}")
    os.rename(lab.root / key, os.fsencode((lab.root / key).parent) + b"/" + name)
    kept = lab.upload("users.json", USERS)
    listing = lab.objects.partition(COMMERCE_USERS, DROP)
    assert [item.key for item in listing.objects] == [kept]
    assert [each.isprintable() for each in listing.foreign] == [True]


def test_days_are_listed_from_the_first_and_no_more_than_are_asked_for(lab: Lab) -> None:
    days = [date(2024, 2, 29), date(2025, 12, 31), date(2026, 1, 1), date(2026, 1, 2)]
    for day in days:
        lab.deliver(jsonl(["a"]), f"{day}-10:00")
    for odd in ("month=13/day=01", "month=11/day=31", "month=1/day=01", "month=01"):
        (lab.root / f"bronze/events/year=2025/{odd}").mkdir(parents=True)
    assert list(lab.objects.days(EVENTS)) == days
    assert list(lab.objects.days(EVENTS, days[2])) == days[2:]
    assert list(lab.objects.days(EVENTS, date(2025, 1, 1))) == days[1:]
    assert list(lab.objects.days(EVENTS, date(2027, 1, 1))) == []
    assert next(lab.objects.days(EVENTS, date(2024, 3, 1))) == days[1]
    assert lab.objects.all(EVENTS) == {
        f"{day}-10:00": lab.objects.partition(EVENTS, f"{day}-10:00") for day in days
    }


def test_a_folder_that_cannot_be_read_keeps_its_partitions_and_no_others(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = ["2026-01-01-09:00", HOUR, "2026-01-02-00:00"]
    for hour in hours:
        lab.deliver(jsonl(["a"]), hour)
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).rstrip("/").endswith("/day=01"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = lab.objects.all(EVENTS, hours)
    assert {hour: lab.objects.refused(EVENTS, listing) for hour, listing in found.items()} == {
        hours[0]: {"bronze/events/year=2026/month=01/day=01/": "cannot be read: Permission denied"},
        hours[1]: {"bronze/events/year=2026/month=01/day=01/": "cannot be read: Permission denied"},
        hours[2]: {},
    }
    assert set(lab.objects.day(EVENTS, date(2026, 1, 1))) >= set(hours[:2])


def test_a_feed_lies_under_a_root_of_its_own(lab: Lab, tmp_path: Path) -> None:
    """It is read there, and nothing of the lake's is mistaken for it."""
    root = tmp_path / "theirs"
    bronze = replace(feeds.FIREHOSE, root=str(root), names=r"shop-.*", expected="shop-1")
    contract = replace(EVENTS, bronze=bronze)
    for base, name in ((root, "shop-1"), (root, "other"), (lab.root, "shop-2")):
        path = base / "firehose/2026/01/01/10" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"timestamp": "2026-01-01T10:00:00Z"}))
    listing = lab.objects.partition(contract, HOUR)
    assert [item.name for item in listing.objects] == ["shop-1"]
    assert listing.foreign == ("firehose/2026/01/01/10/other",)
    assert lab.objects.day(contract, date(2026, 1, 1)) == {HOUR: listing}
    assert list(lab.objects.days(contract)) == [date(2026, 1, 1)]
    (source,) = lab.objects.sources(contract, listing)
    assert source.uri == f"{root}/firehose/2026/01/01/10/shop-1"
    assert source.spelling == Spelling("", "lines")
    (built,) = lab._build(contract, [HOUR], {})
    assert (built.receipt.lines, built.receipt.quarantined) == (1, 1)
