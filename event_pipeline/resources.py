"""The resources of each target: one key each, of the class that the target needs."""

from dataclasses import dataclass
from typing import Any

from event_pipeline.engines import Querier, Transformer
from event_pipeline.engines.duckdb import DuckDBQuerier, DuckDBTransformer
from event_pipeline.errors import SettingsError
from event_pipeline.ingest.ingester import Ingester, LocalIngester
from event_pipeline.lake.objects import Objects
from event_pipeline.lake.tables import Lake
from event_pipeline.settings import Settings


@dataclass(frozen=True)
class Resources:
    """What the assets and sensors ask for by name."""

    ingester: Ingester
    objects: Objects
    lake: Lake
    transformer: Transformer
    querier: Querier

    def by_key(self) -> dict[str, Any]:
        """The resources by the names under which Dagster knows them."""
        return dict(vars(self))


def resources(settings: Settings) -> Resources:
    """The resources of the settings' target."""
    root = str(settings.lake)
    lake = Lake(root=root)
    return Resources(
        ingester=LocalIngester(
            root=root,
            events=settings.events_per_slot,
            seed=settings.seed,
            mode=settings.ingest_mode,
            late_share=settings.late_share,
            fault_share=settings.fault_share,
        ),
        objects=Objects(root=root),
        lake=lake,
        transformer=_transformer(settings),
        querier=DuckDBQuerier(lake=lake, memory_mb=settings.memory_mb, threads=settings.threads),
    )


def _transformer(settings: Settings) -> Transformer:
    if settings.target == "local":
        return DuckDBTransformer(memory_mb=settings.memory_mb, threads=settings.threads)
    try:
        # Only this target needs the packages, and their import takes a second.
        from event_pipeline.engines.spark import SparkTransformer, local_spark
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"EVENT_PIPELINE_TARGET=spark needs {error.name}: pip install 'event-pipeline[spark]'"
        ) from None
    return SparkTransformer(pyspark=local_spark(settings.spark_memory_mb, settings.threads))
