"""Functions that the engine's SQL calls to take lines out of the stream, or to note them."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from duckdb.func import FunctionNullHandling, PythonUDFType

from event_pipeline.engines import PartitionRequest, TransformRequest
from event_pipeline.engines.duckdb.lines import BronzeFile
from event_pipeline.jobs import QUARANTINE, SKIPPED
from event_pipeline.lake.fields import read_fields
from event_pipeline.lake.text import is_joined

# A row group of a line file is about so large, and made of at most so many pieces.
ROW_GROUP_BYTES = 16 << 20
MAX_KEPT = 10_000


def register_reader(connection: duckdb.DuckDBPyConnection, request: TransformRequest) -> None:
    """Registers `read_fields(line)` for SQL, which reads the request's fields of a line.

    It returns a struct of `values` and `unknown`, or null if the line is not one JSON object. It
    fails if the line holds several objects.
    """
    kind = pa.struct([("values", pa.list_(pa.string())), ("unknown", pa.list_(pa.string()))])

    def read(lines: pa.Array) -> pa.Array:
        texts = lines.to_pylist()
        others = not request.is_mapped
        found = [read_fields(line, request.paths, others=others) for line in texts]
        for line, fields in zip(texts, found, strict=True):
            if fields is None and is_joined(line):
                raise ValueError("a line holds several objects")  # the engine retries on copies
        return pa.array([fields and fields._asdict() for fields in found], kind)

    returned = 'STRUCT("values" VARCHAR[], unknown VARCHAR[])'
    _register(connection, "read_fields", read, ["VARCHAR"], returned, side_effects=False)


def _register(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    function: Callable[..., pa.Array],
    parameters: list[str],
    returned: str,
    *,
    side_effects: bool,
) -> None:
    connection.create_function(
        name,
        function,
        list[Any](parameters),
        returned,
        type=PythonUDFType.ARROW,
        null_handling=FunctionNullHandling.SPECIAL,
        side_effects=side_effects,
    )


class LineFile:
    """A Parquet file of lines, to which several threads of the engine may write.

    Lines come a few at a time. They are kept until there are enough for a row group, as many small
    ones would cost more than all else.
    """

    def __init__(self, path: str, schema: pa.Schema) -> None:
        self.path = path
        self.rows = 0
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._lock = threading.Lock()
        self._kept: list[pa.Table] = []
        self._kept_bytes = 0

    def write(self, columns: list[Any]) -> None:
        """Adds rows, given as one array or list for each column."""
        table = pa.table(columns, schema=self._writer.schema)
        with self._lock:
            self._kept.append(table)
            self._kept_bytes += table.nbytes
            self.rows += table.num_rows
            if self._kept_bytes > ROW_GROUP_BYTES or len(self._kept) > MAX_KEPT:
                self._flush()

    def close(self) -> None:
        """Ends the file. A second call does nothing."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._kept:
            self._writer.write_table(pa.concat_tables(self._kept).combine_chunks())
            self._kept, self._kept_bytes = [], 0


class Collected:
    """Collects lines set aside for a second reading, refused lines, and names of unknown fields.

    `reasons` counts refused lines by reason, `unknown` lines by unknown field, and `skipped` the
    lines that a mapping leaves out.
    """

    ASIDE = pa.schema([("line", pa.string()), ("filename", pa.string())])

    def __init__(
        self,
        partition: PartitionRequest,
        request: TransformRequest,
        files: Sequence[BronzeFile],
        scratch: str,
    ) -> None:
        kind = dict(request.columns)[request.partition_column]
        value_type = pa.timestamp("us") if kind == "timestamp" else pa.date32()
        self.aside = LineFile(f"{scratch}/aside.parquet", self.ASIDE)
        self.quarantine = LineFile(
            f"{partition.quarantine_prefix}/lines.parquet",
            pa.schema([(name, pa.string()) for name in QUARANTINE]).append(
                pa.field(request.partition_column, value_type)
            ),
        )
        self.reasons: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.files = files
        self.skipped = 0
        self._request = request
        self._keys = {file.path: file.key for file in files}
        self._value = pa.scalar(partition.value).cast(value_type)
        self._lock = threading.Lock()

    def __enter__(self) -> "Collected":
        return self

    def __exit__(self, *_: object) -> None:
        self.aside.close()
        self.quarantine.close()

    def register(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Registers the functions for SQL. Those that collect return whether a line stays."""
        text, names = "VARCHAR", "VARCHAR[]"
        register_reader(connection, self._request)
        functions = (
            ("set_aside", self._set_aside, [text, text]),
            ("quarantine", self._quarantine, [text, text, text]),
            ("notice", self._notice, [names]),
        )
        for name, function, parameters in functions:
            _register(connection, name, function, parameters, "BOOLEAN", side_effects=True)

    def add(self, key: str, reason: str, line: str) -> None:
        """Quarantines one line of the object with this key."""
        self._refuse([key], [reason], [line])

    def _set_aside(self, files: pa.Array, lines: pa.Array) -> pa.Array:
        """Keeps lines for a second reading. Returns false for each, so it leaves the stream."""
        self.aside.write([lines, files])
        return pa.repeat(pa.scalar(False), len(lines))

    def _quarantine(self, files: pa.Array, lines: pa.Array, reasons: pa.Array) -> pa.Array:
        """Quarantines lines. Returns false for each, so that it leaves the stream.

        Lines that a mapping leaves out are only counted.
        """
        is_refused = pc.not_equal(reasons, SKIPPED)
        files, refused = files.filter(is_refused), reasons.filter(is_refused)
        with self._lock:
            self.skipped += len(lines) - len(refused)
        if len(refused):
            keys = [self._keys[path] for path in files.to_pylist()]
            self._refuse(keys, refused.to_pylist(), lines.filter(is_refused))
        return pa.repeat(pa.scalar(False), len(lines))

    def _notice(self, names: pa.Array) -> pa.Array:
        """Counts unknown fields. Returns true for each line, so that it stays in the stream."""
        counts = pc.value_counts(pc.list_flatten(names)).to_pylist()
        with self._lock:
            self.unknown.update({each["values"]: each["counts"] for each in counts})
        return pa.repeat(pa.scalar(True), len(names))

    def _refuse(self, keys: list[str], reasons: list[str], lines: Any) -> None:
        value = pa.repeat(self._value, len(keys))
        self.quarantine.write([reasons, lines, keys, value])
        with self._lock:
            self.reasons.update(reason for each in reasons for reason in each.split(","))
