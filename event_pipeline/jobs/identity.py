"""Which accepted rows of a partition are the same, and which of them the table takes.

There are two kinds of table. One without a key takes each line once (`EachLineOnce`); one with a
key takes one row for each value of it (`OneRowPerKey`). Both answer the same two questions: which
staged rows must be read again before rows can be compared, and then which rows the table takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from event_pipeline.jobs.workspace import Workspace


class Split(NamedTuple):
    """Staged rows, split by whether they can be compared as they are.

    `repeated` are the lines of the others (`_line`, `_path`), None if there are no others.
    """

    comparable: DataFrame
    repeated: DataFrame | None = None


class Choice(NamedTuple):
    """The rows that the table takes, and those that it refuses because another has their key.

    `rows` have to be written. If `takes_staged_files`, the table also takes every staged row, and
    `rows` has none of them. `conflicts` are None in a table without a key.
    """

    rows: DataFrame
    takes_staged_files: bool = False
    conflicts: DataFrame | None = None


class Identity(Protocol):
    """How a table tells that two rows are the same.

    `needs_text` says whether staged rows must keep their `_line` and `_path`.
    """

    needs_text: bool

    def split(self, staged: DataFrame, lines: DataFrame) -> Split:
        """Which staged rows must be read again, from `lines`, before they can be compared."""

    def choose(self, split: Split, exact: DataFrame) -> Choice:
        """What the table takes of the comparable rows and of those that were read exactly."""


@dataclass
class EachLineOnce:
    """Without a key: the table takes one of each set of equal lines; the others are duplicates."""

    work: Workspace
    columns: Sequence[str]
    needs_text: bool = False

    def split(self, staged: DataFrame, lines: DataFrame) -> Split:
        """Rows that share a hash are read again, because only their lines tell if they are equal.

        Repeats are rare, so the usual partition keeps no text of its rows.
        """
        counts = staged.repartition("_hash").groupBy("_hash").count()
        hashes = self.work.persist(counts.where("count > 1").select("_hash"))
        if hashes.isEmpty():
            return Split(staged)
        repeated = lines.join(hashes, F.xxhash64("_line") == F.col("_hash"), "left_semi")
        return Split(staged.join(hashes, "_hash", "left_anti"), repeated)

    def choose(self, split: Split, exact: DataFrame) -> Choice:
        """No two comparable rows are equal, and none is equal to one that was read exactly."""
        rows = exact.dropDuplicates(["_line"]).select(*self.columns)
        if split.repeated is None:
            return Choice(rows, takes_staged_files=True)
        return Choice(rows.unionByName(split.comparable.select(*self.columns)))


@dataclass
class OneRowPerKey:
    """With a key: the table takes one row of each; the others are duplicates or conflicts.

    Rows that are equal in all of `content` are one row and its duplicates: the one with the least
    line is kept, then the one with the least `source_object`. Of different rows with the same
    `key`, the table takes the one with the latest `latest`, then with the greatest content, column
    by column; the others are conflicts. So every run chooses the same rows, and quarantines the
    same lines.
    """

    work: Workspace
    content: Sequence[str]
    key: Sequence[str]
    latest: str
    source_object: Column
    needs_text: bool = True

    def split(self, staged: DataFrame, lines: DataFrame) -> Split:
        """Staged rows hold all that is compared."""
        return Split(staged)

    def choose(self, split: Split, exact: DataFrame) -> Choice:
        """One row of each key, and the conflicts. Duplicates are dropped."""
        accepted = split.comparable.drop("_unknown").unionByName(exact, allowMissingColumns=True)
        ranked = self.work.persist(self._ranked(accepted))
        return Choice(
            ranked.where("copy = 1 AND place = 1"),
            conflicts=ranked.where("copy = 1 AND place > 1"),
        )

    def _ranked(self, accepted: DataFrame) -> DataFrame:
        """Rows with `copy`, their number among equal rows, and `place`, their rank in their key.

        Only the first copies are ranked against each other.
        """
        equal = Window.partitionBy(*self.content).orderBy("_line", self.source_object)
        order = (F.col(name).desc_nulls_last() for name in (self.latest, *self.content))
        rivals = Window.partitionBy(*self.key, F.col("copy") == 1).orderBy(*order)
        counted = accepted.withColumn("copy", F.row_number().over(equal))
        return counted.withColumn("place", F.row_number().over(rivals))
