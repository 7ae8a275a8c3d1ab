"""The two documents' tables: the parameters are the templates', and every sum is what it says."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

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


COSTS = [rows for head, rows in tables() if head[-1] == "USD a day"]


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


def test_there_is_a_model_of_this_design_twice_and_of_the_original() -> None:
    assert len(COSTS) == 3


@pytest.mark.parametrize("rows", COSTS, ids=lambda rows: rows[-2][-1])
def test_costs_add_up(rows: list[Row]) -> None:
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


def test_costs_of_the_control_plane_add_up() -> None:
    [rows] = [rows for head, rows in tables("CONTROL_PLANE.md") if head[-1] == "USD a month"]
    *items, total = rows
    assert total[-1].strip("*") == f"{sum_of(items):.2f}"
