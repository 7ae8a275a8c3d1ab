"""The survey: what is where, what is wrong, and what needs a person; one section a question.

Nothing that lies in Bronze or in the lake may stop it. A section that cannot be told says why, and
the other sections go on.
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg

from event_pipeline import aws
from event_pipeline.errors import in_short
from event_pipeline.settings import Settings
from event_pipeline.status import bronze, partitions, runs, tables
from event_pipeline.status.section import SHOWN, Section
from event_pipeline.status.view import View

ERRORS_KEY = "untold"


def survey(
    settings: Settings,
    instance: dg.DagsterInstance | None = None,
    since: date | None = None,
) -> list[Section]:
    """All sections, empty ones too. A given `instance` is used in place of the home's.

    With `since`, those of partitions of this day and of later ones.

    On AWS, raises the error of AWS if there are no credentials to ask it with.
    """
    if aws.in_s3(settings.root):
        aws.credentials()
    with View.open(settings, instance, since) as view:
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
    """Section key -> its records; `untold` -> what cannot be determined, as `section` and `why`."""
    errors = [{"section": s.key, "why": why} for s in sections for why in s.errors]
    return {**{section.key: section.records for section in sections}, ERRORS_KEY: errors}


def as_tables(sections: list[Section]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A title with a count, and the first SHOWN records, for each kind of each section."""
    for section in sections:
        for kind, records in section.by_kind():
            title = f"{section.title}{f', {kind}' if kind else ''}"
            more = f", the first {SHOWN}" if len(records) > SHOWN else ""
            yield f"{title} ({len(records):,}{more})", records[:SHOWN]
        for why in section.errors:
            yield f"{section.title}: cannot be determined", [{"why": why}]


def needing_attention(sections: list[Section]) -> list[str]:
    """What needs a person: a line for each section with such records or that cannot be told."""
    lines = []
    for section in sections:
        if urgent := section.urgent_records:
            examples = in_short([section.sentence(record) for record in urgent[:1]])
            more = f"; and {len(urgent) - 1:,} more" if len(urgent) > 1 else ""
            lines.append(f"{section.title}: {examples}{more}")
        lines += [f"{section.title}: cannot be determined: {why}" for why in section.errors]
    return lines


def failures(sections: list[Section]) -> list[str]:
    """The part of `needing_attention` with which a command that builds must not exit 0."""
    return needing_attention([section for section in sections if not section.is_advisory])
