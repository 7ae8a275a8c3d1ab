"""`feed check`: what a declaration would read and refuse, before anything is built."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from event_pipeline.cli import app
from event_pipeline.contracts.contract import SQL
from event_pipeline_tests.parity.test_feeds import CALLS, lines

LAYOUT = "*/{day_ms}/"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A folder as Segment fills it, with a name that is none of its layout's."""
    folder = tmp_path / "segment-logs" / "source1" / "1767225600000"
    folder.mkdir(parents=True)
    (folder / "a.gz").write_bytes(gzip.compress(lines(*CALLS)))
    (folder / "b.gz").write_bytes(gzip.compress(lines(CALLS[3], CALLS[2]) + b"no call\n"))
    (folder / "c.gz").write_bytes(b"\x1f\x8b cut")
    (folder.parent / "readme.txt").write_text("x")
    return tmp_path / "segment-logs"


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command in a home that is not there, and must not be made."""
    home = tmp_path / "home"
    monkeypatch.setenv("EVENT_PIPELINE_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> Result:
        result = CliRunner().invoke(app, ["feed", "check", *words])
        assert not home.exists()
        return result

    return run


def has(text: str, *words: object) -> bool:
    """Whether a line of a table has these cells, in order."""
    return any(line.split() == [str(word) for word in words] for line in text.splitlines())


def test_what_is_found_read_and_refused(logs: Path, check: Callable[..., Result]) -> None:
    mapping = str(SQL / "feeds" / "segment.sql")
    options = ("--layout", LAYOUT, "--mapping", mapping, "--each", "properties.products")
    found = check(str(logs), *options)
    text = found.output
    assert found.exit_code == 0, text
    # objects, read, not read, partitions, first, last
    assert has(text, 4, 3, 1, 1, "2026-01-01", "2026-01-01")
    assert "segment-logs/source1/readme.txt: not in a partition of segment-logs/*/{day_ms}/" in text
    assert has(text, "lines,", "gzip", 3)
    assert has(text, "anonymousId", 0.9, "yes") or has(text, "anonymousId", "0.9000", "yes")
    assert has(text, "context.page.path", "0.9000")
    # Read, and in no record.
    assert has(text, "properties.query", "0.0000", "yes")
    # records, lines, rows, duplicates, quarantined, skipped
    assert has(text, 11, 15, 7, 3, 3, 2)
    for reason in ("event_type_unknown", "malformed_json", "object_unreadable"):
        assert reason in text
    assert "An event type outside the five." in text


def test_a_layout_that_finds_nothing_exits_1(logs: Path, check: Callable[..., Result]) -> None:
    found = check(str(logs), "--layout", "{yyyy}/{MM}/{dd}/{HH}/")
    assert found.exit_code == 1
    assert has(found.output, 4, 0, 4, 0)


def test_more_than_half_refused_exits_1(logs: Path, check: Callable[..., Result]) -> None:
    found = check(str(logs), "--layout", LAYOUT)
    assert found.exit_code == 1
    assert "timestamp_missing" in found.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere/",), "nothing lies under"),
        (("logs/", "--layout", "{year}/"), "there is no field {year}"),
        (("logs/", "--each", "items"), "bronze.each: needs a mapping"),
        (("logs/", "--mapping", "none.sql"), "there is no file"),
        (("logs/", "--dataset", "none"), "there is no dataset none"),
    ],
)
def test_what_cannot_be_is_one_line(
    check: Callable[..., Result], words: tuple[str, ...], said: str
) -> None:
    found = check(*words)
    assert found.exit_code == 2
    assert said in found.output
    assert len(found.output.splitlines()) == 1


def test_a_mapping_that_does_not_fit_is_one_line(
    logs: Path, tmp_path: Path, check: Callable[..., Result]
) -> None:
    for text, said in {
        "SELECT userId AS usr FROM raw": "mapping: gives 'usr'; the fields are timestamp, user_id",
        "SELECT userId AS user_id FROM raw": "mapping: does not give timestamp; if there is",
        "SELECT count(*) AS user_id FROM raw": "mapping: must give one row for each record",
        "SELECT userId AS user_id FROM calls": "mapping: must read only raw",
        "SELECT FROM": "mapping: ",
    }.items():
        (tmp_path / "mine.sql").write_text(text)
        found = check(str(logs), "--layout", LAYOUT, "--mapping", str(tmp_path / "mine.sql"))
        assert found.exit_code == 2
        assert said in found.output
