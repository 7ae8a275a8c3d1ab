"""The home folder: the lake and Dagster's instance side by side."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from event_pipeline.errors import UsageError
from event_pipeline.scratch import ODD, plain_path, scratch
from event_pipeline.settings import Settings

INSTANCE_FILE = Path(__file__).with_name("dagster.yaml")


def ensure_home(settings: Settings) -> None:
    """Makes the home's folders and Dagster's instance file, unless they are there.

    Raises UsageError if they cannot be made.
    """
    try:
        if settings.target != "aws":
            settings.lake.mkdir(parents=True, exist_ok=True)
        settings.dagster_home.mkdir(parents=True, exist_ok=True)
        target = settings.dagster_home / "dagster.yaml"
        if not target.exists():
            shutil.copyfile(INSTANCE_FILE, target)
    except OSError as error:
        why = error.strerror
        raise UsageError(
            f"{settings.home.absolute()}: no home can be created there: {why}"
        ) from None


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The home's persistent Dagster instance. Raises UsageError if it cannot be written to."""
    ensure_home(settings)
    if not os.access(settings.dagster_home, os.W_OK):
        raise UsageError(f"{settings.dagster_home}: this user may not write there")
    return _instance(str(settings.dagster_home))


@contextmanager
def reading_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The home's Dagster instance, only to be read; the home may be read-only.

    Dagster's own storage writes even when it only reads. If it may not write, it gets a copy.
    """
    home = settings.dagster_home
    if os.access(home, os.W_OK):
        with open_instance(settings) as instance:
            yield instance
        return
    with scratch() as copy:
        if home.is_dir():
            shutil.copytree(home, copy, dirs_exist_ok=True, copy_function=shutil.copyfile)
            for folder in (copy, *map(str, Path(copy).rglob("*/"))):
                os.chmod(folder, stat.S_IRWXU)  # copies are as read-only as their originals
        if not os.path.exists(f"{copy}/dagster.yaml"):
            shutil.copyfile(INSTANCE_FILE, f"{copy}/dagster.yaml")
        with _instance(copy) as instance:
            yield instance


def _instance(folder: str) -> dg.DagsterInstance:
    path = plain_path(folder)
    # Dagster reads the variable whenever it loads code again.
    os.environ["DAGSTER_HOME"] = path
    return dg.DagsterInstance.from_config(path)


def check_for_dagster(settings: Settings) -> None:
    """Raises UsageError if Dagster's own programs would not find the home by its path."""
    if odd := ODD.search(str(settings.dagster_home)):
        raise UsageError(
            f"Dagster's own programs cannot keep records under {settings.home.absolute()}: its"
            f" path holds {odd[0]}; use event-pipeline's commands, or another home"
        )
