"""Keeps one row of lines, or of keys, that are there more than once.

Repeats are looked for in the written files, which are written again only if there are any.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb

from event_pipeline.engines import PartitionRequest, TransformRequest
from event_pipeline.engines.duckdb.collected import Collected
from event_pipeline.engines.duckdb.lines import (
    column_list,
    content_columns,
    judged,
    lines_of,
    read_exactly,
    read_fast,
)
from event_pipeline.engines.duckdb.session import copy, literals, parquet, scalar


def drop_duplicates(
    connection: duckdb.DuckDBPyConnection,
    request: TransformRequest,
    partition: PartitionRequest,
    rows: Sequence[str],
    collected: Collected,
) -> int:
    """Keeps one row of each set of lines with equal text; returns how many rows are left.

    Equal lines give equal rows. So there is nothing to do if all rows differ. Otherwise lines are
    compared as text, and only those that repeat are parsed again. A row loses as many copies as its
    lines have repeats. Hashes only narrow the search down; equality decides.
    """
    lines = lines_of(collected.files)
    content = content_columns(request)
    row_hash = f"hash({', '.join(content)})"
    table = parquet(rows)
    written = scalar(connection, f"SELECT count(*) FROM {table}")
    if scalar(connection, f"SELECT count(DISTINCT {row_hash}) FROM {table}") == written:
        return written
    connection.execute(
        f"CREATE TEMP TABLE repeated AS SELECT line, '' AS filename, count(*) - 1 AS repeats"
        f" FROM ({lines}) WHERE hash(line) IN"
        f" (SELECT hash(line) FROM ({lines}) GROUP BY hash(line) HAVING count(*) > 1)"
        " GROUP BY line HAVING count(*) > 1"
    )
    read = read_exactly(request, "SELECT line, filename FROM repeated")
    connection.execute(
        f"CREATE TEMP TABLE surplus AS SELECT {', '.join(content)}, sum(repeats) AS repeats"
        f" FROM ({judged(request, partition, read)}) JOIN repeated ON line = _line"
        " WHERE reasons = '' GROUP BY ALL"
    )
    if not scalar(connection, "SELECT count(*) FROM surplus"):
        return written
    same = " AND ".join(f"p.{name} IS NOT DISTINCT FROM s.{name}" for name in content)
    suspect = f"{row_hash} IN (SELECT {row_hash} FROM surplus)"
    names = column_list(request)
    return _replace(
        connection,
        rows,
        f"SELECT {names} FROM {table} WHERE NOT {suspect} UNION ALL SELECT {names} FROM"
        f" (SELECT p.*, row_number() OVER (PARTITION BY {', '.join(f'p.{n}' for n in content)})"
        f" AS copy, s.repeats FROM (SELECT * FROM {table} WHERE {suspect}) AS p"
        f" LEFT JOIN surplus AS s ON {same}) WHERE copy > coalesce(repeats, 0)",
    )


def drop_conflicts(
    connection: duckdb.DuckDBPyConnection,
    request: TransformRequest,
    partition: PartitionRequest,
    rows: Sequence[str],
    collected: Collected,
) -> int:
    """Keeps one row of each key; returns how many rows are left.

    Rows that are equal in every column are one row and its duplicates. Of different rows with the
    same key, the latest is kept, then the one with the greatest content, column by column. The
    others go to quarantine.
    """
    key = ", ".join(f'"{name}"' for name in request.key)
    content = content_columns(request)
    table, names = parquet(rows), column_list(request)
    repeated = f"SELECT {key} FROM {table} GROUP BY {key} HAVING count(*) > 1"
    if not scalar(connection, f"SELECT count(*) FROM ({repeated})"):
        return scalar(connection, f"SELECT count(*) FROM {table}")
    greatest = ", ".join(f"{name} DESC NULLS LAST" for name in (f'"{request.latest}"', *content))
    aside = f"SELECT line, filename FROM {parquet([collected.aside.path])}"
    accepted = " UNION ALL ".join(
        f"SELECT * FROM ({judged(request, partition, raw)}) WHERE reasons = ''"
        for raw in (read_fast(request, lines_of(collected.files)), read_exactly(request, aside))
    )
    files = literals([file.path for file in collected.files])
    connection.execute(
        "CREATE TEMP TABLE ranked AS SELECT *,"
        f" row_number() OVER (PARTITION BY {key} ORDER BY {greatest}) AS place"
        # Of equal rows, every run must quarantine the same line, wherever the files lie.
        f" FROM (SELECT *, row_number() OVER (PARTITION BY {', '.join(content)}"
        f" ORDER BY _line, list_position([{files}], _source)) AS copy"
        f" FROM ({accepted}) WHERE ({key}) IN ({repeated})) WHERE copy = 1"
    )
    connection.execute(
        "SELECT count(quarantine(_source, _line, 'conflict')) FROM ranked WHERE place > 1"
    )
    return _replace(
        connection,
        rows,
        f"SELECT {names} FROM {table} WHERE ({key}) NOT IN (SELECT {key} FROM ranked)"
        f" UNION ALL SELECT {names} FROM ranked WHERE place = 1",
    )


def _replace(connection: duckdb.DuckDBPyConnection, rows: Sequence[str], query: str) -> int:
    """Replaces files by one with the query's rows; returns how many rows it has."""
    folder = Path(rows[0]).parent
    kept = copy(connection, query, f"{folder}/distinct.parquet")
    for path in rows:
        Path(path).unlink()
    return kept
