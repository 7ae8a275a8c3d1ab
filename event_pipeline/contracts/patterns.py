"""Patterns that the statements share. `${NAME}` in a SQL file stands for the pattern of that name.

They are spelled as in a Spark SQL literal, and match a whole text on both engines.

PLACEHOLDER matches an id, in lower case, that producers write if there is none; taken as ids, such
texts would merge many users. The words are those that the customer-data platforms refuse as ids
(PostHog's, Mixpanel's and Amplitude's lists agree on most), with blanks around them. A text in
which nothing is visible is a placeholder, too. No word begins with b to m, o to t, or 1 to 9;
statements check that before they try the pattern.

TIMESTAMP matches a date and a time of ISO 8601 that both engines read alike. NUMBER matches a
decimal number without an exponent.
"""

import re

# Characters that show nothing: blanks of any kind, and characters without width.
_INVISIBLE = r"[\\p{Z}\\p{Cc}\\p{Cf}\\x{115F}\\x{1160}\\x{2800}\\x{3164}\\x{FFA0}]*"
_WORDS = "|".join(
    (
        r"[(<]?(null|nil|none|nan|na|n/a|undefined|undef|unknown|anonymous)[)>]?",
        r"[(<]?not[ _-]?(set|available|provided|applicable)[)>]?",
        r"#n/a",
        r"\\\\n",  # as databases export null
        r"-+|_+|[?]+|[.]+",
        r"\\[object object\\]",  # as JavaScript spells any object
        r"0{8}-0{4}-0{4}-0{4}-0{12}",
    )
)

PATTERNS = {
    "PLACEHOLDER": rf"^{_INVISIBLE}({_WORDS})?{_INVISIBLE}\\z",
    "TIMESTAMP": (
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
        r"[T ]([01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?"
        r"(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)?\\z"
    ),
    "NUMBER": r"^ *[+-]?([0-9]{1,40}([.][0-9]{0,40})?|[.][0-9]{1,40}) *\\z",
}


_NAME = re.compile(r"\$\{(\w+)\}")


def with_patterns(sql: str) -> str:
    """A statement with its patterns in place. Raises KeyError for a name that no pattern has."""
    return _NAME.sub(lambda found: PATTERNS[found[1]], sql)


def unknown_patterns(sql: str) -> list[str]:
    """The names in a statement that no pattern has."""
    return [name for name in _NAME.findall(sql) if name not in PATTERNS]
