"""A section: the answer to one question, in records."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from event_pipeline.errors import first_line

# How many records of a kind a terminal shows; JSON has them all.
SHOWN = 20

Record = dict[str, Any]


def never_urgent(_: Record) -> bool:
    """The value of `urgent` for a section whose records need no person."""
    return False


def always_urgent(_: Record) -> bool:
    """The value of `urgent` for a section each of whose records needs a person."""
    return True


@dataclass
class Section:
    """The records that answer one question, under a `key` that never changes.

    `urgent` tells whether a record needs a person. `kind` names the column by which records are
    shown in groups. `errors` says what could not be found out, and why. If a section
    `is_advisory`, its urgent records do not make a command that builds fail, since they are as
    wrong before the command as after it.
    """

    key: str
    title: str
    urgent: Callable[[Record], bool] = never_urgent
    kind: str = ""
    is_advisory: bool = False
    records: list[Record] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, subject: str, find: Callable[[], Iterable[Record]]) -> "Section":
        """Adds the records that `find` gives. If it raises, adds `subject` and why to `errors`."""
        try:
            self.records += list(find())
        except Exception as error:  # whatever it is, the rest of the answer still holds
            why = first_line(error)
            self.errors.append(f"{subject}: {why}" if subject else why)
        return self

    @property
    def urgent_records(self) -> list[Record]:
        """The records that need a person."""
        return [record for record in self.records if self.urgent(record)]

    def by_kind(self) -> Iterator[tuple[str, list[Record]]]:
        """Each kind with its records; one empty kind with all of them if they have none."""
        for kind in dict.fromkeys(str(record.get(self.kind, "")) for record in self.records):
            yield kind, [r for r in self.records if str(r.get(self.kind, "")) == kind]

    def sentence(self, record: Record) -> str:
        """A record in one line: texts as they are, numbers with their names."""
        return ", ".join(
            value if isinstance(value, str) else f"{name.replace('_', ' ')} {value:,}"
            for name, value in record.items()
            if value not in ("", None)
        )
