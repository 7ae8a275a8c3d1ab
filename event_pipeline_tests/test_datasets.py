"""docs/DATASETS.md, carried out: what it says, in a copy of the package, and nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]
GUIDE = (REPOSITORY / "docs" / "DATASETS.md").read_text()
# A file's path, and the block of text that it is to hold, or a change of it.
BLOCK = re.compile(r"^`(event_pipeline/\S+)`\n\n```(\w+)\n(.*?)^```$", re.M | re.S)


def carry_out(folder: Path) -> list[str]:
    """Does with the package in a folder what the guide says; the files that it speaks of."""
    found = BLOCK.findall(GUIDE)
    for name, kind, text in found:
        path = folder / name
        if kind == "diff":
            removed, added = (
                "".join(line[1:] + "\n" for line in text.splitlines() if line[0] == sign)
                for sign in "-+"
            )
            before = path.read_text()
            assert before.count(removed) == 1
            path.write_text(before.replace(removed, added))
        else:
            assert not path.exists()
            path.write_text(text)
    return [name for name, _, _ in found]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package in which the guide's steps were taken."""
    folder = tmp_path_factory.mktemp("stranger")
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "event_pipeline", folder / "event_pipeline", ignore=without)
    names = carry_out(folder)
    # Three datasets: a module of contracts, a SQL file each, one word.
    assert [Path(name).suffix for name in names] == [".py", ".sql", ".sql", ".sql", ".py"]
    return folder


def run(package: Path, home: Path, *code: str, target: str = "local") -> str:
    """Runs Python with the copy of the package; what it prints."""
    done = attempt(package, home, *code, target=target)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def attempt(
    package: Path, home: Path, *code: str, target: str = "local"
) -> "subprocess.CompletedProcess[str]":
    """Runs Python with the copy of the package."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("EVENT_PIPELINE", "DAGSTER"))},
        "EVENT_PIPELINE_HOME": str(home),
        "EVENT_PIPELINE_TARGET": target,
        # To compile Spark's code well would take longer than to run it.
        "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1",
        "PYTHONPATH": os.pathsep.join((str(package), str(REPOSITORY))),
    }
    command = [sys.executable, *code]
    # Whatever lies where a command is given comes first.
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=package
    )


# What comes late or again is noticed by the sensors, which know no target.
@pytest.mark.parametrize(("target", "most"), [("local", 5), ("spark", 2)], ids=["local", "spark"])
def test_a_stream_a_drop_and_a_question_work_as_the_guide_says(
    package: Path, tmp_path: Path, target: str, most: int
) -> None:
    text = run(
        package, tmp_path, "-m", "event_pipeline_tests.own_datasets", str(most), target=target
    )
    steps: dict[str, dict[str, Any]] = json.loads(text)

    found = steps["clicks alone"]
    day, hours = "2026-01-05", ["2026-01-05 10:00:00", "2026-01-05 11:00:00"]
    assert found["silver.ad_clicks"] == [
        ["c1", "spring", "0.2500", f"{day} 10:00:00", day, hours[0]],
        ["c3", "spring", "0.2500", f"{day} 10:59:59", day, hours[1]],
    ]
    [(reasons, line, source, hour)] = found["quarantine.ad_clicks"]
    assert (reasons, json.loads(line)["click_id"], hour) == ("cost_invalid", "c2", hours[0])
    assert source.endswith("hour=10/clicks-1.jsonl.gz")
    assert found["ok"], found["said"]
    # It needs both, and says so; never is it published without one of them.
    assert found["gold.daily_costs"] == []
    assert "2026-01-05 waits for commerce_refunds (no file)" in " ".join(found["said"].split())

    gold = {name: found["gold.daily_costs"] for name, found in steps.items()}
    expected = {
        "clicks alone": [],
        "and refunds": [[day, "2", "0.5000", "1", "9.90"]],
        "a late click": [[day, "3", "2.0000", "1", "9.90"]],
        "other refunds": [[day, "3", "2.0000", "2", "10.00"]],
        "nothing new": [[day, "3", "2.0000", "2", "10.00"]],
    }
    assert gold == dict(islice(expected.items(), most))
    assert steps["and refunds"]["quarantine.commerce_refunds"][0][0] == "amount_invalid"
    last = [*steps.values()][-1]
    refunds = [["r1", "o1", "9.90", f"{day} 09:00:00", day]]
    refunds += [["r3", "o3", "0.10", f"{day} 09:00:00", day]] if target == "local" else []
    assert last["silver.commerce_refunds"] == refunds
    assert last["ok"], last["said"]


def test_the_graph_has_them_all(package: Path, tmp_path: Path) -> None:
    script = (
        "from event_pipeline.definitions import defs\n"
        "graph = defs.resolve_asset_graph()\n"
        "print(*sorted(key.to_user_string() for key in graph.get_all_asset_keys()))\n"
        "from event_pipeline.deploy.named_queries import with_named_queries, MARK\n"
        "assert with_named_queries(MARK).count('NamedQuery') == 5\n"
    )
    names = set(run(package, tmp_path, "-c", script).split())
    assert names >= {
        "bronze/ad_clicks",
        "bronze/commerce_refunds",
        "silver/ad_clicks",
        "silver/commerce_refunds",
        "quarantine/ad_clicks",
        "quarantine/commerce_refunds",
        "gold/daily_costs",
    }


@pytest.mark.parametrize(
    ("file", "mistake", "said"),
    [
        (
            "contracts/marketing.py",
            ('date="click_date"', 'date="click_dat"'),
            "contract silver/ad_clicks: date 'click_dat': is not a column; choose from click_id,",
        ),
        (
            "sql/silver/ad_clicks.sql",
            ("'cost_invalid'", "'cost_odd'"),
            "contract silver/ad_clicks: rules: cost_odd is a reason in the statement, but not",
        ),
    ],
)
def test_a_mistake_is_one_line_at_every_start(
    package: Path, tmp_path: Path, file: str, mistake: tuple[str, str], said: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(package, copy)
    path = copy / "event_pipeline" / file
    path.write_text(path.read_text().replace(*mistake, 1))
    done = attempt(copy, tmp_path / "home", "-m", "event_pipeline", "query", "ad_clicks")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"event-pipeline: {said}")
    assert str(path) in line
    # Dagster, too, starts with nothing half-wired.
    done = attempt(copy, tmp_path / "home", "-c", "import event_pipeline.definitions")
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
