"""Leftovers: files of killed or replaced runs to which no kept state of a table refers."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from event_pipeline.contracts import Contract
from event_pipeline.lake.stored import Stored
from event_pipeline.lake.tables import Lake

# The folder of one run's files, and the files that PyIceberg writes. Nothing else is removed.
RUN = re.compile(r"data/[^/]+/[^/]+-[0-9a-f]{8}(?=/)")
METADATA = re.compile(r"metadata/[^/]+\.(metadata\.json|avro)")
MANIFEST_LIST = re.compile(r"metadata/snap-[^/]+\.avro")


@dataclass(frozen=True)
class Removed:
    """How many files were removed, and their bytes in all."""

    files: int
    bytes: int


def remove_leftovers(
    lake: Lake,
    contract: Contract,
    before: float,
    forgotten: Collection[int] = (),
    *,
    dry_run: bool = False,
) -> Removed:
    """Removes a table's files that nobody needs and nobody has written since `before`.

    `before` is in Unix seconds. Needed is what a kept snapshot refers to, and what a state did that
    was current after `before`: a reader may have begun then. Snapshots in `forgotten` are not kept.
    A table that cannot be read completely keeps everything, since it may have to be made anew from
    it. Bronze is never touched.
    """
    if not dry_run:
        lake.open()  # adopts a lake from elsewhere, which gives it its own address
    stored = lake.stored(contract)
    prefix = f"{lake.address}/{contract.asset}/"
    groups = _groups(stored, prefix, before)
    if not groups:
        return Removed(0, 0)

    def unreferred(referred: set[str]) -> Iterable[list[str]]:
        folders = {path.rpartition("/")[0] for path in referred}
        return (
            paths
            for group, paths in groups.items()
            if group not in folders and not referred.intersection(paths)
        )

    recent = _recent(stored, prefix, before)
    removed = lake.remove(contract, unreferred, recent, forgotten, dry_run=dry_run)
    files = [path for path in removed if not path.endswith("/")]
    return Removed(len(files), sum(stored[path].bytes for path in files))


def _recent(stored: dict[str, Stored], prefix: str, before: float) -> dict[str, bool]:
    """The manifest lists of states that were current after `before`, and if they became so then.

    A list is written when its state becomes current, so the last one of before is among them.
    """
    lists = {
        path: file.modified
        for path, file in stored.items()
        if MANIFEST_LIST.fullmatch(path.removeprefix(prefix))
    }
    last = max((at for at in lists.values() if at < before), default=before)
    return {path: at >= before for path, at in lists.items() if at >= last}


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
