"""S3 for Spark without an S3 file system: WebHDFS, each of whose calls is one or more of S3's.

PySpark's own jars speak WebHDFS and can mount it at s3://. So what a job reads and writes are
calls of S3 with its role's credentials, written down and refused like any other, and a file is an
object as soon as it is closed. Only what Spark's committer keeps under `_temporary` is in a local
folder until it is renamed: Glue's committer does not write it to S3 either.

https://hadoop.apache.org/docs/r3.3.4/hadoop-project-dist/hadoop-hdfs/WebHDFS.html
"""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

from botocore.exceptions import ClientError

Json = dict[str, Any]

ROOT = "/webhdfs/v1"
# What a committer has not committed.
UNCOMMITTED = "_temporary"
# Objects that S3 deletes in one call.
DELETED_AT_ONCE = 1000
PIECE = 1 << 20
MIB = 1 << 20


@dataclass(frozen=True)
class Status:
    """A file of `bytes`, or a folder; `modified` in milliseconds since 1970."""

    name: str
    is_folder: bool
    bytes: int = 0
    modified: int = 0

    def as_json(self, name: str = "") -> Json:
        """As WebHDFS tells it, under a name in a listing and under none by itself."""
        return {
            "accessTime": self.modified,
            "blockSize": 128 * MIB,
            "childrenNum": 0,
            "fileId": 0,
            "group": "",
            "length": self.bytes,
            "modificationTime": self.modified,
            "owner": "",
            "pathSuffix": name,
            "permission": "755" if self.is_folder else "644",
            "replication": 0 if self.is_folder else 1,
            "storagePolicy": 0,
            "type": "DIRECTORY" if self.is_folder else "FILE",
        }


def spark_settings(port: int, buckets: list[str]) -> dict[str, str]:
    """What mounts buckets, served on a port of this machine, at s3:// in Spark."""
    mounts = {
        f"spark.hadoop.fs.viewfs.mounttable.{bucket}.linkFallback": (
            f"webhdfs://127.0.0.1:{port}/{bucket}"
        )
        for bucket in buckets
    }
    return {
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme",
        "spark.hadoop.fs.viewfs.overload.scheme.target.webhdfs.impl": (
            "org.apache.hadoop.hdfs.web.WebHdfsFileSystem"
        ),
        # There is no place from which an object is nearer.
        "spark.sql.sources.ignoreDataLocality": "true",
        **mounts,
    }


@dataclass
class Files:
    """Buckets as a file system. Paths are `bucket/key`; errors are those of the `os` module."""

    s3: Any
    # Where files wait that are no objects yet.
    folder: Path
    # Folders that were made: S3 has none.
    made: set[str] = field(default_factory=set)

    def status(self, path: str) -> Status:
        """What is there. Raises FileNotFoundError."""
        name = path.rsplit("/", 1)[-1]
        if _is_local(path):
            found = self._local(path).stat()
            is_folder = self._local(path).is_dir()
            return Status(name, is_folder, found.st_size, int(found.st_mtime * 1000))
        bucket, key = _split(path)
        if not key:
            return Status(name, is_folder=True)
        try:
            with _errors(path):
                head = self.s3.head_object(Bucket=bucket, Key=key)
            modified = int(head["LastModified"].timestamp() * 1000)
            return Status(name, False, head["ContentLength"], modified)
        except FileNotFoundError:
            if path not in self.made and not next(self._keys(path, 1), None):
                raise
            return Status(name, is_folder=True)

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder."""
        try:
            self.status(path)
        except FileNotFoundError:
            return False
        return True

    def list(self, path: str) -> list[Status]:
        """What lies right under a folder, or the file itself. Raises FileNotFoundError."""
        found = self.status(path)
        if not found.is_folder:
            return [found]
        if _is_local(path):
            names = sorted(each.name for each in self._local(path).iterdir())
            return [self.status(f"{path}/{name}") for name in names]
        bucket, key = _split(path)
        prefix = f"{key}/" if key else ""
        children: list[Status] = []
        with _errors(path):
            pages = self.s3.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"):
                for each in page.get("CommonPrefixes", []):
                    children.append(Status(each["Prefix"][len(prefix) : -1], True))
                for each in page.get("Contents", []):
                    name, modified = each["Key"][len(prefix) :], each["LastModified"]
                    if name:
                        at = int(modified.timestamp() * 1000)
                        children.append(Status(name, False, each["Size"], at))
        return children

    def read(self, path: str, start: int, length: int | None) -> tuple[int, Iterator[bytes]]:
        """How many bytes there are from an offset, and these. Raises FileNotFoundError."""
        if _is_local(path):
            size = self._local(path).stat().st_size
            return _left(size, start, length), _pieces(self._local(path), start, length)
        bucket, key = _split(path)
        end = "" if length is None else start + length - 1
        try:
            with _errors(path):
                found = self.s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{end}")
        except EOFError:
            return 0, iter(())
        return found["ContentLength"], found["Body"].iter_chunks(PIECE)

    def write(self, path: str, data: Path) -> None:
        """Makes an object of a file, which is gone then."""
        if _is_local(path):
            self._local(path).parent.mkdir(parents=True, exist_ok=True)
            data.replace(self._local(path))
            return
        bucket, key = _split(path)
        with _errors(path), data.open("rb") as body:
            self.s3.put_object(Bucket=bucket, Key=key, Body=body)
        data.unlink()

    def make_folder(self, path: str) -> None:
        """Makes a folder and those above it."""
        if _is_local(path):
            self._local(path).mkdir(parents=True, exist_ok=True)
        above = PurePosixPath(path.partition(f"/{UNCOMMITTED}")[0])
        self.made.update(str(each) for each in (above, *above.parents))

    def delete(self, path: str) -> bool:
        """Deletes a file, or a folder with all in it; False if there is nothing."""
        if _is_local(path):
            there = self._local(path).exists()
            shutil.rmtree(self._local(path), ignore_errors=True)
            self._local(path).unlink(missing_ok=True)
            return there
        bucket, key = _split(path)
        try:
            found = self.status(path)
        except FileNotFoundError:
            return False
        self.made -= {each for each in self.made if f"{each}/".startswith(f"{path}/")}
        shutil.rmtree(self._local(path), ignore_errors=True)
        keys = list(self._keys(path)) if found.is_folder else [key]
        with _errors(path):
            for n in range(0, len(keys), DELETED_AT_ONCE):
                some = [{"Key": each} for each in keys[n : n + DELETED_AT_ONCE]]
                answer = self.s3.delete_objects(Bucket=bucket, Delete={"Objects": some})
                if refused := answer.get("Errors"):
                    raise PermissionError(f"{refused[0]['Key']}: {refused[0]['Message']}")
        return True

    def rename(self, path: str, to: str) -> bool:
        """Renames a file, or all that lies in a folder; False if a file is in the way.

        What is renamed to a folder gets into it.
        """
        found = self.status(path)
        try:
            if not self.status(to).is_folder:
                return False
            to = f"{to}/{found.name}"
        except FileNotFoundError:
            pass
        for each in [path] if not found.is_folder else list(self._tree(path)):
            self._move(each, to + each.removeprefix(path))
        if found.is_folder:
            self.make_folder(to)
            self.delete(path)
        return True

    def _move(self, path: str, to: str) -> None:
        if _is_local(path):
            self.write(to, self._local(path))
            return
        (bucket, key), (to_bucket, to_key) = _split(path), _split(to)
        source = {"Bucket": bucket, "Key": key}
        with _errors(path):
            self.s3.copy_object(CopySource=source, Bucket=to_bucket, Key=to_key)
            self.s3.delete_object(**source)

    def _tree(self, folder: str) -> Iterator[str]:
        """The files under a folder, at any depth."""
        if _is_local(folder):
            top = self._local(folder)
            for each in sorted(top.rglob("*")):
                if each.is_file():
                    yield f"{folder}/{each.relative_to(top).as_posix()}"
            return
        bucket, _ = _split(folder)
        yield from (f"{bucket}/{key}" for key in self._keys(folder))

    def _keys(self, folder: str, most: int | None = None) -> Iterator[str]:
        bucket, key = _split(folder)
        prefix = f"{key}/" if key else ""
        with _errors(folder):
            if most:
                pages = [self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=most)]
            else:
                paginator = self.s3.get_paginator("list_objects_v2")
                pages = paginator.paginate(Bucket=bucket, Prefix=prefix)
            for page in pages:
                yield from (each["Key"] for each in page.get("Contents", []))

    def _local(self, path: str) -> Path:
        return self.folder / path


def _is_local(path: str) -> bool:
    return UNCOMMITTED in path.split("/")


def _split(path: str) -> tuple[str, str]:
    bucket, _, key = path.partition("/")
    return bucket, key


def _left(size: int, start: int, length: int | None) -> int:
    left = max(0, size - start)
    return left if length is None else min(left, length)


def _pieces(file: Path, start: int, length: int | None) -> Iterator[bytes]:
    with file.open("rb") as source:
        left = _left(os.fstat(source.fileno()).st_size, start, length)
        source.seek(start)
        while left and (piece := source.read(min(PIECE, left))):
            left -= len(piece)
            yield piece


@contextmanager
def _errors(path: str) -> Iterator[None]:
    """Turns S3's errors into those of the `os` module."""
    try:
        yield
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == HTTPStatus.NOT_FOUND:
            raise FileNotFoundError(f"s3://{path} is not there") from None
        if status == HTTPStatus.FORBIDDEN:
            raise PermissionError(f"s3://{path}: {error}") from None
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise EOFError(path) from None
        raise


# How Hadoop calls what went wrong, and the status that it expects with it.
ERRORS: list[tuple[type[Exception], HTTPStatus, str]] = [
    (FileNotFoundError, HTTPStatus.NOT_FOUND, "java.io.FileNotFoundException"),
    (
        FileExistsError,
        HTTPStatus.FORBIDDEN,
        "org.apache.hadoop.fs.FileAlreadyExistsException",
    ),
    (
        PermissionError,
        HTTPStatus.FORBIDDEN,
        "org.apache.hadoop.security.AccessControlException",
    ),
    (NotImplementedError, HTTPStatus.BAD_REQUEST, "java.lang.UnsupportedOperationException"),
    (Exception, HTTPStatus.INTERNAL_SERVER_ERROR, "java.io.IOException"),
]


class _Handler(BaseHTTPRequestHandler):
    """Answers WebHDFS's calls, by `files`."""

    protocol_version = "HTTP/1.1"
    # Head and body are two packets, and the second would wait for the first to be confirmed.
    disable_nagle_algorithm = True
    server: "_Server"

    def do_GET(self) -> None:
        """Looks and reads."""
        self._guarded()

    def do_PUT(self) -> None:
        """Makes and renames."""
        self._guarded()

    def do_DELETE(self) -> None:
        """Deletes."""
        self._guarded()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the calls of S3 are written down."""

    def _guarded(self) -> None:
        try:
            self._answer()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # A reader who has what it wanted.
        except Exception as error:
            status, kind = next((s, k) for t, s, k in ERRORS if isinstance(error, t))
            about = {"exception": kind.rsplit(".", 1)[-1], "javaClassName": kind}
            self._json({"RemoteException": {**about, "message": str(error)}}, status)

    def _answer(self) -> None:
        url = urlsplit(self.path)
        asked = {k: v[0] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
        answer = self.ANSWERS.get(asked["op"].upper())
        if answer is None:
            raise NotImplementedError(asked["op"])
        answer(self, _path(url.path.removeprefix(ROOT)), asked)

    def _open(self, path: str, asked: dict[str, str]) -> None:
        length = int(asked["length"]) if "length" in asked else None
        size, pieces = self.server.files.read(path, int(asked.get("offset", 0)), length)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)

    def _status(self, path: str, _: dict[str, str]) -> None:
        self._json({"FileStatus": self.server.files.status(path).as_json()})

    def _list(self, path: str, _: dict[str, str]) -> None:
        self._json({"FileStatuses": {"FileStatus": self._listing(path)}})

    def _list_part(self, path: str, _: dict[str, str]) -> None:
        part = {"FileStatuses": {"FileStatus": self._listing(path)}}
        self._json({"DirectoryListing": {"partialListing": part, "remainingEntries": 0}})

    def _blocks(self, _: str, __: dict[str, str]) -> None:
        """Nowhere in particular."""
        blocks: Json = {"locatedBlocks": [], "lastLocatedBlock": None}
        about = {"fileLength": 0, "isUnderConstruction": False, "isLastBlockComplete": True}
        self._json({"LocatedBlocks": {**about, **blocks}})

    def _home(self, _: str, __: dict[str, str]) -> None:
        self._json({"Path": "/"})

    def _create(self, path: str, asked: dict[str, str]) -> None:
        """The client sends data only to where it is sent itself."""
        if "data" in asked:
            self.server.files.write(path, self._body())
            self._empty(HTTPStatus.CREATED)
            return
        if asked.get("overwrite") != "true" and self.server.files.exists(path):
            raise FileExistsError(f"s3://{path} exists")
        here = f"http://127.0.0.1:{self.server.server_port}"
        self._empty(HTTPStatus.TEMPORARY_REDIRECT, f"{here}{self.path}&data=true")

    def _make_folder(self, path: str, _: dict[str, str]) -> None:
        self.server.files.make_folder(path)
        self._json({"boolean": True})

    def _rename(self, path: str, asked: dict[str, str]) -> None:
        self._json({"boolean": self.server.files.rename(path, _path(asked["destination"]))})

    def _delete(self, path: str, _: dict[str, str]) -> None:
        self._json({"boolean": self.server.files.delete(path)})

    ANSWERS: ClassVar = {
        "CREATE": _create,
        "DELETE": _delete,
        "GETFILESTATUS": _status,
        "GETHOMEDIRECTORY": _home,
        "GET_BLOCK_LOCATIONS": _blocks,
        "LISTSTATUS": _list,
        "LISTSTATUS_BATCH": _list_part,
        "MKDIRS": _make_folder,
        "OPEN": _open,
        "RENAME": _rename,
    }

    def _listing(self, path: str) -> list[Json]:
        found = self.server.files.list(path)
        itself = len(found) == 1 and not found[0].is_folder and path.endswith(f"/{found[0].name}")
        return [each.as_json("" if itself else each.name) for each in found]

    def _body(self) -> Path:
        """What is sent, in a file."""
        with NamedTemporaryFile(dir=self.server.files.folder, delete=False) as file:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    file.write(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
            else:
                file.write(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        return Path(file.name)

    def _json(self, found: Json, status: HTTPStatus = HTTPStatus.OK) -> None:
        body = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _empty(self, status: HTTPStatus, location: str | None = None) -> None:
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _path(raw: str) -> str:
    """`bucket/key` of a path as the client writes it: it escapes what is odd twice.

    Names with a per cent sign it mistakes for escaped ones (HDFS-14323), and they are not found.
    """
    once = unquote(raw).strip("/")
    return unquote(once) if quote(unquote(once), safe="/") == once else once


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, files: Files) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files


@contextmanager
def serve(s3: Any, folder: Path) -> Iterator[int]:
    """Serves the buckets that a client of S3 reaches, meanwhile; gives the port."""
    folder.mkdir(parents=True, exist_ok=True)
    with _Server(Files(s3, folder)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
