"""The Bronze objects of one partition, as lines."""

import io
from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from event_pipeline.jobs.files import literal_path, plain_path
from event_pipeline.jobs.workspace import Workspace
from event_pipeline.lake.spelling import BLANKS, Spelling, records_of, split_elements
from event_pipeline.lake.text import DAMAGED

Json = dict[str, Any]

# Spark reads text in this many tasks for each core, if there are as many objects: with fewer tasks,
# the last of them keeps one core busy while the others wait.
TASKS_PER_CORE = 4
LINES = "_line string, _path string"


def spark_reads_as_text(source: Json) -> bool:
    """Whether Spark's text reader takes an object for what it is: lines, gzipped if named .gz."""
    spelling, is_gz = source["spelling"], source["uri"].endswith(".gz")
    return bool(
        spelling["form"] == "lines" and spelling["compression"] == ("gzip" if is_gz else "")
    )


class Bronze:
    """The objects `sources`; Spark reads those also in `as_text` as text, Python the others whole.

    If `each` is the path of an array in a record, every element of the array is a line. `lines` is
    a DataFrame of `_line` and `_path`, without blank lines. `unreadable` are the path and the error
    of each object that Python cannot read. `records` is the number of records, where an unreadable
    object is one, or None if it equals the number of lines. Spark fails at an object that it cannot
    read, but only when `lines` is computed.
    """

    lines: DataFrame
    unreadable: list[tuple[str, str]]
    records: int | None = None

    def __init__(
        self, work: Workspace, sources: Sequence[Json], as_text: Sequence[Json], each: str
    ) -> None:
        self._work = work
        self._each = each
        if each:
            self.records = 0
        self._sources = sources
        # The key of each object, by its path as requests spell it, and as Spark does.
        self._key_of_path = {source["uri"]: source["key"] for source in sources}
        self.unreadable = []
        frames: list[DataFrame] = []
        if as_text:
            frames.append(self._text(as_text))
        if others := [source for source in sources if source not in as_text]:
            frames.append(self._whole(others))
        if not frames:
            frames.append(work.spark.createDataFrame([], LINES))
        lines = reduce(DataFrame.unionByName, frames)
        self.lines = lines.where("startswith(_line, '{') OR trim(BOTH ' \\t' FROM _line) <> ''")

    def _text(self, sources: Sequence[Json]) -> DataFrame:
        """The lines of objects that Spark reads as text."""
        spark = self._work.spark
        cores = spark.sparkContext.defaultParallelism
        tasks = max(cores, min(len(sources), cores * TASKS_PER_CORE))
        spark.conf.set("spark.sql.files.minPartitionNum", tasks)
        text = spark.read.text([literal_path(source["uri"]) for source in sources])
        for path in text.inputFiles():
            self._key_of_path[path] = self._key_of_path[plain_path(path)]
        return text.selectExpr("value AS _line", "input_file_name() AS _path")

    def _whole(self, sources: Sequence[Json]) -> DataFrame:
        """The lines of objects that Python reads, each as a whole; finds those it cannot read."""
        spark = self._work.spark
        spellings = {source["uri"]: source["spelling"] for source in sources}
        objects = spark.read.format("binaryFile").load([literal_path(uri) for uri in spellings])
        read = objects.select("path", "content").rdd.flatMap(
            partial(_lines_of_object, spellings, self._each)
        )
        schema = f"{LINES}, error string, is_first boolean"
        frame = self._work.persist(spark.createDataFrame(read, schema))
        failed = frame.where("error IS NOT NULL").collect()
        self.unreadable += [(row._path, row.error) for row in failed]
        if self.records is not None:
            self.records += len(failed) + frame.where("is_first").count()
        return frame.where("error IS NULL").drop("error", "is_first")

    @property
    def source_object(self) -> Column:
        """The key of the object that a line is from, by its `_path`."""
        names = [F.lit(each) for pair in self._key_of_path.items() for each in pair]
        pairs = F.create_map(*names).cast("map<string,string>")
        return pairs[F.col("_path")].cast("string").alias("source_object")

    def count(self) -> int:
        """How many lines there are, where an unreadable object is one.

        It does not depend on the judgement: the producers' manifests tell it, or it is counted.
        """
        unreadable = {path for path, _ in self.unreadable}
        readable = [source for source in self._sources if source["uri"] not in unreadable]
        counted = len(unreadable) + sum(source["lines"] or 0 for source in readable)
        uncounted = {source["key"] for source in readable if source["lines"] is None}
        if not uncounted:
            return counted
        paths = [(path,) for path, key in self._key_of_path.items() if key in uncounted]
        of_these = F.broadcast(self._work.spark.createDataFrame(paths, "_path string"))
        return counted + self.lines.join(of_these, "_path", "left_semi").count()


def _lines_of_object(
    spellings: dict[str, Json], each: str, row: Row
) -> list[tuple[str | None, str, str | None, bool]]:
    """(line, path, error, whether it is its record's first line) of each line of an object.

    An object that cannot be read gives one, with its error. `spellings` has the spelling of each
    object, by path.
    """
    if not row.content:
        return []
    path = plain_path(row.path)
    try:
        return [
            (line, path, None, n == 0 and bool(record.strip(BLANKS)))
            for record in records_of(io.BytesIO(row.content), Spelling(**spellings[path]))
            for n, line in enumerate(split_elements(record, each))
        ]
    except DAMAGED as error:
        return [(None, path, str(error), False)]
