"""Maintenance: removes what killed and replaced runs left in the lake, once a day."""

from typing import Any

import dagster as dg

from event_pipeline.lake.leftovers import Removed, remove_leftovers


@dg.op(
    description="Removes files that no kept state of a table refers to.",
    required_resource_keys={"lake"},
    out=dg.Out(dg.Nothing),
)
def remove_what_is_left_over(context: dg.OpExecutionContext) -> Any:
    """Removes leftovers, and logs what was removed from each table."""
    found = remove_leftovers(context.resources.lake)
    for each in found:
        context.log.info(in_words(each))
    yield dg.Output(
        None,
        metadata={
            "files": sum(each.files for each in found),
            "bytes": sum(each.bytes for each in found),
        },
    )


def in_words(removed: Removed) -> str:
    """One line that says what was removed."""
    return f"{removed.table}: {removed.files:,} files, {removed.bytes:,} bytes removed"


@dg.job(
    name="maintenance",
    description="Removes what killed and replaced runs left in the lake, after a day.",
)
def maintenance() -> None:
    """The job, of one step."""
    remove_what_is_left_over()


def maintenance_schedule() -> dg.ScheduleDefinition:
    """Once a day, at an hour when little arrives."""
    return dg.ScheduleDefinition(
        name="maintenance_daily",
        job=maintenance,
        cron_schedule="30 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Removes what killed and replaced runs left in the lake.",
    )
