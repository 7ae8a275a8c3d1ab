"""The Spark program: what AWS Glue runs, and what the target `spark` runs in its own process.

Takes a request as JSON: the Transformer's, with its statement ready for Spark. Transforms Bronze
lines to Silver rows, for one or many partitions, each on its own; or derives a table from others.
Needs PySpark 3.5 and dagster-pipes, and of this package only `lake.fields`, `lake.text` and
`lake.spelling`, which need nothing, or PyArrow for objects in zstd and Parquet.

A partition's lines are read once. Spark's JSON reader is trusted with those whose fields it can
only read as `lake.fields` does; the rest, and all that is refused or there twice, is few, and is
read again by `lake.fields` itself.
"""

import io
import json
import math
import re
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict
from functools import partial, reduce
from operator import or_
from typing import Any
from urllib.parse import unquote

from dagster_pipes import (
    PipesCliArgsParamsLoader,
    PipesEnvVarParamsLoader,
    PipesS3MessageWriter,
    open_dagster_pipes,
)
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Row, SparkSession, Window
from pyspark.sql import functions as F

from event_pipeline.jobs import CARRIED, SKIPPED
from event_pipeline.lake.fields import DEEPEST, read_fields
from event_pipeline.lake.spelling import Spelling, records_of, taken_apart
from event_pipeline.lake.text import DAMAGED, LONGEST_LINE, is_joined, one_line

Json = dict[str, Any]

# What results depend on: given to every session, whoever made it.
SETTINGS = {
    "parquet.compression.codec.zstd.level": "1",
    # Of hashes, each is there once.
    "parquet.enable.dictionary#_hash": "false",
    "spark.sql.ansi.enabled": "false",
    "spark.sql.json.enablePartialResults": "false",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    # Accepted rows and the others go to two files at once, without being sorted for it.
    "spark.sql.maxConcurrentOutputFileWriters": "2",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.session.timeZone": "UTC",
}
# Gzipped bytes of Bronze whose rows are a file of some 128 to 256 MB; as plain text they are eight
# times as long.
BRONZE_PER_FILE = 384 << 20
PLAIN_PER_GZIPPED = 8
# Cores of the cluster that one partition keeps busy, and tasks for each: with fewer, one core has
# the last of them alone.
CORES_PER_PARTITION = 4
TASKS_PER_CORE = 4
# Ends the name of the folder beside a run's rows that holds what is judged, until it is written.
STAGED = "-staged"
# JSON as strict as Spark's reader can be told to be.
STRICT = {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}
# A value that may have been a number, which Spark spells in its own way.
ODD_NUMBER = "^-?([0-9]+[.eE][-+.eE0-9]*|0)$"
# Java may spell a double with a digit too many, and then has more letters than this.
LONGEST_NUMBER = 15
# Unknown fields that a report names, the most frequent first.
UNKNOWN_MOST = 50
JOINED = "a line holds several objects"
LINES = asdict(Spelling())
# How Spark says that an object is not text, or no gzip, or has lines of several records; which one
# is worth finding out only then.
UNREADABLE = re.compile(rf"java\.(io|util\.zip|nio\.charset)\.|{JOINED}")
_CAUSED_BY = re.compile(r"^Caused by: (.*)$", re.M)
_LOST_TASK = re.compile(r"Lost task .*?: (.*)")
_CLASS = re.compile(r"^(?:[\w$]+\.)+[\w$]*?(\w+)(?::\s*|$)")


def run(spark: SparkSession, request: Json) -> Iterator[Json]:
    """Does what a request asks for, and yields the report of each partition when it is made.

    A partition that fails has its `error` in its report, and the others go on. A failing
    derivation raises what Spark raises.
    """
    _configure(spark)
    if "tables" in request:
        yield _derive(_configure(spark.newSession()), request)
        return
    at_once = max(1, spark.sparkContext.defaultParallelism // CORES_PER_PARTITION)
    with ThreadPoolExecutor(at_once) as threads:
        reports = [threads.submit(_report, spark, request, each) for each in request["partitions"]]
        for done in as_completed(reports):
            yield done.result()


def _configure(spark: SparkSession) -> SparkSession:
    for name, value in SETTINGS.items():
        spark.conf.set(name, value)
    return spark


def _report(spark: SparkSession, request: Json, partition: Json) -> Json:
    started = time.monotonic()
    try:
        found = _Partition(spark, request, partition).make()
    except Exception as error:  # Whatever it is, it is this partition's alone.
        found = {"error": cause(error)}
    return {"key": partition["key"], **found, "seconds": time.monotonic() - started}


class _Partition:
    """One partition in the making, in a session of its own: the statement reads a view, `raw`."""

    def __init__(self, spark: SparkSession, request: Json, partition: Json) -> None:
        self.spark = _configure(spark.newSession())
        self.request = request
        self.partition = partition
        self.columns = [name for name, _ in request["columns"]]
        self.content = [name for name in self.columns if name != request["partition_column"]]
        self.keys = {source["uri"]: source["key"] for source in partition["sources"]}
        self._staged = partition["rows_prefix"] + STAGED
        # Of objects whose records stand for several lines.
        self.records = 0
        self._kept: list[DataFrame] = []

    def make(self) -> Json:
        """Writes the files; returns the report. Raises what Spark raises."""
        sources = self.partition["sources"]
        as_lines = [s for s in sources if _is_lines(s) and not self.request["each"]]
        try:
            return self._make(as_lines)
        except Exception as error:
            if not as_lines or not UNREADABLE.search(str(error)):
                raise
            # Python tells the object that is damaged from the others, and takes lines apart.
            return self._make([])
        finally:
            for frame in self._kept:
                frame.unpersist()
            _delete(self.spark, self._staged)

    def _keep(self, frame: DataFrame) -> DataFrame:
        """The frame, to be computed once. Also keeps filters from being pushed below it."""
        self._kept.append(frame.persist(StorageLevel.DISK_ONLY))
        return self._kept[-1]

    def _stage(self, frame: DataFrame) -> DataFrame:
        """Judged lines, computed once, the accepted ones in files that may be the table's."""
        _delete(self.spark, self._staged)
        frame.write.partitionBy("accepted").parquet(self._staged)
        return self.spark.read.schema(frame.schema).parquet(_escaped(self._staged))

    def _make(self, as_lines: Sequence[Json]) -> Json:
        """One try, in which Spark reads some of the objects as lines, and Python the others."""
        lines, errors = self._lines(as_lines)
        fast = self._stage(self._judged(self._read_fast(lines)).select(*self._cached()))
        accepted = fast.where("accepted")
        aside = fast.where("NOT accepted").select("_line", "_path", F.lit(True).alias("_first"))
        [(kept, with_unknown)] = fast.agg(F.count_if("accepted"), F.count("_unknown")).collect()
        # Without a key, rows are published as they are staged, unless a line is there twice.
        as_staged = not self.request["key"]
        if as_staged:
            repeated = self._keep(_repeated(accepted))
            as_staged = repeated.isEmpty()
            again = lines.join(repeated, F.xxhash64("_line") == F.col("_hash"), "left_semi")
            if not as_staged:
                aside = aside.unionByName(
                    again.select("_line", "_path", F.lit(False).alias("_first"))
                )
                accepted = accepted.join(repeated, "_hash", "left_anti")
        exact = self._keep(self._judged(self._read_exactly(aside)))
        [(also_kept, also_unknown)] = exact.agg(
            F.expr("count_if(_first AND reasons = '')"),
            F.expr("count_if(_first AND size(_unknown) > 0)"),
        ).collect()
        refused = exact.where("_first AND reasons <> ''").select("reasons", "_line", "_path")
        skipped = 0
        if self.request["is_mapped"]:
            skipped = refused.where(F.col("reasons") == SKIPPED).count()
            refused = refused.where(F.col("reasons") != SKIPPED)
        rows = exact.where("reasons = ''")
        if self.request["key"]:
            ranked = self._keep(self._ranked(accepted.drop("_unknown").unionByName(rows, True)))
            rows = ranked.where("copy = 1 AND place = 1")
            lost = ranked.where("copy = 1 AND place > 1")
            refused = refused.unionByName(
                lost.select(F.lit("conflict").alias("reasons"), "_line", "_path")
            )
        else:
            rows = rows.dropDuplicates(["_line"]).select(*self.columns)
            if not as_staged:
                rows = rows.unionByName(accepted.select(*self.columns))
        report = self._write(rows, refused, errors, staged=kept if as_staged else 0)
        conflicts = report["rejected"].get("conflict", 0)
        report["duplicates"] = kept + also_kept - conflicts - report["rows"]
        report["skipped"] = skipped
        report["lines"] = len(errors) + self._count_lines(lines, {path for path, _ in errors})
        several = bool(self.request["each"])
        report["records"] = len(errors) + self.records if several else report["lines"]
        names = fast.select("_unknown").unionByName(exact.where("_first").select("_unknown"))
        report["unknown"] = _most_frequent(names) if with_unknown or also_unknown else {}
        return report

    def _lines(self, as_lines: Sequence[Json]) -> tuple[DataFrame, list[tuple[str, str]]]:
        """The lines of the objects, as `line` and `path`; paths and errors of unreadable ones."""
        frames: list[DataFrame] = []
        errors: list[tuple[str, str]] = []
        if as_lines:
            cores = self.spark.sparkContext.defaultParallelism
            tasks = max(cores, min(len(as_lines), cores * TASKS_PER_CORE))
            self.spark.conf.set("spark.sql.files.minPartitionNum", tasks)
            text = self.spark.read.text([_escaped(source["uri"]) for source in as_lines])
            frames.append(text.selectExpr("value AS _line", "input_file_name() AS _path"))
            self.keys.update({path: self.keys[_plain(path)] for path in text.inputFiles()})
        others = [source for source in self.partition["sources"] if source not in as_lines]
        if others:
            spellings = {source["uri"]: source["spelling"] for source in others}
            files = self.spark.read.format("binaryFile").load([_escaped(uri) for uri in spellings])
            read = files.select("path", "content").rdd.flatMap(
                partial(_records, spellings, self.request["each"])
            )
            frame = self._keep(
                self.spark.createDataFrame(
                    read, "_line string, _path string, error string, first boolean"
                )
            )
            errors = [(r._path, r.error) for r in frame.where("error IS NOT NULL").collect()]
            frames.append(frame.where("error IS NULL").drop("error", "first"))
            self.records = frame.where("first").count() if self.request["each"] else 0
        if not frames:
            frames.append(self.spark.createDataFrame([], "_line string, _path string"))
        lines = reduce(DataFrame.unionByName, frames)
        return lines.where("startswith(_line, '{') OR trim(BOTH ' \\t' FROM _line) <> ''"), errors

    def _read_fast(self, lines: DataFrame) -> DataFrame:
        """`raw` of lines by Spark's reader; `unknown` is null where it is not to be trusted."""
        if self.request["is_nested"]:
            return lines.select(
                *(F.lit(None).cast("string").alias(name) for name in self.request["source"]),
                "_line",
                "_path",
                F.lit(None).cast("array<string>").alias("_unknown"),
                F.xxhash64("_line").alias("_hash"),
                F.lit(True).alias("_first"),
            )
        schema = ", ".join(f"`{name}` string" for name in self.request["source"])
        read = lines.withColumn("read", F.from_json("_line", schema, STRICT))
        fields = read.select("_line", "_path", "read.*")
        # A line that is what its values are written as holds nothing else, and each once.
        plain = F.when(F.col("_line") == self._as_written(), F.array().cast("array<string>"))
        unknown = plain.when(~reduce(or_, self._doubts()), self._others())
        return fields.select(
            *self.request["source"],
            "_line",
            "_path",
            unknown.alias("_unknown"),
            F.xxhash64("_line").alias("_hash"),
            F.lit(True).alias("_first"),
        )

    def _as_written(self) -> Column:
        """The line that the project's own producer writes of the fields, as Python spells JSON."""
        pieces: list[Column] = []
        for name in self.request["source"]:
            value = F.col(name)
            if name not in self.request["numbers"]:
                value = F.concat(F.lit('"'), value, F.lit('"'))
            before = ", " if pieces else "{"
            pieces += [F.lit(f'{before}"{name}": '), F.coalesce(value, F.lit("null"))]
        return F.concat(*pieces, F.lit("}"))

    def _others(self) -> Column:
        """The names in a line that the contract does not know; null if it is no one object."""
        # Spark ignores what follows a value: of a line and a mark in one array both must be there.
        mark = secrets.token_hex(8)
        wrapped = F.concat(F.lit("["), "_line", F.lit(f',{{"{mark}":""}}]'))
        read = F.from_json(wrapped, "array<map<string,string>>", STRICT)
        are_two = (F.size(read) == len(("line", "mark"))) & read[1][mark].isNotNull()
        names = F.map_keys(F.when(are_two, read[0]))
        known = F.array(*map(F.lit, self.request["source"]))
        each_once = F.size(F.array_distinct(names)) == F.size(names)
        others = F.array_except(names, known)
        return F.when(
            each_once, F.array().cast("array<string>") if self.request["is_mapped"] else others
        )

    def _doubts(self) -> Iterator[Column]:
        """Whether Spark may have read a line otherwise than it is."""
        line = F.col("_line")
        yield F.octet_length(line) > LONGEST_LINE
        # Of bytes that are not UTF-8 others are made.
        yield F.decode(line.cast("binary"), "UTF-8") != line
        yield F.length(line) - F.length(F.translate(line, "[{", "")) > DEEPEST
        # Half a surrogate pair is read as a question mark.
        yield line.contains("\\ud") | line.contains("\\uD")
        for name in self.request["source"]:
            value = F.col(name)
            if name in self.request["numbers"]:
                doubt = F.length(value) > LONGEST_NUMBER
            else:
                # Most texts begin above the digits. A number too great is an infinity in quotes.
                is_number = (value < ":") & value.rlike(ODD_NUMBER)
                starts = (value.startswith(mark) for mark in '"[{')
                doubt = reduce(or_, starts, is_number)
            yield F.coalesce(doubt, F.lit(False))

    def _read_exactly(self, lines: DataFrame) -> DataFrame:
        """`raw` of lines by `read_fields`; `unknown` is null where a line is no object."""
        read = F.udf(
            partial(_fields, self.request["paths"], self.request["is_mapped"]),
            "line string, `values` array<string>, unknown array<string>",
        )
        fields = lines.select(read(F.col("_line").cast("binary")).alias("read"), "_path", "_first")
        return fields.select(
            *(F.col("read.values")[n].alias(name) for n, name in enumerate(self.request["source"])),
            F.col("read.line").alias("_line"),
            "_path",
            F.col("read.unknown").alias("_unknown"),
            F.lit(None).cast("long").alias("_hash"),
            "_first",
        )

    def _judged(self, raw: DataFrame) -> DataFrame:
        """The statement over `raw`: the table's columns, `reasons`, and what is carried."""
        raw.createOrReplaceTempView("raw")
        judged = self.spark.sql(self.request["statement"])
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

    def _cached(self) -> Iterator[Column]:
        """Of judged lines what is needed later: of an accepted one without a key, not its text."""
        accepted = F.col("reasons") == ""
        needed = F.lit(True) if self.request["key"] else ~accepted
        yield from map(F.col, self.columns)
        yield accepted.alias("accepted")
        yield F.col("_hash")
        yield F.when(accepted & (F.size("_unknown") > 0), F.col("_unknown")).alias("_unknown")
        for name in ("_line", "_path"):
            yield F.when(needed, F.col(name)).alias(name)

    def _ranked(self, accepted: DataFrame) -> DataFrame:
        """Rows with the number of their copy, and of the first copies the place under their key.

        Of rows that are the same in every column the first is kept, the others are duplicates. Of
        those with the same key the latest is kept, and of the latest the greatest, column by
        column; of a row that is told the line is the same in every run.
        """
        same = Window.partitionBy(*self.content).orderBy("_line", self._source_object())
        latest = (F.col(c).desc_nulls_last() for c in (self.request["latest"], *self.content))
        rivals = Window.partitionBy(*self.request["key"], F.col("copy") == 1).orderBy(*latest)
        counted = accepted.withColumn("copy", F.row_number().over(same))
        return counted.withColumn("place", F.row_number().over(rivals))

    def _write(
        self, rows: DataFrame, refused: DataFrame, errors: Sequence[tuple[str, str]], *, staged: int
    ) -> Json:
        """Writes both tables' files; the report of what is in them.

        `staged` is how many rows are to be taken as they are staged, beside `rows`.
        """
        sources = self.partition["sources"]
        size = sum(
            s["bytes"] / (1 if s["spelling"]["compression"] else PLAIN_PER_GZIPPED) for s in sources
        )
        kind = dict(self.request["columns"])[self.request["partition_column"]]
        value = F.lit(self.partition["value"]).cast(kind).alias(self.request["partition_column"])
        if errors:
            unreadable = [("object_unreadable", error, path) for path, error in errors]
            refused = refused.unionByName(
                self.spark.createDataFrame(unreadable, "reasons string, _line string, _path string")
            )
        files = math.ceil(size / BRONZE_PER_FILE)
        to = self.partition["rows_prefix"]
        if staged:
            taken = self.spark.read.parquet(f"{_escaped(self._staged)}/accepted=true").inputFiles()
            for n in range(files):
                _join(self.spark, sorted(taken)[n::files], f"{to}/rows-{n}.parquet", self.columns)
        if not staged or not rows.isEmpty():
            self._parquet(rows.select(*self.columns), to, files)
        written = self.spark.read.schema(rows.select(*self.columns).schema).parquet(_escaped(to))
        kept = self._parquet(
            refused.select("reasons", F.col("_line").alias("line"), self._source_object(), value),
            self.partition["quarantine_prefix"],
            files,
        )
        date = F.date_format(self.request["date_column"], "yyyy-MM-dd").alias("date")
        dates = written.groupBy(self.request["date_column"]).count().select(date, "count")
        event_dates: dict[str, int] = dict(sorted(map(tuple, dates.collect())))
        together = kept.groupBy("reasons").count().collect()
        rejected: Counter[str] = Counter()
        for reasons, count in together:
            rejected.update(dict.fromkeys(reasons.split(","), count))
        return {
            "rows": sum(event_dates.values()),
            "quarantined": sum(count for _, count in together),
            "rejected": dict(sorted(rejected.items())),
            "event_dates": event_dates,
            "files": sorted(map(_plain, written.inputFiles())),
            "quarantine_files": sorted(map(_plain, kept.inputFiles())),
            "bytes": sum(source["bytes"] for source in sources),
        }

    def _source_object(self) -> Column:
        """The key of the object that a line is from."""
        names = [F.lit(each) for pair in self.keys.items() for each in pair]
        pairs = F.create_map(*names).cast("map<string,string>")
        return pairs[F.col("_path")].cast("string").alias("source_object")

    def _parquet(self, frame: DataFrame, prefix: str, files: int) -> DataFrame:
        """Writes a frame to so many files, at least one; the frame that reads them."""
        frame.coalesce(max(1, files)).write.mode("append").parquet(prefix)
        return self.spark.read.schema(frame.schema).parquet(_escaped(prefix))

    def _count_lines(self, lines: DataFrame, unreadable: set[str]) -> int:
        """Lines of the objects that can be read: their producers' counts, or counted here."""
        sources = [s for s in self.partition["sources"] if s["uri"] not in unreadable]
        uncounted = {source["key"] for source in sources if source["lines"] is None}
        told = sum(source["lines"] or 0 for source in sources)
        if not uncounted:
            return told
        paths = [(path,) for path, key in self.keys.items() if key in uncounted]
        these = F.broadcast(self.spark.createDataFrame(paths, "_path string"))
        return told + lines.join(these, "_path", "left_semi").count()


def _derive(spark: SparkSession, request: Json) -> Json:
    """Writes the rows of one date of a statement over tables, which are views of their files."""
    started = time.monotonic()
    for table in request["tables"]:
        schema = ", ".join(f"`{name}` {kind}" for name, kind in table["columns"])
        files = [_escaped(path) for path in table["files"]]
        frame = (
            spark.read.schema(schema).parquet(*files)
            if files
            else spark.createDataFrame([], schema)
        )
        frame.createOrReplaceTempView(table["view"])
    column, day = request["where"]
    typed = (F.col(name).cast(kind).alias(name) for name, kind in request["columns"])
    rows = spark.sql(request["statement"]).select(*typed)
    rows = rows.where(F.col(column) == F.lit(day).cast("date"))
    rows.coalesce(1).write.mode("append").parquet(request["prefix"])
    written = spark.read.schema(rows.schema).parquet(_escaped(request["prefix"]))
    return {
        "rows": written.count(),
        "files": sorted(map(_plain, written.inputFiles())),
        "seconds": time.monotonic() - started,
    }


def _is_lines(source: Json) -> bool:
    """Whether Spark can read an object as it lies; it tells gzip by the name alone."""
    spelling, is_gz = source["spelling"], source["uri"].endswith(".gz")
    return bool(spelling == {**LINES, "compression": "gzip" if is_gz else ""})


def _repeated(accepted: DataFrame) -> DataFrame:
    """The hashes that more than one of the lines has."""
    counts = accepted.repartition("_hash").groupBy("_hash").count()
    return counts.where("count > 1").select("_hash")


def _join(spark: SparkSession, files: Sequence[str], to: str, columns: Sequence[str]) -> None:
    """Makes one Parquet file of the columns of several: bytes are copied, and no value is read."""
    jvm, conf = _java(spark)
    parquet, hadoop = jvm.org.apache.parquet, jvm.org.apache.parquet.hadoop.util
    inputs = [
        hadoop.HadoopInputFile.fromPath(jvm.org.apache.hadoop.fs.Path(jvm.java.net.URI(file)), conf)
        for file in files
    ]
    readers = [parquet.hadoop.ParquetFileReader.open(each) for each in inputs]
    schema = readers[0].getFileMetaData().getSchema()
    fields = jvm.java.util.ArrayList()
    for name in columns:
        fields.add(schema.getType(name))
    writer = parquet.hadoop.ParquetFileWriter(
        hadoop.HadoopOutputFile.fromPath(jvm.org.apache.hadoop.fs.Path(to), conf),
        parquet.schema.MessageType(schema.getName(), fields),
        parquet.hadoop.ParquetFileWriter.Mode.CREATE,
        parquet.hadoop.ParquetWriter.DEFAULT_BLOCK_SIZE,
        parquet.hadoop.ParquetWriter.MAX_PADDING_SIZE_DEFAULT,
    )
    writer.start()
    for reader, source in zip(readers, inputs, strict=True):
        with closing(source.newStream()) as stream, closing(reader):
            drop_columns = True
            writer.appendRowGroups(stream, reader.getRowGroups(), drop_columns)
    writer.end(jvm.java.util.HashMap())


def _delete(spark: SparkSession, folder: str) -> None:
    jvm, conf = _java(spark)
    path, recursively = jvm.org.apache.hadoop.fs.Path(folder), True
    path.getFileSystem(conf).delete(path, recursively)


def _java(spark: SparkSession) -> tuple[Any, Any]:
    """Spark's JVM, and its configuration of Hadoop."""
    return spark.sparkContext._jvm, spark.sparkContext._jsc.hadoopConfiguration()


def _records(
    spellings: dict[str, Json], each: str, row: Row
) -> list[tuple[str | None, str, str | None, bool]]:
    """(line, path, error, whether it is a record's first) of one object that is read as a whole."""
    if not row.content:
        return []
    path = _plain(row.path)
    try:
        return [
            (line, path, None, n == 0)
            for record in records_of(io.BytesIO(row.content), Spelling(**spellings[path]))
            if record.strip()
            for n, line in enumerate(taken_apart(record, each))
        ]
    except DAMAGED as error:
        return [(None, path, str(error), False)]


def _fields(paths: Sequence[str], is_mapped: bool, data: bytes) -> tuple[str, Any, Any]:
    """A line as it is kept, its values and its unknown fields."""
    line = one_line(bytes(data).decode("utf-8", "backslashreplace"))
    found = read_fields(line, paths)
    if found is None and is_joined(line):
        raise ValueError(JOINED)
    if found and is_mapped:
        found = found._replace(unknown=[])
    return (line, *(found or (None, None)))


def _plain(uri: str) -> str:
    """A file as the request names it, of how Spark does: file:///a%20b, or file:/a b in places."""
    if uri.startswith("file:///"):
        return unquote(uri.removeprefix("file://"))
    return uri.removeprefix("file:") if uri.startswith("file:") else unquote(uri)


def _escaped(path: str) -> str:
    """A path in which nothing is a pattern."""
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", path)


def _most_frequent(names: DataFrame) -> dict[str, int]:
    """How many lines have each unknown field, the most frequent first."""
    each = names.select(F.explode("_unknown").alias("name")).groupBy("name").count()
    return dict(map(tuple, each.orderBy(F.desc("count"), "name").limit(UNKNOWN_MOST).collect()))


def cause(error: BaseException) -> str:
    """What went wrong, in one line: the innermost cause, without Java's stack."""
    text = str(error)
    found = _CAUSED_BY.findall(text) or _LOST_TASK.findall(text) or text.strip().splitlines()
    line = found[-1 if _CAUSED_BY.search(text) else 0].strip() if found else ""
    return _CLASS.sub(r"\1: ", line).removesuffix(": ") or type(error).__name__


def main() -> None:
    """Runs the request given as `--request` (JSON, or the URI of a file of it).

    Each report is a message to Dagster Pipes, and a line of standard output.
    """
    arguments = _arguments(sys.argv[1:])
    in_cli = any(argument.startswith("--dagster-pipes") for argument in sys.argv)
    loader = PipesCliArgsParamsLoader() if in_cli else PipesEnvVarParamsLoader()  # type: ignore[no-untyped-call]
    # Messages go to a bucket where the session asks for one, as on Glue.
    asks = loader.is_dagster_pipes_process() and "bucket" in loader.load_messages_params()
    writer = _to_bucket() if asks else None
    with open_dagster_pipes(params_loader=loader, message_writer=writer) as pipes:
        spark = SparkSession.builder.getOrCreate()
        text = arguments["request"]
        if not text.lstrip().startswith("{"):
            text = spark.read.text(_escaped(text), wholetext=True).collect()[0][0]
        try:
            for report in run(spark, json.loads(text)):
                pipes.report_custom_message(report)
                print(json.dumps(report), flush=True)
        except Exception as error:
            raise RuntimeError(cause(error)) from error


def _to_bucket() -> PipesS3MessageWriter:
    import boto3

    return PipesS3MessageWriter(boto3.client("s3"), interval=2)


def _arguments(words: Sequence[str]) -> dict[str, str]:
    """`--name value` and `--name=value`, whatever else there is, as Glue's getResolvedOptions."""
    found, waiting = {}, None
    for word in words:
        if waiting:
            found[waiting], waiting = word, None
        elif word.startswith("--"):
            name, is_given, value = word[2:].partition("=")
            if is_given:
                found[name] = value
            else:
                waiting = name
    return found


if __name__ == "__main__":
    main()
