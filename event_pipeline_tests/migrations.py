"""Dagster's migration scripts, read once in a process."""

from alembic.config import Config
from alembic.script import ScriptDirectory


def read_once() -> None:
    """Makes Alembic keep the scripts of a folder, once it has read them.

    Dagster compares each database that it opens with the newest of some ninety scripts, and makes
    one database for each run. Alembic imports all of them each time, which is a sixth of a sync.
    """
    read, kept = ScriptDirectory.from_config, dict[str | None, ScriptDirectory]()

    def from_config(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location not in kept:
            kept[location] = read(config)
        return kept[location]

    setattr(ScriptDirectory, "from_config", staticmethod(from_config))  # noqa: B010
