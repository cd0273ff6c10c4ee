"""How a trained model is sampled."""

from pydantic import Field

from ms2sl.config import Config
from ms2sl.nn.diffusion import SamplerName


class Sampling(Config):
    """Choices of each call, not of the model."""

    steps: int = Field(8, gt=0, le=1000, description="sampling steps; more are finer and slower", json_schema_extra={"service_limit": 50})
    guidance: float = Field(
        1.0, ge=0, description="how strongly to follow what is said; 1 is plain", json_schema_extra={"service_limit": 10}
    )
    sampler: SamplerName = Field("ddim", description="ddim (first order) or dpm++ (second order)")
