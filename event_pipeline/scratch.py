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
    with _alone() as parent:
        for left in _left(parent):
            shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
        (folder / "links").mkdir()
        alive = os.open(folder / ALIVE, os.O_CREAT | os.O_RDWR)
        fcntl.flock(alive, fcntl.LOCK_EX)
    _held.append(alive)
    atexit.register(_leave, process, folder)
    return folder


@contextmanager
def _alone() -> Iterator[Path]:
    """The folder of this user's processes, in which nobody makes or removes one meanwhile."""
    parent = Path(tempfile.gettempdir()).absolute() / f"event-pipeline-{os.getuid()}"
    parent.mkdir(mode=0o700, exist_ok=True)
    if parent.is_symlink() or parent.stat().st_uid != os.getuid():
        raise UsageError(f"{parent} belongs to another user: set another TMPDIR")
    with open(parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield parent


def remove_left(*, dry_run: bool = False) -> tuple[int, int]:
    """Removes what processes that are gone left in TMPDIR; returns its files and their bytes."""
    files = size = 0
    with _alone() as parent:
        for folder in _left(parent):
            found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
            files, size = files + len(found), size + sum(path.stat().st_size for path in found)
            if not dry_run:
                shutil.rmtree(folder, ignore_errors=True)
    return files, size


def _leave(process: int, folder: Path) -> None:
    # A forked process inherits this duty at exit, but the folder is not its own.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _left(parent: Path) -> Iterator[Path]:
    """The folders of processes that are gone; to be called by one who is alone."""
    for folder in parent.iterdir():
        try:
            alive = os.open(folder / ALIVE, os.O_RDWR)
        except NotADirectoryError:
            continue  # the lock file
        except FileNotFoundError:
            yield folder  # Its process was killed before it made the file.
            continue
        try:
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        finally:
            os.close(alive)
        yield folder
