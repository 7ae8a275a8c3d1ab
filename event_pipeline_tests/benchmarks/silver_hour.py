"""One hour, Bronze to published Silver by one of the targets, or the floor: alone in a process.

Run as `python -m event_pipeline_tests.benchmarks.silver_hour silver|spark|floor LAKE HOUR`; prints
JSON. What `spark` takes includes the start of its JVM.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import duckdb

from event_pipeline.build import build_silver
from event_pipeline.contracts import EVENTS
from event_pipeline.resources import resources
from event_pipeline.settings import Settings
from event_pipeline_tests.benchmarks.plain_spark import peak_mb

# What the events' fields are, taken on trust.
TYPES = {
    "timestamp": "TIMESTAMP",
    "user_id": "VARCHAR",
    "session_id": "VARCHAR",
    "event_type": "VARCHAR",
    "product_id": "VARCHAR",
    "quantity": "INTEGER",
    "price": "DECIMAL(10, 2)",
    "category": "VARCHAR",
    "search_query": "VARCHAR",
}


def silver(lake: Path, hour: str, target: Literal["local", "spark"] = "local") -> int:
    """Builds and publishes the hour in a lake of its own that shares Bronze; returns its rows."""
    with tempfile.TemporaryDirectory(dir=lake) as home:
        (Path(home) / "lake").mkdir()
        (Path(home) / "lake" / "bronze").symlink_to(lake / "bronze")
        used = resources(Settings(home=Path(home), target=target))
        [built] = build_silver(
            EVENTS,
            [hour],
            objects=used.objects,
            transformer=used.transformer,
            lake=used.lake,
            recorded={},
            redelivery_hours=48,
        )
        assert built.status == "published", built.error
        return int(built.receipt.lines)


def floor(lake: Path, hour: str) -> int:
    """DuckDB, with its defaults, copies the hour's typed JSON to Parquet; no checks."""
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in TYPES.items())
    files = f"{lake}/bronze/events/*/*/*/*/*/*.jsonl.gz"
    out = Path(tempfile.mkdtemp(dir=lake))
    try:
        row = duckdb.execute(
            f"COPY (SELECT * FROM read_json('{files}', format='newline_delimited',"
            f" columns={{{columns}}})) TO '{out}/rows.parquet' (FORMAT parquet)"
        ).fetchone()
        assert row is not None
        return int(row[0])
    finally:
        shutil.rmtree(out)


if __name__ == "__main__":
    name, folder, key = sys.argv[1:]
    started = time.monotonic()
    work: dict[str, Callable[[Path, str], int]] = {
        "floor": floor,
        "silver": silver,
        "spark": partial(silver, target="spark"),
    }
    lines = work[name](Path(folder), key)
    seconds = time.monotonic() - started
    print(json.dumps({"lines": lines, "seconds": seconds, "peak_mb": peak_mb()}))
