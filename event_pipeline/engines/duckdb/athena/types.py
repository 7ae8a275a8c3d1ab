"""Rewrites what depends on the types of operands.

DuckDB itself reports the types. When it refuses a call, its error names the types of the arguments,
wherever in the query the call stands. So a call that must fail is put in a node's place, and the
query is bound over tables without rows.
"""

import re
from collections.abc import Sequence
from contextlib import ExitStack

import duckdb
from sqlglot import exp

from event_pipeline.contracts import Contract
from event_pipeline.engines.duckdb.athena.casts import (
    DECIMAL,
    DOUBLES,
    INTEGERS,
    converted,
    decimal,
)
from event_pipeline.engines.duckdb.athena.nodes import (
    WRITTEN,
    Node,
    add_macros,
    call,
    cast,
    duckdb_sql,
    grouped,
    macro,
    macros,
    number,
    outermost,
    text,
)
from event_pipeline.engines.duckdb.session import error_text, make_view
from event_pipeline.errors import QueryError

LITERALS = {"INTEGER_LITERAL": "INTEGER", "STRING_LITERAL": "VARCHAR", "HUGEINT": "BIGINT",
            "UBIGINT": "BIGINT", '"NULL"': "NULL"}  # fmt: skip
SPELLED = {"INT": "INTEGER", "TEXT": "VARCHAR", "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
DIGITS = 38  # of a decimal, at most
# Functions whose translation depends on the types of their arguments, and the DuckDB names that
# they have until then.
TYPED = {
    "array_join": "array_to_string",
    "avg": "avg",
    "cardinality": "cardinality",
    "ceil": "ceil",
    "ceiling": "ceil",
    "concat_ws": "concat_ws",
    "element_at": "element_at",
    "floor": "floor",
    "round": "round",
    "sign": "sign",
    "sum": "sum",
    "truncate": "trunc",
}
RETURNS = dict.fromkeys(
    ("count", "row_number", "rank", "dense_rank", "length", "year", "month", "day", "hour"),
    "BIGINT",
)
NO_NUMBERS = ("VARCHAR", "BOOLEAN", "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")
# Macros that have variants by type, and the position of the operand that decides if it is not 0.
DECIDES = {"truncated": 1, "truncated_time": 1, "moved": 1, "moved_time": 1, "elapsed_time": 1}
VARIANTS = {"DATE": "date", "TIMESTAMP WITH TIME ZONE": "instant"}
PROBE_ERROR = re.compile(r"argument types 'strlen\((.*), \"?NULL\"?\)'\. You", re.DOTALL)
SIGNS = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "dpipe": "||"}
FIRST = {"with_": 0, "from_": 1, "joins": 2}


def resolve(query: exp.Query, tables: Sequence[Contract]) -> None:
    """Rewrites in the query what depends on types. Raises QueryError with one clear line."""
    with ExitStack() as stack:
        types = _Types(query, tables, stack)
        for node in _inside_out(query):
            if node.meta.get(WRITTEN):
                _resolve(node, types)
            elif isinstance(node, exp.Anonymous) and node.name.startswith("athena."):
                _resolve_macro(node, types)


def _inside_out(query: Node) -> list[Node]:
    """All nodes, each after those on which its own type depends."""
    found, left = [], [query]
    while left:
        node = left.pop()
        found.append(node)
        # Tables before columns; a function after its window and filter.
        for key in sorted(node.args, key=lambda k: (FIRST.get(k, len(FIRST)), k == "this")):
            value = node.args[key]
            children = value if isinstance(value, list) else [value]
            left.extend(child for child in children if isinstance(child, exp.Expr))
    return found[::-1]


class _Types:
    """Finds the types of the expressions of one query."""

    def __init__(self, query: exp.Query, tables: Sequence[Contract], stack: ExitStack) -> None:
        self._query = query
        self._tables = tables
        self._stack = stack
        self._macros: set[str] = set()
        self._columns: dict[tuple[int, str], str] = {}
        self._known: duckdb.DuckDBPyConnection | None = None

    def of(self, node: Node, *operands: Node) -> list[str]:
        """The types of operands of a node in the query."""
        known = [kind for kind in map(self._known_type, operands) if kind]
        if len(known) == len(operands):
            return known
        found = self._types_by_probe(node, operands)
        for each, kind in zip(operands, found, strict=True):
            if isinstance(each, exp.Column):
                self._columns[_place(each)] = kind
        return found

    def _known_type(self, node: Node) -> str | None:
        if isinstance(node, exp.Column):
            return self._columns.get(_place(node))
        return _known_type(node)

    def _types_by_probe(self, node: Node, operands: Sequence[Node]) -> list[str]:
        place = outermost(node)
        attempts: list[list[Node]] = [
            [each.copy() for each in operands],
            # In a grouped query, a column may only stand inside an aggregate.
            [call("any_value", each.copy()) for each in operands],
        ]
        if node.name in ("avg", "sum") and not isinstance(place, exp.Window):
            attempts.reverse()
        wrong = []
        for attempt in attempts:
            probe = call("strlen", *attempt, exp.null())
            place.replace(probe)
            found = self._probe(duckdb_sql(self._query))
            probe.replace(place)
            if isinstance(found, list):
                return found
            wrong.append(found)
        raise QueryError(wrong[0])

    def _probe(self, sql: str) -> list[str] | str:
        """The types of the probe's arguments, or what is wrong with the query."""
        add_macros(self._connection, sql, self._macros)
        try:
            self._connection.execute(sql)
        except duckdb.Error as error:
            if found := PROBE_ERROR.search(str(error)):
                return [LITERALS.get(each, each) for each in _split(found[1])]
            return error_text(error)
        raise AssertionError(sql)

    @property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._known is None:
            self._known = self._stack.enter_context(duckdb.connect(config={"threads": 1}))
            for contract in self._tables:
                make_view(self._known, contract, [])
        return self._known


def _place(column: Node) -> tuple[int, str]:
    """Identifies a column by its SELECT, within which it has one type, and its text."""
    return id(column.parent_select), column.sql()


def _known_type(node: Node) -> str | None:
    """The type of an expression that shows its type by itself; None for any other."""
    match node:
        case exp.Paren():
            return _known_type(node.this)
        case exp.Literal():
            return _literal_type(node)
        case exp.Cast() if not node.meta.get(WRITTEN):
            kind = node.to.sql(dialect="duckdb")
            return SPELLED.get(kind, kind)
        case exp.Anonymous():
            return RETURNS.get(node.name.lower())
    return None


def _literal_type(node: exp.Literal) -> str:
    if node.is_string:
        return "VARCHAR"
    if "e" in node.name.lower():
        return "DOUBLE"
    whole, point, fraction = node.name.partition(".")
    if point:
        return f"DECIMAL({max(len(whole.lstrip('0')) + len(fraction), 1)},{len(fraction)})"
    return "INTEGER" if int(whole) < 2**31 else "BIGINT"


def _split(types: str) -> list[str]:
    """Splits a list of types at the commas between them, not at those within a type."""
    found, depth, start = [], 0, 0
    for n, letter in enumerate(types):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            found.append(types[start:n].strip())
            start = n + 1
    return [*found, types[start:].strip()]


def _resolve(node: Node, types: _Types) -> None:
    """Rewrites one node, whose operands are rewritten already."""
    match node:
        case exp.Div():
            kinds = types.of(node, node.this, node.expression)
            node.replace(_divided(node.this, node.expression, *kinds))
        case exp.Add() | exp.Sub():
            _resolve_sum(node, types)
        case exp.Predicate() | exp.DPipe():
            _compare(node, types)
        case exp.Cast():
            [kind] = types.of(node, node.this)
            node.replace(converted(node, kind))
        case exp.Bracket():
            _resolve_subscript(node, types)
        case exp.Unnest():
            _resolve_unnest(node, types)
        case exp.Anonymous() if name := node.meta.get("name"):
            if name in ("avg", "sum"):
                _resolve_aggregate(node, name, types)
            else:
                kinds = types.of(node, *node.expressions)
                node.replace(_function(name, node.expressions, kinds) or node)


def _resolve_macro(node: exp.Anonymous, types: _Types) -> None:
    """Replaces a macro by its variant for the operand's type, if there is one."""
    name = node.name.removeprefix("athena.").removeprefix("_")
    if not any(f"_{name}_{kind}" in macros() for kind in (*VARIANTS.values(), "list")):
        return
    kinds = types.of(node, *node.expressions[DECIDES.get(name, 0) :])
    variant = "list" if kinds[0].endswith("[]") else VARIANTS.get(kinds[0])
    if name == "elapsed_time" and set(kinds) != {"DATE"}:
        return
    if f"_{name}_{variant}" in macros():
        node.set("this", f"athena._{name}_{variant}")


def _divided(a: Node, b: Node, left: str, right: str) -> Node:
    """a / b: truncated for integers, rounded half up for decimals, else divided as doubles.

    A decimal's digits and scale are those of Trino's documentation, "Decimal functions".
    """
    if left in INTEGERS and right in INTEGERS:
        return exp.paren(exp.IntDiv(this=grouped(a), expression=grouped(b)), copy=False)
    first, second = decimal(left), decimal(right)
    if not first or not second:
        return exp.paren(exp.Div(this=grouped(a), expression=grouped(b)), copy=False)
    scale = max(first[1], second[1])
    digits = min(DIGITS, first[0] + second[1] + max(0, second[1] - first[1]))
    dividend = _shifted(a, first[1], scale + second[1])
    return _exact(dividend, _shifted(b, second[1], second[1]), digits, scale)


def _exact(a: Node, b: Node, digits: int, scale: int) -> Node:
    """a / b of whole numbers, as a decimal whose last `scale` digits are its fraction."""
    quotient = cast(macro("_divided", a, b), f"DECIMAL({DIGITS}, 0)")
    if not scale:
        return cast(quotient, f"DECIMAL({digits}, 0)")
    unit = exp.Literal.number(f"0.{'0' * (scale - 1)}1")
    return cast(exp.Mul(this=quotient, expression=unit), f"DECIMAL({digits}, {scale})")


def _shifted(node: Node, scale: int, places: int) -> Node:
    """A decimal with this scale, times 10**places, as a whole number."""
    if not places:
        return cast(node, "HUGEINT")
    # Cast to the most digits first: DuckDB gives a product only as many as its factors have.
    wide = cast(node, f"DECIMAL({DIGITS}, {scale})")
    return cast(exp.Mul(this=wide, expression=number(10**places)), "HUGEINT")


def _resolve_sum(node: exp.Binary, types: _Types) -> None:
    """Rewrites a + b and a - b if one is a date: DuckDB would give a timestamp or a number."""
    a, b = node.this, node.expression
    if _is_number(a) or _is_number(b):
        node.meta["number"] = True
        return
    sign = "-" if isinstance(node, exp.Sub) else "+"
    kinds = tuple(types.of(node, a, b))
    if (sign, *kinds) == ("-", "DATE", "DATE"):
        node.replace(exp.Sub(this=cast(a, "TIMESTAMP"), expression=cast(b, "TIMESTAMP")))
    elif kinds == ("DATE", "INTERVAL"):
        step = b if sign == "+" else exp.Neg(this=exp.paren(b, copy=False))
        node.replace(macro("_moved_date", text("interval"), a, step))
    elif (sign, *kinds) == ("+", "INTERVAL", "DATE"):
        node.replace(macro("_moved_date", text("interval"), b, a))
    elif "DATE" in kinds and not any("TIMESTAMP" in kind for kind in kinds):
        raise QueryError(f"Athena cannot apply {sign} to {' and '.join(kinds)}")
    node.meta["number"] = all(map(decimal, kinds))


def _is_number(node: Node) -> bool:
    return bool(node.unnest().meta.get("number"))


def _compare(node: Node, types: _Types) -> None:
    """Refuses to compare a text with a number, a date and so on: DuckDB casts one of them."""
    if isinstance(node, exp.Between):
        others = [node.args["low"], node.args["high"]]
    elif isinstance(node, exp.In):
        others = node.expressions
    elif isinstance(node, exp.Binary) and not isinstance(node, exp.Is):
        others = [node.expression]
    else:
        return
    operands = [node.this, *others]
    if any(isinstance(each, exp.All | exp.Any | exp.Tuple | exp.Escape) for each in operands):
        return
    try:
        kinds = types.of(node, *operands)
    except QueryError:
        return  # Binding the query will say what is wrong.
    first, *rest = kinds
    for kind in rest:
        if (a := _family(first)) and (b := _family(kind)) and a != b:
            hint = (
                "; write DATE '...' or TIMESTAMP '...'" if {a, b} == {"a time", "varchar"} else ""
            )
            sign = SIGNS.get(node.key, node.key.upper())
            raise QueryError(f"Athena cannot apply {sign} to {a} and {b}{hint}")


def _family(kind: str) -> str | None:
    """The kind of types that Trino compares with each other; None for types unknown here."""
    if decimal(kind) or kind in DOUBLES:
        return "a number"
    if kind in ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"):
        return "a time"
    return {"VARCHAR": "varchar", "BOOLEAN": "boolean", "INTERVAL": "an interval"}.get(kind)


def _resolve_subscript(node: exp.Bracket, types: _Types) -> None:
    [key] = node.expressions
    kind = types.of(node, node.this, key)[0]
    if kind.endswith("[]"):
        node.replace(macro("_subscript", node.this, key))
    elif kind.startswith("MAP("):
        node.replace(macro("_map_value", node.this, key))
    else:
        raise QueryError(f"{kind} cannot be indexed with [ ] on target local")


def _resolve_unnest(node: exp.Unnest, types: _Types) -> None:
    """Rewrites UNNEST of a map, which gives two columns in Trino but not in DuckDB."""
    alias = node.args.get("alias")
    if not alias or len(alias.columns) < 2:  # noqa: PLR2004
        return
    [operand] = node.expressions
    [kind] = types.of(operand, operand)
    if kind.startswith("MAP("):
        node.replace(columns_of([call("map_keys", operand), call("map_values", operand)], node))
    elif kind.startswith("STRUCT("):
        raise QueryError("UNNEST of rows is not supported on target local; target aws has it")


def columns_of(lists: Sequence[Node], unnest: exp.Unnest) -> Node:
    """UNNEST of several arrays: a column for each, where shorter ones are filled with nulls."""
    selected: list[Node] = [call("unnest", each) for each in lists]
    alias, offset = unnest.args.get("alias"), unnest.args.get("offset")
    if offset:
        longest = call("greatest", *(call("len", each.copy()) for each in lists))
        selected.append(call("unnest", call("generate_series", number(1), longest)))
        if alias and isinstance(offset, exp.Identifier):
            alias.append("columns", offset)
    return exp.Subquery(this=exp.Select(expressions=selected), alias=alias)


def _function(name: str, operands: list[Node], kinds: Sequence[str]) -> Node | None:
    """The function for operands of these types; None if the call is right as it is."""
    first, kind = operands[0], kinds[0]
    is_list = kind.endswith("[]")
    match name:
        case "cardinality":
            return call("len" if is_list else "cardinality", first)
        case "element_at":
            return macro("_array_element" if is_list else "_map_get", *operands)
        case "array_join":
            return _joined(operands, kind.removesuffix("[]"))
        case "concat_ws":
            return _joined_with(operands, kinds)
    return _rounded(name, operands, kind)


def _joined(operands: Sequence[Node], element: str) -> Node:
    if not decimal(element) and element not in ("VARCHAR", "BOOLEAN", "DATE", "NULL"):
        raise QueryError(f"array_join of {element}: cast its elements to varchar first")
    array, separator, *instead = operands
    return call(
        "array_to_string", macro("_texts", array, *instead) if instead else array, separator
    )


def _joined_with(operands: Sequence[Node], kinds: Sequence[str]) -> Node | None:
    if len(kinds) == 2 and kinds[1].endswith("[]"):  # noqa: PLR2004
        return call("array_to_string", operands[1], operands[0])
    if set(kinds) - {"VARCHAR", "NULL"}:
        raise QueryError(f"concat_ws takes texts, not {' and '.join(kinds)}")
    return None


def _rounded(name: str, operands: list[Node], kind: str) -> Node | None:
    """round, truncate, ceil, floor, sign: with the types that Trino gives their results."""
    found = DECIMAL.fullmatch(kind)
    called = call(TYPED[name], *operands)
    if name == "sign":
        return cast(called, "DECIMAL(1, 0)" if found else kind)
    if kind in INTEGERS and name in ("ceil", "ceiling", "floor"):
        return operands[0]
    if not found:
        return None
    digits, scale = int(found[1]), int(found[2])
    if len(operands) == 1:
        return cast(called, f"DECIMAL({min(DIGITS, digits - scale + min(scale, 1))}, 0)")
    return cast(called, f"DECIMAL({min(DIGITS, digits + 1)}, {scale})")


def _resolve_aggregate(node: exp.Anonymous, name: str, types: _Types) -> None:
    """sum of integers is a bigint, avg of integers a double, and both of decimals a decimal."""
    [operand] = node.expressions
    argument = operand.expressions[0] if isinstance(operand, exp.Distinct) else operand
    [kind] = types.of(node, argument)
    if kind in NO_NUMBERS:
        raise QueryError(f"Athena has no {name} of {kind}")
    whole = outermost(node)
    if name == "sum" and kind in INTEGERS:
        whole.replace(cast(whole.copy(), "BIGINT"))
    elif name == "avg" and (found := DECIMAL.fullmatch(kind)):
        digits, scale = int(found[1]), int(found[2])
        node.set("this", "sum")
        total = whole.copy()
        node.set("this", "count")
        count = call("nullif", whole.copy(), number(0))
        whole.replace(_exact(_shifted(total, scale, scale), count, digits, scale))
