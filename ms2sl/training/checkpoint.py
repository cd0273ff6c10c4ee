"""A checkpoint is a folder: ``config.json`` + ``model.safetensors``, and beside them the state from which training resumes.

Nothing in it is unpickled. ``model.safetensors`` holds the averaged (EMA) weights, which are the ones to use.
"""

import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from torch import nn

from ms2sl import __version__
from ms2sl.config import Config, explain
from ms2sl.data.dataset import DatasetCard
from ms2sl.data.normalization import SELDOM
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Placement
from ms2sl.deprecated_names import rename_deprecated, values_before
from ms2sl.errors import InputError
from ms2sl.features.base import Features
from ms2sl.io.storage import AnyPath, StoragePath, scratch_folder

ConfigType = TypeVar("ConfigType", bound=Config)
CONFIG, WEIGHTS = "config.json", "model.safetensors"


class ModelCard(Config):
    """``config.json``: all that is needed to use the weights, and where they came from.

    kind: which model; model: its configuration; recipe: how it was trained.
    characters: those of the training texts. fps: frames a second of what it makes. longest: frames of the longest training clip.
    placement: where training clips stand in their pictures, the median. learned: modalities that it met in training; parts: of the body
    that it saw there, by name, () where that is not known. vocabulary: of a back-translator, as its tokenizer is written. glosses: that a
    recogniser of glosses writes, or in the order of which a model puts what is said. choices: values of what may be chosen beside what is
    said, by name; None is not yet decided. description: of the corpus, in a sentence.
    """

    kind: str
    model: dict
    skeleton: Skeleton
    text: Features
    speech: Features
    characters: str
    fps: float
    longest: int
    placement: Placement | None = None
    learned: tuple[str, ...] = ("text", "speech")
    parts: tuple[str, ...] = ()
    spoken_languages: tuple[str, ...] = ()
    signed_languages: tuple[str, ...] = ()
    description: str = ""
    vocabulary: str | None = None
    glosses: tuple[str, ...] = ()
    choices: dict[str, tuple[str, ...]] | None = None
    recipe: dict = Field(default_factory=dict)
    commit: str | None = None
    version: str = __version__

    @classmethod
    def of(cls, kind: str, model: Config, dataset: DatasetCard, **extra) -> "ModelCard":
        """The card of a model that is trained on ``dataset``."""
        train, hidden = dataset.splits["train"], extra.get("recipe", {}).get("mask", {})
        there = {"text": train.with_text, "speech": train.with_speech}
        return cls(
            kind=kind,
            model=model.model_dump(mode="json"),
            skeleton=dataset.skeleton,
            text=dataset.text,
            speech=dataset.speech,
            characters=dataset.characters,
            fps=dataset.fps,
            longest=train.longest,
            placement=dataset.placement,
            spoken_languages=dataset.spoken_languages,
            signed_languages=dataset.signed_languages,
            description=dataset.corpus.get("description", ""),
            parts=tuple(
                part.name for part in dataset.skeleton.parts if max(dataset.statistics.seen[dataset.skeleton.part(part.name)]) > SELDOM
            ),
            learned=tuple(modality for modality, clips in there.items() if clips and hidden.get(modality, 0) < 1),
            **extra,
        )


def save(folder: Path, card: ModelCard, weights: dict[str, torch.Tensor]) -> None:
    """Writes the two files into ``folder``, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous().cpu() for name, tensor in weights.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(card.model_dump(mode="json"), indent=1, ensure_ascii=False), encoding="utf-8")


def read_card(place: AnyPath, *kinds: str) -> ModelCard:
    """kinds: of models that will do; any without. Raises InputError if the folder is no checkpoint, or one of another kind of model."""
    folder = StoragePath(place)
    config = folder / CONFIG
    if not config.exists():
        raise InputError(f"{folder} is no checkpoint: it has no {CONFIG}; a trained model is in runs/<name>/model")
    try:
        values = json.loads(config.read_bytes())
        card = ModelCard.model_validate(rename_deprecated(values, ModelCard)[0] if isinstance(values, dict) else values)
    except ValueError:  # of Unicode, JSON or pydantic
        raise InputError(f"{config} is damaged or of another version") from None
    if kinds and card.kind not in kinds:
        raise InputError(f"{folder} holds a {card.kind} model, not a {' or '.join(kinds)} model")
    return card


def fingerprint(place: AnyPath) -> str:
    """Of the weights: another for each model. Raises InputError if they cannot be read."""
    return hashlib.blake2b((StoragePath(place) / WEIGHTS).read_bytes(), digest_size=8).hexdigest()


def model_config(card: ModelCard, kind: type[ConfigType], place: AnyPath, stage: str | None = None) -> ConfigType:
    """The model's configuration, or that of a stage. Raises InputError if this version does not know it."""
    try:
        before = {name: value for name, value in values_before(kind).items() if "." not in name}
        stored = card.model if stage is None else card.model.get(stage, {})
        return kind.model_validate(before | rename_deprecated(stored, kind)[0])
    except ValidationError as error:
        config = StoragePath(place) / CONFIG
        raise InputError(f"{config} describes a model that this version does not know: {explain(error, kind)}") from None


def load_weights(module: nn.Module, place: AnyPath, what: str = f"its {CONFIG}") -> None:
    """Raises InputError if the weights are missing, damaged or do not fit. what: the module, for the message."""
    folder = StoragePath(place)
    file = folder / WEIGHTS
    if not file.exists():
        raise InputError(f"{folder} has no {WEIGHTS}")
    try:
        weights = load_file(file) if file.is_local else load(file.read_bytes())
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is damaged: {error}") from None
    own = module.state_dict()
    # A parameter of shape (1,) may have been a number.
    weights = {name: each.view(1) if each.ndim == 0 and own.get(name, each).shape == (1,) else each for name, each in weights.items()}
    wrong = {name for name in own if name not in weights or weights[name].shape != own[name].shape} | (weights.keys() - own.keys())
    if wrong:
        raise InputError(f"the weights in {folder} do not fit {what}: {', '.join(sorted(wrong)[:3])}")
    module.load_state_dict(weights)


def check_skeleton(card: ModelCard, skeleton: Skeleton, place: AnyPath) -> None:
    """Raises InputError if the checkpoint is of another skeleton."""
    if card.skeleton != skeleton:
        of = f"the checkpoint {StoragePath(place)} is of skeleton {card.skeleton.name}, but the data are of {skeleton.name}"
        raise InputError(f"{of}: train a model on these data")


def publish(source: Path, place: AnyPath) -> None:
    """Puts the two files of a checkpoint into a folder, in the place of what that held; it is there whole or not at all: in a store, which
    renames no folders, its ``config.json`` is written last.

    Weights are linked where both folders are on one disk: a checkpoint is never written to again.
    """
    target = StoragePath(place)
    if target.is_local:
        _replace(source, Path(target))
        return
    with scratch_folder() as folder:
        for name in (CONFIG, WEIGHTS):
            link(source / name, folder / name)
        (target / CONFIG).delete()  # so that nobody finds it beside other weights
        target.upload(folder, last=CONFIG)


def _replace(source: Path, target: Path) -> None:
    temporary, earlier = (target.with_name(f".{target.name}.{secrets.token_hex(4)}") for _ in range(2))
    try:
        temporary.mkdir(parents=True)
        shutil.copyfile(source / CONFIG, temporary / CONFIG)
        link(source / WEIGHTS, temporary / WEIGHTS)
        if target.exists():
            os.replace(target, earlier)
        os.replace(temporary, target)
    except BaseException:
        if earlier.exists() and not target.exists():
            os.replace(earlier, target)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(earlier, ignore_errors=True)


def link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the disk, or another one, allows no link."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
