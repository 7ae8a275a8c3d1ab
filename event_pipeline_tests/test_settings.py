"""A wrong setting is one clear line, and a right one cannot change."""

import os
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from event_pipeline.errors import SettingsError
from event_pipeline.settings import OF_AWS, PREFIX, Settings, read_settings


@pytest.fixture(autouse=True)
def _only_what_a_test_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TARGET", "azure", "'local'"),
        ("OWNERS", "team:data, ana", "'ana' is neither team:NAME nor an email address"),
        ("OWNERS", "team:", "'team:' is neither"),
        ("FIRST_DAY", "yesterday", "date"),
        ("FIRST_DAY", "2025-02-30", "date"),
        ("MEMORY_MB", "12", "256"),
        ("MEMORY_MB", "2GB", "integer"),
        ("THREADS", "0", "1"),
        ("HOME", "/a/\udcff", "its name is not UTF-8"),
        ("EVENTS_PER_SLOT", "0", "1"),
        ("INGEST_MODE", "random", "'sessions' or 'original'"),
        ("SEED", "x", "integer"),
        ("LATE_SHARE", "1.5", "1"),
        ("FAULT_SHARE", "-0.1", "0"),
        ("LATE_WINDOW_HOURS", "0", "1"),
        ("AUDIT_DAYS_PER_TICK", "0", "1"),
        ("RUNS_PER_TICK", "0", "1"),
        ("MAX_ATTEMPTS", "0", "1"),
        ("GOLD_THROTTLE_MINUTES", "-1", "0"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(SettingsError) as raised:
        read_settings()
    text = str(raised.value)
    assert text.startswith(f"{PREFIX}{name}={value!r}: ")
    assert said in text
    assert "\n" not in text


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVENT_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("EVENT_PIPELINE_FIRST_DAY", "2019-10-01")
    settings = read_settings()
    assert settings.lake == tmp_path / "lake"
    assert settings.first_day == date(2019, 10, 1)


def test_paths_are_absolute_wherever_a_process_runs() -> None:
    settings = Settings(home=Path("relative"))
    assert settings.lake.is_absolute()
    assert settings.dagster_home.is_absolute()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_settings_are_frozen(name: str) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(Settings(), name, None)


def test_every_setting_says_what_it_is() -> None:
    assert [n for n, f in Settings.model_fields.items() if not f.description] == []


def test_an_empty_value_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + "HOME", "")
    assert read_settings().home == Path(".event_pipeline")


def test_a_misspelt_name_is_one_line_that_names_what_was_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(PREFIX + "FRIST_DAY", "2025-01-01")
    with pytest.raises(
        SettingsError, match=r"EVENT_PIPELINE_FRIST_DAY; .*EVENT_PIPELINE_FIRST_DAY"
    ):
        read_settings()


@pytest.mark.parametrize(
    ("warn", "fail", "said"),
    [
        ("0.3", "0.2", "REFUSED_WARN_SHARE=0.3 must not be greater than"),
        ("-0.1", "0.2", "EVENT_PIPELINE_REFUSED_WARN_SHARE='-0.1'"),
        ("0.1", "20", "EVENT_PIPELINE_REFUSED_FAIL_SHARE='20'"),
        ("0", "0", ""),
        ("1", "1", ""),
    ],
)
def test_shares_are_shares_and_in_order(
    monkeypatch: pytest.MonkeyPatch, warn: str, fail: str, said: str
) -> None:
    monkeypatch.setenv(PREFIX + "REFUSED_WARN_SHARE", warn)
    monkeypatch.setenv(PREFIX + "REFUSED_FAIL_SHARE", fail)
    if said:
        with pytest.raises(SettingsError, match=said):
            read_settings()
    else:
        assert read_settings().refused_fail_share == float(fail)


def test_aws_says_what_it_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + "TARGET", "aws")
    for name in OF_AWS:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
    monkeypatch.setenv(PREFIX + "LAKE_BUCKET", "lake")
    with pytest.raises(SettingsError) as raised:
        read_settings()
    assert str(raised.value) == (
        "EVENT_PIPELINE_TARGET=aws needs EVENT_PIPELINE_RESULTS_BUCKET,"
        " EVENT_PIPELINE_PIPES_BUCKET, EVENT_PIPELINE_WORKGROUP, EVENT_PIPELINE_GLUE_JOB,"
        " EVENT_PIPELINE_GLUE_LOGS, EVENT_PIPELINE_INGEST_FUNCTION:"
        " `event-pipeline deploy` writes them to a file"
    )


@pytest.mark.parametrize(
    ("target", "given", "minutes"),
    [
        ("local", {}, 0),
        ("spark", {}, 0),
        ("aws", {}, 60),
        ("aws", {"SILVER_THROTTLE_MINUTES": "0"}, 0),
        ("aws", {"SILVER_THROTTLE_MINUTES": ""}, 60),
        ("aws", {"SPARK_FROM_MB": "64"}, 0),
        ("aws", {"SPARK_FROM_MB": "64", "SILVER_THROTTLE_MINUTES": "15"}, 15),
    ],
)
def test_builds_that_cost_something_wait_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, target: str, given: dict[str, str], minutes: float
) -> None:
    values = {**{name.upper(): "x" for name in OF_AWS}, "TARGET": target}
    values |= given
    for name, value in values.items():
        monkeypatch.setenv(PREFIX + name, value)
    found = read_settings()
    assert found.silver_throttle_minutes == minutes
    assert found.gold_throttle_minutes == 0
    assert found.late_gold_throttle_minutes == (60 if target == "aws" else 0)


def test_the_lakes_root_is_a_bucket_on_aws_and_a_folder_elsewhere() -> None:
    named = dict.fromkeys(OF_AWS, "x")
    assert Settings(target="aws", **{**named, "lake_bucket": "lake"}).root == "s3://lake"  # type: ignore[arg-type]
    assert Settings(lake_bucket="lake").root == str(Settings().lake)
