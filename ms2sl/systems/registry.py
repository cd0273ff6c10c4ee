"""All systems, each by its kind: what learns or produces, here or in a package from outside.

To add one, describe it as a ``System`` and add a line to ``BUILT_IN``; a package of your own names it as an entry point instead:

    [project.entry-points."ms2sl.systems"]
    tiny = "my_package.system:SYSTEM"
"""

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from ms2sl.config import Config, explain
from ms2sl.data.dataset import Dataset
from ms2sl.data.signed_language import UNDETERMINED, is_code
from ms2sl.data.training_clips import TrainingClips
from ms2sl.data.types import Utterance
from ms2sl.entry_points import entry_points, load
from ms2sl.errors import InputError
from ms2sl.inference.producer import NoOptions, Session
from ms2sl.inference.recordings import recording_remarks
from ms2sl.io.storage import AnyPath, StoragePath
from ms2sl.precision import Precision
from ms2sl.training import checkpoint
from ms2sl.training.checkpoint import ModelCard
from ms2sl.training.loop import Task

GROUP = "ms2sl.systems"  # of entry points
BUILT_IN = {
    "ms2sl": "ms2sl.systems.ms2sl.system:SYSTEM",
    "recogniser": "ms2sl.systems.recogniser:SYSTEM",
    "translator": "ms2sl.systems.translator.system:SYSTEM",
    "cascade": "ms2sl.systems.cascade:SYSTEM",
    "dictionary": "ms2sl.systems.dictionary.system:SYSTEM",
    "folder": "ms2sl.systems.pose_folder:SYSTEM",
    "nearest text": "ms2sl.systems.baselines:NEAREST_TEXT",
    "random clip": "ms2sl.systems.baselines:RANDOM_CLIP",
    "static pose": "ms2sl.systems.baselines:STATIC_POSE",
    "mean pose": "ms2sl.systems.baselines:MEAN_POSE",
}
Output = Literal["gloss", "poses", "film", "text"]
ConfigClass = type[Config]
MakeTask = Callable[[Dataset, Mapping[str, Any], ModelCard], Task]  # Any: each section of the class that the system names
MakeStage = Callable[[Dataset, Any, ModelCard, Mapping[str, StoragePath]], Task]
Start = Callable[[ModelCard, Utterance, Config | None, int], Session]


@dataclass(frozen=True)
class Context:
    """Where a system is loaded, and for which data: those of systems that are no models. Frozen, but for what it reads of them."""

    device: str = "cpu"
    precision: Precision = "fp32"
    dataset: Dataset | None = None

    @functools.cached_property
    def training(self) -> TrainingClips:
        return TrainingClips.of_dataset(self.dataset)


@dataclass(frozen=True)
class System:
    """What the jobs, the service and MLflow know of a system.

    kind: its name, also in checkpoints. inputs: of what it makes its output, ``text`` and ``speech``, ``gloss`` or ``poses``; and
    ``language`` or ``signer`` if it signs in the language, or like the signer, that an utterance asks for.
    load: what it is named by (a checkpoint folder, a dictionary), a Context and perhaps further choices → a Producer or a BackTranslator.
    Config: shape of its model. section: where that stands among the options of its training, the kind by default. training: further
    sections. perturbable: those that may change in mid-training, as population-based training does. former: names that sections had
    before, by today's. Options: of a call. seeded: whether another seed makes another output. baseline: whether it is compared with by
    default.
    task: what the training loop learns, from a dataset, the sections and the card; None for what does not learn, or in stages.
    stages: of a training in several, what each learns, by name and in order: from a dataset, the options of the stage, the card, and the
    checkpoint folders of the stages before it. ``Config`` has a field for each, a Config of ``model`` (the shape of its part),
    ``training`` and whatever else decides it. What the last one saves is the whole model.
    start: a Session of a producer without its weights, from the card, an utterance, options and a seed; None for what no service serves.
    """

    kind: str
    description: str
    inputs: frozenset[str]
    output: Output
    load: Callable[..., Any]
    Config: ConfigClass | None = None
    section: str = ""
    training: Mapping[str, ConfigClass] = field(default_factory=dict)
    perturbable: frozenset[str] = frozenset()
    former: Mapping[str, str] = field(default_factory=dict)
    Options: ConfigClass = NoOptions
    seeded: bool = False
    baseline: bool = False
    task: MakeTask | None = None
    stages: Mapping[str, MakeStage] = field(default_factory=dict)
    start: Start | None = None

    def __post_init__(self) -> None:
        assert not self.stages or [*self.stages] == [*self.Config.model_fields], f"{self.kind}: its Config has a field for each stage"
        assert not {"model", "train"} & set(self.stages), f"{self.kind}: folders of a run have these names"

    @property
    def sections(self) -> dict[str, ConfigClass]:
        """The options of its training by their names in a recipe, its ``Config`` first."""
        return {self.section or self.kind: self.Config, **self.training} if self.Config else {}

    def kind_of(self, stage: str | None) -> str:
        """The kind in the card of a checkpoint: that of the system is the whole model, the last stage's."""
        return self.kind if stage is None or stage == list(self.stages)[-1] else f"{self.kind}/{stage}"

    def options(self, given: Mapping[str, Any]) -> Any:
        """Options of a call from plain values; None is the default. Raises InputError for one that it does not have, or is impossible."""
        try:
            return self.Options.model_validate({name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            raise InputError(f"{self.kind}: {explain(error, self.Options)}") from None

    def remarks(self, card: ModelCard, utterance: Utterance) -> tuple[str, ...]:
        """What is odd about an utterance that a model of it signs, for people: of its recording, its signed language and its signer."""
        said = self.language_remark(card, utterance.signed_language), self.signer_remark(card, utterance.signer)
        return (*recording_remarks(utterance), *filter(None, said))

    def signer_remark(self, card: ModelCard, asked: str | None) -> str | None:
        """That a model does not tell signers apart; None where it does, or nobody is asked for."""
        if asked is None or "signer" in self.inputs or (card.choices or {}).get("signer"):
            return None
        return f"signer {asked} is ignored: the model does not tell signers apart"

    def language_remark(self, card: ModelCard, asked: str | None) -> str | None:
        """That a model does not sign in the language that is asked for, but as it learned; None where it does, or nobody knows."""
        if (card.choices or {}).get("signed_language"):
            return None
        learned = [language for language in card.signed_languages if is_code(language) and language != UNDETERMINED]
        if "language" in self.inputs or asked in (None, UNDETERMINED) or learned in ([], [asked]):
            return None
        if asked in learned:
            return f"signed_language {asked} cannot be chosen: the model learned {' and '.join(learned)}, and signs without knowing which"
        return f"signed_language {asked} is ignored: the model signs as it learned, from {', '.join(learned)}"


@functools.cache
def _places() -> dict[str, Any]:
    """Where each system is: a string, or the entry point of a package from outside. Raises InputError for two of one kind."""
    found: dict[str, Any] = dict(BUILT_IN)
    for point in entry_points(GROUP):
        if point.name in found:
            raise InputError(
                f"two packages have a system '{point.name}': uninstall one ({point.value} of {point.dist and point.dist.name})"
            )
        found[point.name] = point
    return found


@functools.cache
def system(kind: str) -> System:
    """Raises InputError if there is none of this kind, or the package that has it cannot be loaded."""
    place = _places().get(kind)
    if place is None:
        raise InputError(f"there is no system '{kind}'; there are: {', '.join(_places())}")
    if not isinstance(place, str):
        return load(place)
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def systems(output: Output | None = None) -> Iterator[System]:
    """All of them, or those with this output."""
    return (each for each in map(system, _places()) if output in (None, each.output))


def trainable() -> list[System]:
    """The systems that learn."""
    return [each for each in systems() if each.task or each.stages]


def producing() -> list[System]:
    """The trainable systems that produce poses."""
    return [each for each in trainable() if _produces(each)]


def distribution(kind: str) -> str | None:
    """The installed package of a system from outside; None for one of ours."""
    place = _places().get(kind)
    return None if place is None or isinstance(place, str) or place.dist is None else place.dist.name


def read_producer_card(folder: AnyPath) -> ModelCard:
    """The card of a model that produces poses. Raises InputError if the folder holds none."""
    return _read_card(folder, _produces)


def read_reader_card(folder: AnyPath) -> ModelCard:
    """The card of a model that reads signing. Raises InputError if the folder holds none."""
    return _read_card(folder, _reads)


def _produces(each: System) -> bool:
    return each.output == "poses"


def _reads(each: System) -> bool:
    return each.output == "text" and "poses" in each.inputs


def _read_card(place: AnyPath, fits: Callable[[System], bool]) -> ModelCard:
    folder = StoragePath(place)
    card = checkpoint.read_card(folder)
    kind, _, stage = card.kind.partition("/")
    if stage and kind in _places():
        raise InputError(f"{folder} holds a stage of a {kind} model ({stage}), which alone makes nothing: name the model of its last stage")
    if card.kind not in _places():
        raise InputError(f"{folder} holds a {card.kind} model, of a system that is not installed here: install the package that has it")
    if not fits(system(card.kind)):
        wanted = " or ".join(each.kind for each in trainable() if fits(each))
        raise InputError(f"{folder} holds a {card.kind} model, not a {wanted} model")
    return card


def load_producer(folder: AnyPath, context: Context | None = None, options: Mapping[str, Any] | None = None):
    """The producer in a checkpoint folder, with its card. options: of the calls that name none. Raises InputError if the folder holds
    none."""
    card = read_producer_card(folder)
    found = system(card.kind)
    producer = found.load(folder, context or Context())
    producer.card, producer.options = card, found.options(options or {})
    return producer
