"""Unzips and unpacks a file by its content, whatever its name says."""

import bz2
import gzip
import io
import lzma
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, TypeAlias, cast

from event_pipeline.errors import LoadError

BUFFER = 1 << 20
HEAD = 8
ENDINGS = (".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz", ".zip")
PARQUET = b"PAR1"
ZIP = b"PK\x03\x04"
EMPTY_ZIP = b"PK\x05\x06"
OLD_OFFICE = b"\xd0\xcf\x11\xe0"
# Prefixes of the names of zip members that are not data.
NO_MEMBERS = ("__MACOSX/", ".")

Kind = Literal["text", "parquet", "workbook"]
BufferedStream: TypeAlias = "io.BufferedReader[Any]"


@dataclass(frozen=True)
class Part:
    """One file of data: its name without the endings of compression, and its bytes.

    Text has a `stream` that can be read once. A Parquet file or a workbook has a `path`.
    """

    name: str
    kind: Kind
    stream: "BufferedStream | None" = None
    path: Path | None = None


def unpack(stream: BufferedStream, name: str, scratch: Path) -> Iterator[Part]:
    """Yields the parts of a file. Each must be read before the next is asked for.

    Raises LoadError for a container that cannot be opened. Reading a damaged stream raises one of
    `reading.DAMAGED`.
    """
    head = stream.peek(HEAD)[:HEAD]
    for mark, opener in _COMPRESSIONS.items():
        if head.startswith(mark):
            inner = io.BufferedReader(opener(stream), BUFFER)
            yield from unpack(inner, without_ending(name), scratch)
            return
    if head.startswith((ZIP, EMPTY_ZIP)):
        yield from _unzipped(_as_file(stream, scratch), name, scratch)
    elif head.startswith(OLD_OFFICE):
        yield Part(name, "workbook", path=_as_file(stream, scratch))
    elif head.startswith(PARQUET):
        yield Part(name, "parquet", path=_as_file(stream, scratch))
    else:
        yield Part(name, "text", stream=stream)


def without_ending(name: str) -> str:
    """A file's name without an ending for compression, such as .gz."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in ENDINGS else path.name


def _unzipped(path: Path, name: str, scratch: Path) -> Iterator[Part]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "[Content_Types].xml" in names or "mimetype" in names:
                yield Part(name, "workbook", path=path)
                return
            members = [
                member
                for member in archive.infolist()
                if not member.is_dir()
                and not member.filename.startswith(NO_MEMBERS)
                and not PurePosixPath(member.filename).name.startswith(".")
            ]
            if not members:
                raise LoadError(f"{name}: holds no files")
            for member in members:
                with archive.open(member) as opened:
                    inner: BufferedStream = io.BufferedReader(cast(Any, opened), BUFFER)
                    yield from unpack(inner, member.filename, scratch)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise LoadError(f"{name}: cannot be unzipped: {error}") from None


def _as_file(stream: BufferedStream, scratch: Path) -> Path:
    """The path of the file that a stream reads, or of a copy of what it reads."""
    if isinstance(stream.raw, io.FileIO):
        return Path(str(stream.raw.name))
    count = sum(1 for _ in scratch.glob("unpacked-*"))
    path = scratch / f"unpacked-{count}"
    with path.open("wb") as copy:
        shutil.copyfileobj(stream, copy, BUFFER)
    return path


def _zstd(stream: IO[bytes]) -> Any:
    import pyarrow as pa

    # PyArrow reports a file that ends early; the package zstandard does not.
    return pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd")


_COMPRESSIONS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"\x28\xb5\x2f\xfd": _zstd,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
