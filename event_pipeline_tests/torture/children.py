"""Processes forked from this one, which has everything loaded and no threads."""

import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from event_pipeline.interrupts import SIGNALS, quit_from_now_on

TIMEOUT = 120.0


@dataclass
class Child:
    """A forked process."""

    pid: int
    status: int | None = None

    def wait(self, seconds: float = TIMEOUT) -> int | None:
        """Its exit code, negative if a signal killed it; None if it is still there then."""
        end = time.monotonic() + seconds
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                return None
            else:
                time.sleep(0.005)
        return self.status

    def send(self, number: int) -> None:
        """Sends a signal, unless it is gone."""
        if self.status is None:
            os.kill(self.pid, number)

    def kill(self) -> int | None:
        """Kills it with what it forked or started."""
        self.send(signal.SIGKILL)
        return self.wait()


def fork(action: Callable[[], int], log: Path) -> Child:
    """Forks a process that does one thing; what it prints goes to the end of a file."""
    sys.stdout.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    pid = os.fork()
    if not pid:
        # What stands for the interpreter's start must not raise either.
        quit_from_now_on()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    if not pid:
        _become(action, log)
    return Child(pid)


def _become(action: Callable[[], int], log: Path) -> NoReturn:
    code = 99
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        code = action()
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def ask(action: Callable[[], Any], log: Path) -> Any:
    """What a function returns in a process of its own; AssertionError if it does not."""
    read, write = os.pipe()

    def answer() -> int:
        with os.fdopen(write, "wb") as file:
            pickle.dump(action(), file)
        return 0

    child = fork(answer, log)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    assert child.wait() == 0, log.read_text()
    return pickle.loads(data)
