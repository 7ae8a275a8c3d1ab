"""Sections about Bronze: how much there is, what nothing reads, and what cannot be used."""

from collections.abc import Iterator
from functools import partial

from event_pipeline.contracts import SILVER, SilverContract
from event_pipeline.lake.inventory import HARMLESS
from event_pipeline.lake.listing import shown
from event_pipeline.status.section import Record, Section, always_urgent
from event_pipeline.status.view import View


def counts(view: View) -> Section:
    """How many partitions and objects each dataset has, and how many partitions are built.

    Records: from Bronze (the asset), partitions, objects, bytes, built.
    """
    settings = view.settings
    title = f"Lake {settings.root}, target {settings.target}, from {view.first}"
    section = Section("bronze", title)
    for contract in SILVER:
        section.add(contract.table, partial(_counts, view, contract))
    return section


def _counts(view: View, contract: SilverContract) -> Iterator[Record]:
    listings = view.inventory.of(contract)
    objects = [item for listing in listings.values() for item in listing.objects]
    yield {
        "from Bronze": contract.bronze.asset,
        "partitions": len(listings),
        "objects": len(objects),
        "bytes": sum(item.bytes for item in objects),
        "built": len(view.live(contract)),
    }


def unread(view: View) -> Section:
    """Names under Bronze that no partition reads. Records: object, kind, why."""

    def find() -> Iterator[Record]:
        for each in view.inventory.unread:
            yield {"object": each.key, "kind": each.kind, "why": each.why}

    section = Section(
        "unread",
        "Objects under Bronze that nothing reads",
        lambda record: record["kind"] not in HARMLESS,
        kind="kind",
        is_advisory=True,
    )
    return section.add("", find)


def unusable(view: View) -> Section:
    """Objects that cannot be used as a whole. Records: object, partition, why.

    Some keep their partition from being built, so that what was built before stays; of others, the
    error is in quarantine.
    """
    section = Section("unusable", "Objects that cannot be used", always_urgent)
    for contract in SILVER:
        section.add(contract.table, partial(_refused, view, contract))
        section.add(contract.table, partial(_quarantined, view, contract))
    return section


def _refused(view: View, contract: SilverContract) -> Iterator[Record]:
    for key, listing in view.inventory.of(contract).items():
        for name, why in sorted(view.objects.refused(contract, listing).items()):
            yield {"object": shown(name), "partition": key, "why": why}


def _quarantined(view: View, contract: SilverContract) -> Iterator[Record]:
    for key, receipt in view.receipts(contract).items():
        count = receipt.rejected.get("object_unreadable") if receipt else None
        if count:
            subject = f"{count} of {contract.table}"
            yield {"object": subject, "partition": key, "why": "in quarantine: unreadable"}
