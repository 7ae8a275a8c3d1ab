"""A power cut: Dagster's daemon, its code server and every run's process are gone at once."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil

from event_pipeline_tests.torture.children import ask
from event_pipeline_tests.torture.scene import tables, unfinished
from event_pipeline_tests.torture.trials import Trial

CUTS = 2
# A session needs some ten seconds until its first run; later cuts come while it works.
EARLIEST, LATEST = 8.0, 40.0
CONVERGED_SECONDS = 600.0


def cut(trial: Trial, chance: random.Random) -> None:
    """A daemon's session is killed at random instants, restarted, and left to itself."""
    for _ in range(CUTS):
        session = start(trial)
        time.sleep(chance.uniform(EARLIEST, LATEST))
        trial.found.kills += kill(session)
        trial.found.tried["power cut"] += 1
    session, started = start(trial), time.monotonic()
    try:
        while not built(trial):
            if time.monotonic() - started > CONVERGED_SECONDS:
                trial.found.stuck += 1
                trial.fault(f"not built {CONVERGED_SECONDS:.0f} s after a power cut")
                return
            time.sleep(1)
        trial.found.built_after.append(time.monotonic() - started)
    finally:
        kill(session)
    trial.converge()


def start(trial: Trial) -> subprocess.Popen[bytes]:
    """Starts the daemon, which starts the code server, which starts the runs."""
    with trial.log.open("ab") as log:
        return subprocess.Popen(
            [Path(sys.executable).with_name("dagster-daemon"), "run", "-w", "workspace.yaml"],
            env={**os.environ, **trial.scene.environment(trial.home)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def kill(session: subprocess.Popen[bytes]) -> int:
    """Kills a session to the last process; how many they were."""
    family = [psutil.Process(session.pid)]
    family += family[0].children(recursive=True)
    for each in family:
        each.suspend()  # so that none starts another, or tells of another's death
    for each in family:
        each.kill()
    session.wait()
    return len(family)


def built(trial: Trial) -> bool:
    """Whether the tables are as undisturbed ones, and no run is under way."""
    settings = trial.scene.settings(trial.home)
    return bool(
        ask(lambda: tables(settings) == trial.expected and not unfinished(settings), trial.log)
    )
