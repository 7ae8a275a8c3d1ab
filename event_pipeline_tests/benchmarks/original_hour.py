"""The original system's Glue script over an hour of events, as documented, alone in a process.

Run as `python -m event_pipeline_tests.benchmarks.original_hour LAKE`; prints JSON. Plain PySpark
with an explicit schema: rows without a timestamp, user, session or type are dropped uncounted,
values are typed, and Parquet is appended by year, month, day and hour. No line is checked,
counted, compared with another or kept when it is refused.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from event_pipeline_tests.benchmarks.plain_spark import peak_mb, session

SCHEMA = (
    "timestamp string, user_id string, session_id string, event_type string, product_id string,"
    " quantity int, price double, category string, search_query string"
)


def main(lake: Path) -> None:
    """Runs the job and prints its figures."""
    started = time.monotonic()
    spark = session("original_hour")
    start_seconds = time.monotonic() - started
    from pyspark.sql import functions as F

    files = sorted(map(str, lake.glob("bronze/events/*/*/*/*/*/*.jsonl.gz")))
    events = (
        spark.read.schema(SCHEMA)
        .json(files)
        .dropna(subset=["timestamp", "user_id", "session_id", "event_type"])
        .withColumn("event_type", F.lower(F.trim("event_type")))
        .withColumn("event_ts", F.to_timestamp("timestamp"))
        .withColumn("event_date", F.date_format("event_ts", "yyyy-MM-dd"))
        .withColumn("quantity", F.when(F.col("quantity") >= 0, F.col("quantity")))
        .withColumn("price", F.when(F.col("price") >= 0, F.col("price")))
        .withColumn(
            "revenue",
            F.when(F.col("event_type") == "purchase", F.col("price") * F.col("quantity")),
        )
        .withColumn("year", F.year("event_ts"))
        .withColumn("month", F.month("event_ts"))
        .withColumn("day", F.dayofmonth("event_ts"))
        .withColumn("hour", F.hour("event_ts"))
        .drop("timestamp")
    )
    out = tempfile.mkdtemp(dir=lake)
    events.write.mode("append").partitionBy("year", "month", "day", "hour").parquet(out)
    seconds, peak = time.monotonic() - started, peak_mb()
    lines = spark.read.parquet(out).count()
    spark.stop()
    shutil.rmtree(out)
    figures = {"lines": lines, "seconds": seconds, "start_seconds": start_seconds}
    print(json.dumps({**figures, "peak_mb": peak}))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
