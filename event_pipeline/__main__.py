"""Entry point of `event-pipeline`, and of `python -m event_pipeline`."""

import sys

from event_pipeline.errors import ContractError
from event_pipeline.interrupts import quit_from_now_on, quitting


def main() -> None:
    """Runs the command line. Its import takes a second, in which Ctrl-C shows no traceback."""
    with quitting():
        try:
            from event_pipeline.cli import app
            from event_pipeline.terminal import encode_anything
        except ContractError as error:
            print(f"event-pipeline: {error}", file=sys.stderr)
            sys.exit(2)
    encode_anything()
    try:
        app()
    finally:
        quit_from_now_on()


if __name__ == "__main__":
    main()
