"""All terms of the loss, those of packages from outside too (entry point ``ms2sl.losses``), and their weights as options of training."""

from pydantic import Field, create_model

from ms2sl.config import Config
from ms2sl.deprecated_names import formerly
from ms2sl.entry_points import load_all
from ms2sl.systems.ms2sl.losses import LOSSES

ALL_LOSSES = (*LOSSES, *load_all("ms2sl.losses"))
LossWeights = create_model(
    "LossWeights",
    __base__=Config,
    __module__=__name__,
    __doc__="Weight of each term in the loss; 0 switches it off.",
    **{
        loss.name: (float, Field(loss.weight, ge=0, description=loss.description, json_schema_extra=formerly(*loss.former)))
        for loss in ALL_LOSSES
    },
)
