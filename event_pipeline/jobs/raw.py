"""The view `raw` that a Silver statement reads: each line's fields, as text.

There are two readers. Spark's own is fast, and is trusted only with lines that it cannot read
differently from `lake.fields`. The other is `lake.fields` itself, in Python, for all other lines.
"""

import secrets
from collections.abc import Collection, Iterator, Sequence
from functools import partial, reduce
from operator import or_
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from event_pipeline.jobs import ODD_NUMBER
from event_pipeline.lake.fields import DEEPEST, read_fields
from event_pipeline.lake.text import LONGEST_LINE, is_joined, one_line

Json = dict[str, Any]

# Options that make Spark's reader of JSON as strict as it can be.
STRICT = {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}
# Java may spell a double with a digit too many, which makes it longer than this.
LONGEST_NUMBER = 15
JOINED = "a line holds several objects"


def read_by_spark(lines: DataFrame, request: Json) -> DataFrame:
    """`raw` of lines, by Spark's own reader; `_unknown` is null where it is not to be trusted."""
    names, numbers = request["source"], request["numbers"]
    if request["is_nested"]:
        return _read_by_nobody(lines, names)
    schema = ", ".join(f"`{name}` string" for name in names)
    read = lines.withColumn("read", F.from_json("_line", schema, STRICT))
    fields = read.select("_line", "_path", "read.*")
    # A line that equals its own fields written out again has no other field, and none twice.
    nothing_else = F.col("_line") == _written_out(names, numbers)
    unknown = (
        F.when(nothing_else, F.array().cast("array<string>"))
        .when(~reduce(or_, _doubts(names, numbers)), _other_names(names, request["is_mapped"]))
    )  # fmt: skip
    return fields.select(
        *names,
        "_line",
        "_path",
        unknown.alias("_unknown"),
        F.xxhash64("_line").alias("_hash"),
        F.lit(True).alias("_first"),
    )


def _read_by_nobody(lines: DataFrame, names: Sequence[str]) -> DataFrame:
    """`raw` of lines without their fields, because Spark's reader can be trusted with none."""
    return lines.select(
        *(F.lit(None).cast("string").alias(name) for name in names),
        "_line",
        "_path",
        F.lit(None).cast("array<string>").alias("_unknown"),
        F.xxhash64("_line").alias("_hash"),
        F.lit(True).alias("_first"),
    )


def _written_out(names: Sequence[str], numbers: Collection[str]) -> Column:
    """The line that the project's own producer writes of the fields, as Python spells JSON."""
    pieces: list[Column] = []
    for name in names:
        value = F.col(name)
        if name not in numbers:
            value = F.concat(F.lit('"'), value, F.lit('"'))
        before = ", " if pieces else "{"
        pieces += [F.lit(f'{before}"{name}": '), F.coalesce(value, F.lit("null"))]
    return F.concat(*pieces, F.lit("}"))


def _other_names(names: Sequence[str], is_mapped: bool) -> Column:
    """A line's field names beside `names`; null if it is not one object or has a name twice.

    Mapped records have none, because a mapping chooses among their fields.
    """
    # Spark ignores what follows a value. So the line and a mark are put into one array: if both
    # are found there, nothing follows the line's value.
    mark = secrets.token_hex(8)
    wrapped = F.concat(F.lit("["), "_line", F.lit(f',{{"{mark}":""}}]'))
    read = F.from_json(wrapped, "array<map<string,string>>", STRICT)
    are_two = (F.size(read) == len(("line", "mark"))) & read[1][mark].isNotNull()
    found = F.map_keys(F.when(are_two, read[0]))
    known = F.array(*map(F.lit, names))
    each_once = F.size(F.array_distinct(found)) == F.size(found)
    others = F.array().cast("array<string>") if is_mapped else F.array_except(found, known)
    return F.when(each_once, others)


def _doubts(names: Sequence[str], numbers: Collection[str]) -> Iterator[Column]:
    """Conditions, any of which says that Spark may have misread a line."""
    line = F.col("_line")
    yield F.octet_length(line) > LONGEST_LINE
    # Spark replaces invalid UTF-8, so the line no longer holds the received bytes.
    yield F.decode(line.cast("binary"), "UTF-8") != line
    yield F.length(line) - F.length(F.translate(line, "[{", "")) > DEEPEST
    # Spark reads half a surrogate pair as a question mark.
    yield line.contains("\\ud") | line.contains("\\uD")
    for name in names:
        value = F.col(name)
        if name in numbers:
            doubt = F.length(value) > LONGEST_NUMBER
        else:
            # The comparison is cheap and rules out most texts: they start with a letter. Spark
            # reads a number that is too great as infinity, in quotes.
            is_number = (value < ":") & value.rlike(ODD_NUMBER)
            starts = (value.startswith(mark) for mark in '"[{')
            doubt = reduce(or_, starts, is_number)
        yield F.coalesce(doubt, F.lit(False))


def read_by_python(lines: DataFrame, request: Json) -> DataFrame:
    """`raw` of lines by `lake.fields`; `_unknown` is null where a line is not an object.

    `lines` also has the column `_first`. Computing it fails with JOINED if a line holds several
    objects.
    """
    names = request["source"]
    read = F.udf(
        partial(_fields, request["paths"], request["is_mapped"]),
        "line string, `values` array<string>, unknown array<string>",
    )
    fields = lines.select(read(F.col("_line").cast("binary")).alias("read"), "_path", "_first")
    return fields.select(
        *(F.col("read.values")[n].alias(name) for n, name in enumerate(names)),
        F.col("read.line").alias("_line"),
        "_path",
        F.col("read.unknown").alias("_unknown"),
        F.lit(None).cast("long").alias("_hash"),
        "_first",
    )


def _fields(paths: Sequence[str], is_mapped: bool, data: bytes) -> tuple[str, Any, Any]:
    """A line as quarantine keeps it, its values and its unknown fields."""
    line = one_line(bytes(data).decode("utf-8", "backslashreplace"))
    found = read_fields(line, paths, others=not is_mapped)
    if found is None and is_joined(line):
        raise ValueError(JOINED)
    return (line, *(found or (None, None)))
