"""S3 as a file system: what Hadoop expects of one, over objects."""

from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from event_pipeline_tests.twin.conftest import LAKE, keys
from event_pipeline_tests.twin.hadoop import Files, _path
from event_pipeline_tests.twin.server import Twin


@pytest.fixture
def files(twin: Twin, tmp_path: Path) -> Files:
    """A bucket's files, in a folder of their own."""
    return Files(twin.client("s3"), tmp_path)


def _write(files: Files, path: str, data: bytes = b"data") -> None:
    file = files.folder / "new"
    file.write_bytes(data)
    files.write(path, file)


def test_a_file_is_an_object_and_its_folders_are_there(twin: Twin, files: Files) -> None:
    _write(files, f"{LAKE}/h1/a b/x=é/f", b"0123456789")
    assert keys(twin, LAKE, "h1/") == ["h1/a b/x=é/f"]
    assert files.status(f"{LAKE}/h1/a b/x=é/f").bytes == 10
    assert files.status(f"{LAKE}/h1/a b").is_folder
    assert [each.name for each in files.list(f"{LAKE}/h1/a b")] == ["x=é"]
    assert [each.name for each in files.list(f"{LAKE}/h1/a b/x=é/f")] == ["f"]
    size, pieces = files.read(f"{LAKE}/h1/a b/x=é/f", 3, 4)
    assert (size, b"".join(pieces)) == (4, b"3456")
    assert files.read(f"{LAKE}/h1/a b/x=é/f", 10, None)[0] == 0
    with pytest.raises(FileNotFoundError):
        files.status(f"{LAKE}/h1/a")


def test_what_is_committed_is_an_object_then(twin: Twin, files: Files) -> None:
    task = f"{LAKE}/h2/out/_temporary/0/task"
    files.make_folder(f"{LAKE}/h2/out/_temporary/0")
    _write(files, f"{task}/k=1/part")
    _write(files, f"{task}/part")
    assert keys(twin, LAKE, "h2/") == []
    assert [each.name for each in files.list(task)] == ["k=1", "part"]
    assert files.rename(f"{task}/k=1", f"{LAKE}/h2/out/k=1")
    assert files.rename(f"{task}/part", f"{LAKE}/h2/out/part")
    assert files.delete(f"{LAKE}/h2/out/_temporary")
    assert keys(twin, LAKE, "h2/") == ["h2/out/k=1/part", "h2/out/part"]
    assert not files.exists(task)


def test_folders_are_renamed_into_folders_and_not_over_files(twin: Twin, files: Files) -> None:
    for name in ("from/a", "from/b/c", "to/x", "file"):
        _write(files, f"{LAKE}/h3/{name}")
    assert files.rename(f"{LAKE}/h3/from", f"{LAKE}/h3/to")
    assert not files.rename(f"{LAKE}/h3/to", f"{LAKE}/h3/file")
    assert keys(twin, LAKE, "h3/") == ["h3/file", "h3/to/from/a", "h3/to/from/b/c", "h3/to/x"]
    with pytest.raises(FileNotFoundError):
        files.rename(f"{LAKE}/h3/from", f"{LAKE}/h3/other")


def test_a_folder_is_deleted_with_all_in_it_and_nothing_beside(twin: Twin, files: Files) -> None:
    for name in ("gone/a", "gone/b/c", "gone-not"):
        _write(files, f"{LAKE}/h4/{name}")
    assert files.delete(f"{LAKE}/h4/gone")
    assert not files.delete(f"{LAKE}/h4/gone")
    assert keys(twin, LAKE, "h4/") == ["h4/gone-not"]


def test_errors_are_those_of_files(twin: Twin, files: Files) -> None:
    fault = {"action": "s3:GetObject", "code": "AccessDenied", "status": 403}
    twin.order(faults=[fault, {**fault, "status": 501, "code": "Odd"}])
    with pytest.raises(PermissionError):
        files.status(f"{LAKE}/h5")
    with pytest.raises(ClientError, match="501"):
        files.status(f"{LAKE}/h5")


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/b/a%20b", "b/a b"),
        ("/b/x=1/f", "b/x=1/f"),
        ("/b/%C3%A9", "b/é"),
        ("/b/a%253Bb", "b/a;b"),
    ],
)
def test_paths_are_read_as_the_client_escapes_them(raw: str, path: str) -> None:
    assert _path(raw) == path
