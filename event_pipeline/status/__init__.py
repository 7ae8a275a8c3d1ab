"""What is where, what is wrong, and what of it needs a person: one section for each question.

Nothing that lies in Bronze or in the lake may stop it. What cannot be told says why in its place,
and the other sections go on.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from event_pipeline import aws
from event_pipeline.errors import in_short
from event_pipeline.settings import Settings
from event_pipeline.status import bronze, partitions, runs, tables
from event_pipeline.status.section import SHOWN, Section
from event_pipeline.status.view import View

UNTOLD = "untold"


def survey(settings: Settings, instance: dg.DagsterInstance | None = None) -> list[Section]:
    """All sections, those that say nothing too; of another instance than the home's if given.

    Raises what AWS says if nothing can be asked of it.
    """
    if aws.in_s3(settings.root):
        aws.credentials()
    with View.open(settings, instance) as view:
        waiting = partitions.waiting(view)
        return [
            bronze.counts(view),
            tables.tables(view),
            waiting,
            runs.given_up(view, waiting),
            runs.under_way(view),
            runs.failed(view),
            tables.damaged(view),
            bronze.unread(view),
            bronze.unusable(view),
            partitions.deviating(view),
            partitions.refused(view),
            partitions.stale(view),
            tables.incomplete_drops(view),
            partitions.outside(view),
            partitions.rolled_back(view),
        ]


def as_json(sections: list[Section]) -> dict[str, list[dict[str, Any]]]:
    """Every record of every section, by its key; under `untold` what cannot be told."""
    untold = [{"section": s.key, "why": why} for s in sections for why in s.untold]
    return {**{section.key: section.records for section in sections}, UNTOLD: untold}


def as_tables(sections: list[Section]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Titles, each with its count, and records to print: the first of each kind."""
    for section in sections:
        for kind, records in section.by_kind():
            title = f"{section.title}{f', {kind}' if kind else ''}"
            more = f", the first {SHOWN}" if len(records) > SHOWN else ""
            yield f"{title} ({len(records):,}{more})", records[:SHOWN]
        for why in section.untold:
            yield f"{section.title}: cannot be told", [{"why": why}]


def in_need(sections: list[Section]) -> list[str]:
    """What needs a person, one line for each section of which something does."""
    lines = []
    for section in sections:
        if urgent := section.urgent_records:
            examples = in_short([section.sentence(record) for record in urgent[:1]])
            more = f"; and {len(urgent) - 1:,} more" if len(urgent) > 1 else ""
            lines.append(f"{section.title}: {examples}{more}")
        lines += [f"{section.title}: cannot be told: {why}" for why in section.untold]
    return lines


def failures(sections: list[Section]) -> list[str]:
    """Of what needs a person that over which no command that builds may exit 0."""
    return in_need([section for section in sections if not section.is_told_only])
