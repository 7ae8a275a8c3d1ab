"""What lies under a key: the same keys and ETags as obstore's, and every other name told."""

import os
import socket
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws
from obstore.store import LocalStore

from event_pipeline import aws
from event_pipeline.contracts import COMMERCE_USERS
from event_pipeline.lake.inventory import take_inventory
from event_pipeline.lake.listing import BronzeObject, NoObject, list_right_under, list_under
from event_pipeline.lake.objects import Objects

NAMES = (
    "a b", "a%b", "a%20b", "a#1x", "a*b", "a[b]", "a?b", "a\\b", "é", "e\u0301", "a~b", "a|b",
    "a\u200bb", "a\u2028b", 'a"b', ".hidden", "c:\\d", "a{b}", "n" * 255, "deep/er/and/deeper",
)  # fmt: skip


def listed(root: Path, prefix: str = "p/") -> dict[str, BronzeObject | NoObject]:
    return {item.key: item for item in list_under(str(root), prefix)}


def why(root: Path) -> dict[str, str]:
    return {key: item.why for key, item in listed(root).items() if isinstance(item, NoObject)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "p").mkdir()
    (tmp_path / "p/object").write_text("x")
    return tmp_path


def test_keys_etags_sizes_and_times_are_obstores(root: Path) -> None:
    for n, name in enumerate(NAMES):
        (root / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "p" / name).write_bytes(b"x" * n)
    os.utime(root / "p/é", ns=(0, 1_700_000_000_123_456_789))
    os.utime(root / "p/a b", (0, 0))
    (root / "elsewhere").mkdir()
    (root / "elsewhere/linked").write_text("y")
    (root / "p/link").symlink_to("../elsewhere")
    (root / "p/file-link").symlink_to("object")
    store = LocalStore(str(root))
    theirs = {
        meta["path"]: BronzeObject(
            meta["path"], str(meta["e_tag"]), meta["size"], meta["last_modified"]
        )
        for page in store.list("p/")
        for meta in page
    }
    assert listed(root) == theirs
    assert len(theirs) == len(NAMES) + 3
    for key, item in listed(root).items():
        assert isinstance(item, BronzeObject)
        assert item.etag == store.head(key)["e_tag"]


def test_a_part_that_obstore_hides_is_listed_too(root: Path) -> None:
    (root / "p/object#1").write_text("half")
    assert set(listed(root)) == {"p/object", "p/object#1"}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (b"line\nend", "p/line\\nend"),
        (b"tab\t", "p/tab\\t"),
        (b"\x7f", "p/\\x7f"),
        (b"\xff\xfe", "p/\\xff\\xfe"),
        (b"latin-\xe9", "p/latin-\\xe9"),
    ],
)
def test_a_name_that_no_store_can_hold_is_told_and_the_others_are_listed(
    root: Path, name: bytes, key: str
) -> None:
    path = os.fsencode(root) + b"/p/" + name
    with open(path, "w"):
        pass
    assert set(listed(root)) == {"p/object", key}
    assert list(why(root)) == [key]
    os.unlink(path)
    os.mkdir(path)
    with open(path + b"/object", "w"):
        pass
    assert list(why(root)) == [f"{key}/"]


def test_links_that_lead_nowhere_or_in_a_circle_are_told_each(root: Path) -> None:
    (root / "p/dangling").symlink_to("nowhere")
    (root / "p/itself").symlink_to("itself")
    (root / "p/up").symlink_to("..")
    for one, other in (("a", "b"), ("b", "a")):
        (root / "p" / one).mkdir()
        (root / "p" / one / other).symlink_to(f"../{other}")
    found = why(root)
    assert found["p/dangling"] == "a broken link"
    circles = {key for key, reason in found.items() if reason == "a circular link"}
    assert circles == {"p/itself", "p/up/p/", "p/a/b/a/", "p/b/a/b/"}
    assert "p/object" in listed(root)


def test_what_is_no_file_is_told_and_not_opened(root: Path) -> None:
    os.mkfifo(root / "p/pipe.jsonl.gz")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(root / "p")
        server.bind("socket")
        os.chdir(here)
        assert set(why(root)) == {"p/pipe.jsonl.gz", "p/socket"}


def test_a_folder_that_is_not_there_or_is_a_file_holds_nothing(root: Path) -> None:
    assert listed(root, "q/") == {}
    assert listed(root, "p/object/") == {}
    assert list_right_under(str(root), "q/") == ([], [])


def test_what_lies_behind_a_link_that_leads_nowhere_is_not_gone(tmp_path: Path) -> None:
    (tmp_path / "disk/p").mkdir(parents=True)
    (tmp_path / "disk/p/object").write_text("x")
    (tmp_path / "b").symlink_to("disk")
    assert set(listed(tmp_path, "b/p/")) == {"b/p/object"}
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    (found,) = listed(tmp_path, "b/p/").values()
    assert isinstance(found, NoObject)
    assert found.hidden
    (tmp_path / "unmounted").rename(tmp_path / "disk")
    assert listed(tmp_path, "b/q/") == {}


def test_a_file_that_goes_while_it_is_listed_is_left_out(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "p/going").mkdir()
    scandir = os.scandir

    def slow(path: str) -> object:
        if str(path).endswith("/going"):
            os.rmdir(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", slow)
    assert set(listed(root)) == {"p/object"}


def test_a_folder_so_deep_that_python_could_not_recurse_is_listed(root: Path) -> None:
    here, deep = os.getcwd(), 1500
    os.chdir(root / "p")
    try:
        for _ in range(deep):
            os.mkdir("d")
            os.chdir("d")
        Path("bottom").write_text("x")
        assert set(listed(root)) == {"p/object", f"p/{'d/' * deep}bottom"}
        os.unlink("bottom")
        for _ in range(deep):  # as no library that recurses could do it
            os.chdir("..")
            os.rmdir("d")
    finally:
        os.chdir(here)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of S3 with an empty bucket, `lake`."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "test")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with mock_aws():
        aws.clear_caches()
        s3 = aws.client("s3")
        s3.create_bucket(
            Bucket="lake", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        yield s3
    aws.clear_caches()


def test_a_bucket_is_listed_whatever_its_keys_are(bucket: Any) -> None:
    keys = ["p/a", "p/line\nend", "p//double", "p/../up", "p/é", "p/b%20", "p/folder/held"]
    for key in (*keys, "p/", "p/folder/", "q/x", "p"):
        data = b"" if key.endswith("/") else b"x"
        etag = bucket.put_object(Bucket="lake", Key=key, Body=data)["ETag"]
    bucket.put_object(Bucket="lake", Key="p/not-empty/", Body=b"x")
    found = {item.key: item for item in list_under("s3://lake", "p/")}
    assert set(found) == {*keys, "p/not-empty/"}
    assert all(isinstance(item, BronzeObject) and item.etag == etag for item in found.values())
    assert list_right_under("s3://lake", "p/") == (
        ["", "..", "folder", "not-empty"],
        ["a", "b%20", "line\nend", "é"],
    )


def test_the_consoles_folders_are_neither_read_nor_told(bucket: Any) -> None:
    users = "bronze/commerce/date=2026-01-01/users.json"
    for key in ("bronze/", "bronze/commerce/", "bronze/commerce/date=2026-01-01/", "bronze/other/"):
        bucket.put_object(Bucket="lake", Key=key, Body=b"")
    bucket.put_object(Bucket="lake", Key=users, Body=b"{}")
    objects = Objects(root="s3://lake")
    assert objects.strays(COMMERCE_USERS) == []
    listing = objects.partition(COMMERCE_USERS, "2026-01-01")
    assert ([item.key for item in listing.objects], listing.foreign) == ([users], ())
    taken = take_inventory(objects, date(2025, 1, 1), datetime(2026, 2, 1, tzinfo=UTC))
    assert taken.unread == ()
    assert taken.of(COMMERCE_USERS) == {"2026-01-01": listing}
