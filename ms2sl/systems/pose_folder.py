"""What anybody else produced, as a folder of `.pose` files."""

from collections.abc import Sequence

from ms2sl.config import Config
from ms2sl.data.pose_format_io import from_bytes
from ms2sl.data.resampling import resample
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.inference.producer import WholeProducer
from ms2sl.io.file_names import nfc
from ms2sl.io.name_matching import by_name
from ms2sl.io.storage import AnyPath, StoragePath
from ms2sl.systems.registry import Context, System


class PoseFolder(WholeProducer):
    """``<id>.pose`` of each utterance, in the folder or in its folder ``poses``, whatever the size of the picture and the frame rate.

    Raises InputError if the folder holds no such files.
    """

    name = "folder"

    def __init__(self, where: AnyPath, skeleton: Skeleton, fps: float):
        folder = StoragePath(where)
        found = [path for place in (folder, folder / "poses") for path in place.children() if path.name.endswith(".pose")]
        self.files, twins = by_name((path.stem, path) for path in found)
        if twins:
            raise InputError(f"{folder} has several files of one name: {'; '.join(list(twins.values())[:10])}")
        if not self.files:
            raise InputError(f"{folder} holds no .pose files: name them by the ids of the clips")
        self.skeleton, self.fps = skeleton, fps

    def sign(self, utterances: Sequence[Utterance], options: Config, seed: int) -> list[Poses]:
        return [self._read(utterance) for utterance in utterances]

    def _read(self, utterance: Utterance) -> Poses:
        path = self.files.get(nfc(utterance.id))
        if path is None:
            raise InputError(f"{utterance.id}: there is no {utterance.id}.pose")
        try:
            return resample(self.skeleton.normalise(from_bytes(path.read_bytes(), self.skeleton).poses), self.fps)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def load(source: str, context: Context) -> PoseFolder:
    return PoseFolder(source, context.dataset.skeleton, context.dataset.card.fps)


SYSTEM = System("folder", "What another system produced, in files.", frozenset({"text", "speech"}), "poses", load)
