"""Leftovers: files of killed or replaced runs to which no kept snapshot of a table refers."""

import re
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from event_pipeline.contracts import TABLES, Contract
from event_pipeline.lake.stored import Stored
from event_pipeline.lake.tables import Lake

# A run may write for hours before it publishes, and a reader may read what was just replaced.
GRACE = timedelta(hours=24)
# The folder of one run's files, and the files that PyIceberg writes. Nothing else is removed.
RUN = re.compile(r"data/[^/]+/[^/]+-[0-9a-f]{8}(?=/)")
METADATA = re.compile(r"metadata/[^/]+\.(metadata\.json|avro)")


@dataclass(frozen=True)
class Removed:
    """How many files of a table were removed, and their bytes in all."""

    table: str
    files: int
    bytes: int


def remove_leftovers(lake: Lake, grace: timedelta = GRACE) -> list[Removed]:
    """Removes files to which no kept snapshot refers and nobody has written for `grace`.

    Returns an entry for each table that lost files. A table that cannot be read completely keeps
    everything, since it may have to be made anew from it. Bronze is never touched.
    """
    lake.open()
    return [
        found for _, contract in sorted(TABLES.items()) if (found := _of(lake, contract, grace))
    ]


def _of(lake: Lake, contract: Contract, grace: timedelta) -> Removed | None:
    stored = lake.stored(contract)
    groups = _groups(
        stored, f"{lake.address}/{contract.asset}/", time.time() - grace.total_seconds()
    )
    if not groups:
        return None

    def unreferred(referred: set[str]) -> Iterable[list[str]]:
        folders = {path.rpartition("/")[0] for path in referred}
        return (
            paths
            for group, paths in groups.items()
            if group not in folders and not referred.intersection(paths)
        )

    removed = lake.remove(contract, unreferred)
    files = [path for path in removed if not path.endswith("/")]
    size = sum(stored[path].bytes for path in files)
    return Removed(contract.table, len(files), size) if removed else None


def _groups(stored: dict[str, Stored], prefix: str, before: float) -> dict[str, list[str]]:
    """Paths that are kept or removed together, by group: a run's folder, or one metadata file.

    Leaves out groups that were written to after `before` (Unix seconds).
    """
    groups: dict[str, list[str]] = defaultdict(list)
    latest: dict[str, float] = defaultdict(float)
    for path, file in stored.items():
        name = path.removeprefix(prefix)
        if run := RUN.match(name):
            group = f"{prefix}{run[0]}"
        elif METADATA.fullmatch(name):
            group = path
        else:
            continue
        groups[group].append(path)
        latest[group] = max(latest[group], file.modified)
    return {group: paths for group, paths in groups.items() if latest[group] < before}
