"""The five laws, attacked with real parts: a folder, DuckDB, Iceberg, and kill -9."""

import gzip
import json
import math
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from event_pipeline.contracts import EVENTS
from event_pipeline.engines import PartitionReport, TransformRequest
from event_pipeline.engines.duckdb import DuckDBTransformer
from event_pipeline.lake.tables import Lake
from event_pipeline.report import ledger_records
from event_pipeline_tests import oracle
from event_pipeline_tests.conftest import GOLD_OF_EVENTS, HOUR, QUARANTINE, Lab, Row, jsonl, receipt

HOURS = ("2026-01-01-23:00", "2026-01-02-00:00")
MINUTES = (0, 5, 10)

few = settings(
    phases=(Phase.explicit, Phase.generate),
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# --- Purity and conservation, by property ---------------------------------------------------

EVENT = {
    "timestamp": (
        "2026-01-01T23:59:59.999999+00:00",
        "2026-01-02T00:00:00Z",
        "2026-01-02T00:30:00.5+05:30",
        "2026-01-02 13:00:00",
        "2025-12-24T12:00:00.123456789-0800",
    ),
    "user_id": ("u_1", "u_2", " u_2 ", "u_é", 7),
    "session_id": ("s_1", "s_2"),
    "event_type": (*oracle.KINDS, " Purchase ", "PAGE_VIEW"),
    "product_id": ("p_1", "p_2", "p_3", None, ""),
    "category": ("books", "toys", None, "玩具\u2028"),
    "quantity": (1, 5, "2", -1, None, 2.5, 99_999_999),
    "price": (9.99, 0.1, 0.2, "299.99", -0.01, None, 0.005, " 100. ", 99999999.99),
    "search_query": (None, "", "a\nb", "'; --", "\u0000", "☃😀"),
}
good = st.fixed_dictionaries({name: st.sampled_from(pool) for name, pool in EVENT.items()})
usual = {name: pool[0] for name, pool in EVENT.items()}
BROKEN: dict[str, tuple[Any, ...]] = {
    "timestamp": (None, "", "2026-02-30T00:00:00Z", "yesterday", 1766000000, {"a": []}, "\u0000"),
    "user_id": (None, "", "  "),
    "session_id": (None, " "),
    "event_type": (None, "", "view", ["search"], "page_view\t"),
    "quantity": ("1,000", "", "NaN", 10**8, 10**30, True, [1], {"n": 1}, "1e2", "1e400", "☃"),
    "price": ("free", "Infinity", "1e-1", 99999999.995, -(10**9), False, [], 1e300, math.nan),
}
broken = st.builds(
    lambda event, change: {**event, **dict([change])},
    good,
    st.sampled_from([(name, value) for name, values in BROKEN.items() for value in values]),
)
missing = st.builds(
    lambda event, names: {k: v for k, v in event.items() if k not in names},
    good,
    st.sets(st.sampled_from(sorted(EVENT)), min_size=1),
)
HOSTILE = (
    b"",
    b"  \t ",
    b"{}",
    b"[]",
    b"null",
    b"17",
    b'"text"',
    b"{",
    b'{"user_id": "u_1"',
    b'{"timestamp": }',
    b"{'timestamp': 1}",
    b'{"user_id": "u_1"}{"user_id": "u_2"}',
    b'{"user_id": "\\ud800"}',
    b'{"user_id": "\\x41"}',
    b'{"user_id": "tab\there"}',
    b'{"user_id": "\x00"}',
    b'{"user_id": "\x01"}',
    b'\x00{"user_id": "u_1"}',
    b"\x01;",
    b'{"user_id": "\xff"}',
    b"\xc3(\xa0\xe2\x82",
    b"\xef\xbb\xbf{}",
    b'{"user_id": "u_1", "more": 1, "user_id": "u_1"}',
    b'{"more": 1, "more": 1}',
    b'{"more": 1,}',
    b'{"more": -Infinity}',
    b'{"a": ' * 100 + b"1" + b"}" * 100,
    b'{"a": ' * 101 + b"1" + b"}" * 101,
    b'{"price": ' + b"9" * 5000 + b"}",
    "{}\u00a0".encode(),
    b'"quoted, ""csv"" \\"',
    b"a\x1fb\x0bc\x0cd",
    json.dumps({**usual, "extra": {"deep": [1, {"a": None}]}}).encode(),
    json.dumps({**usual, "extra": 1, "more": None}).encode(),
    json.dumps({**usual, "user_id": " ", "extra": "x"}).encode(),
    json.dumps(usual)[:-1].encode() + b', "user_id": "u_1"}',
    json.dumps(usual).replace("9.99", "1e2").encode(),
    json.dumps(usual, indent=1).replace("\n", "").encode(),
    b"  " + json.dumps(usual, ensure_ascii=False).encode() + b"\t",
)
as_text = st.sampled_from(
    (
        json.dumps,
        lambda event: json.dumps(event, ensure_ascii=False, separators=(",", ":")),
    )
)
events = st.builds(
    lambda dump, event: dump(event).encode(), as_text, st.one_of(good, good, good, broken, missing)
)
lines = st.one_of(events, events, events, st.sampled_from(HOSTILE))


def _whole(data: bytes) -> bytes:
    return gzip.compress(data, 1)


def _two_members(data: bytes) -> bytes:
    return gzip.compress(data[: len(data) // 2], 1) + gzip.compress(data[len(data) // 2 :], 1)


def _cut(data: bytes) -> bytes:
    return gzip.compress(data, 1)[:-5]


PACKED = (_whole,) * 6 + (_two_members, _cut, bytes)


def some_object(choices: random.Random, odd: list[bytes]) -> bytes:
    """Odd lines among good ones, some of which are the same, packed well or badly."""
    found = [
        json.dumps({name: choices.choice(pool) for name, pool in EVENT.items()}).encode()
        for _ in range(choices.choice((0, 4, 12)))
    ]
    found += found[:2] + choices.sample(odd, choices.randint(0, min(5, len(odd))))
    choices.shuffle(found)
    text = choices.choice((b"\n", b"\n", b"\r\n")).join(found) + choices.choice((b"\n", b""))
    return choices.choice(PACKED)(text)


@dataclass
class Orchestra:
    """What Dagster would do: record digests, remember touched dates, refresh Gold for them."""

    lab: Lab
    bronze: dict[str, dict[str, bytes]] = field(default_factory=lambda: {h: {} for h in HOURS})
    recorded: dict[str, str] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)

    def put(self, hour: str, minute: int, data: bytes) -> None:
        try:
            lines = len(oracle.lines_of(data))
        except (EOFError, OSError):
            lines = 1_000  # A producer's count of an object that was damaged afterwards.
        with_manifest = minute != MINUTES[0]
        key = self.lab.deliver(data, hour, minute, lines=lines if with_manifest else None)
        self.bronze[hour][key] = data

    def delete(self, hour: str, minute: int) -> None:
        self.lab.delete(hour, minute)
        self.bronze[hour].pop(self.lab.key(hour, minute), None)

    def build(self, hours: tuple[str, ...]) -> None:
        for built in self.lab.build(*hours, recorded=self.recorded):
            assert built.status != "failed", built.error
            self.recorded[built.key] = built.receipt.digest
            self.stale |= set(built.receipt.touched)

    def build_and_die(self, hours: tuple[str, ...]) -> None:
        """Publishes, but dies before anything is on record."""
        self.lab.build(*hours, recorded=self.recorded)

    def refresh(self) -> None:
        for contract in GOLD_OF_EVENTS:
            for built in self.lab.gold(contract, *sorted(self.stale)):
                assert built.status != "failed", built.error
        self.stale.clear()


@few
@given(odd=st.lists(lines, min_size=3, max_size=20), seed=st.integers(0, 2**32))
def test_any_story_ends_in_one_full_recompute(
    new_lab: Callable[[], Lab], odd: list[bytes], seed: int
) -> None:
    dagster = Orchestra(lab := new_lab())
    choices = random.Random(seed)
    for step in choices.choices(
        ("put", "delete", "build", "die", "refresh"), (8, 1, 3, 2, 1), k=14
    ):
        hours = tuple(choices.sample(HOURS, choices.randint(1, len(HOURS))))
        slot = hours[0], choices.choice(MINUTES)
        if step == "put":
            dagster.put(*slot, some_object(choices, odd))
        elif step == "delete":
            dagster.delete(*slot)
        elif step == "build":
            dagster.build(hours)
        elif step == "die":
            dagster.build_and_die(hours)
        else:
            dagster.refresh()
    dagster.build(HOURS)
    dagster.refresh()

    expected = {hour: oracle.silver(found) for hour, found in dagster.bronze.items()}
    for hour, truth in expected.items():
        assert Counter(lab.rows(EVENTS, hour)) == Counter(truth.rows)
        assert _without_error_texts(lab.quarantined(hour)) == Counter(truth.quarantine)
        assert lab.receipt(EVENTS, hour).unknown == truth.unknown
    ledgers = {ledger["partition"]: ledger for ledger in ledger_records(lab.lake)}
    for hour, truth in expected.items():
        ledger = ledgers[hour]
        assert ledger["balanced"]
        assert (ledger["lines"], ledger["duplicates"]) == (truth.lines, truth.duplicates)
    every_row = [row for truth in expected.values() for row in truth.rows]
    for table, days in oracle.gold(every_row).items():
        contract = next(c for c in GOLD_OF_EVENTS if c.table == table)
        for day, rows in days.items():
            assert Counter(lab.rows(contract, day)) == Counter(rows), f"{table} {day}"
        everything = Counter(row for rows in days.values() for row in rows)
        assert Counter(lab.rows(contract)) == everything, f"{table} holds rows of no event"

    before = lab.snapshots()
    assert [built.status for built in lab.build(*HOURS)] == ["unchanged"] * len(HOURS)
    assert lab.snapshots() == before


def _without_error_texts(rows: list[Row]) -> Counter[Row]:
    """Rows without the errors' texts; the byte 1 may be kept as it is or as an escape."""
    return Counter(
        (key, reason, "" if reason == "object_unreadable" else line.replace("\x01", "\\x01"))
        for key, reason, line in rows
    )


@settings(few, max_examples=6)
@given(data=st.data(), found=st.lists(lines, min_size=1, max_size=30))
def test_any_batching_in_any_order_gives_the_same_rows(
    new_lab: Callable[[], Lab], data: st.DataObject, found: list[bytes]
) -> None:
    tables = []
    for _ in range(2):
        shuffled = data.draw(st.permutations(found))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(found)), max_size=3)))
        lab = new_lab()
        for n, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(found)], strict=True)):
            lab.deliver(_whole(b"\n".join(shuffled[start:end]) + b"\n"), minute=n * 5)
        (built,) = lab.build()
        assert built.status == "published"
        tables.append((Counter(lab.rows()), len(lab.quarantined())))
    assert tables[0] == tables[1]


def test_the_same_objects_are_not_built_again(lab: Lab) -> None:
    lab.deliver(jsonl([json.dumps(usual)]), lines=1)
    assert [built.status for built in lab.build()] == ["published"]
    before = lab.snapshots(), lab.rows()
    assert [built.status for built in lab.build()] == ["unchanged"]
    assert (lab.snapshots(), lab.rows()) == before


def test_another_statement_judges_the_same_objects_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.deliver(jsonl([json.dumps(usual)]))
    lab.build()
    monkeypatch.setitem(EVENTS.__dict__, "version", "another")
    assert [built.status for built in lab.build()] == ["published"]


def test_an_overwritten_object_is_built_again(lab: Lab) -> None:
    lab.deliver(jsonl([json.dumps(usual)]), lines=1)
    lab.build()
    lab.deliver(jsonl([json.dumps({**usual, "user_id": "u_2"})]))
    assert [built.status for built in lab.build()] == ["published"]
    assert [row[2] for row in lab.rows()] == ["u_2"]


def test_a_quarantine_of_another_build_is_seen_and_made_again(lab: Lab) -> None:
    lab.deliver(jsonl(["bad"]))
    lab.build()
    (version,) = lab.lake.versions(QUARANTINE)
    lab.deliver(jsonl(["bad", "worse"]))
    lab.build()
    lab.lake.rollback(QUARANTINE, version.snapshot_id)
    assert [built.status for built in lab.build()] == ["published"]
    assert len(lab.quarantined()) == 2


def test_a_deleted_hour_is_an_empty_partition_and_takes_its_gold_along(lab: Lab) -> None:
    lab.deliver(jsonl([json.dumps(usual)]))
    (first,) = lab.build()
    for contract in GOLD_OF_EVENTS:
        lab.gold(contract, *first.receipt.touched)
    lab.delete()
    (second,) = lab.build(recorded={HOUR: first.receipt.digest})
    assert second.receipt.touched == first.receipt.touched == ("2026-01-01",)
    for contract in GOLD_OF_EVENTS:
        (built,) = lab.gold(contract, "2026-01-01")
        assert (built.status, built.receipt.rows) == ("published", 0)
        assert lab.rows(contract) == []


# --- Conservation ---------------------------------------------------------------------------


class Tampering(DuckDBTransformer):
    """DuckDB's engine, with its report changed on its way."""

    rows: int = 0
    lines: int = 0

    def transform(self, request: TransformRequest) -> Iterator[PartitionReport]:
        for report in super().transform(request):
            report.rows += self.rows
            report.lines += self.lines
            yield report


@pytest.mark.parametrize(("rows", "lines"), [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_an_engine_that_loses_or_doubles_a_row_publishes_nothing(
    lab: Lab, rows: int, lines: int
) -> None:
    lab.deliver(jsonl([json.dumps(usual), json.dumps(usual), "bad"]))
    lab.transformer = Tampering(rows=rows, lines=lines)
    (built,) = lab.build()
    assert built.status == "failed"
    assert built.error == (
        f"the ledger does not balance: {3 + lines} lines, "
        f"but {1 + rows} rows + 1 duplicates + 1 quarantined"
    )
    assert lab.rows() == lab.quarantined() == []
    assert lab.lake.live(EVENTS) == lab.lake.live(QUARANTINE) == {}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_producers_count_that_is_not_met_keeps_what_was_live(lab: Lab, count: int) -> None:
    lab.deliver(jsonl([json.dumps(usual)]))
    lab.build()
    before = lab.rows(), lab.snapshots()
    lab.deliver(jsonl([json.dumps(usual), "bad"]), minute=5, lines=count)
    (built,) = lab.build()
    assert built.status == "failed"
    assert f"{1 + count} lines" in (built.error or "")
    assert (lab.rows(), lab.snapshots()) == before


def test_an_object_that_arrives_while_its_hour_is_read_publishes_nothing(lab: Lab) -> None:
    class Interrupted(DuckDBTransformer):
        def transform(self, request: TransformRequest) -> Iterator[PartitionReport]:
            lab.deliver(jsonl(["late"]), minute=30)
            yield from super().transform(request)

    lab.deliver(jsonl([json.dumps(usual)]))
    quiet, lab.transformer = lab.transformer, Interrupted()
    (built,) = lab.build()
    assert (built.status, lab.rows()) == ("failed", [])
    assert "added, removed or changed" in (built.error or "")
    lab.transformer = quiet
    assert [built.status for built in lab.build()] == ["published"]


def test_one_hour_that_fails_does_not_stop_the_others(lab: Lab) -> None:
    for hour in HOURS:
        lab.deliver(jsonl([json.dumps(usual)]), hour)
    lab.deliver(jsonl(["bad"]), HOURS[0], 5, lines=7)
    assert [built.status for built in lab.build(*HOURS)] == ["failed", "published"]
    assert len(lab.rows()) == 1


@pytest.mark.parametrize("contract", GOLD_OF_EVENTS, ids=lambda c: c.asset)
@pytest.mark.parametrize("rolled", [False, True], ids=["from Silver", "from roll-ups"])
def test_gold_that_does_not_reconcile_publishes_nothing(
    lab: Lab, contract: Any, rolled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A statement that counts twice, as an unlucky join would."""
    buys = {"event_type": "purchase", "quantity": 1, "price": 9.99}
    lab.deliver(jsonl([json.dumps({**usual, **buys}), json.dumps({**usual, "user_id": "u_2"})]))
    lab.build()
    (built,) = lab.gold(contract, "2026-01-01")
    before = lab.rows(contract)
    assert (built.status, len(before)) == ("published", 1)
    name, table = ("rolled_sql", "silver.event_counts") if rolled else ("sql", "silver.events")
    twice = getattr(contract, name).replace(
        f"FROM {table}", f"FROM {table} JOIN (VALUES 1, 2) ON true"
    )
    monkeypatch.setitem(contract.__dict__, name, twice)
    monkeypatch.setitem(contract.__dict__, "version", "twice")
    if not rolled:
        monkeypatch.setitem(contract.__dict__, "roll_ups", ())
    (built,) = lab.gold(contract, "2026-01-01")
    assert built.status == "failed"
    assert "in Gold and" in (built.error or "")
    assert lab.rows(contract) == before


# --- Atomicity ------------------------------------------------------------------------------

KILLS = 10
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["event_pipeline_tests.test_laws", "pyarrow.parquet"])


def generation(n: int) -> list[str]:
    """The lines of an hour whose every row and every bad line tells its generation."""
    rows = [json.dumps({**usual, "user_id": f"{n}", "session_id": f"{i}"}) for i in range(40 + n)]
    return rows + [f"bad {n}"] * (10 + n)


def seen(lab: Lab) -> tuple[Counter[str], Counter[str]]:
    """Generations that a reader sees in Silver and in quarantine, and how much of each."""
    return (
        Counter(row[2] for row in lab.rows()),
        Counter(line.split()[1] for _, _, line in lab.quarantined()),
    )


def whole(n: int) -> tuple[Counter[str], Counter[str]]:
    """A generation of which nothing is missing."""
    return Counter({str(n): 40 + n}), Counter({str(n): 10 + n})


def _build(root: Path, started: Event, kill_at: str | None = None) -> None:
    if kill_at:
        _kill_before(*kill_at.split())
    started.set()
    Lab(root).build()


def _kill_before(method: str, dataset: str) -> None:
    original = getattr(Lake, method)

    def killed(lake: Lake, *arguments: Any) -> Any:
        if any(getattr(argument, "asset", "") == dataset for argument in arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(lake, *arguments)

    setattr(Lake, method, killed)


def _run(target: Callable[..., None], *arguments: Any) -> Any:
    process = processes.Process(target=target, args=arguments)
    process.start()
    return process


def test_kill_9_at_any_instant_leaves_the_old_or_the_new_partition(lab: Lab) -> None:
    nothing: Counter[str] = Counter()
    lab.deliver(jsonl(generation(0)))
    begun = time.monotonic()
    lab.build()
    length = time.monotonic() - begun
    instants = random.Random(17)
    killed = 0
    for n in range(1, KILLS + 1):
        before = seen(lab)
        lab.deliver(jsonl(generation(n)))
        process = _run(_build, lab.root, started := processes.Event())
        assert started.wait(30)
        process.join(instants.uniform(0, length))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        for old, new, found in zip(before, whole(n), seen(lab), strict=True):
            assert found in (old, new)
            assert found != nothing
        if n % 3 == 0:
            lab.build()
            assert seen(lab) == whole(n)
    assert killed > KILLS / 3, "the builds ended before they were killed"
    lab.build()
    assert seen(lab) == whole(KILLS)


@pytest.mark.parametrize("first", [True, False], ids=["first build", "second build"])
@pytest.mark.parametrize(
    ("instant", "silver_is_new", "quarantine_is_new"),
    [
        ("publish quarantine/events", False, False),
        ("_commit quarantine/events", False, False),  # its receipt is written
        ("publish silver/events", False, True),
        ("_commit silver/events", False, True),
    ],
)
def test_killed_at_a_step_of_a_publish(
    lab: Lab, instant: str, silver_is_new: bool, quarantine_is_new: bool, first: bool
) -> None:
    if not first:
        lab.deliver(jsonl(generation(0)))
        lab.build()
    old = seen(lab)
    lab.deliver(jsonl(generation(1)))
    process = _run(_build, lab.root, started := processes.Event(), instant)
    process.join()
    assert started.is_set()
    assert process.exitcode == -signal.SIGKILL
    silver, quarantine = seen(lab)
    assert silver == (whole(1) if silver_is_new else old)[0]
    assert quarantine == (whole(1) if quarantine_is_new else old)[1]
    (built,) = lab.build()
    assert (built.status, seen(lab)) == ("published", whole(1))


def test_touched_dates_survive_a_process_that_died_after_its_publish(lab: Lab) -> None:
    lab.deliver(jsonl([json.dumps({**usual, "timestamp": "2025-12-24T00:00:00Z"})]))
    (recorded,) = lab.build()
    lab.deliver(jsonl([json.dumps({**usual, "timestamp": "2025-12-25T00:00:00Z"})]))
    lab.build(recorded={HOUR: recorded.receipt.digest})  # ...and is never on record
    lab.deliver(jsonl([json.dumps({**usual, "timestamp": "2025-12-26T00:00:00Z"})]))
    (built,) = lab.build(recorded={HOUR: recorded.receipt.digest})
    assert built.receipt.touched == ("2025-12-24", "2025-12-25", "2025-12-26")
    (again,) = lab.build()
    assert (again.status, again.receipt.touched) == ("unchanged", built.receipt.touched)


def _publish(root: Path, hours: list[str], user: str, barrier: Any) -> None:
    """Publishes one version of each hour, made of objects that this process alone sees."""
    lab = Lab(root)
    made = []
    for hour in hours:
        own = Lab(root / user)
        own.deliver(jsonl(generation(int(user))), hour)
        own.build(hour)
        made.append((hour, own.lake.live(EVENTS)[hour].paths))
    barrier.wait(60)
    for hour, files in made:
        lab.lake.publish(EVENTS, hour, files, receipt(user))


@pytest.mark.parametrize("there_already", [False, True], ids=["new table", "old partition"])
def test_writers_of_one_partition_leave_exactly_one_version(lab: Lab, there_already: bool) -> None:
    if there_already:
        lab.deliver(jsonl(generation(9)))
        lab.build()
    barrier = processes.Barrier(3)
    running = [_run(_publish, lab.root, [HOUR], f"{n}", barrier) for n in (1, 2, 3)]
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0, 0, 0]
    silver, _ = seen(lab)
    assert [silver] in [[whole(n)[0]] for n in (1, 2, 3)]
    live = lab.lake.live(EVENTS)[HOUR]
    # A version has a file more where a line was read twice.
    assert len({Path(path).parent for path in live.paths}) == 1
    assert lab.receipt().digest == next(iter(silver))


def test_writers_of_different_partitions_all_succeed(lab: Lab) -> None:
    barrier = processes.Barrier(4)
    hours = {n: [f"2026-01-0{n}-0{hour}:00" for hour in range(4)] for n in (1, 2, 3, 4)}
    running = [_run(_publish, lab.root, hours[n], f"{n}", barrier) for n in hours]
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0] * 4
    for n, own in hours.items():
        for hour in own:
            assert Counter(row[2] for row in lab.rows(EVENTS, hour)) == whole(n)[0]
