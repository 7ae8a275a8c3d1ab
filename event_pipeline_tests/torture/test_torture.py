"""The short form of `make torture`: one home, each of its runs killed three times."""

import re
import subprocess
import sys

KILLS = 20


def test_twenty_kills_lose_double_and_stop_nothing() -> None:
    chosen = ["--kills", str(KILLS), "--workers", "1", "--power-cuts", "0", "--minutes", "10"]
    done = subprocess.run(
        [sys.executable, "-m", "event_pipeline_tests.torture", *chosen],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("rows lost 0, rows doubled 0, stuck 0\n")
    killed = re.search(rf"^(\d+) of {KILLS} processes killed", done.stdout, re.M)
    assert killed
    assert int(killed[1]) >= KILLS
