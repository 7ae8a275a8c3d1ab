"""Parquet files of a table: their metadata and their rows."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.dataset import dataset
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFileIO, schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField


def metadata_of(io: FileIO, path: str) -> pq.FileMetaData:
    """A Parquet file's metadata. Raises OSError, or ValueError if it is damaged."""
    with io.new_input(path).open() as file:
        return pq.read_metadata(file)


def read_files(
    io: PyArrowFileIO,
    root: str,
    files: Sequence[str],
    schema: Schema,
    *,
    columns: list[str] | None = None,
    rows: int | None = None,
) -> pa.Table:
    """The rows of files of the lake at `root`, in order; `rows` limits how many are read."""
    scheme, netloc, _ = io.parse_location(root)
    paths = [io.parse_location(file)[2] for file in files]
    filesystem = io.fs_by_scheme(scheme, netloc)
    arrow = schema_to_pyarrow(schema, include_field_ids=False)
    data = dataset(paths, schema=arrow, format="parquet", filesystem=filesystem)
    return data.to_table(columns) if rows is None else data.head(rows, columns=columns)


def write_empty(io: FileIO, path: str, columns: Sequence[tuple[str, str]]) -> None:
    """Writes a Parquet file without rows; `columns` are (name, type) pairs."""
    fields = (NestedField(n, *column, required=False) for n, column in enumerate(columns, 1))
    schema = schema_to_pyarrow(Schema(*fields), include_field_ids=False)
    with io.new_output(path).create() as file:
        pq.write_table(schema.empty_table(), file)
