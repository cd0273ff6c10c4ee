"""Training that begins with the weights of another model instead of random ones (fine-tuning)."""

import copy

from torch import nn

from ms2sl.config import TRAINING_ONLY, Config, flatten, marked
from ms2sl.data.dataset import DatasetCard
from ms2sl.data.normalization import PoseNormalizer
from ms2sl.errors import InputError
from ms2sl.features.base import Features
from ms2sl.io.storage import AnyPath, StoragePath
from ms2sl.training.checkpoint import ModelCard, check_skeleton, load_weights, model_config, read_card

MODALITIES = ("text", "speech")


def read_initial_card(folder: AnyPath, kind: str, model: Config, dataset: DatasetCard, section: str, stage: str | None = None) -> ModelCard:
    """The card of the model that a training of ``model`` on ``dataset`` begins with.

    section: where the options of ``model`` stand, for the message. stage: that is trained, of a system with several.
    Raises InputError if the folder holds a model of another kind, of other settings, or of another skeleton or other features.
    """
    card = read_card(folder, kind)
    before = dict(flatten(model_config(card, type(model), folder, stage).model_dump(mode="json")))
    now = dict(flatten(model.model_dump(mode="json")))
    other = [name for name in now if now[name] != before.get(name) and name not in marked(type(model), TRAINING_ONLY)]
    if other:
        said = ", ".join(f"{section}.{name} {before.get(name)} there, {now[name]} here" for name in other)
        flags = " ".join(f"--{section}.{name}".replace("_", "-") + f" {before.get(name)}" for name in other)
        raise InputError(f"--from {StoragePath(folder)} is a model of another shape ({said}): go on from it with {flags}")
    check_skeleton(card, dataset.skeleton, folder)
    for modality in MODALITIES:
        _check_features(getattr(card, modality), getattr(dataset, modality), folder)
    return card


def _check_features(before: Features, now: Features, folder: AnyPath) -> None:
    """Raises InputError unless both make the same of the same input; weights with the same digest may lie elsewhere."""
    place = {"weights", "revision"} if before.digest and before.digest == now.digest else set()
    one, other = (features.model_dump(exclude=place | {"precision"}) for features in (before, now))
    if one != other:
        said = ", ".join(f"{name} {one[name]} there, {other[name]} here" for name in one if one[name] != other[name])
        learned = f"--from {StoragePath(folder)} learned from other features of {now.modality} than the dataset has ({said})"
        raise InputError(f"{learned}: prepare the data with the same")


def continued(card: ModelCard, before: ModelCard) -> ModelCard:
    """The card of a training that begins with the model of ``before``: its vocabulary, glosses and choices, and what either of them met.

    How long, how fast and where it signs (``longest``, ``fps``, ``placement``) is as in the data that it learns from last.
    """
    return card.model_copy(
        update={
            "vocabulary": before.vocabulary,
            "glosses": before.glosses,
            "choices": before.choices or {},
            "characters": "".join(sorted({*before.characters, *card.characters})),
            "parts": tuple(dict.fromkeys((*before.parts, *card.parts))),
            "learned": tuple(modality for modality in MODALITIES if modality in {*before.learned, *card.learned}),
            "spoken_languages": tuple(dict.fromkeys((*before.spoken_languages, *card.spoken_languages))),  # known ones keep their places
            "signed_languages": tuple(dict.fromkeys((*before.signed_languages, *card.signed_languages))),
        }
    )


def load_initial(module: nn.Module, folder: AnyPath) -> None:
    """Gives a module, whose pose statistics are those of the data, the weights in ``folder``.

    The weights are of the space in which they were learned, so its statistics hold (``PoseNormalizer.adapt``).
    Raises InputError if the weights do not fit.
    """
    spaces = {name: copy.deepcopy(each) for name, each in module.named_modules() if isinstance(each, PoseNormalizer)}
    load_weights(module, folder, "a model of these data")
    for name, of_data in spaces.items():
        module.get_submodule(name).adapt(of_data)
