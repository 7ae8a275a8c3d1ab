"""Programs that run elsewhere: on Spark, and so in AWS Glue."""

# Columns of a line that travel beside a Silver statement's own: its text and object, the names of
# its unknown fields (null where its fields could not be read for sure), its hash, and whether it
# is the first time that it is read.
CARRIED = ("_line", "_path", "_unknown", "_hash", "_first")
# The reason of a line that a mapping leaves out, as it is no line of the dataset.
SKIPPED = "_skipped"
