"""A laboratory: one lake with its real parts, in a folder of its own."""

import gc
import gzip
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from event_pipeline.bronze import manifest_key, object_key
from event_pipeline.build import build_gold, build_silver
from event_pipeline.contracts import EVENTS, GOLD, Contract, GoldContract, SilverContract
from event_pipeline.engines import Transformer
from event_pipeline.engines.duckdb import DuckDBQuerier, DuckDBTransformer
from event_pipeline.ingest.handler import FolderStore, write_once
from event_pipeline.lake.objects import Objects
from event_pipeline.lake.receipts import SilverReceipt
from event_pipeline.lake.tables import Lake
from event_pipeline.partitions import HOURLY
from event_pipeline_tests import migrations

migrations.read_once()
# All imports and the tests themselves are in every search for garbage: the fewer, the better.
gc.set_threshold(100_000, 20, 20)

HOUR = "2026-01-01-10:00"
DROP = "2026-01-01"
QUARANTINE = EVENTS.quarantine
GOLD_OF_EVENTS = tuple(contract for contract in GOLD if contract.inputs == (EVENTS,))

Row = tuple[Any, ...]

# What producers write where there is no id, and ids that begin or end like it.
NO_IDS = (
    "null", "NULL", " Null ", "(null)", "<null>", "None", "nil", "NaN", "nan", "N/A", "n/a", "#N/A",
    "NA", "undefined", "undef", "unknown", "(UNKNOWN)", "Anonymous", "(not set)", "not set",
    "NOT_SET", "(not provided)", "not-available", "\\N", "-", "--", "_", "?", "...",
    "[object Object]", "00000000-0000-0000-0000-000000000000", "\u200b", "\u00a0", "\ufeff", "\t",
    "\0", "\u3164", "\u2800", "\u00ad", "\u200b\u2060 \u00a0", "\u00a0null\u200b", "\tnull\n",
)  # fmt: skip
IDS = (
    "u_1", "nullable", "null1", "no", "nana", "una", "unknown_7", "anonymous1", "0", "00", "-1",
    "n/a/1", "a", "N", "#1", "?a", "ünknown", "un\u212anown", "not", "(x)", "\u200bu_1", "e\u200b1",
    "00000000-0000-0000-0000-000000000001", "{}1", "\ufffd",
)  # fmt: skip

# These take minutes: at the end, one of two workers would have them for itself.
FIRST = tuple(
    f"event_pipeline_tests/{path}"
    for path in (
        "twin/test_graph.py",
        "twin/test_by_size.py",
        "parity/",
        "jobs/",
        "torture/",
        "test_datasets.py",
        "test_promotion.py",
        "test_sync.py",
    )
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first."""
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


def clock(sleep: Callable[[float], object]) -> SimpleNamespace:
    """What a module may know as `time`, with another `sleep`: its own is Spark's threads' too."""
    return SimpleNamespace(**{**vars(time), "sleep": sleep})


@dataclass
class Lab:
    """A lake under `root`: deliver objects, build partitions, read what is live."""

    root: Path
    redelivery_hours: int = 1
    objects: Objects = field(init=False)
    lake: Lake = field(init=False)
    transformer: Transformer = field(init=False)
    querier: DuckDBQuerier = field(init=False)
    store: FolderStore = field(init=False)

    def __post_init__(self) -> None:
        self.objects = Objects(root=str(self.root))
        self.lake = Lake(root=str(self.root))
        self.transformer = DuckDBTransformer(memory_mb=512, threads=1)
        self.querier = DuckDBQuerier(lake=self.lake, memory_mb=512, threads=1)
        self.store = FolderStore(self.root)

    def key(self, hour: str = HOUR, minute: int = 0) -> str:
        """Key of the object of a slot."""
        return object_key(HOURLY.start(hour) + timedelta(minutes=minute))

    def deliver(
        self, data: bytes, hour: str = HOUR, minute: int = 0, *, lines: int | None = None
    ) -> str:
        """Puts an object, over any that is there; with `lines`, a new one has its manifest."""
        key = self.key(hour, minute)
        slot = HOURLY.start(hour) + timedelta(minutes=minute)
        if lines is None or not write_once(self.store, key, slot, data, lines=lines, about={}):
            self.store.put(key, data)
        return key

    def delete(self, hour: str = HOUR, minute: int = 0) -> None:
        """Deletes an object, as only a person would; its manifest stays."""
        (self.root / self.key(hour, minute)).unlink(missing_ok=True)

    def manifest(self, key: str) -> Path:
        """Where an object's manifest is."""
        return self.root / manifest_key(key)

    def upload(self, name: str, data: bytes, day: str = DROP) -> str:
        """Puts a file of a commerce drop as it is, over any that is there; its key."""
        key = f"bronze/commerce/date={day}/{name}"
        self.store.put(key, data)
        return key

    def build(self, *hours: str, recorded: Mapping[str, str] | None = None) -> list[Any]:
        """What came of building hours of Silver, the usual one by default."""
        return self._build(EVENTS, hours or (HOUR,), recorded or {})

    def build_drop(self, contract: SilverContract, day: str = DROP) -> Any:
        """What came of building a day of one of a commerce drop's Silver tables."""
        (built,) = self._build(contract, (day,), {})
        return built

    def _build(
        self, contract: SilverContract, keys: Sequence[str], recorded: Mapping[str, str]
    ) -> list[Any]:
        built = build_silver(
            contract,
            keys,
            objects=self.objects,
            transformer=self.transformer,
            lake=self.lake,
            recorded=recorded,
            redelivery_hours=self.redelivery_hours,
        )
        return list(built)

    def gold(self, contract: GoldContract, *days: str) -> list[Any]:
        """What came of building event dates of a Gold table."""
        return list(
            build_gold(
                contract,
                days,
                transformer=self.transformer,
                querier=self.querier,
                lake=self.lake,
            )
        )

    def rows(self, contract: Contract = EVENTS, *keys: str) -> list[Row]:
        """What a reader sees of the partitions, or of the table, without the partition column."""
        return self._read(
            contract, [n for n in contract.column_names if n != contract.partition], keys
        )

    def quarantined(self, *keys: str) -> list[Row]:
        """(object, reasons, line) of what is in quarantine."""
        return self._read(QUARANTINE, ["source_object", "reasons", "line"], keys)

    def _read(self, contract: Contract, names: list[str], keys: tuple[str, ...]) -> list[Row]:
        live = self.lake.live(contract, set(keys) or None)
        paths = [path for partition in live.values() for path in partition.paths]
        table = self.lake.read(contract, paths, names).to_pylist() if paths else []
        return [tuple(row[name] for name in names) for row in table]

    def receipt(self, contract: Contract = EVENTS, key: str = HOUR) -> Any:
        """The receipt of what is live of a partition."""
        found = self.lake.receipt(contract, self.lake.live(contract, {key})[key])
        assert found is not None
        return found

    def snapshots(self) -> list[int]:
        """How many commits each of the tables that Silver publishes has had."""
        return [len(self.lake.versions(contract)) for contract in (EVENTS, QUARANTINE)]


def receipt(digest: str = "digest", rows: int = 0) -> SilverReceipt:
    """A receipt that balances, of rows that were made of the input with this digest."""
    return SilverReceipt(
        digest=digest,
        rows=rows,
        lines=rows,
        duplicates=0,
        quarantined=0,
        rejected={},
        event_dates={},
        bytes=0,
        objects={},
        touched=(),
        seconds=0,
        built_at=0,
    )


def jsonl(lines: Sequence[str], end: str = "\n") -> bytes:
    """A Bronze object of these lines."""
    return gzip.compress("".join(line + end for line in lines).encode(), 1)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """An empty lake."""
    return Lab(tmp_path)


@pytest.fixture(scope="session")
def new_lab(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Lab]:
    """Makes an empty lake for each example of a property."""
    return lambda: Lab(tmp_path_factory.mktemp("lake"))


@pytest.fixture(autouse=True)
def own_dagster_home() -> Iterator[None]:
    """A home that one test opens, maybe by a link that goes with it, is not the next one's."""
    before = os.environ.get("DAGSTER_HOME")
    yield
    os.environ.pop("DAGSTER_HOME", None)
    if before is not None:
        os.environ["DAGSTER_HOME"] = before
