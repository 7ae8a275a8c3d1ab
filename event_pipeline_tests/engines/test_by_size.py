"""Engines by size: which one makes what, and that this is told."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from event_pipeline.assets.specs import table_spec
from event_pipeline.build import Built
from event_pipeline.contracts import EVENTS, USER_ACTIVITY, GoldContract, MadeContract
from event_pipeline.engines import (
    DeriveRequest,
    PartitionReport,
    PartitionRequest,
    Querier,
    QueryReport,
    Transformer,
    TransformRequest,
)
from event_pipeline.engines.athena import AthenaQuerier
from event_pipeline.engines.by_size import QuerierBySize, TransformerBySize
from event_pipeline.engines.duckdb import DuckDBQuerier, DuckDBTransformer
from event_pipeline.engines.glue import GlueTransformer
from event_pipeline.engines.spark import SparkTransformer
from event_pipeline.errors import SettingsError
from event_pipeline.lake.objects import Source
from event_pipeline.report import silver_metadata
from event_pipeline.resources import resources
from event_pipeline.settings import OF_AWS, Settings, read_settings
from event_pipeline_tests.conftest import DROP, GOLD_OF_EVENTS, HOUR, Lab, jsonl
from event_pipeline_tests.jobs.test_transform import EVENT

LINE = json.dumps(EVENT)
AWS: dict[str, Any] = {"target": "aws", **dict.fromkeys(OF_AWS, "x")}


class Maker(Transformer):
    """An engine that makes nothing and tells who it is."""

    name: str

    @property
    def engine(self) -> str:
        """What a person calls it."""
        return self.name

    def transform(self, request: TransformRequest) -> Iterator[PartitionReport]:
        """Reports of empty partitions."""
        for partition in request.partitions:
            yield PartitionReport(partition.key)

    def derive(self, request: DeriveRequest) -> QueryReport:
        """A report of no rows."""
        return QueryReport(0, [], 0)


class Asked(Querier):
    """An engine that tells who it is."""

    name: str

    @property
    def engine(self) -> str:
        """What a person calls it."""
        return self.name

    def unload(
        self,
        statement: str,
        columns: Sequence[tuple[str, str]],
        where: tuple[str, str],
        to: str,
        version: str,
    ) -> QueryReport:
        """A report of no rows."""
        return QueryReport(0, [], 0, {"run": self.name})

    def fetch(
        self, statement: str, day: str | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Its name as the only column."""
        return [self.name], []


def partition(key: str, *sizes: int) -> PartitionRequest:
    sources = tuple(Source(f"{n}", f"/{n}", size) for n, size in enumerate(sizes))
    return PartitionRequest(key, key, "", sources, "", "")


def by_size(from_mb: float) -> TransformerBySize:
    return TransformerBySize(small=Maker(name="S"), large=Maker(name="L"), from_mb=from_mb)


@pytest.mark.parametrize(
    ("sizes", "engine", "why"),
    [
        ((), "S", "0 bytes of Bronze, less than SPARK_FROM_MB=2.5"),
        ((1_200_000, 1_299_999), "S", "2.5 MB of Bronze, less than SPARK_FROM_MB=2.5"),
        ((1_200_000, 1_300_000), "L", "2.5 MB of Bronze, not less than SPARK_FROM_MB=2.5"),
        ((1_234_567_890,), "L", "1.2 GB of Bronze, not less than SPARK_FROM_MB=2.5"),
    ],
)
def test_a_partition_goes_by_the_size_of_its_objects(
    sizes: tuple[int, ...], engine: str, why: str
) -> None:
    request = TransformRequest.of(EVENTS, (partition(HOUR, *sizes),))
    [report] = by_size(2.5).transform(request)
    assert report.run == {"engine": engine, "why_this_engine": why}


def test_several_partitions_are_one_request_to_the_large_engine() -> None:
    request = TransformRequest.of(EVENTS, (partition("a", 1), partition("b", 1)))
    reports = list(by_size(64).transform(request))
    assert [report.key for report in reports] == ["a", "b"]
    told = {"engine": "L", "why_this_engine": "2 partitions in one request"}
    assert [report.run for report in reports] == [told, told]


@pytest.mark.parametrize(("size", "engine"), [(1_999_999, "S"), (2_000_000, "L")])
def test_a_derived_table_goes_by_the_size_of_its_input(size: int, engine: str) -> None:
    report = by_size(2).derive(DeriveRequest("", {}, (), ("", ""), "", size))
    assert report.run["engine"] == engine
    assert " MB of Silver" in report.run["why_this_engine"]


def test_what_an_engine_tells_of_itself_counts_more_than_what_was_chosen() -> None:
    """As when the small one followed a run of the large one that was under way."""
    engine = QuerierBySize(
        small=Asked(name="S"), large=Asked(name="L"), lake=resources(Settings()).lake, from_mb=1
    )
    report = engine.unload("SELECT 1 AS n", [], ("d", DROP), "", "")
    assert report.run == {
        "engine": "S",
        "why_this_engine": "0 bytes of input, less than ATHENA_FROM_MB=1",
        "run": "S",
    }


def test_the_ui_and_the_receipt_say_which_engine_made_a_partition_and_why(lab: Lab) -> None:
    lab.deliver(jsonl([LINE]))
    small = lab.transformer
    lab.transformer = TransformerBySize(small=small, large=Maker(name="L"), from_mb=1)
    [built] = lab.build()
    assert isinstance(built, Built), built.error
    run = {
        "engine": "DuckDB",
        "why_this_engine": f"{lab.receipt().bytes} bytes of Bronze, less than SPARK_FROM_MB=1",
    }
    assert lab.receipt().run == run
    shown = silver_metadata(EVENTS, built, lab.lake, Settings())
    assert {name: shown[name] for name in run} == run


@pytest.mark.parametrize("contract", GOLD_OF_EVENTS, ids=lambda c: c.table)
def test_a_date_of_gold_is_made_by_the_size_of_its_files(lab: Lab, contract: GoldContract) -> None:
    lab.deliver(jsonl([LINE]))
    lab.build()
    size = sum(sum(lab.lake.sizes(each, (DROP, DROP)).values()) for each in contract.roll_ups)
    assert size > 0
    large = Asked(name="L")
    for limit, engine in ((size, "L"), (size + 1, "DuckDB")):
        asked = QuerierBySize(
            small=lab.querier, large=large, lake=lab.lake, from_mb=limit / 1_000_000
        )
        report = asked.unload(
            contract.rolled_sql,
            contract.typed_columns,
            (contract.partition, DROP),
            lab.lake.new_prefix(contract, DROP, "digest"),
            "version",
        )
        assert report.run["engine"] == engine
        assert bool(report.files) is (engine == "DuckDB")


def test_a_query_without_a_date_is_the_large_engines(lab: Lab) -> None:
    asked = QuerierBySize(
        small=lab.querier, large=Asked(name="L"), lake=lab.lake, from_mb=1_000_000
    )
    count = f"SELECT count(*) AS n FROM {EVENTS.table}"
    assert asked.fetch(count) == (["L"], [])
    assert asked.fetch(count, DROP) == (["n"], [(0,)])


# --- The settings ------------------------------------------------------------------------------


def kinds(settings: Settings, contract: MadeContract) -> set[str]:
    return table_spec(contract, contract, [], settings).kinds - {"iceberg"}


def test_without_the_settings_nothing_is_chosen() -> None:
    for given in ({"target": "local"}, {"target": "spark"}, AWS):
        used = resources(Settings(**given))
        assert not isinstance(used.transformer, TransformerBySize)
        assert not isinstance(used.querier, QuerierBySize)
    assert kinds(Settings(**AWS), EVENTS) == {"glue"}
    assert kinds(Settings(**AWS), GOLD_OF_EVENTS[0]) == {"athena"}


def test_on_spark_small_partitions_are_duckdbs() -> None:
    settings = Settings(target="spark", spark_from_mb=12.5, athena_from_mb=1)
    used = resources(settings)
    assert isinstance(used.transformer, TransformerBySize)
    assert used.transformer.from_mb == 12.5
    assert isinstance(used.transformer.small, DuckDBTransformer)
    assert isinstance(used.transformer.large, SparkTransformer)
    assert isinstance(used.querier, DuckDBQuerier)
    assert kinds(settings, EVENTS) == {"spark", "duckdb"}
    assert kinds(settings, GOLD_OF_EVENTS[0]) == {"duckdb"}


def test_on_aws_each_engine_takes_the_same_claims() -> None:
    settings = Settings(**AWS, spark_from_mb=12, athena_from_mb=3)
    used = resources(settings)
    assert isinstance(used.transformer, TransformerBySize)
    assert isinstance(used.querier, QuerierBySize)
    assert (used.transformer.from_mb, used.querier.from_mb) == (12, 3)
    assert used.transformer.engine == "DuckDB or Glue"
    assert used.querier.engine == "DuckDB or Athena"
    for small, large in (
        (used.transformer.small, used.transformer.large),
        (used.querier.small, used.querier.large),
    ):
        assert {**dict(small), "embedded": None} == {**dict(large), "embedded": None}
    assert kinds(settings, EVENTS) == kinds(settings, USER_ACTIVITY) == {"glue", "duckdb"}
    assert kinds(settings, GOLD_OF_EVENTS[0]) == {"athena", "duckdb"}


def test_one_setting_does_not_imply_the_other() -> None:
    used = resources(Settings(**AWS, spark_from_mb=12))
    assert isinstance(used.querier, AthenaQuerier)
    used = resources(Settings(**AWS, athena_from_mb=12))
    assert isinstance(used.transformer, GlueTransformer)


@pytest.mark.parametrize("value", ["-1", "much"])
def test_a_limit_is_a_number_of_megabytes(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    for name in ("SPARK_FROM_MB", "ATHENA_FROM_MB"):
        with monkeypatch.context() as patch:
            patch.setenv(f"EVENT_PIPELINE_{name}", value)
            with pytest.raises(SettingsError, match=f"{name}='{value}'"):
                read_settings()
