"""Whether the files of a partition are those that were published."""

from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile

from event_pipeline.lake.live import Live
from event_pipeline.lake.parquet import metadata_of
from event_pipeline.lake.receipts import RECEIPT, Receipt, read_receipt
from event_pipeline.lake.stored import sha256_by_name, stored_of


def flaw_of_partition(io: FileIO, live: Live, kind: type[Receipt], *, deep: bool) -> str | None:
    """Why the files of a partition are not those that were published; None if they are.

    Checks the files' sizes and the receipt, which must be of this kind. In a folder, also reads
    files that were modified after their receipt was written. With `deep`, reads every file.
    """
    stored = stored_of(live.prefix, (*live.paths, f"{live.prefix}/{RECEIPT}"))
    receipt = stored.get(f"{live.prefix}/{RECEIPT}")
    for file in live.files:
        name, there = file.file_path.rsplit("/", 1)[1], stored.get(file.file_path)
        if there is None:
            return f"{name} is lost"
        if there.bytes != file.file_size_in_bytes:
            return f"{name} has {there.bytes:,} bytes, not {file.file_size_in_bytes:,}"
    if receipt is None or (content := read_receipt(io, live.prefix, kind)) is None:
        return f"{RECEIPT} is lost or unreadable"
    digests = content.sha256
    for file in live.files:
        name, there = file.file_path.rsplit("/", 1)[1], stored[file.file_path]
        suspect = deep or (name in digests and there.modified > receipt.modified)
        if suspect and not _is_as_written(io, file, digests.get(name)):
            return f"the content of {name} has changed"
    return None


def _is_as_written(io: FileIO, file: DataFile, sha256: str | None) -> bool:
    if sha256:
        return sha256_by_name([file.file_path]) == {file.file_path.rsplit("/", 1)[1]: sha256}
    try:
        rows: int = metadata_of(io, file.file_path).num_rows
    except (OSError, ValueError):
        return False
    return rows == file.record_count
