"""Data contracts: what each table holds, column by column, and why a row is refused.

A new Silver dataset is a contract, its SQL file, and its name in SILVER below; the graph, the
sensors, the quarantine, the ledger and the command line take it from there.
"""

from event_pipeline.contracts.clickstream import (
    CATEGORY_PERFORMANCE,
    CONVERSION_FUNNEL,
    DAILY_USER_ACTIVITY,
    EVENTS,
    HOURLY_REVENUE,
    TOP_PRODUCTS,
)
from event_pipeline.contracts.commerce import (
    COMMERCE_EVENTS,
    COMMERCE_ORDERS,
    COMMERCE_USERS,
    USER_ACTIVITY,
)
from event_pipeline.contracts.contract import ENGINE_RULES, Bronze, Column, Contract, Total

SILVER = (EVENTS, COMMERCE_USERS, COMMERCE_EVENTS, COMMERCE_ORDERS)
GOLD = (
    CONVERSION_FUNNEL,
    HOURLY_REVENUE,
    TOP_PRODUCTS,
    CATEGORY_PERFORMANCE,
    DAILY_USER_ACTIVITY,
    USER_ACTIVITY,
)
TABLES = {c.table: c for c in (*SILVER, *(s.quarantine() for s in SILVER), *GOLD)}

__all__ = [
    "CATEGORY_PERFORMANCE",
    "COMMERCE_EVENTS",
    "COMMERCE_ORDERS",
    "COMMERCE_USERS",
    "CONVERSION_FUNNEL",
    "DAILY_USER_ACTIVITY",
    "ENGINE_RULES",
    "EVENTS",
    "GOLD",
    "HOURLY_REVENUE",
    "SILVER",
    "TABLES",
    "TOP_PRODUCTS",
    "USER_ACTIVITY",
    "Bronze",
    "Column",
    "Contract",
    "Total",
]
