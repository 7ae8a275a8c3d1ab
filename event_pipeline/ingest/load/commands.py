"""The command `load`: loads all given sources with the same options, and reports on each."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from event_pipeline.errors import LoadError, UsageError
from event_pipeline.ingest.load import places
from event_pipeline.ingest.load.judging import Judgement
from event_pipeline.ingest.load.ledger import Loads
from event_pipeline.ingest.load.loading import Loaded, Order, load
from event_pipeline.ingest.load.mapping import INPUT, read_mapping
from event_pipeline.ingest.load.sources import Source, find_sources, is_plain
from event_pipeline.partitions import HOURLY
from event_pipeline.settings import Settings

SHOWN = 20
NEXT = "Next: the sensors pick it up (make dev), or run: event-pipeline sync"
DOING = {
    "fetch": "fetch",
    "read": "read",
    "map": "map",
    "judge": "judge as Silver would",
    "write": "write objects",
}


def run_loads(
    settings: Settings,
    words: Sequence[str],
    mapping: Path,
    also: Sequence[str],
    order: Order,
    *,
    out: Console,
    err: Console,
) -> bool:
    """Loads each source that the words name.

    `order` still lacks its mapping, which is read from the file `mapping`, and the files beside
    `input`, which are named in `also`. A source that cannot be loaded does not stop the others.
    Returns False if one was not loaded or, in a dry run, would not be. If it is the only source,
    raises its LoadError.
    """
    _check(settings, words, order)
    sources = find_sources(words)
    if order.name and len(sources) > 1:
        raise UsageError(f"--name {order.name}: there are {len(sources)} sources")
    order = replace(order, sql=read_mapping(mapping), also=_tables(also))
    loads, done, failed = Loads(settings.root), list[Loaded](), 0
    with _progress(err) as shown:
        for n, source in enumerate(sources, 1):
            shown.begin(source.given if len(sources) == 1 else f"{n} of {len(sources)}")
            try:
                loaded = load(settings, source, order, loads, shown.update)
            except LoadError as error:
                if len(sources) == 1:
                    raise
                failed += 1
                named = source.given in str(error) or source.file_name in str(error)
                _print_note(err, f"{error}" if named else f"{source.given}: {error}")
                continue
            done.append(loaded)
            failed += loaded.stopped
            _print_result(loaded, order, err, many=len(sources) > 1)
    _sum_up(done, order, out)
    if failed and len(sources) > 1:
        _print_note(err, f"{failed} of {len(sources)} sources were not loaded")
    return not failed


def _check(settings: Settings, words: Sequence[str], order: Order) -> None:
    """Raises UsageError or LoadError for options that exclude each other or fit no file."""
    dataset = order.contract.identifier[1]
    drops = {
        "--drop": order.drop,
        "--drop-from": order.drop_from,
        "--drop-from-name": order.drop_from_name,
    }
    given = [option for option, value in drops.items() if value]
    if order.contract.cadence is HOURLY:
        if given or order.replace:
            option = (given or ["--replace"])[0]
            raise UsageError(f"{option} is for commerce datasets; for events, use --arrival-hour")
        if order.arrival_hour:
            places.given_hour(order.arrival_hour)
        return
    if order.arrival_hour:
        raise UsageError(f"{dataset} needs --drop instead of --arrival-hour")
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: give only one of them")
    if order.drop:
        places.given_drop(settings, order.drop)
    if not order.drop_from:
        for word in filter(is_plain, words):
            places.drop_of(settings, order.contract, Source(word, word), order)


def _tables(also: Sequence[str]) -> dict[str, Source]:
    """The files that a mapping may read beside `input`, by table name."""
    tables = {}
    for word in also:
        name, _, path = word.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name.lower() == INPUT or not path:
            raise UsageError(f"--also {word}: expected NAME=FILE, with a name other than input")
        sources = find_sources([path])
        if len(sources) > 1:
            raise UsageError(f"--also {word}: names {len(sources)} files")
        tables[name.lower()] = sources[0]
    return tables


def _print_note(console: Console, text: object) -> None:
    console.print(str(text), markup=False, highlight=False, soft_wrap=True)


def _print_result(loaded: Loaded, order: Order, err: Console, *, many: bool) -> None:
    """Prints what a person should know about one load beyond its numbers."""
    prefix = f"{loaded.source}: " if many else ""
    found, judgement = loaded.found, loaded.judgement
    for note in found.notes:
        _print_note(err, note)
    for number, text, why in found.unreadable[:SHOWN]:
        _print_note(err, f"{prefix}line {number} cannot be read ({why}): {text}")
    if found.lost:
        _print_note(err, f"{prefix}{found.lost:,} lines cannot be read and were not loaded")
    if found.nulls:
        _print_note(
            err, f"{prefix}{found.nulls:,} values are NaN or Infinity, and were read as null"
        )
    for line in _judgement_lines(judgement) if judgement else ():
        _print_note(err, f"{prefix}{line}")
    if loaded.replaced:
        removed = f" and removes {loaded.objects_removed} of its objects" * bool(
            loaded.objects_removed
        )
        _print_note(err, f"{prefix}replaces what was loaded on {loaded.replaced}{removed}")
    if loaded.stopped:
        _print_note(
            err,
            f"{prefix}more than half is bad, so nothing is written; to write it anyway: --anyway",
        )


def _judgement_lines(judgement: Judgement) -> Iterator[str]:
    rows = judgement.rows
    if judgement.refused:
        reasons = ", ".join(each.reason for each in judgement.refusals)
        yield f"{judgement.refused:,} of {rows:,} rows would be refused: {reasons}"
        for each in judgement.refusals:
            advice = f"; {each.advice}" if each.advice else ""
            yield f"  {each.reason}: {each.rows:,} ({each.meaning}) {each.example}{advice}"
    for part in judgement.outside:
        advice = f"; {part.advice}" if part.advice else ""
        yield f"{part.rows:,} of {rows:,} rows are not loaded: {part.why}: {part.example}{advice}"


def _sum_up(done: Sequence[Loaded], order: Order, out: Console) -> None:
    rows = sum(each.rows for each in done)
    if order.dry_run:
        _print_note(out, f"{rows:,} rows read, nothing written (--dry-run)")
        return
    written = sum(each.objects_written for each in done)
    there = sum(each.objects_there for each in done)
    span = Loaded("", partitions={key for each in done for key in each.partitions}).span
    _print_note(
        out,
        f"{rows:,} rows read, {written} objects written, {there} there already, partitions {span}",
    )
    if any(not each.stopped for each in done):
        _print_note(out, NEXT)


class _ProgressLine:
    """Shows progress on a terminal, and nothing elsewhere."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._name = ""

    def begin(self, name: str) -> None:
        """Moves on to another source."""
        self._name = name

    def update(self, doing: str, done: int, total: int) -> None:
        """Shows what is being done, and how much of it is done."""
        description = f"{self._name}: {DOING[doing]}"
        if self._task is None or self._progress.tasks[0].description != description:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(description, total=None)
        self._progress.update(self._task, completed=done, total=total or None)


@contextmanager
def _progress(err: Console) -> Iterator[_ProgressLine]:
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as progress:
        yield _ProgressLine(progress)
