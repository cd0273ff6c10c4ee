"""Frozen featurizers: text → token features, speech → frame features. The registry finds them by name."""

from ms2sl.errors import InputError
from ms2sl.features.base import Featurizer
from ms2sl.features.logmel import LogMel
from ms2sl.features.text_bytes import TextBytes

FEATURIZERS: dict[str, type[Featurizer]] = {
    "bytes": TextBytes,
    "log-mel": LogMel,
}


def featurizer(name: str, modality: str) -> Featurizer:
    """The featurizer called ``name``. Raises InputError if there is none for this modality."""
    found = FEATURIZERS.get(name)
    if found is None or found.modality != modality:
        known = [key for key, kind in FEATURIZERS.items() if kind.modality == modality]
        raise InputError(f"there is no {modality} featurizer '{name}'; there are: {', '.join(known)}")
    return found()
