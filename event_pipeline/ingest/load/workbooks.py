"""Files whose values have types: Parquet and workbooks (xlsx, xls, ods), each value as its text."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from event_pipeline.errors import LoadError, first_line
from event_pipeline.ingest.load.reading import BATCH, ReadSummary, Spelling, texts, unique_names

if TYPE_CHECKING:
    import pyarrow as pa

NESTED = ("STRUCT", "MAP", "UNION", "JSON", "VARIANT")
EVERY_SHEET = "*"
# A double holds whole numbers below it with all their digits.
EXACT = 1e15


def parquet_batches(
    path: Path, name: str, scratch: Path, found: ReadSummary
) -> Iterator["pa.Table"]:
    """A Parquet file's rows: numbers in their digits, times as ISO texts, nested values as JSON."""
    import duckdb
    import pyarrow as pa

    # DuckDB takes a path for a pattern, and a folder called x=y for a column. This link is neither.
    link = scratch / f"parquet-{sum(1 for _ in scratch.glob('parquet-*'))}"
    link.symlink_to(path.absolute())
    source = f"read_parquet('{link}', hive_partitioning=false, binary_as_string=true)"
    try:
        with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection:
            connection.execute("SET TimeZone='UTC'")
            described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
            columns = [(_quoted(column), str(kind)) for column, kind, *_ in described]
            odd = " + ".join(
                f"coalesce(CAST(NOT isfinite({column}) AS INT), 0)"
                for column, kind in columns
                if kind in ("FLOAT", "DOUBLE")
            )
            selected = ", ".join(f"{_text(*each)} AS {each[0]}" for each in columns)
            reader = connection.sql(
                f"SELECT {selected}, {odd or 0} AS odd FROM {source}"
            ).to_arrow_reader(BATCH)
            names = unique_names([str(column) for column, *_ in described])
            yield texts({each: [] for each in names})
            for batch in reader:
                found.nulls += sum(batch.column("odd").to_pylist()) if odd else 0
                yield pa.Table.from_arrays(
                    [each.cast(pa.string()) for each in batch.columns[:-1]], names
                )
    except duckdb.Error as error:
        raise LoadError(f"{name}: {first_line(error)}") from None


def _text(column: str, kind: str) -> str:
    if kind.startswith(NESTED) or kind.endswith("]"):
        return f"CAST(to_json({column}) AS VARCHAR)"
    text = f"CAST({column} AS VARCHAR)"
    return f"CASE WHEN isfinite({column}) THEN {text} END" if kind in ("FLOAT", "DOUBLE") else text


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def sheet_batches(
    path: Path, name: str, spelling: Spelling, found: ReadSummary
) -> Iterator["pa.Table"]:
    """Yields the rows of a workbook's first sheet, or of the sheets that the spelling names.

    The first row with values in more than half of its cells is the header. A whole sheet is in
    memory: it has a million rows at most.
    """
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        book = CalamineWorkbook.from_path(str(path))
        for sheet in _sheets(book.sheet_names, name, spelling, found):
            rows = book.get_sheet_by_name(sheet).to_python(skip_empty_area=True)
            yield from _sheet(rows, f"{name}, sheet {sheet}", spelling, found)
    except CalamineError as error:
        raise LoadError(f"{name}: not a readable workbook: {first_line(error)}") from None


def _sheets(
    there: Sequence[str], name: str, spelling: Spelling, found: ReadSummary
) -> Sequence[str]:
    if spelling.sheet == EVERY_SHEET:
        return there
    if spelling.sheet is None:
        if len(there) > 1:
            others = ", ".join(there[1:])
            found.notes.append(
                f"{name}: only the first sheet, {there[0]}, is read; there are also {others}: give"
                " --sheet NAME, or --sheet '*' for all"
            )
        return there[:1]
    if spelling.sheet not in there:
        raise LoadError(f"{name}: has no sheet {spelling.sheet}; there are: {', '.join(there)}")
    return [spelling.sheet]


def _sheet(
    rows: list[list[Any]], name: str, spelling: Spelling, found: ReadSummary
) -> Iterator["pa.Table"]:
    cells = ([_cell(value) for value in row] for row in rows)
    rest = (row for row in islice(cells, spelling.skip or 0, None) if any(row))
    if spelling.header:
        above, header = 0, next(rest, None)
        # A title fills a cell or two, the header many.
        while spelling.skip is None and header and sum(map(bool, header)) <= len(header) // 2:
            above, header = above + 1, next(rest, None)
        if above:
            found.notes.append(
                f"{name}: {above} rows above the header are not read; to read them: --skip 0"
            )
        if header is None:
            return
        names = unique_names([each or "" for each in header])
    else:
        names = unique_names([""] * max(map(len, rows), default=0))
    yield texts({each: [] for each in names})
    while batch := list(islice(rest, BATCH)):
        columns = zip(*batch, strict=True)
        yield texts(dict(zip(names, columns, strict=True)))


def _cell(value: Any) -> str | None:
    """A cell as text: whole numbers without a point, times in ISO 8601."""
    match value:
        case "" | None:
            return None
        case bool():
            return "true" if value else "false"
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < EXACT else repr(value)
        case datetime():
            return value.isoformat(sep=" ")
        case date() | time():
            return value.isoformat()
    return str(value)
