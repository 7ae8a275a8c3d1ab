"""The home folder: the lake and Dagster's instance side by side."""

import os
import shutil
from pathlib import Path

import dagster as dg

from event_pipeline.settings import Settings

INSTANCE_FILE = Path(__file__).with_name("dagster.yaml")


def ensure_home(settings: Settings) -> None:
    """Makes the home's folders and Dagster's instance file, unless they are there."""
    if settings.target != "aws":
        settings.lake.mkdir(parents=True, exist_ok=True)
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    target = settings.dagster_home / "dagster.yaml"
    if not target.exists():
        shutil.copyfile(INSTANCE_FILE, target)


def open_instance(settings: Settings) -> dg.DagsterInstance:
    """The home's persistent Dagster instance."""
    ensure_home(settings)
    # Dagster reads it from the environment wherever it loads code again.
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    return dg.DagsterInstance.from_config(str(settings.dagster_home))
