"""The SQL that a query may use: what means the same in Athena and DuckDB, or is rewritten.

DuckDB understands much more than Athena. Anything that is not listed here is refused.
"""

from typing import Any

from sqlglot import exp
from sqlglot.dialects.trino import Trino

from event_pipeline.engines.duckdb.athena.nodes import Node, cast, excerpt, names
from event_pipeline.errors import QueryError

# Nodes of a parsed query that are allowed with any parts.
WHOLE = names("""
    Add Alias All And Anonymous Any AtTimeZone Boolean CTE Case Column ColumnDef Cube CurrentDate
    CurrentTimestamp DPipe DataType DataTypeParam Div Dot EQ Escape Exists Extract Filter From GT
    GTE GroupingSets Having Identifier If IgnoreNulls Interval Is LT LTE Lambda Literal
    Localtimestamp Mod Mul NEQ Neg Not Null NullSafeEQ NullSafeNEQ Offset Or Order Paren
    RespectNulls Rollup StrPosition Sub Substring TableAlias Trim Tuple UnicodeString Var Where
    Window WindowSpec
    """)
SETS = "with_ this expression distinct order limit offset"
# Nodes that are allowed with these parts only: Athena or DuckDB does not understand the others.
IN_PART = {
    "Array": "expressions",
    "Between": "this low high",
    "Bracket": "this expressions",
    "Cast": "this to",
    "Distinct": "expressions",
    "Except": SETS,
    "Fetch": "direction count limit_options",
    "Group": "expressions grouping_sets cube rollup",
    "GroupConcat": "this separator",
    "In": "this expressions query",
    "Intersect": SETS,
    "Join": "this on side kind using method",
    "Lateral": "this alias",
    "Like": "this expression negate",
    "Limit": "expression",
    "LimitOptions": "rows",
    "Ordered": "this desc nulls_first",
    "Select": (
        "with_ expressions distinct from_ joins where group having windows order limit offset"
    ),
    "Star": "",
    "Subquery": "this alias with_ order limit offset",
    "Table": "this db catalog alias",
    "TryCast": "this to safe",
    "Union": SETS,
    "Unnest": "expressions alias offset",
    "Values": "expressions alias order limit offset",
    "With": "expressions recursive",
}
JOINS = frozenset({("", ""), ("CROSS", ""), ("INNER", ""), ("OUTER", ""), ("", "NATURAL")})


def _decimal_literal(written: Node) -> Node:
    """DECIMAL '1.50': its type has as many digits as the literal."""
    whole, _, fraction = written.name.lstrip("+-").partition(".")
    digits = max(len(whole.lstrip("0")) + len(fraction), 1)
    return cast(written, f"DECIMAL({digits}, {len(fraction)})")


class AthenaSQL(Trino):
    """Trino's SQL, but functions and subscripts stay as they are written."""

    INDEX_OFFSET = 0

    class Parser(Trino.Parser):  # type: ignore[misc, valid-type]
        """Gives a meaning only to functions that have words between their arguments."""

        FUNCTIONS: Any = {}  # noqa: RUF012
        FUNCTION_PARSERS: Any = {  # noqa: RUF012
            name: Trino.Parser.FUNCTION_PARSERS[name]
            for name in ("CAST", "TRY_CAST", "EXTRACT", "LISTAGG", "POSITION", "SUBSTRING", "TRIM")
        }
        TYPE_LITERAL_PARSERS: Any = {  # noqa: RUF012
            **Trino.Parser.TYPE_LITERAL_PARSERS,
            exp.DType.DECIMAL: lambda self, this, _: _decimal_literal(this),
        }


def check(query: exp.Query) -> None:
    """Raises QueryError for what is not Athena's SQL, or is not understood here."""
    for node in query.walk():
        if not _is_known(node):
            raise QueryError(f"not understood on target local: {excerpt(node)}")


def _is_known(node: Node) -> bool:
    name = type(node).__name__
    carried = {part for part, value in node.args.items() if value}
    if isinstance(node, exp.Join) and (node.kind, node.method) not in JOINS:
        return False
    if isinstance(node, exp.Dot) and not isinstance(node.expression, exp.Identifier):
        return False
    return name in WHOLE or (name in IN_PART and carried <= set(IN_PART[name].split()))
