"""Bronze objects as lines, and lines as judged rows: the files and the queries."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import sqlglot
from sqlglot import exp

from event_pipeline.engines import PartitionRequest, TransformRequest
from event_pipeline.engines.duckdb.session import literal, literals
from event_pipeline.errors import QueryError
from event_pipeline.lake.text import Unreadable, make_readable

# No JSON text holds this raw byte, so a line is one field; an object that has it is made readable.
NOT_IN_JSON = "chr(1)"
# Nearly every line begins with its brace, which is far cheaper to see than blanks are to trim.
NOT_BLANK = "starts_with(line, '{') OR trim(line, ' ' || chr(9)) <> ''"
IS_OBJECT = "starts_with(line, '{') OR starts_with(ltrim(line, ' ' || chr(9)), '{')"
# A longer line than the reader's buffer of 2 MB fails its object, which is then made readable.
LINE_READER = (
    "read_csv([{files}], delim={delim}, header=false, quote='', escape='', auto_detect=false,"
    # Else a delimiter at the end of a line is a field without value to the reader, and dropped.
    " nullstr=chr(10),"
    " columns={{'line': 'VARCHAR'}}, filename=true, compression={compression})"
)


@dataclass(frozen=True)
class BronzeFile:
    """A file that the reader takes, and the Bronze object that it holds."""

    path: str
    key: str
    gzipped: bool


def readable(
    partition: PartitionRequest, copied: AbstractSet[str], scratch: str
) -> tuple[list[BronzeFile], dict[str, str]]:
    """Files that the reader takes, and by object key the errors of those that it never will.

    Objects in `copied` are copied line by line, as the reader cannot take them as they lie.
    """
    files: list[BronzeFile] = []
    unreadable: dict[str, str] = {}
    for n, source in enumerate(partition.sources):
        if source.key not in copied:
            files.append(BronzeFile(source.uri, source.key, source.gzipped))
            continue
        copy = f"{scratch}/{n}.jsonl.gz"
        try:
            make_readable(source.uri, copy, gzipped=source.gzipped, array=source.array)
        except Unreadable as error:
            unreadable[source.key] = str(error)
        else:
            files.append(BronzeFile(copy, source.key, gzipped=True))
    return files, unreadable


def lines_of(files: Sequence[BronzeFile]) -> str:
    """A query of the non-blank lines of files; of no files, no lines."""
    readers = [
        LINE_READER.format(
            files=literals([file.path for file in files if file.gzipped == gzipped]),
            delim=NOT_IN_JSON,
            compression="'gzip'" if gzipped else "'none'",
        )
        for gzipped in sorted({file.gzipped for file in files})
    ]
    if not readers:
        return "SELECT CAST(NULL AS VARCHAR) AS line, CAST(NULL AS VARCHAR) AS filename LIMIT 0"
    return " UNION ALL ".join(
        f"SELECT line, filename FROM {reader} WHERE {NOT_BLANK}" for reader in readers
    )


def judged(request: TransformRequest, partition: PartitionRequest, lines: str) -> str:
    """The statement over `lines`, a query: the table's columns, `reasons`, `line`, `source`.

    Lines that are not one JSON object never reach the statement's rules.
    """
    fields = ", ".join(f'"{name}": "VARCHAR"' for name in request.source)
    raw = (
        f"SELECT fields.*, fields IS NOT NULL AND ({IS_OBJECT}) AS is_object,"
        " line AS _line, filename AS _source"
        f" FROM (SELECT TRY(from_json(line, '{{{fields}}}')) AS fields, line, filename"
        f" FROM ({lines}))"
    )
    statement = sqlglot.parse_one(request.statement, read="spark")
    if not isinstance(statement, exp.Select):
        raise QueryError(f"{request.dataset}: the statement is not one SELECT")
    for select in statement.find_all(exp.Select):
        # The line and its origin travel beside the statement's own columns.
        if not any(isinstance(e, exp.Star) for e in select.expressions):
            select.select("_line", "_source", "is_object", copy=False)
    typed = ", ".join(
        f'CAST({literal(partition.value)} AS {kind}) AS "{name}"'
        if name == request.partition_column
        else f'CAST("{name}" AS {kind}) AS "{name}"'
        for name, kind in request.columns
    )
    return (
        f"WITH raw AS ({raw}) SELECT {typed}, _line AS line, _source AS source,"
        " CASE WHEN is_object THEN reasons ELSE 'malformed_json' END AS reasons"
        f" FROM ({statement.transform(_utc).sql(dialect='duckdb')})"
    )


def _utc(node: exp.Expr) -> exp.Expr:
    """Instant to UTC timestamp without the calendar that DuckDB asks for other zones."""
    if (
        isinstance(node, exp.Cast)
        and node.is_type("timestamp_ntz")
        and isinstance(node.this, exp.Cast)
    ):
        return exp.func("make_timestamp", exp.func("epoch_us", node.this))
    return node


def content_columns(request: TransformRequest) -> list[str]:
    """The columns that tell rows apart, quoted: all but the partition's."""
    return [f'"{name}"' for name, _ in request.columns if name != request.partition_column]


def column_list(request: TransformRequest) -> str:
    """The table's columns, quoted, in order."""
    return ", ".join(f'"{name}"' for name, _ in request.columns)
