"""Data contracts: what each table holds, column by column, and why a row is refused.

To add a dataset, or a question asked of some, write a contract and its SQL file, and name a new
module in MODULES below: see docs/DATASETS.md. The graph, the sensors, the quarantine, the ledger
and the command line follow from the contracts.
"""

from importlib import import_module

from event_pipeline.contracts.clickstream import (
    CATEGORY_PERFORMANCE,
    CONVERSION_FUNNEL,
    DAILY_USER_ACTIVITY,
    EVENTS,
    HOURLY_REVENUE,
    TOP_PRODUCTS,
)
from event_pipeline.contracts.columns import Column
from event_pipeline.contracts.commerce import (
    COMMERCE_EVENTS,
    COMMERCE_ORDERS,
    COMMERCE_USERS,
    USER_ACTIVITY,
)
from event_pipeline.contracts.consistency import check_contracts
from event_pipeline.contracts.contract import (
    ENGINE_RULES,
    Bronze,
    Contract,
    GoldContract,
    MadeContract,
    QuarantineContract,
    RollUpContract,
    SilverContract,
    Total,
)

# The modules of this package whose contracts make up the graph; tables keep their order in them.
MODULES = ("clickstream", "commerce")

_CONTRACTS: dict[MadeContract, str] = {}
for _name in MODULES:
    for _each in vars(import_module(f"{__name__}.{_name}")).values():
        if isinstance(_each, MadeContract):
            # A contract belongs to the first module that has it; later ones only import it.
            _CONTRACTS.setdefault(_each, _name)
SILVER = tuple(each for each in _CONTRACTS if isinstance(each, SilverContract))
ROLL_UPS = tuple(each for each in _CONTRACTS if isinstance(each, RollUpContract))
GOLD = tuple(each for each in _CONTRACTS if isinstance(each, GoldContract))
check_contracts(SILVER, ROLL_UPS, GOLD)
# Table that a statement makes -> its domain, which is the module of its contract.
DOMAINS = {each.table: name for each, name in _CONTRACTS.items()}
TABLES = {c.table: c for c in (*SILVER, *(s.quarantine for s in SILVER), *ROLL_UPS, *GOLD)}


def roll_ups_of(contract: SilverContract) -> tuple[RollUpContract, ...]:
    """The roll-ups that are made with a Silver table."""
    return tuple(each for each in ROLL_UPS if each.of == contract)


def sums_of(contract: SilverContract) -> tuple[str, ...]:
    """The aggregates of a Silver table that its Gold tables promise, and that add up over hours.

    They are computed with each partition of a table that has roll-ups.
    """
    gold = [each for each in GOLD if each.roll_ups and each.inputs == (contract,)]
    return tuple(sorted({total.silver for each in gold for total in each.totals if not total.by}))


__all__ = [
    "CATEGORY_PERFORMANCE",
    "COMMERCE_EVENTS",
    "COMMERCE_ORDERS",
    "COMMERCE_USERS",
    "CONVERSION_FUNNEL",
    "DAILY_USER_ACTIVITY",
    "DOMAINS",
    "ENGINE_RULES",
    "EVENTS",
    "GOLD",
    "HOURLY_REVENUE",
    "ROLL_UPS",
    "SILVER",
    "TABLES",
    "TOP_PRODUCTS",
    "USER_ACTIVITY",
    "Bronze",
    "Column",
    "Contract",
    "GoldContract",
    "MadeContract",
    "QuarantineContract",
    "RollUpContract",
    "SilverContract",
    "Total",
    "roll_ups_of",
    "sums_of",
]
