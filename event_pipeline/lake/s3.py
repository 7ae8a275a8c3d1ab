"""Files in S3 as PyIceberg reads and writes them."""

from typing import Any

from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.typedef import EMPTY_DICT, Properties

from event_pipeline import aws


class S3FileIO(PyArrowFileIO):
    """Reaches S3 with boto3's credentials, taken anew each time a file is opened.

    PyArrow's own client knows fewer kinds of credentials, and sends unsigned requests if it finds
    none. Credentials in PyIceberg's properties would never be renewed.
    """

    def __init__(self, properties: Properties = EMPTY_DICT) -> None:
        super().__init__(properties)
        self.fs_by_scheme = self._initialize_fs  # the base class calls it only once

    def _initialize_s3_fs(self, netloc: str | None) -> Any:
        return aws.filesystem()
