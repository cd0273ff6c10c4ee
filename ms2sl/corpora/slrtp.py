"""SLRTP challenge data (Walsh et al. 2025): PHOENIX14T as MediaPipe poses, one ``.pt`` file a split: name → text, gloss, poses_3d, speaker.

Files are read with ``weights_only``: a file that would run code is refused. Produced poses can be written in the same format, to be
judged by the challenge's own code.
"""

from collections.abc import Iterable

import numpy as np
from pydantic import Field

from ms2sl.config import Config
from ms2sl.corpora.records import Record, RecordCorpus, source
from ms2sl.data.detections import seen_without_zeros
from ms2sl.data.skeleton_registry import HOLISTIC_178X3
from ms2sl.data.types import Clip, Placement, Poses, RawPoses
from ms2sl.errors import InputError
from ms2sl.io.storage import AnyPath, StoragePath
from ms2sl.io.uri import PathOrUri

SPLITS = ("train", "dev", "test")
BODY = "RIGHT_SHOULDER RIGHT_ELBOW RIGHT_WRIST LEFT_SHOULDER LEFT_ELBOW LEFT_WRIST RIGHT_HIP LEFT_HIP".split()  # noqa: SIM905
PARTS = ("right_hand", "left_hand", "face")  # after the body


def joint_order() -> np.ndarray:
    """For each joint of the challenge its place in ``holistic-178x3`` ``(178,)``."""
    body = [HOLISTIC_178X3.index(f"body/{joint}") for joint in BODY]
    return np.array(body + [i for part in PARTS for i in range(*HOLISTIC_178X3.part(part).indices(HOLISTIC_178X3.n_joints))])


class SlrtpConfig(Config):
    """Where the challenge's files lie. In the pattern, {split} stands for train, dev and test."""

    source: PathOrUri = Field("", description="folder of the corpus, local or a URI")
    files: str = Field("{split}.pt", description="files of the splits")
    fps: float = Field(25.0, gt=0, description="frames a second of the poses")


class Slrtp(RecordCorpus):
    """Poses stay on disk (memory-mapped) until they are asked for."""

    name, Config = "slrtp", SlrtpConfig
    skeleton = HOLISTIC_178X3
    spoken_language, signed_language = "de", "gsg"

    def records(self) -> list[Record]:
        folder, records = source(self.config, self.name), []
        for split in SPLITS:
            if self._file(split).exists():
                records += [_record(name, split, entry) for name, entry in self._entries(split).items()]
        if not records:
            raise InputError(f"{folder} has no {self.config.files.format(split='train')}: see --slrtp.files")
        return records

    def stamp(self, record: Record) -> str:
        return self.stamps.of(self._file(record.split))

    def read(self, record: Record) -> RawPoses:
        import torch

        entry = self._entries(record.split)[record.poses]
        if not isinstance(entry, dict) or "poses_3d" not in entry:
            raise InputError("it has no poses_3d")
        poses = entry["poses_3d"]
        if not isinstance(poses, torch.Tensor) or poses.shape[1:] != (HOLISTIC_178X3.n_joints, 3):
            raise InputError(f"its poses_3d is {getattr(poses, 'shape', type(poses).__name__)}, not (frames, 178, 3)")
        joints = np.empty(poses.shape, np.float32)
        joints[:, joint_order()] = poses.float().numpy()
        parts = [HOLISTIC_178X3.part(part.name) for part in HOLISTIC_178X3.parts]
        confidence = seen_without_zeros(joints, np.all(np.isfinite(joints), axis=2).astype(np.float32), parts)
        return RawPoses(Poses(joints, confidence, self.config.fps))

    def _entries(self, split: str) -> dict[str, dict]:
        opened = self.__dict__.setdefault("_opened", {})
        if split not in opened:
            opened[split] = load(self._file(split))
        return opened[split]

    def _file(self, split: str) -> StoragePath:
        return source(self.config, self.name).resolve(self.config.files.format(split=split))

    def __getstate__(self) -> dict:
        return {key: value for key, value in self.__dict__.items() if key != "_opened"}


def _record(name: str, split: str, entry: dict) -> Record:
    known = entry if isinstance(entry, dict) else {}
    text, gloss, signer = (str(known[key]) if known.get(key) else None for key in ("text", "gloss", "speaker"))
    return Record(str(name), split, text, gloss, poses=name, signer=signer)


def load(where: StoragePath) -> dict[str, dict]:
    """The content of a ``.pt`` file, its tensors memory-mapped. Raises InputError if it is none, or would run code."""
    import torch  # takes long to load

    try:
        with where.reading() as here:  # a copy stays mapped when its name is gone
            content = torch.load(here, map_location="cpu", weights_only=True, mmap=True)
    except torch.serialization.pickle.UnpicklingError:  # what torch raises for what is not weights only
        raise InputError(f"{where} is refused: it holds Python objects that would run code, and not tensors and texts alone") from None
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise InputError(f"{where} is damaged or no file of torch: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict):
        raise InputError(f"{where} holds a {type(content).__name__}, not clips by name")
    return content


def export(where: AnyPath, clips: Iterable[Clip], placement: Placement) -> int:
    """Writes clips whose poses are of ``holistic-178x3`` as the challenge reads them, in the coordinates of its own clips, since it
    neither centres nor scales; returns how many."""
    import torch

    entries, origin = {}, np.array(placement.origin, np.float32)
    for clip in clips:
        poses = torch.from_numpy((clip.poses.joints[:, joint_order()] * placement.unit + origin).astype(np.float32))
        known = {"name": clip.id, "text": clip.text or "", "gloss": clip.gloss or ""}
        entries[clip.id] = known | {"poses_3d": poses, "speaker": clip.signer or ""}
    with StoragePath(where).writing() as temporary:
        torch.save(entries, temporary)
    return len(entries)
