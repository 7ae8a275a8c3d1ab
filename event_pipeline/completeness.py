"""Completeness: whether everything that a Gold table awaits of a day is there, valid and built."""

from dataclasses import dataclass
from datetime import datetime

from event_pipeline.contracts import Contract, GoldContract
from event_pipeline.lake.objects import EMPTY, Objects
from event_pipeline.lake.tables import Lake
from event_pipeline.lake.uploads import in_one_line


@dataclass(frozen=True)
class Incomplete:
    """What a day waits for: `reasons` (dataset -> why), and since when (UTC; None if unknown)."""

    reasons: dict[str, str]
    since: datetime | None

    def __str__(self) -> str:
        since = f" since {self.since:%Y-%m-%d %H:%M} UTC" if self.since else ""
        waits = ", ".join(f"{dataset} ({why})" for dataset, why in self.reasons.items())
        return f"waits{since} for {waits}"


def incomplete(contract: GoldContract, day: str, objects: Objects, lake: Lake) -> Incomplete | None:
    """What a Gold table that awaits drops waits for on a day; None if it waits for nothing.

    A day waits for a missing file since its first file came, and for a file that is unusable or not
    built yet since that file came. A day without any files waits until no table holds rows of it.
    """
    if not contract.awaited:
        return None
    listings = {each: objects.partition(each, day) for each in contract.awaited}
    came = [item.modified for listing in listings.values() for item in listing.objects]
    others = (each for each in contract.inputs if each not in contract.awaited)
    is_there = came or any(lake.scan_day(each, day) for each in others)
    reasons, since = {}, []
    for each, listing in listings.items():
        dataset = each.identifier[1]
        times = [item.modified for item in listing.objects]
        if is_there and not times:
            reasons[dataset], times = "no file", came
        elif refused := objects.refused(each, listing):
            reasons[dataset] = in_one_line(refused)
        elif not _is_built(each, day, listing.digest, lake):
            reasons[dataset] = "not built yet"
        else:
            continue
        since += times
    return Incomplete(reasons, min(since, default=None)) if reasons else None


def _is_built(contract: Contract, day: str, digest: str, lake: Lake) -> bool:
    live = lake.live(contract, {day})
    return (live[day].digest if live else EMPTY.digest) == digest
