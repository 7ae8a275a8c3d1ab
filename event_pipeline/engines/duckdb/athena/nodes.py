"""Helpers that make parts of a rewritten query, write it for DuckDB, and add its macros."""

import re
from functools import cache
from importlib.resources import files

import duckdb
from sqlglot import exp
from sqlglot.errors import ErrorLevel, UnsupportedError

from event_pipeline.errors import QueryError

Node = exp.Expr
WRITTEN = "written"  # in the meta of nodes that come from the query itself

MACRO = re.compile(r"^CREATE MACRO athena\.(\w+)\b.*?;$", re.DOTALL | re.MULTILINE)
USED = re.compile(r"\bathena\.(\w+)\(")


def call(name: str, *arguments: Node) -> exp.Anonymous:
    """A call of a function of DuckDB."""
    return exp.Anonymous(this=name, expressions=list(arguments))


def macro(name: str, *arguments: Node) -> exp.Anonymous:
    """A call of a macro."""
    return call(f"athena.{name}", *arguments)


def cast(node: Node, kind: str) -> exp.Cast:
    """A cast as DuckDB does it."""
    return exp.Cast(this=node, to=exp.DataType.build(kind, dialect="duckdb"))


def text(value: str) -> exp.Literal:
    """A text as a literal."""
    return exp.Literal.string(value)


def number(value: int) -> Node:
    """A whole number as a literal."""
    return exp.Literal.number(value)


def names(listed: str) -> frozenset[str]:
    """The names in a text, split at its blanks."""
    return frozenset(listed.split())


def grouped(node: Node) -> Node:
    """The node, in parentheses if it needs them beside an operator."""
    return exp.paren(node, copy=False) if isinstance(node, exp.Binary | exp.Unary) else node


def outermost(node: Node) -> Node:
    """An aggregate with its filter and window, or the node itself."""
    while isinstance(node.parent, exp.Filter | exp.Window) and node.arg_key == "this":
        node = node.parent
    return node


def excerpt(node: Node, most: int = 60) -> str:
    """How a node is written in Athena's SQL, or the beginning of it."""
    written = node.sql(dialect="athena", comments=False)
    return written if len(written) <= most else f"{written[:most]}..."


def duckdb_sql(query: Node) -> str:
    """The query's text for DuckDB. Raises QueryError for what DuckDB cannot express."""
    try:
        return query.sql(
            dialect="duckdb",
            normalize_functions=False,
            unsupported_level=ErrorLevel.RAISE,
            comments=False,
        )
    except UnsupportedError as error:
        raise QueryError(f"not understood on target local: {error}") from None


@cache
def macros() -> dict[str, str]:
    """The macros by name, each after those that it calls."""
    statements = (files("event_pipeline") / "sql" / "athena" / "functions.sql").read_text()
    return {found[1]: found[0] for found in MACRO.finditer(statements)}


def add_macros(connection: duckdb.DuckDBPyConnection, sql: str, there: set[str]) -> None:
    """Makes the macros that a statement calls and that are not `there`; adds them to `there`."""
    needed: set[str] = set()
    left = set(USED.findall(sql)) & macros().keys()
    while left:
        needed |= left
        left = {name for each in left for name in USED.findall(macros()[each])} - needed
    if needed:
        connection.execute("CREATE SCHEMA IF NOT EXISTS athena")
    # In the file's order, since a macro is made after those that it calls.
    for name, statement in macros().items():
        if name in needed - there:
            connection.execute(statement)
            there.add(name)
