"""The Spark program: AWS Glue runs this file, and the target `spark` calls its `run`.

Takes a request as JSON, which `engines.requests` makes: to transform Bronze lines to Silver rows,
for one or many partitions, each on its own; or to derive a table from others. Needs PySpark 3.5 and
dagster-pipes, and of this package only what `deploy.artifacts` ships: `jobs`, `lake.fields`,
`lake.spelling` and `lake.text`, which need nothing else but PyArrow for zstd and Parquet.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from dagster_pipes import (
    PipesCliArgsParamsLoader,
    PipesEnvVarParamsLoader,
    PipesS3MessageWriter,
    open_dagster_pipes,
)
from pyspark.sql import SparkSession

from event_pipeline.jobs.causes import cause
from event_pipeline.jobs.derive import derive
from event_pipeline.jobs.files import literal_path
from event_pipeline.jobs.partition import make_partition
from event_pipeline.jobs.workspace import configure

Json = dict[str, Any]

# Cores of the cluster that one partition keeps busy.
CORES_PER_PARTITION = 4


def run(spark: SparkSession, request: Json) -> Iterator[Json]:
    """Does what a request asks for, and yields the report of each partition when it is made.

    A report has the fields of engines.PartitionReport, or those of QueryReport for a derivation. A
    partition that fails has its `error` in its report, and the others go on. A failing derivation
    raises what Spark raises.
    """
    configure(spark)
    if "tables" in request:
        yield derive(spark, request)
        return
    at_once = max(1, spark.sparkContext.defaultParallelism // CORES_PER_PARTITION)
    with ThreadPoolExecutor(at_once) as threads:
        reports = [threads.submit(_report, spark, request, each) for each in request["partitions"]]
        for done in as_completed(reports):
            yield done.result()


def _report(spark: SparkSession, request: Json, partition: Json) -> Json:
    started = time.monotonic()
    try:
        found = make_partition(spark, request, partition)
    except Exception as error:  # Whatever it is, it concerns this partition alone.
        found = {"error": cause(error)}
    return {"key": partition["key"], **found, "seconds": time.monotonic() - started}


def main() -> None:
    """Runs the request given as `--request` (JSON, or the URI of a file of it).

    Each report is a message to Dagster Pipes, and a line of standard output.
    """
    arguments = _arguments(sys.argv[1:])
    in_cli = any(argument.startswith("--dagster-pipes") for argument in sys.argv)
    loader = PipesCliArgsParamsLoader() if in_cli else PipesEnvVarParamsLoader()  # type: ignore[no-untyped-call]
    # Messages go to a bucket where the caller asks for one, as on Glue.
    asks = loader.is_dagster_pipes_process() and "bucket" in loader.load_messages_params()
    writer = _to_bucket() if asks else None
    with open_dagster_pipes(params_loader=loader, message_writer=writer) as pipes:
        spark = SparkSession.builder.getOrCreate()
        text = arguments["request"]
        if not text.lstrip().startswith("{"):
            text = spark.read.text(literal_path(text), wholetext=True).collect()[0][0]
        try:
            for report in run(spark, json.loads(text)):
                pipes.report_custom_message(report)
                print(json.dumps(report), flush=True)
        except Exception as error:
            raise RuntimeError(cause(error)) from error


def _to_bucket() -> PipesS3MessageWriter:
    import boto3

    return PipesS3MessageWriter(boto3.client("s3"), interval=2)


def _arguments(words: Sequence[str]) -> dict[str, str]:
    """The values of `--name value` and `--name=value`, as Glue's getResolvedOptions reads them."""
    found, waiting = {}, None
    for word in words:
        if waiting:
            found[waiting], waiting = word, None
        elif word.startswith("--"):
            name, is_given, value = word[2:].partition("=")
            if is_given:
                found[name] = value
            else:
                waiting = name
    return found


if __name__ == "__main__":
    main()
