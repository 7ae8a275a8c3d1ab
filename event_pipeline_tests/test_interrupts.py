"""Signals: a block that is asked to stop ends with the signal's exit code, whatever it raises."""

import os
import signal
import time
from collections.abc import Callable

import pytest
from dagster._core.errors import raise_execution_interrupts

from event_pipeline.interrupts import Stop, stopping


def run(work: Callable[[Stop], object]) -> None:
    """Does some work that can be stopped."""
    with stopping(lambda: None, "stopped") as stop:
        work(stop)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_dagster_raises_at_a_signal_is_no_error(
    number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    def work(_: Stop) -> None:
        # As around the start of every resource and step.
        with raise_execution_interrupts():
            os.kill(os.getpid(), number)
            time.sleep(10)

    with pytest.raises(SystemExit) as ended:
        run(work)
    assert ended.value.code == 128 + number
    assert capfd.readouterr().err == "\nstopped\n"


def test_an_error_that_follows_from_a_signal_is_none_either() -> None:
    def work(stop: Stop) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.was_asked(10)
        raise OSError("cut off")

    with pytest.raises(SystemExit) as ended:
        run(work)
    assert ended.value.code == 130


def test_other_errors_stay_what_they_are() -> None:
    def work(_: Stop) -> None:
        raise OSError("no luck")

    with pytest.raises(OSError, match="no luck"):
        run(work)
