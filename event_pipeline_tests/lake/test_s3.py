"""What PyIceberg reads in S3 is asked for no more often than needed."""

from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
from pyiceberg.exceptions import ValidationError
from pyiceberg.serializers import FromInputFile

from event_pipeline import aws
from event_pipeline.lake import s3

FOLDER = "bucket/silver/events"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a table, in a file system that stands in for S3."""
    found = SubTreeFileSystem(str(tmp_path), LocalFileSystem())
    monkeypatch.setattr(aws, "filesystem", lambda: found)
    s3._read.clear()
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    return folder


def read(name: str) -> bytes:
    """What a new FileIO reads of a file of the table."""
    with s3.S3FileIO().new_input(f"s3://{FOLDER}/{name}").open() as file:
        return bytes(file.read())


@pytest.mark.parametrize("name", ["00001-5f.metadata.json", "snap-1-0-5f.avro", "5f-m0.avro"])
def test_a_metadata_file_is_read_once(here: Path, name: str) -> None:
    (here / name).write_bytes(b"123")
    assert read(name) == b"123"
    (here / name).unlink()
    assert read(name) == b"123"
    file = s3.S3FileIO().new_input(f"s3://{FOLDER}/{name}")
    assert len(file) == 3
    assert not file.exists()


@pytest.mark.parametrize("name", ["rows.parquet", "receipt.json"])
def test_any_other_file_is_read_each_time(here: Path, name: str) -> None:
    (here / name).write_bytes(b"123")
    assert read(name) == b"123"
    (here / name).write_bytes(b"45")
    assert read(name) == b"45"


def test_a_file_that_is_not_there_is_looked_for_again(here: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read("5f-m0.avro")
    (here / "5f-m0.avro").write_bytes(b"123")
    assert read("5f-m0.avro") == b"123"


def test_a_file_too_large_to_be_kept_is_read_each_time(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "MAX_BYTES", 2)
    (here / "5f-m0.avro").write_bytes(b"123")
    assert read("5f-m0.avro") == b"123"
    (here / "5f-m0.avro").write_bytes(b"45")
    assert read("5f-m0.avro") == b"45"


def test_what_is_read_of_a_damaged_metadata_file_is_an_error(here: Path) -> None:
    (here / "1.metadata.json").write_bytes(b"{")
    with pytest.raises(ValidationError, match="JSON"):
        FromInputFile.table_metadata(s3.S3FileIO().new_input(f"s3://{FOLDER}/1.metadata.json"))
