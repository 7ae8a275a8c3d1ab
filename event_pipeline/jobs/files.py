"""Files under Spark: how their paths are spelled, and writing, joining and deleting them."""

import re
from collections.abc import Sequence
from contextlib import closing
from typing import Any
from urllib.parse import unquote

from pyspark.sql import DataFrame, SparkSession


def plain_path(uri: str) -> str:
    """A file's path as requests spell it. Spark writes file:///a%20b, in places file:/a b."""
    if uri.startswith("file:///"):
        return unquote(uri.removeprefix("file://"))
    return uri.removeprefix("file:") if uri.startswith("file:") else unquote(uri)


def literal_path(path: str) -> str:
    """A path for Spark's readers, which take some characters for patterns unless escaped."""
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", path)


def write_parquet(spark: SparkSession, frame: DataFrame, prefix: str, files: int) -> DataFrame:
    """Adds a frame to a folder as at most `files` files, at least one; returns the whole folder."""
    frame.coalesce(max(1, files)).write.mode("append").parquet(prefix)
    return read_parquet(spark, frame, prefix)


def read_parquet(spark: SparkSession, like: DataFrame, prefix: str) -> DataFrame:
    """The rows of a folder's files, with the schema of another frame."""
    return spark.read.schema(like.schema).parquet(literal_path(prefix))


def join_parquet(
    spark: SparkSession, files: Sequence[str], to: str, columns: Sequence[str]
) -> None:
    """Joins some columns of Parquet files into one file, by copying bytes without decoding them."""
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


def delete(spark: SparkSession, folder: str) -> None:
    """Deletes a folder with all that is in it, if it is there."""
    jvm, conf = _java(spark)
    path, recursively = jvm.org.apache.hadoop.fs.Path(folder), True
    path.getFileSystem(conf).delete(path, recursively)


def _java(spark: SparkSession) -> tuple[Any, Any]:
    """Spark's JVM, and its Hadoop configuration."""
    return spark.sparkContext._jvm, spark.sparkContext._jsc.hadoopConfiguration()
