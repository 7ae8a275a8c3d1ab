"""Scratch folders: removed after use; those of killed processes, when the next process starts."""

import atexit
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from event_pipeline.digests import short_digest
from event_pipeline.errors import UsageError

ALIVE = "alive"
# Characters that DuckDB takes for a pattern and cannot always escape, or Dagster for part of a URL.
ODD = re.compile(r"[*?\[\\%#]")
# Open files: each lock is held as long as its file is open.
_held: list[int] = []


@contextmanager
def scratch() -> Iterator[str]:
    """A folder that is removed after the block; if this process is killed, by the next process."""
    with tempfile.TemporaryDirectory(dir=_of_process(os.getpid())) as folder:
        yield folder


def plain_path(path: str) -> str:
    """A path of the same file that nobody takes for a pattern or URL: through a link if necessary.

    Raises UsageError if the link's path would hold such characters, too.
    """
    last = max(map(re.Match[str].end, ODD.finditer(path)), default=0)
    if not last:
        return path
    end = path.find("/", last)
    return _link(os.getpid(), path[:end]) + path[end:] if end > 0 else _link(os.getpid(), path)


@cache
def _link(process: int, path: str) -> str:
    """A link to a file or folder, which lasts as long as this process."""
    link = f"{_of_process(process)}/links/{short_digest(path)}"
    if ODD.search(link):
        raise UsageError(f"TMPDIR={tempfile.gettempdir()} holds one of * ? [ \\ % #: set another")
    os.symlink(path, link)
    return link


@cache
def _of_process(process: int) -> Path:
    """This process's own folder, in which a file is locked for as long as the process lives."""
    parent = Path(tempfile.gettempdir()).absolute() / f"event-pipeline-{os.getuid()}"
    parent.mkdir(mode=0o700, exist_ok=True)
    if parent.is_symlink() or parent.stat().st_uid != os.getuid():
        raise UsageError(f"{parent} belongs to another user: set another TMPDIR")
    with open(parent / "lock", "w") as lock:
        # Held so that nobody sweeps the new folder before it is locked.
        fcntl.flock(lock, fcntl.LOCK_EX)
        _sweep(parent)
        folder = Path(tempfile.mkdtemp(dir=parent))
        (folder / "links").mkdir()
        alive = os.open(folder / ALIVE, os.O_CREAT | os.O_RDWR)
        fcntl.flock(alive, fcntl.LOCK_EX)
    _held.append(alive)
    atexit.register(_leave, process, folder)
    return folder


def _leave(process: int, folder: Path) -> None:
    # A forked process inherits this duty at exit, but the folder is not its own.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Removes the folders of processes that are gone."""
    for folder in parent.iterdir():
        try:
            alive = os.open(folder / ALIVE, os.O_RDWR)
        except OSError:
            continue  # It is the lock file, or its process was killed before it made the file.
        try:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        finally:
            os.close(alive)
        shutil.rmtree(folder, ignore_errors=True)
