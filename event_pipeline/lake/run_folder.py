"""The folder of one run's files of one partition: <table>/data/<partition>/<digest>-<version>-<id>.

What a partition was made of can thus be told from the paths of its files alone.
"""

import uuid
from dataclasses import dataclass

from event_pipeline.partitions import HOURLY, Cadence


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder: its partition (the key without colons), and what its rows were made of.

    `digest` is that of the input. `version` is that of the contract; empty in old folders.
    """

    partition: str
    digest: str
    version: str
    id: str

    @classmethod
    def of(cls, path: str) -> "RunFolder":
        """Reads the path of the folder."""
        *_, partition, name = path.split("/")
        digest, *version, run = name.split("-")
        return cls(partition, digest, "-".join(version), run)

    @classmethod
    def new(cls, key: str, digest: str, version: str, run: str = "") -> "RunFolder":
        """A folder for a partition's files, of the run with this id or of a new one."""
        return cls(key.replace(":", ""), digest, version, run or uuid.uuid4().hex[:8])

    @property
    def name(self) -> str:
        """The last part of the path, which no other run of the table has."""
        return "-".join(filter(None, (self.digest, self.version, self.id)))

    def key(self, cadence: Cadence) -> str:
        """The partition's key."""
        name = self.partition
        return f"{name[:-2]}:{name[-2:]}" if cadence is HOURLY else name

    def under(self, table: str) -> str:
        """The path, below that of the table's folder."""
        return f"{table}/data/{self.partition}/{self.name}"
