"""Tags of runs and materializations: Dagster's own that we use, and ours."""

from collections.abc import Mapping

DATA_VERSION = "dagster/data_version"
CODE_VERSION = "dagster/code_version"
PARTITION = "dagster/partition"
RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
# Tags of a run: the version of the input that it was asked for, and the sensor that asked.
INPUT = "event_pipeline/input"
SENSOR = "event_pipeline/sensor"
ASKED_AT = "event_pipeline/asked_at"
# Tag of a run whose input is not new: why it is asked for all the same.
WHY = "event_pipeline/why"
NOT_IN_LAKE = "recorded as built, but the lake does not hold that version"
# How often the Dagster instance retries a lost run. For our runs it is 0, since the sensor asks
# again, and counts.
RETRIES = "dagster/max_retries"


def partitions_in_words(tags: Mapping[str, str]) -> str:
    """The partition, or the range of them, that a run with these tags makes; empty if none."""
    first, last = tags.get(RANGE_START), tags.get(RANGE_END)
    if first and last:
        return first if first == last else f"{first} to {last}"
    return tags.get(PARTITION, "")
