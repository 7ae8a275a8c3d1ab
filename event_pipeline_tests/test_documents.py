"""What the documents point to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "event_pipeline"
DOCUMENTS = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "infra", PACKAGE / "sql")
    for path in folder.glob("*.md")
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    paths = {link.partition("#")[0] for link in links if "://" not in link} - {""}
    assert [path for path in sorted(paths) if not (document.parent / path).exists()] == []


def test_the_map_of_the_modules_is_true() -> None:
    """Each module, folder and function of one that it names is there."""
    named = set(re.findall(r"`([^`\s]+)`", (ROOT / "docs/ARCHITECTURE.md").read_text()))
    paths = {name for name in named if name.endswith((".py", "/")) and "bronze/" not in name}
    places = (PACKAGE, PACKAGE.parent)
    assert {name for name in paths if not any((at / name).exists() for at in places)} == set()
    functions = {name for name in named if re.fullmatch(r"(recorded|run_requests)\.[a-z_]+", name)}
    assert functions
    for module, function in (name.split(".") for name in functions - paths):
        assert f"\ndef {function}(" in (PACKAGE / f"{module}.py").read_text(), function


def test_the_map_names_every_module_at_the_top() -> None:
    text = (ROOT / "docs/ARCHITECTURE.md").read_text()
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert {name for name in modules if f"`{name}`" not in text} == set()
