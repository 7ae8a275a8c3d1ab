"""The files and queries that read Bronze objects as lines and judge the lines as rows.

There are two readers. DuckDB's own JSON reader is fast, and is trusted only with lines that it
cannot read differently from `lake.fields`. All other lines, and all refused ones, are read again by
`lake.fields` itself.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache

from sqlglot import exp

from event_pipeline.contracts.carrying import carry_columns
from event_pipeline.engines import PartitionRequest, TransformRequest
from event_pipeline.engines.duckdb.session import literal, literals
from event_pipeline.jobs import ODD_NUMBER
from event_pipeline.lake.spelling import Spelling, make_readable
from event_pipeline.lake.text import LONGEST_LINE, Unreadable
from event_pipeline.scratch import plain_path

# The reader's delimiter. No JSON text holds this raw byte, so a line is one field. If an object
# does hold it, the objects are copied without it.
NOT_IN_JSON = "chr(1)"
# A line that is cut off, or plain text, shows that at its ends. After an error within TRY, DuckDB
# evaluates a whole vector again, row by row, so most lines with an error must not come so far.
MAYBE_JSON = (
    "(starts_with(line, '{') OR line[1] <= ' ') AND (ends_with(line, '}') OR line[-1] <= ' ')"
)
# Nearly every line begins with its brace, and looking for that is far cheaper than trimming.
NOT_BLANK = "starts_with(line, '{') OR trim(line, ' ' || chr(9)) <> ''"
# A line that is longer than `max_line_size` fails the query. The objects are then copied with such
# lines cut.
LINE_READER = (
    "read_csv([{files}], delim={delim}, header=false, quote='', escape='', auto_detect=false,"
    # Without it, the reader takes a delimiter at the end of a line for an empty field and drops it.
    " nullstr=chr(10), max_line_size=2100000,"
    " columns={{'line': 'VARCHAR'}}, filename=true, compression={compression})"
)
# Lines that DuckDB's JSON reader would misread, or accept although they are not JSON: anything
# nested, a comma before the closing brace, NaN and Infinity.
ODD_LINE = r"^[^{]|.[{\[]|,[ \t]*\}|:[ \t]*-?(n[^u]|[NiI])"
# Columns that travel through a statement beside its own: the line, its file, and the names of its
# unknown fields, which are null if the fields could not be read for sure.
CARRIED = ("_line", "_source", "_unknown")


@dataclass(frozen=True)
class BronzeFile:
    """A file that DuckDB's line reader can read, and the key of the Bronze object in it."""

    path: str
    key: str
    compression: str


def readable(
    request: TransformRequest, partition: PartitionRequest, copied: AbstractSet[str], scratch: str
) -> tuple[list[BronzeFile], int, dict[str, str]]:
    """Makes a partition's objects readable for DuckDB's line reader.

    It copies the objects whose keys are in `copied`, record by record, into the folder `scratch`.
    Returns the files to read, the number of records in the copies, and the errors of objects that
    cannot be read, by key.
    """
    files: list[BronzeFile] = []
    records = 0
    unreadable: dict[str, str] = {}
    for n, source in enumerate(partition.sources):
        if source.key not in copied:
            compression = source.spelling.compression
            files.append(BronzeFile(plain_path(source.uri), source.key, compression))
            continue
        copy = f"{scratch}/{n}.jsonl.gz"
        try:
            records += make_readable(source.uri, copy, source.spelling, request.each)
        except Unreadable as error:
            unreadable[source.key] = str(error)
        else:
            files.append(BronzeFile(copy, source.key, "gzip"))
    return files, records, unreadable


def is_readable_in_place(spelling: Spelling) -> bool:
    """Whether the line reader can read an object of this spelling without a copy."""
    return spelling.form == "lines"


def lines_of(files: Sequence[BronzeFile]) -> str:
    """A query for the lines of files, including blank ones: `line` and `filename`."""
    readers = [
        LINE_READER.format(
            files=literals([file.path for file in files if file.compression == compression]),
            delim=NOT_IN_JSON,
            compression=literal(compression or "none"),
        )
        for compression in sorted({file.compression for file in files})
    ]
    if not readers:
        return "SELECT CAST(NULL AS VARCHAR) AS line, CAST(NULL AS VARCHAR) AS filename LIMIT 0"
    return " UNION ALL ".join(f"SELECT line, filename FROM {reader}" for reader in readers)


def read_fast(request: TransformRequest, lines: str) -> str:
    """A query for `raw`, by DuckDB's own reader; `_unknown` is null if it is not to be trusted."""
    if request.is_nested:
        fields = ", ".join(f'CAST(NULL AS VARCHAR) AS "{name}"' for name in request.source)
        unread = "CAST(NULL AS VARCHAR[]) AS _unknown"
        return (
            f"SELECT {fields}, line AS _line, filename AS _source, {unread} FROM ({lines})"
            f" WHERE {NOT_BLANK}"
        )
    fields = ", ".join(f'"{name}": "VARCHAR"' for name in request.source)
    known = literals(request.source)
    others = f"list_filter(json_keys(line), lambda name: name NOT IN ({known}))"
    if request.is_mapped:
        others = "[]::VARCHAR[]"
    texts = [f'fields."{name}"' for name in request.source if name not in request.numbers]
    doubtful = " OR ".join(
        # The comparison is cheap and rules out most texts: they start with a letter.
        f"({text} < ':' AND regexp_matches({text}, {literal(ODD_NUMBER)}))"
        for text in texts
    )
    return (
        "SELECT fields.*, line AS _line, filename AS _source, CASE"
        f" WHEN strlen(line) > {LONGEST_LINE} THEN CAST(error('a line is too long') AS VARCHAR[])"
        # A line that equals its own fields written out again has no other field, and none twice.
        f" WHEN line = {_as_written(request)} THEN []::VARCHAR[]"
        f" WHEN fields IS NULL OR regexp_matches(line, {literal(ODD_LINE)}) OR {doubtful or False}"
        " OR len(list_distinct(json_keys(line))) < len(json_keys(line)) THEN NULL"
        f" ELSE {others} END AS _unknown"
        f" FROM (SELECT TRY(from_json(CASE WHEN {MAYBE_JSON} THEN line END, '{{{fields}}}'))"
        " AS fields, line, filename"
        f" FROM ({lines}))"
    )


def _as_written(request: TransformRequest) -> str:
    """An expression for the line that the project's own producer writes, as Python spells JSON."""
    pieces, constant = [], "{"
    for name in request.source:
        value, quoted = f'fields."{name}"', name not in request.numbers
        constant += f'"{name}": '
        if quoted and name in request.required:
            # `concat` leaves a missing value out, so the result does not equal the line.
            pieces += [literal(constant + '"'), value]
            constant = '", '
        else:
            text = f"'\"' || {value} || '\"'" if quoted else value
            pieces += [literal(constant), f"coalesce({text}, 'null')"]
            constant = ", "
    pieces.append(literal(constant.removesuffix(", ") + "}"))
    return f"concat({', '.join(pieces)})"


def read_exactly(request: TransformRequest, lines: str) -> str:
    """A query for `raw`, by `read_fields`; `_unknown` is null if a line is not an object."""
    fields = ", ".join(
        f'read."values"[{n}] AS "{name}"' for n, name in enumerate(request.source, 1)
    )
    return (
        f"SELECT {fields}, line AS _line, filename AS _source, read.unknown AS _unknown"
        f" FROM (SELECT read_fields(line) AS read, line, filename FROM ({lines}) WHERE {NOT_BLANK})"
    )


def judged(request: TransformRequest, partition: PartitionRequest, raw: str) -> str:
    """The statement over a query for `raw`: the table's columns, CARRIED and `reasons`.

    `reasons` is empty for an accepted line.
    """
    typed = ", ".join(
        f'CAST({literal(partition.value)} AS {kind}) AS "{name}"'
        if name == request.partition_column
        else f'CAST("{name}" AS {kind}) AS "{name}"'
        for name, kind in request.columns
    )
    return (
        f"WITH raw AS ({raw}) SELECT {typed}, {', '.join(CARRIED)},"
        " CASE WHEN _unknown IS NULL THEN 'malformed_json' ELSE reasons END AS reasons"
        f" FROM ({_in_duckdb(request.statement)})"
    )


# To translate a statement takes longer than to run it over a small hour.
@cache
def _in_duckdb(statement: str) -> str:
    """A statement in DuckDB's SQL, which passes CARRIED on."""
    return carry_columns(statement, CARRIED).transform(_utc).sql(dialect="duckdb")


def _utc(node: exp.Expr) -> exp.Expr:
    """Converts an instant to a UTC timestamp, without the calendar that only other zones need."""
    if isinstance(node, exp.Anonymous) and node.name.lower() == "timestamp_micros":
        return exp.func("make_timestamp", *node.expressions)
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
