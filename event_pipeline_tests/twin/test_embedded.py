"""The embedded engine over S3: what it makes of objects there is what it makes of files here."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from event_pipeline import aws as aws_module
from event_pipeline.build import build_gold, build_silver
from event_pipeline.contracts import (
    COMMERCE_EVENTS,
    COMMERCE_ORDERS,
    COMMERCE_USERS,
    EVENTS,
    USER_ACTIVITY,
    Contract,
    SilverContract,
    roll_ups_of,
)
from event_pipeline.engines import Querier, Transformer, claims
from event_pipeline.engines.athena import AthenaQuerier
from event_pipeline.engines.claims import Claim, Claims
from event_pipeline.engines.duckdb import DuckDBQuerier, DuckDBTransformer, staged
from event_pipeline.engines.duckdb.staged import Stage
from event_pipeline.engines.glue import GlueTransformer
from event_pipeline.engines.glue.job import GlueJob
from event_pipeline.engines.glue.job_runs import JobRuns, Work
from event_pipeline.ingest.drops import DropProfile, write_drop
from event_pipeline.ingest.generator import Profile, generate
from event_pipeline.ingest.handler import S3Store
from event_pipeline.lake.objects import Objects
from event_pipeline.lake.tables import Lake
from event_pipeline.partitions import HOURLY
from event_pipeline_tests.conftest import DROP, GOLD_OF_EVENTS, HOUR, Lab, jsonl
from event_pipeline_tests.twin.conftest import RESULTS, job, keys, role, wait_for_object
from event_pipeline_tests.twin.graph import environment
from event_pipeline_tests.twin.server import Twin
from event_pipeline_tests.twin.test_faults import JOB, runs

BUCKET = "embedded"
LAYERS = ("silver", "quarantine", "gold")
DROPS = (COMMERCE_USERS, COMMERCE_EVENTS, COMMERCE_ORDERS)
LINES = b"".join(generate(HOURLY.start(HOUR), Profile(events=300, fault_share=0.1)))
# A worker that has a piece of work made by a run of a job (`glue`), or makes it by itself (`here`).
WORKER = f"""
import sys, time, uuid, boto3
from event_pipeline.engines.claims import Claims
from event_pipeline.engines.glue.job import GlueJob
from event_pipeline.engines.glue.job_runs import JobRuns, Work
def here():
    key = f"made-here/{{uuid.uuid4()}}"
    boto3.client("s3").put_object(Bucket="{RESULTS}", Key=key, Body=b"")
    time.sleep(4)
    return {{"rows": 7, "run": {{}}}}
job = GlueJob("beside", "/aws-glue/jobs")
runs = JobRuns(job, "{RESULTS}", Claims("{RESULTS}", "claims"), 0.2)
work = Work("silver/events/k", "v1")
made = {{
    "here": lambda: runs.make_here("k", work, here),
    "glue": lambda: runs.make({{"k": work}}, lambda keys: {{"keys": list(keys)}}),
}}
for report in made[sys.argv[1]]():
    print(report["rows"], flush=True)
"""


@dataclass
class Remote:
    """A lake in a bucket, whose tables the embedded engine makes."""

    twin: Twin
    lake: Lake = field(init=False)
    objects: Objects = field(init=False)
    transformer: Transformer = field(init=False)
    querier: Querier = field(init=False)

    def __post_init__(self) -> None:
        root = f"s3://{BUCKET}"
        self.lake = Lake(root=root, database_prefix=BUCKET)
        self.objects = Objects(root=root)
        self.transformer = GlueTransformer(
            job="none",
            logs="/none",
            bucket=RESULTS,
            poll_seconds=0.1,
            embedded=DuckDBTransformer(memory_mb=512, threads=1),
        )
        self.querier = AthenaQuerier(
            lake=self.lake,
            workgroup="none",
            results_bucket=RESULTS,
            poll_seconds=0.1,
            embedded=DuckDBQuerier(lake=self.lake, memory_mb=512, threads=1),
        )

    def put(self, key: str, data: bytes) -> None:
        """Puts an object, over any that is there."""
        self.twin.client("s3").put_object(Bucket=BUCKET, Key=key, Body=data)

    def build(self, contract: SilverContract = EVENTS, key: str = HOUR) -> Any:
        """What came of building a partition of Silver."""
        [built] = build_silver(
            contract,
            [key],
            objects=self.objects,
            transformer=self.transformer,
            lake=self.lake,
            recorded={},
            redelivery_hours=1,
        )
        return built

    def gold(self, contract: Any) -> Any:
        """What came of building a date of Gold."""
        [built] = build_gold(
            contract,
            [DROP],
            transformer=self.transformer,
            querier=self.querier,
            lake=self.lake,
        )
        return built

    def claims(self) -> list[str]:
        """The claims that somebody holds."""
        return keys(self.twin, RESULTS, "claims/")


@pytest.fixture
def aws(twin: Twin) -> Iterator[Twin]:
    """The twin, as this process's AWS."""
    with environment(twin.environment):
        yield twin


@pytest.fixture
def remote(aws: Twin) -> Iterator[Remote]:
    """An empty lake in a bucket of its own, in whose catalog there are no tables."""
    s3, glue = aws.client("s3"), aws.client("glue")
    s3.create_bucket(Bucket=BUCKET)
    for layer in LAYERS:
        glue.create_database(DatabaseInput={"Name": f"{BUCKET}_{layer}"})
    yield Remote(aws)
    for layer in LAYERS:
        glue.delete_database(Name=f"{BUCKET}_{layer}")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for item in page.get("Contents", []):
            s3.delete_object(Bucket=BUCKET, Key=item["Key"])
    s3.delete_bucket(Bucket=BUCKET)


def rows(lake: Lake, contract: Contract, key: str) -> list[str]:
    """The rows of a partition, as texts in order."""
    live = lake.live(contract, {key})[key]
    return sorted(map(repr, lake.read(contract, live.paths).to_pylist()))


def test_an_hour_in_s3_is_made_as_one_in_a_folder(
    remote: Remote, lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    half = LINES[: len(LINES) // 2].rindex(b"\n") + 1
    data = {0: jsonl([LINES[:half].decode()], ""), 5: LINES[half:], 10: jsonl(["no JSON"])[:-9]}
    for minute, each in data.items():
        key = lab.deliver(each, minute=minute)
        remote.put(key, each)
    built, [local] = remote.build(), lab.build()
    assert (built.status, local.status) == ("published", "published"), (built, local)
    for contract in (EVENTS, EVENTS.quarantine, *roll_ups_of(EVENTS)):
        assert rows(remote.lake, contract, HOUR) == rows(lab.lake, contract, HOUR), contract.table
    counts = ("lines", "rows", "duplicates", "quarantined", "rejected", "event_dates", "sums")
    assert [getattr(built.receipt, name) for name in counts] == [
        getattr(local.receipt, name) for name in counts
    ]
    assert remote.build().status == "unchanged"
    assert remote.claims() == []
    for contract in GOLD_OF_EVENTS:
        found, [here] = remote.gold(contract), lab.gold(contract, DROP)
        assert (found.status, found.receipt.totals) == ("published", here.receipt.totals)
        assert rows(remote.lake, contract, DROP) == rows(lab.lake, contract, DROP)
    assert remote.claims() == []
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name.isdigit()] == []


def test_a_drop_in_s3_and_what_joins_it_are_made_as_in_a_folder(remote: Remote, lab: Lab) -> None:
    profile = DropProfile(records=200, fault_share=0.1)
    for store in (S3Store(BUCKET), lab.store):
        write_drop(store, date.fromisoformat(DROP), profile)
    for contract in DROPS:
        assert remote.build(contract, DROP).status == "published"
        assert lab.build_drop(contract).status == "published"
        assert rows(remote.lake, contract, DROP) == rows(lab.lake, contract, DROP)
    built, [local] = remote.gold(USER_ACTIVITY), lab.gold(USER_ACTIVITY, DROP)
    assert (built.status, built.receipt.totals) == ("published", local.receipt.totals)
    assert rows(remote.lake, USER_ACTIVITY, DROP) == rows(lab.lake, USER_ACTIVITY, DROP)
    assert remote.claims() == []


# --- Hostile -----------------------------------------------------------------------------------


def meanwhile(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Does that once, when objects are listed and not yet downloaded."""
    real, left = staged._download, [action]

    def download(*arguments: str) -> None:
        if left:
            left.pop()()
        real(*arguments)

    monkeypatch.setattr(staged, "_download", download)


def test_an_object_that_is_gone_before_it_is_read_fails_its_partition(
    remote: Remote, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = lab.key()
    remote.put(key, jsonl([LINES.decode()], ""))
    s3 = remote.twin.client("s3")
    meanwhile(monkeypatch, lambda: s3.delete_object(Bucket=BUCKET, Key=key))
    built = remote.build()
    assert (built.status, built.error) == ("failed", f"{key} was deleted after it was listed")
    assert remote.lake.live(EVENTS) == {}
    assert remote.build().receipt.lines == 0
    assert remote.claims() == []


def test_an_object_that_is_replaced_before_it_is_read_fails_its_partition(
    remote: Remote, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if it is as before when it is listed again."""
    key, data = lab.key(), jsonl([LINES.decode()], "")
    remote.put(key, data)
    meanwhile(monkeypatch, lambda: remote.put(key, jsonl(["{}"])))
    real = remote.objects.partition

    def back(*arguments: Any) -> Any:
        remote.put(key, data)
        return real(*arguments)

    monkeypatch.setattr(type(remote.objects), "partition", lambda _, *given: back(*given))
    built = remote.build()
    assert (built.status, built.error) == ("failed", f"{key} was changed after it was listed")
    assert remote.lake.live(EVENTS) == {}
    assert remote.build().status == "published"


@pytest.mark.parametrize("skip", [0, 2])
def test_an_upload_that_fails_half_way_publishes_nothing_and_is_repeated(
    remote: Remote, lab: Lab, skip: int
) -> None:
    remote.put(lab.key(), jsonl([LINES.decode()], ""))
    for contract in (EVENTS, EVENTS.quarantine, *roll_ups_of(EVENTS)):
        remote.lake.table(contract)
    refused = {"action": "s3:PutObject", "resource": "/data/", "status": 403}
    remote.twin.order(faults=[{**refused, "code": "AccessDenied", "skip": skip}])
    built = remote.build()
    assert (built.status, built.error) == ("failed", "S3: AccessDenied: as ordered")
    for contract in (EVENTS, EVENTS.quarantine, *roll_ups_of(EVENTS)):
        assert remote.lake.live(contract) == {}
    left = [key for key in keys(remote.twin, BUCKET, "") if key.endswith(".parquet")]
    assert len(left) == skip
    assert remote.claims() == []
    assert remote.build().status == "published"


def test_a_large_file_goes_in_parts(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(staged, "PART_BYTES", 5 << 20)
    stage, data = Stage(str(tmp_path)), os.urandom((11 << 20) + 1)
    folder = stage.folder(f"s3://{BUCKET}/silver/events/data/h/run")
    Path(folder, "rows.parquet").write_bytes(data)
    uris = stage.upload([f"{folder}/rows.parquet"])
    assert uris == [f"s3://{BUCKET}/silver/events/data/h/run/rows.parquet"]
    found = remote.twin.client("s3").head_object(Bucket=BUCKET, Key=uris[0].split("/", 3)[3])
    assert found["ETag"].strip('"').endswith("-3")
    [path] = stage.fetch([(uris[0], found["ETag"])])
    assert Path(path).read_bytes() == data


def test_what_is_not_in_s3_stands_for_itself(tmp_path: Path) -> None:
    stage = Stage(str(tmp_path))
    assert stage.folder("/lake/silver") == "/lake/silver"
    assert stage.fetch([("/lake/a", "etag")]) == ["/lake/a"]
    assert stage.upload(["/lake/silver/rows.parquet"]) == ["/lake/silver/rows.parquet"]
    assert list(tmp_path.iterdir()) == []


# --- Claims across processes and engines -------------------------------------------------------


def worker(twin: Twin, how: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, how],
        env={**twin.environment, "PATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def beside(aws: Twin) -> Iterator[Twin]:
    """The twin with the workers' job, whose runs take some seconds; nothing has been made."""
    name = "beside"
    job(aws, name, JOB, role=role(aws, name, "glue.amazonaws.com"))
    yield aws
    aws.client("iam").delete_role(RoleName=name)
    aws.client("glue").delete_job(JobName=name)
    for key in keys(aws, RESULTS, "made-here/"):
        aws.client("s3").delete_object(Bucket=RESULTS, Key=key)


@pytest.mark.parametrize("first", ["glue", "here", "neither"])
def test_glue_and_a_process_at_the_same_time_make_it_once(beside: Twin, first: str) -> None:
    second = "glue" if first == "here" else "here"
    before = len(runs(beside, "beside"))
    workers = [worker(beside, "glue" if first == "neither" else first)]
    if first != "neither":
        wait_for_object(beside, RESULTS, "claims/silver/events/k")
    workers.append(worker(beside, second))
    ended = [each.communicate(timeout=60) for each in workers]
    assert [output for output, _ in ended] == ["7\n", "7\n"], ended
    by_glue = len(runs(beside, "beside")) - before
    here = len(keys(beside, RESULTS, "made-here/"))
    assert by_glue + here == 1
    if first != "neither":
        assert here == (first == "here")
    assert keys(beside, RESULTS, "claims/") == []


def test_the_claim_of_a_process_that_was_killed_lapses(
    beside: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = worker(beside, "here")
    wait_for_object(beside, RESULTS, "made-here/")
    dead.send_signal(signal.SIGKILL)
    dead.communicate()
    left = Claims(RESULTS, "claims").get("silver/events/k")
    assert left is not None
    monkeypatch.setattr(claims, "GRACE_SECONDS", time.time() - left.at + 1)
    jobs = JobRuns(GlueJob("beside", "/none"), RESULTS, Claims(RESULTS, "claims"), 0.1)
    work = Work("silver/events/k", "v1")
    [report] = jobs.make_here("k", work, lambda: {"rows": time.time() - left.at})
    assert report["rows"] > claims.GRACE_SECONDS
    assert keys(beside, RESULTS, "claims/") == []


COLUMNS = (("event_date", "date"), ("events", "long"))
STATEMENT = "SELECT event_date, count(*) AS events FROM silver.events GROUP BY event_date"


def unloaded(querier: Querier, to: str) -> Any:
    return querier.unload(STATEMENT, COLUMNS, ("event_date", DROP), to, "v1")


def test_a_query_waits_for_a_process_that_runs_it(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And takes over if it is gone."""
    monkeypatch.setattr(claims, "GRACE_SECONDS", 1)
    assert isinstance(remote.querier, AthenaQuerier)
    names: list[str] = []
    put = Claims.put

    def noted(self: Claims, claim: Claim, instead_of: Claim | None = None) -> Claim | None:
        names.append(claim.name)
        return put(self, claim, instead_of)

    monkeypatch.setattr(Claims, "put", noted)
    assert unloaded(remote.querier, f"s3://{BUCKET}/gold/one").rows == 0
    theirs = Claim(names[0], "v1", "another", f"s3://{BUCKET}/gold/theirs", is_embedded=True)
    assert remote.querier._claims.put(theirs)
    report = unloaded(remote.querier, f"s3://{BUCKET}/gold/two")
    assert time.time() - theirs.at >= 1
    assert report.files == [f"s3://{BUCKET}/gold/two/rows.parquet"]
    assert remote.claims() == []
    # Athena would have been asked for the same query, into the same folder.
    theirs = Claim(names[0], "v1", "another", f"s3://{BUCKET}/gold/theirs", is_embedded=True)
    assert remote.querier._claims.put(theirs)
    athena = AthenaQuerier(**{**dict(remote.querier), "embedded": None})
    monkeypatch.setattr(aws_module.client("athena"), "start_query_execution", _asked)
    with pytest.raises(Asked) as asked:
        unloaded(athena, f"s3://{BUCKET}/gold/three")
    assert time.time() - theirs.at >= 1
    assert f"TO 's3://{BUCKET}/gold/three/'" in str(asked.value)
    left = Claims(RESULTS, "claims").get(names[0])
    assert left is not None
    athena._claims.release(left)


class Asked(RuntimeError):
    """What Athena was asked."""


def _asked(**call: str) -> None:
    raise Asked(call["QueryString"])
