"""The code that runs on AWS, as files whose bytes depend on nothing but the sources.

A release is named by its content, so the same sources are the same release wherever they are
built, and a deployment that changes no code changes no function and no job. Only the standard
library is used, so that any Python builds the same.
"""

import hashlib
import io
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from stat import S_IFREG
from typing import NamedTuple
from zipfile import ZIP_STORED, ZipFile, ZipInfo

PACKAGE = Path(__file__).parents[1]

# What `ingest.handler` imports; its neighbours need DuckDB and Dagster.
LAMBDA = (
    "__init__.py",
    "bronze.py",
    "ingest/__init__.py",
    "ingest/generator.py",
    "ingest/handler.py",
)
PROGRAM = "jobs/transform.py"
# What the program imports, on the driver and on Spark's workers.
GLUE = (
    "__init__.py",
    "jobs/__init__.py",
    "jobs/bronze.py",
    "jobs/causes.py",
    "jobs/derive.py",
    "jobs/files.py",
    "jobs/identity.py",
    "jobs/partition.py",
    "jobs/raw.py",
    "jobs/workspace.py",
    "lake/__init__.py",
    "lake/fields.py",
    "lake/spelling.py",
    "lake/text.py",
)

RELEASE_DIGITS = 16
FIRST_MOMENT = (1980, 1, 1, 0, 0, 0)  # the earliest that a ZIP file can hold
UNIX = 3
# Readable by all: Lambda runs as a user that owns nothing.
MODE = S_IFREG | 0o644


class Artifacts(NamedTuple):
    """A release: the folder's name, and its files' contents by name."""

    release: str
    files: Mapping[str, bytes]


def build(package: Path = PACKAGE, pipes: Path | None = None) -> Artifacts:
    """The release of the sources in `package`, with the `dagster_pipes` package in `pipes`.

    The defaults are the packages that run now. Raises FileNotFoundError if a file is missing.
    """
    pipes = pipes or _installed("dagster_pipes")
    libraries = {
        f"dagster_pipes/{path.relative_to(pipes).as_posix()}": path for path in pipes.rglob("*.py")
    }
    files = {
        "event_pipeline.zip": _archive(_sources(package, GLUE) | libraries),
        "lambda.zip": _archive(_sources(package, LAMBDA)),
        "transform.py": (package / PROGRAM).read_bytes(),
    }
    return Artifacts(_release(files), files)


def _sources(package: Path, names: Iterable[str]) -> dict[str, Path]:
    return {f"event_pipeline/{name}": package / name for name in names}


def _installed(package: str) -> Path:
    found = find_spec(package)
    if found is None or not found.origin:
        raise FileNotFoundError(f"{package} is not installed")
    return Path(found.origin).parent


def _archive(sources: Mapping[str, Path]) -> bytes:
    """A ZIP file of the sources, sorted by name, without their times, owners or modes.

    It is not compressed: builds of zlib compress the same text differently, and a tenth of a
    megabyte does not need it.
    """
    buffer = io.BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as archive:
        for name, path in sorted(sources.items()):
            entry = ZipInfo(name, FIRST_MOMENT)
            entry.create_system = UNIX  # otherwise it depends on the machine
            entry.external_attr = MODE << 16
            archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def _release(files: Mapping[str, bytes]) -> str:
    digests = (f"{name} {hashlib.sha256(files[name]).hexdigest()}\n" for name in sorted(files))
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:RELEASE_DIGITS]
