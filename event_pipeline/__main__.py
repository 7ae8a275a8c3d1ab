"""Entry point of `event-pipeline`, and of `python -m event_pipeline`."""

from event_pipeline.interrupts import quit_from_now_on, quitting


def main() -> None:
    """Runs the command line. Its import takes a second, in which Ctrl-C shows no traceback."""
    with quitting():
        from event_pipeline.cli import app
        from event_pipeline.terminal import encode_anything
    encode_anything()
    try:
        app()
    finally:
        quit_from_now_on()


if __name__ == "__main__":
    main()
