"""Parses statements for all engines, and finds the tables that they read."""

import logging
import re

import sqlglot
from sqlglot import exp
from sqlglot.dialects.dialect import DialectType

from event_pipeline.contracts import TABLES, Contract, RollUpContract, SilverContract
from event_pipeline.errors import QueryError, first_line

# SQLGlot would log warnings about statements that this module refuses with a message of its own.
logging.getLogger("sqlglot").setLevel(logging.ERROR)
# Athena's name for the catalog that holds all tables.
CATALOG = "awsdatacatalog"
DEEPEST = "the query is nested too deeply"
REMARK = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
SHOW = re.compile(
    r"SHOW\s+(?:TABLES(?:\s+(?:IN|FROM)\s+(?P<layer>\S+))?|(?P<layers>DATABASES|SCHEMAS))", re.I
)
DESCRIBE = re.compile(r"(?:DESC|DESCRIBE|SHOW\s+COLUMNS\s+(?:IN|FROM))\s+(?P<table>\S+)", re.I)


def described(text: str) -> tuple[list[str], list[tuple[str, ...]]] | None:
    """Column names and rows that answer SHOW or DESCRIBE; None for other statements.

    Raises QueryError if there is no such table.
    """
    statement = REMARK.sub(" ", text).strip().rstrip(";").strip()
    if found := SHOW.fullmatch(statement):
        if found["layers"]:
            return ["database"], [(name,) for name in sorted({t.split(".")[0] for t in TABLES})]
        layer = (found["layer"] or "").strip('"`').lower()
        return ["table"], [(t,) for t in sorted(TABLES) if layer in ("", t.split(".")[0])]
    if found := DESCRIBE.fullmatch(statement):
        columns = table_of(re.sub(r'["`]', "", found["table"]).lower()).columns
        return ["column", "type", "comment"], [(c.name, c.type, c.description) for c in columns]
    return None


def athena_query(text: str, dialect: DialectType = "athena") -> exp.Query:
    """One SELECT in Athena's dialect. Raises QueryError with one clear line."""
    try:
        parsed = [each for each in sqlglot.parse(text, read=dialect) if each]
    except sqlglot.errors.ParseError as error:
        raise QueryError(_syntax(error)) from None
    except sqlglot.errors.SqlglotError as error:
        raise QueryError(first_line(error)) from None
    except RecursionError:
        raise QueryError(DEEPEST) from None
    # A comment after the last semicolon is parsed as a statement of its own.
    parsed = [each for each in parsed if not isinstance(each, exp.Semicolon)]
    if len(parsed) != 1 or not isinstance(parsed[0], exp.Query):
        raise QueryError("one SELECT statement is expected")
    return parsed[0]


def _syntax(error: sqlglot.errors.ParseError) -> str:
    if not error.errors:
        return first_line(error)
    found = error.errors[0]
    what = str(found["description"]).rstrip(".")
    return f"{what} at line {found['line']}, column {found['col']}: {found['highlight']}"


def tables_of(query: exp.Query) -> list[Contract]:
    """The tables that a query reads, sorted by name.

    Also renames each of them in the query to the lake's name for it. Raises QueryError if a table
    does not exist.
    """
    found: dict[str, Contract] = {}
    for table in query.find_all(exp.Table):
        name = ".".join(part.name.lower() for part in table.parts)
        if not isinstance(table.this, exp.Identifier):
            raise QueryError(f"a query reads tables, not {table.this.sql(dialect='athena')}")
        if name in _defined(table):
            continue
        contract = table_of(name)
        found[contract.table] = contract
        database, last = contract.identifier
        table.set("this", exp.to_identifier(last))
        table.set("db", exp.to_identifier(database))
        table.set("catalog", None)
    return [found[name] for name in sorted(found)]


def dates_read(contract: Contract, day: str | None) -> tuple[str, str] | None:
    """The first and the last date that a query about a date (ISO) reads of a table; None for all.

    A table by event date is read for that date alone.
    """
    is_dated = isinstance(contract, SilverContract | RollUpContract)
    return (day, day) if day and is_dated else None


def table_of(name: str) -> Contract:
    """The table that a query calls `name`. Raises QueryError if there is none."""
    contract = TABLES.get(name.removeprefix(f"{CATALOG}."))
    if contract is None:
        raise QueryError(_no_table(name))
    return contract


def _defined(table: exp.Expr) -> set[str]:
    """The names of the query's own CTEs that can be seen where this table stands."""
    names: set[str] = set()
    node: exp.Expr = table
    while above := node.parent:
        defined = above.args.get("with_")
        seen = defined.expressions if defined else []
        if isinstance(node, exp.CTE):
            # A CTE sees those before it, and itself if it is recursive.
            seen = above.expressions[: (node.index or 0) + bool(above.args.get("recursive"))]
            above = above.parent or above
        names.update(each.alias.lower() for each in seen)
        node = above
    return names


def _no_table(name: str) -> str:
    last = name.rpartition(".")[2]
    alike = [table for table in sorted(TABLES) if name.endswith(f"_{table}")] or [
        table for table in sorted(TABLES) if table.rpartition(".")[2] == last
    ]
    choices = ", ".join(alike or sorted(TABLES))
    return f"there is no table {name}; there {'is' if len(alike) == 1 else 'are'}: {choices}"
