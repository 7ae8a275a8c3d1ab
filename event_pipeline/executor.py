"""The graph's executor: Dagster's own, which also marks the run as alive while it executes."""

from collections.abc import Iterator

import dagster as dg

from event_pipeline import runs
from event_pipeline.dagster_internals import (
    IN_PROC_CONFIG,
    ExecutionPlan,
    PlanOrchestrationContext,
    RetryMode,
)


class LockingExecutor(dg.Executor):
    """Executes in this process as `inner` does, and holds the run until the process ends.

    It does not let go after the last step, since what is recorded then belongs to the run, too.
    """

    def __init__(self, inner: dg.Executor) -> None:
        self._inner = inner

    @property
    def retries(self) -> RetryMode:
        """How often a step is tried again, as configured."""
        return self._inner.retries

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Executes a run's steps one after the other."""
        runs.hold(plan_context.instance, plan_context.run_id)
        yield from self._inner.execute(plan_context, execution_plan)


@dg.executor(name="in_process", config_schema=IN_PROC_CONFIG)
def locking_executor(context: dg.InitExecutorContext) -> dg.Executor:
    """The executor of every run: in process, as steps are short and the engine uses every core."""
    create = dg.in_process_executor.executor_creation_fn
    assert create is not None
    return LockingExecutor(create(context))
