"""Builds: what is told of a partition, and what one that fails leaves."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from event_pipeline.contracts import DAILY_USER_ACTIVITY, EVENTS, HOURLY_REVENUE
from event_pipeline.engines import PartitionReport, TransformRequest
from event_pipeline.engines.duckdb import DuckDBQuerier, DuckDBTransformer
from event_pipeline.lake.tables import Lake, PublishError
from event_pipeline.report import ledger_records
from event_pipeline_tests.conftest import GOLD_OF_EVENTS, HOUR, QUARANTINE, Lab, jsonl

DAY, OTHER_DAY = "2026-01-01", "2025-12-31"


def line(day: str = DAY, user: str = "u") -> str:
    """A purchase."""
    event = {"timestamp": f"{day}T10:00:00Z", "user_id": user, "session_id": "s"}
    return json.dumps({**event, "event_type": "purchase", "quantity": 1, "price": 0.1})


def test_a_receipt_tells_the_ledger_the_objects_and_the_dates(lab: Lab) -> None:
    key = lab.deliver(jsonl([line(), line(), line(OTHER_DAY), "bad"]), lines=4)
    (built,) = lab.build()
    told = lab.receipt()
    for each in (told, lab.receipt(QUARANTINE)):
        assert each.model_copy(update={"sha256": {}}) == built.receipt
        assert len(each.sha256) == 1
    assert (told.lines, told.rows, told.duplicates, told.quarantined) == (4, 2, 1, 1)
    assert told.rejected == {"malformed_json": 1}
    assert told.event_dates == {OTHER_DAY: 1, DAY: 1}
    assert told.touched == (OTHER_DAY, DAY)
    assert told.bytes == (lab.root / key).stat().st_size
    assert list(told.objects) == [key]


def test_a_receipt_of_a_later_format_is_refused_and_what_it_describes_stays(lab: Lab) -> None:
    lab.deliver(jsonl([line()]))
    lab.build()
    lab.gold(HOURLY_REVENUE, DAY)
    for contract, key in ((EVENTS, HOUR), (HOURLY_REVENUE, DAY)):
        path = Path(lab.lake.live(contract)[key].prefix) / "receipt.json"
        path.write_text(json.dumps({**json.loads(path.read_bytes()), "format": 2, "lines": "new"}))
    before = lab.snapshots()
    lab.deliver(jsonl([line(user="v")]), minute=5)
    (failed,) = lab.build()
    (gold,) = lab.gold(HOURLY_REVENUE, DAY)
    for each in (failed, gold):
        assert "has format 2, but this version of event_pipeline reads only up to 1" in each.error
    assert lab.snapshots() == before


@pytest.mark.parametrize("failing", ["publish", "_commit"])
def test_a_publish_that_fails_says_so_and_the_next_hour_is_built(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    hours = (HOUR, "2026-01-01-11:00")
    for hour in hours:
        lab.deliver(jsonl([line()]), hour)
    real = getattr(Lake, failing)

    def fail_for_the_first(lake: Lake, *arguments: Any) -> Any:
        if HOUR in arguments and EVENTS in arguments:
            raise PublishError("no luck")
        return real(lake, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, failing, fail_for_the_first)
        first, second = lab.build(*hours)
    assert (first.status, first.error) == ("failed", "not published: no luck")
    assert second.status == "published"
    assert set(lab.lake.live(EVENTS)) == {hours[1]}
    again = {built.key: built.status for built in lab.build(*hours)}
    assert again == {hours[0]: "published", hours[1]: "unchanged"}
    assert lab.lake.live(EVENTS).keys() == set(hours)


def test_gold_whose_publish_fails_says_so_and_the_next_date_is_built(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.deliver(jsonl([line(), line(OTHER_DAY)]))
    lab.build()
    real = Lake._commit

    def fail_for_the_first(lake: Lake, *arguments: Any) -> Any:
        if DAY in arguments:
            raise PublishError("no luck")
        return real(lake, *arguments)

    monkeypatch.setattr(Lake, "_commit", fail_for_the_first)
    first, second = lab.gold(HOURLY_REVENUE, DAY, OTHER_DAY)
    assert (first.status, first.error) == ("failed", "not published: no luck")
    assert second.status == "published"


@pytest.mark.parametrize("contract", GOLD_OF_EVENTS, ids=lambda c: c.asset)
def test_gold_is_built_again_exactly_when_its_dates_rows_may_have_changed(
    lab: Lab, contract: Any
) -> None:
    lab.deliver(jsonl([line()]))
    lab.build()
    assert [built.status for built in lab.gold(contract, DAY)] == ["published"]
    assert [built.status for built in lab.gold(contract, DAY)] == ["unchanged"]
    lab.deliver(jsonl([line(OTHER_DAY)]), "2026-01-01-11:00")
    lab.build("2026-01-01-11:00")
    assert [built.status for built in lab.gold(contract, DAY)] == ["unchanged"]
    lab.deliver(jsonl([line(user="late")]), "2026-01-05-00:00")
    lab.build("2026-01-05-00:00")
    assert [built.status for built in lab.gold(contract, DAY)] == ["published"]


def test_gold_reads_again_if_silver_changed_while_it_was_read(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.deliver(jsonl([line()]))
    lab.build()
    real, arrivals = DuckDBQuerier.unload, [1]

    def unload(querier: DuckDBQuerier, *arguments: Any) -> Any:
        found = real(querier, *arguments)
        if arrivals:
            lab.deliver(jsonl([line(user="new")]), minute=5 * arrivals.pop())
            lab.build()
        return found

    monkeypatch.setattr(DuckDBQuerier, "unload", unload)
    (built,) = lab.gold(DAILY_USER_ACTIVITY, DAY)
    assert built.status == "published"
    assert lab.rows(DAILY_USER_ACTIVITY) == [(2, 1, 2)]
    arrivals[:] = [5, 4, 3, 2]
    lab.deliver(jsonl([line(user="newer")]), minute=50)
    lab.build()
    (built,) = lab.gold(DAILY_USER_ACTIVITY, DAY)
    assert (built.status, lab.rows(DAILY_USER_ACTIVITY)) == ("failed", [(2, 1, 2)])
    assert "kept changing" in (built.error or "")


def test_silver_rolled_back_is_built_again(lab: Lab) -> None:
    lab.deliver(jsonl([line()]))
    lab.build()
    (first,) = lab.lake.versions(EVENTS)
    lab.deliver(jsonl([line(), line(user="v")]))
    lab.build()
    lab.lake.rollback(EVENTS, first.snapshot_id)
    assert [built.status for built in lab.build()] == ["published"]
    assert len(lab.rows()) == 2


def test_an_object_that_is_gone_when_it_is_read_fails_its_hour_alone(lab: Lab) -> None:
    class Late(DuckDBTransformer):
        def transform(self, request: TransformRequest) -> Iterator[PartitionReport]:
            lab.delete(HOUR)
            yield from super().transform(request)

    hours = (HOUR, "2026-01-01-11:00")
    for hour in hours:
        lab.deliver(jsonl([line()]), hour)
    lab.transformer = Late()
    first, second = lab.build(*hours)
    assert (first.status, second.status) == ("failed", "published")
    assert lab.key() in (first.error or "")
    assert lab.lake.live(EVENTS).keys() == {hours[1]}


@pytest.mark.parametrize("left", [None, b"", b"{", b"[]", b"{}", b"\xff\xfe", "folder"], ids=repr)
def test_a_receipt_that_is_lost_or_unreadable_is_made_anew_and_stops_no_neighbour(
    lab: Lab, left: bytes | str | None
) -> None:
    hours = (HOUR, "2026-01-01-11:00")
    for hour in hours:
        lab.deliver(jsonl([line()]), hour)
    lab.build(*hours)
    lab.gold(HOURLY_REVENUE, DAY)
    for contract, key in ((EVENTS, HOUR), (HOURLY_REVENUE, DAY)):
        lose(Path(lab.lake.live(contract)[key].prefix) / "receipt.json", left)
        assert lab.lake.receipt(contract, lab.lake.live(contract)[key]) is None
    assert [each["balanced"] for each in ledger_records(lab.lake)] == [False, True]
    lab.deliver(jsonl([line(user="v")]), hours[1], minute=5)
    assert [built.status for built in lab.build(hours[1])] == ["published"]
    again = {built.key: built.status for built in lab.build(*hours)}
    assert again == {HOUR: "published", hours[1]: "unchanged"}
    assert [built.status for built in lab.gold(HOURLY_REVENUE, DAY)] == ["published"]
    assert [built.status for built in lab.gold(HOURLY_REVENUE, DAY)] == ["unchanged"]
    assert [each["balanced"] for each in ledger_records(lab.lake)] == [True, True]


def lose(path: Path, left: bytes | str | None) -> None:
    """Takes a file away, or leaves other bytes or a folder in its place."""
    path.unlink()
    if isinstance(left, bytes):
        path.write_bytes(left)
    elif left:
        path.mkdir()


def test_the_digest_of_what_is_live_is_that_of_its_receipt(lab: Lab) -> None:
    lab.deliver(jsonl([line()]))
    lab.build()
    lab.gold(HOURLY_REVENUE, DAY)
    for contract in (EVENTS, QUARANTINE, HOURLY_REVENUE):
        ((key, live),) = lab.lake.live(contract).items()
        assert live.digest == lab.receipt(contract, key).digest
