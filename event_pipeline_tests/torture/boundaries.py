"""The boundaries of a run's life in a process, at each of which it can be killed."""

import os
import signal
from collections.abc import Callable
from functools import wraps
from itertools import pairwise
from typing import Any

from dagster import DagsterInstance
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from pyiceberg.catalog.sql import SqlCatalog

from event_pipeline import runs
from event_pipeline.engines.duckdb import session, transformer
from event_pipeline.lake.tables import Lake

BOUNDARIES: tuple[tuple[Any, str], ...] = (
    (runs, "hold"),
    (runs, "release"),
    (runs, "end"),
    (SqliteRunStorage, "add_run"),
    (SqliteRunStorage, "handle_run_event"),
    (SqliteRunStorage, "add_run_tags"),
    (SqliteEventLogStorage, "store_event"),
    (DagsterInstance, "report_runless_asset_event"),
    (session, "copy"),
    (transformer, "copy"),
    (Lake, "publish"),
    (SqlCatalog, "commit_table"),
)
# With this, the life of a run begins.
BEGIN = "before hold"


# A boundary: so many runs were begun here, and so many boundaries were passed since.
Boundary = tuple[int, int]
NEVER = (10**9, 0)


class Clock:
    """Counts the boundaries that this process passes, and acts at one of them, or at the next."""

    def __init__(self, at: Boundary = NEVER, action: Callable[[], None] | None = None) -> None:
        self.passed: list[str] = []
        self._now: Boundary = (0, 0)
        self._at = at
        self._action = action or (lambda: os.kill(os.getpid(), signal.SIGKILL))
        for owner, name in BOUNDARIES:
            setattr(owner, name, self._counted(getattr(owner, name), name))

    def _counted(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(function)
        def counted(*arguments: Any, **named: Any) -> Any:
            self._pass(f"before {name}")
            result = function(*arguments, **named)
            self._pass(f"after {name}")
            return result

        return counted

    def _pass(self, name: str) -> None:
        begun, since = self._now
        self._now = (begun + 1, 1) if name == BEGIN else (begun, since + 1)
        self.passed.append(name)
        if self._now >= self._at:
            self._at = NEVER
            self._action()


def lengths(passed: list[str]) -> list[int]:
    """How many boundaries each run of a process passed, of all that it passed."""
    begins = [n for n, name in enumerate(passed) if name == BEGIN]
    return [end - begin for begin, end in pairwise([*begins, len(passed)])]
