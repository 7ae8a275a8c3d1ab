"""Spark sessions with the settings that results depend on, and what a session computes once."""

from typing import Self

from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession

from event_pipeline.jobs.files import delete, literal_path

# Set in every session, whoever made it: results depend on them.
SETTINGS = {
    "parquet.compression.codec.zstd.level": "1",
    # `_hash` values are unique, so a Parquet dictionary only costs bytes.
    "parquet.enable.dictionary#_hash": "false",
    "spark.sql.ansi.enabled": "false",
    "spark.sql.json.enablePartialResults": "false",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    # Each task writes accepted and other rows to two open files, so Spark need not sort them first.
    "spark.sql.maxConcurrentOutputFileWriters": "2",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.session.timeZone": "UTC",
}


def configure(spark: SparkSession) -> SparkSession:
    """The same session, with SETTINGS set."""
    for name, value in SETTINGS.items():
        spark.conf.set(name, value)
    return spark


class Workspace:
    """A Spark session of one partition's own, and the DataFrames that it computes only once.

    A context: when it ends, what was computed is dropped, and the folder `staging` is deleted.
    """

    def __init__(self, spark: SparkSession, staging: str) -> None:
        self.spark = configure(spark.newSession())
        self._staging = staging
        self._persisted: list[DataFrame] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for frame in self._persisted:
            frame.unpersist()
        delete(self.spark, self._staging)

    def persist(self, frame: DataFrame) -> DataFrame:
        """The frame, computed once. Spark also pushes no filter of later steps into it."""
        self._persisted.append(frame.persist(StorageLevel.DISK_ONLY))
        return self._persisted[-1]

    def stage(self, frame: DataFrame) -> DataFrame:
        """The frame, written as Parquet once; its column `accepted` splits it into two folders."""
        delete(self.spark, self._staging)
        frame.write.partitionBy("accepted").parquet(self._staging)
        return self.spark.read.schema(frame.schema).parquet(literal_path(self._staging))

    def staged_files(self) -> list[str]:
        """The staged files of accepted rows, sorted. Raises what Spark raises if there are none."""
        accepted = f"{literal_path(self._staging)}/accepted=true"
        return sorted(self.spark.read.parquet(accepted).inputFiles())
