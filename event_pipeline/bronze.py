"""Names under Bronze, shared by everything that writes or reads there.

Only the standard library is used, because the Lambda needs this module too.
"""

import os
from datetime import UTC, date, datetime

BRONZE = "bronze/"
# Where the pipeline's own producer writes.
EVENTS = "bronze/events/"
DROPS = "bronze/commerce/"
MANIFESTS = "bronze/_manifests/"
# Where `load` keeps the record of what it has loaded.
LOADS = "bronze/_loads/"


def object_key(slot: datetime) -> str:
    """Key, from the lake's root, of the object of the slot that starts at `slot` (aware)."""
    slot = slot.astimezone(UTC)
    folder = slot.strftime("year=%Y/month=%m/day=%d/hour=%H/minute=%M")
    return f"{EVENTS}{folder}/events-{slot:%Y%m%d-%H%M%S}.jsonl.gz"


def manifest_key(key: str) -> str:
    """Key of the manifest of an object under `bronze/`. Manifests lie under `bronze/` too."""
    return f"{MANIFESTS}{key.removeprefix(BRONZE)}.json"


def drop_key(day: date, name: str) -> str:
    """Key of a file, as `users.json`, of a day's commerce drop."""
    return f"{DROPS}date={day:%Y-%m-%d}/{name}"


def folder_etag(file: os.stat_result) -> str:
    """ETag of a file: inode, microseconds of its last change and size in bytes, in hex."""
    return f'"{file.st_ino:x}-{file.st_mtime_ns // 1000:x}-{file.st_size:x}"'
