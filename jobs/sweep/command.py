"""The options of a sweep, and what they say of a trial."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from jobs.initial import TrainingCommand
from jobs.train import TrainCommand
from ms2sl.config import Config, explain, flatten
from ms2sl.deprecated_names import formerly, rename_deprecated
from ms2sl.errors import InputError
from ms2sl.evaluation.objective import LATENCY, QUALITY, ScoreName
from ms2sl.evaluation.validation_sampling import SampleMetricsConfig
from ms2sl.io.file_names import Name
from ms2sl.io.storage import StoragePath
from ms2sl.io.uri import PathOrModelUri, PathOrName, PathOrUri, Uri, public
from ms2sl.sweep.trial_store import Trial
from ms2sl.systems.options import CallOptions, chosen, with_sections_of
from ms2sl.systems.registry import producing, system
from ms2sl.training.loop import TrainingConfig
from tune_spaces import Space, load_space, nested, parse

FIXED = ("training.steps", "training.log_every", "training.validate_every", "training.checkpoint_every")  # the same for all trials
PERTURBED = ("training.learning_rate", "training.weight_decay", "training.clip_norm")  # change in mid-training, as System.perturbable does
USUAL = "ms2sl"  # system
ProducingSystem = Literal[tuple(each.kind for each in producing())]
METRICS = {"quality": QUALITY, "latency": LATENCY}


@with_sections_of(*(each.kind for each in producing()))
class TuneCommand(TrainingCommand):
    """Searches a space of settings for the best quality, or for the best quality at each latency."""

    data: PathOrUri = Field("data/fingerspelling", description="folder of a prepared dataset, local or a URI")
    space: PathOrName = Field("loss_weights", description="module of tune_spaces, or the path of a module or YAML file of your own")
    task: ProducingSystem = Field(USUAL, description="the system to train in trials; with --trained it is that of the model")
    name: Name = Field("sweep", description="name of the sweep; the same name goes on with it")
    runs: PathOrUri = Field("runs", description="folder of all runs, local or a URI; one that all machines see where there are several")
    overwrite: bool = Field(False, description="forget an earlier sweep of this name", json_schema_extra=formerly("fresh"))
    search: Literal["random", "grid", "optuna"] | None = Field(
        None, description="how settings are chosen; by default grid for variants, optuna for two objectives, random otherwise"
    )
    scheduler: Literal["asha", "pbt", "none"] | None = Field(
        None, description="asha stops the worse trials early, pbt lets them go on from better ones; variants and two objectives need none"
    )
    objectives: tuple[Literal["quality", "latency"], ...] = Field(
        (), description="what to minimise; by default the loss of quality, and also latency where the space has choices of sampling"
    )
    trials: int = Field(12, gt=0, description="settings to try, the recipe's own among them; a grid is tried whole")
    minutes: float | None = Field(None, gt=0, description="time after which this command stops; the same command goes on")
    num_evals: int = Field(
        9,
        gt=0,
        description="how often a trial is judged on its way, in place of training.validate_every",
        json_schema_extra=formerly("judgements"),
    )
    back_translator: PathOrModelUri = Field(
        "runs/recogniser/model",
        description="folder, or models:/name@alias, of the recogniser or back-translator to judge by",
        json_schema_extra=formerly("reader"),
    )
    score: ScoreName | None = Field(
        None, description="what quality is; by default letter_error of a recogniser, log_likelihood of a back-translator"
    )
    clips: int = Field(64, gt=1, description="dev clips to judge a trial on; the best is then compared on all others")
    trained: PathOrModelUri | None = Field(
        None, description="folder of a trained model, or models:/name@alias of MLflow, for a space of sampling alone"
    )
    training: TrainingConfig = TrainingConfig()
    sampling: CallOptions = CallOptions()
    cpus_per_trial: int = Field(1, gt=0, description="CPU threads of a trial, or of each of its workers")
    gpus_per_trial: float = Field(
        0, ge=0, le=1, description="share of a GPU for a trial, without which it runs on CPUs; of several workers each has one whole"
    )
    workers_per_trial: int = Field(1, gt=0, description="DDP workers of a trial that one device cannot hold")
    concurrent: int | None = Field(None, gt=0, description="trials at a time; by default as many as the cluster has room for")
    max_failures: int = Field(1, ge=0, description="how often a trial that crashed goes on from its last checkpoint")
    seed: int = Field(0, ge=0, description="seed of the search")
    alias: str = Field("challenger", pattern=r"^[a-zA-Z][\w-]*$", description="MLflow alias of the best trial's model, models:/ms2sl@alias")
    tracking: Uri | None = Field(None, description="MLflow tracking URI; an sqlite file in a local folder of runs by default")
    experiment: str = Field("ms2sl-sweeps", description="MLflow experiment")

    @property
    def tags(self) -> dict[str, str]:
        """Of its run in MLflow."""
        return {"task": "tune"}

    @property
    def folder(self) -> StoragePath:
        return StoragePath(self.runs) / self.name

    def checkpoint_of(self, trial: Trial) -> StoragePath:
        """Of one that has any, its last."""
        return self.folder.resolve(trial.checkpoint)

    @property
    def learns(self) -> dict:
        """What decides what is tried and how it is judged: a sweep can go on only with the same, but for what is ``changeable``."""
        decisive = {
            "search",
            "scheduler",
            "objectives",
            "num_evals",
            "back_translator",
            "score",
            "clips",
            "trained",
            "seed",
            "workers_per_trial",
        }
        decisive |= {"cpus_per_trial", "gpus_per_trial"} if "latency" in self.objectives else set()
        decisive |= {"task"} if self.task != USUAL else set()
        chosen = {"sampling": self.call_options.model_dump(mode="json"), "space": open_space(self.space)[0].content}
        return self.model_dump(mode="json", include={*self.parts, *decisive}) | chosen | self.provenance

    @classmethod
    def under_current_names(cls, recorded: dict) -> dict:
        recorded = super().under_current_names(recorded)
        return recorded | ({"space": _renamed(recorded["space"])[0]} if "space" in recorded else {})

    @property
    def changeable(self) -> set[str]:
        """Names of the options that may change within a sweep; its trials are compared at the same step."""
        return super().changeable - {"training.steps"}

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics to minimise."""
        return [METRICS[objective] for objective in self.objectives]

    @property
    def trains(self) -> bool:
        return self.trained is None

    @property
    def parts(self) -> tuple[str, ...]:
        """Of a recipe: what a space can vary."""
        return (*system(self.task).sections, "training", "sampling")

    @property
    def call_options(self) -> Config:
        """How the samples are made by which a trial is judged."""
        return chosen(system(self.task), self.sampling)

    @property
    def variable(self) -> dict[str, Any]:
        """Every setting that a space can vary, by its dotted name."""
        return dict(flatten(self.model_dump(include=set(self.parts)) | {"sampling": self.call_options.model_dump()}))

    @property
    def device(self) -> str:
        return "cuda" if self.gpus_per_trial else "cpu"

    @property
    def judging(self) -> SampleMetricsConfig:
        return SampleMetricsConfig(back_translator=self.back_translator, score=self.score, clips=self.clips, sampling=self.call_options)

    @property
    def steps(self) -> int:
        """At which a trial has finished."""
        return self.training.steps if self.trains else 1

    @property
    def interval(self) -> int:
        """Steps between evaluations."""
        return -(-self.steps // self.num_evals)

    def settled(self, space: Space) -> "TuneCommand":
        """With all that was left open decided for this space. Raises InputError for what does not go together."""
        usual = ("quality", "latency") if space.touches("sampling") else ("quality",)
        objectives = tuple(sorted(set(self.objectives or usual), reverse=True))  # quality first
        several = len(objectives) > 1
        decided = {
            "objectives": objectives,
            "search": self.search or ("grid" if space.variants else "optuna" if several else "random"),
            "scheduler": self.scheduler or ("asha" if self.trains and not several and not space.variants else "none"),
            "runs": StoragePath(self.runs).uri,
        }
        options = self.model_copy(update=decided)
        options = options.model_copy(update={"sampling": CallOptions(**options.call_options.model_dump())})
        options._check(space)
        return options

    def _check(self, space: Space) -> None:
        if public(self.runs) != self.runs:
            raise InputError(
                f"--runs {public(self.runs)}: Ray Tune would write the keys of this URI down: set them where the nodes find them"
            )
        if self.trains and system(self.task).stages:
            raise InputError(f"a trial is one training, and {self.task} is trained in stages: sweep its sampling, with --trained")
        parts = space.parts
        if unknown := parts - set(self.parts):
            raise InputError(f"space '{space.name}': unknown key '{min(unknown)}'; a space can vary: {', '.join(self.parts)}")
        for recipe in space.extremes():
            if fixed := set(dict(flatten(recipe))) & set(FIXED):
                raise InputError(f"space '{space.name}': {min(fixed)} must be the same for all trials, or they could not be compared")
            self.with_recipe(recipe, f"space '{space.name}': ")
        if groups := set(space.leaves) - set(self.variable):
            raise InputError(f"space '{space.name}': {min(groups)} is a group of settings, each of which can vary by itself")
        alone = parts == {"sampling"}
        if alone and self.trains:
            raise InputError(f"space '{space.name}' varies sampling alone, which needs no training: name a trained model with --trained")
        if not alone and not self.trains:
            trained = ", ".join(sorted(parts - {"sampling"}))
            raise InputError(f"--trained is for a space of sampling alone, but '{space.name}' varies {trained}")
        if self.initial and not self.trains:
            raise InputError("--from begins trainings, and --trained names a model that is sampled alone: leave out one of them")
        if "quality" not in self.objectives:
            raise InputError("the fastest model is one that does nothing: --objectives needs quality too")
        if space.variants and self.search != "grid":
            raise InputError(f"space '{space.name}' has variants, which are all tried: leave out --search {self.search}")
        if self.scheduler != "none" and (len(self.objectives) > 1 or not self.trains):
            raise InputError(f"--scheduler {self.scheduler} needs trainings and one objective; leave it out")
        if self.scheduler == "pbt":
            self._check_pbt(space)

    def _check_pbt(self, space: Space) -> None:
        sections = tuple(f"{name}." for name in system(self.task).perturbable)
        stuck = [name for name in space.leaves if not name.startswith(PERTURBED + sections)]
        if stuck or space.variants:
            what = ", ".join(stuck or ["variants"])
            raise InputError(f"--scheduler pbt changes settings in mid-training: it can vary losses and the learning rate, but not {what}")
        if self.search != "random" or self.workers_per_trial > 1 or self.trials < 2:
            raise InputError("--scheduler pbt needs --search random, one worker a trial and at least two trials")
        if self.concurrent:
            raise InputError("with --scheduler pbt the whole population takes turns on what the cluster has: leave out --concurrent")

    def with_recipe(self, recipe: Mapping[str, Any], where: str = "") -> "TuneCommand":
        """The options of a trial that drew this. Raises InputError if they are none."""
        merged = self.model_dump()
        recipe, _ = rename_deprecated(recipe, type(self))
        for key, values in recipe.items():
            merged[key] = {**merged[key], **values} if isinstance(values, Mapping) else values
        try:
            return type(self)(**merged)
        except ValidationError as error:
            raise InputError(where + explain(error, type(self))) from None

    def own(self, names: Iterable[str]) -> dict:
        """The recipe's own values of these settings."""
        values = self.variable
        return nested({name: values[name] for name in names})

    def is_own(self, recipe: Mapping[str, Any]) -> bool:
        """Whether what was drawn changes nothing."""
        return self.with_recipe(recipe) == self

    def training_command(self) -> TrainCommand:
        """The training of a trial: judged, checkpointed and reported at the same steps."""
        every = dict.fromkeys(("validate_every", "checkpoint_every", "log_every"), self.interval)
        return TrainCommand(
            data=self.data,
            task=self.task,
            **{name: getattr(self, name) for name in (*system(self.task).sections, "from")},
            training=self.training.model_copy(update=every),
            workers=self.workers_per_trial,
            gpu=self.gpus_per_trial > 0,
            max_failures=self.max_failures,
        )


def open_space(name: str) -> tuple[Space, dict[str, str]]:
    """The search space under today's names of settings, and of each former name in it today's. Raises InputError as ``load_space`` does."""
    space = load_space(name)
    content, former = _renamed(space.content)
    return parse(space.name, content), former


def _renamed(space: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    content, former = rename_deprecated({key: value for key, value in space.items() if key != "variants"}, TuneCommand)
    variants = {}
    for name, recipe in space.get("variants", {}).items():
        variants[name], found = rename_deprecated(recipe, TuneCommand)
        former |= found
    return content | ({"variants": variants} if variants else {}), former
