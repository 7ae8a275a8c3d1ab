"""Schema drift: a field that nobody announced is told, and a column that was added is filled."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pyiceberg.types import LongType

from event_pipeline.build import build_silver
from event_pipeline.contracts import EVENTS, TABLES, Column, Contract, SilverContract
from event_pipeline.contracts.contract import SQL
from event_pipeline.errors import UsageError
from event_pipeline.lake import making
from event_pipeline.lake.tables import Lake
from event_pipeline_tests import dagster_lab
from event_pipeline_tests.conftest import Lab, jsonl
from event_pipeline_tests.dagster_lab import HOUR, SILVER_ASSETS, SILVER_EVENTS

CHECK = dg.AssetCheckKey(SILVER_EVENTS, "fields_are_known")
EVENT: dict[str, Any] = {
    "timestamp": "2026-01-01T10:00:00Z",
    "user_id": "u",
    "session_id": "s",
    "event_type": "search",
    "product_id": None,
    "quantity": None,
    "price": None,
    "category": None,
    "search_query": "tea",
}
FIRST, SECOND = "2026-01-01-10:00", "2026-01-01-11:00"


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[dagster_lab.Lab]:
    with dagster_lab.Lab.open(tmp_path) as lab:
        yield lab


def judgement(graph: dagster_lab.Lab) -> dg.AssetCheckEvaluation:
    """The latest result of the check."""
    summary = graph.instance.event_log_storage.get_latest_asset_check_execution_by_key([CHECK])
    event = summary[CHECK].event
    assert event
    assert event.dagster_event
    found = event.dagster_event.event_specific_data
    assert isinstance(found, dg.AssetCheckEvaluation)
    return found


def test_a_new_field_is_a_warning_with_its_name_and_share_and_stops_nothing(
    graph: dagster_lab.Lab,
) -> None:
    key = graph.arrive(HOUR)
    lines = [json.dumps({**EVENT, **({"coupon": n} if n else {})}) for n in range(4)]
    graph.put(key, "\n".join(lines).encode())
    assert graph.materialize(SILVER_ASSETS, HOUR).success
    found = judgement(graph)
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert found.description == f"partition {HOUR}, field coupon, lines 3, share of lines 0.75"
    assert graph.rows() == 4
    shown = graph.materializations(SILVER_EVENTS)[-1].metadata["unknown_fields"]
    assert isinstance(shown, dg.TableMetadataValue)
    assert [record.data["field"] for record in shown.records] == ["coupon"]


def test_fields_that_the_contract_knows_pass(graph: dagster_lab.Lab) -> None:
    graph.arrive(HOUR)
    assert graph.materialize(SILVER_ASSETS, HOUR).success
    assert judgement(graph).passed


def test_a_field_that_is_gone_again_is_no_warning_any_more(graph: dagster_lab.Lab) -> None:
    key = graph.arrive(HOUR)
    graph.put(key, json.dumps({**EVENT, "coupon": 1}).encode())
    assert graph.materialize(SILVER_ASSETS, HOUR).success
    assert not judgement(graph).passed
    graph.put(key, json.dumps(EVENT).encode())
    assert graph.materialize(SILVER_ASSETS, HOUR).success
    assert judgement(graph).passed


def with_coupon(folder: Path, kind: str = "long") -> SilverContract:
    """The events' contract as somebody evolves it: a nullable column in the middle."""
    statement = folder / "events.sql"
    text = (SQL / "silver/events.sql").read_text()
    added = text.replace(
        "  search_query,\n  concat_ws(",
        "  search_query,\n  try_cast(coupon AS DECIMAL(18, 0)) AS coupon,\n  concat_ws(",
    )
    assert added != text
    statement.write_text(added)
    columns = list(EVENTS.columns)
    columns.insert(2, Column("coupon", kind, "Coupon."))
    return dataclasses.replace(
        EVENTS,
        columns=tuple(columns),
        source=(*EVENTS.source, "coupon"),
        statement=str(statement),
    )


def build(lab: Lab, contract: SilverContract, *hours: str) -> None:
    """Builds and publishes hours by a contract."""
    for built in build_silver(
        contract,
        hours,
        objects=lab.objects,
        transformer=lab.transformer,
        lake=lab.lake,
        recorded={},
        redelivery_hours=1,
    ):
        assert built.status == "published", built.error


def coupons(lab: Lab, contract: Contract, hour: str) -> list[Any]:
    """What a reader of the files sees in the new column."""
    names = [name for name in contract.column_names if name != contract.partition]
    return [row[names.index("coupon")] for row in lab.rows(contract, hour)]


def test_a_column_that_is_added_reads_as_null_until_its_partition_is_made_anew(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n, hour in enumerate((FIRST, SECOND)):
        lab.deliver(jsonl([json.dumps({**EVENT, "coupon": n + 1})]), hour)
    build(lab, EVENTS, FIRST, SECOND)
    evolved = with_coupon(tmp_path)
    monkeypatch.setitem(TABLES, EVENTS.table, evolved)
    # As a deployment sees it: objects and sensors know datasets by their contracts.
    monkeypatch.setattr("event_pipeline.lake.objects.owner", lambda prefix, name: evolved)

    build(lab, evolved, SECOND)

    assert coupons(lab, evolved, FIRST) == [None]
    assert coupons(lab, evolved, SECOND) == [2]
    table = lab.lake.table(evolved)
    assert [field.name for field in table.schema().fields] == list(evolved.column_names)
    assert table.scan().to_arrow()["coupon"].to_pylist().count(None) == 1
    query = "SELECT coupon, count(*) FROM silver.events GROUP BY coupon ORDER BY coupon"
    assert lab.querier.fetch(query)[1] == [(2, 1), (None, 1)]

    build(lab, evolved, FIRST)

    assert sorted(coupons(lab, evolved, FIRST) + coupons(lab, evolved, SECOND)) == [1, 2]
    assert lab.querier.fetch("SELECT sum(coupon) FROM silver.events")[1] == [(3,)]


def test_a_table_whose_every_file_is_older_than_a_column_reads_as_null(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.deliver(jsonl([json.dumps(EVENT)]), FIRST)
    build(lab, EVENTS, FIRST)
    evolved = with_coupon(tmp_path)
    monkeypatch.setitem(TABLES, EVENTS.table, evolved)
    assert lab.querier.fetch("SELECT coupon FROM silver.events")[1] == [(None,)]
    assert isinstance(lab.lake.table(evolved).schema().find_type("coupon"), LongType)


def test_two_processes_that_find_a_new_column_add_it_once(lab: Lab, tmp_path: Path) -> None:
    lab.lake.table(EVENTS)
    evolved = with_coupon(tmp_path)
    stale = Lake(root=lab.lake.root)
    held = stale.open().load_table(EVENTS.identifier)
    lab.lake.table(evolved)
    schema = making.evolved(held, evolved).schema()
    assert [field.name for field in schema.fields].count("coupon") == 1


def test_a_column_of_another_type_is_refused_in_one_clear_line(lab: Lab, tmp_path: Path) -> None:
    lab.lake.table(with_coupon(tmp_path))
    with pytest.raises(
        UsageError, match=r"silver.events: coupon is long in the table and string in its contract"
    ):
        lab.lake.table(with_coupon(tmp_path, "string"))
