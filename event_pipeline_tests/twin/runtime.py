"""Python as AWS's runtimes have it: what they bring, and of this machine nothing else.

So a module that an artifact lacks is missing here too, though it lies in this source tree.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from event_pipeline_tests.twin.hooks import replace, service

# https://docs.aws.amazon.com/lambda/latest/dg/python-package.html
LAMBDA = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3")
# https://docs.aws.amazon.com/glue/latest/dg/aws-glue-programming-python-libraries.html names more:
# these are what the job uses.
GLUE = (*LAMBDA, "py4j", "pyspark")


def python(folder: Path) -> Path:
    """An interpreter that knows neither this environment's packages nor its own folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "python"
    path.write_text(f"#!/bin/sh\nexec '{sys.executable}' -S -P \"$@\"\n")
    path.chmod(0o755)
    return path


def packages(folder: Path, names: tuple[str, ...]) -> Path:
    """A folder with these installed packages, for PYTHONPATH."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise RuntimeError(f"{name} is not installed")
        origin = Path(spec.origin)
        found = origin.parent if spec.submodule_search_locations else origin
        link = folder / found.name
        if not link.exists():
            link.symlink_to(found)
    return folder


def hook(folder: Path) -> None:
    """Runs Lambdas with such an interpreter; PYTHONPATH is to name the folder of packages."""
    runtime = service("core.lambda_runtime")
    interpreter = str(python(folder))

    def detect(runtime: str) -> tuple[str, str]:
        binary, program = known(runtime)
        return interpreter if runtime.startswith("python") else binary, program

    known = replace(runtime, "_detect_runtime_binary", detect)
