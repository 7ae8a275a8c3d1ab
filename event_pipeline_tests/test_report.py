"""The ledger since a day."""

import pytest

from event_pipeline.contracts import EVENTS
from event_pipeline.lake.damage import damages
from event_pipeline.lake.tables import Lake
from event_pipeline.report import ledger_records
from event_pipeline_tests.conftest import HOUR, Lab, jsonl

EARLIER = "2025-12-31-23:00"


def test_the_ledger_since_a_day_reads_no_earlier_receipt(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in (EARLIER, HOUR):
        lab.deliver(jsonl(["{}"]), hour)
    lab.build(EARLIER, HOUR)
    assert [line["partition"] for line in ledger_records(lab.lake)] == [EARLIER, HOUR]
    read: list[str] = []
    receipt = Lake.receipt

    def noted(lake: Lake, contract: object, live: object) -> object:
        read.append(live.folder.partition)  # type: ignore[attr-defined]
        return receipt(lake, contract, live)  # type: ignore[call-overload]

    monkeypatch.setattr(Lake, "receipt", noted)
    for since, expected in (
        ("2026-01-01", [HOUR]),
        ("2025-12-31", [EARLIER, HOUR]),
        ("2027-01-01", []),
    ):
        found = ledger_records(lab.lake, since=since)
        assert [line["partition"] for line in found] == expected
    assert read == ["2026-01-01-1000", "2025-12-31-2300", "2026-01-01-1000"]


def test_damage_since_a_day(lab: Lab) -> None:
    for hour in (EARLIER, HOUR):
        lab.deliver(jsonl(["{}"]), hour)
    lab.build(EARLIER, HOUR)
    for live in lab.lake.live(EVENTS).values():
        (lab.root / live.paths[0]).unlink()
    assert [each.partition for each in damages(lab.lake)] == [EARLIER, HOUR]
    assert [each.partition for each in damages(lab.lake, since="2026-01-01")] == [HOUR]
