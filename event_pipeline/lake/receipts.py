"""Receipts: what a run's files were built from, and their ledger, in a file beside them."""

import json
from collections.abc import Mapping
from typing import Any

from pyiceberg.io import FileIO

from event_pipeline import aws

RECEIPT = "receipt.json"
# The key in a receipt that holds the digests of its data files, by file name.
SHA256 = "sha256"


def write_receipt(
    io: FileIO, prefix: str, receipt: Mapping[str, Any], digests: Mapping[str, str]
) -> None:
    """Writes a receipt into the folder of its run, with the digests of the run's data files."""
    written = {**receipt, SHA256: digests}
    with io.new_output(f"{prefix}/{RECEIPT}").create(overwrite=True) as out:
        out.write(json.dumps(written, default=str).encode())


def read_receipt(io: FileIO, prefix: str) -> dict[str, Any] | None:
    """The receipt as it was written, with the digests; None if it is lost or unreadable.

    Raises OSError if S3 cannot be read.
    """
    try:
        with io.new_input(f"{prefix}/{RECEIPT}").open() as file:
            found = json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return None
    except OSError:
        # S3 may be out of reach for a while. In a folder, the file itself cannot be read.
        if aws.in_s3(prefix):
            raise
        return None
    return found if isinstance(found, dict) and found else None


def scalars(receipt: Mapping[str, Any]) -> dict[str, str]:
    """A receipt's texts and numbers, which a commit's summary can hold, as texts."""
    return {k: str(v) for k, v in receipt.items() if isinstance(v, str | int | float)}
