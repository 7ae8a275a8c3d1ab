"""One partition of a Silver table: from the lines of its Bronze objects to its files.

Spark's JSON reader reads every line once. A few lines are left over: those that it is not trusted
with, that are refused, or that are there twice. `lake.fields` reads these again, in Python.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from event_pipeline.jobs import CARRIED, MAX_UNKNOWN_FIELDS, SKIPPED
from event_pipeline.jobs.bronze import Bronze, spark_reads_as_text
from event_pipeline.jobs.files import join_parquet, plain_path, read_parquet, write_parquet
from event_pipeline.jobs.identity import Choice, EachLineOnce, Identity, OneRowPerKey, Split
from event_pipeline.jobs.raw import JOINED, read_by_python, read_by_spark
from event_pipeline.jobs.workspace import Workspace

Json = dict[str, Any]

# Gzipped bytes of Bronze whose rows make a file of some 128 to 256 MB; as plain text they are eight
# times as long.
BRONZE_PER_FILE = 384 << 20
PLAIN_PER_GZIPPED = 8
# Ends the name of the folder, beside that of the rows, in which judged lines are staged.
STAGED = "-staged"
# How Spark says that an object is not text or not gzip, or that a line holds several records. It
# does not say which object; finding that out takes a second try.
UNREADABLE = re.compile(rf"java\.(io|util\.zip|nio\.charset)\.|{JOINED}")


def make_partition(spark: SparkSession, request: Json, partition: Json) -> Json:
    """Writes the files of one partition. Raises what Spark raises.

    Returns the fields of engines.PartitionReport, without `key`, `seconds`, `run` and `error`.
    """
    sources = [] if request["each"] else partition["sources"]
    as_text = [source for source in sources if spark_reads_as_text(source)]
    with Workspace(spark, partition["rows_prefix"] + STAGED) as work:
        making = _Making(work, request, partition)
        try:
            return making.try_reading(as_text)
        except Exception as error:
            if not as_text or not UNREADABLE.search(str(error)):
                raise
            # Python tells the damaged object from the others, and takes joined records apart.
            return making.try_reading([])


class _Judged(NamedTuple):
    """Lines that the statement has judged, and how many of them are accepted, odd or skipped.

    A line that is read again counts once. An odd line has fields that the contract does not know. A
    skipped line is one that the dataset's mapping leaves out.
    """

    lines: DataFrame
    accepted: int
    odd: int
    skipped: int = 0


class _Making:
    """One partition in the making."""

    def __init__(self, work: Workspace, request: Json, partition: Json) -> None:
        self.work = work
        self.request = request
        self.partition = partition
        self.columns = [name for name, _ in request["columns"]]

    def try_reading(self, as_text: Sequence[Json]) -> Json:
        """Makes the partition; Spark reads the objects `as_text`, and Python the others."""
        bronze = Bronze(self.work, self.partition["sources"], as_text, self.request["each"])
        identity = self._identity(bronze)
        staged = self._staged(bronze.lines, identity)
        split = identity.split(staged.lines.where("accepted"), bronze.lines)
        exact = self._read_again(staged.lines.where("NOT accepted"), split)
        choice = identity.choose(split, exact.lines.where("reasons = ''"))

        rows = self._write_rows(choice, staged)
        quarantine = self._write_quarantine(exact.lines, choice, bronze)
        event_dates, sums = self._by_date(rows)
        by_reasons = dict(map(tuple, quarantine.groupBy("reasons").count().collect()))
        rejected = _each_reason(by_reasons)
        row_count = sum(event_dates.values())
        conflicts = rejected.get("conflict", 0)
        lines = bronze.count()
        return {
            "records": lines if bronze.records is None else bronze.records,
            "lines": lines,
            "rows": row_count,
            "duplicates": staged.accepted + exact.accepted - conflicts - row_count,
            "quarantined": sum(by_reasons.values()),
            "skipped": exact.skipped,
            "rejected": rejected,
            "event_dates": event_dates,
            "unknown": _unknown_fields(staged, exact),
            "files": sorted(map(plain_path, rows.inputFiles())),
            "quarantine_files": sorted(map(plain_path, quarantine.inputFiles())),
            "roll_up_files": dict(self._roll_up(rows)),
            "sums": sums,
            "bytes": sum(source["bytes"] for source in self.partition["sources"]),
        }

    def _identity(self, bronze: Bronze) -> Identity:
        key, latest = self.request["key"], self.request["latest"]
        if not key:
            return EachLineOnce(self.work, self.columns)
        content = [name for name in self.columns if name != self.request["partition_column"]]
        return OneRowPerKey(self.work, content, key, latest, bronze.source_object)

    def _staged(self, lines: DataFrame, identity: Identity) -> _Judged:
        """All lines, read by Spark, judged and staged; those not accepted are to be read again."""
        raw = read_by_spark(lines, self.request)
        judged = self._judge(raw).select(*self._staged_columns(identity))
        staged = self.work.stage(judged)
        [counts] = staged.agg(F.count_if("accepted"), F.count("_unknown")).collect()
        return _Judged(staged, *counts)

    def _staged_columns(self, identity: Identity) -> Iterator[Column]:
        """The columns of a judged line that are needed later.

        An accepted line's text is among them only if rows are compared by it.
        """
        accepted = F.col("reasons") == ""
        needs_text = F.lit(True) if identity.needs_text else ~accepted
        yield from map(F.col, self.columns)
        yield accepted.alias("accepted")
        yield F.col("_hash")
        yield F.when(accepted & (F.size("_unknown") > 0), F.col("_unknown")).alias("_unknown")
        for name in ("_line", "_path"):
            yield F.when(needs_text, F.col(name)).alias(name)

    def _read_again(self, not_accepted: DataFrame, split: Split) -> _Judged:
        """The lines that are left over, read by Python and judged."""
        lines = not_accepted.select("_line", "_path", F.lit(True).alias("_first"))
        if split.repeated is not None:
            counted_before = F.lit(False).alias("_first")
            lines = lines.unionByName(split.repeated.select("_line", "_path", counted_before))
        exact = self.work.persist(self._judge(read_by_python(lines, self.request)))
        [counts] = exact.agg(
            F.expr("count_if(_first AND reasons = '')"),
            F.expr("count_if(_first AND size(_unknown) > 0)"),
            F.expr(f"count_if(_first AND reasons = '{SKIPPED}')"),
        ).collect()
        return _Judged(exact, *counts)

    def _judge(self, raw: DataFrame) -> DataFrame:
        """The statement over `raw`: the table's columns, `reasons` ('' if accepted) and CARRIED.

        A line without `_unknown` is malformed, whatever the statement says.
        """
        raw.createOrReplaceTempView("raw")
        judged = self.work.spark.sql(self.request["statement"])
        typed = (
            F.lit(self.partition["value"]).cast(kind).alias(name)
            if name == self.request["partition_column"]
            else F.col(name).cast(kind).alias(name)
            for name, kind in self.request["columns"]
        )
        malformed = F.when(F.col("_unknown").isNull(), F.lit("malformed_json"))
        return judged.select(
            *typed, malformed.otherwise(F.col("reasons")).alias("reasons"), *CARRIED
        )

    @property
    def _files(self) -> int:
        """Files to write for each table; 0 if there is no Bronze."""
        sources = self.partition["sources"]
        size: float = sum(
            s["bytes"] / (1 if s["spelling"]["compression"] else PLAIN_PER_GZIPPED) for s in sources
        )
        return math.ceil(size / BRONZE_PER_FILE)

    def _write_rows(self, choice: Choice, staged: _Judged) -> DataFrame:
        """Writes the table's rows; returns them as they are read from its files."""
        spark, to = self.work.spark, self.partition["rows_prefix"]
        rows = choice.rows.select(*self.columns)
        takes_staged_files = choice.takes_staged_files and staged.accepted > 0
        if takes_staged_files:
            staged_files = self.work.staged_files()
            for n in range(self._files):
                files = staged_files[n :: self._files]
                join_parquet(spark, files, f"{to}/rows-{n}.parquet", self.columns)
        if takes_staged_files and rows.isEmpty():
            return read_parquet(spark, rows, to)
        return write_parquet(spark, rows, to, self._files)

    def _write_quarantine(self, exact: DataFrame, choice: Choice, bronze: Bronze) -> DataFrame:
        """Writes what the table does not take; returns it as it is read from its files."""
        is_refused = f"_first AND reasons NOT IN ('', '{SKIPPED}')"
        refused = exact.where(is_refused).select("reasons", "_line", "_path")
        if choice.conflicts is not None:
            reason = F.lit("conflict").alias("reasons")
            refused = refused.unionByName(choice.conflicts.select(reason, "_line", "_path"))
        if bronze.unreadable:
            errors = [("object_unreadable", error, path) for path, error in bronze.unreadable]
            schema = "reasons string, _line string, _path string"
            refused = refused.unionByName(self.work.spark.createDataFrame(errors, schema))
        column = self.request["partition_column"]
        kind = dict(self.request["columns"])[column]
        value = F.lit(self.partition["value"]).cast(kind).alias(column)
        rows = refused.select("reasons", F.col("_line").alias("line"), bronze.source_object, value)
        return write_parquet(
            self.work.spark, rows, self.partition["quarantine_prefix"], self._files
        )

    def _by_date(self, rows: DataFrame) -> tuple[dict[str, int], dict[str, dict[str, str | None]]]:
        """How many rows each date has, and the values of the sums that are asked for."""
        column, sums = self.request["date_column"], self.request["sums"]
        aggregates = [F.expr(f"CAST({sql} AS STRING)") for sql in sums.values()]
        counted = rows.groupBy(column).agg(F.count("*"), *aggregates)
        # As text: Python's dates end with the year 9999.
        day = F.date_format(column, "yyyy-MM-dd")
        found = sorted(map(tuple, counted.withColumn(column, day).collect()))
        event_dates = {date: count for date, count, *_ in found}
        if not sums:
            return event_dates, {}
        return event_dates, {
            date: dict(zip(sums, values, strict=True)) for date, _, *values in found
        }

    def _roll_up(self, rows: DataFrame) -> Iterator[tuple[str, list[str]]]:
        """Makes each roll-up of the rows; returns its table and files."""
        spark, value = self.work.spark, F.lit(self.partition["value"])
        rows.createOrReplaceTempView(self.request["view"])
        for each in self.request["roll_ups"] if self.partition["roll_up_prefixes"] else ():
            made = spark.sql(each["statement"])
            typed = (
                (value if name == self.request["partition_column"] else F.col(name))
                .cast(kind)
                .alias(name)
                for name, kind in each["columns"]
            )
            to = self.partition["roll_up_prefixes"][each["table"]]
            written = write_parquet(spark, made.select(*typed), to, files=1)
            yield each["table"], sorted(map(plain_path, written.inputFiles()))


def _each_reason(by_reasons: dict[str, int]) -> dict[str, int]:
    """How many lines have each reason; a line may have several, with commas between them."""
    rejected: Counter[str] = Counter()
    for reasons, count in by_reasons.items():
        rejected.update(dict.fromkeys(reasons.split(","), count))
    return dict(sorted(rejected.items()))


def _unknown_fields(staged: _Judged, exact: _Judged) -> dict[str, int]:
    """How many lines have each unknown field, the most frequent first."""
    if not staged.odd and not exact.odd:
        return {}
    again = exact.lines.where("_first").select("_unknown")
    names = staged.lines.select("_unknown").unionByName(again)
    each = names.select(F.explode("_unknown").alias("name")).groupBy("name").count()
    return dict(
        map(tuple, each.orderBy(F.desc("count"), "name").limit(MAX_UNKNOWN_FIELDS).collect())
    )
