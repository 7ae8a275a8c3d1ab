"""The two documents' tables: the parameters are the templates', and every sum is what it says."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from event_pipeline.deploy.cost import BUILD, REFRESH, TICK_CATALOG, TICK_LISTINGS, Feed
from event_pipeline_tests.infra import costs
from event_pipeline_tests.infra.costs import FAST
from event_pipeline_tests.infra.template import CONTROL_PLANE, DATA_PLANE, INFRA, template

MILLIONS_A_DAY = 180
ARITHMETIC = re.compile(r"[\d.]+(?: [x/] [\d.]+)*")

Row = list[str]


def tables(document: str = "README.md") -> Iterator[tuple[Row, list[Row]]]:
    """Head and rows of each table, as cells."""
    found: list[Row] = []
    for line in [*(INFRA / document).read_text().splitlines(), ""]:
        if line.startswith("|"):
            found.append([cell.strip() for cell in line.strip("|").split("|")])
        elif found:
            yield found[0], found[2:]
            found = []


COSTS = [
    rows for head, rows in tables() if head[1:] == ["a day", "unit", "USD a unit", "USD a day"]
]


def value(cell: str) -> float:
    """What a cell says: a number, or a product and what it comes to, which must be right."""
    product, _, told = cell.partition(" = ")
    assert ARITHMETIC.fullmatch(product), product
    result = float(eval(product.replace("x", "*")))
    assert not told or told == _rounded(result, told), cell
    return float(told or product)


def _rounded(result: float, like: str) -> str:
    return f"{result:.{len(like.partition('.')[2])}f}"


def sum_of(items: list[Row]) -> float:
    """Dollars of the items, each of which must be its amount times its price."""
    for name, amount, _, price, dollars in items:
        assert dollars == _rounded(value(amount) * float(price), dollars), name
    return sum(float(row[-1]) for row in items)


def test_the_tables_of_costs_are_the_models() -> None:
    text = costs.README.read_text()
    assert [block[2] for block in costs.BLOCK.finditer(text)] == ["bills", "volumes"]
    assert text == costs.written(text), "python -m event_pipeline_tests.infra.costs"


def test_the_table_of_requests_is_the_models() -> None:
    [rows] = [rows for head, rows in tables() if head[-1] == "catalog"]
    counted = [each[engine] for each in (BUILD, REFRESH) for engine in ("glue", "embedded")]
    assert [tuple(map(float, row[1:])) for row in rows] == counted
    assert f"{TICK_LISTINGS} LIST and {TICK_CATALOG} requests of the catalog" in (
        " ".join((INFRA / "README.md").read_text().split())
    )


def test_what_the_text_says_of_costs_is_the_models() -> None:
    text = " ".join((INFRA / "README.md").read_text().split())
    newcomer = [Feed(20_000 * 288, minutes).dollars for minutes in (5, 60)]
    assert "costs {:.2f} a day every five minutes and {:.2f} once an hour".format(*newcomer) in text
    refreshes = [feed.refresh_dollars for feed in (FAST, costs.EMBEDDED)]
    cents = "{:.2f} cents by Athena and {:.2f} embedded".format(*(100 * each for each in refreshes))
    assert cents in text
    each_slot = "not {:.2f} or {:.2f}".format(*(288 * each for each in refreshes))
    hourly = "that is {:.2f} or {:.2f} a day".format(*(24 * each for each in refreshes))
    assert f"{hourly}, and {each_slot}" in text
    slower = Feed(10 * FAST.events, minutes=15).dollars
    faster = Feed(10 * FAST.events).dollars
    assert f"15 minutes brings it from {faster:.0f} dollars to {slower:.0f}" in text
    task = Feed(10 * FAST.events, engine="embedded").embedded_seconds
    assert f"takes a task of two vCPU {task:.0f} of its 300 seconds" in text
    first = " ".join((INFRA.parent / "README.md").read_text().split())
    default = f"{Feed(minutes=60).dollars:.2f} dollars"
    assert f"{FAST.dollars:.2f} dollars a day every five minutes" in first
    assert f"{default} once an hour, which is the default" in first


def test_the_original_design_adds_up() -> None:
    [rows] = COSTS
    *items, total, share = rows
    found = sum_of(items)
    assert total[-1].strip("*") == f"{found:.2f}"
    assert share[-1].strip("*") == f"{found / MILLIONS_A_DAY:.4f}"


def test_a_wrong_product_is_noticed() -> None:
    assert value("2 x 3 = 6") == 6
    with pytest.raises(AssertionError):
        value("2 x 3 = 7")


@pytest.mark.parametrize(
    ("document", "path"), [("README.md", DATA_PLANE), ("CONTROL_PLANE.md", CONTROL_PLANE)]
)
def test_parameters_with_a_default_are_the_templates(document: str, path: Path) -> None:
    [rows] = [rows for head, rows in tables(document) if head[0] == "parameter"]
    told = {name.strip("`"): default.strip("`") for name, default, _ in rows}
    found = template(path)["Parameters"].items()
    assert told == {name: str(each["Default"]) for name, each in found if "Default" in each}


def test_the_ways_out_of_a_private_network_cost_what_is_said() -> None:
    [rows] = [rows for head, rows in tables("CONTROL_PLANE.md") if head[-1] == "USD"]
    assert len(rows) == 4
    sum_of(rows)


def test_costs_of_the_control_plane_add_up() -> None:
    [rows] = [rows for head, rows in tables("CONTROL_PLANE.md") if head[-1] == "USD a month"]
    *items, total = rows
    assert total[-1].strip("*") == f"{sum_of(items):.2f}"
