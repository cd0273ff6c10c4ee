"""Batches in which speech is heard in noise and in rooms, faster and slower, another time otherwise: made while training, not before."""

import zlib
from functools import partial

import numpy as np
import pyarrow as pa
from pydantic import Field

from ms2sl.audio.acoustics import at_speed, augment
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
    speed: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="training speech is heard up to this much faster or slower, as a share of its speed, each clip another time otherwise; "
        "its pitch changes with it, as if somebody else spoke",
        json_schema_extra=TRAINING_ONLY,
    )


def augmented_speech(config: SpeechAugmentConfig) -> FieldSpec:
    """The field ``speech``; the features of the clips that are changed are those of their recording as it is then, made on the CPU.

    Which, and how, follows from the clips of the batch and the column ``epoch``: the same in a training that goes on.
    """
    if not (config.noise or config.speed):
        return SPEECH

    def make(table: pa.Table, collate: Collate) -> BatchField:
        features = arrays(table, "speech_features", "n_speech", collate.speech.dtype, collate.speech.shape)
        recordings = table["speech"]
        recorded = [i for i, row in enumerate(features) if row is not None and recordings[i].is_valid]
        rng, heard = np.random.default_rng(_seed(table)), {}
        for i, other in zip(recorded, [*recorded[1:], *recorded[:1]], strict=True):
            noisy, factor = rng.random() < config.noise, 1 + rng.uniform(-config.speed, config.speed) if config.speed else 1.0
            if not noisy and factor == 1:
                continue
            speech = at_speed(_decode(recordings[i]), factor)
            heard[i] = augment(speech, partial(_decode, recordings[other]), rng) if noisy else speech
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
