"""Converts partition keys to and from Iceberg's values, and into filters."""

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pyiceberg.expressions import (
    AlwaysFalse,
    AlwaysTrue,
    And,
    BooleanExpression,
    GreaterThanOrEqual,
    In,
    LessThanOrEqual,
)

from event_pipeline.contracts import Contract
from event_pipeline.partitions import DAILY, DAY

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def key_of(contract: Contract, value: Any) -> str:
    """Partition key of an Iceberg partition value."""
    if isinstance(value, int):
        value = EPOCH + value * _unit(contract)
    return f"{value:{contract.cadence.key_format}}"


def encoded(contract: Contract, key: str) -> int:
    """The partition column's value as Iceberg stores it: microseconds or days since 1970."""
    return (contract.cadence.start(key) - EPOCH) // _unit(contract)


def _unit(contract: Contract) -> timedelta:
    return DAY if contract.cadence is DAILY else timedelta(microseconds=1)


def partition_filter(contract: Contract, keys: Collection[str] | None) -> BooleanExpression:
    """A filter that admits the rows of these partitions; of all partitions if `keys` is None."""
    if keys is None:
        return AlwaysTrue()
    values = [contract.cadence.value(key) for key in keys]
    # PyIceberg's predicates take what their generated signatures do not show.
    return In(contract.partition, values) if values else AlwaysFalse()  # type: ignore[call-arg]


def days_filter(contract: Contract, first: date, last: date = date.max) -> BooleanExpression:
    """A filter that admits the rows of the partitions of these days."""
    times = ("", "") if contract.cadence is DAILY else ("T00:00:00", "T23:59:59")
    # `isoformat` writes years before 1000 with four digits, as `cadence.value` does not.
    start, end = (day.isoformat() + time for day, time in zip((first, last), times, strict=True))
    return And(
        GreaterThanOrEqual(contract.partition, start),  # type: ignore[call-arg]
        LessThanOrEqual(contract.partition, end),  # type: ignore[call-arg]
    )
