"""Artifacts: what runs on AWS has all that it imports, and is the same wherever it is built."""

import os
import shutil
import stat
import subprocess
import sys
import textwrap
import zipfile
from io import BytesIO
from pathlib import Path

import pyspark
import pytest

from event_pipeline.deploy.artifacts import PACKAGE, Artifacts, build

PY4J = next(Path(pyspark.__file__).parent.glob("python/lib/py4j-*-src.zip"), None)


@pytest.fixture(scope="module")
def artifacts() -> Artifacts:
    """The release of these sources."""
    return build()


def run_alone(folder: Path, code: str, *paths: str | Path) -> str:
    """What a program prints that sees the paths, the standard library and nothing else."""
    head = f"import sys; sys.path[:0] = {[str(path) for path in paths]}\n"
    command = [sys.executable, "-I", "-S", "-c", head + textwrap.dedent(code)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def saved(artifacts: Artifacts, name: str, folder: Path) -> Path:
    path = folder / name
    path.write_bytes(artifacts.files[name])
    return path


def test_the_lambda_runs_from_its_file_alone(artifacts: Artifacts, tmp_path: Path) -> None:
    code = """
        import os
        os.environ |= {"EVENT_PIPELINE_LAKE": "lake", "EVENT_PIPELINE_EVENTS_PER_SLOT": "50"}
        from event_pipeline.ingest import handler
        assert "lambda.zip" in handler.__file__, handler.__file__
        [result] = handler.handler({"slot": "2026-01-01T10:00:00Z"})["results"]
        assert result["lines"] > 0
        print(result["key"])
    """
    key = run_alone(tmp_path, code, saved(artifacts, "lambda.zip", tmp_path)).splitlines()[-1]
    assert (tmp_path / "lake" / key).is_file()


def test_the_program_finds_all_but_spark_in_its_file(artifacts: Artifacts, tmp_path: Path) -> None:
    # The files of PySpark, as Glue has them; of everything else that is installed, nothing.
    (tmp_path / "glue").mkdir()
    (tmp_path / "glue" / "pyspark").symlink_to(Path(pyspark.__file__).parent)
    code = f"""
        import runpy, zipimport
        program = runpy.run_path({str(saved(artifacts, "transform.py", tmp_path))!r})
        assert callable(program["main"])
        import event_pipeline.jobs.partition, event_pipeline.lake.text, dagster_pipes
        for module in (event_pipeline.jobs.partition, event_pipeline.lake.text, dagster_pipes):
            assert "event_pipeline.zip" in module.__file__, module.__file__
    """
    libraries = saved(artifacts, "event_pipeline.zip", tmp_path)
    assert PY4J is not None
    run_alone(tmp_path, code, libraries, tmp_path / "glue", PY4J)


def test_the_program_is_the_one_that_the_target_spark_runs(artifacts: Artifacts) -> None:
    assert artifacts.files["transform.py"] == (PACKAGE / "jobs" / "transform.py").read_bytes()
    with zipfile.ZipFile(BytesIO(artifacts.files["event_pipeline.zip"])) as archive:
        for source in (PACKAGE / "jobs").glob("*.py"):
            if source.name != "transform.py":
                assert archive.read(f"event_pipeline/jobs/{source.name}") == source.read_bytes()


def test_the_same_sources_are_the_same_bytes_wherever_they_are(
    artifacts: Artifacts, tmp_path: Path
) -> None:
    before = os.umask(0o077)
    try:
        shutil.copytree(PACKAGE, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    finally:
        os.umask(before)
    for n, path in enumerate(sorted((tmp_path / "elsewhere").rglob("*"), reverse=True)):
        os.utime(path, (n * 86400, n * 86400))
        if path.is_file():
            path.chmod(0o700)
    (tmp_path / "elsewhere" / "lake" / "notes.txt").write_text("not code")
    (tmp_path / "elsewhere" / "jobs" / "__pycache__").mkdir(exist_ok=True)
    (tmp_path / "elsewhere" / "jobs" / "__pycache__" / "old.pyc").write_bytes(b"old")
    assert build(tmp_path / "elsewhere") == artifacts


@pytest.mark.parametrize("name", ["lambda.zip", "event_pipeline.zip"])
def test_nothing_of_the_machine_is_in_a_file(artifacts: Artifacts, name: str) -> None:
    with zipfile.ZipFile(BytesIO(artifacts.files[name])) as archive:
        assert archive.namelist() == sorted(archive.namelist())
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.external_attr >> 16 == stat.S_IFREG | 0o644
            assert (entry.create_system, entry.compress_type, entry.flag_bits) == (3, 0, 0)
            assert (entry.create_version, entry.extract_version, entry.extra) == (20, 20, b"")


@pytest.mark.parametrize(
    "source", ["ingest/generator.py", "lake/text.py", "jobs/partition.py", "jobs/transform.py"]
)
def test_other_sources_are_another_release(
    artifacts: Artifacts, source: str, tmp_path: Path
) -> None:
    shutil.copytree(PACKAGE, tmp_path / "elsewhere")
    with (tmp_path / "elsewhere" / source).open("a") as file:
        file.write("# another\n")
    assert build(tmp_path / "elsewhere").release != artifacts.release


def test_sources_that_do_not_run_there_change_no_release(
    artifacts: Artifacts, tmp_path: Path
) -> None:
    shutil.copytree(PACKAGE, tmp_path / "elsewhere")
    with (tmp_path / "elsewhere" / "cli.py").open("a") as file:
        file.write("# another\n")
    assert build(tmp_path / "elsewhere") == artifacts


def test_a_release_is_named_by_sixteen_digits(artifacts: Artifacts) -> None:
    assert len(artifacts.release) == 16
    int(artifacts.release, 16)


def test_a_missing_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        build(tmp_path)
