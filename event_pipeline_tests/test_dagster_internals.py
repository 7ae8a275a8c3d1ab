"""What is private to Dagster is asked for in one module, and this Dagster has all of it."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

PACKAGE = Path(__file__).parents[1] / "event_pipeline"
INTERNALS = PACKAGE / "dagster_internals.py"


def taken(path: Path) -> Iterator[tuple[str, str]]:
    """The private modules of Dagster that a file imports, and each name that it takes from them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found = [(node.module or "", each.name) for each in node.names]
        elif isinstance(node, ast.Import):
            found = [(each.name, "") for each in node.names]
        else:
            continue
        for module, name in found:
            first, *others = f"{module}.{name}".split(".")
            if first.startswith("dagster") and any(part.startswith("_") for part in others):
                yield module, name


# Read from the text, since on another Dagster the module may not load. What is called on an object
# stands in no import.
NEEDED = [
    *taken(INTERNALS),
    ("dagster._core.launcher", "DefaultRunLauncher._get_grpc_client_for_termination"),
]


@pytest.mark.parametrize(("module", "name"), NEEDED, ids=lambda part: part.split(".")[-1])
def test_this_dagster_has(module: str, name: str) -> None:
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        pytest.fail(
            f"dagster {dg.__version__} has no {module}.{name} ({error}):"
            f" event_pipeline/{INTERNALS.name} needs what took its place",
            pytrace=False,
        )


def test_no_other_module_reaches_into_dagster() -> None:
    reaching = {
        str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if next(taken(path), None)
    }
    assert reaching == {INTERNALS.name}
