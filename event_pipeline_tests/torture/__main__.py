"""Runs the trials, one worker a core, and prints what was tried and what came of it."""

import argparse
import os
import pickle
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path
from statistics import median

from event_pipeline_tests import migrations
from event_pipeline_tests.torture import powercut, trials
from event_pipeline_tests.torture.boundaries import Boundary, lengths
from event_pipeline_tests.torture.children import ask, fork
from event_pipeline_tests.torture.scene import Scene, Tables, tables
from event_pipeline_tests.torture.trials import Found, Trial

# How often a walk through a home's runs kills each of them.
TIMES = 3

Act = Callable[[Trial], None]


def main() -> int:
    """0 if no row was lost or doubled and nothing stuck; 1 otherwise, or if nothing was killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="So many, if time allows.")
    parser.add_argument("--minutes", type=float, default=19, help="Then no trial is begun.")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--power-cuts", type=int, default=2, help="Of a daemon's whole session.")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    chosen = parser.parse_args()
    migrations.read_once()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        found, seconds = torture(Path(folder), chosen)
    report(found, seconds, chosen.seed, chosen.kills)
    return 0 if found.ok and found.kills else 1


def torture(folder: Path, chosen: argparse.Namespace) -> tuple[Found, float]:
    """Does as many trials as are asked for, or as there is time for; what they came to."""
    started = time.monotonic()
    end = started + 60 * chosen.minutes
    scene, log = Scene(folder / "scene"), folder / "scene.log"
    ask(scene.make, log)
    undisturbed = Trial(scene, {}, folder / "undisturbed", Found())
    began = time.monotonic()
    assert undisturbed.ended(undisturbed.sync(), 0), undisturbed.found.faults
    length = time.monotonic() - began
    undisturbed.load_modules()
    expected: Tables = ask(lambda: tables(scene.settings(undisturbed.home)), log)
    assert all(rows for name, rows in expected.items()), f"empty tables in {expected}"

    def work(worker: int) -> Found:
        found = Found()
        acts = plan(chosen, lengths(undisturbed.passed()), length)
        for n, act in islice(enumerate(acts), worker, None, chosen.workers):
            if time.monotonic() > end or found.kills * chosen.workers >= chosen.kills:
                break
            trial = Trial(scene, expected, folder / f"{n}", found)
            act(trial)
            trial.done()
            print(f"{n} {found.kills} {found.faults[-1:]}", file=sys.stderr, flush=True)
        return found

    total = Found()
    for found in in_parallel([partial(work, n) for n in range(chosen.workers)], folder):
        total.add(found)
    return total, time.monotonic() - started


def plan(chosen: argparse.Namespace, runs: list[int], length: float) -> Iterator[Act]:
    """What is done to one home after the other; the same in every worker."""
    chance = random.Random(chosen.seed)
    # First the midst of a run's life: a run that is killed at its end need not be done again.
    first, *places = range(min(runs) // 2, max(runs) + 1, TIMES)
    places += range(1, first, TIMES)
    chance.shuffle(places)
    walks = [
        partial(trials.killed_at_boundaries, boundaries=walk(p, runs)) for p in (first, *places)
    ]
    others = (act for n in range(10**6) for act in disturbances(chosen.seed + n, runs, length))
    cuts = [partial(powercut.cut, chance=random.Random(n)) for n in range(chosen.power_cuts)]
    for several in zip_longest(walks, others, cuts):
        yield from filter(None, several)


def disturbances(seed: int, runs: list[int], length: float) -> Iterator[Act]:
    """One trial of each kind but walks and power cuts."""
    chance = random.Random(seed)
    boundary = (chance.randint(1, len(runs)), chance.randint(1, max(runs)))
    yield partial(trials.stopped, chance=chance, times=6, length=length / 2)
    yield partial(trials.killed_at_instants, chance=chance, times=6, length=length / 2)
    yield partial(trials.suspended, boundary=boundary)
    yield partial(trials.beside_another, boundary=boundary)


def walk(place: int, runs: list[int]) -> list[Boundary]:
    """Kills each run of a home some times, at a place of its life and at the next ones, one run
    after the other: what was killed is executed first, and the one after it second.
    """
    steps: list[Boundary] = []
    for n in range(len(runs)):
        steps += [(1 if n == 0 else 2, place), *((1, place + k) for k in range(1, TIMES))]
    return steps


def in_parallel(works: list[Callable[[], Found]], folder: Path) -> Iterator[Found]:
    """What each function returns, each in a process of its own."""
    for n, child in enumerate(
        [
            fork(partial(_save, work, folder / f"work{n}"), folder / f"log{n}")
            for n, work in enumerate(works)
        ]
    ):
        assert child.wait(3600) == 0, (folder / f"log{n}").read_text()
        yield pickle.loads((folder / f"work{n}").read_bytes())


def _save(work: Callable[[], Found], path: Path) -> int:
    path.write_bytes(pickle.dumps(work()))
    return 0


def report(found: Found, seconds: float, seed: int, kills: int) -> None:
    """Prints what was tried, how often, and what came of it."""
    for what, times in sorted(found.tried.items()):
        print(f"{times:6,} {what}")
    spans = {
        "from Ctrl-C or SIGTERM to the end": found.stopped_after,
        "from a restart until all is built, by sync": found.converged_after,
        "from a restart until all is built, by the daemon": found.built_after,
    }
    for what, each in spans.items():
        if each:
            print(f"seconds {what}: median {median(each):.1f}, most {max(each):.1f}")
    for fault in found.faults:
        print(f"FAULT {fault}")
    print(f"{found.kills} of {kills} processes killed in {seconds:.0f} s, seed {seed}")
    print(f"rows lost {found.lost}, rows doubled {found.doubled}, stuck {found.stuck}")


if __name__ == "__main__":
    sys.exit(main())
