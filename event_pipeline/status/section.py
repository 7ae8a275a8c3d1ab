"""A section: the answer to one question, in records."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from event_pipeline.errors import first_line

# Records of a kind that a terminal shows; JSON has them all.
SHOWN = 20

Record = dict[str, Any]


def nobody(_: Record) -> bool:
    """Of a section that needs no person."""
    return False


def somebody(_: Record) -> bool:
    """Of a section each of whose records needs a person."""
    return True


@dataclass
class Section:
    """Records under a key that never changes; `kind` is the column by which they are shown apart.

    `urgent` tells whether a record needs a person, and `untold` is what could not be found out.
    What is urgent in a section that `is_told_only` is no failure of a command that builds: it is
    as wrong before as after.
    """

    key: str
    title: str
    urgent: Callable[[Record], bool] = nobody
    kind: str = ""
    is_told_only: bool = False
    records: list[Record] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)

    def add(self, what: str, find: Callable[[], Iterable[Record]]) -> "Section":
        """Adds records, or if they cannot be found why, and of `what`."""
        try:
            self.records += list(find())
        except Exception as error:  # Whatever it is, the rest of the answer stands.
            why = first_line(error)
            self.untold.append(f"{what}: {why}" if what else why)
        return self

    @property
    def urgent_records(self) -> list[Record]:
        """The records that need a person."""
        return [record for record in self.records if self.urgent(record)]

    def by_kind(self) -> Iterator[tuple[str, list[Record]]]:
        """The records of each kind; all together where they have none."""
        for kind in dict.fromkeys(str(record.get(self.kind, "")) for record in self.records):
            yield kind, [r for r in self.records if str(r.get(self.kind, "")) == kind]

    def sentence(self, record: Record) -> str:
        """A record in one line: texts as they are, numbers with their names."""
        return ", ".join(
            value if isinstance(value, str) else f"{name.replace('_', ' ')} {value:,}"
            for name, value in record.items()
            if value not in ("", None)
        )
