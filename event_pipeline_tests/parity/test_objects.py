"""Objects in every form: both engines find the same lines in them, and name the same objects."""

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from event_pipeline.contracts import (
    COMMERCE_ORDERS,
    COMMERCE_USERS,
    EVENTS,
    Contract,
    SilverContract,
)
from event_pipeline.jobs import partition, transform
from event_pipeline.lake.receipts import RECEIPT
from event_pipeline.lake.text import LONGEST_LINE
from event_pipeline_tests.parity.conftest import Outcome, Pair
from event_pipeline_tests.parity.strategies import NO_TEXT, base, compact, plain, spoiled

MARK = b"\xef\xbb\xbf"


def good(count: int, name: str = "", contract: SilverContract = EVENTS) -> list[str]:
    """Lines that are good, each another's."""
    return [plain(base(contract, f"{name}{n}")) for n in range(count)]


def text(lines: Sequence[str], end: str = "\n") -> bytes:
    """Lines, each with this end."""
    return "".join(f"{line}{end}" for line in lines).encode()


def ledger(found: Outcome) -> tuple[int, int, int, int]:
    """Lines, rows, duplicates and quarantined lines of a partition that is published."""
    assert found.status == "published", found.error
    lines, *parts = (
        getattr(found.receipt, n) for n in ("lines", "rows", "duplicates", "quarantined")
    )
    assert lines == sum(parts)
    return lines, *parts


# --- Line ends, marks and bytes ----------------------------------------------------------------

LINE_ENDS = (
    "\n", "\r\n", "\r", "\n\n", "\r\n\r\n", "\r\r", "\n \n", "\r\n\t \r\n", "\n\r", "\r \r\n \n",
)  # fmt: skip


def test_lines_end_as_they_may(pair: Pair) -> None:
    """Each object has other ends, every second one none at its last line, some a mark."""
    for n, end in enumerate(LINE_ENDS):
        data = end.join([*good(3, f"{n}_"), "bad", " "]).encode()
        data = (MARK if n % 3 == 0 else b"") + data + (end.encode() if n % 2 else b"")
        pair.deliver(gzip.compress(data), minute=5 * n)
    ends = zip(good(len(LINE_ENDS), "mixed"), LINE_ENDS, strict=True)
    mixed = "".join(line + end for line, end in ends)
    pair.deliver(gzip.compress(f"\r\n \n{mixed} \t".encode()), minute=55)
    assert ledger(pair.build()) == (50, 40, 0, 10)


def test_a_mark_is_no_mark_but_at_an_objects_start(pair: Pair) -> None:
    lines, mark = good(6), "\ufeff"
    pair.deliver(gzip.compress(text([mark + lines[0], mark + lines[1], lines[2] + mark])))
    pair.deliver(gzip.compress(text([mark * 2 + lines[3], lines[4]])), minute=5)
    pair.deliver(gzip.compress(MARK), minute=10)
    pair.deliver(gzip.compress(MARK + b"\n" + lines[5].encode()), minute=15)
    pair.deliver(gzip.compress(text([" " + mark + lines[0]])), minute=20)
    assert ledger(pair.build()) == (7, 3, 0, 4)


@pytest.mark.parametrize("contract", [EVENTS, COMMERCE_ORDERS], ids=["events", "orders"])
def test_bytes_that_are_no_text_or_no_json(pair: Pair, contract: SilverContract) -> None:
    """One such byte makes an object another matter to DuckDB, and here there are all of them."""
    if contract == EVENTS:
        # An upload with zero bytes is none.
        pair.deliver(gzip.compress(b"\n".join(spoiled(EVENTS, [*NO_TEXT, b"\0", b"\0\0"]))))
        pair.deliver(gzip.compress(text(good(3))), minute=5)
    else:
        lines = b"\n".join(spoiled(contract, NO_TEXT))
        pair.upload({"orders.json": text(good(3, contract=contract)) + lines})
    assert ledger(pair.build(contract))[1] > 3


@pytest.mark.parametrize("longest", [2_050_000, 2_200_000], ids=["too long", "far too long"])
def test_lines_that_are_too_long(pair: Pair, longest: int) -> None:
    """Two million bytes are read, one more makes it no line; a letter may have two bytes.

    One that is far too long makes its object another matter to DuckDB.
    """
    lines = good(2, contract=COMMERCE_USERS)
    sizes = (LONGEST_LINE, LONGEST_LINE - 1, LONGEST_LINE, LONGEST_LINE + 1, longest)
    for n, size in enumerate(sizes):
        letter = "éx"[n % 2]
        start, end = plain(base(COMMERCE_USERS, f"long{n}"))[:-1] + ', "more": "', '"}'
        count, rest = divmod(size - len((start + end).encode()), len(letter.encode()))
        lines.append(start + letter * count + "y" * rest + end)
        assert len(lines[-1].encode()) == size
    array = f"[{','.join(lines[-3:])}]".encode()
    pair.upload({"users.json": text(lines), "users.jsonl.gz": gzip.compress(array, 1)})
    # A line that is not read at all has no key by which it would be another's.
    assert ledger(pair.build(COMMERCE_USERS)) == (10, 5, 1, 4)


# --- Objects of a partition --------------------------------------------------------------------


def test_a_drop_without_a_file(pair: Pair) -> None:
    assert ledger(pair.build(COMMERCE_USERS)) == (0, 0, 0, 0)


def cut(data: bytes) -> bytes:
    """A gzipped object that ends early."""
    return gzip.compress(data)[:-9]


UNREADABLE: dict[str, Callable[[bytes], bytes]] = {
    "cut": cut,
    "cut in its first bytes": lambda data: gzip.compress(data)[:5],
    "plain": lambda data: data,
    "of another sum": lambda data: gzip.compress(data)[:-8] + bytes(8),
    "of no known kind": lambda data: b"PK\x03\x04" + gzip.compress(data),
    "spoiled within": lambda data: gzip.compress(data * 50)[:40] + b"\xff" * 20,
    "with bytes behind": lambda data: gzip.compress(data) + b"more",
    "with zeros behind": lambda data: gzip.compress(data) + bytes(8),
    "in two parts": lambda data: gzip.compress(data) + gzip.compress(data),
    "in two parts, the other cut": lambda data: gzip.compress(data) + cut(data),
    "gzipped twice": lambda data: gzip.compress(gzip.compress(data)),
    "empty": lambda data: b"",
    "of nothing": lambda data: gzip.compress(b""),
}


def test_unreadable_objects_beside_good_ones(pair: Pair) -> None:
    for n, spoil in enumerate(UNREADABLE.values()):
        pair.deliver(spoil(text([*good(4, f"{n}_"), "bad"])), minute=4 * n)
    pair.deliver(gzip.compress(text([*good(2), "bad", "bad"])), minute=56)
    found = pair.build()
    # Three are whole though odd: one has its lines twice, and one is no gzip, whatever its name.
    assert ledger(found)[1:3] == (4 + 4 + 4 + 2, 4)
    assert found.receipt.rejected["object_unreadable"] == 8


def test_nothing_but_an_unreadable_object(pair: Pair) -> None:
    pair.deliver(cut(text(good(4))))
    assert ledger(pair.build()) == (1, 0, 0, 1)


def test_the_same_lines_in_several_objects(pair: Pair) -> None:
    """Equal as texts, and told of the first object where they are refused."""
    lines = [*good(5), good(1)[0], "bad", '{"a": 1}', " " + good(1)[0], compact(base(EVENTS, "1"))]
    for minute in (0, 5, 10):
        pair.deliver(gzip.compress(text(lines)), minute=minute)
    pair.deliver(gzip.compress(text(lines[::-1], "\r\n")), minute=15)
    # Refused lines are told each time that they are there.
    assert ledger(pair.build()) == (40, 7, 25, 8)


def test_objects_with_and_without_their_producers_counts(pair: Pair) -> None:
    lines = [*good(3), "bad"]
    pair.deliver(gzip.compress(text(lines)), lines=4)
    pair.deliver(gzip.compress(text(lines, "\n\n")), minute=5)
    pair.deliver(gzip.compress(b"\n \n"), minute=10, lines=0)
    pair.deliver(cut(text(lines)), minute=15, lines=4)
    # A manifest counts only for the version of its object.
    pair.deliver(gzip.compress(text(lines)), minute=20, lines=99)
    pair.deliver(gzip.compress(text(lines[:2])), minute=20)
    assert ledger(pair.build()) == (11, 3, 5, 3)


def test_lines_that_are_not_what_the_producer_counted(pair: Pair) -> None:
    pair.deliver(gzip.compress(text(good(4))), lines=5)
    found = pair.build()
    assert (found.status, found.tables[EVENTS.table].total()) == ("failed", 0)
    assert "5 lines, but 4 rows" in str(found.error)


@pytest.mark.parametrize("twice", [False, True], ids=["each line once", "a line twice"])
def test_hours_side_by_side_in_files_of_a_size(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, twice: bool
) -> None:
    """As on a cluster: several hours at once, and an hour of more than one file's rows."""
    monkeypatch.setattr(transform, "CORES_PER_PARTITION", 1)
    hours = [f"2026-01-01-{n}:00" for n in (10, 11, 12)]
    for hour in hours:
        objects = [gzip.compress(text(good(4, f"{hour}{n}"))) for n in range(4)]
        for n, data in enumerate([*objects, *objects[: 1 if twice else 0]]):
            pair.deliver(data, hour, minute=5 * n)
    monkeypatch.setattr(partition, "BRONZE_PER_FILE", sum(map(len, objects)) // 2 + 50)
    for lab in pair.labs:
        assert {built.key for built in lab.build(*hours)} == {*hours}
    for hour in hours:
        found = pair.build(EVENTS, hour)
        assert (found.receipt.rows, found.receipt.duplicates) == (16, 4 if twice else 0)
        paths = map(Path, pair.spark.lake.live(EVENTS, {hour})[hour].paths)
        names = sorted(path.name for path in paths)
        # Rows are taken as they are staged, unless a line occurs twice.
        assert len(names) > 1
        assert (names == ["rows-0.parquet", "rows-1.parquet"]) != twice
        folder = Path(pair.spark.lake.live(EVENTS, {hour})[hour].prefix)
        assert sorted(path.name for path in folder.iterdir()) == sorted([RECEIPT, *names])


def test_hours_at_once_and_again(pair: Pair) -> None:
    """One of them is empty, and the dates touched are also those of rows that are no more."""
    hours = {"2026-01-01-10:00": 6, "2026-01-01-11:00": 0}
    old = [line.replace("2026-01-01", "2025-12-24") for line in good(2, "old")]
    pair.deliver(gzip.compress(text([*good(3), *old, "bad"])), lines=6)
    for lab in pair.labs:
        made = {built.key: (built.status, built.error) for built in lab.build(*hours)}
        assert made == dict.fromkeys(hours, ("published", None))
    for hour, lines in hours.items():
        found = pair.build(EVENTS, hour)
        assert (found.status, found.receipt.lines) == ("unchanged", lines)
    pair.deliver(gzip.compress(text(good(1))))
    again = pair.build()
    assert ledger(again) == (1, 1, 0, 0)
    assert again.receipt.touched == ("2025-12-24", "2026-01-01")


FORMS: dict[str, Callable[[Sequence[str]], bytes]] = {
    "{}.json": text,
    "{}.jsonl": lambda lines: text(lines, "\r\n")[:-2],
    "{}.json.gz": lambda lines: gzip.compress(text(lines)),
    "{}.jsonl.gz": lambda lines: text(lines, "\r"),
}
MISNAMED: dict[str, Callable[[Sequence[str]], bytes]] = {
    "{}.json": lambda lines: gzip.compress(text(lines)),
    "{}.jsonl": lambda lines: gzip.compress(f"[{', '.join(lines)}]".encode()),
    "{}.json.gz": lambda lines: MARK + f"[\n{f'{chr(10)},'.join(lines)}\n]\n".encode(),
    "{}.jsonl.gz": lambda lines: MARK + text(lines),
}


@pytest.mark.parametrize(
    ("contract", "forms"),
    [(COMMERCE_USERS, FORMS), (COMMERCE_ORDERS, MISNAMED)],
    ids=["as named", "misnamed"],
)
def test_files_in_every_form_in_a_lake_of_any_name(
    new_pair: Callable[[Path], Pair],
    tmp_path: Path,
    contract: SilverContract,
    forms: dict[str, Callable[[Sequence[str]], bytes]],
) -> None:
    """The same line in all four files, and lines with the same key that are not equal.

    The lake's folder has a name that is a pattern or an escape elsewhere.
    """
    pair = new_pair(tmp_path / "a b" / "_100%" / "[x]{y,z}*" / "é#1=2+&'\"$^~;!\\" / "date=x")
    for n, (pattern, form) in enumerate(forms.items()):
        last, _ = base(contract)[-2]
        rival = dict(base(contract, "rival")) | {last: f'"2026-01-0{n + 1}T00:00:00Z"'}
        if contract == COMMERCE_USERS:
            rival = dict(base(contract, "rival")) | {last: f'"{n}"'}
        lines = [
            *good(2, f"{n}_", contract),
            *good(1, "all", contract),
            plain([*rival.items()]),
            "17",
        ]
        pair.upload({pattern.format(_name(contract)): form(lines)})
    assert ledger(pair.build(contract)) == (20, 10, 3, 7)


def _name(contract: Contract) -> str:
    return contract.asset.removeprefix("silver/commerce_")


BAD_ELEMENTS = (
    "17", "null", '"a"', "[]", "[1, [2]]", "{}", "{,}", "{'a': 1}", '{"a": 1,}', "NaN", "word", "",
    '{"a": [}', '{"a": "', '{"a": "\\x"}', '{"a": "\t"}', "[", "]", "{", "}", '{"a" 1}', '"',
    "1.5.3", '{"a": "}, {"}', "\\", "/**/", '{"a": 1} {"b": 2}',
)  # fmt: skip


def test_arrays_with_bad_elements(pair: Pair) -> None:
    between = (",", ", ", ",\n  ", " ,\r\n", "\n,\n")
    names = ("users.json", "user.json", "users.jsonl", "users.json.gz", "user.jsonl.gz")
    for n, (name, comma) in enumerate(zip(names, between, strict=True)):
        elements = [plain(base(COMMERCE_USERS, f"{n}_first"))]
        for m, bad in enumerate(BAD_ELEMENTS[n::2]):
            spread = json.dumps(json.loads(plain(base(COMMERCE_USERS, f"{n}_{m}"))), indent=2)
            elements += [bad, spread if m % 2 else compact(base(COMMERCE_USERS, f"{n}_{m}"))]
        data = f"[{comma.join(elements)}{('', ']', ' ] ', f']{chr(10)}rest', '')[n]}".encode()
        pair.upload({name: gzip.compress(data) if n % 2 else data})
    assert ledger(pair.build(COMMERCE_USERS))[3] > len(BAD_ELEMENTS)


def test_a_file_that_is_refused_fails_its_drop(pair: Pair) -> None:
    """No engine is asked."""
    users = text(good(2, contract=COMMERCE_USERS))
    pair.upload({"users.json": users, "users.jsonl": b"\0", "user.json.gz": cut(users)})
    assert pair.build(COMMERCE_USERS).status == "failed"


def test_fifty_unknown_fields_are_named(pair: Pair) -> None:
    names = [f"{letter}{n:02}" for n in range(20) for letter in "bAé😀"]
    lines = [
        f"{line[:-1]}, {', '.join(f'{json.dumps(name)}: 1' for name in names[n:])}}}"
        for n, line in enumerate(good(len(names)))
    ]
    pair.deliver(gzip.compress(text(lines)))
    pair.deliver(gzip.compress(text([f" {line}" for line in lines[::7]])), minute=5)
    assert len(pair.build().receipt.unknown) == 50
