"""Films of people who sign, with a table of what is known of them, as ``posefiles`` has it, or with none.

The table's column ``film`` names files below the source. Keypoints are found by MediaPipe Holistic in an environment of its own
(``ms2sl.video``) and kept as ``.pose`` files, under the hash of the film and of how it was looked at; so a film is looked at once.
"""

import hashlib
from dataclasses import replace
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from ms2sl.audio.decoding import SUFFIXES as SOUNDS
from ms2sl.config import CHANGEABLE
from ms2sl.corpora.posefiles import LabelledFiles, LabelledFilesConfig
from ms2sl.corpora.records import Record
from ms2sl.data.person_tracking import follow, remarks
from ms2sl.data.pose_format_io import from_bytes
from ms2sl.data.types import Poses, RawPoses
from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath
from ms2sl.io.uri import PathOrUri
from ms2sl.video.decoding import SUFFIXES
from ms2sl.video.keypoints import Detector, Ended
from ms2sl.video.mediapipe_environment import VERSION, environment, python_of

PIECE = 2**20  # bytes


class FilmsConfig(LabelledFilesConfig):
    """Which films, and how keypoints are found in them."""

    written: ClassVar = ("keypoints",)

    keypoints: PathOrUri = Field(
        "data/keypoints", description="folder where keypoints of films are kept, local or a URI", json_schema_extra=CHANGEABLE
    )
    most_fps: float = Field(30.0, gt=0, description="pictures a second that are looked at; of films that have more, some are left out")
    sound: bool = Field(False, description="the sound of a film (mp4, mov, webm, mkv) is its speech, where no recording is named")
    python: str = Field(
        "",
        description=f"python of an environment with mediapipe {VERSION}; by default one is made in ~/.cache/ms2sl",
        json_schema_extra=CHANGEABLE,
    )


class Films(LabelledFiles):
    """Clips are films."""

    name, Config = "films", FilmsConfig
    kind, suffixes = "film", SUFFIXES
    sounds = tuple(suffix for suffix in SOUNDS if suffix not in SUFFIXES)

    def __init__(self, config: FilmsConfig):
        super().__init__(config)
        self.keypoints = StoragePath(config.keypoints)  # whose path is absolute here, and the same in every process

    def records(self) -> list[Record]:
        found = super().records()
        if self.config.sound:
            return [replace(record, speech=record.speech or record.poses) for record in found]
        return found

    def detect(self, index: int) -> int:
        """Finds the keypoints of a clip's film, unless they are kept already; returns how many pictures were looked at.

        Raises InputError where the film cannot be read.
        """
        record = self.index[index]
        if record.problem or record.poses is None:
            return 0
        where = self._kept(record.poses)
        if where.exists():
            return 0
        return self._look(record.poses, where)

    @property
    def must_install(self) -> bool:
        """Whether the environment of the detector is still to be made on this machine, if it is needed."""
        return not self.config.python and not environment().exists()

    def read(self, record: Record) -> RawPoses:
        where = self._kept(record.poses)
        if not where.exists():
            self._look(record.poses, where)
        raw = from_bytes(where.read_bytes(), self.skeleton)
        poses, (left, right) = raw.poses, map(self.skeleton.index, self.skeleton.shoulders)
        # MediaPipe looks at one person, but not always at the same.
        person = follow(poses.joints[:, None], poses.confidence[:, None], self.skeleton.part("body"), (left, right))
        there = (person >= 0)[:, None]
        signer = Poses(poses.joints * there[..., None], poses.confidence * there, poses.fps)
        return replace(raw, poses=signer, remarks=(*raw.remarks, *remarks(person, poses.confidence[:, None])))

    def _look(self, film: StoragePath, where: StoragePath) -> int:
        """Keeps the keypoints of a film; returns how many pictures were looked at."""
        try:
            found = self._detector().detect(film, self.config.most_fps)
        except Ended:  # for once, it may be for want of memory
            found = self._detector().detect(film, self.config.most_fps)
        where.write(found.pose)
        return found.frames

    def _kept(self, film: StoragePath) -> StoragePath:
        digest = hashlib.blake2b(f"{VERSION} {self.config.most_fps:g}".encode(), digest_size=16)
        try:
            with film.open() as opened:
                while piece := opened.read(PIECE):
                    digest.update(piece)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"it cannot be read: {str(error).splitlines()[0]}") from None
        return self.keypoints / f"{digest.hexdigest()}.pose"

    def _detector(self) -> Detector:
        detector = self.__dict__.get("_looking")
        if detector is None or not detector.runs:
            detector = self.__dict__["_looking"] = Detector(python_of(self.config.python))
        return detector

    def card(self) -> dict:
        return super().card() | {"keypoints": f"MediaPipe Holistic {VERSION}"}

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_looking"}
