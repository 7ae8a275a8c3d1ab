"""Everything that is taken from Dagster's private modules, as there is no public name for it.

Dagster is pinned. On an upgrade, test_dagster_internals tells whether each of these names still
exists. The rest of the package imports only `dagster` and this module.
"""

from dagster._core.definitions.executor_definition import IN_PROC_CONFIG
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.events import RunFailureReason
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.launcher import DefaultRunLauncher, RunLauncher
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord
from dagster._core.storage.tags import RUN_FAILURE_REASON_TAG
from dagster._core.utils import make_new_run_id
from dagster._time import get_current_timestamp

__all__ = [
    "IN_PROC_CONFIG",
    "RUN_FAILURE_REASON_TAG",
    "SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION",
    "AssetCheckExecutionRecord",
    "DefaultRunLauncher",
    "ExecutionPlan",
    "PlanOrchestrationContext",
    "RetryMode",
    "RunFailureReason",
    "RunLauncher",
    "get_current_timestamp",
    "is_executed",
    "make_new_run_id",
]


def is_executed(launcher: RunLauncher, run_id: str, timeout: int) -> bool:
    """Whether the code server that was to execute a run is there and says that it executes it.

    A server that does not answer within `timeout` seconds is overloaded or suspended, but it is
    there, so the answer is True.
    """
    # Imported here, since only a run that has been silent needs them.
    import grpc
    from dagster._core.errors import DagsterUserCodeUnreachableError
    from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
    from dagster._serdes import deserialize_value

    assert isinstance(launcher, DefaultRunLauncher)
    client = launcher._get_grpc_client_for_termination(run_id)  # type: ignore[no-untyped-call]
    if client is None:
        return False
    try:
        request = CanCancelExecutionRequest(run_id=run_id)
        answer = client.can_cancel_execution(request, timeout=timeout)
    except DagsterUserCodeUnreachableError as error:
        cause = error.__cause__
        late = grpc.StatusCode.DEADLINE_EXCEEDED
        return isinstance(cause, grpc.RpcError) and cause.code() == late
    return deserialize_value(answer, CanCancelExecutionResult).can_cancel
