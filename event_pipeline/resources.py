"""The resources of each target: one key each, of the class that the target needs.

This imports the engines, which takes a moment. Code that only looks at the lake uses `Lake.of`.
"""

from dataclasses import dataclass
from typing import Any

from event_pipeline.contracts import GOLD, SILVER
from event_pipeline.contracts.statements import check_statement
from event_pipeline.engines import Querier, Transformer
from event_pipeline.engines.by_size import QuerierBySize, TransformerBySize
from event_pipeline.engines.duckdb import DuckDBQuerier, DuckDBTransformer
from event_pipeline.errors import SettingsError
from event_pipeline.ingest.ingester import Ingester, LambdaIngester, LocalIngester
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
    """The resources of the settings' target, once all statements are checked.

    Raises ContractError if a statement does not fit its contract, and SettingsError if a package
    that the target needs is not installed.
    """
    for contract in (*SILVER, *GOLD):
        check_statement(contract)
    if settings.target == "aws":
        return _on_aws(settings)
    lake = Lake.of(settings)
    return Resources(
        ingester=LocalIngester(
            root=settings.root,
            events=settings.events_per_slot,
            seed=settings.seed,
            mode=settings.ingest_mode,
            late_share=settings.late_share,
            fault_share=settings.fault_share,
        ),
        objects=Objects(root=settings.root),
        lake=lake,
        transformer=_transformer(settings),
        querier=_embedded_querier(settings, lake),
    )


def _embedded(settings: Settings) -> DuckDBTransformer:
    return DuckDBTransformer(memory_mb=settings.memory_mb, threads=settings.threads)


def _embedded_querier(settings: Settings, lake: Lake) -> DuckDBQuerier:
    return DuckDBQuerier(lake=lake, memory_mb=settings.memory_mb, threads=settings.threads)


def _transformer(settings: Settings) -> Transformer:
    if settings.target == "local":
        return _embedded(settings)
    try:
        # Only this target needs the packages, and their import takes a second.
        from event_pipeline.engines.spark import SparkTransformer, local_spark
    except ModuleNotFoundError as error:
        raise _missing(settings, error) from None
    spark = SparkTransformer(pyspark=local_spark(settings.spark_memory_mb, settings.threads))
    return _by_size(_embedded(settings), spark, settings)


def _by_size(small: Transformer, large: Transformer, settings: Settings) -> Transformer:
    if not settings.spark_from_mb:
        return large
    return TransformerBySize(small=small, large=large, from_mb=settings.spark_from_mb)


def _on_aws(settings: Settings) -> Resources:
    try:
        from event_pipeline.engines.athena import AthenaQuerier
        from event_pipeline.engines.glue import GlueTransformer
    except ModuleNotFoundError as error:
        raise _missing(settings, error) from None
    lake = Lake.of(settings)

    def glue(embedded: Transformer | None = None) -> GlueTransformer:
        return GlueTransformer(
            job=settings.glue_job,
            logs=settings.glue_logs,
            bucket=settings.pipes_bucket,
            embedded=embedded,
        )

    def athena(embedded: Querier | None = None) -> AthenaQuerier:
        return AthenaQuerier(
            lake=lake,
            workgroup=settings.workgroup,
            results_bucket=settings.results_bucket,
            timeout_seconds=60 * settings.query_timeout_minutes,
            embedded=embedded,
        )

    querier: Querier = athena()
    if settings.athena_from_mb:
        small = athena(_embedded_querier(settings, lake))
        limit = settings.athena_from_mb
        querier = QuerierBySize(small=small, large=querier, lake=lake, from_mb=limit)
    return Resources(
        ingester=LambdaIngester(function=settings.ingest_function),
        objects=Objects(root=settings.root),
        lake=lake,
        transformer=_by_size(glue(_embedded(settings)), glue(), settings),
        querier=querier,
    )


def _missing(settings: Settings, error: ModuleNotFoundError) -> SettingsError:
    return SettingsError(
        f"EVENT_PIPELINE_TARGET={settings.target} needs {error.name}:"
        f" pip install 'event-pipeline[{settings.target}]'"
    )
