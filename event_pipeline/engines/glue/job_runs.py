"""Which run makes which piece of work: a Glue job's runs, and the claims that name them."""

import time
import uuid
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from http.client import INTERNAL_SERVER_ERROR

import dagster as dg

from event_pipeline import aws
from event_pipeline.engines import INTERRUPTS
from event_pipeline.engines.claims import LOST, Claim, Claims, Lease
from event_pipeline.engines.glue.job import RUNNING, GlueJob, Json
from event_pipeline.engines.glue.run_folder import RunFolder

# Other workers' runs that may end without a report of our work before we give it up; until then we
# start it anew.
MAX_LOST_RUNS = 3


@dataclass(frozen=True)
class Work:
    """One piece of work: its name, unique among all, and the version of what it is made of."""

    name: str
    version: str


@dataclass
class JobRuns:
    """The runs of one Glue job, found by the claims on what they make."""

    job: GlueJob
    bucket: str
    claims: Claims
    poll_seconds: float

    def make(
        self, work: Mapping[str, Work], document_of: Callable[[Collection[str]], Json]
    ) -> Iterator[Json]:
        """The report of each piece of work, whichever run makes it; its `key` is the work's.

        `document_of` returns the request for some of the keys. The report of work that our own run
        did not make has an `error`. If the caller is interrupted, a run that makes nothing but this
        work is stopped.
        """
        left, lost_runs = dict(work), 0
        while left:
            new = uuid.uuid4().hex
            runs = self._claimed(left, new)
            if new in runs and not self._start(new, runs[new], document_of(list(runs[new]))):
                del runs[new]
            for run, claims in runs.items():
                error = yield from self._reports(run, claims, left)
                missing = claims.keys() & left.keys()
                if missing:
                    lost_runs += 1
                for key in missing:
                    # What another worker's run did not make is started anew.
                    if run == new or lost_runs > MAX_LOST_RUNS:
                        yield {"key": key, "error": error}
                        del left[key]
            if not runs:
                time.sleep(self.poll_seconds)

    def make_here(self, key: str, work: Work, here: Callable[[], Json]) -> Iterator[Json]:
        """The report of one piece of work, by `here` in this process if no run makes it already.

        It is an error if others took over while `here` was at work.
        """
        left = {key: work}
        while left:
            new = uuid.uuid4().hex
            runs = self._claimed(left, new, is_embedded=True)
            if new in runs:
                with Lease(self.claims, runs[new][key]) as lease:
                    report = here()
                    yield {"key": key, **(report if lease.confirm() else {"error": LOST})}
                return
            for run, claims in runs.items():
                yield from self._reports(run, claims, left)
            if not runs:
                time.sleep(self.poll_seconds)

    def _reports(
        self, run: str, claims: Mapping[str, Claim], left: dict[str, Work]
    ) -> Generator[Json, None, str]:
        """The reports of a run to its end; returns how it ended. Releases all its claims.

        Work is taken from `left` once its report has been used.
        """
        followed = self._follow(run, claims)
        for report in followed.reports():
            yield report
            self.claims.release(claims[report["key"]])
            del left[report["key"]]
        for key in claims.keys() & left.keys():
            self.claims.release(claims[key])
        return followed.error

    def _claimed(
        self, work: Mapping[str, Work], new: str, *, is_embedded: bool = False
    ) -> dict[str, dict[str, Claim]]:
        """Claims by run: of runs that Glue has, and of the run `new`, which is ours to start.

        Work is left out while another worker is about to start a run of it or makes it by itself,
        and while a run still makes another version of it.
        """
        runs: dict[str, dict[str, Claim]] = {}
        for key, each in work.items():
            old = self.claims.get(each.name)
            state = self._state(old) if old else None
            if old and state is None and old.is_fresh:
                continue
            if old and old.version == each.version and state in {*RUNNING, "SUCCEEDED"}:
                runs.setdefault(old.run, {})[key] = old
            elif old and state in RUNNING:
                if old.is_only_one:
                    self._stop(old)
            else:
                claim = Claim(each.name, each.version, new, of=len(work), is_embedded=is_embedded)
                if mine := self.claims.put(claim, old):
                    runs.setdefault(new, {})[key] = mine
        return runs

    def _run_id(self, claim: Claim) -> str | None:
        """Glue's id of a claim's run, None if it has none.

        Glue is asked if whoever started the run had no time to write its id into the claim.
        """
        if claim.is_embedded:
            return None
        return claim.id or self.job.find(self._folder(claim.run).request_uri, claim.at)

    def _state(self, claim: Claim) -> str | None:
        """The state of a claim's run, None if it has none."""
        run_id = self._run_id(claim)
        return self.job.run(run_id)["JobRunState"] if run_id else None

    def _stop(self, claim: Claim) -> None:
        if run_id := self._run_id(claim):
            self.job.stop(run_id)

    def _start(self, run: str, claims: dict[str, Claim], document: Json) -> bool:
        """Starts a run once Glue has room for it; False if others claimed its work meanwhile."""
        log, folder = dg.get_dagster_logger(), self._folder(run)
        folder.write_request(document)
        while not (run_id := self._try_start(folder, claims)):
            log.info(
                f"{self.job.name}: the maximum number of runs is reached; waiting for one to end"
            )
            time.sleep(self.poll_seconds)
            if not self._confirmed(claims):
                return False
        log.info(f"Glue job {self.job.name}: run {run_id} started for {', '.join(claims)}")
        if not self._confirmed(claims, run_id):
            # This process was held up for so long that others took it for dead.
            self.job.stop(run_id)
            return False
        return True

    def _try_start(self, folder: RunFolder, claims: Mapping[str, Claim]) -> str | None:
        """Glue's id of the started run; None if it was not started and may be later.

        The claims are released if Glue refuses the run. They stay if nobody knows whether it was
        started.
        """
        try:
            return self.job.start(folder.arguments)
        except aws.client("glue").exceptions.ClientError as error:
            if aws.http_status(error) < INTERNAL_SERVER_ERROR:
                for claim in claims.values():
                    self.claims.release(claim)
            raise
        except aws.connection_errors():
            # The answer is lost, but the run may have been started: look for it.
            time.sleep(self.poll_seconds)
            return self.job.find(folder.request_uri, since=time.time())

    def _confirmed(self, claims: dict[str, Claim], run_id: str = "") -> bool:
        """Writes the claims anew, with their run's id; False if one is no longer ours."""
        for key, claim in claims.items():
            new = replace(claim, at=time.time(), id=run_id)
            claims[key] = self.claims.put(new, claim) or replace(new, etag="")
        return all(claim.etag for claim in claims.values())

    def _follow(self, run: str, claims: Mapping[str, Claim]) -> "_Followed":
        run_id = self._run_id(next(iter(claims.values())))
        assert run_id  # Runs that Glue does not have are not followed.
        return _Followed(self.job, run_id, self._folder(run), claims, self.poll_seconds)

    def _folder(self, run: str) -> RunFolder:
        return RunFolder(self.bucket, run)


@dataclass
class _Followed:
    """A run that is followed to its end, for the sake of some of its work.

    `error` says how the run ended, once `reports` has ended.
    """

    job: GlueJob
    run_id: str
    folder: RunFolder
    claims: Mapping[str, Claim]
    poll_seconds: float
    error: str = ""

    def reports(self) -> Iterator[Json]:
        """The report of each piece of work when it is there; ends when the run ends.

        Without a report of one of them, the ends of the run's logs are printed.
        """
        missing = set(self.claims)
        try:
            while True:
                # Asked before the reports are read, so that the last ones are not missed.
                run = self.job.run(self.run_id)
                for report in self.folder.new_reports():
                    if report.setdefault("key", next(iter(self.claims))) in missing:
                        missing.remove(report["key"])
                        yield {**report, "run": {"glue_run": self.run_id}}
                if run["JobRunState"] not in RUNNING:
                    break
                time.sleep(self.poll_seconds)
        except INTERRUPTS:
            if self._makes_nothing_else:
                self.job.stop(self.run_id)
            raise
        if missing:
            self.job.print_log_ends(self.run_id)
        self.error = self._error(run)

    @property
    def _makes_nothing_else(self) -> bool:
        """Whether all work of the run is wanted here."""
        return all(claim.of == len(self.claims) for claim in self.claims.values())

    def _error(self, run: Json) -> str:
        state, reason = run["JobRunState"], run.get("ErrorMessage") or "no reason given"
        if state == "SUCCEEDED":
            reason = "ended without a report"
        return f"Glue job {self.job.name}, run {self.run_id}: {state}: {reason}"
