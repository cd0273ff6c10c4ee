"""Systems that are trained in several stages: which of them a command trains, each as a run of its own in the folder of the run.

``runs/NAME/STAGE`` is like the folder of any run; ``runs/NAME/model`` is the whole model, that of the last stage.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jobs.initial import origin
from jobs.runs import MODEL, RUN_ID, check_run_identity, overwriting, read_recipe, trained_to
from ms2sl.config import Config
from ms2sl.data.dataset import Dataset
from ms2sl.errors import InputError
from ms2sl.io.storage import AnyPath, StoragePath
from ms2sl.training.checkpoint import CONFIG, ModelCard, check_skeleton, fingerprint, publish, read_card
from ms2sl.training.loop import Task, TrainingConfig

if TYPE_CHECKING:  # which imports this module
    from jobs.train import TrainCommand


def to_train(options: "TrainCommand") -> "list[TrainCommand]":
    """The options of each training that the command asks for, in order; its own where the system is trained in one.

    Raises InputError for stages that the system does not have, and for options that do not go with stages.
    """
    stages = list(options.system.stages)
    if not stages:
        if options.stage or options.earlier:
            raise InputError(f"{options.task} is trained in one stage: leave out --stage and --earlier")
        return [options]
    last = options.stage or stages[-1]
    if unknown := {last, *options.earlier} - set(stages):
        raise InputError(f"{options.task} has no stage '{min(unknown)}'; it has: {', '.join(stages)}")
    names = [last] if options.stage else [name for name in stages if name not in options.earlier]
    given = [name for name in stages if name in options.earlier]
    if given and stages.index(given[-1]) >= stages.index(names[0] if names else last):
        raise InputError(f"--earlier {given[-1]} is not before all stages that are to be trained ({', '.join(names) or 'none'})")
    if options.training != TrainingConfig():
        flags = ", ".join(f"--{options.section}.{name}.training.…" for name in names)
        raise InputError(f"each stage of {options.task} has a training of its own: say {flags} instead of --training.…")
    if options.initial and len(names) > 1:
        raise InputError(f"--from begins one of the stages {', '.join(names)}: name it with --stage")
    return [_of_stage(options, name) for name in names]


def _of_stage(options: "TrainCommand", name: str) -> "TrainCommand":
    """The options of a stage alone, whose run is called ``NAME/STAGE``."""
    stages = list(options.system.stages)
    earlier = {each: options.earlier.get(each, (options.folder / each / MODEL).uri) for each in stages[: stages.index(name)]}
    changes = {"stage": name, "name": f"{options.name}/{name}", "earlier": earlier}
    changes["overwrite"] = options.overwrite and options.stage is not None  # without --stage the whole run is forgotten
    return options.model_copy(update=changes | {"training": getattr(getattr(options, options.section), name).training})


def command(options: "TrainCommand", plain: dict) -> dict:
    """The plain options of a stage as a user would give them: ``--training`` follows from those of the stage."""
    if options.stage is None or options.name == options.folder.name:
        return plain
    return {key: value for key, value in plain.items() if key != "training"} | {"name": options.folder.parent.name}


def stage_options(options: "TrainCommand") -> Any:
    """``model``, ``training`` and what else the stage has."""
    return getattr(getattr(options, options.section), options.stage)


def sections(options: "TrainCommand") -> dict[str, Config]:
    """The options of the shape of the stage's model, by their name in a recipe."""
    return {f"{options.section}.{options.stage}.model": stage_options(options).model}


def learns(options: "TrainCommand") -> dict:
    """What decides a stage; of the whole run it is the system alone, since each stage has a recipe of its own."""
    if options.stage is None:
        return {"task": options.task}
    own = {options.section: {options.stage: stage_options(options).model_dump(mode="json", exclude={"training"})}}
    return options.model_dump(mode="json", include={"task", "stage", "training", "workers"}) | own


def provenance(options: "TrainCommand") -> dict[str, dict]:
    """What a stage records of those that it builds on."""
    return {"earlier": {name: origin(folder) for name, folder in options.built_on.items()}} if options.stage else {}


def make_task(options: "TrainCommand", dataset: Dataset, card: ModelCard) -> Task:
    """What a stage learns; the model of its card has the shapes of the stages before it too."""
    shapes = {name: shape for folder in options.built_on.values() for name, shape in read_card(folder).model.items()}
    card = card.model_copy(update={"model": {**shapes, options.stage: card.model}})
    return options.system.stages[options.stage](dataset, stage_options(options), card, options.built_on)


def check_earlier(options: "TrainCommand", dataset: Dataset) -> None:
    """Raises InputError unless the stages that this one builds on are there, of the data's skeleton, and built on each other."""
    for name, folder in options.built_on.items():
        if not folder.exists():
            raise InputError(
                f"stage {options.stage} builds on {name}, and {folder} is not there: train it with --stage {name}, or say where it is "
                f"with --earlier {name}=FOLDER"
            )
        card = read_card(folder, options.system.kind_of(name))
        check_skeleton(card, dataset.skeleton, folder)
        check_built_on(card, folder, options.built_on)


def check_built_on(card: ModelCard, folder: AnyPath, earlier: Mapping[str, StoragePath]) -> None:
    """Raises InputError if a model was built on other earlier stages than these: what it learned means nothing on them."""
    for name, made in card.recipe.get("earlier", {}).items():
        if made["weights"] != fingerprint(earlier[name]):
            raise InputError(
                f"{folder} was built on another {name} ({made['model']}) than {earlier[name]}: give that with --earlier {name}=…"
            )


def check_whole(options: "TrainCommand", todo: "list[TrainCommand]") -> None:
    """Makes the folder of a run of several stages, or finds that it is this system's.

    Raises InputError if it is not, and if a stage that is to go on would change what a later one was built on.
    """
    forgets = options.overwrite and options.stage is None
    whole = {"stage": None, "earlier": {}, "from": None, "overwrite": forgets}
    check_run_identity(options.model_copy(update=whole), None)
    unfinished = next((each for each in todo if trained_to(each.folder) < each.training.steps), None)
    later = next((each for each in todo if unfinished and unfinished.stage in each.earlier and read_recipe(each.folder)), None)
    if later:
        raise InputError(
            f"{later.folder} was built on the stage {unfinished.stage} as it is, which would go on to {unfinished.training.steps} steps: "
            f"choose another --name, or delete {later.folder} ({overwriting(later)} begins it again)"
        )


def publish_whole(options: "TrainCommand", model: StoragePath) -> StoragePath:
    """Puts the model of the last stage, and what MLflow calls its run, where those of a run are; returns its folder."""
    target = options.folder / MODEL
    if not (target / CONFIG).exists() or fingerprint(target) != fingerprint(model):
        with model.reading() as folder:
            publish(folder, target)
    if (known := model.parent / RUN_ID).exists():
        (options.folder / RUN_ID).write(known.read_bytes())
    print(f"the whole model: {target}")
    return target
