"""Lakes that earlier versions of the program made are read as they are.

Each folder in `earlier/` holds such a lake, as an archive, with what that version read of it: the
rows of its tables, each value as text, and its ledger. When what a lake holds changes, the last
version before the change makes one more.
"""

import json
import tarfile
from pathlib import Path

import pytest

from event_pipeline.contracts import GOLD, SILVER, TABLES
from event_pipeline.lake.damage import damages
from event_pipeline.report import ledger_records
from event_pipeline_tests.conftest import Lab

EARLIER = sorted((Path(__file__).parent / "earlier").iterdir())


@pytest.fixture(params=EARLIER, ids=lambda path: path.name)
def earlier(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Lab]:
    """The folder of an earlier lake's answers, and the lake."""
    folder: Path = request.param
    with tarfile.open(folder / "lake.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return folder, Lab(tmp_path / "lake")


def assert_rows(lab: Lab, folder: Path) -> None:
    """Each table that the earlier version had holds the rows that it read."""
    expected = json.loads((folder / "rows.json").read_bytes())
    for name in expected:
        contract = TABLES[name]
        found = lab._read(contract, list(contract.column_names), ())
        assert sorted([str(v) for v in row] for row in found) == expected[name]


def test_it_is_read_as_it_is(earlier: tuple[Path, Lab]) -> None:
    folder, lab = earlier
    assert_rows(lab, folder)
    told = [{k: v for k, v in line.items() if k != "outside"} for line in ledger_records(lab.lake)]
    assert told == json.loads((folder / "ledger.json").read_bytes())
    assert list(damages(lab.lake, deep=True)) == []
    assert all(
        lab.lake.receipt(contract, live)
        for contract in TABLES.values()
        for live in lab.lake.live(contract).values()
    )


def test_it_is_built_on(earlier: tuple[Path, Lab]) -> None:
    """Every object has another etag here, so every partition is made anew: of the same rows."""
    folder, lab = earlier
    for contract in SILVER:
        for key in lab.lake.live(contract):
            (built,) = lab._build(contract, (key,), {})
            assert built.status == "published", built.error
    for table in GOLD:
        for built in lab.gold(table, *lab.lake.live(table)):
            assert built.status == "published", built.error
    assert_rows(lab, folder)
