"""Files in S3 as PyIceberg reads and writes them."""

from io import BytesIO
from threading import Lock
from typing import Any

from cachetools import LRUCache
from pyiceberg.io import InputStream
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from pyiceberg.typedef import EMPTY_DICT, Properties

from event_pipeline import aws

# Iceberg's metadata files, lists of manifests and manifests.
METADATA = (".metadata.json", ".avro")
# Bounded by bytes, as each commit makes another file of up to some hundred kilobytes.
MAX_BYTES = 64 * 2**20

_read: LRUCache[str, bytes] = LRUCache(MAX_BYTES, getsizeof=len)
_lock = Lock()


class S3FileIO(PyArrowFileIO):
    """Reaches S3 with boto3's credentials, taken anew each time a file is opened.

    PyArrow's own client knows fewer kinds of credentials, and sends unsigned requests if it finds
    none. Credentials in PyIceberg's properties would never be renewed.

    Each metadata file is read once in a process. A tick of a sensor, or a run of Gold, would
    otherwise read the same ones hundreds of times, and S3 charges for each.
    """

    def __init__(self, properties: Properties = EMPTY_DICT) -> None:
        super().__init__(properties)
        self.fs_by_scheme = self._initialize_fs  # the base class calls it only once

    def _initialize_s3_fs(self, netloc: str | None) -> Any:
        return aws.filesystem()

    def new_input(self, location: str) -> PyArrowFile:
        """A file to read; one of Iceberg's metadata as it was when it was first read."""
        file = super().new_input(location)
        if not location.endswith(METADATA):
            return file
        return _MetadataFile(location, file._path, file._filesystem, file._buffer_size)


class _MetadataFile(PyArrowFile):
    """A file that nobody writes twice, as its name holds a random part."""

    def __len__(self) -> int:
        return len(self._bytes())

    def open(self, seekable: bool = True) -> InputStream:
        return BytesIO(self._bytes())

    def _bytes(self) -> bytes:
        with _lock:
            if self.location in _read:
                kept: bytes = _read[self.location]
                return kept
        with super().open(seekable=False) as file:
            found = bytes(file.read())
        if len(found) <= MAX_BYTES:
            with _lock:
                _read[self.location] = found
        return found
