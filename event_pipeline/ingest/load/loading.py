"""One load from its source to Bronze: it is read, mapped, judged, written and recorded."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from event_pipeline.contracts import SilverContract
from event_pipeline.digests import short_digest
from event_pipeline.engines import TransformRequest
from event_pipeline.errors import LoadError, first_line
from event_pipeline.ingest.load import places, writing
from event_pipeline.ingest.load.judging import Judgement, Place, check_any_placed, judge
from event_pipeline.ingest.load.ledger import Load, Loads, load_id
from event_pipeline.ingest.load.mapping import INPUT, map_records, mapping_session
from event_pipeline.ingest.load.reading import ReadSummary, Spelling, read
from event_pipeline.ingest.load.sources import LocalFile, Source, fetch
from event_pipeline.partitions import HOURLY
from event_pipeline.scratch import scratch
from event_pipeline.settings import Settings

# Called with what is being done, how much of it is done, and how much there is (0 if unknown).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Order:
    """The options that a person gives for a load, the same for each of its sources.

    `sql` is the mapping's text. `also` has the files that it may read beside `input`, by table
    name. A stream's rows go to the slot of their own time, or to the hour `arrival_hour`. A drop's
    rows go to the day `drop`, to the day in the column `drop_from`, or to the day in the source's
    name, which is written in strptime's form `drop_from_name` or as YYYY-MM-DD. `name` is another
    name for the source. `anyway` writes even what is mostly bad; `dry_run` writes nothing.
    `replace` takes back the other loads of the dataset to the same drop.
    """

    contract: SilverContract
    sql: str = ""
    spelling: Spelling = field(default_factory=Spelling)
    also: Mapping[str, Source] = field(default_factory=dict)
    arrival_hour: str | None = None
    drop: str | None = None
    drop_from: str | None = None
    drop_from_name: str | None = None
    name: str | None = None
    anyway: bool = False
    dry_run: bool = False
    replace: bool = False


@dataclass
class Loaded:
    """What a load did, or would do in a dry run.

    `stopped` says that it is mostly bad, so that nothing was written. `judgement` is None if the
    very same load is there already. `replaced` is the time of the load that this one replaces.
    """

    source: str
    id: str = ""
    rows: int = 0
    objects_written: int = 0
    objects_there: int = 0
    objects_removed: int = 0
    partitions: set[str] = field(default_factory=set)
    found: ReadSummary = field(default_factory=ReadSummary)
    judgement: Judgement | None = None
    replaced: str = ""
    stopped: bool = False

    @property
    def unreadable(self) -> list[tuple[int, str, str]]:
        """The first records that cannot be read: (line or record number, text, reason)."""
        return self.found.unreadable

    @property
    def span(self) -> str:
        """The first and the last partition that the rows lie in."""
        if not self.partitions:
            return "none"
        return " to ".join(sorted({min(self.partitions), max(self.partitions)}))


def load(
    settings: Settings,
    source: Source,
    order: Order,
    loads: Loads,
    progress: Progress = lambda doing, done, total: None,
) -> Loaded:
    """Loads one source into the settings' lake. Raises LoadError with one clear line.

    If it is killed, every object is whole, and loading the source again completes the load.
    """
    with scratch() as folder:
        try:
            return _Loading(
                settings, source, order, loads=loads, progress=progress, scratch=Path(folder)
            ).run()
        except duckdb.InterruptException:
            raise KeyboardInterrupt from None
        except duckdb.Error as error:
            raise LoadError(f"{source.given}: {first_line(error)}") from None


class _Loading:
    """One load under way."""

    def __init__(
        self,
        settings: Settings,
        source: Source,
        order: Order,
        *,
        loads: Loads,
        progress: Progress,
        scratch: Path,
    ) -> None:
        self._settings, self._source, self._order = settings, source, order
        self._loads, self._progress, self._scratch = loads, progress, scratch
        self._contract = order.contract
        self._name = order.name or source.name
        self._place = self._given_place()
        self._loaded = Loaded(source.given)

    def run(self) -> Loaded:
        """Goes through all steps, and stops early if nothing is to be written."""
        self._progress("fetch", 0, 0)
        file = fetch(self._source, self._folder("source"))
        also = {
            name: fetch(source, self._folder(f"also-{name}"))
            for name, source in self._order.also.items()
        }
        fingerprint = self._fingerprint(file, also)
        old = self._previous_load(file)
        if old and self._is_loaded(old, fingerprint):
            self._loaded.id, self._loaded.rows = old.id, old.rows
            self._loaded.objects_there = len(old.objects)
            self._loaded.partitions = set(old.partitions)
            return self._loaded
        tables = self._read(file, also)
        request = TransformRequest.of(self._contract, ())
        with mapping_session(self._settings, tables, self._scratch) as connection:
            self._progress("map", 0, 0)
            map_records(connection, self._order.sql, request, self._place.day)
            self._progress("judge", 0, 0)
            judgement = judge(
                connection,
                self._order.sql,
                self._contract,
                self._place,
                self._settings.first_hour,
            )
            self._loaded.judgement, self._loaded.rows = judgement, judgement.rows
            check_any_placed(judgement)
            self._check_not_empty(judgement, old)
            self._loaded.stopped = not self._order.anyway and judgement.is_mostly_bad(
                self._loaded.found.lost
            )
            if not self._loaded.stopped and not self._order.dry_run:
                self._write(connection, file, fingerprint, old)
        return self._loaded

    def _folder(self, name: str) -> Path:
        folder = self._scratch / name
        folder.mkdir()
        return folder

    def _given_place(self) -> Place:
        order = self._order
        if self._contract.cadence is HOURLY:
            return Place(given=order.arrival_hour and places.given_hour(order.arrival_hour))
        if order.drop_from:
            return Place(day=order.drop_from)
        return Place(given=places.drop_of(self._settings, self._contract, self._source, order))

    def _fingerprint(self, file: LocalFile, also: Mapping[str, LocalFile]) -> str:
        order = self._order
        parts = {
            "file": file.sha256,
            "kind": self._source.file_name.lower(),
            "also": {name: each.sha256 for name, each in also.items()},
            "sql": order.sql,
            "spelling": asdict(order.spelling),
            "dataset": self._contract.asset,
            "place": asdict(self._place),
        }
        return short_digest(json.dumps(parts, sort_keys=True))

    def _previous_load(self, file: LocalFile) -> Load | None:
        if self._order.dry_run:
            return None  # so the lake need not even be there
        dataset, place = self._contract.identifier[1], self._place.given or ""
        return self._loads.find(dataset, self._name, place, file.sha256)

    def _is_loaded(self, old: Load, fingerprint: str) -> bool:
        # Rows that were left out may fit a partition by now.
        same = old.complete and old.fingerprint == fingerprint and not old.left_out
        return same and not self._order.replace and not self._loads.missing(old)

    def _read(self, file: LocalFile, also: Mapping[str, LocalFile]) -> dict[str, list[str]]:
        def watch(done: int) -> None:
            self._progress("read", done, file.bytes)

        tables = {}
        for name, each in also.items():
            # The order's spelling is that of the source, not of the other files.
            given = self._order.also[name].file_name
            folder = self._scratch / f"also-{name}"
            tables[name], found = read(
                each, given, Spelling(), table=name, scratch=folder, watch=watch
            )
            self._loaded.found.notes += found.notes
            if found.lost:
                raise LoadError(f"{given}: {found.lost:,} records cannot be read")
        tables[INPUT], self._loaded.found = read(
            file,
            self._source.file_name,
            self._order.spelling,
            table=INPUT,
            scratch=self._scratch / "source",
            watch=watch,
        )
        return tables

    def _check_not_empty(self, judgement: Judgement, old: Load | None) -> None:
        if judgement.rows:
            return
        if self._contract.cadence is not HOURLY:
            raise LoadError(f"{self._source.given}: the mapping gives no rows")
        if old and old.objects:
            raise LoadError(
                f"{self._source.given}: the mapping gives no rows; to remove what was loaded:"
                f" event-pipeline unload {old.id}"
            )

    def _write(
        self,
        connection: duckdb.DuckDBPyConnection,
        file: LocalFile,
        fingerprint: str,
        old: Load | None,
    ) -> None:
        slots = writing.slots(connection)
        judgement = self._loaded.judgement
        assert judgement is not None
        if judgement.rows and not slots:
            raise LoadError("no row has a timestamp that can be read; give an --arrival-hour")
        dataset, place = self._contract.identifier[1], self._place.given or ""
        name = old.id if old else load_id(dataset, self._name, place, file.sha256)
        planned = [
            writing.key_of(self._contract, slot.start, name, part)
            for slot in slots
            for part in range(slot.parts)
        ]
        cadence = self._contract.cadence
        load = Load(
            id=name,
            dataset=dataset,
            source=self._name,
            place=place,
            sha256=file.sha256,
            fingerprint=fingerprint,
            at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            rows=judgement.rows - judgement.left_out,
            refused=judgement.refused,
            left_out=judgement.left_out,
            unreadable=self._loaded.found.lost,
            partitions=sorted({cadence.key(slot.start) for slot in slots}),
            objects=sorted({*planned, *(old.objects if old else ())}),
        )
        # Every object that may be written is on record before the first one is.
        self._loads.put(load)
        keys, done = writing.write(
            connection,
            self._loads.store,
            self._contract,
            name,
            about={"loaded_from": self._source.file_name, "load": name},
            on_progress=lambda count: self._progress("write", count, len(slots)),
        )
        gone = sorted(set(load.objects) - set(keys))
        self._loads.remove(gone)
        load.objects, load.complete = keys, True
        self._loads.put(load)
        self._loaded.id = name
        self._loaded.objects_written, self._loaded.objects_there = done.written, done.there
        self._loaded.partitions = set(load.partitions)
        if old and old.fingerprint != fingerprint:
            self._loaded.replaced = old.at
        self._loaded.objects_removed = len(set(old.objects) - set(keys)) if old else 0
        if self._order.replace:
            self._take_back_others(load)

    def _take_back_others(self, load: Load) -> None:
        """Takes back the other loads of the dataset that were given the same drop."""
        for other in self._loads.all():
            same = (other.dataset, other.place) == (load.dataset, load.place)
            if same and load.place and other.id != load.id:
                self._loads.take_back(other)
                self._loaded.objects_removed += len(other.objects)
