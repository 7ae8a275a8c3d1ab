"""What Dagster has on record of partitions."""

from collections.abc import Collection

import dagster as dg

from event_pipeline.tags import DATA_VERSION

# SQLite takes at most 32,766 values in one statement.
BATCH = 1000


def recorded_versions(
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    partitions: Collection[str] | None = None,
) -> dict[str, str]:
    """Partition -> data version of its latest materialization, if it has one.

    For all partitions, or for those in `partitions`.
    """
    keys, found = sorted(partitions or ()), {}
    batches = [keys[n : n + BATCH] for n in range(0, len(keys), BATCH)]
    for batch in [None] if partitions is None else batches:
        tags = instance.event_log_storage.get_latest_tags_by_partition(
            asset,
            dg.DagsterEventType.ASSET_MATERIALIZATION,
            [DATA_VERSION],
            asset_partitions=batch,
        )
        found.update({key: tag[DATA_VERSION] for key, tag in tags.items() if DATA_VERSION in tag})
    return found
