"""Metadata files of a lake, each parsed once in a process.

Iceberg never rewrites a metadata file, a manifest list or a manifest, so what was read of one stays
true for as long as the file is the same. In a folder, a file that is damaged, or another, is read
anew: its inode, size or time of change differ. In S3, nothing but a writer of the lake changes one.
"""

import os
from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

from cachetools import LRUCache

from event_pipeline import aws

# The manifests of some thousand states; one of a year of hours takes a few megabytes.
MAX_FILES = 2_000

T = TypeVar("T")
_read: LRUCache[tuple[Any, ...], Any] = LRUCache(MAX_FILES)
_lock = Lock()


def cached(path: str, read: Callable[[], T], kind: str = "") -> T:
    """What `read` makes of a file, or made of it before. Raises what it raises, and OSError.

    `kind` tells apart what different functions make of the same file.
    """
    key: tuple[Any, ...] = (path, kind)
    if not aws.in_s3(path):
        found = os.stat(path)
        key = (*key, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    with _lock:
        if key in _read:
            kept: T = _read[key]
            return kept
    value = read()
    with _lock:
        _read[key] = value
    return value
