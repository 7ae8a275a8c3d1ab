"""Which run makes which piece of work: a Glue job's runs, and the claims that name them.

A process that makes a piece of work by itself counts as a run, too. It is running for as long as it
confirms its claim, and leaves its report where a job's run does.
"""

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.client import INTERNAL_SERVER_ERROR

import dagster as dg

from event_pipeline import aws
from event_pipeline.engines import EMBEDDED, INTERRUPTS, told
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

        The claim is released once the report has been used. The report is an error if others took
        over while `here` was at work.
        """
        left = {key: work}
        while left:
            new = uuid.uuid4().hex
            runs = self._claimed(left, new, is_embedded=True)
            if new in runs:
                with Lease(self.claims, runs[new][key]) as lease:
                    report = {"key": key, **here()}
                    if not lease.confirm():
                        report = {"key": key, "error": LOST}
                    elif not report.get("error"):
                        self._folder(new).write_report(report)
                    yield report
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

        Work is left out while another worker is about to start a run of it, and while a run still
        makes another version of it.
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
        if claim.is_embedded:
            if claim.is_fresh:
                return "RUNNING"
            return "SUCCEEDED" if self._folder(claim.run).has_reports else None
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
        claim, folder = next(iter(claims.values())), self._folder(run)
        if claim.is_embedded:
            return _FollowedProcess(folder, claims, self.poll_seconds, self.claims)
        run_id = self._run_id(claim)
        assert run_id  # Runs that Glue does not have are not followed.
        return _FollowedRun(folder, claims, self.poll_seconds, self.job, run_id)

    def _folder(self, run: str) -> RunFolder:
        return RunFolder(self.bucket, run)


@dataclass
class _Followed(ABC):
    """A run that is followed to its end, for the sake of some of its work.

    `error` says how the run ended, once `reports` has ended.
    """

    folder: RunFolder
    claims: Mapping[str, Claim]
    poll_seconds: float
    error: str = field(default="", init=False)

    def reports(self) -> Iterator[Json]:
        """The report of each piece of work when it is there; ends when the run ends."""
        missing = set(self.claims)
        try:
            while True:
                # Asked before the reports are read, so that the last ones are not missed.
                is_running = self._is_running()
                for report in self.folder.new_reports():
                    if report.setdefault("key", next(iter(self.claims))) in missing:
                        missing.remove(report["key"])
                        yield {**report, "run": self._told()}
                if not is_running:
                    break
                time.sleep(self.poll_seconds)
        except INTERRUPTS:
            if self._makes_nothing_else:
                self._stop()
            raise
        if missing:
            self._show_why()

    @abstractmethod
    def _is_running(self) -> bool:
        """Whether the run goes on; if not, sets `error`."""

    @abstractmethod
    def _told(self) -> Json:
        """What a report says of the run."""

    @abstractmethod
    def _stop(self) -> None: ...

    @abstractmethod
    def _show_why(self) -> None:
        """Shows why a report is missing."""

    @property
    def _makes_nothing_else(self) -> bool:
        """Whether all work of the run is wanted here."""
        return all(claim.of == len(self.claims) for claim in self.claims.values())


@dataclass
class _FollowedRun(_Followed):
    """A run of the job."""

    job: GlueJob
    run_id: str

    def _is_running(self) -> bool:
        run = self.job.run(self.run_id)
        state, reason = run["JobRunState"], run.get("ErrorMessage") or "no reason given"
        if state == "SUCCEEDED":
            reason = "ended without a report"
        self.error = f"Glue job {self.job.name}, run {self.run_id}: {state}: {reason}"
        return state in RUNNING

    def _told(self) -> Json:
        return {"glue_run": self.run_id}

    def _stop(self) -> None:
        self.job.stop(self.run_id)

    def _show_why(self) -> None:
        self.job.print_log_ends(self.run_id)


@dataclass
class _FollowedProcess(_Followed):
    """A process that makes a piece of work by itself."""

    all_claims: Claims

    def _is_running(self) -> bool:
        [claim] = self.claims.values()
        found = self.all_claims.get(claim.name)
        self.error = "the process that made it ended without a report"
        return found is not None and found.run == claim.run and found.is_fresh

    def _told(self) -> Json:
        return told(EMBEDDED, "another process was making it")

    def _stop(self) -> None:
        """Leaves it alone: somebody else waits for it."""

    def _show_why(self) -> None:
        """Shows nothing: it has said itself why it failed."""
