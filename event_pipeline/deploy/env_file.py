"""The env file, by which a shell finds a stack: the settings of the target `aws`."""

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from event_pipeline.deploy.account import DeployError
from event_pipeline.settings import PREFIX

ENV_FILE = Path(".env.aws")
# Outputs that a deployment or a person needs, but not the pipeline.
NO_SETTINGS = ("AlarmTopic", "ArtifactsBucket", "DagsterRole")


def environment(outputs: Mapping[str, str], region: str) -> dict[str, str]:
    """The environment variables of the target `aws`, from a stack's outputs."""
    settings = {
        PREFIX + _upper_snake(key): value
        for key, value in sorted(outputs.items())
        if key not in NO_SETTINGS
    }
    # boto3 reads the second one.
    aws = {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
    # If it is set, it is where the stack was made.
    if endpoint := os.environ.get("AWS_ENDPOINT_URL"):
        aws["AWS_ENDPOINT_URL"] = endpoint
    return {f"{PREFIX}TARGET": "aws", **settings, **aws}


def lines(values: Mapping[str, str]) -> list[str]:
    """Assignments `NAME=value`, quoted for a shell."""
    return [f"{name}={shlex.quote(value)}" for name, value in values.items()]


def write(path: Path, values: Mapping[str, str], where: str) -> None:
    """Writes the file of the stack `where`, atomically. Raises DeployError as `check` does."""
    check(path, where)
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.write_text("\n".join([_heading(where), *lines(values), ""]))
    unfinished.replace(path)


def check(path: Path, where: str) -> None:
    """Raises DeployError unless the file can be written without replacing another one.

    Only a file that was written for the same stack, region and account (`where`) may be replaced.
    """
    if not path.parent.is_dir():
        raise DeployError(f"{path} cannot be written: there is no folder {path.parent}")
    try:
        if path.read_text().partition("\n")[0] == _heading(where):
            return
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise DeployError(f"{path} cannot be written: {error}") from None
    raise DeployError(
        f"{path} does not belong to the stack {where}: name another file with --env-file"
    )


def how_to_read(path: Path) -> str:
    """What a person types to use the file."""
    # A shell looks for a bare name in PATH.
    name = str(path) if path.is_absolute() else f"./{path}"
    return f"set -a; . {shlex.quote(name)}; set +a"


def _heading(where: str) -> str:
    return f"# The stack {where}. event-pipeline deploy overwrites this file."


def _upper_snake(name: str) -> str:
    """LakeBucket becomes LAKE_BUCKET."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()
