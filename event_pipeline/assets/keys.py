"""Keys of the assets that contracts describe."""

import dagster as dg

from event_pipeline.contracts import Contract, SilverContract


def asset_key(contract: Contract) -> dg.AssetKey:
    """Key of the asset that a contract describes."""
    return dg.AssetKey(contract.asset.split("/"))


def bronze_key(contract: SilverContract) -> dg.AssetKey:
    """Key of the Bronze asset that a Silver contract is made of."""
    return dg.AssetKey(contract.bronze.asset.split("/"))
