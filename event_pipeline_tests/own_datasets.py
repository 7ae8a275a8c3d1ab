"""What a person does with datasets of their own: run in a process that has their package.

Prints, as JSON, what each table holds after each step; see test_datasets.
"""

import gzip
import io
import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from event_pipeline.contracts import TABLES
from event_pipeline.resources import resources
from event_pipeline.settings import Settings, read_settings
from event_pipeline.status import needing_attention, survey
from event_pipeline.sync import run_sync
from event_pipeline_tests import migrations

HOURS = ("year=2026/month=01/day=05/hour=10/", "year=2026/month=01/day=05/hour=11/")
SHOWN = (
    "silver.ad_clicks",
    "silver.commerce_refunds",
    "quarantine.ad_clicks",
    "quarantine.commerce_refunds",
    "gold.daily_costs",
)


def click(n: int, cost: str = "0.25", at: str = "2026-01-05T10:00:00Z") -> dict[str, Any]:
    """A click as a producer writes it."""
    return {"click_id": f"c{n}", "campaign": "spring", "cost": cost, "clicked_at": at}


def refund(n: int, amount: str) -> dict[str, Any]:
    """A refund as a producer writes it."""
    at = "2026-01-05T09:00:00Z"
    return {"refund_id": f"r{n}", "order_id": f"o{n}", "amount": amount, "refunded_at": at}


def deliver(root: Path, key: str, *records: dict[str, Any]) -> None:
    """Puts an object of these records, over one that is there."""
    data = "".join(json.dumps(each) + "\n" for each in records).encode()
    path = root / "bronze" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if key.endswith(".gz") else data)


def step(settings: Settings) -> dict[str, Any]:
    """Syncs; what came of it: whether it ended well, what was said, and the tables' rows."""
    text = io.StringIO()
    done = run_sync(settings, Console(file=text, width=200))
    found: dict[str, Any] = {"ok": done, "said": text.getvalue()}
    found["needs"] = needing_attention(survey(settings))
    for table in SHOWN:
        _, rows = resources(settings).querier.fetch(TABLES[table].select_all)
        found[table] = [[None if v is None else str(v) for v in row] for row in rows]
    return found


def steps(root: Path) -> Iterator[str]:
    """Delivers, step by step, what arrives; the name of each step."""
    # A share that is refused, of which nobody need be told.
    again = [click(1)] * 9
    deliver(root, f"ad_clicks/{HOURS[0]}clicks-1.jsonl.gz", click(1), click(2, "much"), *again)
    deliver(root, f"ad_clicks/{HOURS[1]}a.jsonl.gz", click(3, at="2026-01-05T10:59:59Z"))
    yield "clicks alone"
    refunds = "commerce/date=2026-01-05/refunds.json"
    deliver(root, refunds, *[refund(1, "9.90")] * 9, refund(2, "x"))
    yield "and refunds"
    deliver(root, f"ad_clicks/{HOURS[1]}b.jsonl.gz", click(4, "1.5"))
    yield "a late click"
    deliver(root, refunds, refund(1, "9.90"), refund(3, "0.10"))
    yield "other refunds"
    yield "nothing new"


def main() -> None:
    """The steps, or as many as the argument says, in the home that the environment names."""
    migrations.read_once()
    settings = read_settings()
    most = int(sys.argv[1]) if sys.argv[1:] else None
    found = {name: step(settings) for name in islice(steps(Path(settings.root)), most)}
    json.dump(found, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # a JVM's threads need not be waited for


if __name__ == "__main__":
    main()
