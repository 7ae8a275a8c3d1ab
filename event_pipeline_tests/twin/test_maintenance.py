"""Maintenance in a bucket and the Glue Data Catalog."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from event_pipeline import aws
from event_pipeline.contracts import EVENTS
from event_pipeline.engines.claims import Claim, Claims
from event_pipeline.lake.tables import Lake
from event_pipeline.maintenance import maintain
from event_pipeline.partitions import HOURLY
from event_pipeline.settings import Settings
from event_pipeline_tests.conftest import HOUR, receipt
from event_pipeline_tests.twin.conftest import keys
from event_pipeline_tests.twin.graph import environment
from event_pipeline_tests.twin.server import Twin

BUCKET, RESULTS, PIPES = "maintained", "maintained-results", "maintained-pipes"


@pytest.fixture
def lake(twin: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """A lake in a bucket of its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with environment(twin.environment):
        for bucket in (BUCKET, RESULTS, PIPES):
            aws.client("s3").create_bucket(Bucket=bucket)
        for layer in ("silver", "gold", "quarantine"):
            name = {"Name": f"maintained_{layer}"}
            aws.client("glue").create_database(DatabaseInput=name)
        yield Lake(root=f"s3://{BUCKET}", database_prefix="maintained")


def written(lake: Lake, user: str) -> list[str]:
    """A file of a run that may publish it."""
    schema = lake.table(EVENTS).schema().as_arrow()
    plain = pa.schema([(field.name, field.type) for field in schema])
    row: dict[str, Any] = {"user_id": user, "arrival_hour": HOURLY.start(HOUR).replace(tzinfo=None)}
    path = f"{lake.new_prefix(EVENTS, HOUR, 'digest')}/rows.parquet"
    rows = pa.Table.from_pylist([row], plain)
    pq.write_table(rows, path.removeprefix("s3://"), filesystem=aws.filesystem())
    return [path]


def users(lake: Lake) -> list[Any]:
    """Whom a reader sees."""
    rows = lake.read(EVENTS, lake.scan(EVENTS), ["user_id"]).to_pylist()
    return [row["user_id"] for row in rows]


def test_old_states_and_what_killed_runs_left_are_removed(twin: Twin, lake: Lake) -> None:
    for n in range(3):
        time.sleep(1.1)  # S3 tells times in whole seconds
        lake.publish(EVENTS, HOUR, written(lake, f"{n}"), receipt("digest", 1))
    (killed,) = written(lake, "killed")
    claim = Claim("silver/events/killed", "v1", "run", to=killed)
    assert Claims(RESULTS, "claims").put(claim)
    aws.client("s3").put_object(Bucket=PIPES, Key="runs/killed/request.json", Body=b"{}")
    aws.client("s3").put_object(Bucket=BUCKET, Key="bronze/events/mine", Body=b"{}")
    given = {"lake_bucket": BUCKET, "pipes_bucket": PIPES, "results_bucket": RESULTS}
    others = dict.fromkeys(("workgroup", "glue_job", "glue_logs", "ingest_function"), "x")
    kept = {"snapshot_days": 1, "snapshots_least": 1}
    settings = Settings.model_validate({"target": "aws", **kept, **given, **others})
    assert list(maintain(settings, lake)) == []  # nothing is as old as the grace
    done = list(maintain(settings, lake, time.time() + 2 * 86_400))
    assert [(each.where, each.what) for each in done] == [
        ("claims and messages", "removed"),
        ("silver.events", "states forgotten"),
        ("silver.events", "files removed"),
    ]
    assert (done[0].count, done[1].count) == (2, 2)
    assert (users(lake), len(lake.versions(EVENTS))) == (["2"], 1)
    files = keys(twin, BUCKET, "silver/events/data/")
    [live] = lake.live(EVENTS).values()
    assert {f"s3://{BUCKET}/{key}" for key in files} == {*live.paths, f"{live.prefix}/receipt.json"}
    assert lake.broken(EVENTS, lake.live(EVENTS), deep=True) == {}
    assert keys(twin, BUCKET, "bronze/") == ["bronze/events/mine"]
    assert keys(twin, PIPES, "") == keys(twin, RESULTS, "") == []
