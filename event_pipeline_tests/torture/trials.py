"""Trials: what is done to a home, how it converges, and what is found then."""

import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import event_pipeline.cli
import event_pipeline.sync  # noqa: F401
from event_pipeline import __main__, report, runs
from event_pipeline.home import open_instance
from event_pipeline_tests.torture.boundaries import NEVER, Boundary, Clock
from event_pipeline_tests.torture.children import Child, ask, fork
from event_pipeline_tests.torture.scene import Scene, Tables, tables, unfinished

# Within which a command must stop when it is asked to.
STOP_SECONDS = 15.0
SYNC_SECONDS = 240.0


@dataclass
class Found:
    """What trials came to, each as counted. `faults`: each in words."""

    tried: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    faults: list[str] = field(default_factory=list)
    stopped_after: list[float] = field(default_factory=list)
    converged_after: list[float] = field(default_factory=list)
    built_after: list[float] = field(default_factory=list)

    def add(self, other: "Found") -> None:
        """Takes in what another worker found."""
        self.tried += other.tried
        for name in ("kills", "lost", "doubled", "stuck"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("faults", "stopped_after", "converged_after", "built_after"):
            getattr(self, name).extend(getattr(other, name))

    @property
    def ok(self) -> bool:
        """Whether all was as it should be."""
        return not (self.lost or self.doubled or self.stuck or self.faults)


class Trial:
    """One home, a copy of the scene's, in which `sync` is run and disturbed."""

    def __init__(self, scene: Scene, expected: Tables, folder: Path, found: Found) -> None:
        self.scene, self.expected, self.found = scene, expected, found
        self.home = scene.copy(folder)
        self.log = folder.with_suffix(".log")

    def sync(self, at: Boundary = NEVER, action: Callable[[], None] | None = None) -> Child:
        """Starts `event-pipeline sync`, which is killed, or does `action`, at its boundary `at`."""

        def command() -> int:
            os.environ.update(self.scene.environment(self.home))
            # Drawing takes half of the time, and no row stands in a chart.
            report.chart = lambda *_: ""
            clock = Clock(at, action)
            sys.argv = ["event-pipeline", "sync"]
            try:
                __main__.main()
            finally:
                (self.home / "passed").write_text("\n".join(clock.passed))
                (self.home / "modules").write_text("\n".join(sys.modules))
            return 0

        return fork(command, self.log)

    def passed(self) -> list[str]:
        """The boundaries that the last `sync` that was not killed passed."""
        return (self.home / "passed").read_text().splitlines()

    def load_modules(self) -> None:
        """Loads what that `sync` had to load, so that the next ones need not."""
        for name in (self.home / "modules").read_text().splitlines():
            with suppress(Exception):
                import_module(name)

    def ended(self, child: Child, *codes: int, seconds: float = SYNC_SECONDS) -> bool:
        """Whether a process ended in time with one of some exit codes; else it is a fault."""
        code = child.wait(seconds)
        if code is None:
            child.kill()
        if code in codes:
            return True
        self.fault(f"exit code {code}, not {codes}")
        return False

    def fault(self, what: str) -> None:
        """Notes what is wrong, with the end of what the commands said."""
        text = self.log.read_text() if self.log.exists() else ""
        said = text[text.find("Traceback") :][:4000] if "Traceback" in text else text[-2000:]
        self.found.faults.append(f"{self.home.name}: {what}\n{said}")

    def kill(self, child: Child) -> None:
        """Kills a process, if it is still there."""
        if child.status is None and child.kill() == -signal.SIGKILL:
            self.found.kills += 1

    def converge(self) -> None:
        """One undisturbed `sync`, after which everything is as if nothing had been done."""
        started = time.monotonic()
        if not self.ended(self.sync(), 0):
            self.found.stuck += 1
            return
        self.found.converged_after.append(time.monotonic() - started)
        self.compare()

    def compare(self) -> None:
        """Counts what the tables lack or have too often, and runs that are not ended."""
        settings = self.scene.settings(self.home)
        found: Tables = ask(lambda: tables(settings), self.log)
        for name, rows in self.expected.items():
            lost, doubled = rows - found[name], found[name] - rows
            self.found.lost += lost.total()
            self.found.doubled += doubled.total()
            if lost or doubled:
                self.fault(f"{name}: {lost.total()} rows lost, {doubled.total()} doubled")
        if left := self.left():
            self.found.stuck += len(left)
            self.fault(f"not ended: {left}")

    def left(self) -> list[str]:
        """Runs that have not ended, and locks that nobody needs."""
        settings = self.scene.settings(self.home)

        def found() -> list[str]:
            folder = settings.dagster_home / runs.FOLDER
            return unfinished(settings) + [path.name for path in folder.iterdir()]

        return list(ask(found, self.log))

    def done(self) -> None:
        """Removes the home, unless there is something to look at."""
        if not any(fault.startswith(f"{self.home.name}: ") for fault in self.found.faults):
            shutil.rmtree(self.home)
            self.log.unlink(missing_ok=True)


def killed_at_boundaries(trial: Trial, boundaries: Sequence[Boundary]) -> None:
    """`sync` is killed at a boundary, the next one at another, and so on, until all is built."""
    for boundary in boundaries:
        child = trial.sync(boundary)
        if child.wait(SYNC_SECONDS) != -signal.SIGKILL:
            trial.ended(child, 0)
            break
        trial.found.kills += 1
        trial.found.tried["kill at a boundary"] += 1
    trial.converge()


def killed_at_instants(trial: Trial, chance: random.Random, times: int, length: float) -> None:
    """`sync` is killed at random instants."""
    for _ in range(times):
        child = trial.sync()
        child.wait(chance.uniform(0, length))
        trial.kill(child)
        trial.found.tried["kill at an instant"] += 1
    trial.converge()


def stopped(trial: Trial, chance: random.Random, times: int, length: float) -> None:
    """`sync` gets Ctrl-C or SIGTERM at random instants, and stops within seconds."""
    for _ in range(times):
        child, number = trial.sync(), chance.choice((signal.SIGINT, signal.SIGTERM))
        child.wait(chance.uniform(0.05, length))
        child.send(number)
        started = time.monotonic()
        if trial.ended(child, 128 + number, 0, seconds=STOP_SECONDS):
            trial.found.tried[number.name] += 1
            trial.found.stopped_after.append(time.monotonic() - started)
        if "Traceback" in trial.log.read_text():
            trial.fault("a traceback")
    trial.converge()


def suspended(trial: Trial, boundary: Boundary) -> None:
    """`sync` is suspended while it executes; nothing ends its runs, and it goes on after that."""
    settings = trial.scene.settings(trial.home)

    def end_lost_runs() -> list[str]:
        with open_instance(settings) as instance:
            return [str(lost) for lost in runs.end_lost_runs(instance)]

    child = trial.sync(boundary, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    _stopped_or_gone(child)
    if ended := ask(end_lost_runs, trial.log):
        trial.fault(f"ended although it lives: {ended}")
    other = trial.sync()
    other.wait(2)
    child.send(signal.SIGCONT)
    trial.ended(child, 0)
    trial.ended(other, 0)
    trial.found.tried["suspended, beside a second sync"] += 1
    trial.converge()


def _stopped_or_gone(child: Child) -> None:
    """Waits until a process is suspended, or through."""
    pid, status = os.waitpid(child.pid, os.WUNTRACED)
    if pid and not os.WIFSTOPPED(status):
        child.status = os.waitstatus_to_exitcode(status)


def beside_another(trial: Trial, boundary: Boundary) -> None:
    """Two `sync`s at a time, one of which is killed."""
    other, child = trial.sync(), trial.sync(boundary)
    if child.wait(SYNC_SECONDS) == -signal.SIGKILL:
        trial.found.kills += 1
    trial.ended(other, 0)
    trial.found.tried["kill beside a second sync"] += 1
    trial.converge()
