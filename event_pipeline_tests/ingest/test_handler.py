"""The handler: a slot is written once, whatever is called, killed or raced."""

import ast
import gzip
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import obstore.store
import pytest
from botocore.config import Config

from event_pipeline.bronze import manifest_key, object_key
from event_pipeline.ingest import generator, handler
from event_pipeline.ingest.generator import SLOT, Profile, event_count, generate
from event_pipeline.ingest.handler import FolderStore, S3Store, ingest
from event_pipeline_tests.conftest import clock

START = datetime(2025, 11, 19, 17, 50, tzinfo=UTC)
KEY = "bronze/events/year=2025/month=11/day=19/hour=17/minute=50/events-20251119-175000.jsonl.gz"
MANIFEST = (
    "bronze/_manifests/events/year=2025/month=11/day=19/hour=17/minute=50/"
    "events-20251119-175000.jsonl.gz.json"
)

PROFILE = Profile(3000, seed=5, late_share=0.01, fault_share=0.01)

Store = FolderStore | S3Store


class S3StandIn(ThreadingHTTPServer):
    """Answers like S3 to the few requests that are made here, ETags and conditions included."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), S3Request)
        self.objects: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self.conflicts = 0  # that conditional writes are answered with, before any succeeds
        self.url = f"http://127.0.0.1:{self.server_port}"


class S3Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3StandIn

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status: int, code: str) -> None:
        self.answer(status, f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode())

    def do_PUT(self) -> None:
        path = unquote(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            if self.headers["If-None-Match"]:
                if self.server.conflicts:
                    self.server.conflicts -= 1
                    return self.error(409, "ConditionalRequestConflict")
                if path in self.server.objects:
                    return self.error(412, "PreconditionFailed")
            self.server.objects[path] = body
        return self.answer(200, ETag=etag(body))

    def do_GET(self) -> None:
        if "list-type=2" in self.path:
            found = "".join(
                f"<Contents><Key>{path.removeprefix('/lake/')}</Key><Size>{len(body)}</Size>"
                f"<LastModified>2025-11-19T17:55:00.000Z</LastModified>"
                f"<ETag>{etag(body).replace(chr(34), '&quot;')}</ETag></Contents>"
                for path, body in self.server.objects.items()
            )
            return self.answer(200, f"<ListBucketResult>{found}</ListBucketResult>".encode())
        body = self.server.objects.get(unquote(self.path.partition("?")[0]))
        if body is None:
            return self.error(404, "NoSuchKey")
        return self.answer(
            200, body, ETag=etag(body), Last_Modified="Wed, 19 Nov 2025 17:55:00 GMT"
        )

    do_HEAD = do_GET


def etag(body: bytes) -> str:
    return f'"{hashlib.md5(body).hexdigest()}"'


@pytest.fixture
def s3() -> Iterator[S3StandIn]:
    with S3StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def s3_store(server: S3StandIn) -> S3Store:
    client = boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )
    return S3Store("lake", "team", client)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return FolderStore(tmp_path)
    return s3_store(request.getfixturevalue("s3"))


def read(store: Store, key: str) -> bytes:
    found = store.read(key)
    assert found is not None
    return found[0]


def files(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def test_keys_are_the_sources_by_slot() -> None:
    assert object_key(START) == KEY
    assert object_key(datetime.fromisoformat("2025-11-19T23:20:00+05:30")) == KEY
    assert manifest_key(KEY) == MANIFEST


def test_slots_of_an_hour_and_the_last_whole_one() -> None:
    hour = START.replace(minute=0)
    assert handler.slots_of_hour(hour) == [hour + n * timedelta(minutes=5) for n in range(12)]
    assert handler.last_whole_slot(START + SLOT) == START
    assert handler.last_whole_slot(START + SLOT - timedelta(microseconds=1)) == START - SLOT


def test_an_object_and_its_manifest_agree(store: Store) -> None:
    result = ingest(START, store, PROFILE)
    data = read(store, KEY)
    assert gzip.decompress(data) == b"".join(generate(START, PROFILE))
    assert data[3:8] == bytes(5)  # no name, no time
    assert json.loads(read(store, MANIFEST)) == {
        "key": KEY,
        "slot": "2025-11-19T17:50:00Z",
        "lines": event_count(START, PROFILE),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "etag": store.read(KEY)[1],  # type: ignore[index]
        **vars(PROFILE),
    }
    assert result["status"] == "written"
    assert result["lines"] == event_count(START, PROFILE)
    assert json.loads(json.dumps(result)) == result


def test_another_lake_gets_the_same_bytes(tmp_path: Path) -> None:
    results = [ingest(START, FolderStore(tmp_path / name), PROFILE) for name in ("a", "b")]
    assert results[0] | {"seconds": 0} == results[1] | {"seconds": 0}


def test_the_folders_etag_is_obstores(tmp_path: Path) -> None:
    ingest(START, FolderStore(tmp_path), PROFILE)
    listed = obstore.store.LocalStore(tmp_path).list("bronze/events").collect()
    assert [(entry["path"], entry["e_tag"]) for entry in listed] == [
        (KEY, json.loads((tmp_path / MANIFEST).read_bytes())["etag"])
    ]


def test_the_buckets_etag_is_obstores(s3: S3StandIn) -> None:
    store = s3_store(s3)
    ingest(START, store, PROFILE)
    reader = obstore.store.S3Store(
        "lake",
        endpoint=s3.url,
        region="us-east-1",
        access_key_id="a",
        secret_access_key="b",
        client_options={"allow_http": True},
    )
    listed = {entry["path"]: entry["e_tag"] for entry in reader.list("team/").collect()}
    assert listed[f"team/{KEY}"] == json.loads(read(store, MANIFEST))["etag"]


def test_A6_a_second_call_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ingest(START, store, PROFILE)
    before = store.read(KEY), store.read(MANIFEST)

    def no_generation(*_: object) -> None:
        raise AssertionError("a slot that is there must cost nothing")

    monkeypatch.setattr(handler, "generate", no_generation)
    for profile in (PROFILE, Profile(10, seed=99)):
        again = ingest(START, store, profile)
        assert again | {"seconds": 0} == first | {"seconds": 0, "status": "exists"}
    assert (store.read(KEY), store.read(MANIFEST)) == before


@pytest.mark.parametrize("round_", range(3))
def test_A6_concurrent_calls_write_one_object(store: Store, round_: int) -> None:
    slot = START + round_ * SLOT
    barrier = threading.Barrier(4)

    def call(seed: int) -> handler.Result:
        barrier.wait()
        return ingest(slot, store, Profile(2000, seed=seed))

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(call, range(4)))
    statuses = Counter(result["status"] for result in results)
    assert statuses["written"] == 1
    assert len({result["sha256"] for result in results}) == 1
    winner = next(n for n, result in enumerate(results) if result["status"] == "written")
    data = read(store, object_key(slot))
    assert gzip.decompress(data) == b"".join(generate(slot, Profile(2000, seed=winner)))
    manifest = json.loads(read(store, manifest_key(object_key(slot))))
    assert manifest["sha256"] == hashlib.sha256(data).hexdigest()
    assert manifest["seed"] == winner


def test_a_crash_between_object_and_manifest_is_repaired(store: Store) -> None:
    class Crash(Exception):
        pass

    def crash(key: str, data: bytes) -> str:
        raise Crash

    whole, store.put = store.put, crash  # type: ignore[method-assign]
    with pytest.raises(Crash):
        ingest(START, store, PROFILE)
    store.put = whole  # type: ignore[method-assign]
    before = store.read(KEY)

    repaired = ingest(START, store, Profile(10, seed=99))
    assert repaired["status"] == "repaired"
    assert repaired["lines"] == event_count(START, PROFILE)
    manifest = json.loads(read(store, MANIFEST))
    assert manifest["etag"] == before[1]  # type: ignore[index]
    assert manifest["seed"] is manifest["events"] is None  # the object does not tell
    assert store.read(KEY) == before
    assert ingest(START, store, PROFILE)["status"] == "exists"


def test_a_killed_writer_leaves_nothing_that_a_reader_sees(tmp_path: Path) -> None:
    program = """
        import os, signal, sys
        from datetime import datetime
        from event_pipeline.ingest import handler
        handler.os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        store = handler.FolderStore(sys.argv[1])
        handler.ingest(datetime.fromisoformat(sys.argv[2]), store, handler.Profile(100))
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path), START.isoformat()]
    root = Path(generator.__file__).parents[2]
    killed = subprocess.run(command, check=False, cwd=root)
    assert killed.returncode == -signal.SIGKILL
    [leftover] = files(tmp_path)
    assert leftover.startswith(".tmp/")
    assert obstore.store.LocalStore(tmp_path).list("bronze/events").collect() == []

    assert ingest(START, FolderStore(tmp_path), PROFILE)["status"] == "written"
    assert files(tmp_path) == [leftover, MANIFEST, KEY]
    an_hour_ago = time.time() - 3601
    os.utime(tmp_path / leftover, (an_hour_ago, an_hour_ago))
    ingest(START + SLOT, FolderStore(tmp_path), PROFILE)
    assert leftover not in files(tmp_path)


def test_a_conflict_is_tried_again(s3: S3StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("event_pipeline.ingest.handler.time", clock(lambda _: None))
    s3.conflicts = 3
    assert ingest(START, s3_store(s3), PROFILE)["status"] == "written"
    s3.conflicts = 1000
    with pytest.raises(Exception, match="ConditionalRequestConflict"):
        ingest(START + SLOT, s3_store(s3), PROFILE)


def test_generation_holds_little_more_than_the_compressed_object() -> None:
    import tracemalloc

    profile = Profile(60_000)
    b"".join(generate(START, Profile(1)))  # the tables are made once
    tracemalloc.start()
    data, lines = handler._compressed(generate(START, profile))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert lines == event_count(START, profile)
    assert peak < 2 * len(data) + 6_000_000  # the slot's stamps and a chunk


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("EVENT_PIPELINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("EVENT_PIPELINE_LAKE", str(tmp_path))
    monkeypatch.setenv("EVENT_PIPELINE_EVENTS_PER_SLOT", "50")
    return monkeypatch


@pytest.mark.parametrize(
    ("event", "slots"),
    [
        ({"slot": "2025-11-19T17:50:00Z"}, ["2025-11-19T17:50:00Z"]),
        ({"slot": "2025-11-19T18:50:00+01:00"}, ["2025-11-19T17:50:00Z"]),
        ({"time": "2025-11-19T17:55:00Z"}, ["2025-11-19T17:50:00Z"]),
        ({"time": "2025-11-19T17:59:59Z"}, ["2025-11-19T17:50:00Z"]),
        (
            {"slots": ["2025-11-19T17:50:00Z", "2025-11-19T17:55:00Z"]},
            ["2025-11-19T17:50:00Z", "2025-11-19T17:55:00Z"],
        ),
    ],
)
def test_an_event_tells_the_slots(
    environment: pytest.MonkeyPatch, event: dict[str, Any], slots: list[str]
) -> None:
    first = handler.handler(event)["results"]
    assert [(r["slot"], r["status"]) for r in first] == [(slot, "written") for slot in slots]
    again = handler.handler(event)["results"]
    assert [(r["slot"], r["status"]) for r in again] == [(slot, "exists") for slot in slots]


def test_an_empty_event_means_now(environment: pytest.MonkeyPatch) -> None:
    before = handler.last_whole_slot(datetime.now(UTC))
    [result] = handler.handler({}, None)["results"]
    after = handler.last_whole_slot(datetime.now(UTC))
    assert datetime.fromisoformat(result["slot"]) in (before, after)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"slot": "2025-11-19T17:51:00Z"}, "must start at a multiple of 5 minutes"),
        ({"slot": "2025-11-19T17:50:00.000001Z"}, "must start at a multiple of 5 minutes"),
        ({"slot": "2025-11-19T17:50:00"}, "slot='2025-11-19T17:50:00': has no offset"),
        ({"slot": "yesterday"}, "slot='yesterday': must be ISO 8601"),
        ({"time": 17}, "time=17: must be ISO 8601"),
    ],
)
def test_a_slot_that_is_none_is_refused(
    environment: pytest.MonkeyPatch, tmp_path: Path, event: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        handler.handler(event)
    assert files(tmp_path) == []


def test_a_slot_that_is_not_over_is_refused(tmp_path: Path) -> None:
    current = handler.last_whole_slot(datetime.now(UTC)) + 2 * SLOT
    with pytest.raises(ValueError, match="does not end before"):
        ingest(current, FolderStore(tmp_path), PROFILE)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("LAKE", "", "EVENT_PIPELINE_LAKE is not set"),
        ("LAKE", "s3://", "must be s3://bucket"),
        ("EVENTS_PER_SLOT", "many", "EVENT_PIPELINE_EVENTS_PER_SLOT='many'"),
        (
            "EVENTS_PER_SLOT",
            "0",
            "EVENT_PIPELINE_EVENTS_PER_SLOT='0': events=0: must be at least 1",
        ),
        ("INGEST_MODE", "fast", "EVENT_PIPELINE_INGEST_MODE='fast'"),
        ("SEED", "1.5", "EVENT_PIPELINE_SEED='1.5'"),
        ("LATE_SHARE", "2", "EVENT_PIPELINE_LATE_SHARE='2'"),
        ("FAULT_SHARE", "nan", "EVENT_PIPELINE_FAULT_SHARE='nan'"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    environment: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    environment.setenv(f"EVENT_PIPELINE_{name}", value)
    with pytest.raises(ValueError, match=re.escape(message)):
        handler.handler({"slot": START.isoformat()})


def test_the_environment_makes_the_profile(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("EVENT_PIPELINE_INGEST_MODE", "original")
    environment.setenv("EVENT_PIPELINE_SEED", "3")
    environment.setenv("EVENT_PIPELINE_LATE_SHARE", "0.5")
    environment.setenv("EVENT_PIPELINE_FAULT_SHARE", "0.25")
    handler.handler({"slot": START.isoformat()})
    manifest = json.loads((tmp_path / MANIFEST).read_bytes())
    expected = Profile(50, seed=3, mode="original", late_share=0.5, fault_share=0.25)
    assert {name: manifest[name] for name in vars(expected)} == vars(expected)


def test_the_package_needs_the_standard_library_alone() -> None:
    folder = Path(handler.__file__).parent
    modules = set()
    package = folder.parent
    own = (package / "__init__.py", package / "bronze.py")
    for path in (*own, folder / "generator.py", folder / "handler.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module or "")
    foreign = {name for name in modules if name.split(".")[0] not in sys.stdlib_module_names}
    ours = {"event_pipeline.bronze", "event_pipeline.ingest.generator"}
    assert foreign == {"boto3", *ours}
    loaded = "import event_pipeline.ingest.handler, sys; print('boto3' in sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", loaded], cwd=folder.parents[1], capture_output=True, check=True
    )
    assert output.stdout == b"False\n"
