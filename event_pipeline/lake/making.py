"""Makes tables from their contracts, and adds the columns that are new in a contract."""

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table, TableProperties
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import NestedField

from event_pipeline.contracts import Contract
from event_pipeline.errors import UsageError
from event_pipeline.lake.dates import NONE_FAR, is_by_arrival

PROPERTIES = {
    # `Lake.publish` plans a publish that lost a race anew: it re-reads what to replace. PyIceberg's
    # own retry would keep the old plan.
    TableProperties.COMMIT_NUM_RETRIES: "0",
    # Without these, every publish costs more than the one before. Manifests are small, so that a
    # publish reads and writes a small part of them.
    TableProperties.MANIFEST_MERGE_ENABLED: "true",
    TableProperties.MANIFEST_MIN_MERGE_COUNT: "25",
    TableProperties.MANIFEST_TARGET_SIZE_BYTES: f"{128 * 1024}",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


def schema_of(contract: Contract) -> Schema:
    """The contract's columns, in order, with ids from 1."""
    return Schema(
        *(
            # Optional: engines write Parquet without marking columns as required.
            NestedField(n, c.name, c.type, doc=c.description, required=False)
            for n, c in enumerate(contract.columns, 1)
        )
    )


def make(catalog: Catalog, identifier: tuple[str, str], address: str, contract: Contract) -> Table:
    """Creates the contract's table, empty; if another process was faster, returns that one's.

    `identifier` is (database, name), and `address` the lake's root as paths in the table have it.
    """
    schema = schema_of(contract)
    source = schema.find_field(contract.partition).field_id
    field = PartitionField(source, 1000, IdentityTransform(), contract.partition)
    return catalog.create_table_if_not_exists(
        identifier,
        schema,
        location=f"{address}/{contract.asset}",
        partition_spec=PartitionSpec(field),
        properties={
            **PROPERTIES,
            **(NONE_FAR if is_by_arrival(contract) else {}),
            TableProperties.DEFAULT_NAME_MAPPING: schema.name_mapping.model_dump_json(),
            "comment": contract.description,
        },
    )


def check_columns(table: Table, contract: Contract) -> list[NestedField]:
    """The columns of the contract that the table does not have yet.

    Raises UsageError if a column has another type in the table than in the contract.
    """
    kinds = {field.name: field.field_type for field in table.schema().fields}
    wanted = schema_of(contract).fields
    for field in wanted:
        if kinds.get(field.name, field.field_type) != field.field_type:
            raise UsageError(
                f"{contract.table}: {field.name} is {kinds[field.name]} in the table and"
                f" {field.field_type} in its contract; give the new column another name"
            )
    return [field for field in wanted if field.name not in kinds]


def evolved(table: Table, contract: Contract) -> Table:
    """The table, once the contract's new columns are added, each in its place.

    In older files the new columns read as null. A column that was removed from the contract stays
    in the table. Raises UsageError as `check_columns` does.
    """
    new = check_columns(table, contract)
    if not new:
        return table
    names = contract.column_names
    try:
        with table.update_schema() as update:
            for field in new:
                update.add_column(field.name, field.field_type, doc=field.doc)
                nth = names.index(field.name)
                if nth:
                    update.move_after(field.name, names[nth - 1])
                else:
                    update.move_first(field.name)
    except CommitFailedException:
        table.refresh()  # Another process was faster, and may have added them.
        return evolved(table, contract)
    return table
