"""Ctrl-C and SIGTERM: a command stops within seconds, whatever it is doing, and says no more.

A signal's handler runs in the main thread, and only between two steps of Python: not while DuckDB
executes a query. Dagster replaces the handlers while it executes, and loses a signal that comes at
the wrong moment. So the interpreter itself also writes each signal to a pipe, which a thread reads.
The thread gives the main thread a moment to stop by itself. Then it ends the process, which is safe
at any instant, as kill -9 is.
"""

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# How long a step may take to stop what it has begun elsewhere, such as a Glue job.
STOP_SECONDS = 4.0
ON_STOP_SECONDS = 4.0
# How long the thread may take to note a signal at which Dagster has raised an error.
NOTED_SECONDS = 1.0
SHOW_CURSOR = b"\x1b[?25h"


class Stop:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.exit_code = 0

    def __bool__(self) -> bool:
        return self._asked.is_set()

    def ask(self, number: int) -> None:
        """Notes the signal that asks."""
        self.exit_code = 128 + number
        self._asked.set()

    def was_asked(self, seconds: float) -> bool:
        """Whether this process was asked to stop, or is so within some seconds."""
        return self._asked.wait(seconds)

    def check(self) -> None:
        """Raises SystemExit if this process was asked to stop."""
        if self:
            raise SystemExit(self.exit_code)

    def sleep(self, seconds: float) -> None:
        """Sleeps, and raises SystemExit as soon as it is asked to stop."""
        self._asked.wait(seconds)
        self.check()


@contextmanager
def quitting() -> Iterator[None]:
    """In the block, a signal ends the process at once and silently: nothing has begun yet."""
    with _handled(_quit):
        yield


@contextmanager
def stopping(on_stop: Callable[[], object], message: str) -> Iterator[Stop]:
    """A signal asks the block to stop; if the block does not stop in time, the process is ended.

    After a signal, prints `message` to stderr and raises SystemExit with 128 plus the signal's
    number. If the process has to be ended, `on_stop` is called first, in another thread.
    """
    stop = Stop()
    read, write = os.pipe()
    os.set_blocking(write, False)
    thread = threading.Thread(
        target=_watch, args=(read, stop, on_stop, message), name="interrupts", daemon=True
    )
    thread.start()
    try:
        with _handled(lambda number, _: stop.ask(number), write):
            try:
                yield stop
            except SystemExit:
                raise
            except BaseException as error:
                # Dagster raises an error of its own at a signal, at any instant of its work.
                if stop.was_asked(0 if isinstance(error, Exception) else NOTED_SECONDS):
                    raise SystemExit(stop.exit_code) from None
                raise
        stop.check()
    finally:
        os.close(write)  # which ends the thread
        thread.join()
        os.close(read)
        if stop:
            _print(message)


def quit_from_now_on() -> None:
    """As `quitting`, until the process ends."""
    for number in SIGNALS:
        signal.signal(number, _quit)


def _quit(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


@contextmanager
def _handled(
    handler: Callable[[int, FrameType | None], object], pipe: int | None = None
) -> Iterator[None]:
    """Handles the signals in the block, in the main thread; does nothing in other threads."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        # The pipe comes first, so that no signal is handled without being written to it.
        if pipe is not None:
            signal.set_wakeup_fd(pipe, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
        if pipe is not None:
            signal.set_wakeup_fd(-1)


def _watch(read: int, stop: Stop, on_stop: Callable[[], object], message: str) -> None:
    """Waits for a signal, then for the block's end; ends the process if that takes too long.

    A second signal ends the process at once.
    """
    if not _signalled(read, stop):
        return
    ready, _, _ = select.select([read], [], [], STOP_SECONDS)
    if ready and not _signalled(read, stop):
        return
    speaker = threading.Thread(target=_attempt, args=(on_stop,), daemon=True)
    speaker.start()
    speaker.join(ON_STOP_SECONDS)
    _print(message)
    os._exit(stop.exit_code)


def _signalled(read: int, stop: Stop) -> bool:
    """Waits until one of the signals comes; False if the block ends before that."""
    while numbers := os.read(read, 1):
        if numbers[0] in SIGNALS:
            stop.ask(numbers[0])
            return True
    return False


def _attempt(action: Callable[[], object]) -> None:
    with suppress(Exception):
        action()


def _print(message: str) -> None:
    with suppress(OSError):
        # A progress bar hides the cursor.
        cursor = SHOW_CURSOR if os.isatty(2) else b""
        os.write(2, cursor + f"\n{message}\n".encode())
