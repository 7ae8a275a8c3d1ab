"""Layouts: where the objects of each partition lie, as a template of their paths.

A template is a path under a dataset's prefix, such as `{yyyy}/{MM}/{dd}/{HH}/` or
`*/{MM}-{dd}-{yyyy}/`. Its fields are a partition's time in UTC, and `*` is any text within a name.
It ends with a slash if folders tell the time. Otherwise, it ends with the names of the objects,
such as `events_{yyyy}{MM}{dd}*`.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property

from event_pipeline.partitions import HOURLY, Cadence

# What a field may hold. `day_ms` is the start of a day in milliseconds since 1970.
FIELDS = {
    "yyyy": r"\d{4}",
    "MM": r"\d\d",
    "dd": r"\d\d",
    "HH": r"\d\d",
    "mm": r"\d\d",
    "day_ms": r"\d{1,15}",
}
_DAY = {"yyyy", "MM", "dd"}
_FIELD = re.compile(r"\{(\w*)\}|(\*)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Lists a path: the names of the folders, and of the other entries, directly under it.
ListFolder = Callable[[str], tuple[list[str], list[str]]]


@dataclass(frozen=True)
class Layout:
    """A template, and the cadence of the partitions."""

    template: str
    cadence: Cadence

    def mistakes(self) -> Iterator[str]:
        """What is wrong with the template, one line each."""
        names = {found[1] for found in _FIELD.finditer(self.template) if found[1] is not None}
        if unknown := sorted(names - FIELDS.keys()):
            yield f"there is no field {{{unknown[0]}}}; choose from {', '.join(FIELDS)}"
        elif not (names >= _DAY or "day_ms" in names):
            yield "must name the day, by {yyyy}, {MM} and {dd} or by {day_ms}"
        elif self.cadence is HOURLY and "HH" not in names:
            yield "must name the hour, by {HH}; only a table whose partition is a date needs none"
        if self.template.startswith("/") or "//" in self.template:
            yield "must be folders, each ending with a slash"

    @cached_property
    def _parts(self) -> list["_Part"]:
        *folders, name = self.template.split("/")
        return [_Part(each) for each in (*folders, *([name] if name else []))]

    @cached_property
    def _folders(self) -> list["_Part"]:
        """The folders of the template, without the names of objects."""
        return self._parts if self.template.endswith("/") else self._parts[:-1]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Matches a path under the prefix; the group `name` is what follows the folders."""
        end = self.template.rfind("/") + 1
        seen: set[str] = set()
        folders = _pattern_of(self.template[:end], seen)
        name = _pattern_of(self.template[end:], seen) or ".*"
        return re.compile(f"{folders}(?P<name>{name})", re.ASCII | re.DOTALL)

    @cached_property
    def _finer(self) -> frozenset[str]:
        """The fields that tell a finer time than a partition has."""
        return frozenset({"mm"} if self.cadence is HOURLY else {"HH", "mm"})

    def split(self, path: str) -> tuple[str | None, str]:
        """The key of the partition that a path under the prefix lies in, and the rest of the path.

        If it lies in no partition: None, and the whole path. A time that does not exist, such as
        hour=99, gives a key that no day has.
        """
        found = self._pattern.fullmatch(path)
        key = self._key(found.groupdict()) if found else None
        return (key, found["name"]) if found and key else (None, path)

    def _key(self, fields: dict[str, str]) -> str | None:
        day = _day_of(fields)
        if day is None:
            return None
        return f"{day}-{fields['HH']}:00" if self.cadence is HOURLY else day

    def folder(self, key: str) -> str:
        """Folder of a partition, in which `*` stands for any text."""
        start = self.cadence.start(key)
        return "".join(f"{part.filled(start, self._finer)}/" for part in self._folders)

    def folders_of(self, key: str, list_folder: ListFolder) -> Iterator[str]:
        """The paths under which all of a partition's objects lie; others may lie there too.

        Folders whose names contain `*` are looked up with `list_folder`.
        """
        start = self.cadence.start(key)
        yield from self._under("", start, self._parts, list_folder, self._finer)

    def folders_of_day(self, day: date, list_folder: ListFolder) -> Iterator[str]:
        """The paths under which all objects of a day's partitions lie; others may lie there too."""
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        yield from self._under("", start, self._parts, list_folder, frozenset({"HH", "mm"}))

    def _under(
        self,
        path: str,
        start: datetime,
        parts: list["_Part"],
        list_folder: ListFolder,
        finer: frozenset[str],
    ) -> Iterator[str]:
        if not parts:
            yield path
            return
        part, *below = parts
        is_name = not below and not self.template.endswith("/")
        if part.fields & finer or is_name:
            # This part tells a finer time than is asked for, or is an object's name: list all
            # that begins like this.
            yield path + part.beginning(start, finer)
        elif part.is_any:
            for name in list_folder(path)[0]:
                if part.fits(name, start):
                    yield from self._under(f"{path}{name}/", start, below, list_folder, finer)
        else:
            filled = f"{path}{part.filled(start)}/"
            yield from self._under(filled, start, below, list_folder, finer)

    def days(self, list_folder: ListFolder, first: date | None = None) -> Iterator[date]:
        """The days that have a folder or an object, in order, starting at `first`.

        If the template is by year, month and day, folders are listed only as days are asked for.
        """
        found = self._days("", {}, self._parts, list_folder, first)
        if self._in_order:
            yield from found
        else:
            yield from sorted(set(found))

    @cached_property
    def _in_order(self) -> bool:
        """Whether the paths of days sort as the days do."""
        before = self.template.partition("{dd}")[0]
        places = [before.find(f"{{{name}}}") for name in ("yyyy", "MM")]
        return "*" not in before and -1 not in places and places == sorted(places)

    def _days(
        self,
        path: str,
        known: dict[str, str],
        parts: list["_Part"],
        list_folder: ListFolder,
        first: date | None,
    ) -> Iterator[date]:
        if "day_ms" in known or known.keys() >= _DAY:
            text = _day_of(known)
            day = _date(text) if text else None
            if day and (first is None or day >= first):
                yield day
            return
        if not parts or _is_before(known, first):
            return
        part, *below = parts
        is_name = not below and not self.template.endswith("/")
        folders, files = list_folder(path)
        seen = None
        for name in files if is_name else folders:
            if (fields := part.match(name)) is None:
                continue
            for day in self._days(f"{path}{name}/", known | fields, below, list_folder, first):
                if day != seen:  # several objects of a day
                    yield day
                seen = day

    def is_stray(self, name: str, *, is_folder: bool) -> bool:
        """Whether a name directly under the prefix does not fit the template."""
        first = self._parts[0]
        if is_folder != bool(self._folders):
            return True
        fields = first.match(name)
        if fields is None:
            return True
        text = _day_of(fields) if fields.keys() >= _DAY or "day_ms" in fields else ""
        return text is None or (bool(text) and _date(text) is None)


class _Part:
    """A folder of a template, or the name of its objects."""

    def __init__(self, text: str) -> None:
        self.text = text
        found = list(_FIELD.finditer(text))
        self.fields = {each[1] for each in found if each[1]}
        self.is_any = any(each[2] for each in found)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(_pattern_of(self.text, set()), re.ASCII)

    def match(self, name: str) -> dict[str, str] | None:
        """The fields of a name; None if it does not fit this part."""
        found = self._pattern.fullmatch(name)
        return found.groupdict() if found else None

    def filled(self, start: datetime, unknown: Collection[str] = ()) -> str:
        """The part filled in for a time; `*` stays as it is, and stands for `unknown` fields."""
        return _FIELD.sub(
            lambda each: "*" if each[2] or each[1] in unknown else _text(each[1], start), self.text
        )

    def fits(self, name: str, start: datetime) -> bool:
        """Whether a name fits the part filled in for a time."""
        found = self.match(name)
        return found is not None and all(_text(n, start) == value for n, value in found.items())

    def beginning(self, start: datetime, finer: Collection[str]) -> str:
        """The part filled in for a time, up to the first `*` or field that is in `finer`."""
        at = next(
            (each.start() for each in _FIELD.finditer(self.text) if each[2] or each[1] in finer),
            len(self.text),
        )
        return _Part(self.text[:at]).filled(start)


def _pattern_of(template: str, seen: set[str]) -> str:
    """A template as a regular expression with a group for each field, at its first place.

    `seen` are the fields that have a group already; those of the template are added.
    """
    texts, at = [], 0
    for each in _FIELD.finditer(template):
        field = each[1]
        texts.append(re.escape(template[at : each.start()]))
        if each[2]:
            texts.append("[^/]*")
        elif field in seen:
            texts.append(f"(?P={field})")
        else:
            texts.append(f"(?P<{field}>{FIELDS[field]})")
            seen.add(field)
        at = each.end()
    return "".join((*texts, re.escape(template[at:])))


def _text(field: str, start: datetime) -> str:
    """The text of a field for a time."""
    if field == "day_ms":
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
        return str((midnight - _EPOCH) // timedelta(milliseconds=1))
    form = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M"}[field]
    return f"{start:{form}}".zfill(len(field))


def _day_of(fields: dict[str, str]) -> str | None:
    """The day that fields tell, as YYYY-MM-DD, even if there is no such day in the calendar.

    None if `day_ms` is out of range.
    """
    if "day_ms" not in fields:
        return f"{fields['yyyy']}-{fields['MM']}-{fields['dd']}"
    try:
        return f"{_EPOCH + timedelta(milliseconds=int(fields['day_ms'])):%Y-%m-%d}"
    except OverflowError:
        return None


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _is_before(known: dict[str, str], first: date | None) -> bool:
    """Whether the year that is known, or the month of it, ends before the day `first`."""
    if first is None or "yyyy" not in known:
        return False
    months = (known["yyyy"], *([known["MM"]] if "MM" in known else []))
    return months < (f"{first:%Y}".zfill(4), f"{first:%m}")[: len(months)]
