"""Which partitions may hold rows of a date, for tables of late events.

Such a table is partitioned by arrival and asked by event date, so that Iceberg would have to open
every manifest to find a date's files. But nearly all events arrive within days. The partitions that
hold others, far from their own date, are listed in a property of the table; every other partition
is ruled out by its key alone, and with it whole manifests.

A partition stays in the list even if it is made anew without such rows, since the table may be
rolled back.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from datetime import date

from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue, BooleanExpression, Or
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.types import DateType

from event_pipeline.contracts import Contract, RollUpContract, SilverContract
from event_pipeline.lake.values import days_filter, key_of, partition_filter
from event_pipeline.partitions import DAILY

# Rows whose dates are up to this far from their partition's day are near.
NEAR = 7
# A property of the table: the keys of the partitions with other rows, as JSON.
FAR = "event-pipeline.far-partitions"
# With more of them, the list is given up, and a date's files are sought in all manifests.
FAR_MOST = 500
TOO_MANY = "too many"
# The property of a table without rows.
NONE_FAR = {FAR: "[]"}

_EPOCH = date(1970, 1, 1).toordinal()


def date_column(contract: Contract) -> str | None:
    """The column by whose dates a table is asked; None if it has none."""
    if isinstance(contract, SilverContract | RollUpContract):
        return contract.date
    return contract.partition if contract.cadence is DAILY else None


def is_by_arrival(contract: Contract) -> bool:
    """Whether a table is partitioned by another column than the one by whose dates it is asked."""
    return date_column(contract) not in (None, contract.partition)


def with_far(table: Table, contract: Contract, added: Iterable[DataFile]) -> dict[str, str]:
    """The property once files are added to a table; empty if it stays as it is.

    A table that was made before there was the property gets it from `far_of_all`.
    """
    before = table.properties.get(FAR, TOO_MANY)
    if not is_by_arrival(contract) or before == TOO_MANY:
        return {}
    known = set(json.loads(before))
    far = known.union(_far(table, contract, added))
    return {} if far == known else _property(far)


def far_of_all(table: Table, contract: Contract, files: Iterable[DataFile]) -> dict[str, str]:
    """The property of a table that has none yet, by the files of all its states."""
    if not is_by_arrival(contract) or FAR in table.properties:
        return {}
    return _property(set(_far(table, contract, files)))


def _property(far: Collection[str]) -> dict[str, str]:
    return {FAR: json.dumps(sorted(far)) if len(far) <= FAR_MOST else TOO_MANY}


def _far(table: Table, contract: Contract, files: Iterable[DataFile]) -> Iterator[str]:
    for file in files:
        key = key_of(contract, file.partition[0])
        own = contract.cadence.start(key).toordinal()
        first, last = _days_of(file, _field_of(table, contract))
        if file.record_count and not own - NEAR <= first <= last <= own + NEAR:
            yield key


def _field_of(table: Table, contract: Contract) -> int:
    column = date_column(contract)
    assert column
    return table.schema().find_field(column).field_id


def _days_of(file: DataFile, field: int) -> tuple[int, int]:
    """The first and the last date of a file's rows, as ordinals; any date where it is unknown."""
    low, high = ((bounds or {}).get(field) for bounds in (file.lower_bounds, file.upper_bounds))
    kind = DateType()
    return (
        date.min.toordinal() if low is None else int(from_bytes(kind, low)) + _EPOCH,
        date.max.toordinal() if high is None else int(from_bytes(kind, high)) + _EPOCH,
    )


def partitions_of(table: Table, contract: Contract, first: date, last: date) -> BooleanExpression:
    """A filter that admits all partitions that may hold rows of the dates from `first` to `last`.

    It speaks of the partition column only.
    """
    if not is_by_arrival(contract):
        return days_filter(contract, first, last)
    far = table.properties.get(FAR, TOO_MANY)
    if far == TOO_MANY:
        return AlwaysTrue()
    near = days_filter(contract, _moved(first, -NEAR), _moved(last, NEAR))
    return Or(near, partition_filter(contract, json.loads(far)))


def _moved(day: date, days: int) -> date:
    """A date some days later, within the years 1 to 9999."""
    ordinal = day.toordinal() + days
    return date.fromordinal(min(max(ordinal, 1), date.max.toordinal()))


def may_hold(table: Table, contract: Contract, file: DataFile, first: date, last: date) -> bool:
    """Whether a file may hold rows of the dates from `first` to `last`."""
    found = _days_of(file, _field_of(table, contract))
    return found[0] <= last.toordinal() and found[1] >= first.toordinal()
