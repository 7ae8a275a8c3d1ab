"""A commerce drop, from its upload to published user_activity, alone in a process.

Run as `python -m event_pipeline_tests.benchmarks.drop FOLDER`, where users.json, events.json and
orders.json are; prints JSON.
"""

import json
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from event_pipeline.build import build_gold, build_silver
from event_pipeline.contracts import USER_ACTIVITY
from event_pipeline.ingest.drops import FILES, file_key
from event_pipeline.ingest.handler import FolderStore
from event_pipeline.resources import resources
from event_pipeline.settings import Settings


def main(folder: Path) -> None:
    """Uploads, judges, builds and publishes the drop in a lake of its own; prints its figures."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder) as home:
        settings = Settings(home=Path(home))
        used, today = resources(settings), datetime.now(UTC).date()
        store = FolderStore(settings.lake)
        for name in FILES:
            store.put(file_key(today, name), (folder / f"{name}.json").read_bytes())
        uploaded, day = time.monotonic(), today.isoformat()
        for contract in USER_ACTIVITY.inputs:
            [silver] = build_silver(
                contract,
                [day],
                objects=used.objects,
                transformer=used.transformer,
                lake=used.lake,
                recorded={},
                redelivery_hours=48,
            )
            assert silver.status == "published", silver.error
        [gold] = build_gold(
            USER_ACTIVITY,
            [day],
            transformer=used.transformer,
            querier=used.querier,
            lake=used.lake,
        )
        assert gold.status == "published", gold.error
        seconds = time.monotonic() - started
        _, [(rows, revenue)] = used.querier.fetch(
            f"SELECT count(*), sum(revenue) FROM {USER_ACTIVITY.table}"
        )
    figures = {
        "seconds": seconds,
        "upload_seconds": uploaded - started,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "rows": rows,
        "revenue": float(revenue),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
