"""Starts the twin, and prints what an AWS SDK needs to find it."""

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from event_pipeline_tests.twin.emulator import serve


def main() -> None:
    """Serves until it is interrupted; without `--data` all is gone afterwards."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of 127.0.0.1; by default a free one")
    parser.add_argument("--data", type=Path, help="folder that keeps objects, state and logs")
    parser.add_argument("--auth", action="store_true", help="enforce policies")
    parser.add_argument("--attached", action="store_true", help="end when standard input does")
    chosen = parser.parse_args()
    options = {"auth": chosen.auth, "attached": chosen.attached}
    if chosen.data:
        serve(chosen.data.absolute(), chosen.port, **options)
    else:
        with TemporaryDirectory(
            prefix="event-pipeline-twin-", ignore_cleanup_errors=True
        ) as folder:
            serve(Path(folder), chosen.port, **options)
    # Threads of ministack may still wait for somebody, and would be waited for.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
