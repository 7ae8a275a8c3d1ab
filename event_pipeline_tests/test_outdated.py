"""A statement or contract that changed: which partitions it concerns is told, and mended."""

import io
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from event_pipeline.contracts import EVENTS, HOURLY_REVENUE
from event_pipeline.home import open_instance
from event_pipeline.lake.tables import Lake
from event_pipeline.outdated import MAX_GAP, MAX_RANGE, STATEMENT_CURRENT, outdated, spans_of
from event_pipeline.partitions import DAILY, HOURLY, Cadence
from event_pipeline.sync import run_sync
from event_pipeline_tests.dagster_lab import (
    GOLD_ASSETS,
    NOW,
    SILVER_ASSETS,
    SILVER_EVENTS,
    TODAY,
    Lab,
)
from event_pipeline_tests.dagster_lab import HOUR as AN_HOUR

HOURS = [f"2026-03-10-{n:02}:00" for n in (5, 6, 7, 11)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab.open(tmp_path) as lab:
        yield lab


def judgements(lab: Lab, asset: dg.AssetKey) -> list[tuple[bool, str | None]]:
    """What the check of a table said, each time that it was evaluated, oldest first."""
    history = lab.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(asset, STATEMENT_CURRENT), limit=100
    )
    found = [r.event.dagster_event.event_specific_data for r in reversed(history) if r.event]  # type: ignore[union-attr]
    return [(e.passed, e.description) for e in found if isinstance(e, dg.AssetCheckEvaluation)]


def test_the_sensor_says_once_which_partitions_an_older_statement_made(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in HOURS:
        lab.arrive(hour)
    lab.settle("arrivals")
    assert set(judgements(lab, SILVER_EVENTS)) == {(True, None)}
    before = len(judgements(lab, SILVER_EVENTS))
    monkeypatch.setitem(EVENTS.__dict__, "version", "another")
    assert outdated(lab.resources.lake, EVENTS) == HOURS
    for _ in range(2):
        lab.tick("arrivals")
    [(passed, why)] = judgements(lab, SILVER_EVENTS)[before:]
    assert not passed
    assert why
    assert why.startswith("4 partitions built by an older statement (2026-03-10-05:00 to 2026-")
    assert "event-pipeline sync --rebuild-changed" in why

    assert lab.materialize_range(SILVER_ASSETS, HOURS[0], HOURS[-1]).success
    for _ in range(2):
        lab.tick("arrivals")
    assert outdated(lab.resources.lake, EVENTS) == []
    assert judgements(lab, SILVER_EVENTS)[before + 1 :] == [(True, None)]


def test_what_a_rollback_brings_back_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.arrive(AN_HOUR)
    lab.settle("arrivals")
    lake = lab.resources.lake
    [older] = lake.versions(EVENTS)
    monkeypatch.setitem(EVENTS.__dict__, "version", "another")
    lab.tick("arrivals")
    assert lab.materialize(SILVER_ASSETS, AN_HOUR).success
    assert judgements(lab, SILVER_EVENTS)[-1] == (True, None)
    lake.rollback(EVENTS, older.snapshot_id)
    lab.tick("arrivals")
    passed, why = judgements(lab, SILVER_EVENTS)[-1]
    assert not passed
    assert why
    assert f"1 partition built by an older statement ({AN_HOUR})" in why


def test_folders_that_do_not_tell_their_statement_yet_have_it_in_their_receipts(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_prefix = Lake.new_prefix
    monkeypatch.setattr(Lake, "new_prefix", lambda *given: new_prefix(*given[:4]))
    lab.arrive(AN_HOUR)
    lab.settle("arrivals")
    lake = lab.resources.lake
    assert [found.version for found in lake.live(EVENTS).values()] == [""]
    assert outdated(lake, EVENTS) == []
    monkeypatch.setitem(EVENTS.__dict__, "version", "another")
    assert outdated(lake, EVENTS) == [AN_HOUR]


def test_gold_that_a_range_made_of_what_is_there_is_not_made_again(lab: Lab) -> None:
    lab.arrive(AN_HOUR)
    lab.settle("arrivals")
    assert lab.materialize_range(GOLD_ASSETS, TODAY, TODAY).success
    assert lab.settle("gold_refresh") == []
    lab.arrive(AN_HOUR, minute=5)
    lab.settle("arrivals")
    assert lab.settle("gold_refresh") == [TODAY]


def test_sync_makes_anew_what_an_older_statement_made_in_one_run_a_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lab.open(tmp_path) as lab:
        for hour in HOURS:
            lab.arrive(hour)
        settings, lake = lab.settings, lab.resources.lake
    said = Console(file=io.StringIO(), width=200)
    assert run_sync(settings, said)
    monkeypatch.setitem(EVENTS.__dict__, "version", "another")
    monkeypatch.setitem(HOURLY_REVENUE.__dict__, "version", "another, too")
    with open_instance(settings) as instance:
        before = instance.get_runs_count()
        assert run_sync(settings, said), "what is old is told, and no failure"
        assert instance.get_runs_count() == before
        assert outdated(lake, EVENTS) == HOURS

        assert run_sync(settings, said, rebuild_changed=True)
        assert outdated(lake, EVENTS) == outdated(lake, HOURLY_REVENUE) == []
        runs = instance.get_runs(limit=instance.get_runs_count() - before)
        spans = [run.tags.get("dagster/asset_partition_range_start") for run in runs]
        assert spans == [TODAY, HOURS[0]]
        assert run_sync(settings, said, rebuild_changed=True)
        assert instance.get_runs_count() == before + 2


@given(st.sets(st.integers(0, 5000), max_size=200), st.sampled_from([HOURLY, DAILY]))
def test_spans_hold_every_key_once_and_no_long_gap(steps: set[int], cadence: Cadence) -> None:
    keys = sorted(cadence.key(NOW + n * cadence.step) for n in steps)
    spans = spans_of(cadence, keys)
    inside = [[key for key in keys if first <= key <= last] for first, last in spans]
    assert [key for each in inside for key in each] == keys
    for (first, last), held in zip(spans, inside, strict=True):
        assert (first, last) == (held[0], held[-1])
        starts = [cadence.start(key) for key in held]
        gaps = [b - a for a, b in pairwise(starts)]
        assert max(gaps, default=timedelta(0)) <= MAX_GAP
        assert (starts[-1] - starts[0]) // cadence.step < MAX_RANGE
