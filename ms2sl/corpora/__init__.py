"""Where clips come from: one module a source, one line each in the registry.

To add a corpus, write a class as ``Corpus`` describes it (``RecordCorpus`` does most of it for corpora of files), add its line here, and
put it through ``ms2sl.corpora.contract.check``.
"""

from typing import ClassVar, Protocol

from ms2sl.clip import Clip
from ms2sl.config import Config
from ms2sl.corpora.fingerspelling import Fingerspelling
from ms2sl.corpora.how2sign import How2Sign
from ms2sl.corpora.phoenix14t import Phoenix14T
from ms2sl.corpora.posefiles import PoseFiles
from ms2sl.corpora.slrtp import Slrtp
from ms2sl.skeleton import Skeleton


class Corpus(Protocol):
    """Clips by index, each split a range of them, so that any number of processes can share the work; it is pickled to them.

    Made from its ``Config``, whose fields are the options ``--<name>.…`` of ``jobs.prepare``, and the same in every process.
    skeleton: of all poses. fps: frames a second to which they are brought, unless the user says otherwise.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Config]]
    config: Config
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


CORPORA: dict[str, type[Corpus]] = {corpus.name: corpus for corpus in (Fingerspelling, How2Sign, Phoenix14T, Slrtp, PoseFiles)}
