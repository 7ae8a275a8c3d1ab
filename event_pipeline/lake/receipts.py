"""Receipts: what a run's files were built from, and their ledger, in a file beside them.

A receipt never changes after its run. `format` numbers what the file holds: a later version reads
earlier formats, and an earlier version refuses later ones instead of misreading them.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pyiceberg.io import FileIO

from event_pipeline import aws
from event_pipeline.contracts import Contract, GoldContract
from event_pipeline.errors import LakeError
from event_pipeline.lake.manifests import Deviation

RECEIPT = "receipt.json"
# The number changes when what a receipt says can no longer be read as before: a field that means
# something else or is gone. A new field with a default changes nothing.
FORMAT = 1


class Receipt(BaseModel):
    """What every table's receipt says.

    `digest` is the version of the partition's input, `version` that of the contract that made it.
    `seconds` is how long the engine took, `run` what a remote engine says about its run, and
    `built_at` when the partition was published (Unix seconds). `sha256` has the digest of each data
    file, by name.
    """

    model_config = ConfigDict(frozen=True)

    # Receipts of the first format do not tell their number.
    format: int = FORMAT
    digest: str
    version: str = ""
    rows: int
    seconds: float
    run: dict[str, Any] = Field(default_factory=dict)
    built_at: float
    sha256: dict[str, str] = Field(default_factory=dict)

    @property
    def made_of(self) -> tuple[str, str]:
        """What decides the partition's rows: the versions of its input and of its contract."""
        return self.digest, self.version


class SilverReceipt(Receipt):
    """The receipt of a Silver partition, and of its quarantine.

    The counts are those of `PartitionReport`. `objects` has the SHA-256 of each Bronze object (None
    if unknown) by key. `deviations` are the objects that were not what their producers wrote,
    `foreign` the keys of objects that nothing reads. `touched` are the event dates whose Gold this
    build may change. `redelivered` names, by key of an object, one in another partition with the
    same content. `sums` has, by event date, the value of each aggregate that Gold promises, as
    text; it is empty if the table has no roll-ups.
    """

    records: int | None = None  # unknown in receipts of before feeds
    lines: int
    duplicates: int
    quarantined: int
    skipped: int = 0
    rejected: dict[str, int]
    event_dates: dict[str, int]
    unknown: dict[str, int] = Field(default_factory=dict)
    bytes: int
    objects: dict[str, str | None]
    deviations: tuple[Deviation, ...] = ()
    foreign: tuple[str, ...] = ()
    touched: tuple[str, ...]
    redelivered: dict[str, str] = Field(default_factory=dict)
    sums: dict[str, dict[str, str | None]] = Field(default_factory=dict)


class GoldReceipt(Receipt):
    """The receipt of a Gold partition.

    `totals` has each promised total's value in Gold and in Silver, as text, by its name.
    `made_from` tells which of two statements gave the rows, which are the same.
    """

    made_from: Literal["silver", "roll-ups"] = "silver"
    totals: dict[str, tuple[str, str]]


ReceiptT = TypeVar("ReceiptT", bound=Receipt)


def receipt_of(contract: Contract) -> type[Receipt]:
    """The class of the receipts of a contract's table."""
    return GoldReceipt if isinstance(contract, GoldContract) else SilverReceipt


def write_receipt(io: FileIO, prefix: str, receipt: Receipt, digests: Mapping[str, str]) -> None:
    """Writes a receipt into the folder of its run, with the digests of the run's data files."""
    written = receipt.model_copy(update={"sha256": dict(digests)})
    with io.new_output(f"{prefix}/{RECEIPT}").create(overwrite=True) as out:
        out.write(written.model_dump_json().encode())


def read_receipt(io: FileIO, prefix: str, kind: type[ReceiptT]) -> ReceiptT | None:
    """The receipt in the folder of a run; None if it is lost or unreadable.

    Raises LakeError if a later version of the program wrote it, and OSError if S3 cannot be read.
    """
    path = f"{prefix}/{RECEIPT}"
    try:
        with io.new_input(path).open() as file:
            data = file.read()
    except FileNotFoundError:
        return None
    except OSError:
        # S3 may be out of reach for a while. In a folder, the file itself cannot be read.
        if aws.in_s3(prefix):
            raise
        return None
    if (number := _format_of(data)) > FORMAT:
        raise LakeError(
            f"{path} has format {number}, but this version of event_pipeline reads only up to"
            f" {FORMAT}; the later version that built this partition is needed to read it"
        )
    try:
        return kind.model_validate_json(data)
    except ValidationError:
        return None


class _Numbered(BaseModel):
    format: int = FORMAT


def _format_of(data: bytes) -> int:
    try:
        return _Numbered.model_validate_json(data).format
    except ValidationError:
        return FORMAT  # no receipt: what reads the whole of it says so


def scalars(receipt: Receipt) -> dict[str, str]:
    """A receipt's texts and numbers, which a commit's summary can hold, as texts."""
    return {k: str(v) for k, v in receipt if isinstance(v, str | int | float)}
