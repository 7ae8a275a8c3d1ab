"""What killed and replaced runs left is removed after a while, and nothing else."""

import os
import shutil
import time
from datetime import timedelta
from pathlib import Path

import pytest

from event_pipeline.contracts import EVENTS, TABLES
from event_pipeline.lake import commits, leftovers
from event_pipeline.lake.leftovers import Removed
from event_pipeline.lake.tables import Lake
from event_pipeline_tests.conftest import HOUR, Lab
from event_pipeline_tests.lake.test_address import content
from event_pipeline_tests.lake.test_tables import publish, users, write

DAY = 86_400


def remove_leftovers(
    lake: Lake, grace: timedelta = timedelta(hours=24), *, dry_run: bool = False
) -> list[Removed]:
    """Removes what is left over in every table; tables that lost nothing are left out."""
    before = time.time() - grace.total_seconds()
    found = [leftovers.remove_leftovers(lake, c, before, dry_run=dry_run) for c in TABLES.values()]
    return [removed for removed in found if removed.files]


def grow_old(root: Path) -> None:
    """As if all had been written two days earlier."""
    for path in [root, *root.rglob("*")]:
        then = path.lstat().st_mtime - 2 * DAY
        os.utime(path, (then, then), follow_symlinks=False)


def runs(lab: Lab) -> set[str]:
    """The folders of runs of the events."""
    return {path.name for path in (lab.root / EVENTS.asset / "data").glob("*/*")}


def test_what_no_kept_state_refers_to_is_removed_after_the_grace(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "SNAPSHOTS_KEPT", 2)
    monkeypatch.setattr(commits, "SNAPSHOTS_MOST", 3)
    for n in range(30):
        publish(lab, [f"{n}"])
    killed = write(lab, HOUR, ["killed"])[0]
    begun = lab.lake.new_prefix(EVENTS, HOUR, "0123456789abcdef")
    lab.deliver(b"bronze")
    strange = [
        lab.root / EVENTS.asset / "data" / "README",
        lab.root / EVENTS.asset / "metadata" / "notes.txt",
        lab.root / "silver" / "other" / "data" / "2026" / "0123456789abcdef-01234567" / "x.parquet",
    ]
    for path in strange:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    before = content(lab.root)
    assert remove_leftovers(lab.lake) == []
    assert content(lab.root) == before
    grow_old(lab.root)
    [removed] = remove_leftovers(lab.lake)
    after = content(lab.root)
    gone = before.keys() - after.keys()
    assert removed.files == len(gone)
    assert removed.bytes > 0
    assert str(Path(killed).relative_to(lab.root)) in gone
    assert not Path(begun).exists()
    assert all(name.startswith(EVENTS.asset) for name in gone)
    assert {path: after[path] for path in after} == {path: before[path] for path in after}
    versions = lab.lake.versions(EVENTS)
    assert len(runs(lab)) == len(versions) <= 3
    assert users(lab) == ["29"]
    for version in versions:
        lab.lake.rollback(EVENTS, version.snapshot_id)
        assert lab.lake.broken(EVENTS, lab.lake.live(EVENTS), deep=True) == {}
        assert len(users(lab)) == 1
    assert remove_leftovers(lab.lake) == []


def test_what_was_written_to_lately_stays(lab: Lab) -> None:
    publish(lab, ["a"])
    (path,) = write(lab, HOUR, ["b"])
    grow_old(lab.root)
    Path(path).touch()
    assert remove_leftovers(lab.lake) == []
    assert remove_leftovers(lab.lake, grace=timedelta(0))[0].files == 1


def test_a_table_that_cannot_be_read_keeps_everything(lab: Lab) -> None:
    for n in range(3):
        publish(lab, [f"{n}"])
    write(lab, HOUR, ["killed"])
    snapshot = lab.lake.table(EVENTS).metadata.snapshots[0]
    manifest_list = Path(snapshot.manifest_list)
    kept = manifest_list.read_bytes()
    manifest_list.write_bytes(b"")
    grow_old(lab.root)
    before = content(lab.root)
    assert remove_leftovers(lab.lake) == []
    assert content(lab.root) == before
    manifest_list.write_bytes(kept)
    assert remove_leftovers(lab.lake)[0].files > 0


def test_a_copy_that_was_adopted_loses_what_spoke_of_the_original(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for n in range(3):
        publish(lab, [f"{n}"])
    copy = Lab(tmp_path_factory.mktemp("copy") / "lake")
    shutil.copytree(lab.root, copy.root)
    before = content(lab.root)
    copy.lake.open()
    grow_old(copy.root)
    grow_old(lab.root)
    remove_leftovers(copy.lake)
    assert content(lab.root) == before
    assert (users(copy), users(lab)) == (["2"], ["2"])
    assert len(runs(copy)) == 1
    found = [path.read_bytes() for path in (copy.root / EVENTS.asset / "metadata").iterdir()]
    assert all(str(lab.root).encode() + b"/" not in data for data in found)
    assert copy.lake.broken(EVENTS, copy.lake.live(EVENTS), deep=True) == {}
    assert len(TABLES) > 1
