"""Batches in which speech is heard in noise and in rooms, another time otherwise: made from recordings while training, not before."""

import zlib
from functools import partial

import numpy as np
import pyarrow as pa
from pydantic import Field

from ms2sl.audio.acoustics import augment
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
        description="share of training clips, drawn in each epoch, heard in noise (5 to 40 dB), in a room and at other levels",
        json_schema_extra=TRAINING_ONLY,
    )


def noisy_speech(share: float) -> FieldSpec:
    """The field ``speech``; of a share of the clips, the features are those of their recording as ``augment`` changes it, made on the CPU.

    Which, and how, follows from the clips of the batch and the column ``epoch``: the same in a training that goes on.
    """
    if not share:
        return SPEECH

    def make(table: pa.Table, collate: Collate) -> BatchField:
        features = arrays(table, "speech_features", "n_speech", collate.speech.dtype, collate.speech.shape)
        recordings = table["speech"]
        recorded = [i for i, row in enumerate(features) if row is not None and recordings[i].is_valid]
        rng, heard = np.random.default_rng(_seed(table)), {}
        for i, other in zip(recorded, [*recorded[1:], *recorded[:1]], strict=True):
            if rng.random() < share:
                heard[i] = augment(_decode(recordings[i]), partial(_decode, recordings[other]), rng)
        if heard:
            for i, changed in zip(heard, same_featurizer(collate.speech)([*heard.values()]), strict=True):
                features[i] = changed
        return collate.feature_field("speech", features)

    return FieldSpec("speech", ("id", "speech", *SPEECH.columns), make)


def _decode(recording: pa.Scalar) -> Speech:
    return Speech.decode(recording.as_py())


def _seed(table: pa.Table) -> tuple[int, int]:
    epoch = table["epoch"][0].as_py() if "epoch" in table.column_names else 0
    return zlib.crc32("\n".join(table["id"].to_pylist()).encode()), epoch
