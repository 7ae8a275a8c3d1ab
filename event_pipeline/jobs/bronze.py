"""The Bronze objects of one partition, as lines."""

import io
from collections.abc import Sequence
from functools import partial, reduce
from typing import Any

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from event_pipeline.jobs.files import literal_path, plain_path
from event_pipeline.jobs.workspace import Workspace
from event_pipeline.lake.text import DAMAGED, open_text, records

Json = dict[str, Any]

# Spark reads text in this many tasks for each core, if there are as many objects: with fewer tasks,
# the last of them keeps one core busy while the others wait.
TASKS_PER_CORE = 4
LINES = "_line string, _path string"


def spark_reads_as_text(source: Json) -> bool:
    """Whether Spark's text reader takes an object for what it is: lines, gzipped if named .gz."""
    return not source["array"] and source["gzipped"] == source["uri"].endswith(".gz")


class Bronze:
    """The objects `sources`; Spark reads those also in `as_text` as text, Python the others whole.

    `lines` is a DataFrame of `_line` and `_path`, without blank lines; `unreadable` are the path
    and the error of each object that Python cannot read. Spark fails at one that it cannot read,
    but only when `lines` is computed.
    """

    lines: DataFrame
    unreadable: list[tuple[str, str]]

    def __init__(self, work: Workspace, sources: Sequence[Json], as_text: Sequence[Json]) -> None:
        self._work = work
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
        forms = {source["uri"]: (source["gzipped"], source["array"]) for source in sources}
        objects = spark.read.format("binaryFile").load([literal_path(uri) for uri in forms])
        read = objects.select("path", "content").rdd.flatMap(partial(_lines_of_object, forms))
        frame = self._work.persist(spark.createDataFrame(read, f"{LINES}, error string"))
        failed = frame.where("error IS NOT NULL").collect()
        self.unreadable += [(row._path, row.error) for row in failed]
        return frame.where("error IS NULL").drop("error")

    @property
    def source_object(self) -> Column:
        """The key of the object that a line is from, by its `_path`."""
        names = [F.lit(each) for pair in self._key_of_path.items() for each in pair]
        pairs = F.create_map(*names).cast("map<string,string>")
        return pairs[F.col("_path")].cast("string").alias("source_object")

    def count(self) -> int:
        """How many lines there are, an unreadable object being one.

        Apart from any judgement: by the producers' manifests, or counted where there is none.
        """
        unreadable = {path for path, _ in self.unreadable}
        readable = [source for source in self._sources if source["uri"] not in unreadable]
        told = len(unreadable) + sum(source["lines"] or 0 for source in readable)
        uncounted = {source["key"] for source in readable if source["lines"] is None}
        if not uncounted:
            return told
        paths = [(path,) for path, key in self._key_of_path.items() if key in uncounted]
        of_these = F.broadcast(self._work.spark.createDataFrame(paths, "_path string"))
        return told + self.lines.join(of_these, "_path", "left_semi").count()


def _lines_of_object(forms: dict[str, tuple[bool, bool]], row: Row) -> list[tuple[str | None, ...]]:
    """(line, path, error) of each line; for an object that cannot be read, one with its error.

    `forms` says of each path whether the object is gzipped and whether it is an array.
    """
    if not row.content:
        return []
    path = plain_path(row.path)
    gzipped, array = forms[path]
    text = open_text(io.BytesIO(row.content), gzipped=gzipped)
    try:
        return [(line, path, None) for line in records(text, array=array)]
    except DAMAGED as error:
        return [(None, path, str(error))]
