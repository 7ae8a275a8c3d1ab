"""Converts partition keys to and from Iceberg's values, and into filters."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from pyiceberg.expressions import AlwaysFalse, AlwaysTrue, BooleanExpression, parser

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
    values = ", ".join(f"'{contract.cadence.value(key)}'" for key in keys)
    return parser.parse(f"{contract.partition} IN ({values})") if keys else AlwaysFalse()
