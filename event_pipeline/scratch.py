"""Scratch folders: removed when they are left, and those of killed processes at the next start."""

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
# What DuckDB takes for a pattern, which cannot spell all of them, and Dagster for a part of a URL.
ODD = re.compile(r"[*?\[\\%#]")
# Locks are held as long as their files are open.
_held: list[int] = []


@contextmanager
def scratch() -> Iterator[str]:
    """A folder that is gone afterwards, also if this process is killed: the next one removes it."""
    with tempfile.TemporaryDirectory(dir=_of_process(os.getpid())) as folder:
        yield folder


def plain_path(path: str) -> str:
    """A path of the same file that nobody takes for a pattern or URL: by a link, if it must be."""
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
        raise UsageError(f"{parent} is somebody else's: set another TMPDIR")
    with open(parent / "lock", "w") as lock:
        # Nobody sweeps a folder between its making and its lock.
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
    # A process that was forked off has its maker's duties at exit, but not its folder.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Removes the folders of processes that are gone."""
    for folder in parent.iterdir():
        try:
            alive = os.open(folder / ALIVE, os.O_RDWR)
        except OSError:
            continue  # The lock file; or its process was killed before it could write into it.
        try:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        finally:
            os.close(alive)
        shutil.rmtree(folder, ignore_errors=True)
