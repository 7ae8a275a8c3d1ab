"""Converts the patterns that Athena's functions take to those that DuckDB's take."""

import re
from collections.abc import Mapping

from event_pipeline.errors import QueryError

# MySQL's letters, for date_format and date_parse. Trino too refuses %D %U %u %V %w %X.
MYSQL = {
    "a": "%a", "b": "%b", "c": "%-m", "d": "%d", "e": "%-d", "f": "%f", "H": "%H", "h": "%I",
    "I": "%I", "i": "%M", "j": "%j", "k": "%-H", "l": "%-I", "M": "%B", "m": "%m", "p": "%p",
    "r": "%I:%M:%S %p", "S": "%S", "s": "%S", "T": "%H:%M:%S", "v": "%V", "W": "%A", "x": "%G",
    "Y": "%Y", "y": "%y", "%": "%%",
}  # fmt: skip
MYSQL_REFUSED = "DUuVwX"
# Joda's letters, for format_datetime and parse_datetime. Repeating a letter changes its meaning.
JODA = {
    "y": "%Y", "yy": "%y", "yyyy": "%Y", "Y": "%Y", "YY": "%y", "YYYY": "%Y", "M": "%-m",
    "MM": "%m", "MMM": "%b", "MMMM": "%B", "d": "%-d", "dd": "%d", "H": "%-H", "HH": "%H",
    "h": "%-I", "hh": "%I", "m": "%-M", "mm": "%M", "s": "%-S", "ss": "%S", "SSS": "%g",
    "SSSSSS": "%f", "a": "%p", "E": "%a", "EE": "%a", "EEE": "%a", "EEEE": "%A", "e": "%u",
    "D": "%-j", "DDD": "%j", "ww": "%V", "xxxx": "%G",
}  # fmt: skip
JODA_PART = re.compile(
    r"(?P<letters>([A-Za-z])\2*)|'(?P<quoted>(?:[^']|'')*)'|(?P<other>[^A-Za-z'])"
)
# What opens, separates or closes groups. It also matches escaped letters and classes, to skip them.
GROUPING = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]])*\]|\((?:\?(?:P?<\w+>|[a-zA-Z-]*:))?|[)|]", re.DOTALL
)
# The inside of a group that cannot match an empty text: a letter or class at its beginning or end
# must be there.
NEVER_EMPTY = re.compile(
    r"(?:\\.|\[[^\]]+\]|[^\\()\[\]|?*+{}^$])(?![?*{])[^|]*|[^|]*?(?:\\.|\[[^\]]+\]|[^\\()\[\]|?*+{}^$])\+?",
    re.DOTALL,
)
# A step of a path into JSON: .name, ["name"] or [0].
JSON_STEP = re.compile(r"""\.([^.\[\]"'*@]+)|\["([^"]+)"\]|\['([^']+)'\]|\[(\d+)\]""")


def mysql(pattern: str) -> str:
    """DuckDB's format for one of MySQL's. Raises QueryError for letters that Trino refuses."""

    def letter(found: re.Match[str]) -> str:
        if found[1] in MYSQL_REFUSED or not found[1]:
            raise QueryError(f"%{found[1]} is not supported in the date format {pattern}")
        return MYSQL.get(found[1], found[1])

    return re.sub(r"%(.?)", letter, pattern, flags=re.DOTALL)


def joda(pattern: str, more: Mapping[str, str] | None = None) -> str:
    """DuckDB's format for one of Joda's. Raises QueryError for letters that are not known here."""
    known, parts, at = {**JODA, **(more or {})}, [], 0
    while found := JODA_PART.match(pattern, at):
        at = found.end()
        if found["letters"]:
            if found["letters"] not in known:
                raise QueryError(
                    f"{found['letters']} in the format {pattern}: not supported on target local;"
                    " target aws has it"
                )
            parts.append(known[found["letters"]])
        else:
            text = found["other"] or (found["quoted"] or "'").replace("''", "'")
            parts.append(text.replace("%", "%%"))
    if at < len(pattern):
        raise QueryError(f"the format {pattern} has an unclosed quote")
    return "".join(parts)


def replacement(text: str) -> str:
    r"""Trino's replacement text for RE2, where the group $1 is \1. Raises QueryError."""

    def part(found: re.Match[str]) -> str:
        if found["group"]:
            return rf"\{found['group']}"
        if found["escaped"]:
            return found["escaped"].replace("\\", r"\\")
        raise QueryError(f"in the replacement {text}, {found[0]} is not supported on target local")

    return re.sub(r"\$(?P<group>\d)|\\(?P<escaped>[\\$])|[\\$]\S*", part, text)


def left_out(pattern: str, nth: int) -> str | None:
    """Whether a group may take no part in a match, which RE2 reports as an empty text.

    Returns None if the group always takes part, `never_empty` if an empty text means that it took
    no part, and `either` if an empty text may mean that or an empty match.
    """
    # For each group: its number, start and end, and whether it has alternatives at its top level.
    opened = [[0, 0, len(pattern), False]]
    closed: dict[int, list[int]] = {}
    above: dict[int, list[list[int]]] = {}
    count = 0
    for found in GROUPING.finditer(pattern):
        if found[0] == "|":
            opened[-1][3] = True
        elif found[0] == ")" and len(opened) > 1:
            group = opened.pop()
            group[2] = found.end()
            closed[group[0]] = group
        elif found[0].startswith("("):
            captures = found[0] == "(" or "<" in found[0]
            count += captures
            opened.append([count if captures else -found.start() - 1, found.start(), 0, False])
            above[opened[-1][0]] = opened[:-1]
    if nth not in closed:
        return None
    _, start, end, _ = closed[nth]
    around = [*above[nth], closed[nth]]
    optional = any(re.match(r"[?*]|\{0", pattern[each[2] :]) for each in around[1:])
    if not optional and not any(each[3] for each in above[nth]):
        return None
    return "never_empty" if NEVER_EMPTY.fullmatch(pattern[start + 1 : end - 1]) else "either"


def json_path(path: str) -> str:
    """A path with its names quoted. Raises QueryError for wildcards and filters."""
    steps, at = ["$"], 1
    while found := JSON_STEP.match(path, at):
        at = found.end()
        name = found[1] or found[2] or found[3]
        steps.append(f'."{name}"' if name else f"[{found[4]}]")
    if not path.startswith("$") or at < len(path):
        raise QueryError(
            f"the JSON path {path} is not understood on target local; target aws has more"
        )
    return "".join(steps)
