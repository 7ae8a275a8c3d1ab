"""Looks at where others write, before anything is built: what would be read, and what refused.

Some objects, spread over all that lie there, are copied and judged by the dataset's own statement
in the embedded engine, whatever the target.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from event_pipeline.aws import in_s3
from event_pipeline.contracts import SilverContract
from event_pipeline.contracts.contract import ANY_NAME
from event_pipeline.contracts.statements import check_statement
from event_pipeline.engines import PartitionReport, PartitionRequest, TransformRequest
from event_pipeline.engines.duckdb import DuckDBTransformer
from event_pipeline.errors import MAX_NAMED, UsageError
from event_pipeline.lake.fields import object_of
from event_pipeline.lake.listing import BronzeObject, NoObject, list_under
from event_pipeline.lake.objects import Source, open_object, owner, top_folders_of
from event_pipeline.lake.spelling import BLANKS, Spelling, records_of, sniff
from event_pipeline.lake.text import DAMAGED
from event_pipeline.scratch import scratch
from event_pipeline.settings import Settings

SAMPLED = 10
RECORDS_READ = 1_000
DEEPEST_SHOWN = 3
EXAMPLE_LETTERS = 120
COUNTS = ("records", "lines", "rows", "duplicates", "quarantined", "skipped")


@dataclass
class FeedReport:
    """What lies under a prefix. Each list holds records, as tables show them.

    `partitions`: how many objects of each partition. `unread`: names that no partition reads.
    `spellings`: how the sampled objects are spelled. `fields`: the share of records that have each
    field, and whether it is read. `verdict`: what became of the sample; `refused`: why some was.
    """

    objects: int = 0
    partitions: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)
    sampled: int = 0
    spellings: Counter[str] = field(default_factory=Counter)
    fields: list[dict[str, Any]] = field(default_factory=list)
    verdict: dict[str, int] = field(default_factory=dict)
    refused: list[dict[str, Any]] = field(default_factory=list)

    def as_tables(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """What a person is shown, table by table."""
        keys = sorted(self.partitions)
        found = {
            "objects": self.objects,
            "read": self.partitions.total(),
            "not read": len(self.unread),
            "partitions": len(keys),
            "first": keys[0] if keys else "",
            "last": keys[-1] if keys else "",
        }
        yield "Objects", [found]
        if self.unread:
            more = len(self.unread) - MAX_NAMED
            named = [{"not read": each} for each in self.unread[:MAX_NAMED]]
            yield "Not read", [*named, *([{"not read": f"and {more} more"}] if more > 0 else [])]
        if self.sampled:
            spelled = [{"spelling": name, "objects": n} for name, n in self.spellings.most_common()]
            yield f"Formats of a sample of {self.sampled} objects", spelled
            yield "Fields of the sampled records", self.fields
            yield "What Silver would do with the sample", [self.verdict]
        if self.refused:
            yield "What Silver would refuse, and why", self.refused

    @property
    def ok(self) -> bool:
        """Whether something is read, and most of it is not refused."""
        judged = self.verdict.get("lines", 0) - self.verdict.get("skipped", 0)
        return self.verdict.get("rows", 0) > 0 and 2 * self.verdict["quarantined"] <= judged


def place(settings: Settings, given: str) -> tuple[str, str]:
    """The root and the prefix that a person means: under the lake's root, or anywhere else.

    `segment-logs/` is in the lake's folder or bucket, `s3://bucket/logs/` and `/data/logs` are not.
    """
    path = given.rstrip("/")
    if in_s3(path):
        bucket, _, prefix = path.removeprefix("s3://").partition("/")
        return f"s3://{bucket}", f"{prefix}/" if prefix else ""
    if Path(path).is_absolute():
        return str(Path(path).parent), f"{Path(path).name}/"
    return settings.root, f"{path}/"


def as_declared(
    contract: SilverContract, prefix: str, given: Mapping[str, str | None]
) -> SilverContract:
    """A dataset as if it lay under a prefix, with what else of its declaration is given.

    Where the layout tells no hour, its partitions are days.

    Raises ContractError for a declaration that cannot be right.
    """
    if prefix == contract.bronze.prefix and not any(given.values()):
        return contract
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if prefix != contract.bronze.prefix:
        changes |= {"names": ANY_NAME, "expected": ""}
    bronze = replace(contract.bronze, prefix=prefix, produced=False, **changes)
    columns = contract.columns
    if bronze.layout and "{HH}" not in bronze.layout:
        columns = tuple(
            replace(c, type="date") if c.name == contract.partition else c for c in columns
        )
    made = replace(contract, bronze=bronze, columns=columns)
    check_statement(made)
    return made


def check_feed(
    settings: Settings, root: str, contract: SilverContract, sample: int = SAMPLED
) -> FeedReport:
    """Looks at a dataset's prefix under a root. Raises UsageError if nothing lies there."""
    report = FeedReport()
    read: list[BronzeObject] = []
    prefix = contract.bronze.prefix
    for item in list_under(root, prefix):
        report.objects += 1
        key, name = contract.layout.split(item.key.removeprefix(prefix))
        if isinstance(item, NoObject):
            report.unread.append(f"{item.key}: {item.why}")
        elif key is None:
            report.unread.append(
                f"{item.key}: not in a partition of {prefix}{contract.layout.template}"
            )
        elif contract.cadence.moment(key) is None:
            report.unread.append(f"{item.key}: there is no {key}")
        elif owner([contract], name) is not contract:
            report.unread.append(f"{item.key}: its name is not one of {contract.table}'s")
        else:
            report.partitions[key] += 1
            read.append(item)
    if not report.objects:
        raise UsageError(f"nothing lies under {root}/{prefix}")
    if read:
        # Spread over all of it: what came first and last may differ.
        chosen = read[:: max(1, len(read) // sample)][:sample]
        with scratch() as folder:
            _judge(settings, root, contract, chosen, report=report, folder=Path(folder))
    return report


def _judge(
    settings: Settings,
    root: str,
    contract: SilverContract,
    chosen: Sequence[BronzeObject],
    *,
    report: FeedReport,
    folder: Path,
) -> None:
    report.sampled = len(chosen)
    sources = []
    seen: Counter[str] = Counter()
    records = 0
    for n, item in enumerate(chosen):
        copy = folder / f"object-{n}"
        with open_object(root, item.key) as file, copy.open("wb") as out:
            shutil.copyfileobj(file, out)
        with copy.open("rb") as file:
            spelling = sniff(file, top_folders_of(contract))
            file.seek(0)
            report.spellings[_in_words(spelling)] += 1
            for names in _names(file, spelling):
                records += 1
                seen.update(names)
        sources.append(Source(item.key, str(copy), item.bytes, spelling=spelling))
    request = TransformRequest.of(contract, ())
    used = set(request.paths)
    report.fields = [
        {"field": name, "share": round(count / records, 4), "read": "yes" if name in used else ""}
        for name, count in sorted(seen.items(), key=lambda each: (-each[1], each[0]))
    ]
    report.fields += [
        {"field": name, "share": 0.0, "read": "yes"} for name in sorted(used - seen.keys())
    ]
    rows, refused = folder / "rows", folder / "refused"
    for each in (rows, refused):
        each.mkdir()
    key = next(iter(report.partitions))
    partition = PartitionRequest(
        key, contract.cadence.value(key), "", tuple(sources), str(rows), str(refused)
    )
    engine = DuckDBTransformer(memory_mb=settings.memory_mb, threads=settings.threads)
    (made,) = engine.transform(replace(request, partitions=(partition,)))
    if made.error:
        raise UsageError(f"{contract.table}: {made.error}")
    report.verdict = {name: getattr(made, name) for name in COUNTS}
    report.refused = list(_refused(contract, made))


def _in_words(spelling: Spelling) -> str:
    delimiter = {"\t": " with tabs"}.get(spelling.delimiter, "")
    return f"{spelling.form}{delimiter}, {spelling.compression or 'plain'}"


def _names(file: Any, spelling: Spelling) -> Iterator[set[str]]:
    """The fields of the first records of an object, nested ones by path; none of no record."""
    try:
        for record in islice(records_of(file, spelling), RECORDS_READ):
            if record.strip(BLANKS):
                yield set(_paths(object_of(record) or (), 1))
    except DAMAGED:
        return


def _paths(pairs: Sequence[tuple[str, Any]], depth: int) -> Iterator[str]:
    for name, value in pairs:
        # Of an array of objects the fields of all of them.
        inner = value if isinstance(value, list) else [value]
        nested = [each for each in inner if isinstance(each, tuple)]
        yield name
        if depth < DEEPEST_SHOWN:
            for each in nested:
                yield from (f"{name}.{path}" for path in _paths(each, depth + 1))


def _refused(contract: SilverContract, made: PartitionReport) -> Iterator[dict[str, Any]]:
    """Each reason, how many lines have it, and one of them."""
    examples: dict[str, str] = {}
    for file in made.quarantine_files:
        table = pq.read_table(file, columns=["reasons", "line"]).to_pylist()
        for row in table:
            for reason in row["reasons"].split(","):
                examples.setdefault(reason, row["line"][:EXAMPLE_LETTERS])
    for reason, count in sorted(made.rejected.items(), key=lambda each: -each[1]):
        yield {
            "reason": reason,
            "meaning": contract.meaning(reason),
            "lines": count,
            "one of them": examples.get(reason, ""),
        }
