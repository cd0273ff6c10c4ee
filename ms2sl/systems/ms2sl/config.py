"""The shape of MS2SL."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ms2sl.config import TRAINING_ONLY, Config
from ms2sl.deprecated_names import FormerValues, before, formerly
from ms2sl.nn.diffusion import PredictionType, ScheduleName
from ms2sl.nn.transformer import check_heads


class ModelConfig(Config):
    """Shape of MS2SL."""

    width: int = Field(192, gt=0, multiple_of=8, description="width of all transformers")
    heads: int = Field(4, gt=0, description="attention heads")
    encoder_layers: int = Field(2, gt=0, description="layers of each of the text, speech and sign encoders")
    denoiser_layers: int = Field(4, gt=0, description="layers of the denoiser")
    patch: Literal[1, 2, 4] = Field(2, description="frames a token")
    embedding: int = Field(128, gt=0, description="size of the joint space")
    speech_rate: float = Field(12.5, gt=0, description="speech tokens a second")
    overlap: bool = Field(
        True, description="tokens see the frames around their patch, so that motion has no edges", json_schema_extra=before(False)
    )
    reordering_layers: int = Field(
        1, ge=0, description="layers that put what is said into the order of signing; 0 keeps that of speech", json_schema_extra=before(0)
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout in all transformers", json_schema_extra=TRAINING_ONLY)
    schedule: ScheduleName = Field(
        "linear", description="path from pose to noise: linear (flow), cosine (diffusion) or none (regression in one step)"
    )
    prediction_type: Annotated[PredictionType, FormerValues(clean="sample", velocity="v_prediction")] = Field(
        "sample",
        description="what the denoiser predicts: the clean pose, or the velocity along the path, from which it follows",
        json_schema_extra=formerly("objective"),
    )
    noise_length: int = Field(
        5, ge=1, le=25, description="frames over which noise is alike, as motion is; 1 is white noise", json_schema_extra=before(1)
    )
    sampling_shift: float = Field(
        3.0,
        gt=0,
        description="how much nearer to pure noise sampling steps lie; 1 lays them evenly",
        json_schema_extra=TRAINING_ONLY | before(1.0),
    )
    guidance_from: float = Field(
        0.6,
        ge=0,
        le=1,
        description="diffusion time from which on, towards pure noise, guidance acts; 0 is always",
        json_schema_extra=TRAINING_ONLY | before(0.0),
    )
    visibility: bool = Field(
        True,
        description="also learn which parts of the body are seen: a hand may be outside of the picture, or hidden",
        json_schema_extra=before(False),
    )
    language_condition: bool = Field(
        True,
        description="learn which sign language a clip is in, where there are several, so that it can be chosen",
        json_schema_extra=before(False),
    )
    signer_condition: bool = Field(
        True, description="learn who signs a clip, where there are several, so that it can be chosen", json_schema_extra=before(False)
    )
    all_negatives: bool = Field(
        False,
        description="tell what belongs to a clip from the clips of all workers, not of its own batch alone: what is learned then depends "
        "on how many workers there are at a time",
        json_schema_extra=TRAINING_ONLY,
    )
    cond_drop_prob: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of training clips without condition, for guidance",
        json_schema_extra=TRAINING_ONLY | formerly("null_condition"),
    )

    @model_validator(mode="after")
    def _divisible(self) -> "ModelConfig":
        check_heads(self.width, self.heads)
        return self

    @model_validator(mode="after")
    def _path(self) -> "ModelConfig":
        if self.schedule == "none" and self.prediction_type == "v_prediction":
            raise ValueError(
                "without a path (schedule none) there is no velocity: choose prediction_type sample, or schedule linear or cosine"
            )
        return self
