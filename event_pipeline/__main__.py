"""Entry point of `event-pipeline`, and of `python -m event_pipeline`."""

import gc
import sys

from event_pipeline.interrupts import quit_from_now_on, quitting

# After how many new objects Python looks for garbage. A short command, with imports, makes fewer.
COLLECT_AFTER = (1_000_000, 2, 2)


def main() -> None:
    """Runs the command line. While it is imported, Ctrl-C shows no traceback."""
    # Looking for garbage among all imports, again and again, takes a third of a short command.
    gc.set_threshold(*COLLECT_AFTER)
    with quitting():
        from event_pipeline.cli import app
        from event_pipeline.terminal import encode_anything
    encode_anything()
    try:
        app()
    finally:
        quit_from_now_on()
        # Python would look for garbage once more as it ends, for nothing. Only DuckDB needs that:
        # it complains about each of its objects that is left.
        if "duckdb" not in sys.modules:
            gc.freeze()


if __name__ == "__main__":
    main()
