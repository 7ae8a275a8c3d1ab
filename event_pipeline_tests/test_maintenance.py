"""Maintenance: every state that is kept reads the same before and after, whatever else goes on."""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table
from typer.testing import CliRunner

from event_pipeline.cli import app
from event_pipeline.contracts import EVENTS
from event_pipeline.lake import commits, compacting, history, tables
from event_pipeline.lake.tables import Lake
from event_pipeline.maintenance import Done, maintain
from event_pipeline.settings import Settings
from event_pipeline_tests.conftest import HOUR, Lab, receipt
from event_pipeline_tests.lake.test_address import content
from event_pipeline_tests.lake.test_leftovers import runs
from event_pipeline_tests.lake.test_tables import OTHER, publish, users, write

HOURS = (HOUR, OTHER, "2026-01-01-12:00")
GRACE_HOURS = 10.0


def upkeep(
    lab: Lab,
    *,
    days: float = 7,
    least: int = 20,
    grace: float = 24,
    now: float | None = None,
    dry_run: bool = False,
) -> list[Done]:
    """Maintains the lake, also with a grace that nobody may set; what was done to tables."""
    kept = {"snapshot_days": days, "snapshots_least": least, "grace_hours": grace}
    settings = Settings.model_construct(**{**dict(Settings()), **kept, "home": lab.root.parent})
    found = list(maintain(settings, lab.lake, now, dry_run=dry_run))
    return [done for done in found if done.where == EVENTS.table]


class Killed(BaseException):
    """What no `except Exception` sees, as kill -9."""


def states(lab: Lab) -> dict[int, list[str]]:
    """What a reader finds in each state that the table can be rolled back to."""
    table = lab.lake.table(EVENTS)
    found = {}
    for snapshot in table.metadata.snapshots:
        rows = table.scan(snapshot_id=snapshot.snapshot_id, selected_fields=("user_id",))
        found[snapshot.snapshot_id] = sorted(rows.to_arrow()["user_id"].to_pylist())
    return found


@dataclass
class Reader:
    """A scan that was planned a while ago, and what it is to read."""

    files: list[str]
    rows: list[str]
    age: float = 0

    @classmethod
    def of(cls, lab: Lab) -> "Reader":
        """A reader that begins now."""
        planned = cls(lab.lake.scan(EVENTS), [])
        planned.rows = planned.read(lab)
        return planned

    def read(self, lab: Lab) -> list[str]:
        """The rows, by the files that were planned."""
        found = lab.lake.read(EVENTS, self.files, ["user_id"]) if self.files else None
        return sorted(found["user_id"].to_pylist()) if found else []


@dataclass
class World:
    """A lake in which hours pass, with builds and readers that take a while."""

    lab: Lab
    readers: list[Reader] = field(default_factory=list)
    builds: list[tuple[str, list[str]]] = field(default_factory=list)
    made: int = 0
    passed: list[tuple[float, float]] = field(default_factory=list)

    def let_pass(self, hours: float) -> None:
        """All that is there is older by so much; builds that took too long are given up."""
        self.passed.append((time.time(), 3600 * hours))
        for path in self.lab.root.rglob("*"):
            at = path.lstat().st_mtime - 3600 * hours
            os.utime(path, (at, at), follow_symlinks=False)
        for reader in self.readers:
            reader.age += hours
        self.readers = [each for each in self.readers if each.age < GRACE_HOURS]
        self.builds = [] if hours >= GRACE_HOURS / 2 else self.builds

    def aged(self, table: Table) -> Any:
        """The table as if its states were as old as their files."""

        def then(ms: int) -> int:
            return ms - int(1000 * sum(by for at, by in self.passed if ms < 1000 * at))

        metadata = table.metadata
        aged = {
            name: [
                each.model_copy(update={"timestamp_ms": then(each.timestamp_ms)})
                for each in getattr(metadata, name)
            ]
            for name in ("snapshots", "snapshot_log")
        }
        return SimpleNamespace(metadata=metadata.model_copy(update=aged))

    def do(self, what: str, with_: Any) -> None:
        """One step."""
        lab = self.lab
        self.made += 1
        match what:
            case "build":
                publish(lab, [f"u{self.made}"], with_)
            case "begin":
                self.builds.append((with_, write(lab, with_, [f"u{self.made}"])))
            case "finish" if self.builds:
                hour, files = self.builds.pop(0)
                lab.lake.publish(EVENTS, hour, files, receipt("digest", 1))
                assert lab.lake.live(EVENTS, {hour})[hour].paths == files
            case "read":
                self.readers.append(Reader.of(lab))
            case "roll back":
                versions = lab.lake.versions(EVENTS)
                lab.lake.rollback(EVENTS, versions[with_ % len(versions)].snapshot_id)
            case "pass":
                self.let_pass(with_)
            case "maintain":
                self.maintain(with_)
        for reader in self.readers:
            assert reader.read(lab) == reader.rows

    def maintain(self, killed_before: str) -> None:
        """Maintenance that may be killed between two of its steps."""
        lab, expirable = self.lab, history.expirable
        before, noted = states(lab), lab.lake.rolled_back(EVENTS)
        current = lab.lake.table(EVENTS).metadata.current_snapshot_id
        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            patch.setattr(
                tables, "expirable", lambda table, *how: expirable(self.aged(table), *how)
            )
            if killed_before:
                patch.setattr(Lake, killed_before, kill)
            upkeep(lab, days=0, least=2, grace=GRACE_HOURS)
        after, now = states(lab), lab.lake.table(EVENTS).metadata.current_snapshot_id
        assert now is not None
        assert current is not None
        assert after[now] == before[current]
        assert all(after[each] == before[each] for each in after.keys() & before.keys())
        assert len(after) >= min(len(before), 2)
        assert lab.lake.rolled_back(EVENTS) == noted
        assert lab.lake.broken(EVENTS, lab.lake.live(EVENTS), deep=True) == {}


def kill(*_: object, **__: object) -> None:
    """The process ends here."""
    raise Killed


STEPS = st.one_of(
    st.tuples(st.just("build"), st.sampled_from(HOURS)),
    st.tuples(st.just("begin"), st.sampled_from(HOURS)),
    st.tuples(st.just("finish"), st.none()),
    st.tuples(st.just("read"), st.none()),
    st.tuples(st.just("roll back"), st.integers(0, 3)),
    st.tuples(st.just("pass"), st.sampled_from([1.0, 4.0, 11.0])),
    st.tuples(st.just("maintain"), st.sampled_from(["", "compact", "remove"])),
)


@settings(max_examples=15, deadline=None)
@given(steps=st.lists(STEPS, min_size=10, max_size=18))
def test_whatever_is_kept_reads_the_same(
    new_lab: Callable[[], Lab], steps: list[tuple[str, Any]]
) -> None:
    """Builds, readers, rollbacks and maintenance in any order, also killed between its steps.

    What began within the grace ends as it began, though publishes forget all but a few states.
    """
    world = World(new_lab())
    publish(world.lab, ["first"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commits, "SNAPSHOTS_KEPT", 2)
        patch.setattr(commits, "SNAPSHOTS_MOST", 3)
        patch.setattr(compacting, "MANIFESTS_LEAST", 1)
        patch.setattr(compacting, "FILES_OF_A_MANIFEST", 2)
        for step in [*steps, ("pass", 11.0), ("maintain", "")]:
            world.do(*step)
    # Nothing is left but what the kept states refer to, since a grace has passed without a reader.
    assert len(runs(world.lab)) <= len(HOURS) * len(world.lab.lake.versions(EVENTS))


def test_a_reader_outlives_maintenance_though_its_state_was_forgotten(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backfill publishes so much that its state is forgotten while it reads."""
    monkeypatch.setattr(commits, "SNAPSHOTS_KEPT", 1)
    monkeypatch.setattr(commits, "SNAPSHOTS_MOST", 1)
    world = World(lab)
    for step in (
        ("build", HOUR),
        ("pass", 48.0),
        ("read", None),
        ("build", HOUR),
        ("build", OTHER),
        ("maintain", ""),
    ):
        world.do(*step)
    [reader] = world.readers
    assert len(lab.lake.versions(EVENTS)) == 1
    assert reader.files[0] not in lab.lake.scan(EVENTS)
    world.let_pass(11)
    upkeep(lab, days=0, least=1, grace=GRACE_HOURS)
    assert not Path(reader.files[0]).exists()


def test_states_of_the_last_days_and_the_latest_ones_are_kept(lab: Lab) -> None:
    for n in range(6):
        publish(lab, [f"{n}"])
    first = lab.lake.versions(EVENTS)[-1].snapshot_id
    lab.lake.rollback(EVENTS, first)
    later = time.time() + 8 * 86_400
    assert upkeep(lab, days=9, now=later, least=2) == []
    before = states(lab)
    forgotten, *_ = upkeep(lab, days=7, now=later, least=2)
    assert (forgotten.what, forgotten.count) == ("states forgotten", 3)
    after = states(lab)
    assert after == {each: before[each] for each in after}
    assert first in after  # the current one is the oldest
    assert users(lab) == ["0"]
    assert lab.lake.rolled_back(EVENTS).keys() == {HOUR}


def test_a_dry_run_says_what_is_then_done_and_changes_nothing(lab: Lab) -> None:
    for n in range(6):
        publish(lab, [f"{n}"])
    write(lab, HOUR, ["killed"])
    before, later = content(lab.root), time.time() + 8 * 86_400
    said = upkeep(lab, now=later, least=2, dry_run=True)
    assert content(lab.root) == before
    done = upkeep(lab, now=later, least=2)
    assert [each.what for each in done] == ["states forgotten", "files removed"]
    assert said[0] == done[0]
    # What it forgets shortens the metadata's log in truth, but not in a dry run.
    assert 0 <= done[1].count - said[1].count <= 3
    assert len(runs(lab)) == 2


def test_a_rollback_to_a_state_that_is_just_forgotten_leaves_a_table(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        publish(lab, [f"{n}"])
    stale = lab.lake.table(EVENTS)
    first = lab.lake.versions(EVENTS)[-1].snapshot_id
    lab.lake.rollback(EVENTS, first)
    with pytest.raises(CommitFailedException):
        history.expire(stale, [first])
    assert users(lab) == ["0"]


def test_manifests_are_rewritten_by_partition(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "MANIFESTS_LEAST", 4)
    monkeypatch.setattr(compacting, "FILES_OF_A_MANIFEST", 4)
    hours = [f"2026-01-01-{n:02}:00" for n in range(8)]
    for hour in [*hours, *reversed(hours)]:
        publish(lab, [hour], hour)

    def manifests() -> list[ManifestFile]:
        table = lab.lake.table(EVENTS)
        snapshot = table.current_snapshot()
        assert snapshot is not None
        return snapshot.manifests(table.io)

    before, rows = {each.manifest_path for each in manifests()}, states(lab)
    assert len(before) > 8
    [rewritten] = upkeep(lab)
    assert (rewritten.what, rewritten.count) == ("manifests rewritten", len(before))
    assert [each.existing_files_count for each in manifests()] == [4, 4]
    after = states(lab)
    assert {each: after[each] for each in rows} == rows
    assert upkeep(lab) == []
    # A publish rewrites the manifest that its partition is in, and no other.
    left = {each.manifest_path for each in manifests()}
    publish(lab, ["new"], hours[0])
    assert len(left & {each.manifest_path for each in manifests()}) == 1
    assert users(lab, hours[1]) == [hours[1]]


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lake")
    publish(lab, ["a"])
    (left,) = write(lab, HOUR, ["killed"])
    staged = lab.root / ".tmp" / "killed"
    staged.parent.mkdir(exist_ok=True)
    staged.write_text("half")
    for path in [staged, *Path(left).parents[1].rglob("*")]:
        os.utime(path, (0, 0))

    def run(*words: str) -> list[dict[str, Any]]:
        environment = {"EVENT_PIPELINE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
        result = CliRunner().invoke(app, ["maintain", "--format", "json", *words], env=environment)
        assert result.exit_code == 0, result.output
        found: list[dict[str, Any]] = json.loads(result.stdout)
        return [each for each in found if each["where"] != "TMPDIR"]

    said = run("--dry-run")
    assert Path(left).exists()
    assert staged.exists()
    assert run() == said
    assert {each["where"]: each["count"] for each in said} == {".tmp": 1, "silver.events": 1}
    assert not Path(left).exists()
    assert not staged.exists()
    assert run() == []
    assert users(lab) == ["a"]
