"""The sensor that ends runs whose process is gone, and asks for their partitions again."""

from collections.abc import Collection, Iterable, Sequence

import dagster as dg

from event_pipeline.assets.keys import asset_key, bronze_key
from event_pipeline.contracts import SilverContract
from event_pipeline.errors import in_short
from event_pipeline.run_requests import Requests, request_runs
from event_pipeline.runs import LostRun, end_lost_runs
from event_pipeline.settings import Settings
from event_pipeline.tags import INPUT, PARTITION, SENSOR

NAME = "lost_runs"
# A lost run holds one of the instance's few places for runs, and its partition, until it is ended.
TICK_SECONDS = 15


def lost_sensor(streams: Sequence[SilverContract], settings: Settings) -> dg.SensorDefinition:
    """Ends lost runs, and asks again at once for what lost runs of the streams were to make.

    An arrival sensor reaches an old hour only after a while, and no sensor notices that an hour of
    Bronze was to be made. Everything else to be built, other sensors find at their next tick.
    """
    assets = {
        key
        for each in streams
        for key in (bronze_key(each), asset_key(each), asset_key(each.quarantine))
    }

    @dg.sensor(
        name=NAME,
        target=dg.AssetSelection.assets(*sorted(assets)),
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Ends runs whose process is gone, for example after a power cut, and requests their"
            " partitions again. A run whose process lives is never ended."
        ),
    )
    def lost_runs(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        ended = end_lost_runs(context.instance)
        requests = _request_again(context.instance, ended, assets, settings)
        message = in_short([f"ended {lost}" for lost in ended]) or "no run was lost"
        if requests.runs:
            context.log.warning(message)
            return dg.SensorResult(run_requests=requests.runs)
        return dg.SensorResult(skip_reason=message)

    return lost_runs


def _request_again(
    instance: dg.DagsterInstance,
    ended: Iterable[LostRun],
    among: Collection[dg.AssetKey],
    settings: Settings,
) -> Requests:
    """Requests for what lost runs were to make, if all of it is `among` these assets.

    Only for runs that a sensor asked for, and runs of Bronze.
    """
    requests = Requests()
    for run in (lost.run for lost in ended):
        assets = sorted(run.asset_selection or ())
        own = SENSOR in run.tags or all(key.path[0] == "bronze" for key in assets)
        if run.tags.get(PARTITION) and assets and own and set(assets) <= set(among):
            requests.add(
                request_runs(
                    instance,
                    run.tags.get(SENSOR, NAME),
                    assets,
                    {run.tags[PARTITION]: run.tags.get(INPUT, "")},
                    most=1,
                    max_attempts=settings.max_attempts,
                    label=f"{assets[0].to_user_string()} ",
                )
            )
    return requests
