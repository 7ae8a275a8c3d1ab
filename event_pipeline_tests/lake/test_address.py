"""A lake knows its address: one that lies elsewhere than it was made is read, and then adopted."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from event_pipeline.build import gold_digest
from event_pipeline.contracts import EVENTS, HOURLY_REVENUE, TABLES
from event_pipeline.lake import folder
from event_pipeline.lake.salvage import make_table
from event_pipeline.report import ledger_records
from event_pipeline_tests.conftest import HOUR, QUARANTINE, Lab, jsonl

DAY = "2026-01-01"
HOURS = (HOUR, "2026-01-01-11:00")
# All that a folder's name may hold, in one; and some of which a sibling could be taken for it.
NASTY = "ü ?x=1&y#z %20%zz *[x] 'q' \"d\" b\\s {a,b} user_id=X c:d ~ $HOME ;\t\n end"


def line(user: str = "u", price: float = 0.1) -> str:
    """A purchase."""
    event = {"timestamp": f"{DAY}T10:00:00Z", "user_id": user, "session_id": "s"}
    return json.dumps({**event, "event_type": "purchase", "quantity": 1, "price": price})


def made(root: Path) -> Lab:
    """A lake of two hours and a day of Gold."""
    lab = Lab(root)
    for hour in HOURS:
        lab.deliver(jsonl([line(hour), "bad"]), hour)
    assert [built.status for built in lab.build(*HOURS)] == ["published"] * 2
    assert [built.status for built in lab.gold(HOURLY_REVENUE, DAY)] == ["published"]
    return lab


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a lake lies that was made once."""
    return made(tmp_path_factory.mktemp("lake") / "whole").root


def here(whole: Path, root: Path) -> Lab:
    """A lake like that one, which knows that it lies here."""
    shutil.copytree(whole, root)
    lab = Lab(root)
    lab.lake.open()
    return lab


def content(root: Path) -> dict[str, str]:
    """Every file of a folder, by its path in it: a digest of its bytes."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def seen(lab: Lab) -> list[object]:
    """What readers see of a lake."""
    query = "SELECT user_id, price FROM silver.events ORDER BY 1"
    return [
        lab.querier.fetch(query)[1],
        lab.rows(HOURLY_REVENUE),
        sorted(lab.quarantined()),
        ledger_records(lab.lake),
    ]


def test_a_copy_never_touches_its_original(tmp_path: Path, whole: Path) -> None:
    original = here(whole, tmp_path / "original")
    before, rows = content(original.root), seen(original)
    shutil.copytree(original.root, tmp_path / "copy")
    copy = Lab(tmp_path / "copy")
    assert seen(copy) == rows
    copy.deliver(jsonl([line("new")]), minute=5)
    assert [built.status for built in copy.build()] == ["published"]
    live = copy.lake.live(EVENTS)[HOUR]
    for _ in range(25):  # after 20, old metadata is deleted
        copy.lake.publish(EVENTS, HOUR, live.paths, copy.receipt())
    assert [built.status for built in copy.gold(HOURLY_REVENUE, DAY)] == ["published"]
    assert content(original.root) == before
    assert seen(Lab(original.root)) == rows
    assert len(copy.rows()) == 3
    addresses = sqlite3.connect(f"{copy.root}/catalog.db").execute(
        "SELECT metadata_location, previous_metadata_location FROM iceberg_tables"
    )
    assert str(original.root) not in str(addresses.fetchall())
    for contract in (EVENTS, QUARANTINE, HOURLY_REVENUE):
        table = copy.lake.table(contract)
        assert str(original.root) not in table.metadata.model_dump_json()


def test_a_copy_of_a_copy_lives_on_when_the_others_are_gone(tmp_path: Path, whole: Path) -> None:
    rows = seen(here(whole, tmp_path / "first"))
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    Lab(tmp_path / "second").lake.open()
    shutil.copytree(tmp_path / "second", tmp_path / "third")
    shutil.rmtree(tmp_path / "first")
    assert seen(Lab(tmp_path / "second")) == rows
    shutil.rmtree(tmp_path / "second")
    lab = Lab(tmp_path / "third")
    assert seen(lab) == rows
    lab.build()
    assert seen(lab) == rows


def test_a_lake_that_was_moved_is_read_at_once_and_goes_on(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = here(whole, tmp_path / "home")
    lab.build(*HOURS)
    lab.gold(HOURLY_REVENUE, DAY)
    rows, digest = seen(lab), gold_digest(HOURLY_REVENUE, lab.lake, DAY)
    receipt = lab.receipt()
    lab.root.rename(tmp_path / "renamed")
    lab = Lab(tmp_path / "renamed")
    capsys.readouterr()
    before = content(lab.root)
    assert (seen(lab), gold_digest(HOURLY_REVENUE, lab.lake, DAY)) == (rows, digest)
    assert lab.receipt() == receipt
    assert content(lab.root) == before  # Reading changes nothing.
    assert capsys.readouterr().err == ""
    assert {b.key: b.status for b in lab.build(*HOURS)} == dict.fromkeys(HOURS, "unchanged")
    assert [built.status for built in lab.gold(HOURLY_REVENUE, DAY)] == ["unchanged"]
    [said] = capsys.readouterr().err.splitlines()
    assert f"was made at {tmp_path / 'home'}" in said
    assert "history starts again" in said
    assert (seen(lab), gold_digest(HOURLY_REVENUE, lab.lake, DAY)) == (rows, digest)
    assert not (tmp_path / "home").exists()
    assert [version.rows for version in lab.lake.versions(EVENTS)] == [2]


def test_files_keep_their_statistics_when_a_lake_is_adopted(tmp_path: Path, whole: Path) -> None:
    lab = here(whole, tmp_path / "home")
    lab.deliver(jsonl([line().replace(DAY, "2025-12-31")]), "2026-01-01-12:00")
    lab.build("2026-01-01-12:00")
    wanted = (DAY, DAY)
    assert [len(lab.lake.scan(EVENTS, each)) for each in (None, wanted)] == [3, 2]
    lab.root.rename(tmp_path / "renamed")
    lab = Lab(tmp_path / "renamed")
    for _ in range(2):
        assert [len(lab.lake.scan(EVENTS, each)) for each in (None, wanted)] == [3, 2]
        assert all(path.startswith(str(lab.root)) for path in lab.lake.scan(EVENTS))
        lab.lake.open()


@pytest.mark.parametrize("step", range(6))
def test_an_adoption_that_is_killed_begins_anew(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    lab = here(whole, tmp_path / "home")
    rows = seen(lab)
    lab.root.rename(tmp_path / "renamed")
    lab = Lab(tmp_path / "renamed")
    real, calls = make_table, iter(range(100))

    class Killed(BaseException):
        pass

    def killed(*arguments: object) -> None:
        nth = next(calls)
        if 2 * nth == step:
            raise Killed
        real(*arguments)  # type: ignore[arg-type]
        if 2 * nth + 1 == step:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("event_pipeline.lake.folder.make_table", killed)
        with pytest.raises(Killed):
            lab.lake.open()
    assert seen(lab) == rows
    lab.lake.open()
    assert seen(lab) == rows
    assert not (lab.root / "catalog.db.new").exists()


def test_two_that_find_a_moved_lake_adopt_it_once(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here(whole, tmp_path / "home").root.rename(tmp_path / "renamed")
    capsys.readouterr()
    hours = [f"2026-01-02-0{n}:00" for n in range(4)]
    labs = [Lab(tmp_path / "renamed") for _ in hours]
    for lab, hour in zip(labs, hours, strict=True):
        lab.deliver(jsonl([line(hour)]), hour)
    with ThreadPoolExecutor() as pool:
        built = list(pool.map(lambda pair: pair[0].build(pair[1]), zip(labs, hours, strict=True)))
    assert [each[0].status for each in built] == ["published"] * 4
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert set(labs[0].lake.live(EVENTS)) == {*HOURS, *hours}


def linked(tmp_path: Path) -> Path:
    """Another name of the home: a link to it."""
    if not (tmp_path / "link").exists():
        (tmp_path / "link").symlink_to(tmp_path / "home")
    return tmp_path / "link"


@pytest.mark.parametrize(
    "other",
    [
        linked,
        lambda tmp_path: tmp_path / "x" / ".." / "home",
        lambda tmp_path: Path(f"{tmp_path}//home/."),
    ],
    ids=["link", "dots", "slashes"],
)
def test_another_name_of_the_same_folder_is_the_same_lake(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str], other: Callable[[Path], Path]
) -> None:
    (tmp_path / "x").mkdir()
    here(whole, tmp_path / "home").build(*HOURS)
    capsys.readouterr()
    for name in (other(tmp_path), tmp_path / "home", other(tmp_path)):
        lab = Lab(name)
        lab.deliver(jsonl([line(str(name))]), "2026-01-01-12:00")
        lab.build("2026-01-01-12:00")
        assert {b.key: b.status for b in lab.build(*HOURS)} == dict.fromkeys(HOURS, "unchanged")
        lab.gold(HOURLY_REVENUE, DAY)
        assert [built.status for built in lab.gold(HOURLY_REVENUE, DAY)] == ["unchanged"]
        assert len(lab.querier.fetch("SELECT * FROM silver.events")[1]) == 3
    assert capsys.readouterr().err == ""
    assert len(lab.lake.versions(EVENTS)) > 2


def test_a_link_that_now_leads_to_a_copy_does_not_lead_back(tmp_path: Path, whole: Path) -> None:
    here(whole, tmp_path / "home")
    link = linked(tmp_path)
    Lab(link).lake.open()
    shutil.copytree(tmp_path / "home", tmp_path / "copy")
    before = content(tmp_path / "home")
    link.unlink()
    link.symlink_to(tmp_path / "copy")
    lab = Lab(link)
    lab.deliver(jsonl([line("new")]))
    assert [built.status for built in lab.build()] == ["published"]
    assert content(tmp_path / "home") == before


def test_a_copy_that_was_made_while_the_lake_was_written_to_is_made_whole(
    tmp_path: Path, whole: Path
) -> None:
    """The copy has the catalog of before, and neither its metadata nor all of its data."""
    original = here(whole, tmp_path / "original")
    rows = seen(original)
    shutil.copytree(original.root, tmp_path / "copy")
    copy = Lab(tmp_path / "copy")
    folders = {each.asset: copy.root / each.asset for each in (EVENTS, QUARANTINE)}
    current = original.lake.table(EVENTS).metadata_location
    (folders[EVENTS.asset] / "metadata" / Path(current).name).unlink()
    for part in (folders[QUARANTINE.asset] / "data").iterdir():
        shutil.rmtree(part)
    found = {b.key: b.status for b in copy.build(*HOURS)}
    assert found == dict.fromkeys(HOURS, "published")
    copy.gold(HOURLY_REVENUE, DAY)
    assert seen(copy)[:3] == rows[:3]


def test_a_killed_commit_that_was_copied_with_its_journal_is_rolled_back(
    tmp_path: Path, whole: Path
) -> None:
    lab = here(whole, tmp_path / "home")
    rows = seen(lab)
    connection = sqlite3.connect(f"{lab.root}/catalog.db", isolation_level=None)
    connection.execute("PRAGMA cache_size=1")
    connection.execute("PRAGMA cache_spill=1")
    connection.execute("BEGIN EXCLUSIVE")
    connection.execute("CREATE TABLE filler AS SELECT randomblob(100000) AS a")
    connection.execute("UPDATE iceberg_tables SET metadata_location = 'nowhere'")
    shutil.copytree(lab.root, tmp_path / "copy")
    assert (tmp_path / "copy" / "catalog.db-journal").stat().st_size
    connection.close()
    copy = Lab(tmp_path / "copy")
    assert seen(copy) == rows
    copy.lake.open()
    assert seen(copy) == rows


@pytest.mark.parametrize("name", [NASTY, "*", "[ab]", "a?", "\\", "%2e%2e", "x.db?mode=ro"])
def test_a_home_may_have_any_name(tmp_path: Path, whole: Path, name: str) -> None:
    others = [tmp_path / each for each in ("a", "ab")]
    for other in others:
        shutil.copytree(whole, other)
    before = [content(other) for other in others]
    lab = made(tmp_path / name) if name == NASTY else here(whole, tmp_path / name)
    lab.deliver(jsonl([line("v"), line("v"), line("w")]), minute=5)
    assert [built.status for built in lab.build()] == ["published"]
    assert [built.status for built in lab.gold(HOURLY_REVENUE, DAY)] == ["published"]
    users = lab.querier.fetch("SELECT user_id FROM silver.events ORDER BY 1")[1]
    assert users == [(HOUR,), (HOURS[1],), ("v",), ("w",)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [name, *(other.name for other in others)]
    )
    assert (lab.root / "catalog.db").exists()
    assert [content(other) for other in others] == before
    lab.root.rename(tmp_path / f"{name}2")
    moved = Lab(tmp_path / f"{name}2")
    assert moved.querier.fetch("SELECT user_id FROM silver.events ORDER BY 1")[1] == users
    assert [built.status for built in moved.build()] == ["unchanged"]


def test_reading_opens_nothing_for_writing(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = here(whole, tmp_path / "home")
    before = content(lab.root)
    times = {path: path.stat().st_mtime_ns for path in [lab.root, *lab.root.rglob("*")]}
    (lab.root / "catalog.lock").unlink()
    lab = Lab(lab.root)
    seen(lab)
    for contract in TABLES.values():
        assert lab.lake.broken(contract, lab.lake.live(contract)) == {}
        lab.lake.versions(contract)
    assert content(lab.root) == {k: v for k, v in before.items() if k != "catalog.lock"}
    for path, time in times.items():
        if path not in (lab.root, lab.root / "catalog.lock"):
            assert path.stat().st_mtime_ns == time
    assert seen(Lab(tmp_path / "nothing"))[0] == []
    assert list((tmp_path / "nothing").glob("*")) == []


def test_a_locked_catalog_is_waited_for_and_then_fails_its_partition_in_a_line(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = here(whole, tmp_path / "home")
    monkeypatch.setattr(folder, "LOCK_SECONDS", 0.2)
    for hour in HOURS:
        lab.deliver(jsonl([line("new")]), hour, minute=5)
    connection = sqlite3.connect(f"{lab.root}/catalog.db", isolation_level=None)
    real = type(lab.lake).publish

    def publish(lake: object, contract: object, key: str, *rest: object) -> None:
        if key == HOUR:
            connection.execute("BEGIN EXCLUSIVE")
        try:
            real(lake, contract, key, *rest)  # type: ignore[arg-type]
        finally:
            if key == HOUR:
                connection.execute("ROLLBACK")

    monkeypatch.setattr(type(lab.lake), "publish", publish)
    found = {built.key: built for built in lab.build(*HOURS)}
    assert {key: built.status for key, built in found.items()} == {
        HOUR: "failed",
        HOURS[1]: "published",
    }
    error = str(found[HOUR].error)
    assert "database is locked: another process holds its lock" in error
    assert "\n" not in error
