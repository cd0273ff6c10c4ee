"""What a source of clips must be able to do."""

from typing import ClassVar, Protocol

from ms2sl.config import Config as Options
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Clip


class Corpus(Protocol):
    """Clips by index, each split a range of them, so that any number of processes can share the work; it is pickled to them.

    Made from its ``Config``, whose fields are the options ``--<name>.…`` of ``jobs.prepare``, and the same in every process.
    skeleton: of all poses. fps: frames a second to which they are brought, unless the user says otherwise.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Options]]
    config: Options
    skeleton: Skeleton
    fps: float
    splits: dict[str, range]

    def id(self, index: int) -> str:
        """The name of a clip, unique in the corpus."""
        ...

    def digest(self) -> str:
        """Hash of what the corpus knows of its clips without reading their poses: what was prepared of another is not reused.

        A corpus that also has ``clip_digest(index)``, the same for one clip, has only the shards made anew in which a clip is another.
        """
        ...

    def clip(self, index: int) -> Clip:
        """With raw poses, in the coordinates of their picture. Raises InputError for a clip that cannot be used."""
        ...

    def card(self) -> dict:
        """What it is and under which terms, for ``dataset.json``."""
        ...
