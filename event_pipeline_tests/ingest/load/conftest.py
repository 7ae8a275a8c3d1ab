"""A lake and files to load into it."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from event_pipeline.contracts import COMMERCE_USERS, EVENTS, SilverContract
from event_pipeline.ingest.load.ledger import Load, Loads
from event_pipeline.ingest.load.loading import Loaded, Order, load
from event_pipeline.ingest.load.mapping import read_mapping
from event_pipeline.ingest.load.reading import Spelling
from event_pipeline.ingest.load.sources import find_sources
from event_pipeline.settings import Settings

SPELLING = {"delimiter", "header", "skip", "encoding", "quote", "sheet"}
DROP = "2019-10-01"
ALL = "SELECT * FROM input"


class Shelf:
    """A lake and files to load into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(home=folder / "home", first_day="2019-10-01")
        self.root = self.settings.lake / "bronze"

    @property
    def loads(self) -> Loads:
        return Loads(self.settings.root)

    @property
    def all(self) -> list[Load]:
        return self.loads.all()

    def file(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def load(
        self,
        file: Path | str,
        sql: str | Path = ALL,
        hour: str | None = None,
        contract: SilverContract = EVENTS,
        **options: Any,
    ) -> Loaded:
        """Loads one source; `options` are an order's, or say how the file is spelled."""
        mapping = sql if isinstance(sql, Path) else self.file("mapping.sql", sql)
        spelling = {name: options.pop(name) for name in SPELLING & options.keys()}
        order = Order(
            contract, read_mapping(mapping), Spelling(**spelling), arrival_hour=hour, **options
        )
        (source,) = find_sources([str(file)])
        return load(self.settings, source, order, self.loads)

    def load_drop(
        self,
        file: Path,
        sql: str | Path = ALL,
        contract: SilverContract = COMMERCE_USERS,
        drop: str | None = DROP,
        **options: Any,
    ) -> Loaded:
        """Loads one source as a dataset of a drop."""
        return self.load(file, sql, contract=contract, drop=drop, **options)

    def dropped(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of each loaded file of the drop, by its name."""
        return self.objects(f"commerce/date={DROP}")

    def objects(self, prefix: str = "events") -> dict[str, list[dict[str, Any]]]:
        """The rows of each Bronze object, by its key below a folder of Bronze."""
        root = self.root / prefix
        return {
            str(path.relative_to(root)): [
                json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()
            ]
            for path in sorted(root.rglob("*.jsonl.gz"))
        }

    def rows(self, prefix: str = "events") -> list[dict[str, Any]]:
        """The rows of all Bronze objects."""
        return [row for rows in self.objects(prefix).values() for row in rows]

    def state(self) -> dict[str, bytes]:
        """All of Bronze as it lies, but for what tells times and versions."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and not path.relative_to(self.root).parts[0].startswith("_")
        }


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def event(time: object, **fields: object) -> dict[str, object]:
    """A record that Silver takes, if it takes its time."""
    return {
        "timestamp": time,
        "user_id": "u",
        "session_id": "s",
        "event_type": "page_view",
        **fields,
    }


def jsonl(*records: object) -> str:
    return "".join(f"{json.dumps(record)}\n" for record in records)
