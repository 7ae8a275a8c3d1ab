"""`make twin`: the twin with the data plane deployed, until it is interrupted."""

import signal
from datetime import UTC, datetime
from pathlib import Path

from event_pipeline.ingest.generator import SLOT
from event_pipeline.ingest.handler import last_whole_slot
from event_pipeline.settings import read_settings
from event_pipeline.terminal import stdout
from event_pipeline_tests.twin.graph import deployed
from event_pipeline_tests.twin.server import Twin

ENV_FILE = Path(".env.twin")
NEXT = """
The twin is at {endpoint}; what is in it stays in {folder}.
Its schedule feeds Bronze every five minutes, first at {first:%H:%M} UTC.
In another shell, everything below works on it as on AWS:

  set -a; . ./{env_file}; set +a
  make dev
      the UI, in which the sensors do the rest
  event-pipeline sync
      the same at once, without the UI (after: source .venv/bin/activate)
  event-pipeline query hourly_revenue
      by Athena, here DuckDB

Ctrl-C ends it."""


def main() -> None:
    """Serves; all that it keeps is in the home's folder `twin`, and begins again with it."""
    folder = read_settings().home.absolute() / "twin"
    with Twin(folder) as twin:
        deployed(twin, ENV_FILE, EventsPerSlot="2000")
        with ENV_FILE.open("a") as file:
            file.write(f"EVENT_PIPELINE_HOME={folder / 'home'}\n")
        text = NEXT.format(
            endpoint=twin.endpoint,
            folder=folder,
            first=last_whole_slot(datetime.now(UTC)) + 2 * SLOT,
            env_file=ENV_FILE,
        )
        stdout().print(text, highlight=False, soft_wrap=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            stdout().print("ended")


if __name__ == "__main__":
    main()
