"""Checks contracts against each other, for mistakes that none of them has by itself."""

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

from event_pipeline.contracts.contract import (
    Contract,
    GoldContract,
    RollUpContract,
    SilverContract,
)
from event_pipeline.errors import ContractError


def check_contracts(
    silver: Sequence[SilverContract],
    roll_ups: Sequence[RollUpContract],
    gold: Sequence[GoldContract],
) -> None:
    """Raises ContractError, in one line, if contracts claim the same thing or miss each other."""
    for asset, mistake in _mistakes(silver, roll_ups, gold):
        raise ContractError(asset, mistake)


def _mistakes(
    silver: Sequence[SilverContract],
    roll_ups: Sequence[RollUpContract],
    gold: Sequence[GoldContract],
) -> Iterator[tuple[str, str]]:
    yield from _same_tables((*silver, *roll_ups, *gold))
    for one, other in combinations(silver, 2):
        for mistake in _bronze_conflicts(one, other):
            yield other.asset, mistake
    for contract in gold:
        for each in contract.inputs:
            if each not in silver:
                yield (
                    contract.asset,
                    f"inputs: {each.table} is not among SILVER, so nothing builds it",
                )
        for rolled in contract.roll_ups:
            if rolled not in roll_ups:
                yield (
                    contract.asset,
                    f"roll_ups: {rolled.table} is not among ROLL_UPS, so nothing builds it",
                )


def _same_tables(contracts: Sequence[Contract]) -> Iterator[tuple[str, str]]:
    for one, other in combinations(contracts, 2):
        if one.asset == other.asset:
            yield other.asset, "asset: two contracts have this name"


def _bronze_conflicts(one: SilverContract, other: SilverContract) -> Iterator[str]:
    """Why two datasets cannot both lie where they say."""
    here, there = one.bronze, other.bronze
    if here.asset == there.asset:
        yield f"bronze.asset {there.asset!r}: is also that of {one.table}"
    if here.root != there.root:
        return
    if here.prefix != there.prefix:
        if here.prefix.startswith(there.prefix) or there.prefix.startswith(here.prefix):
            yield f"bronze.prefix {there.prefix!r}: overlaps {here.prefix!r} of {one.table}"
        return
    if (one.layout, here.uploaded) != (other.layout, there.uploaded):
        yield f"bronze.prefix {there.prefix!r}: {one.table} has another cadence or layout there"
    if here.names == there.names:
        yield f"bronze.names {there.names!r}: are also those of {one.table}"
    for name, of, names in ((here.expected, one, there), (there.expected, other, here)):
        if re.fullmatch(names.names, name, re.ASCII):
            yield f"bronze.names: {name!r} of {of.table} matches the names of both datasets"
