"""The graph loads as Dagster's server loads it, and is what the design says."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.workspace.load import location_origins_from_yaml_paths

from event_pipeline.contracts import EVENTS, GOLD, ROLL_UPS, TABLES
from event_pipeline.definitions import definitions
from event_pipeline.settings import OF_AWS, Settings

OWNERS = ("team:data", "ana@example.com")
ROOT = Path(__file__).parents[1]
DAGSTER = Path(sys.executable).with_name("dagster")
HOURLY = {"bronze/events", "silver/events", "quarantine/events"}
UPLOADED = {f"bronze/commerce_{name}" for name in ("users", "events", "orders")}
COMMERCE = {
    f"{layer}/commerce_{name}"
    for layer in ("silver", "quarantine")
    for name in ("users", "events", "orders")
}
GOLD_OF_EVENTS = {c.asset for c in GOLD if c.inputs == (EVENTS,)}
DAILY = {*UPLOADED, *COMMERCE, *GOLD_OF_EVENTS, "gold/user_activity"}


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return definitions(Settings(first_day="2026-03-01"))


@pytest.fixture(scope="module")
def specs(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_the_server_loads_it(tmp_path: Path) -> None:
    found = subprocess.run(
        [DAGSTER, "definitions", "validate", "-w", "workspace.yaml"],
        cwd=ROOT,
        env={**os.environ, "EVENT_PIPELINE_HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "Validation successful" in found.stderr + found.stdout


def test_dg_loads_the_checkout_and_lists_it(tmp_path: Path, specs: dict[str, dg.AssetSpec]) -> None:
    """In a fresh home, with the variables that `event-pipeline env` prints."""
    home = {"EVENT_PIPELINE_HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path / "dagster")}
    (tmp_path / "dagster").mkdir()
    # Each takes seconds to load the graph: one beside the other.
    check, listing = (
        subprocess.Popen(
            [DAGSTER.with_name("dg"), *command],
            cwd=ROOT,
            env={**os.environ, **home},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in (["check", "defs"], ["list", "defs", "--json"])
    )
    said, error_message = check.communicate()
    assert check.returncode == 0, error_message
    assert "All definitions loaded successfully" in said
    listed, error_message = listing.communicate()
    assert listing.returncode == 0, error_message
    assert {asset["asset_key"] for asset in json.loads(listed)["assets"]} == set(specs)


def test_dg_and_dagster_call_the_code_location_alike() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    (origin,) = location_origins_from_yaml_paths([str(ROOT / "workspace.yaml")])
    assert project["code_location_name"] == origin.location_name


def test_loading_it_loads_no_charts_no_spark_and_no_cloud() -> None:
    program = (
        "import sys, event_pipeline.definitions\n"
        "print([m for m in ('matplotlib', 'pyspark', 'boto3', 'pandas') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"


def test_loading_it_touches_no_file(tmp_path: Path) -> None:
    definitions(Settings(home=tmp_path / "home"))
    assert list(tmp_path.iterdir()) == []


def test_its_assets_are_those_of_the_design(specs: dict[str, dg.AssetSpec]) -> None:
    assert set(specs) == HOURLY | DAILY


def test_bronze_silver_and_quarantine_are_by_hour_and_gold_by_day(
    specs: dict[str, dg.AssetSpec],
) -> None:
    for name, spec in specs.items():
        kind = dg.HourlyPartitionsDefinition if name in HOURLY else dg.DailyPartitionsDefinition
        assert isinstance(spec.partitions_def, kind), name
        assert spec.partitions_def.end_offset == 1, name


def test_every_asset_says_what_it_is(specs: dict[str, dg.AssetSpec]) -> None:
    for name, spec in specs.items():
        assert spec.description, name
        assert spec.code_version or name in UPLOADED, name
        assert spec.metadata["dagster/column_schema"].columns, name
        assert spec.group_name == name.split("/")[0]


def of_target(target: str) -> dict[str, dg.AssetSpec]:
    """The assets of a target; what is special to it needs no account and no JVM until it runs."""
    names = dict.fromkeys(OF_AWS, "some-name") if target == "aws" else {}
    found = definitions(Settings(target=target, owners=OWNERS, **names))  # type: ignore[arg-type]
    return {spec.key.to_user_string(): spec for spec in found.resolve_all_asset_specs()}


@pytest.mark.parametrize(
    ("target", "produced", "transformed", "queried"),
    [
        ("local", "python", "duckdb", "duckdb"),
        ("spark", "python", "spark", "duckdb"),
        ("aws", "lambda", "glue", "athena"),
    ],
)
def test_kinds_name_what_makes_an_asset_on_its_target(
    target: str, produced: str, transformed: str, queried: str
) -> None:
    for name, spec in of_target(target).items():
        if name.startswith("bronze/"):
            assert spec.kinds == {"json"} | ({produced} if name == "bronze/events" else set())
        else:
            engine = queried if name in GOLD_OF_EVENTS else transformed
            assert spec.kinds == {"iceberg", engine}, name
        assert tuple(spec.owners) == OWNERS, name


def test_nobody_owns_an_asset_unless_a_setting_says_who(specs: dict[str, dg.AssetSpec]) -> None:
    assert not any(spec.owners for spec in specs.values())


def test_tags_tell_layer_domain_cadence_and_what_is_about_persons(
    specs: dict[str, dg.AssetSpec],
) -> None:
    tags = {
        name: [spec.tags[tag] for tag in ("layer", "domain", "cadence", "pii")]
        for name, spec in specs.items()
    }
    assert tags["bronze/events"] == ["bronze", "clickstream", "hourly", "true"]
    assert tags["quarantine/events"] == ["quarantine", "clickstream", "hourly", "true"]
    assert tags["silver/commerce_orders"] == ["silver", "commerce", "daily", "true"]
    assert tags["gold/hourly_revenue"] == ["gold", "clickstream", "daily", "false"]
    assert tags["gold/user_activity"] == ["gold", "commerce", "daily", "true"]
    columns = specs["silver/commerce_users"].metadata["dagster/column_schema"].columns
    assert [column.name for column in columns if "pii" in column.tags] == ["user_id"]


def test_each_table_has_the_name_by_which_a_query_finds_it(specs: dict[str, dg.AssetSpec]) -> None:
    tables = {name: spec for name, spec in specs.items() if not name.startswith("bronze/")}
    assert {spec.metadata["dagster/table_name"] for spec in tables.values()} == set(TABLES) - {
        each.table for each in ROLL_UPS
    }
    on_aws = of_target("aws")["silver/events"]
    assert on_aws.metadata["dagster/table_name"] == "event_pipeline_silver.events"


def test_code_references_lead_to_the_contract_and_its_statement(
    specs: dict[str, dg.AssetSpec],
) -> None:
    for name, spec in specs.items():
        found = spec.metadata["dagster/code_references"].code_references
        contract, *statement = [(Path(each.file_path), each.line_number) for each in found]
        line = contract[0].read_text().splitlines()[contract[1] - 1]
        layer, table = name.split("/")
        if layer == "bronze":
            assert f'asset="silver/{table}"' in line
            assert not statement
        else:
            made = "silver" if layer == "quarantine" else layer
            assert f'asset="{made}/{table}"' in line
            assert [path.name for path, _ in statement] == [f"{table}.sql"]
            assert statement[0][0].is_file()


def test_layers_depend_on_each_other(specs: dict[str, dg.AssetSpec]) -> None:
    above = {name: {d.asset_key.to_user_string() for d in s.deps} for name, s in specs.items()}
    assert above["silver/events"] == above["quarantine/events"] == {"bronze/events"}
    assert all(above[name] == {"silver/events"} for name in GOLD_OF_EVENTS)
    assert all(above[name] == {f"bronze/{name.split('/')[1]}"} for name in COMMERCE)
    assert above["gold/user_activity"] == {f"silver/{name.split('/')[1]}" for name in UPLOADED}


def test_a_day_of_gold_is_of_the_hours_of_that_day(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    key = dg.AssetKey(["gold", "hourly_revenue"])
    silver, gold = graph.get(dg.AssetKey(["silver", "events"])), graph.get(key)
    mapping = graph.get_partition_mapping(key, parent_asset_key=silver.key)
    assert gold.partitions_def is not None
    found = mapping.get_upstream_mapped_partitions_result_for_partitions(
        gold.partitions_def.subset_with_partition_keys(["2026-03-02"]),
        gold.partitions_def,
        silver.partitions_def,  # type: ignore[arg-type]
    )
    hours = [f"2026-03-02-{n:02}:00" for n in range(24)]
    assert list(found.partitions_subset.get_partition_keys()) == hours


def test_sensors_run_and_made_up_events_wait_for_a_person(defs: dg.Definitions) -> None:
    assert {s.name: s.default_status for s in defs.sensors or ()} == {
        "arrivals": dg.DefaultSensorStatus.RUNNING,
        "drops": dg.DefaultSensorStatus.RUNNING,
        "gold_refresh": dg.DefaultSensorStatus.RUNNING,
        "promotion": dg.DefaultSensorStatus.RUNNING,
        "lost_runs": dg.DefaultSensorStatus.RUNNING,
    }
    states = {schedule.name: schedule.default_status for schedule in defs.schedules or ()}
    assert states == {
        "ingest_every_5_minutes": dg.DefaultScheduleStatus.STOPPED,
        "maintenance_daily": dg.DefaultScheduleStatus.RUNNING,
    }


def test_nothing_publishes_unchecked(defs: dg.Definitions) -> None:
    checked = {
        key.asset_key.to_user_string() for key in defs.resolve_asset_graph().asset_check_keys
    }
    quarantines = {name for name in DAILY if name.startswith("quarantine/")}
    assert checked == {"silver/events"} | DAILY - quarantines
