"""A real AWS account: deploy, an hour, the answers, destroy. It costs a dollar: `pytest -m aws`.

Needs credentials that may make all of infra/data_plane.yaml. Whatever happens, it is destroyed with
its data; only the key is left, to be deleted after 30 days.
"""

import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from rich.console import Console

from event_pipeline.contracts import EVENTS, GOLD
from event_pipeline.deploy import data_plane
from event_pipeline.partitions import HOUR, HOURLY
from event_pipeline.report import ledger_records
from event_pipeline.resources import resources
from event_pipeline.settings import Settings, read_settings
from event_pipeline.sync import run_sync

pytestmark = pytest.mark.aws


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Those of a stack of its own, whose schedule is off."""
    name = f"event-pipeline-test-{secrets.token_hex(4)}"
    me = boto3.client("sts").get_caller_identity()["Arn"]
    parameters = {
        "DatabasePrefix": name.replace("-", "_"),
        "EventsPerSlot": "2000",
        "ScheduleState": "DISABLED",
        **({} if ":root" in me or ":assumed-role/" in me else {"DagsterPrincipal": me}),
    }
    try:
        values = data_plane.deploy(
            name, parameters, env_file=tmp_path / "env", console=Console(stderr=True)
        )
        yesterday = datetime.now(UTC).date() - timedelta(1)
        first = {"EVENT_PIPELINE_FIRST_DAY": f"{yesterday}", "EVENT_PIPELINE_HOME": str(tmp_path)}
        for variable, value in {**values, **first}.items():
            monkeypatch.setenv(variable, value)
        yield read_settings()
    finally:
        data_plane.destroy(name, confirm=lambda _, words: words, with_data=True)


def test_an_hour_from_the_lambda_to_the_answers(settings: Settings) -> None:
    used = resources(settings)
    key = HOURLY.key(datetime.now(UTC) - HOUR)
    written = used.ingester.ingest_hour(key)
    assert [result["status"] for result in written] == ["written"] * 12
    assert run_sync(settings, Console(stderr=True))
    [record] = [r for r in ledger_records(used.lake) if r["asset"] == EVENTS.asset]
    assert (record["partition"], record["balanced"]) == (key, True)
    assert record["lines"] == sum(result["lines"] for result in written)
    for contract in GOLD:
        if EVENTS in contract.inputs:
            _, rows = used.querier.fetch(contract.select_all)
            assert rows, contract.table
    assert os.environ["EVENT_PIPELINE_TARGET"] == "aws"
