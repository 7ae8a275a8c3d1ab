"""Columns of tables, and the types that they may have.

Types are Iceberg's names, which DuckDB, Spark and Athena share: `string`, `int`, `long`, `double`,
`date`, `timestamp` (microseconds, UTC, without zone), `decimal(p, s)`.
"""

import re
from dataclasses import dataclass

PLAIN_TYPES = ("string", "int", "long", "double", "date", "timestamp")
TYPE_CHOICES = f"{', '.join(PLAIN_TYPES)} or decimal(p, s)"
NUMERIC_TYPES = ("int", "long", "double", "decimal")
# Wider decimals exist neither in Spark nor in Athena.
DECIMAL_DIGITS = 38
# Names that every engine reads without quotes, and in the same case.
NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_DECIMAL = re.compile(r"decimal\((\d+), (\d+)\)", re.ASCII)


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    type: str
    description: str

    @property
    def is_numeric(self) -> bool:
        """Whether values of the column can be added up."""
        return self.type.startswith(NUMERIC_TYPES)


def is_type(text: str) -> bool:
    """Whether a text names a type that a column may have."""
    if found := _DECIMAL.fullmatch(text):
        digits, scale = map(int, found.groups())
        return 1 <= digits <= DECIMAL_DIGITS and scale <= digits
    return text in PLAIN_TYPES
