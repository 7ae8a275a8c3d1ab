"""What a person sees of a materialization: counts, the ledger, a preview, a chart."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

from event_pipeline.build import Built, Receipt
from event_pipeline.contracts import READING_RULES, SILVER, Contract
from event_pipeline.lake.objects import Listing
from event_pipeline.lake.tables import Lake

PREVIEW_ROWS = 10
CHART_BARS = 24
LEDGER_COLUMNS = ("lines", "rows", "duplicates", "quarantined")


def column_schema(contract: Contract) -> dg.TableSchema:
    """The contract's columns, as the UI shows them."""
    return dg.TableSchema(
        [dg.TableColumn(c.name, c.type, description=c.description) for c in contract.columns]
    )


def source_schema(contract: Contract) -> dg.TableSchema:
    """The raw fields that the contract reads of a Bronze line, each as text."""
    return dg.TableSchema([dg.TableColumn(name, "string") for name in contract.source])


def listing_metadata(listing: Listing) -> dict[str, Any]:
    """Metadata of what lies in a Bronze partition."""
    return {
        "objects": len(listing.objects),
        "bytes": sum(item.bytes for item in listing.objects),
        "foreign_objects": dg.MetadataValue.json(list(listing.foreign)),
        "input_digest": listing.digest,
    }


def table_metadata(records: Sequence[Mapping[str, Any]]) -> dg.MetadataValue:
    """Records as a table in the UI."""
    if not records:
        return dg.MetadataValue.text("none")
    return dg.MetadataValue.table([dg.TableRecord(dict(record)) for record in records])


def markdown_table(table: pa.Table) -> str:
    """The first rows of a table as Markdown, hostile text kept from breaking it."""
    names = table.column_names
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    for row in table.slice(0, PREVIEW_ROWS).to_pylist():
        cells = ("" if row[n] is None else _cell(str(row[n])) for n in names)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    # A code span keeps markup of a stranger's text from being rendered.
    shown = "".join(c if c.isprintable() else " " for c in text)[:120]
    return shown if shown.replace("_", "").replace("-", "").isalnum() else _code_span(shown)


def _code_span(text: str) -> str:
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


def ledger(key: str, receipt: Receipt) -> dict[str, Any]:
    """One line of the ledger: a partition's lines and what became of them."""
    counts = {name: receipt[name] for name in LEDGER_COLUMNS}
    balanced = counts["lines"] == sum(counts[name] for name in LEDGER_COLUMNS[1:])
    return {"partition": key, **counts, "balanced": balanced}


def ledger_records(lake: Lake) -> list[dict[str, Any]]:
    """The ledger of every live Silver partition, in order.

    `rows` and `quarantined` are counted from what readers see, not from what a run said.
    """
    records = []
    for contract in SILVER:
        kept = lake.live(contract.quarantine())
        for key, live in lake.live(contract).items():
            quarantined = kept[key].rows if key in kept else 0
            counts = {**lake.receipt(live), "rows": live.rows, "quarantined": quarantined}
            records.append({"asset": contract.asset, **ledger(key, counts)})
    return records


def silver_metadata(contract: Contract, built: Built, lake: Lake) -> dict[str, Any]:
    """Metadata of a Silver partition."""
    receipt, seconds = built.receipt, built.receipt["seconds"]
    return {
        "status": built.status,
        "dagster/partition_row_count": receipt["rows"],
        "dagster/column_schema": column_schema(contract),
        "lines": receipt["lines"],
        "duplicates": receipt["duplicates"],
        "quarantined": receipt["quarantined"],
        "ledger": table_metadata([ledger(built.key, receipt)]),
        "rejected_by_reason": _rejected(contract, receipt),
        "event_dates": table_metadata(
            [{"event_date": d, "rows": n} for d, n in receipt["event_dates"].items()]
        ),
        "event_dates_touched": dg.MetadataValue.json(receipt["touched"]),
        "seconds": round(seconds, 3),
        "events_per_second": round(receipt["lines"] / seconds) if seconds else 0,
        "bronze_objects": len(receipt["objects"]),
        "bronze_bytes": receipt["bytes"],
        "foreign_objects": dg.MetadataValue.json(list(receipt["foreign"])),
        "redelivered_objects": dg.MetadataValue.json(receipt["redelivered"]),
        "input_digest": receipt["digest"],
        "preview": _preview(contract, built.key, lake),
    }


def quarantine_metadata(contract: Contract, built: Built, lake: Lake) -> dict[str, Any]:
    """Metadata of the quarantine that belongs to a Silver partition."""
    quarantine = contract.quarantine()
    return {
        "status": built.status,
        "dagster/partition_row_count": built.receipt["quarantined"],
        "dagster/column_schema": column_schema(quarantine),
        "rejected_by_reason": _rejected(contract, built.receipt),
        "input_digest": built.receipt["digest"],
        "preview": _preview(quarantine, built.key, lake),
    }


def _rejected(contract: Contract, receipt: Receipt) -> dg.MetadataValue:
    meanings = {**contract.rules, **READING_RULES}
    return table_metadata(
        [
            {"reason": reason, "lines": n, "meaning": meanings.get(reason, "")}
            for reason, n in receipt["rejected"].items()
        ]
    )


def gold_metadata(contract: Contract, built: Built, lake: Lake) -> dict[str, Any]:
    """Metadata of a Gold partition."""
    table = _published(contract, built.key, lake)
    metadata = {
        "status": built.status,
        "dagster/partition_row_count": built.receipt["rows"],
        "dagster/column_schema": column_schema(contract),
        "reconciliation": table_metadata(
            [
                {"total": name, "gold": gold, "silver": silver}
                for name, (gold, silver) in built.receipt["totals"].items()
            ]
        ),
        "seconds": round(built.receipt["seconds"], 3),
        "input_digest": built.receipt["digest"],
        "preview": dg.MetadataValue.md(markdown_table(table)),
    }
    if contract.chart and table.num_rows:
        metadata["chart"] = dg.MetadataValue.md(chart(contract, built.key, table))
    return metadata


def _published(contract: Contract, key: str, lake: Lake) -> pa.Table:
    table = lake.read(lake.live(contract, {key})[key].paths)
    return table.sort_by(_sort_keys(contract))


def _sort_keys(contract: Contract) -> list[tuple[str, str]]:
    parts = (part.split() for part in contract.order_by.split(", "))
    return [(p[0], "descending" if p[1:] == ["DESC"] else "ascending") for p in parts]


def _preview(contract: Contract, key: str, lake: Lake) -> dg.MetadataValue:
    live = lake.live(contract, {key})[key]
    return dg.MetadataValue.md(markdown_table(lake.read(live.paths, rows=PREVIEW_ROWS)))


def chart(contract: Contract, key: str, table: pa.Table) -> str:
    """A bar chart of the contract's chart columns, as a Markdown image (PNG in the text)."""
    # Heavy, and only wanted here.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    assert contract.chart is not None
    label, value = contract.chart
    rows = table.slice(0, CHART_BARS).to_pylist()
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.bar(
        [str(row[label]) for row in rows], [float(row[value]) for row in rows], color="#4f43dd"
    )
    axes.set_title(f"{contract.table}, {key}: {value} by {label}", fontsize=9)
    axes.tick_params(axis="x", rotation=60, labelsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=90)
    encoded = base64.b64encode(image.getvalue()).decode()
    return f"![{value} by {label}](data:image/png;base64,{encoded})"
