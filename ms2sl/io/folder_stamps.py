"""Whether files are still the same, where many are asked about."""

from ms2sl.io.storage import StoragePath


class FolderStamps:
    """Stamps of files, of which those of a folder are asked for together: a request a folder and not one a file. A copy in another process
    begins with none."""

    def __init__(self) -> None:
        self._folders: dict[StoragePath, dict[str, str]] = {}

    def __reduce__(self):
        return FolderStamps, ()

    def of(self, where: StoragePath) -> str:
        """As ``StoragePath.stamp``."""
        folder = where.parent
        if folder not in self._folders:
            self._folders[folder] = folder.stamps()
        return self._folders[folder].get(where.name) or where.stamp()
