"""Files of a lake in a folder, as PyIceberg reaches them."""

from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.typedef import EMPTY_DICT, Properties

OLD, NEW = "event-pipeline.old-address", "event-pipeline.new-address"


class FolderIO(PyArrowFileIO):
    """Opens files by plain paths, whatever characters these contain.

    With the properties OLD and NEW, a path under the old address leads to the new one.
    """

    @staticmethod
    def parse_location(location: str, properties: Properties = EMPTY_DICT) -> tuple[str, str, str]:
        """Takes a location as a path, not as a URI: no character has a special meaning."""
        return "file", "", moved(location, properties.get(OLD, ""), properties.get(NEW, ""))


def moved(path: str, old: str, new: str) -> str:
    """A path under the old address, moved to the new one; any other path unchanged."""
    return new + path[len(old) :] if old and path.startswith(f"{old}/") else path
