"""The lines that a statement refuses, written as they pass by."""

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from event_pipeline.engines import PartitionRequest, TransformRequest
from event_pipeline.engines.duckdb.lines import BronzeFile


class Quarantine:
    """Writes the lines that the statement refuses, as they pass through the stream."""

    SCHEMA = pa.schema(
        [("reasons", pa.string()), ("line", pa.string()), ("source_object", pa.string())]
    )

    def __init__(
        self, partition: PartitionRequest, request: TransformRequest, files: Sequence[BronzeFile]
    ) -> None:
        kind = dict(request.columns)[request.partition_column]
        self.path = f"{partition.quarantine_prefix}/lines.parquet"
        self.rows = 0
        self.reasons: Counter[str] = Counter()
        self._keys = {file.path: file.key for file in files}
        value_type = pa.timestamp("us") if kind == "timestamp" else pa.date32()
        self._value = pa.scalar(partition.value).cast(value_type)
        self._writer = pq.ParquetWriter(
            self.path,
            self.SCHEMA.append(pa.field(request.partition_column, value_type)),
            compression="zstd",
        )
        # The engine's threads call `take` as they come.
        self._lock = threading.Lock()

    def __enter__(self) -> "Quarantine":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def add(self, key: str, reason: str, line: str) -> None:
        """Quarantines one line of the object with this key."""
        self._write([key], [reason], [line])

    def take(self, sources: pa.Array, lines: pa.Array, reasons: pa.Array) -> pa.Array:
        """Quarantines lines of files; false for each, which takes it out of the stream."""
        keys = [self._keys[path] for path in sources.to_pylist()]
        self._write(keys, reasons.to_pylist(), lines)
        return pa.repeat(pa.scalar(False), len(keys))

    def _write(self, keys: list[str], reasons: list[str], lines: Any) -> None:
        value = pa.repeat(self._value, len(keys))
        columns = [pa.array(reasons), pa.array(lines, pa.string()), pa.array(keys), value]
        with self._lock:
            self._writer.write_table(pa.table(columns, schema=self._writer.schema))
            self.rows += len(keys)
            self.reasons.update(reason for each in reasons for reason in each.split(","))
