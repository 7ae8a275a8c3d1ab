"""Records what was loaded: a small file for each load, in Bronze beside the manifests.

A load is recognised by its dataset, the partition that it was given and its source's name, or else
its content. Loading the same source again replaces what the load wrote, and a load can be taken
back. Only a person does either, to what a person loaded, and to nothing else in Bronze.
"""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from event_pipeline import aws
from event_pipeline.bronze import LOADS, manifest_key
from event_pipeline.digests import short_digest
from event_pipeline.errors import LoadError
from event_pipeline.ingest.handler import FolderStore, S3Store, open_store
from event_pipeline.ingest.load.sources import STDIN

AT_ONCE = 8
# Letters of a load's id: enough to tell loads apart in the names of their objects.
LETTERS = 12


@dataclass
class Load:
    """The record of one load.

    `fingerprint` is a digest of all that it was made of: content, mapping and options. `place` is
    the key of the partition that it was given, or empty. `at` is its time, in UTC. While `complete`
    is false, perhaps only some of its `objects` are written; giving it again completes it.
    """

    id: str
    dataset: str
    source: str
    place: str
    sha256: str
    fingerprint: str
    at: str
    rows: int = 0
    refused: int = 0
    left_out: int = 0
    unreadable: int = 0
    partitions: list[str] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    complete: bool = False


class Loads:
    """The loads of a lake."""

    def __init__(self, root: str) -> None:
        self._root = root

    def all(self) -> list[Load]:
        """Every load, the latest first."""
        return sorted(
            self._stored_loads.values(), key=lambda load: (load.at, load.id), reverse=True
        )

    def find(self, dataset: str, source: str, place: str, sha256: str) -> Load | None:
        """The load to the same place of a source with this name, or else with this content."""
        alike = [
            load
            for load in self._stored_loads.values()
            if (load.dataset, load.place) == (dataset, place)
        ]
        by_name = (load for load in alike if load.source == source != STDIN)
        by_content = (load for load in alike if load.sha256 == sha256)
        return next(by_name, None) or next(by_content, None)

    def named(self, word: str) -> Load:
        """The load that a person names by its id, the beginning of the id, or its source.

        Raises LoadError if there is none, or more than one.
        """
        found = [load for load in self.all() if load.id.startswith(word) or load.source == word]
        if len(found) != 1:
            found_what = "several loads" if found else "no load"
            raise LoadError(f"{found_what} named {word}; to list them: event-pipeline loads")
        return found[0]

    def put(self, load: Load) -> None:
        """Writes the record of a load, in place of any earlier one."""
        self.store.put(_key(load.id), json.dumps(asdict(load)).encode() + b"\n")
        self._stored_loads[load.id] = load

    def missing(self, load: Load) -> list[str]:
        """Objects of a load that are gone."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            there = pool.map(self.store.exists, load.objects)
            return [key for key, found in zip(load.objects, there, strict=True) if not found]

    def remove(
        self, keys: Iterable[str], on_progress: Callable[[int], None] = lambda done: None
    ) -> None:
        """Removes objects and their manifests, if they are there.

        `on_progress` is called with the number of objects that are done.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for done, _ in enumerate(pool.map(self._remove, keys), 1):
                on_progress(done)

    def take_back(self, load: Load) -> None:
        """Removes what a load wrote, and then its record."""
        self.remove(load.objects)
        self.store.delete(_key(load.id))
        self._stored_loads.pop(load.id, None)

    def _remove(self, key: str) -> None:
        self.store.delete(key)
        self.store.delete(manifest_key(key))

    @cached_property
    def store(self) -> FolderStore | S3Store:
        """The store in which records of loads and their objects lie."""
        return open_store(self._root, aws.client)

    @cached_property
    def _stored_loads(self) -> dict[str, Load]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(self.store.read, self.store.keys(LOADS))
            loads = (Load(**json.loads(data)) for data, _ in filter(None, found))
            return {load.id: load for load in loads}


def loads_records(loads: Loads) -> list[dict[str, Any]]:
    """Every load as a person reads it, the latest first.

    The keys are `load`, `dataset`, `source`, `loaded`, `rows`, `refused`, `objects`, `partitions`
    and `state`.
    """
    return [
        {
            "load": each.id,
            "dataset": each.dataset,
            "source": each.source,
            "loaded": each.at,
            "rows": each.rows,
            "refused": each.refused,
            "objects": len(each.objects),
            "partitions": " to ".join(dict.fromkeys(each.partitions[:1] + each.partitions[-1:])),
            "state": "complete" if each.complete else "incomplete: load it again",
        }
        for each in loads.all()
    ]


def take_back(loads: Loads, word: str) -> Load:
    """Removes what the load named by `word` wrote; returns it. Raises LoadError as `named` does."""
    found = loads.named(word)
    loads.take_back(found)
    return found


def load_id(dataset: str, source: str, place: str, sha256: str) -> str:
    """The id of a new load. What is read from a pipe has no name, so its content names it."""
    name = sha256 if source == STDIN else source
    return short_digest(f"{dataset}\n{name}\n{place}")[:LETTERS]


def _key(load: str) -> str:
    return f"{LOADS}{load}.json"
