"""Batches in which speech is heard in noise and in rooms, another time otherwise: made from recordings while training, not before."""

import zlib

import numpy as np
import pyarrow as pa
from pydantic import Field

from ms2sl.audio.augmentation import elsewhere
from ms2sl.audio.speech import Speech
from ms2sl.config import TRAINING_ONLY, Config
from ms2sl.data.collate import SPEECH, BatchField, Collate, FieldSpec, arrays
from ms2sl.features import same_featurizer


class SpeechAugmentConfig(Config):
    """How often training speech is changed."""

    noise: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of training clips, each time it is met, that are heard in noise (5 to 40 dB), in a room and at other levels",
        json_schema_extra=TRAINING_ONLY,
    )


def noisy_speech(share: float) -> FieldSpec:
    """The field ``speech`` with the features of ``elsewhere`` of its recording in a share of the clips, where they have one and features.

    Which, and how, follows from what is in the batch: the same in a training that goes on, another in each epoch.
    """
    if not share:
        return SPEECH

    def make(table: pa.Table, collate: Collate) -> BatchField:
        features = arrays(table, "speech_features", "n_speech", collate.speech.dtype, collate.speech.shape)
        ids, recordings = table["id"].to_pylist(), table["speech"]
        rng = np.random.default_rng(zlib.crc32("\n".join(ids).encode()))
        recorded = [i for i, row in enumerate(features) if row is not None and recordings[i].is_valid]
        for i, other in zip(recorded, [*recorded[1:], *recorded[:1]], strict=True):
            if rng.random() < share:
                speech, noise = (Speech.decode(recordings[j].as_py(), f"speech of {ids[j]}") for j in (i, other))
                features[i] = same_featurizer(collate.speech)([elsewhere(speech, noise, rng)])[0]
        return collate.feature_field("speech", features)

    return FieldSpec("speech", ("id", "speech", *SPEECH.columns), make)
