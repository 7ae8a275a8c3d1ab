"""The graph's ingester, which makes the slots of an hour that are not there yet."""

import json
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from event_pipeline import aws
from event_pipeline.ingest import handler
from event_pipeline.ingest.generator import Profile
from event_pipeline.partitions import HOURLY

# A little longer than AWS lets a Lambda run.
LAMBDA_SECONDS = 910


class Ingester(dg.ConfigurableResource[Any], ABC):
    """Feeds Bronze."""

    @abstractmethod
    def ingest_hour(self, key: str) -> list[handler.Result]:
        """Writes the hour's slots that are over; existing slots stay as they are."""


class LocalIngester(Ingester):
    """Runs the Lambda's code in this process, on the folder `root`."""

    root: str
    events: int
    seed: int
    mode: str
    late_share: float
    fault_share: float

    def ingest_hour(self, key: str) -> list[handler.Result]:
        """Writes the hour's slots that are over, one after the other."""
        store = handler.FolderStore(self.root)
        profile = Profile(
            events=self.events,
            seed=self.seed,
            mode=self.mode,  # type: ignore[arg-type]
            late_share=self.late_share,
            fault_share=self.fault_share,
        )
        last = handler.last_whole_slot(datetime.now(UTC))
        slots = handler.slots_of_hour(HOURLY.start(key))
        return [handler.ingest(slot, store, profile) for slot in slots if slot <= last]


class LambdaIngester(Ingester):
    """Invokes the Lambda `function`, which writes to its own lake."""

    function: str

    def ingest_hour(self, key: str) -> list[handler.Result]:
        """Calls the Lambda once for each of the hour's slots that is over, to keep calls short.

        Raises RuntimeError with the error that the Lambda raised.
        """
        last = handler.last_whole_slot(datetime.now(UTC))
        slots = handler.slots_of_hour(HOURLY.start(key))
        return [self._invoke(slot) for slot in slots if slot <= last]

    def _invoke(self, slot: datetime) -> handler.Result:
        # A call that times out may have written its slot. If so, a repeated call finds it there.
        answer = aws.client("lambda", read_timeout=LAMBDA_SECONDS).invoke(
            FunctionName=self.function, Payload=json.dumps({"slot": slot.isoformat()}).encode()
        )
        payload = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise RuntimeError(f"{self.function}, {slot:%Y-%m-%dT%H:%MZ}: {_error_text(payload)}")
        result: handler.Result = payload["results"][0]
        return result


def _error_text(payload: Any) -> str:
    """What a Lambda's error says, in one line."""
    if not isinstance(payload, dict):
        return str(payload)
    return ": ".join(str(payload[k]) for k in ("errorType", "errorMessage") if payload.get(k))
