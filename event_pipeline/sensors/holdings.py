"""What the lake holds of a table, for comparison with what Dagster has on record."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from event_pipeline.contracts import Contract
from event_pipeline.errors import first_line
from event_pipeline.lake.objects import EMPTY
from event_pipeline.lake.tables import Lake


@dataclass(frozen=True)
class Holdings:
    """What the lake holds of a table.

    `digests`: partition -> digest of the input that it was made of. Partitions that a person
    `rolled_back` count as they should be. If there is an `error`, the table cannot be read, and no
    partition counts as lacking. Nothing is known of partitions before the day `since`, and none of
    them counts as lacking.
    """

    digests: Mapping[str, str] = field(default_factory=dict)
    rolled_back: frozenset[str] = frozenset()
    error: str = ""
    since: str = ""

    @classmethod
    def of(cls, lake: Lake, contract: Contract, since: str = "") -> "Holdings":
        """Reads what the lake holds of a table. Never raises: see `error`."""
        try:
            return cls(
                {key: found.digest for key, found in lake.folders(contract, since).items()},
                frozenset(lake.rolled_back(contract)),
                since=since,
            )
        except Exception as error:  # whatever the damage is, the other tables go on
            return cls(error=f"{contract.table} cannot be read: {first_line(error)}")

    def lacks(self, key: str, digest: str) -> bool:
        """Whether the lake does not hold a partition made of the input with this digest."""
        if self.error or key in self.rolled_back or key < self.since:
            return False
        return self.digests.get(key, EMPTY.digest) != digest

    def lacking(self, recorded: Mapping[str, str]) -> list[str]:
        """The partitions in `recorded` (partition -> digest of its input) that the lake lacks."""
        return sorted(key for key, digest in recorded.items() if self.lacks(key, digest))
