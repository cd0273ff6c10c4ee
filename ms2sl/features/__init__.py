"""Frozen featurizers: text → token features, speech → frame features. The registry finds them by name."""

from functools import lru_cache
from importlib import import_module

from ms2sl.errors import InputError
from ms2sl.features.base import Features, Featurizer, FeaturizerConfig

# Modules are loaded when they are first used: transformers takes seconds.
FEATURIZERS: dict[str, dict[str, str]] = {
    "text": {"bytes": "ms2sl.features.text_bytes:TextBytes", "clip": "ms2sl.features.clip:ClipText"},
    "speech": {"log-mel": "ms2sl.features.logmel:LogMel", "hubert": "ms2sl.features.hubert:Hubert"},
}


def featurizer(config: FeaturizerConfig, modality: str, device: str = "cpu") -> Featurizer:
    """The featurizer of a modality. Raises InputError if there is none of that name or its weights cannot be had."""
    known = FEATURIZERS[modality]
    if config.featurizer not in known:
        raise InputError(f"there is no {modality} featurizer '{config.featurizer}'; there are: {', '.join(known)}")
    module, name = known[config.featurizer].split(":")
    return getattr(import_module(module), name)(config, device)


@lru_cache(maxsize=8)
def same_featurizer(features: Features, device: str = "cpu") -> Featurizer:
    """The featurizer by which a dataset was made; all who ask in this process share it.

    Raises InputError if its weights are others today, or cannot be had.
    """
    config = FeaturizerConfig(**features.model_dump(include=set(FeaturizerConfig.model_fields)))
    found = featurizer(config, features.modality, device)
    if found.features != features:
        raise InputError(
            f"the weights of {features.weights} are not those that the data were made with ({found.features.digest}, not "
            f"{features.digest}): get the same revision, or prepare the data and train again"
        )
    return found
