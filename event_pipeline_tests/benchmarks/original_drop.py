"""The original system's Spark job over a commerce drop, as documented, alone in a process.

Run as `python -m event_pipeline_tests.benchmarks.original_drop FOLDER`, where users.json,
events.json and orders.json are; writes FOLDER/user_activity and prints JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from event_pipeline_tests.benchmarks.plain_spark import peak_mb, session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STATEMENT = Path(__file__).with_name("original_user_activity.sql")

# What stands for a null.
FILLED: dict[str, dict[str, str | float]] = {
    "users": {"country": "unknown", "device_type": "unknown", "marketing_source": "unknown"},
    "events": {"event_type": "unknown", "device_type": "unknown"},
    "orders": {"order_amount": 0.0, "payment_status": "unknown"},
}


def user_activity(spark: "SparkSession", folder: Path) -> Path:
    """Runs the job; returns the folder with its Parquet files."""
    for name, filled in FILLED.items():
        frame = spark.read.json(str(folder / f"{name}.json"))
        frame.fillna(filled).createOrReplaceTempView(name)
    out = folder / "user_activity"
    spark.sql(STATEMENT.read_text()).write.mode("overwrite").parquet(str(out))
    return out


def main(folder: Path) -> None:
    """Runs the job and prints its figures."""
    started = time.monotonic()
    spark = session("original_drop")
    start_seconds = time.monotonic() - started
    out = user_activity(spark, folder)
    seconds = time.monotonic() - started
    peak = peak_mb()
    [found] = spark.read.parquet(str(out)).selectExpr("count(*)", "sum(revenue)").collect()
    spark.stop()
    figures = {
        "seconds": seconds,
        "start_seconds": start_seconds,
        "peak_mb": peak,
        "rows": found[0],
        "revenue": float(found[1]),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
