"""The Glue engine: turns requests into work for the job, and its reports into ours."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from event_pipeline.digests import short_digest
from event_pipeline.engines import (
    DeriveRequest,
    PartitionReport,
    QueryReport,
    Transformer,
    TransformRequest,
    told,
)
from event_pipeline.engines.claims import CLAIMS, Claims
from event_pipeline.engines.glue.job import GlueJob, Json
from event_pipeline.engines.glue.job_runs import JobRuns, Work
from event_pipeline.engines.requests import as_json, derivation_as_json
from event_pipeline.errors import QueryError

# Why Glue made what the embedded engine was to make.
ADOPTED = "a run of it was under way"


class GlueTransformer(Transformer):
    """Runs Spark SQL in the Glue job `job`; requests and reports go through `bucket`.

    `logs` is the prefix of the job's two log groups, <logs>/output and <logs>/error. With
    `embedded`, that engine makes in this process what no run of the job makes already. Whoever
    makes it, the claim on it is the same.
    """

    job: str
    logs: str
    bucket: str
    poll_seconds: float = 5
    embedded: Transformer | None = None

    @property
    def engine(self) -> str:
        """What a person calls it."""
        return self.embedded.engine if self.embedded else "Glue"

    def transform(self, request: TransformRequest) -> Iterator[PartitionReport]:
        """Makes the partitions in one job run, and yields each when its report is there.

        With `embedded`, they are made one after the other.
        """
        document = as_json(request)
        partitions = {each["key"]: each for each in document["partitions"]}
        shared = _digest(document, without={"partitions"})
        # Every attempt writes to other prefixes; they do not make it other work.
        prefixes = {"rows_prefix", "quarantine_prefix", "roll_up_prefixes"}
        work = {
            key: Work(f"{request.dataset}/{key}", shared + _digest(each, without=prefixes))
            for key, each in partitions.items()
        }

        if embedded := self.embedded:
            for partition in request.partitions:
                alone = replace(request, partitions=(partition,))
                here = partial(_only_report, embedded, alone)
                for report in self._runs.make_here(partition.key, work[partition.key], here):
                    yield PartitionReport(**_with_engine(report))
            return

        def document_of(keys: Collection[str]) -> Json:
            return {**document, "partitions": [partitions[key] for key in keys]}

        for report in self._runs.make(work, document_of):
            yield PartitionReport(**report)

    def derive(self, request: DeriveRequest) -> QueryReport:
        """Writes Parquet files, by a job run of its own, or by `embedded`."""
        document = derivation_as_json(request)
        column, day = request.where
        name = f"derived/{_digest({'statement': request.statement})}/{column}={day}"
        work = Work(name, _digest(document, without={"prefix"}))
        if embedded := self.embedded:
            [made] = self._runs.make_here(name, work, lambda: asdict(embedded.derive(request)))
            report = _with_engine(made)
        else:
            [report] = self._runs.make({name: work}, lambda _: document)
        if error := report.get("error"):
            raise QueryError(error)
        del report["key"]
        return QueryReport(**report)

    @property
    def _runs(self) -> JobRuns:
        claims = Claims(bucket=self.bucket, prefix=CLAIMS)
        return JobRuns(GlueJob(self.job, self.logs), self.bucket, claims, self.poll_seconds)


def _with_engine(report: Json) -> Json:
    """A report of who was to make it here: if a job's run made it, that is told."""
    run = report.get("run", {})
    return {**report, "run": {**told("Glue", ADOPTED), **run}} if "glue_run" in run else report


def _only_report(engine: Transformer, request: TransformRequest) -> Json:
    """The report of a request's only partition."""
    [report] = engine.transform(request)
    return asdict(report)


def _digest(document: Mapping[str, Any], without: Collection[str] = ()) -> str:
    kept = {name: value for name, value in document.items() if name not in without}
    return short_digest(json.dumps(kept, sort_keys=True))
