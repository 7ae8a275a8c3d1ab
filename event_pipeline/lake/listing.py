"""Lists what lies under a key of a lake, in a folder or a bucket: objects, and names that are none.

A folder is walked here rather than by a library, because libraries stop at the first name that no
object store could hold. Keys and ETags are the same as obstore's.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from event_pipeline import aws
from event_pipeline.bronze import folder_etag

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEVER = datetime.min.replace(tzinfo=UTC)
CIRCLE = "a circular link"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class BronzeObject:
    """One object as listed: its key under a root, version, size in bytes, and time.

    The root is the lake's, unless `root` says where else.
    """

    key: str
    etag: str
    bytes: int
    modified: datetime = NEVER
    root: str = ""

    @property
    def name(self) -> str:
        """What a person calls it: the last part of the key."""
        return self.key.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class NoObject:
    """A name that is not an object's, and why; a folder's key ends with a slash.

    If it is `hidden`, there may be objects behind it that nobody can see, so whatever was built
    from them is kept.
    """

    key: str
    why: str
    hidden: bool = False
    root: str = ""


def list_under(root: str, prefix: str) -> Iterator[BronzeObject | NoObject]:
    """Everything whose key begins with `prefix`: a folder with its slash, or a name's beginning."""
    if aws.in_s3(root):
        return _in_bucket(root, prefix)
    folder = prefix[: prefix.rfind("/") + 1]
    found = _in_folder(f"{root}/{folder}".rstrip("/"), folder)
    if folder == prefix:
        return found
    return (item for item in found if item.key.startswith(prefix) or item.key == folder)


def list_right_under(root: str, prefix: str) -> tuple[list[str], list[str]]:
    """The names of the folders and of the other entries directly under a prefix, each sorted."""
    if aws.in_s3(root):
        found = list(_pages(root, prefix, Delimiter="/"))
        folders = [each["Prefix"] for page in found for each in page.get("CommonPrefixes", [])]
        files = [each["Key"] for page in found for each in page.get("Contents", [])]
        names = [key.removeprefix(prefix).rstrip("/") for key in folders]
        return sorted(names), sorted(key.removeprefix(prefix) for key in files if key != prefix)
    try:
        with os.scandir(f"{root}/{prefix}") as entries:
            are_folders = {shown(entry.name): entry.is_dir() for entry in entries}
    except OSError:
        return [], []
    names = sorted(are_folders)
    return [n for n in names if are_folders[n]], [n for n in names if not are_folders[n]]


def shown(name: str) -> str:
    """A name as one line of printable text, whatever bytes it contains."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else _escaped(c) for c in name)


def _escaped(letter: str) -> str:
    # Python's stand-in for a byte that is not UTF-8.
    if "\udc80" <= letter <= "\udcff":
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


def _in_folder(top: str, prefix: str) -> Iterator[BronzeObject | NoObject]:
    try:
        seen = os.stat(top)
    except (FileNotFoundError, NotADirectoryError):
        if _is_behind_a_dangling_link(top):
            yield NoObject(prefix, "behind a broken link", hidden=True)
        return
    except OSError as error:
        yield NoObject(prefix, _cannot_be_read(error), hidden=True)
        return
    folders = [(top, prefix, frozenset({(seen.st_dev, seen.st_ino)}))]
    while folders:
        path, key, above = folders.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    found = _entry(entry, key, above)
                    if isinstance(found, os.stat_result):
                        inode = (found.st_dev, found.st_ino)
                        folders.append((entry.path, f"{key}{entry.name}/", above | {inode}))
                    elif found:
                        yield found
        except (FileNotFoundError, NotADirectoryError):
            continue  # It was removed, maybe while other folders were listed.
        except OSError as error:
            yield NoObject(key, _cannot_be_read(error), hidden=True)


def _is_behind_a_dangling_link(path: str) -> bool:
    """Whether a path is missing because a link above it (to a disk, say) leads nowhere."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return not os.path.exists(path)


def _entry(
    entry: os.DirEntry[str], folder: str, above: frozenset[tuple[int, int]]
) -> BronzeObject | NoObject | os.stat_result | None:
    """An entry of a folder: an object, or a name that is none and why.

    Returns the stat result of a folder that is to be walked, and None if the entry is gone.
    """
    key = folder + entry.name
    try:
        found = entry.stat()
    except FileNotFoundError:
        return NoObject(shown(key), "a broken link") if entry.is_symlink() else None
    except OSError as error:
        return NoObject(shown(key), _cannot_be_read(error), hidden=error.errno != errno.ELOOP)
    is_folder = stat.S_ISDIR(found.st_mode)
    if is_folder and (found.st_dev, found.st_ino) in above:
        why: str | None = CIRCLE
    elif not is_folder and not stat.S_ISREG(found.st_mode):
        why = "not a file, but a pipe, a socket or a device"
    else:
        why = _no_key(entry.name)
    if why:
        return NoObject(f"{shown(key)}/" if is_folder else shown(key), why)
    if is_folder:
        return found
    modified = EPOCH + timedelta(microseconds=found.st_mtime_ns // 1000)
    return BronzeObject(key, folder_etag(found), found.st_size, modified)


def _no_key(name: str) -> str | None:
    """Why no object store could hold a name; None if one can."""
    if name.isascii() and name.isprintable():
        return None
    if _CONTROL.search(name):
        return "its name holds a control character, which is not allowed in an object's name"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8, which an object's name must be"
    return None


def _cannot_be_read(error: OSError) -> str:
    return CIRCLE if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"


def _in_bucket(root: str, prefix: str) -> Iterator[BronzeObject | NoObject]:
    for page in _pages(root, prefix):
        for item in page.get("Contents", []):
            # The S3 console creates such an empty object to stand for a folder.
            if item["Key"].endswith("/") and not item["Size"]:
                continue
            yield BronzeObject(item["Key"], item["ETag"], item["Size"], item["LastModified"])


def _pages(root: str, prefix: str, **how: str) -> Iterator[dict[str, Any]]:
    pages = aws.client("s3").get_paginator("list_objects_v2")
    yield from pages.paginate(Bucket=root.removeprefix("s3://"), Prefix=prefix, **how)
