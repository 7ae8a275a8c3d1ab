"""What a person sees of a materialization: counts, the ledger, a preview, a chart."""

import base64
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from event_pipeline import trust
from event_pipeline.build import Built
from event_pipeline.contracts import SILVER, Contract, GoldContract, SilverContract
from event_pipeline.lake.objects import Listing
from event_pipeline.lake.receipts import GoldReceipt, SilverReceipt
from event_pipeline.lake.run_folder import RunFolder
from event_pipeline.lake.tables import Lake
from event_pipeline.settings import Settings, get_settings

# The UI shows up to 1,000 characters of Markdown beside the other values, more at a click.
PREVIEW_ROWS = 8
CHART_BARS = 24
CHART_LETTERS = 80
FIELD_LETTERS = 100
LEDGER_COLUMNS = ("lines", "rows", "duplicates", "quarantined")


def column_schema(contract: Contract) -> dg.TableSchema:
    """The contract's columns, as the UI shows them."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                c.name,
                c.type,
                description=c.description,
                tags={"pii": ""} if c.name in contract.personal else None,
            )
            for c in contract.columns
        ]
    )


def source_schema(contract: SilverContract) -> dg.TableSchema:
    """The raw fields that the contract reads of a Bronze line, each as text."""
    return dg.TableSchema([dg.TableColumn(name, "string") for name in contract.source])


def listing_metadata(listing: Listing) -> dict[str, Any]:
    """Metadata of a Bronze partition: objects, bytes, foreign_objects, input_digest."""
    return {
        "objects": len(listing.objects),
        "bytes": sum(item.bytes for item in listing.objects),
        "foreign_objects": dg.MetadataValue.json(list(listing.foreign)),
        "input_digest": listing.digest,
    }


def refused_metadata(refused: Mapping[str, str]) -> dg.MetadataValue:
    """A table of files that are not read (key -> why)."""
    return table_metadata([{"file": key, "why": why} for key, why in sorted(refused.items())])


def table_metadata(records: Sequence[Mapping[str, Any]]) -> dg.MetadataValue:
    """Records as a table in the UI; the text "none" if there are none."""
    if not records:
        return dg.MetadataValue.text("none")
    return dg.MetadataValue.table([dg.TableRecord(dict(record)) for record in records])


def markdown_table(table: pa.Table, columns: Sequence[str], rows: int = PREVIEW_ROWS) -> str:
    """The first rows of some columns as a Markdown table, which hostile text cannot break."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in table.slice(0, rows).to_pylist():
        cells = ("" if row[n] is None else _cell(str(row[n])) for n in columns)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    # In a code span, markup in a stranger's text is not rendered.
    shown = "".join(c if c.isprintable() else " " for c in text)[:120]
    return shown if shown.replace("_", "").replace("-", "").isalnum() else _code_span(shown)


def _code_span(text: str) -> str:
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


def ledger(key: str, receipt: SilverReceipt, settings: Settings) -> dict[str, Any]:
    """One line of the ledger: a partition's lines and what became of them.

    Keys: partition, records, lines, rows, duplicates, quarantined, skipped, balanced, refused (the
    share of the lines that is in quarantine), outside (the rows of event dates that no Gold table
    has), and checks (what is wrong, in words).
    """
    parts = receipt.rows + receipt.duplicates + receipt.quarantined + receipt.skipped
    days = trust.outside(receipt, settings.first_day, datetime.now(UTC).date())
    assessment = trust.worst(receipt, settings)
    passed = assessment.level is trust.Level.PASS
    return {
        "partition": key,
        # Records may stand for several lines, and a mapping may skip some.
        "records": receipt.lines if receipt.records is None else receipt.records,
        **{name: getattr(receipt, name) for name in LEDGER_COLUMNS},
        "skipped": receipt.skipped,
        "balanced": receipt.lines == parts,
        "refused": round(trust.refused_share(receipt), 4),
        "outside": sum(days.values()),
        "checks": "" if passed else f"{assessment.level.name}: {assessment.why}",
    }


def _lost(key: str, counts: dict[str, Any]) -> dict[str, Any]:
    """The line of a partition whose receipt is lost: nobody knows how many lines there were."""
    unknown = dict.fromkeys(LEDGER_COLUMNS)
    return {
        "partition": key,
        "records": None,
        **unknown,
        **counts,
        "skipped": None,
        "balanced": False,
        "refused": None,
        "outside": None,
        "checks": "FAIL: its receipt is lost",
    }


def ledger_records(
    lake: Lake, settings: Settings | None = None, since: str = ""
) -> list[dict[str, Any]]:
    """The ledger of every live Silver partition, in order; by default with the process's settings.

    With `since` (a date), only that of partitions of this day and later, and no other's receipt is
    read.

    Each record has `asset` and the keys of `ledger`. `records` and `skipped` are left out unless
    some partition has records of several lines, or skips lines. `rows` and `quarantined` are
    counted from what readers see, not taken from what a run said.
    """
    settings = settings or get_settings()
    records = []
    for contract in SILVER:
        kept = lake.live(contract.quarantine, since=since)
        for key, live in lake.live(contract, since=since).items():
            quarantined = kept[key].rows if key in kept else 0
            counts = {"rows": live.rows, "quarantined": quarantined}
            receipt = lake.receipt(contract, live)
            seen = receipt and receipt.model_copy(update=counts)
            line = ledger(key, seen, settings) if seen else _lost(key, counts)
            records.append({"asset": contract.asset, **line})
    # Columns that say nothing in any partition would only take room.
    plain = all(
        not line["skipped"] and line["records"] in (line["lines"], None) for line in records
    )
    unneeded = ("records", "skipped") if plain else ()
    return [{k: v for k, v in line.items() if k not in unneeded} for line in records]


def silver_metadata(
    contract: SilverContract, built: Built[SilverReceipt], lake: Lake, settings: Settings
) -> dict[str, Any]:
    """Metadata of a Silver partition; the keys are labels in the UI."""
    receipt, seconds = built.receipt, built.receipt.seconds
    counts = {k: v for k, v in ledger(built.key, receipt, settings).items() if k != "partition"}
    metadata: dict[str, Any] = {
        "status": built.status,
        "dagster/partition_row_count": receipt.rows,
        "ledger": table_metadata([counts]),
        "rejected_by_reason": _rejected(contract, receipt),
        "unknown_fields": table_metadata(unknown_fields(built)),
        "preview": _preview(contract, built.key, lake),
        "event_dates": table_metadata(
            [{"event_date": d, "rows": n} for d, n in receipt.event_dates.items()]
        ),
        "seconds": round(seconds, 3),
        "events_per_second": round(receipt.lines / seconds) if seconds else 0,
        **receipt.run,
        # The ledger's numbers again, each by itself, since the UI plots them over the partitions.
        "lines": receipt.lines,
        "duplicates": receipt.duplicates,
        "quarantined": receipt.quarantined,
        "refused_share": counts["refused"],
        "bronze_objects": len(receipt.objects),
        "bronze_bytes": receipt.bytes,
    }
    if receipt.foreign:
        metadata["foreign_objects"] = dg.MetadataValue.json(list(receipt.foreign))
    if receipt.redelivered:
        metadata["redelivered_objects"] = dg.MetadataValue.json(receipt.redelivered)
    return {
        **metadata,
        "dagster/column_schema": column_schema(contract),
        "input_digest": receipt.digest,
        # The sensor that refreshes Gold reads this.
        "event_dates_touched": dg.MetadataValue.json(receipt.touched),
    }


def unknown_fields(built: Built[SilverReceipt]) -> list[dict[str, Any]]:
    """The fields of a Silver partition's lines that its contract does not know.

    Keys: partition, field, lines, share of lines.
    """
    lines = built.receipt.lines
    return [
        {
            "partition": built.key,
            "field": name[:FIELD_LETTERS],
            "lines": count,
            "share of lines": round(count / lines, 4) if lines else 0,
        }
        for name, count in built.receipt.unknown.items()
    ]


def quarantine_metadata(
    contract: SilverContract, built: Built[SilverReceipt], lake: Lake
) -> dict[str, Any]:
    """Metadata of the quarantine of a Silver partition; the keys are labels in the UI."""
    quarantine = contract.quarantine
    return {
        "status": built.status,
        "dagster/partition_row_count": built.receipt.quarantined,
        "rejected_by_reason": _rejected(contract, built.receipt),
        "preview": _preview(quarantine, built.key, lake),
        "dagster/column_schema": column_schema(quarantine),
        "input_digest": built.receipt.digest,
    }


def refused_reasons(
    contract: SilverContract, built: Built[SilverReceipt], lake: Lake, *, with_examples: bool
) -> list[dict[str, Any]]:
    """Each reason for which lines of a Silver partition were refused, the most frequent first.

    Keys: reason, lines, share of lines. With examples, also object: the one that has the most lines
    with the reason; to find it, the quarantine is read.
    """
    lines, most = built.receipt.lines, {}
    if with_examples:
        quarantine = contract.quarantine
        live = lake.live(quarantine, {built.key})[built.key]
        table = lake.read(quarantine, live.paths, ["reasons", "source_object"])
        counted = table.group_by(["reasons", "source_object"]).aggregate([([], "count_all")])
        for row in sorted(counted.to_pylist(), key=lambda row: row["count_all"]):
            most.update(dict.fromkeys(row["reasons"].split(","), row["source_object"]))
    return [
        {"reason": reason, "lines": n, "share of lines": round(n / lines, 4) if lines else 0.0}
        | ({"object": most.get(reason, "")} if with_examples else {})
        for reason, n in sorted(built.receipt.rejected.items(), key=lambda item: -item[1])
    ]


def _rejected(contract: SilverContract, receipt: SilverReceipt) -> dg.MetadataValue:
    return table_metadata(
        [
            {"reason": reason, "lines": n, "meaning": contract.meaning(reason)}
            for reason, n in sorted(receipt.rejected.items(), key=lambda item: -item[1])
        ]
    )


def gold_metadata(
    contract: GoldContract, built: Built[GoldReceipt], lake: Lake, settings: Settings
) -> dict[str, Any]:
    """Metadata of a Gold partition; the keys are labels in the UI."""
    table = lake.read(contract, lake.live(contract, {built.key})[built.key].paths)
    first = _first(contract, table)
    metadata: dict[str, Any] = {
        "status": built.status,
        "dagster/partition_row_count": built.receipt.rows,
        "preview": dg.MetadataValue.md(markdown_table(first, _shown_columns(contract))),
    }
    if table.num_rows:
        metadata["chart"] = dg.MetadataValue.md(chart(contract, built.key, first))
    if contract.unattributed:
        apart = table.filter(pc.is_null(table[contract.unattributed]))
        metadata[f"without_{contract.unattributed}"] = table_metadata(
            [{n: _number(row[n]) for n in _shown_columns(contract)} for row in apart.to_pylist()]
        )
    if doubtful := _doubtful_inputs(contract, built.key, lake, settings):
        metadata["doubtful_inputs"] = table_metadata(doubtful)
    return {
        **metadata,
        "reconciliation": table_metadata(
            [
                {"total": name, "gold": gold, "silver": silver}
                for name, (gold, silver) in built.receipt.totals.items()
            ]
        ),
        "made_from": built.receipt.made_from,
        "seconds": round(built.receipt.seconds, 3),
        **built.receipt.run,
        "dagster/column_schema": column_schema(contract),
        "input_digest": built.receipt.digest,
    }


def _doubtful_inputs(
    contract: GoldContract, day: str, lake: Lake, settings: Settings
) -> list[dict[str, Any]]:
    """The Silver partitions in a Gold date whose own checks fail. Keys: table, partition, why."""
    doubtful = []
    for each in contract.inputs:
        if each.bronze is None:
            continue
        for folder in lake.folders_of_day(each, day):
            receipt = lake.receipt_in(each, folder)
            assessment = trust.worst(receipt, settings) if receipt else None
            if assessment and assessment.level is trust.Level.FAIL:
                key = RunFolder.of(folder).key(each.cadence)
                doubtful.append({"table": each.table, "partition": key, "why": assessment.why})
    return doubtful


def _first(contract: Contract, table: pa.Table) -> pa.Table:
    """The first rows of a table in the order in which a person reads it."""
    parts = (part.split() for part in contract.order_by.split(", "))
    keys = [(p[0], "descending" if p[1:] == ["DESC"] else "ascending") for p in parts]
    return table.take(pc.sort_indices(table, keys)[:CHART_BARS])


def _number(value: Any) -> Any:
    """A value for a table in the UI: what is no plain number becomes text, so no digit is lost."""
    return value if isinstance(value, int | float | str | None) else str(value)


def _preview(contract: Contract, key: str, lake: Lake) -> dg.MetadataValue:
    live = lake.live(contract, {key})[key]
    table = lake.read(contract, live.paths, rows=PREVIEW_ROWS)
    return dg.MetadataValue.md(markdown_table(table, _shown_columns(contract)))


def _shown_columns(contract: Contract) -> list[str]:
    """All columns but the partition's, which is the same in every row."""
    return [name for name in contract.column_names if name != contract.partition]


def chart(contract: GoldContract, key: str, table: pa.Table) -> str:
    """A bar chart of a Gold table's rows, as a Markdown image (PNG in the text)."""
    # A heavy import that is needed only here.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names, values, title = _bars(contract, table)
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.bar(range(len(names)), values, color="#4f43dd")
    axes.set_xticks(range(len(names)), names)
    axes.set_title(f"{contract.table}, {key}: {title}", fontsize=9)
    # Long names side by side would run into each other.
    slanted = sum(map(len, names)) > CHART_LETTERS
    axes.tick_params(axis="x", rotation=60 if slanted else 0, labelsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=90)
    encoded = base64.b64encode(image.getvalue()).decode()
    return f"![{title}](data:image/png;base64,{encoded})"


def _bars(contract: GoldContract, table: pa.Table) -> tuple[list[str], list[float], str]:
    """Names, heights and title of a chart; the chart of a table with one row shows its numbers."""
    rows = table.to_pylist()
    if contract.chart is None:
        names = _shown_columns(contract)
        return names, [float(rows[0][name]) for name in names], "the day"
    label, value = contract.chart
    names = ["(none)" if row[label] is None else str(row[label]) for row in rows]
    return names, [float(row[value]) for row in rows], f"{value} by {label}"
