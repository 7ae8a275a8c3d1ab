"""Settings: the environment's `EVENT_PIPELINE_*`, read once into a frozen object."""

import difflib
import os
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from event_pipeline.errors import SettingsError

PREFIX = "EVENT_PIPELINE_"
# What Dagster accepts as an owner.
OWNER = re.compile(r"team:\S+|[A-Za-z0-9_][A-Za-z0-9._%+-]*@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")
# Variables that only the Lambda reads.
ELSEWHERE = ("lake",)
# Minutes. On AWS each build starts a Glue job, which costs some two cents,
# and a feed fills an hour in twelve steps. With each step may come late events of earlier dates.
THROTTLE = 60.0
# Settings that the target aws requires.
OF_AWS = (
    "lake_bucket",
    "results_bucket",
    "pipes_bucket",
    "workgroup",
    "glue_job",
    "glue_logs",
    "ingest_function",
)


class Settings(BaseSettings):
    """Every setting, its unit and its default. `EVENT_PIPELINE_<NAME>` overrides each."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True
    )

    home: Path = Field(
        Path(".event_pipeline"), description="Folder of the lake and the Dagster home."
    )
    target: Literal["local", "spark", "aws"] = Field(
        "local",
        description="What runs the work: local (DuckDB), spark (here) or aws (Glue and Athena).",
    )
    first_day: date = Field(
        date(2025, 1, 1),
        description="First partition, a UTC date; real data may need an older one.",
    )
    owners: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Owners of every asset, for example team:data,ana@example.com; default: none.",
    )
    memory_mb: int = Field(2048, ge=256, description="Memory limit of the embedded engine, MiB.")
    spark_memory_mb: int = Field(4096, ge=1024, description="Memory limit of Spark's JVM, MiB.")
    threads: int | None = Field(None, ge=1, description="Engine threads; default: all cores.")
    spark_from_mb: float = Field(
        0,
        ge=0,
        description="spark, aws: MB of input under which the embedded engine makes a partition.",
    )
    athena_from_mb: float = Field(
        0, ge=0, description="aws: MB of input under which the embedded engine makes a Gold date."
    )

    events_per_slot: int = Field(
        20_000,
        ge=1,
        description="Mean number of events per 5-minute slot; the real source has 625,000.",
    )
    records_per_drop: int = Field(
        20_000, ge=1, description="Records per file of a sample drop; a real drop has 1,000,000."
    )
    ingest_mode: Literal["sessions", "original"] = Field(
        "sessions",
        description="What to generate: sessions, or the original generator's independent events.",
    )
    seed: int = Field(0, description="Seed of the generator.")
    late_share: float = Field(
        0.001, ge=0, le=1, description="Share of generated events that arrive late."
    )
    fault_share: float = Field(
        0.0002, ge=0, le=1, description="Share of generated lines that are invalid."
    )
    unknown_share: float = Field(
        0.001, ge=0, le=1, description="Share of a sample drop's activity by unknown users."
    )

    late_window_hours: int = Field(
        48, ge=1, description="How many hours back every tick of the arrival sensor compares."
    )
    audit_days_per_tick: int | None = Field(
        2, ge=1, description="Days of older history that each tick compares; none: all of them."
    )
    runs_per_tick: int = Field(
        25, ge=1, description="Maximum number of run requests per sensor tick."
    )
    max_attempts: int = Field(
        3, ge=1, description="Failed runs of one input after which it is given up."
    )
    silver_throttle_minutes: float = Field(
        default_factory=lambda known: (
            THROTTLE if known.get("target") == "aws" and not known.get("spark_from_mb") else 0
        ),
        ge=0,
        description="Minimum minutes between two builds of one Silver partition by a sensor;"
        " default: 60 on aws without SPARK_FROM_MB, else 0.",
    )
    gold_throttle_minutes: float = Field(
        0, ge=0, description="Minimum minutes between two refreshes of one Gold date."
    )
    late_gold_throttle_minutes: float = Field(
        default_factory=lambda known: THROTTLE if known.get("target") == "aws" else 0,
        ge=0,
        description="The same of a date that is over, to which late events come;"
        " default: 60 on aws, else 0.",
    )

    refused_warn_share: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of lines in quarantine above which a partition's check warns.",
    )
    refused_fail_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Share of lines in quarantine above which a partition's check fails.",
    )

    snapshot_days: float = Field(
        7, ge=0, description="Days for which a table can be rolled back to each of its states."
    )
    snapshots_least: int = Field(
        20, ge=1, le=100, description="States of a table that are kept at least, however old."
    )
    grace_hours: float = Field(
        24, ge=6, description="Hours that files which nothing refers to stay; no run takes longer."
    )

    lake_bucket: str = Field("", description="aws: bucket of Bronze objects and Iceberg tables.")
    results_bucket: str = Field("", description="aws: bucket of Athena's results.")
    pipes_bucket: str = Field("", description="aws: bucket of Glue jobs' requests and reports.")
    database_prefix: str = Field(
        "event_pipeline", description="aws: databases are <prefix>_silver, <prefix>_gold and so on."
    )
    workgroup: str = Field("", description="aws: Athena's workgroup.")
    glue_job: str = Field("", description="aws: name of the Glue job.")
    glue_logs: str = Field("", description="aws: its log groups, without /output and /error.")
    ingest_function: str = Field("", description="aws: name of the Lambda that feeds Bronze.")
    query_timeout_minutes: float = Field(
        30, gt=0, description="aws: minutes after which an Athena query is cancelled."
    )

    @field_validator("home")
    @classmethod
    def _is_text(cls, home: Path) -> Path:
        try:
            str(home).encode()
        except UnicodeEncodeError:
            raise ValueError("its name is not UTF-8, which tables require") from None
        return home

    @field_validator("owners", mode="before")
    @classmethod
    def _are_owners(cls, owners: str | Sequence[str]) -> Sequence[str]:
        given = [each.strip() for each in owners.split(",")] if isinstance(owners, str) else owners
        for each in given:
            if not OWNER.fullmatch(each):
                raise ValueError(f"{each!r} is neither team:NAME nor an email address")
        return given

    @model_validator(mode="after")
    def _aws_is_whole(self) -> Self:
        missing = [name for name in OF_AWS if not getattr(self, name)]
        if self.target == "aws" and missing:
            names = ", ".join(PREFIX + name.upper() for name in missing)
            raise ValueError(
                f"TARGET=aws needs {names}: `event-pipeline deploy` writes them to a file"
            )
        return self

    @model_validator(mode="after")
    def _shares_are_in_order(self) -> Self:
        if self.refused_warn_share > self.refused_fail_share:
            raise ValueError(
                f"REFUSED_WARN_SHARE={self.refused_warn_share} must not be greater than"
                f" {PREFIX}REFUSED_FAIL_SHARE={self.refused_fail_share}"
            )
        return self

    @property
    def lake(self) -> Path:
        """Absolute folder of Bronze objects and Iceberg tables, for targets other than aws."""
        return self.home.absolute() / "lake"

    @property
    def root(self) -> str:
        """The lake's root: the folder `lake`, or s3://bucket on aws."""
        return f"s3://{self.lake_bucket}" if self.target == "aws" else str(self.lake)

    @property
    def dagster_home(self) -> Path:
        """Folder for `DAGSTER_HOME`, absolute."""
        return self.home.absolute() / "dagster"

    @property
    def first_hour(self) -> datetime:
        """Start of the first partition, UTC."""
        return datetime.combine(self.first_day, datetime.min.time(), UTC)


def read_settings() -> Settings:
    """Settings from the environment as it is now.

    Raises SettingsError with one line that names the variable, its value and what is allowed.
    """
    known = {*Settings.model_fields, *ELSEWHERE}
    for variable in sorted(os.environ):
        name = variable.removeprefix(PREFIX).lower()
        if variable.startswith(PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, 3) or sorted(known)
            choices = ", ".join(PREFIX + each.upper() for each in close)
            raise SettingsError(f"there is no setting {variable}; there are: {choices}")
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if not first["loc"]:
            raise SettingsError(f"{PREFIX}{first['ctx']['error']}") from None
        name = PREFIX + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}={first['input']!r}: {first['msg']}") from None


@cache
def get_settings() -> Settings:
    """The process's settings: read at first use, then the same object."""
    return read_settings()
