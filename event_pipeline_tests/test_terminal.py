"""What data can do to a terminal: nothing."""

import io
import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from event_pipeline import terminal
from event_pipeline.terminal import harmless, print_records, print_rows, write

ESCAPES = "a\x1b]0;title\x07b\x1b[2Jc\x9b31md\x7fe\u202ef\u2066g\x00h\ri\x08\u200b\ud800"
# What a terminal of a screen gets that a person may read.
LETTERS = "é ☃ 日本\u3000語 नमस्ते \U0001f600 \u200c \u200d \u00a0"


class Screen(io.StringIO):
    """A terminal that keeps what it is sent."""

    def isatty(self) -> bool:
        """It says so."""
        return True


def screen_of(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """The standard output and error as one terminal without colours.

    No fixture: between those and a test pytest puts streams of its own there.
    """
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "300")
    found = Screen()
    monkeypatch.setattr(sys, "stdout", found)
    monkeypatch.setattr(sys, "stderr", found)
    return found


def commands(text: str) -> set[str]:
    """The letters that a terminal would obey, or could not show."""
    kinds = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return {c for c in text if unicodedata.category(c) in kinds} - set("\n\t\u200c\u200d")


def test_control_characters_are_visible_and_letters_stay() -> None:
    shown = harmless(ESCAPES)
    assert commands(shown) == set()
    assert shown.startswith("a\\x1b]0;title\\x07b\\x1b[2Jc\\x9b31md\\x7fe\\u202ef")
    assert harmless(LETTERS) == LETTERS
    assert harmless("a\tb\n") == "a\tb\n"
    assert harmless("\U000e0041") == "\\U000e0041"


@pytest.mark.parametrize("console", [terminal.stdout, terminal.stderr])
def test_what_a_console_prints_is_text(
    monkeypatch: pytest.MonkeyPatch, console: Callable[[], Console]
) -> None:
    screen = screen_of(monkeypatch)
    console().print(
        f"[red]{ESCAPES}[/red] [/] :smile: [link=http://x]", soft_wrap=True, highlight=False
    )
    said = screen.getvalue()
    assert said == f"[red]{harmless(ESCAPES)}[/red] [/] :smile: [link=http://x]\n"


def test_a_tables_title_names_and_cells_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_of(monkeypatch)
    print_records([{f"n{ESCAPES}": f"v{ESCAPES}\n[b]x[/b]"}], f"t{ESCAPES}", terminal.stdout())
    said = screen.getvalue()
    assert commands(said) <= {"\x1b"}
    assert "\x1b]" not in said
    assert "\x1b[2J" not in said
    assert "v" + harmless(ESCAPES) + "\\n[b]x[/b]" in said


def test_columns_of_the_same_name_are_both_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = screen_of(monkeypatch)
    print_rows([(1, 2)], None, terminal.stdout(), ["n", "n"])
    assert screen.getvalue().split()[-2:] == ["1", "2"]


def test_lines_are_raw_for_a_pipe_and_harmless_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = screen_of(monkeypatch)
    write(ESCAPES)
    assert commands(screen.getvalue()) == set()
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    write(ESCAPES)
    assert pipe.getvalue() == f"{ESCAPES}\n"


QUERY = (
    "SELECT 'a' || chr(27) || ']0;x' || chr(7) || chr(155) || chr(8238) AS \"c\x1b[2J\", 1.50 AS d,"
    " TIMESTAMP '2026-11-24 01:00:00' AS t, CAST(NULL AS integer) AS e, true AS f"
)
PROGRAM = """
import sys
from event_pipeline.cli import app
from event_pipeline.terminal import encode_anything
encode_anything()
for format in sys.argv[2:]:
    app(["query", sys.argv[1], "--format", format], standalone_mode=False)
"""


def test_a_query_on_a_terminal(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, QUERY, "table", "csv", "json"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "EVENT_PIPELINE_HOME": str(tmp_path), "TERM": "xterm", "NO_COLOR": "1"},
    )
    os.close(slave)
    said = b""
    while part := _read(master):
        said += part
    assert process.wait() == 0, said
    assert said.count(b"2026-11-24 01:00:00") == 2
    assert b'"t": "2026-11-24T01:00:00"' in said
    for command in (b"\x1b]", b"\x1b[2J", b"\x07", b"\xc2\x9b", b"\xe2\x80\xae"):
        assert command not in said


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # Linux's way to say that the other end is closed
        return b""


def test_a_query_to_a_pipe_that_is_closed_ends_quietly(tmp_path: Path) -> None:
    many = "SELECT a.x FROM UNNEST(sequence(1, 300000)) AS a(x)"
    process = subprocess.Popen(
        [sys.executable, "-c", "from event_pipeline.__main__ import main; main()", "query", many,
         "--format", "csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "EVENT_PIPELINE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == b"x\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.wait()


def test_names_that_are_not_text_can_be_printed(tmp_path: Path) -> None:
    code = (
        "from event_pipeline.terminal import *; encode_anything();"
        "write('a\\udcff \\u2603'); stdout().print('b\\udcff'); stderr().print('c\\udcff')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert ran.stdout.splitlines()[0] == b"a\\udcff \\u2603"
    assert b"\\udcff" in ran.stderr
