"""Signs from a dictionary, one after the other: the rule-based producer of ``spoken-to-signed`` (Moryossef et al. 2023).

Word for word, without a gloss translator: what its dictionary lacks is fingerspelled.
"""

import contextlib
import io
import struct
from collections.abc import Sequence
from pathlib import Path

from pose_format import Pose

from ms2sl.config import Config
from ms2sl.corpora.letters import COLUMNS, FINGERSPELLING, only_seen_wrists
from ms2sl.data.pose_format_io import from_bytes
from ms2sl.data.resampling import resample
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.extras import extra
from ms2sl.inference.producer import WholeProducer
from ms2sl.io.file_names import check_inside
from ms2sl.io.storage import StoragePath
from ms2sl.io.tables import read_table
from ms2sl.metrics.text import words
from ms2sl.systems.baselines import fit_length
from ms2sl.text_normalization import plain

with extra("corpora"):
    from spoken_to_signed.gloss_to_pose.concatenate import ConcatenationSettings, concatenate_poses
    from spoken_to_signed.gloss_to_pose.lookup import CoverageType, CSVPoseLookup, PoseLookup
    from spoken_to_signed.gloss_to_pose.lookup.fingerspelling_lookup import FingerspellingPoseLookup

BROKEN = (OSError, struct.error, ValueError, IndexError, KeyError, EOFError, NotImplementedError)  # of recordings
ConcatenationSettings.is_reduce_holistic = False  # the skeleton decides which joints there are


class Dictionary(WholeProducer):
    """Raises InputError if the dictionary, a folder with ``index.csv`` and `.pose` files, is none."""

    name = "dictionary"

    def __init__(self, source: str, skeleton: Skeleton, fps: float, spoken_language: str, signed_language: str):
        self.skeleton, self.fps = skeleton, fps
        self.languages = spoken_language.split("-")[0], signed_language
        self.lookup = _open(source)

    def sign(self, utterances: Sequence[Utterance], options: Config, seed: int) -> list[Poses]:
        return [fit_length(self._sign(utterance), utterance) for utterance in utterances]

    def _sign(self, utterance: Utterance) -> Poses:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints each of its steps
                return self._stitch(utterance)
        except InputError:
            raise
        except BROKEN as error:
            raise InputError(f"{utterance.id}: a recording of the dictionary cannot be read: {error!r}") from None

    def _stitch(self, utterance: Utterance) -> Poses:
        found = [sign for sign in map(self._look_up, words(plain(utterance.text or ""))) if sign is not None]
        if not found:
            raise InputError(f"{utterance.id}: the dictionary has no sign for any word of '{utterance.text or ''}'")
        # No sign is to last longer than 0.8 s; a word that is spelled would not be legible then.
        limit = {"max_sign_seconds": None} if any(sign.coverage == CoverageType.FINGERSPELLING_BACKUP for sign in found) else {}
        stitched = concatenate_poses([sign.pose for sign in found], signing_spans=[sign.signing_span for sign in found], **limit)
        return resample(self.skeleton.normalise(only_seen_wrists(self._read(stitched), self.skeleton)), self.fps)

    def _look_up(self, word: str):
        try:
            return self.lookup.lookup(word, word, *self.languages)
        except FileNotFoundError as error:
            if error.filename:  # it is in the index, but its recording is not there
                raise
            return None

    def _read(self, pose: Pose) -> Poses:
        buffer = io.BytesIO()
        pose.write(buffer)
        return from_bytes(buffer.getvalue(), self.skeleton).poses


class _Folder(CSVPoseLookup):
    """Its index may name recordings below the folder, or in the store ``gs://`` that the package knows, and no others."""

    def read_pose(self, pose_path: str) -> Pose:
        return super().read_pose(pose_path if pose_path.startswith("gs://") else check_inside(pose_path, self.directory))


def _open(source: str) -> PoseLookup:
    letters = FingerspellingPoseLookup()
    if source == FINGERSPELLING:
        return letters
    index = StoragePath(source) / "index.csv"
    try:
        if index.exists():  # the package would read on over a quote that is not closed, and cut a row at a comma too many
            for _ in read_table(index, COLUMNS):
                pass
        return _Folder(str(Path(source)), backup=letters)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        reason = error if isinstance(error, InputError) else repr(error)
        raise InputError(f"{source} is no dictionary of spoken-to-signed, a folder with index.csv and .pose files ({reason})") from None
