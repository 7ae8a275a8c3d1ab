"""What can be read of objects that a reader refuses."""

import gzip
from pathlib import Path

import pytest

from event_pipeline.lake.text import (
    KEPT_OF_LONG_LINE,
    LONGEST_LINE,
    Unreadable,
    make_readable,
)
from event_pipeline_tests.conftest import Lab


def readable(tmp_path: Path, data: bytes) -> str:
    """An object's bytes, made readable."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(data)
    make_readable(str(source), str(target))
    return gzip.decompress(target.read_bytes()).decode()


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (b"a\nb\n", "a\nb\n"),
        (b"a\r\nb\rc", "a\nb\nc\n"),
        (b"\n\n", "\n\n"),
        (b"\xef\xbb\xbfa", "a\n"),
        (b"a\xffb\n", "a\\xffb\n"),
        (b"a\x01b\n", "a\\x01b\n"),
        (b"a\x00b\n", "a\x00b\n"),
        ("é\u2028\x85\x0b\n".encode(), "é\u2028\x85\x0b\n"),
        (b"", ""),
    ],
)
def test_bytes_that_are_no_text_stay_in_sight(tmp_path: Path, text: bytes, read: str) -> None:
    assert readable(tmp_path, gzip.compress(text)) == read


def test_members_are_one_text(tmp_path: Path) -> None:
    assert readable(tmp_path, gzip.compress(b"a") + gzip.compress(b"b\n")) == "ab\n"


def test_an_empty_object_has_no_lines(tmp_path: Path) -> None:
    assert readable(tmp_path, b"") == ""


WHOLE = gzip.compress(b"a\n" * 1000)


@pytest.mark.parametrize(
    "data",
    [b"{}", WHOLE[:9], WHOLE[:-9], WHOLE[:-1], WHOLE[:-8] + bytes(8), WHOLE + b"more"],
    ids=["text", "header", "cut", "cut by one", "checksum", "more"],
)
def test_a_damaged_object_is_unreadable(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Unreadable, match=r"."):
        readable(tmp_path, data)


def test_an_object_that_is_gone_is_no_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_readable(str(tmp_path / "gone"), str(tmp_path / "target"))


@pytest.mark.parametrize(
    "line",
    ["a" * LONGEST_LINE, "é" * (LONGEST_LINE // 2)],
    ids=["ascii", "two bytes each"],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_the_longest_line_is_kept_and_a_longer_one_is_cut(
    tmp_path: Path, line: str, end: str
) -> None:
    for text, read in ((line, line), (line + "a", line[:KEPT_OF_LONG_LINE] + "... (cut)")):
        data = gzip.compress(f"before\n{text}{end}".encode(), 1)
        assert readable(tmp_path, data) == f"before\n{read}\n"


def test_lines_after_a_very_long_one_are_kept(tmp_path: Path) -> None:
    data = gzip.compress(b"a" * (3 * LONGEST_LINE) + b"\nb\n", 1)
    assert readable(tmp_path, data).endswith("(cut)\nb\n")


@pytest.mark.parametrize("neighbour", [None, b"no gzip"], ids=["alone", "beside a broken object"])
@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("x" * (LONGEST_LINE - 200), True),
        ("😀" * (LONGEST_LINE // 4 - 100), True),
        ("x" * LONGEST_LINE, False),
        ("😀" * (LONGEST_LINE // 3), False),
        ("\x01" * (LONGEST_LINE // 3), False),
    ],
    ids=["long", "long of wide characters", "too long", "too wide", "too long once escaped"],
)
def test_a_long_line_is_judged_alike_whatever_lies_beside_it(
    lab: Lab, query: str, kept: bool, neighbour: bytes | None
) -> None:
    event = (
        '{"timestamp": "2026-01-01T00:00:00Z", "user_id": "u", "session_id": "s",'
        ' "event_type": "search", "search_query": "%s"}'
    )
    lab.deliver(gzip.compress(f"{event % query}\n{event % 'short'}\n".encode(), 1))
    if neighbour:
        lab.deliver(neighbour, minute=5)
    (built,) = lab.build()
    assert built.status == "published", built.error
    assert len(lab.rows()) == 1 + kept
    assert len(lab.quarantined()) == (not kept) + (neighbour is not None)
