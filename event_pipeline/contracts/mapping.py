"""Mappings: one SELECT that gives a dataset's fields from records of another layout.

It reads `raw`, whose columns are the records' fields as text; a nested field is named by its path
(`context.page.path`). Its WHERE says which records are the dataset's; others are counted as
skipped. The mapping becomes a part of the contract's statement, so both engines run it alike.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import sqlglot
from sqlglot import exp

from event_pipeline.contracts.carrying import carry_columns
from event_pipeline.contracts.contract import SilverContract
from event_pipeline.jobs import SKIPPED

RAW = "raw"
MAPPED = "mapped"
SKIP = "_skip"
# Replaces a path's dots in the name of a column, since dots mean something to the engines.
DOT = "\u00b7"
DIALECT = "spark"


@dataclass(frozen=True)
class Reading:
    """What is read of a dataset's lines, and by which statement.

    `columns` are the columns of `raw`, `paths` where each lies in a record, and `numbers` those
    columns whose values are used only as numbers.
    """

    statement: str
    columns: tuple[str, ...]
    paths: tuple[str, ...]
    numbers: frozenset[str]


@cache
def reading_of(contract: SilverContract) -> Reading:
    """What the engines read and run for a dataset, with its mapping or without."""
    kinds = {column.name: column.is_numeric for column in contract.columns}
    if not contract.bronze.mapping:
        numbers = frozenset(name for name in contract.source if kinds.get(name))
        return Reading(contract.sql, contract.source, contract.source, numbers)
    select = sqlglot.parse_one(contract.mapping_sql, read=DIALECT)
    assert isinstance(select, exp.Select)  # check_statement has seen to that
    paths = paths_of(select)
    columns = tuple(_column(path) for path in paths)
    used = Counter(_path(each) for each in _references(select))
    directly = {
        _path(each.unalias()): each.alias_or_name
        for each in select.expressions
        if isinstance(each.unalias(), exp.Column | exp.Dot)
    }
    numbers = frozenset(
        _column(path) for path, name in directly.items() if kinds.get(name) and used[path] == 1
    )
    return Reading(_composed(contract, select), columns, paths, numbers)


def mapping_mistakes(contract: SilverContract) -> Iterator[str]:
    """What is wrong with a dataset's mapping, a line each. Raises SqlglotError if it is no SQL."""
    query = sqlglot.parse_one(contract.mapping_sql, read=DIALECT)
    if not isinstance(query, exp.Select):
        yield "mapping: must be one SELECT ... FROM raw"
        return
    tables = [table.sql(dialect=DIALECT) for table in query.find_all(exp.Table)]
    if tables != [RAW]:
        yield f"mapping: must read only raw, but reads {', '.join(tables) or 'nothing'}"
    for kind in (exp.Join, exp.Group, exp.Distinct, exp.Limit, exp.Order, exp.AggFunc, exp.Star):
        if query.find(kind):
            yield f"mapping: must give one row for each record, without {kind.key.upper()}"
    names = [each.alias_or_name for each in query.expressions]
    for name in names:
        if names.count(name) > 1:
            yield f"mapping: gives {name} twice"
        if name not in contract.source:
            yield f"mapping: gives {name!r}; the fields are {', '.join(contract.source)}"
    for name in contract.source:
        if name not in names:
            yield f"mapping: does not give {name}; if there is none, write NULL AS {name}"
    for path in paths_of(query):
        if "`" in path or DOT in path:
            yield f"mapping: the field {path} cannot be named"


def paths_of(select: exp.Select) -> tuple[str, ...]:
    """The paths of the fields that a mapping reads, in order of their names."""
    return tuple(sorted({_path(each) for each in _references(select)}))


def _references(node: exp.Expr) -> Iterator[exp.Expr]:
    """The outermost expressions that name a field: all of `a.b.c`, and not `a.b` as well."""
    for each in node.find_all(exp.Column, exp.Dot):
        if not isinstance(each.parent, exp.Dot):
            yield each


def _path(reference: exp.Expr) -> str:
    match reference:
        case exp.Column():
            return ".".join(part.name for part in reference.parts)
        case exp.Dot():
            return f"{_path(reference.this)}.{reference.expression.name}"
    return reference.name


def _column(path: str) -> str:
    return path.replace(".", DOT)


def _composed(contract: SilverContract, mapping: exp.Select) -> str:
    """The contract's statement, run over what the mapping makes of `raw`."""
    for each in list(_references(mapping)):
        each.replace(exp.column(exp.to_identifier(_column(_path(each)), quoted=True)))
    where = mapping.args.pop("where", None)
    kept = where.this if where else exp.true()
    skip = exp.case().when(kept, exp.false()).else_(exp.true())
    mapping.select(exp.alias_(skip, SKIP), copy=False)
    statement = carry_columns(contract.sql, [SKIP])
    for table in statement.find_all(exp.Table):
        if table.name.lower() == RAW:
            table.set("this", exp.to_identifier(MAPPED))
    earlier = statement.args.get("with_")
    statement.set("with_", None)
    reasons = exp.case().when(exp.column(SKIP), exp.Literal.string(SKIPPED)).else_("reasons")
    names = [name for name in contract.column_names if name != contract.partition]
    outer = exp.select(*names, exp.alias_(reasons, "reasons")).from_(statement.subquery("judged"))
    outer = outer.with_(MAPPED, as_=mapping)
    for each in earlier.expressions if earlier else ():
        outer = outer.with_(each.alias, as_=each.this)
    return outer.sql(dialect=DIALECT)
