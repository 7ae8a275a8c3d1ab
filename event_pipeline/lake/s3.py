"""Files in S3 as PyIceberg reads and writes them."""

from typing import Any

from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.typedef import EMPTY_DICT, Properties

from event_pipeline import aws


class S3FileIO(PyArrowFileIO):
    """Reaches S3 as boto3 does, each file with the credentials of the moment it is opened.

    PyArrow's own client knows fewer kinds of credentials, and sends unsigned requests where it
    finds none; and it would keep for ever those that are in PyIceberg's properties.
    """

    def __init__(self, properties: Properties = EMPTY_DICT) -> None:
        super().__init__(properties)
        self.fs_by_scheme = self._initialize_fs  # which the base class calls only once

    def _initialize_s3_fs(self, netloc: str | None) -> Any:
        return aws.filesystem()
