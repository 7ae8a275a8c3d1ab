"""A table derived from others: one date's rows of a statement over their files."""

import time
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from event_pipeline.jobs.files import literal_path, plain_path, write_parquet
from event_pipeline.jobs.workspace import configure


def derive(spark: SparkSession, request: dict[str, Any]) -> dict[str, Any]:
    """Writes the rows as one file; returns their number, the file and the seconds that it took.

    The statement reads each table as a view of its files. Raises what Spark raises.
    """
    started = time.monotonic()
    session = configure(spark.newSession())
    for table in request["tables"]:
        schema = ", ".join(f"`{name}` {kind}" for name, kind in table["columns"])
        files = [literal_path(path) for path in table["files"]]
        frame = (
            session.read.schema(schema).parquet(*files)
            if files
            else session.createDataFrame([], schema)
        )
        frame.createOrReplaceTempView(table["view"])
    column, day = request["where"]
    typed = (F.col(name).cast(kind).alias(name) for name, kind in request["columns"])
    rows = session.sql(request["statement"]).select(*typed)
    rows = rows.where(F.col(column) == F.lit(day).cast("date"))
    written = write_parquet(session, rows, request["prefix"], files=1)
    return {
        "rows": written.count(),
        "files": sorted(map(plain_path, written.inputFiles())),
        "seconds": time.monotonic() - started,
    }
