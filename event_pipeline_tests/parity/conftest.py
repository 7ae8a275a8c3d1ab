"""Two labs of the same objects: what DuckDB makes of them, Spark must make of them too."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dagster_pyspark import LazyPySparkResource

from event_pipeline.build import Built
from event_pipeline.contracts import EVENTS, USER_ACTIVITY, Contract, SilverContract, roll_ups_of
from event_pipeline.engines.spark import SparkTransformer, local_spark
from event_pipeline.partitions import HOURLY
from event_pipeline_tests.conftest import DROP, HOUR, Lab, Row

# What differs between two labs by nature: versions of objects, and who made it, when and how fast.
OF_ITS_LAB = {"digest", "built_at", "seconds", "files", "quarantine_files", "sha256", "run"}
# The machine's zone and language, in which `I` is no capital `i`, must not matter.
ELSEWHERE = "-Duser.timezone=America/St_Johns -Duser.language=tr -Duser.country=TR"
# Tests are short: to compile their code well would take longer than to run it.
SHORT = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
# Differences that a failing test shows of a table.
SHOWN = 12


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkTransformer]:
    """The session's one Spark, whose JVM takes seconds to start; it ends with the session."""
    logging.getLogger("py4j").setLevel(logging.ERROR)
    local = local_spark(2048, 2)
    options = {"spark.driver.extraJavaOptions": f"{ELSEWHERE} {SHORT}"}
    transformer = SparkTransformer(
        pyspark=LazyPySparkResource(spark_config={**local.spark_config, **options})
    )
    yield transformer
    transformer.pyspark.spark_session.stop()


@dataclass
class Outcome:
    """What one engine made of a partition: its receipt if it was built, and each table's rows."""

    status: str
    error: str | None
    receipt: Any
    tables: dict[str, Counter[Row]]

    @property
    def _compared(self) -> dict[str, Any]:
        """What of the receipt must be equal."""
        told = self.receipt.model_dump(exclude=OF_ITS_LAB) if self.receipt else {}
        # The order too: the most frequent are named first.
        return {**told, "unknown": list(told.get("unknown", {}).items())}

    def differences(self, other: "Outcome") -> Iterator[str]:
        """What this, DuckDB's, has otherwise than Spark's, a line each."""
        for name in ("status", "error"):
            here, there = getattr(self, name), getattr(other, name)
            if here != there:
                yield f"{name}: DuckDB {here!r}, Spark {there!r}"
        own, others = self._compared, other._compared
        for name in sorted({*own, *others}):
            here, there = own.get(name), others.get(name)
            if here != there:
                yield f"{name}: DuckDB {here!r}, Spark {there!r}"
        for table, rows in self.tables.items():
            for engine, odd in (
                ("DuckDB", rows - other.tables[table]),
                ("Spark", other.tables[table] - rows),
            ):
                if odd:
                    yield f"{odd.total()} rows of {table} by {engine} alone:"
                    yield from (f"  {n} x {_short(row)}" for row, n in _some(odd))


def _some(rows: Counter[Row]) -> list[tuple[Row, int]]:
    return sorted(rows.items(), key=repr)[:SHOWN]


def _short(row: Row) -> str:
    text = repr(row)
    return text if len(text) < 600 else f"{text[:400]} ... {text[-200:]}"


@dataclass
class Pair:
    """A lab of DuckDB and one of Spark, with the same objects."""

    duckdb: Lab
    spark: Lab

    @property
    def labs(self) -> tuple[Lab, Lab]:
        """Both, DuckDB's first."""
        return self.duckdb, self.spark

    def deliver(
        self, data: bytes, hour: str = HOUR, minute: int = 0, *, lines: int | None = None
    ) -> None:
        """Puts an object of events into both; with `lines`, it has a manifest."""
        for lab in self.labs:
            lab.deliver(data, hour, minute, lines=lines)

    def upload(self, files: Mapping[str, bytes], day: str = DROP) -> None:
        """Puts files of a drop into both."""
        for lab in self.labs:
            for name, data in files.items():
                lab.upload(name, data, day)

    def put(self, contract: SilverContract, name: str, data: bytes) -> None:
        """Puts an object of any dataset into both, in its usual partition."""
        folder = contract.layout.folder(self._usual(contract))
        for lab in self.labs:
            lab.store.put(f"{contract.bronze.prefix}{folder}{name}", data)

    def build(self, contract: SilverContract = EVENTS, key: str | None = None) -> Outcome:
        """Builds a partition in both, and what they made of it, which is the same."""
        made = [self._made(lab, contract, key or self._usual(contract)) for lab in self.labs]
        return self._equal(*made)

    def gold(self, day: str = DROP) -> Outcome:
        """Derives the activity of a drop's users in both, which is the same."""
        made = []
        for lab in self.labs:
            (built,) = lab.gold(USER_ACTIVITY, day)
            made.append(_outcome(lab, built, USER_ACTIVITY))
        return self._equal(*made)

    @staticmethod
    def _equal(duckdb: Outcome, spark: Outcome) -> Outcome:
        found = list(duckdb.differences(spark))
        if found:
            pytest.fail("the engines differ\n" + "\n".join(found))
        return duckdb

    @staticmethod
    def _usual(contract: Contract) -> str:
        return HOUR if contract.cadence is HOURLY else DROP

    @staticmethod
    def _made(lab: Lab, contract: SilverContract, key: str) -> Outcome:
        built = lab.build(key)[0] if contract == EVENTS else lab.build_drop(contract, key)
        return _outcome(lab, built, contract, contract.quarantine, *roll_ups_of(contract))


def _outcome(lab: Lab, built: Any, *contracts: Contract) -> Outcome:
    receipt = built.receipt if isinstance(built, Built) else None
    tables = {contract.table: _rows(lab, contract, built.key) for contract in contracts}
    return Outcome(built.status, built.error, receipt, tables)


def _rows(lab: Lab, contract: Contract, key: str) -> Counter[Row]:
    """The published rows of a partition, with every column."""
    live = lab.lake.live(contract, {key})
    paths = [path for partition in live.values() for path in partition.paths]
    if not paths:
        return Counter()
    table = lab.lake.read(contract, paths, list(contract.column_names))
    return Counter(zip(*(table[name].to_pylist() for name in contract.column_names), strict=True))


@pytest.fixture(scope="session")
def new_pair(
    tmp_path_factory: pytest.TempPathFactory, spark: SparkTransformer
) -> Callable[[], Pair]:
    """Makes two empty labs."""

    def new(root: Path | None = None) -> Pair:
        root = root or tmp_path_factory.mktemp("pair")
        pair = Pair(Lab(root / "duckdb/lake"), Lab(root / "spark/lake"))
        pair.spark.transformer = spark
        return pair

    return new


@pytest.fixture
def pair(new_pair: Callable[[], Pair]) -> Pair:
    """Two empty labs."""
    return new_pair()
