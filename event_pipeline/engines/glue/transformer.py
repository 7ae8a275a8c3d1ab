"""The Glue engine: turns requests into work for the job, and its reports into ours."""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from event_pipeline.digests import short_digest
from event_pipeline.engines import (
    DeriveRequest,
    PartitionReport,
    QueryReport,
    Transformer,
    TransformRequest,
)
from event_pipeline.engines.claims import CLAIMS, Claims
from event_pipeline.engines.glue.job import GlueJob, Json
from event_pipeline.engines.glue.job_runs import JobRuns, Work
from event_pipeline.engines.requests import as_json, derivation_as_json
from event_pipeline.errors import QueryError


class GlueTransformer(Transformer):
    """Runs Spark SQL in the Glue job `job`; requests and reports go through `bucket`.

    `logs` is the prefix of the job's two log groups, <logs>/output and <logs>/error.
    """

    job: str
    logs: str
    bucket: str
    poll_seconds: float = 5

    def transform(self, request: TransformRequest) -> Iterator[PartitionReport]:
        """Makes the partitions in one job run, and yields each when its report is there."""
        document = as_json(request)
        partitions = {each["key"]: each for each in document["partitions"]}
        shared = _digest(document, without={"partitions"})
        # Every attempt writes to other prefixes; they do not make it other work.
        prefixes = {"rows_prefix", "quarantine_prefix", "roll_up_prefixes"}
        work = {
            key: Work(f"{request.dataset}/{key}", shared + _digest(each, without=prefixes))
            for key, each in partitions.items()
        }

        def document_of(keys: Collection[str]) -> Json:
            return {**document, "partitions": [partitions[key] for key in keys]}

        for report in self._runs.make(work, document_of):
            yield PartitionReport(**report)

    def derive(self, request: DeriveRequest) -> QueryReport:
        """Writes Parquet files, by a job run of its own."""
        document = derivation_as_json(request)
        column, day = request.where
        name = f"derived/{_digest({'statement': request.statement})}/{column}={day}"
        work = {name: Work(name, _digest(document, without={"prefix"}))}
        [report] = self._runs.make(work, lambda _: document)
        if error := report.get("error"):
            raise QueryError(error)
        del report["key"]
        return QueryReport(**report)

    @property
    def _runs(self) -> JobRuns:
        claims = Claims(bucket=self.bucket, prefix=CLAIMS)
        return JobRuns(GlueJob(self.job, self.logs), self.bucket, claims, self.poll_seconds)


def _digest(document: Mapping[str, Any], without: Collection[str] = ()) -> str:
    kept = {name: value for name, value in document.items() if name not in without}
    return short_digest(json.dumps(kept, sort_keys=True))
