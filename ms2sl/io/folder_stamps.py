"""Whether files are still the same, where many are asked about."""

from ms2sl.io.storage import StoragePath


class FolderStamps:
    """Stamps of files, of which those of a folder are asked for together: for files that come folder by folder, a request a folder and not
    one a file. A copy in another process begins with none."""

    def __init__(self) -> None:
        self._folder: StoragePath | None = None
        self._stamps: dict[str, str] = {}

    def __reduce__(self):
        return FolderStamps, ()

    def of(self, where: StoragePath) -> str:
        """As ``StoragePath.stamp``."""
        if where.parent != self._folder:
            self._folder, self._stamps = where.parent, where.parent.stamps()
        return self._stamps.get(where.name) or where.stamp()
