"""The functions of Athena that a query may call, and how each is written for DuckDB."""

import inspect
import re
from collections.abc import Callable
from functools import cache

from sqlglot import exp

from event_pipeline.engines.duckdb.athena.nodes import (
    WRITTEN,
    Node,
    call,
    cast,
    duckdb_sql,
    grouped,
    macro,
    macros,
    names,
    number,
    outermost,
    text,
)
from event_pipeline.engines.duckdb.athena.patterns import (
    joda,
    json_path,
    left_out,
    mysql,
    replacement,
)
from event_pipeline.engines.duckdb.athena.types import TYPED
from event_pipeline.engines.duckdb.athena.zones import (
    at_timezone,
    clock,
    in_zone_of,
    is_zoned,
    zoned,
)
from event_pipeline.errors import QueryError

# Functions that mean the same under the same name.
SAME = names(
    """
    abs acos array_agg asin atan atan2 bool_and bool_or cbrt chr coalesce corr cos cosh count
    covar_pop covar_samp cume_dist day degrees dense_rank exp first_value flatten grouping
    histogram hour lag last_value lead length lower map map_concat map_entries map_from_entries
    map_keys map_values max min minute month nth_value ntile nullif percent_rank pi pow power
    quarter radians rand random rank regr_intercept regr_slope row row_number second sin sinh
    starts_with stddev stddev_pop stddev_samp tan tanh translate try upper uuid var_pop var_samp
    variance week year
    """
)
RENAMED = {
    "any_value": "any_value",
    "arbitrary": "any_value",
    "bitwise_and_agg": "bit_and",
    "bitwise_or_agg": "bit_or",
    "every": "bool_and",
    "from_base64": "from_base64",
    "from_hex": "unhex",
    "from_utf8": "decode",
    "geometric_mean": "geomean",
    # DuckDB's max_by skips rows in which x is null.
    "max_by": "arg_max_null",
    "min_by": "arg_min_null",
    "rand": "random",
    "to_base64": "to_base64",
    "to_hex": "hex",
    "to_utf8": "encode",
}
# How many arguments a function may have, if DuckDB would take other numbers to mean other things.
ARGUMENTS = {
    **dict.fromkeys(names("pi rand random row_number uuid"), (0,)),
    **dict.fromkeys(
        names(
            """
            any_value arbitrary array_agg avg bool_and bool_or cardinality ceil ceiling every
            floor from_utf8 histogram length lower max min sign sum try upper
            """
        ),
        (1,),
    ),
    **dict.fromkeys(names("element_at max_by min_by pow power"), (2,)),
    **dict.fromkeys(names("round truncate"), (1, 2)),
    "array_join": (2, 3),
    "count": (0, 1),
}
# The other functions of Trino's documentation. Only target aws has them.
ONLY_ON_AWS = names(
    """
    approx_most_frequent approx_set array_except array_first array_histogram array_intersect
    array_last array_union arrays_overlap beta_cdf bit_count bitwise_left_shift
    bitwise_right_shift bitwise_right_shift_arithmetic char2hexint checksum classify color
    combinations contains_sequence convex_hull_agg cosine_distance cosine_similarity crc32
    current_groups empty_approx_set ends_with features format format_number from_base
    from_base32 from_base64url from_big_endian_32 from_big_endian_64 from_ieee754_32
    from_ieee754_64 from_iso8601_timestamp_nanos from_unixtime_nanos hash_counts hmac_md5
    hmac_sha1 hmac_sha256 hmac_sha512 human_readable_seconds index intersection_cardinality
    inverse_beta_cdf inverse_normal_cdf jaccard_index json_array json_array_contains
    json_array_get json_exists json_object json_query json_value kurtosis luhn_check
    make_set_digest map_filter map_union map_zip_with merge merge_set_digest
    multimap_from_entries murmur3 nan ngrams normal_cdf normalize numeric_histogram
    parse_data_size parse_duration qdigest_agg reduce_agg regexp_position render rgb sha512
    shuffle skewness soundex split_to_multimap spooky_hash_v2_32 spooky_hash_v2_64 tdigest_agg
    timezone_hour timezone_minute to_base to_base32 to_base64url to_big_endian_32
    to_big_endian_64 to_char to_date to_ieee754_32 to_ieee754_64 to_timestamp transform_keys
    transform_values trim_array typeof value_at_quantile values_at_quantiles version
    wilson_interval_lower wilson_interval_upper word_stem xxhash64 zip zip_with
    """
)
UNITS = ("millisecond", "second", "minute", "hour", "day", "week", "month", "quarter", "year")
TIME_UNITS = UNITS[:4]
# For each unit: DuckDB's function for an interval, the type of its argument, and a factor.
STEPS = {
    "millisecond": ("to_milliseconds", "BIGINT", 1),
    "second": ("to_seconds", "BIGINT", 1),
    "minute": ("to_minutes", "BIGINT", 1),
    "hour": ("to_hours", "BIGINT", 1),
    "day": ("to_days", "INTEGER", 1),
    "week": ("to_days", "INTEGER", 7),
    "month": ("to_months", "INTEGER", 1),
    "quarter": ("to_months", "INTEGER", 3),
    "year": ("to_months", "INTEGER", 12),
}
FIELDS = names(
    """
    day day_of_month day_of_week day_of_year dow doy hour minute month quarter second week year
    year_of_week yow
    """
)
# Functions that read a clock. Of a time in a zone, they read the clock of that zone.
CLOCK_READERS = FIELDS | {
    "date", "date_format", "format_datetime", "last_day_of_month", "millisecond", "week_of_year",
}  # fmt: skip
PARAMETERS = re.compile(r"\(([\w ,]*)\) AS\b")


def function(node: exp.Anonymous) -> Node:
    """A call of an Athena function, for DuckDB. Raises QueryError if it cannot be called here."""
    name, arguments = node.name.lower(), node.expressions
    _check(name, len(arguments))
    if name in CLOCK_READERS:
        arguments = [clock(each) for each in arguments]
    if name in TYPED:
        waiting = call(TYPED[name], *arguments)
        waiting.meta.update({WRITTEN: True, "name": name})
        return waiting
    if name in BUILT:
        return _built(name, node, arguments)
    if name in _arities():
        return macro(name, *arguments)
    return call(RENAMED.get(name, name), *arguments)


def _check(name: str, count: int) -> None:
    """Raises QueryError if the function does not exist here, or not with so many arguments."""
    if name in ONLY_ON_AWS or name.startswith(("st_", "bing_")):
        raise QueryError(f"{name}() is not supported on target local; target aws has it")
    if name not in functions():
        raise QueryError(f"Athena has no function {name}()")
    expected = ARGUMENTS.get(name) or _arities().get(name)
    if expected and count not in expected and name not in BUILT:
        numbers = " or ".join(map(str, sorted(expected)))
        raise QueryError(f"{name}() takes {numbers} arguments on target local")


def _built(name: str, node: exp.Anonymous, arguments: list[Node]) -> Node:
    build = BUILT[name]
    try:
        inspect.signature(build).bind(node, *arguments)
    except TypeError:
        raise QueryError(f"{name}() does not take these arguments on target local") from None
    return build(node, *arguments)


@cache
def functions() -> frozenset[str]:
    """All functions that a query may call."""
    return frozenset({*SAME, *RENAMED, *TYPED, *BUILT, *_arities()})


@cache
def _arities() -> dict[str, set[int]]:
    """How many arguments each macro takes that a query may call."""
    return {
        name: {len(list(filter(None, each.split(",")))) for each in PARAMETERS.findall(statement)}
        for name, statement in macros().items()
        if not name.startswith("_")
    }


def _written_out(node: Node, what: str) -> str:
    """The text of an argument that must be a literal. Raises QueryError if it is not."""
    if not isinstance(node, exp.Literal) or not node.is_string:
        raise QueryError(f"{what} must be a literal on target local: {duckdb_sql(node)}")
    return node.name


def _unit(node: Node) -> str:
    unit = _written_out(node, "a unit").lower()
    if unit not in UNITS:
        raise QueryError(f"{unit} is not a unit of time; choose from {', '.join(UNITS)}")
    return unit


def _by_unit(name: str, unit: str) -> str:
    """The macro's name for a unit. There are two macros, because a date has no hours."""
    return f"_{name}_time" if unit in TIME_UNITS else f"_{name}"


# Functions that are built from parts. Each builder gets the call as it is written, and its
# arguments.


def _concat(_: Node, first: Node, second: Node, *more: Node) -> Node:
    """Null if one is null; DuckDB's concat skips nulls."""
    joined: Node = exp.DPipe(this=first, expression=second)
    for each in more:
        joined = exp.DPipe(this=joined, expression=each)
    return exp.paren(joined, copy=False)


def _count_if(_: Node, condition: Node) -> Node:
    """0 for no rows; DuckDB's count_if gives null."""
    return call("count", exp.Case(ifs=[exp.If(this=condition, true=number(1))]))


def _extreme(node: exp.Anonymous, *values: Node) -> Node:
    """Null if one is null; DuckDB's functions skip nulls."""
    if not values:
        raise QueryError(f"{node.name}() takes at least one argument")
    nulls = [exp.Is(this=exp.paren(each), expression=exp.null()) for each in values]
    return exp.Case(
        ifs=[exp.If(this=exp.or_(*nulls, copy=False), true=exp.null())],
        default=call(node.name, *values),
    )


def _approx_distinct(_: Node, value: Node, error: Node | None = None) -> Node:
    """Counts exactly, which is within any error that is allowed."""
    return call("count", exp.Distinct(expressions=[value]))


def _approx_percentile(_: Node, value: Node, share: Node) -> Node:
    """Exact: the smallest value that at least this share of the values does not exceed."""
    return call("quantile_disc", value, share)


def _collected(name: str) -> Callable[..., Node]:
    def build(node: exp.Anonymous, key: Node, value: Node) -> Node:
        """A map of a group's keys and values; keys that are null are left out."""
        whole = outermost(node)
        entries: Node = call("list", call("row", key, value))
        there = exp.Not(this=exp.Is(this=key.copy(), expression=exp.null()))
        if not isinstance(node.parent, exp.Filter):
            entries = exp.Filter(this=entries, expression=exp.Where(this=there))
        else:
            where = node.parent.expression
            where.set("this", exp.and_(where.this, there, copy=False))
        if whole is node:
            return macro(name, entries)
        node.replace(entries)
        whole.replace(macro(name, whole.copy()))
        return node

    return build


def _date(_: Node, value: Node) -> Node:
    written = cast(value, "DATE")
    written.meta[WRITTEN] = True
    return written


def _date_add(_: Node, unit: Node, amount: Node, time: Node) -> Node:
    kind = _unit(unit)
    step, of, times = STEPS[kind]
    moved_by = call(step, cast(exp.Mul(this=grouped(amount), expression=number(times)), of))
    if is_zoned(time) and kind in TIME_UNITS:
        instant, zone = time.expressions
        return zoned(macro("_moved_time", text(kind), instant, moved_by), zone)
    name = _by_unit("moved", kind)
    return in_zone_of(time, lambda shown: macro(name, text(kind), shown, moved_by))


def _date_diff(_: Node, unit: Node, start: Node, end: Node) -> Node:
    kind = _unit(unit)
    return macro(_by_unit("elapsed", kind), text(kind), start, end)


def _date_trunc(_: Node, unit: Node, time: Node) -> Node:
    kind = _unit(unit)
    name = _by_unit("truncated", kind)
    return in_zone_of(time, lambda shown: macro(name, text(kind), shown))


def _date_format(_: Node, time: Node, pattern: Node) -> Node:
    return call("strftime", time, text(mysql(_written_out(pattern, "a date format"))))


def _date_parse(_: Node, value: Node, pattern: Node) -> Node:
    return call("strptime", value, text(mysql(_written_out(pattern, "a date format"))))


def _format_datetime(_: Node, time: Node, pattern: Node) -> Node:
    return call("strftime", time, text(joda(_written_out(pattern, "a format"))))


def _parse_datetime(_: Node, value: Node, pattern: Node) -> Node:
    parsed = joda(_written_out(pattern, "a format"), {"Z": "%z", "ZZ": "%z"})
    return macro("_instant", call("strptime", value, text(parsed)))


def _to_iso8601(_: Node, time: Node) -> Node:
    if is_zoned(time):
        instant, zone = time.expressions
        shown = macro("to_iso8601", clock(time))
        return _concat(time, shown, macro("_offset_of", instant.copy(), zone.copy()))
    is_literal = isinstance(time, exp.Cast) and isinstance(time.this, exp.Literal)
    if is_literal and time.args["to"].this == exp.DType.TIMESTAMP and "." not in time.name:
        # A time that is written without a fraction has none.
        return call("strftime", time, text("%Y-%m-%dT%H:%M:%S"))
    return macro("to_iso8601", time)


def _from_unixtime(_: Node, seconds: Node, zone: Node | None = None) -> Node:
    instant = macro("_from_unixtime", seconds)
    return zoned(instant, zone) if zone else instant


def _with_timezone(_: Node, time: Node, zone: Node) -> Node:
    return zoned(exp.AtTimeZone(this=cast(time, "TIMESTAMP"), zone=zone), zone.copy())


def _regexp_replace(_: Node, value: Node, pattern: Node, by: Node | None = None) -> Node:
    put = replacement(_written_out(by, "a replacement")) if by else ""
    return call("regexp_replace", value, pattern, text(put), text("g"))


def _regexp_extract(_: Node, value: Node, pattern: Node, nth: Node | None = None) -> Node:
    found = macro("_regexp_extract", value, pattern, *([nth] if nth else []))
    if not isinstance(pattern, exp.Literal) or not isinstance(nth, exp.Literal):
        return found
    match left_out(pattern.name, int(nth.name)):
        case None:
            return found
        case "never_empty":
            return call("nullif", found, text(""))
    raise QueryError(
        f"regexp_extract: group {nth.name} of {pattern.name} may be absent from a match, which"
        " target local cannot distinguish from an empty text"
    )


def _at_path(name: str) -> Callable[..., Node]:
    return lambda _, value, path: macro(
        name, value, text(json_path(_written_out(path, "a JSON path")))
    )


def _hashed(name: str) -> Callable[..., Node]:
    return lambda _, value: call("unhex", call(name, value))


def _matching(name: str) -> Callable[..., Node]:
    return lambda _, array, test: macro(name, call("list_transform", array, test))


def _reduce(_: Node, array: Node, start: Node, step: Node, end: Node) -> Node:
    if not isinstance(end, exp.Lambda) or len(end.expressions) != 1:
        raise QueryError("reduce() takes an array, a start and two lambdas")
    reduced = call("list_reduce", array, step, start)
    name = end.expressions[0].name.lower()
    body = exp.paren(end.this.copy(), copy=False)
    # A lambda's parameters are parsed as bare names, not as columns.
    for each in [n for n in body.find_all(exp.Identifier) if n.name.lower() == name]:
        if not isinstance(each.parent, exp.Column | exp.Dot):
            each.replace(reduced.copy())
    return body


BUILT: dict[str, Callable[..., Node]] = {
    "all_match": _matching("_all_of"),
    "any_match": _matching("_any_of"),
    "approx_distinct": _approx_distinct,
    "approx_percentile": _approx_percentile,
    "at_timezone": lambda _, time, zone: at_timezone(time, zone),
    "concat": _concat,
    "count_if": _count_if,
    "current_timestamp": lambda _, digits=None: macro("now"),
    "date": _date,
    "date_add": _date_add,
    "date_diff": _date_diff,
    "date_format": _date_format,
    "date_parse": _date_parse,
    "date_trunc": _date_trunc,
    "filter": lambda _, array, test: call("list_filter", array, test),
    "format_datetime": _format_datetime,
    "from_unixtime": _from_unixtime,
    "greatest": _extreme,
    "json_extract": _at_path("_json_extract"),
    "json_extract_scalar": _at_path("_json_extract_scalar"),
    "json_size": _at_path("_json_size"),
    "least": _extreme,
    "map_agg": _collected("_map_of"),
    "md5": _hashed("md5"),
    "multimap_agg": _collected("_multimap_of"),
    "none_match": lambda _, array, test: exp.Not(
        this=macro("_any_of", call("list_transform", array, test))
    ),
    "parse_datetime": _parse_datetime,
    "reduce": _reduce,
    "regexp_extract": _regexp_extract,
    "regexp_replace": _regexp_replace,
    "sha1": _hashed("sha1"),
    "sha256": _hashed("sha256"),
    "to_iso8601": _to_iso8601,
    "transform": lambda _, array, change: call("list_transform", array, change),
    "with_timezone": _with_timezone,
}
