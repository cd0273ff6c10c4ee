"""The unit of data: a clip is one utterance, in any of its modalities."""

from dataclasses import dataclass, replace

import numpy as np

from ms2sl.audio.speech import Speech
from ms2sl.errors import InputError

MODALITIES = ("text", "speech")  # of what is to be signed
PARTS = ("text", "speech", "poses")


@dataclass(frozen=True, slots=True, eq=False)
class Poses:
    """Keypoints of one signer over time.

    joints: float32 ``(frames, joints, dims)``. A joint that was not seen has confidence 0 and
    an undefined position: it is a mask, never a zero.
    confidence: float32 ``(frames, joints)`` in [0, 1].
    fps: frames per second.
    """

    joints: np.ndarray
    confidence: np.ndarray
    fps: float

    @property
    def n_frames(self) -> int:
        return len(self.joints)

    @property
    def seconds(self) -> float:
        return self.n_frames / self.fps


@dataclass(frozen=True, slots=True)
class Placement:
    """Where poses stand in the picture that they come from: position there = origin + unit × joints.

    origin: of the picture's own coordinates, one for each dimension; unit: how many of them one of the poses' is.
    width, height: of the picture; 0 where it is not known.
    """

    origin: tuple[float, ...]
    unit: float
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class RawPoses:
    """Poses as a file has them, in the coordinates of the picture; its size, 0 where it is not known; what was odd about them."""

    poses: Poses
    width: int = 0
    height: int = 0
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """What a producer is given. It has no poses, gloss or timing, so that none can leak.

    seconds: the length that the user asks for; None leaves it to the producer.
    signed_language: ISO 639-3 code of the language to sign in: it is asked for, as the text is, and tells nothing of how a clip is signed.
    None and ``und`` leave it to the producer.
    signer: name of a person of the training data to sign like; None leaves it to the producer.
    """

    id: str
    text: str | None = None
    speech: Speech | None = None
    seconds: float | None = None
    signed_language: str | None = None
    signer: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One utterance of a corpus; any of text, gloss, speech and poses may be absent.

    spoken_language is a BCP 47 tag, signed_language an ISO 639-3 code.
    gloss: names of its signs between spaces; gloss_times: float32 ``(signs, 2)``, seconds at which each of them begins and ends.
    signer: a name, the same for all clips of a person in this corpus.
    speech_source: ``recorded`` or ``synthesised``; None without speech.
    source_fps: at which its poses were recorded, where they were resampled.
    placement: of its poses in the picture; importers, whose poses are in the picture's own coordinates, say its size by it.
    remarks: what was mended in it, for people.
    """

    id: str
    split: str
    spoken_language: str
    signed_language: str
    text: str | None = None
    gloss: str | None = None
    gloss_times: np.ndarray | None = None
    signer: str | None = None
    speech: Speech | None = None
    speech_source: str | None = None
    poses: Poses | None = None
    source_fps: float | None = None
    placement: Placement | None = None
    remarks: tuple[str, ...] = ()

    def utterance(self, modality: str) -> Utterance:
        """Its ``text`` or its ``speech`` alone, ``both`` of them, or with "" neither, and its signed language, as a producer may see it.

        Its signer would tell how it is signed.
        """
        heard = {"": (), "both": ("text", "speech")}.get(modality, (modality,))
        return Utterance(self.id, signed_language=self.signed_language, **{name: getattr(self, name) for name in heard})

    def without(self, part: str, reason: object) -> "Clip":
        """Without its ``text``, ``speech`` or ``poses``, which cannot be used, and with a remark that says why.

        Raises InputError with the reasons if no other part is left.
        """
        belongs = {"speech": ("speech_source",), "poses": ("source_fps", "placement")}.get(part, ())
        left = replace(self, **dict.fromkeys((part, *belongs)), remarks=(*self.remarks, left_out(part) + str(reason)))
        if left.text is None and left.speech is None and left.poses is None:
            before = [remark for remark in self.remarks if any(remark.startswith(left_out(each)) for each in PARTS)]
            raise InputError("; ".join([*before, str(reason)]))
        return left


def left_out(part: str) -> str:
    """How the remark on a part that cannot be used begins."""
    return f"{part} left out: "
