"""What came of building a partition."""

from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

from event_pipeline.lake.receipts import Receipt

ReceiptT_co = TypeVar("ReceiptT_co", bound=Receipt, covariant=True)


@dataclass(frozen=True)
class Built(Generic[ReceiptT_co]):
    """One partition that was published, or was so already, with its receipt."""

    key: str
    status: Literal["published", "unchanged"]
    receipt: ReceiptT_co

    error: ClassVar[None] = None


@dataclass(frozen=True)
class Failed:
    """One partition that was not published, and why. What was live before still is."""

    key: str
    error: str

    status: ClassVar[Literal["failed"]] = "failed"
