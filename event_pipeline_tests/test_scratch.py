"""Scratch folders of killed processes are removed by the next start, those of living ones stay."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from event_pipeline.scratch import remove_left

KILLED = """
import sys
from event_pipeline.scratch import scratch
with scratch() as folder:
    open(folder + "/spilled", "w").write("x")
    print(folder, flush=True)
    sys.stdin.readline()
"""


def started(tmp_path: Path) -> tuple["subprocess.Popen[str]", Path]:
    """A process that uses a scratch folder, and the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def end(process: "subprocess.Popen[str]") -> None:
    process.communicate("\n")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_next_start_removes_what_a_killed_process_left(
    tmp_path: Path, how: signal.Signals
) -> None:
    living, kept = started(tmp_path)
    killed, left = started(tmp_path)
    mine = tmp_path / "mine"
    mine.mkdir()
    killed.send_signal(how)
    end(killed)
    after, _ = started(tmp_path)
    assert not left.exists()
    assert (kept / "spilled").exists()
    assert mine.exists()
    for process, folder in ((living, kept), (after, _)):
        end(process)
        assert not folder.parent.exists()
    assert [path.name for path in kept.parents[1].iterdir()] == ["lock"]


def test_what_a_process_left_that_was_killed_before_it_locked_its_folder_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / f"event-pipeline-{os.getuid()}" / "tmpx" / "spilled"
    left.parent.mkdir(parents=True)
    left.write_text("abc")
    assert remove_left(dry_run=True) == (1, 3)
    assert left.exists()
    assert remove_left() == (1, 3)
    assert not left.parent.exists()
    assert remove_left() == (0, 0)
