"""The commands `load`, `loads` and `unload`, as a person and as a script use them."""

import gzip
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner, Result

from event_pipeline import aws
from event_pipeline.cli import app
from event_pipeline_tests.ingest.load.conftest import ALL, event, jsonl

DAY = "2026-01-02"
LINES = jsonl(*(event(f"{DAY}T10:{n * 5:02d}:00Z") for n in range(4)))


class Desk:
    """A folder with files and a home, and the command line."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lake = folder / "home" / "lake"
        self.all = self.file("all.sql", ALL)

    def file(self, name: str, text: str | bytes = LINES) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def run(
        self, *words: object, pipe: bytes = b"", target: dict[str, str] | None = None
    ) -> Result:
        environment = {"HOME": str(self.folder / "home"), **(target or {})}
        return CliRunner().invoke(
            app,
            list(map(str, words)),
            input=pipe,
            env={f"EVENT_PIPELINE_{name}": value for name, value in environment.items()},
        )

    def load(
        self, *words: object, pipe: bytes = b"", target: dict[str, str] | None = None
    ) -> Result:
        return self.run("load", *words, "--sql", self.all, pipe=pipe, target=target)

    def loads(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("loads", "--format", "json").stdout)
        return found

    def lines(self) -> int:
        files = (self.lake / "bronze").glob("[a-z]*/**/*.gz")
        return sum(len(gzip.decompress(path.read_bytes()).splitlines()) for path in files)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_many_files_are_one_command(desk: Desk) -> None:
    for n in range(3):
        text = LINES.replace('"u"', f'"u{n}"').encode()
        desk.file(f"shop/{n}/Part-{n}.JSONL.GZ", gzip.compress(text))
    desk.file("shop/_SUCCESS", "")
    desk.file("shop/.part.crc", "x")
    folder = desk.load(desk.folder / "shop")
    assert folder.exit_code == 0, folder.stderr
    assert f"12 rows read, 12 objects written, 0 there already, partitions {DAY}" in folder.stdout
    pattern = desk.load(desk.folder / "shop" / "**" / "*.GZ")
    assert "12 rows read, 0 objects written, 12 there already" in pattern.stdout
    files = desk.load(*sorted((desk.folder / "shop").rglob("*.GZ")))
    assert "12 rows read, 0 objects written, 12 there already" in files.stdout
    assert [load["rows"] for load in desk.loads()] == [4, 4, 4]


def test_a_year_of_days_is_one_command_for_a_dataset(desk: Desk) -> None:
    for day in range(1, 6):
        desk.file(f"users-2026-01-{day:02d}.csv", f"user_id\nu{day}\n")
    words = ("--dataset", "commerce_users")
    said = desk.load(desk.folder / "users-*.csv", *words).stdout
    assert "5 rows read, 5 objects written" in said
    assert "partitions 2026-01-01 to 2026-01-05" in said


def test_one_bad_file_does_not_stop_the_others_and_is_named(desk: Desk) -> None:
    good, bad = desk.file("good.jsonl"), desk.file("bad.jsonl", b'{"a": "\xe9"}\n')
    other = desk.file("other.jsonl", jsonl(event("yesterday")))
    said = desk.load(other, bad, good)
    assert said.exit_code == 1
    assert "bad.jsonl: none of 1 records can be read" in said.stderr
    assert "other.jsonl: 1 of 1 rows would be refused: timestamp_invalid" in said.stderr
    assert "2 of 3 sources were not loaded" in said.stderr
    assert desk.lines() == 4
    alone = desk.load(bad)
    assert (alone.exit_code, len(alone.stderr.splitlines())) == (2, 1)


def test_a_pipe_is_read_and_known_by_its_content_or_a_name(desk: Desk) -> None:
    assert "4 objects written" in desk.load("-", pipe=LINES.encode()).stdout
    assert "4 there already" in desk.load("-", pipe=LINES.encode()).stdout
    other = LINES.replace('"u"', '"v"').encode()
    assert "4 objects written" in desk.load("-", pipe=gzip.compress(other)).stdout
    assert desk.lines() == 8
    named = ("-", "--name", "shop")
    assert desk.load(*named, pipe=LINES.replace('"u"', '"w"').encode()).exit_code == 0
    one = jsonl(event(f"{DAY}T10:00:00Z", user_id="x")).encode()
    assert "replaces what was loaded" in desk.load(*named, pipe=one).stderr
    assert desk.lines() == 9


def test_what_would_be_refused_is_said_and_stops(desk: Desk) -> None:
    file = desk.file("events.csv", "t;u\n2026-01-02 01:00:00 UTC;u1\n2026-01-02 02:00:00 UTC;u2\n")
    desk.all.write_text(
        "SELECT t AS timestamp, u AS user_id, 's' AS session_id, 'search' AS event_type FROM input"
    )
    for words in ((), ("--dry-run",)):
        said = desk.load(file, *words)
        assert said.exit_code == 1
        assert "2 of 2 rows would be refused: timestamp_invalid" in said.stderr
        assert "write replace(t, ' UTC', 'Z') AS timestamp" in said.stderr
        assert not desk.lake.exists()
    assert "to write it anyway: --anyway" in said.stderr
    hour = ("--arrival-hour", f"{DAY}-05:00")
    assert desk.load(file, "--anyway", *hour).exit_code == 0
    assert desk.load(file, "--force", *hour).exit_code == 0
    assert desk.lines() == 2


def test_a_dry_run_of_a_good_file(desk: Desk) -> None:
    said = desk.load(desk.file("events.jsonl"), "--dry-run")
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout == "4 rows read, nothing written (--dry-run)\n"


def test_what_is_lost_or_changed_on_the_way_is_said(desk: Desk) -> None:
    two = "".join(LINES.replace('"s"', "NaN").splitlines(keepends=True)[:2])
    text = LINES.encode() + b'{"timestamp": "caf\xe9"}\n' + two.encode()
    said = desk.load(desk.file("events.jsonl", text))
    assert said.exit_code == 0
    assert r"line 5 cannot be read (the byte \xe9 is not UTF-8" in said.stderr
    assert "1 lines cannot be read and were not loaded" in said.stderr
    assert "2 values are NaN or Infinity, and were read as null" in said.stderr
    assert "2 of 6 rows would be refused: session_id_missing" in said.stderr


def test_how_a_csv_is_spelled_can_be_said(desk: Desk) -> None:
    desk.all.write_text("SELECT column0 AS user_id, column1 AS country FROM input")
    file = desk.file("users.txt", "Users of the caf\xe9\nu1:'Curaçao: all'\n".encode("latin-1"))
    words = [
        "--delimiter",
        ":",
        "--quote",
        "'",
        "--no-header",
        "--skip",
        "1",
        "--encoding",
        "latin-1",
    ]
    said = desk.load(file, *words, "--dataset", "commerce_users", "--drop", DAY)
    assert said.exit_code == 0, said.stderr
    [path] = (desk.lake / "bronze" / "commerce").rglob("*.gz")
    assert json.loads(gzip.decompress(path.read_bytes()))["country"] == "Curaçao: all"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no.csv"], "no.csv: no such file"),
        (["no*.csv"], "no*.csv: no such file, and no file matches it as a pattern"),
        (["{}"], "no files in this folder"),
        (["no.csv", "--also", "x"], "no.csv: no such file"),
        (["all.sql", "--also", "input=all.sql"], "--also input=all.sql: expected NAME=FILE"),
        (["all.sql", "--also", "x y=all.sql"], "expected NAME=FILE"),
        (["all.sql", "--also", "x=no.csv"], "no.csv: no such file"),
        (["all.sql", "all.sql", "--encoding", "x"], "--encoding x: there is no such encoding"),
        (["all.sql", "--replace"], "--replace is for commerce datasets"),
        (["all.sql", "--drop-from", "day"], "--drop-from is for commerce datasets"),
        (["a.csv", "--dataset", "commerce_users"], "commerce_users needs a --drop"),
        (
            ["a.csv", "--dataset", "commerce_users", "--drop", DAY, "--drop-from", "x"],
            "--drop and --drop-from: give only one of them",
        ),
    ],
)
def test_a_wrong_word_is_one_clear_line(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(desk.folder)
    (desk.folder / "empty").mkdir()
    result = desk.load(*(word.format("empty") for word in words))
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not desk.lake.exists()


def test_a_load_is_listed_and_taken_back(desk: Desk) -> None:
    file = desk.file("events.jsonl")
    assert desk.load(file).exit_code == 0
    [load] = desk.loads()
    assert load["source"] == str(file)
    assert (load["rows"], load["objects"], load["state"]) == (4, 4, "complete")
    assert load["partitions"] == f"{DAY}-10:00"
    assert load["load"] in desk.run("loads").stdout
    assert "is removed: 4 rows in 4 objects" in desk.run("unload", load["load"]).stdout
    assert (desk.lines(), desk.loads()) == (0, [])
    assert list((desk.lake / "bronze" / "_manifests").rglob("*.json")) == []
    again = desk.run("unload", load["load"])
    assert (again.exit_code, len(again.stderr.splitlines())) == (2, 1)


# --- Elsewhere ----------------------------------------------------------------------------------


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def web(desk: Desk) -> Iterator[str]:
    """The desk's folder on the web."""
    handler = partial(_Quiet, directory=str(desk.folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_on_the_web_is_read_and_its_signature_is_not_kept(desk: Desk, web: str) -> None:
    desk.file("events [1].jsonl.gz", gzip.compress(LINES.encode()))
    said = desk.load(f"{web}/events%20%5B1%5D.jsonl.gz?signature=secret")
    assert "4 rows read, 4 objects written" in said.stdout, said.stderr
    [load] = desk.loads()
    assert load["source"].endswith("/events%20%5B1%5D.jsonl.gz")
    assert "secret" not in json.dumps(load)
    missing = desk.load(f"{web}/no.jsonl")
    assert (missing.exit_code, len(missing.stderr.splitlines())) == (2, 1)


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """An S3 stand-in; boto3's client of it."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        aws.clear_caches()
        client = boto3.client("s3")
        for bucket in ("shop", "lake"):
            client.create_bucket(Bucket=bucket)
        yield client
    aws.clear_caches()
    server.stop()


def test_a_bucket_is_read_and_a_lake_in_one_is_written(desk: Desk, s3: Any) -> None:
    for n in range(2):
        body = gzip.compress(LINES.replace('"u"', f'"u{n}"').encode())
        s3.put_object(Bucket="shop", Key=f"out/day={n}/a b[{n}].JSONL.GZ", Body=body)
    s3.put_object(Bucket="shop", Key="out/_SUCCESS", Body=b"")
    for word, rows in (
        ("s3://shop/out/", 8),
        ("s3://shop/out", 8),
        ("s3://shop/out/*/*.GZ", 8),
        ("s3://shop/out/day=1/a b[1].JSONL.GZ", 4),
    ):
        assert f"{rows} rows read" in desk.load(word, "--dry-run").stdout
    assert "s3://shop/no: no such object" in desk.load("s3://shop/no").stderr

    names = ("LAKE_BUCKET", "RESULTS_BUCKET", "PIPES_BUCKET", "WORKGROUP", "GLUE_JOB", "GLUE_LOGS")
    target = dict.fromkeys((*names, "INGEST_FUNCTION"), "lake") | {"TARGET": "aws"}
    file = desk.file("shop.jsonl")
    for written, there in ((4, 0), (0, 4)):
        said = desk.load(file, target=target).stdout
        assert f"{written} objects written, {there} there already" in said
    desk.file("shop.jsonl", jsonl(event(f"{DAY}T10:00:00Z", user_id="w")))
    assert "replaces what was loaded" in desk.load(file, target=target).stderr
    keys = aws_keys(s3)
    assert len([key for key in keys if key.startswith("bronze/events/")]) == 1
    [load] = json.loads(desk.run("loads", "--format", "json", target=target).stdout)
    assert desk.run("unload", load["load"], target=target).exit_code == 0
    assert aws_keys(s3) == []


def aws_keys(s3: Any) -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket="lake").get("Contents", [])]
