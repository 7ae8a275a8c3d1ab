"""What the lake holds of a table, to be compared with what Dagster has on record of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from event_pipeline.contracts import Contract
from event_pipeline.errors import first_line
from event_pipeline.lake.objects import EMPTY
from event_pipeline.lake.tables import Lake


@dataclass(frozen=True)
class Holdings:
    """By partition, the digest of what the lake holds was made of.

    Partitions that a person `rolled_back` are as they should be. With an `error` the table cannot
    be read, and nobody can tell.
    """

    digests: Mapping[str, str] = field(default_factory=dict)
    rolled_back: frozenset[str] = frozenset()
    error: str = ""

    @classmethod
    def of(cls, lake: Lake, contract: Contract) -> "Holdings":
        """What the lake holds of a table."""
        try:
            live = lake.live(contract)
            return cls(
                {key: found.digest for key, found in live.items()},
                frozenset(lake.rolled_back(contract)),
            )
        except Exception as error:  # However it is damaged: the other tables go on.
            return cls(error=f"{contract.table} cannot be read: {first_line(error)}")

    def lacks(self, key: str, digest: str) -> bool:
        """Whether the lake does not hold a partition as it was made of this input."""
        if self.error or key in self.rolled_back:
            return False
        return self.digests.get(key, EMPTY.digest) != digest

    def lacking(self, recorded: Mapping[str, str]) -> list[str]:
        """The partitions on record (with the digest of their input) that the lake lacks."""
        return sorted(key for key, digest in recorded.items() if self.lacks(key, digest))
