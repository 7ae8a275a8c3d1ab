"""What every asset tells of itself: its columns, table, code, engine and owners.

Tags are for searching (`tag:layer=silver`, `tag:pii=true`): layer, domain, cadence (hourly or
daily) and pii, which says whether the asset holds personal data.
"""

from collections.abc import Collection
from pathlib import Path

import dagster as dg

from event_pipeline import contracts, report
from event_pipeline.assets.keys import asset_key, bronze_key
from event_pipeline.contracts import (
    DOMAINS,
    Contract,
    GoldContract,
    MadeContract,
    SilverContract,
)
from event_pipeline.lake.tables import Lake
from event_pipeline.partitions import HOURLY
from event_pipeline.settings import Settings

TRANSFORMERS = {"local": "duckdb", "spark": "spark", "aws": "glue"}
QUERIERS = {"local": "duckdb", "spark": "duckdb", "aws": "athena"}
# The UI shows an icon for most of these words.
PRODUCERS = {"local": "python", "spark": "python", "aws": "lambda"}


def table_spec(
    table: Contract,
    contract: MadeContract,
    deps: Collection[dg.AssetKey | dg.AssetDep],
    settings: Settings,
) -> dg.AssetSpec:
    """The asset of a table that a contract's statement makes: its own table or the quarantine."""
    return dg.AssetSpec(
        asset_key(table),
        deps=list(deps),
        description=table.description,
        group_name=table.layer,
        code_version=contract.version,
        skippable=True,
        kinds={"iceberg", *_engines(contract, settings)},
        owners=settings.owners,
        tags=_tags(table.layer, contract, personal=bool(table.personal)),
        metadata={
            "dagster/column_schema": report.column_schema(table),
            "dagster/table_name": ".".join(Lake.of(settings).identifier(table)),
            "dagster/code_references": dg.CodeReferencesMetadataValue(
                code_references=[
                    _declaration(contract),
                    dg.LocalFileCodeReference(
                        file_path=str(contract.sql_path), line_number=1, label="statement"
                    ),
                ]
            ),
        },
    )


def bronze_spec(
    contract: SilverContract, description: str, settings: Settings, *, is_produced: bool = False
) -> dg.AssetSpec:
    """The asset of a dataset's objects; `is_produced` if the pipeline's own producer makes them.

    Only such an asset is made by code, and so has a code version.
    """
    return dg.AssetSpec(
        bronze_key(contract),
        description=description,
        group_name="bronze",
        # If the contract changes, lines may need other fields.
        code_version=contract.version if is_produced else None,
        skippable=is_produced,
        kinds={"json", PRODUCERS[settings.target]} if is_produced else {"json"},
        owners=settings.owners,
        tags=_tags("bronze", contract, personal=bool(contract.personal)),
        metadata={
            "dagster/column_schema": report.source_schema(contract),
            "dagster/code_references": dg.CodeReferencesMetadataValue(
                code_references=[_declaration(contract)]
            ),
        },
    )


def _engines(contract: MadeContract, settings: Settings) -> set[str]:
    """The engines that run the contract's statement: the target's, and perhaps the embedded one."""
    is_query = isinstance(contract, GoldContract) and contract.dialect == "athena"
    limit = settings.athena_from_mb if is_query else settings.spark_from_mb
    return {(QUERIERS if is_query else TRANSFORMERS)[settings.target]} | (
        {TRANSFORMERS["local"]} if limit else set()
    )


def _tags(layer: str, contract: MadeContract, *, personal: bool) -> dict[str, str]:
    return {
        "layer": layer,
        "domain": DOMAINS[contract.table],
        "cadence": "hourly" if contract.cadence is HOURLY else "daily",
        "pii": "true" if personal else "false",
    }


def _declaration(contract: MadeContract) -> dg.LocalFileCodeReference:
    """The file and line in which the contract is declared."""
    path = Path(contracts.__file__).with_name(f"{DOMAINS[contract.table]}.py")
    before, found, _ = path.read_text().partition(f'"{contract.asset}"')
    return dg.LocalFileCodeReference(
        file_path=str(path),
        line_number=before.count("\n") + 1 if found else 1,
        label="contract",
    )
