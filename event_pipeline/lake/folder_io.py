"""Files of a lake in a folder, as PyIceberg reaches them."""

from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.typedef import EMPTY_DICT, Properties

OLD, NEW = "event-pipeline.old-address", "event-pipeline.new-address"


class FolderIO(PyArrowFileIO):
    """Files by their paths, whatever characters these have, and from an old address at the new."""

    @staticmethod
    def parse_location(location: str, properties: Properties = EMPTY_DICT) -> tuple[str, str, str]:
        """A path is no URI: none of its characters means anything."""
        return "file", "", moved(location, properties.get(OLD, ""), properties.get(NEW, ""))


def moved(path: str, old: str, new: str) -> str:
    """A path under the old address as one under the new; any other as it is."""
    return new + path[len(old) :] if old and path.startswith(f"{old}/") else path
