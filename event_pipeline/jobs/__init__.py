"""The Spark program and its parts, which run on the laptop and in AWS Glue."""

# Columns that every Silver statement passes on for Spark, beside the table's own:
#   _line     the text of the line
#   _path     the file that it is from, as Spark spells it
#   _unknown  names of its fields that the contract does not know; null if its fields could not be
#             read, or not read for sure
#   _hash     a 64-bit hash of its text; null where it is not needed
#   _first    false on a line that was accepted before and is read again only to be compared
CARRIED = ("_line", "_path", "_unknown", "_hash", "_first")
# The columns of every quarantine, beside its partition's; each is a string.
QUARANTINE = {
    "reasons": "Rules that the line breaks, joined by commas.",
    "line": "The line as it was received.",
    "source_object": "Bronze object that holds the line.",
}
# The reason of a line that a mapping leaves out, as it is no line of the dataset.
SKIPPED = "_skipped"
# Unknown fields that a report names, the most frequent first.
MAX_UNKNOWN_FIELDS = 50
# A text that may have been a number in the line, which each engine spells in its own way.
ODD_NUMBER = r"^-?([0-9]+[.eE][-+.eE0-9]*|0)$"
