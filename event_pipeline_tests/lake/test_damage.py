"""What is lost or damaged in a lake is named, and made anew by the next build."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from event_pipeline.contracts import EVENTS, HOURLY_REVENUE, Contract
from event_pipeline.errors import DamagedError
from event_pipeline.lake.damage import damages
from event_pipeline_tests.conftest import HOUR, QUARANTINE, Lab, jsonl
from event_pipeline_tests.lake.test_address import DAY, HOURS, line, made, seen


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a lake of two hours and a day of Gold lies."""
    return made(tmp_path_factory.mktemp("damage") / "home").root


@pytest.fixture
def lab(root: Path) -> Lab:
    """That lake, which is whole: each test leaves it mended."""
    lab = Lab(root)
    assert damages(lab.lake, deep=True) == []
    return lab


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other(path: Path) -> None:
    """Other bytes, as many as before."""
    path.write_bytes(b"x" * path.stat().st_size)


def other_unseen(path: Path) -> None:
    """As a disk that decays: its time does not change."""
    times = path.stat()
    other(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


HARM = [Path.unlink, cut, empty, other, folder]


def named(lab: Lab, *, deep: bool = False) -> list[tuple[str, str]]:
    """The tables and partitions that are damaged."""
    return [(found.table, found.partition) for found in damages(lab.lake, deep=deep)]


@pytest.mark.parametrize(
    ("contract", "which", "harm"),
    [
        *((EVENTS, "data", harm) for harm in HARM),
        (EVENTS, "receipt", Path.unlink),
        (QUARANTINE, "data", cut),
        (QUARANTINE, "receipt", empty),
        (HOURLY_REVENUE, "data", other),
        (HOURLY_REVENUE, "receipt", folder),
    ],
)
def test_a_damaged_partition_is_named_and_the_next_build_makes_it_anew(
    lab: Lab, contract: Contract, harm: Callable[[Path], None], which: str
) -> None:
    rows = seen(lab)
    key = DAY if contract is HOURLY_REVENUE else HOUR
    live = lab.lake.live(contract)[key]
    harm(Path(live.paths[0] if which == "data" else f"{live.prefix}/receipt.json"))
    assert named(lab) == [(contract.table, key)]
    if contract is HOURLY_REVENUE:
        assert [built.status for built in lab.gold(HOURLY_REVENUE, DAY)] == ["published"]
    else:
        found = {built.key: built.status for built in lab.build(*HOURS)}
        assert found == {HOUR: "published", HOURS[1]: "unchanged"}
    assert damages(lab.lake, deep=True) == []
    assert seen(lab)[:3] == rows[:3]


def test_a_disk_that_decays_is_found_by_reading_everything(lab: Lab) -> None:
    path = Path(lab.lake.live(EVENTS)[HOUR].paths[0])
    before = path.read_bytes()
    other_unseen(path)
    assert named(lab) == []
    assert named(lab, deep=True) == [(EVENTS.table, HOUR)]
    path.write_bytes(before)


def metadata(lab: Lab) -> Path:
    return Path(lab.lake.table(EVENTS).metadata_location)


def manifest_list(lab: Lab) -> Path:
    snapshot = lab.lake.table(EVENTS).current_snapshot()
    assert snapshot is not None
    return Path(snapshot.manifest_list)


def manifest(lab: Lab) -> Path:
    table = lab.lake.table(EVENTS)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return Path(snapshot.manifests(table.io)[0].manifest_path)


def every_metadata(lab: Lab) -> Path:
    """The last of all metadata of the table, the others being gone."""
    current = metadata(lab)
    for path in current.parent.glob("*"):
        if path.is_dir():  # which a test before left in place of a file
            path.rmdir()
        elif path != current:
            path.unlink()
    return current


@pytest.mark.parametrize(
    ("which", "harm"),
    [
        (metadata, Path.unlink),
        (metadata, other),
        (manifest_list, empty),
        (manifest_list, folder),
        (manifest, Path.unlink),
        (manifest, other),
        (every_metadata, Path.unlink),
    ],
)
def test_a_table_that_cannot_be_read_is_named_and_stops_no_other(
    lab: Lab, which: Callable[[Lab], Path], harm: Callable[[Path], None]
) -> None:
    rows = seen(lab)
    harm(which(lab))
    lab = Lab(lab.root)
    assert (EVENTS.table, "") in named(lab, deep=True)
    assert {table for table, _ in named(lab, deep=True)} == {EVENTS.table}
    with pytest.raises(DamagedError, match=r"silver\.events: .* event-pipeline repair"):
        lab.lake.scan(EVENTS)
    assert len(lab.rows(HOURLY_REVENUE)) == 1
    lab.deliver(jsonl([line(HOUR), "bad"]))  # another version, of the same lines
    built = {each.key: each.status for each in lab.build(*HOURS)}
    assert built[HOUR] == "published"
    lab.gold(HOURLY_REVENUE, DAY)
    assert damages(lab.lake, deep=True) == []
    assert seen(lab)[:3] == rows[:3]


@pytest.mark.parametrize(
    "harm", [Path.unlink, empty, lambda path: path.write_bytes(b"garbage" * 1000), cut, folder]
)
def test_a_catalog_that_is_lost_or_damaged_is_named_and_made_anew(
    lab: Lab, harm: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    rows, versions = seen(lab), len(lab.lake.versions(EVENTS))
    catalog = lab.root / "catalog.db"
    harm(catalog)
    before = catalog.read_bytes() if catalog.is_file() else None
    capsys.readouterr()
    assert named(lab) == [("catalog.db", "")]
    assert lab.lake.live(EVENTS) == {}
    with pytest.raises(DamagedError, match=r"catalog\.db.*event-pipeline repair"):
        lab.lake.scan(EVENTS)
    assert {b.key: b.status for b in lab.build(*HOURS)} == dict.fromkeys(HOURS, "unchanged")
    [said] = capsys.readouterr().err.splitlines()
    assert "its catalog is rebuilt" in said
    assert damages(lab.lake) == []
    assert seen(lab) == rows
    assert len(lab.lake.versions(EVENTS)) == versions
    if before:
        *_, aside = sorted(lab.root.glob("catalog.db.damaged-*"))
        assert aside.read_bytes() == before


def test_an_empty_lake_has_no_damage(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    assert damages(lab.lake, deep=True) == []
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_table_that_the_catalog_does_not_have_is_taken_up_again(lab: Lab) -> None:
    rows = seen(lab)
    lab.lake.open().drop_table(EVENTS.identifier)
    assert (EVENTS.table, "") in named(lab)
    lab.build(*HOURS)
    assert seen(lab) == rows


def test_a_lake_rebuilt_from_bronze_alone_equals_the_old_one(lab: Lab, tmp_path: Path) -> None:
    rows = seen(lab)
    shutil.copytree(lab.root / "bronze", tmp_path / "empty" / "bronze")
    anew = Lab(tmp_path / "empty")
    anew.build(*HOURS)
    anew.gold(HOURLY_REVENUE, DAY)
    assert seen(anew) == rows
