"""Judges trained models on clips that they never saw, beside real signing and other producers: tables, plots and a gallery.

What is compared is judged on Ray Data; the same seeds give the same numbers on any number of machines.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
import ray
import torch
from pydantic import Field
from tqdm import tqdm

from jobs.cli import Command, main, start_ray
from jobs.machines import check_resources
from jobs.models import with_folders
from jobs.outboxes import kept_outboxes, outboxes
from jobs.promotion import Promotion
from jobs.runs import RUN_ID
from jobs.shared import check_shared
from jobs.threads import threads_of_one
from jobs.waiting import watch
from ms2sl import gallery
from ms2sl.corpora.letters import FINGERSPELLING
from ms2sl.data.dataset import Dataset
from ms2sl.data.mixture import open_dataset
from ms2sl.deprecated_names import formerly
from ms2sl.errors import InputError
from ms2sl.evaluation.aggregation import Result, summarise
from ms2sl.evaluation.evaluator import GROUND_TRUTH, Evaluator, Modality, SystemUnderTest, real_signing
from ms2sl.evaluation.gallery_selection import regenerate, worst_median_best
from ms2sl.evaluation.judged_clips import JudgedClips, judged_clips
from ms2sl.evaluation.measurements import TOGETHER, Measurements, Part, part_table
from ms2sl.evaluation.motion_scores import motion_scores
from ms2sl.evaluation.objective import usual_score
from ms2sl.evaluation.promotion import MARGINS
from ms2sl.evaluation.report import Report
from ms2sl.evaluation.retrieval import retrieval
from ms2sl.evaluation.steps import Point, latency
from ms2sl.io.storage import AnyPath, StoragePath
from ms2sl.io.uri import PathOrModelUri, PathOrName, PathOrUri, Uri, is_uri
from ms2sl.model_uri import CHAMPION
from ms2sl.rendering import strips
from ms2sl.systems import back_translation
from ms2sl.systems.cascade import OWN
from ms2sl.systems.options import applicable, with_call_options
from ms2sl.systems.registry import read_producer_card, read_reader_card, system, systems
from ms2sl.tracking.tracker import Tracker, default_uri
from ms2sl.training.checkpoint import check_skeleton, read_card

BLOCKS = 4096  # of Ray Data, each of which has a cost in the driver
BASELINES = tuple(each.kind for each in systems("poses") if each.baseline)
BaselineName = Literal[BASELINES]
Steps = Annotated[int, Field(gt=0, le=1000)]
INTRO = (
    "{about}. Shown are the worst, median and best ones of {model} by {order}. Each is shown as a person signed it, as MS2SL signs it, and "
    "as others would. Below each: what a reader, trained on real signing only, reads in it. The lower picture is the hands close up."
)


@with_call_options
class EvaluateCommand(Command):
    """Scores models on held-out clips and draws a gallery."""

    data: PathOrUri = Field("data/fingerspelling", description="folder of the prepared dataset, local or a URI")
    split: str = Field("test", description="split to judge on")
    model: PathOrModelUri = Field("runs/quickstart/model", description="folder of the trained model, or models:/name@alias of MLflow")
    others: dict[str, PathOrModelUri] = Field(
        {}, description="other trained models to compare with: name=folder, or name=models:/name@alias"
    )
    produced: dict[str, PathOrUri] = Field(
        {}, description="what other systems produced: name=folder of .pose files named by the ids of clips"
    )
    back_translator: PathOrModelUri = Field(
        "runs/recogniser/model",
        description="folder, or models:/name@alias, of the recogniser or back-translator to judge by",
        json_schema_extra=formerly("reader"),
    )
    out: PathOrUri = Field("runs/quickstart/evaluation", description="folder for results.md, results.json and gallery.html, local or a URI")
    clips: int = Field(200, gt=1, description="clips to judge on, the first of the split")
    shown: int = Field(12, ge=0, description="clips in the gallery: worst, median and best ones")
    seeds: int = Field(3, gt=0, description="samples of each utterance")
    modalities: tuple[Modality, ...] | None = Field(None, description="of text, speech and both; by default all that model and data know")
    baselines: tuple[BaselineName, ...] = Field(BASELINES, description="trivial producers to compare with")
    dictionary: PathOrName | None = Field(
        None, description="dictionary of spoken-to-signed to stitch signs from: a folder, or 'fingerspelling' for letters alone"
    )
    asr: PathOrName | None = Field(
        None,
        description="recogniser of speech for a cascade speech → text → signs: a folder, a name on the hub, or 'own' for the model's",
        json_schema_extra=formerly("ear"),
    )
    sweep: tuple[Steps, ...] = Field((), description="numbers of sampling steps to plot quality and latency against")
    promote: bool = Field(
        False,
        description="make the model models:/ms2sl@champion if it is surely not worse than the present one, judged on the same clips",
    )
    margin: float | None = Field(
        None, ge=0, description="how much worse counts as not worse; by default 1 point of letter error, or 0.05 of log-likelihood"
    )
    workers: int = Field(1, gt=0, description="actors that produce and judge")
    gpus_per_worker: float = Field(0, ge=0, description="GPUs of each of them")
    tracking: Uri | None = Field(None, description="MLflow tracking URI; an sqlite file in a local folder of runs by default")

    @property
    def device(self) -> str:
        return "cuda" if self.gpus_per_worker else "cpu"


class JudgeActor:
    """An actor with readers and producers in memory: a part of the clips of a system → their measures."""

    def __init__(self, options: EvaluateCommand, systems: Sequence[SystemUnderTest], clips: JudgedClips):
        torch.set_num_threads(threads_of_one(options.workers))
        dataset = judged_data(options.data, options.back_translator)
        self.systems = systems
        self.judge = Evaluator(dataset, back_translation.load(options.back_translator, options.device), options.device)
        self.read = lru_cache(maxsize=1)(lambda start: clips[start : start + TOGETHER])  # the next system is judged on the same ones

    def __call__(self, batch: dict) -> pa.Table:
        system, clips = self.systems[batch["system"][0]], self.read(int(batch["start"][0]))
        return part_table(self.judge.rows(system, clips), str(batch["part"][0]))


def run(options: EvaluateCommand) -> list[Result]:
    options = options.model_copy(update={"data": StoragePath(options.data).uri, "out": StoragePath(options.out).uri})
    options = with_folders(options, "model", "others", "back_translator", within=options.out)
    return promoted(options) if options.promote else evaluated(options)


def promoted(options: EvaluateCommand) -> list[Result]:
    """Evaluates the model beside the present champion, whose place it takes if it is surely not worse."""
    if options.split == "train":
        raise InputError("the models have met the clips of split 'train': --promote needs another --split")
    if CHAMPION in options.others:
        raise InputError(f"with --promote '{CHAMPION}' is the present one: choose another name in --others")
    score = usual_score(back_translation.load(options.back_translator))
    uri, run_id = tracked(options)
    promotion = Promotion(StoragePath(options.model), uri, run_id)
    with promotion.champion(judged_data(options.data, options.back_translator).skeleton, StoragePath(options.out)) as champion:
        rival = {CHAMPION: champion.uri} if champion else {}
        results = evaluated(options.model_copy(update={"others": options.others | rival}))
    model, other = ([result for result in results if result.name == name] for name in (promotion.name, CHAMPION))
    print(promotion.decide(model, other, score, MARGINS[score] if options.margin is None else options.margin))
    return results


def evaluated(options: EvaluateCommand) -> list[Result]:
    """Judges everybody, and writes and prints what was found."""
    dataset, reader = judged_data(options.data, options.back_translator), back_translation.load(options.back_translator)
    clips = judged_clips(dataset, options.split, options.clips, reader.reads)
    if not len(clips):
        parts = "text, glosses and poses" if reader.reads == "glosses" else "both text and poses"
        raise InputError(f"no clip of split '{options.split}' has {parts}, so there is nothing to judge on")
    check_reader(options.back_translator, dataset)
    if options.split == "train":
        print("split train: the models have met these clips, and the nearest text is the clip itself")
    device = options.device if torch.cuda.is_available() else "cpu"  # the driver's machine may lack what actors have
    judge = Evaluator(dataset, None, device)
    entries = compared(options, dataset, spoken=clips.spoken)
    swept = steps_swept(options, entries)
    everyone = list(dict.fromkeys([*entries, *swept]))
    for entry in entries:
        if entry.kind != GROUND_TRUTH:
            judge.producer(entry)  # what cannot be made is an error here, not in the actors

    measured = measure(options, dataset, everyone, clips)
    (real,) = measured.columns(entries[0], texts=False)
    results = {entry: summarise(entry.name, entry.modality, measured.columns(entry), real) for entry in everyone}
    own = [entry for entry in entries if entry.name == entries[1].name]
    modalities = [modality for modality in ("text", "speech") if any(entry.modality in (modality, "both") for entry in own)]
    report = Report(
        title=f"MS2SL: {dataset.card.name}, {options.split}",
        about=about(options, own[0], len(clips)),
        results=[results[entry] for entry in entries],
        retrieval=retrieval(judge.producer(own[0]), clips, modalities),
        points=[
            Point(entry.steps, results[entry], latency(judge.producer(entry), (clip.utterance(entry.modality) for clip in clips)))
            for entry in swept
        ],
        reads=reader.reads,
    )
    write(options, report, entries, measured, clips, judge)
    track(options, report)
    measured.delete()
    print(f"\n{report.markdown()}\n")
    check_made([results[entry] for entry in own], len(clips))
    return list(report.results)


def about(options: EvaluateCommand, model: SystemUnderTest, clips: int) -> str:
    """On what it was judged, in a line."""
    steps = [f"{model.steps} steps"] if model.steps else []
    return f"{', '.join([f'{clips} clips of {options.split}', *steps, f'{options.seeds} seeds'])}; model: {StoragePath(options.model)}"


def check_made(results: list[Result], clips: int) -> None:
    """Raises InputError if the model could produce none of so many clips, so that all of its rows are of the mean pose."""
    if all(len(result.failed) == clips for result in results):
        raise InputError(f"{results[0].name} could produce none of the {clips} clips; the first: {results[0].failed[0]}")


def compared(options: EvaluateCommand, dataset: Dataset, spoken: bool) -> list[SystemUnderTest]:
    """The ceiling, the models with each modality, and who else is to be compared.

    Prints which models learned from other signed languages than the data have.
    """
    seeds = tuple(range(options.seeds))
    entries, own = [real_signing()], read_producer_card(options.model)
    models = [(own.kind, options.model, own)]
    models += [(name, folder, read_producer_card(folder)) for name, folder in options.others.items()]
    called = applicable([system(kind) for kind in dict.fromkeys(card.kind for *_, card in models)], options)
    for name, folder, card in models:
        check_skeleton(card, dataset.skeleton, folder)
        for language in sorted(set(dataset.card.signed_languages) - set(card.signed_languages)):
            if remark := system(card.kind).language_remark(card, language):
                print(f"{name}: {remark}")
        known = [modality for modality in card.learned if spoken or modality == "text"]
        known += ["both"] if len(known) == 2 else []
        chosen = known if options.modalities is None else [modality for modality in options.modalities if modality in known]
        if not chosen:
            asked = options.modalities or card.learned
            raise InputError(
                f"{StoragePath(folder)} can be judged from {' or '.join(known) or 'nothing'} here, not from {' or '.join(asked)}"
            )
        given = {"kind": card.kind, "seeds": seeds, "options": called[card.kind]}
        entries += [SystemUnderTest(name=name, modality=modality, source=folder, **given) for modality in chosen]
    entries += [SystemUnderTest(name=name, kind="folder", source=StoragePath(folder).uri) for name, folder in options.produced.items()]
    if options.asr:
        if not spoken:
            raise InputError("a cascade needs clips with speech, and there are none")
        entries.append(
            SystemUnderTest(
                name="cascade",
                kind="cascade",
                modality="speech",
                source=options.model,
                asr=place(options.asr),
                seeds=seeds,
                options=called[own.kind],
            )
        )
    if options.dictionary:
        entries.append(SystemUnderTest(name="dictionary", kind="dictionary", modality="text", source=place(options.dictionary)))
    for name in options.baselines:
        hears = {"modality": "text"} if "text" in system(name).inputs else {}
        if not hears or dataset.card.splits["train"].with_text:
            entries.append(SystemUnderTest(name=name, kind=name, seeds=seeds if system(name).seeded else (0,), **hears))
    labels = [entry.label for entry in entries] + [name for name in options.produced if name in options.others]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise InputError(f"'{twice[0]}' would stand in the tables twice: choose another name, and name nothing twice")
    return entries


def judged_data(data: str, reader: AnyPath) -> Dataset:
    """The data, reduced to the joints of the reader if it has fewer of them."""
    return open_dataset(data, read_card(reader).skeleton)


def check_reader(place: AnyPath, dataset: Dataset) -> None:
    """Raises InputError if it learned to read another skeleton, or at another frame rate."""
    folder = StoragePath(place)
    card = read_reader_card(folder)
    check_skeleton(card, dataset.skeleton, folder)
    if card.fps != dataset.card.fps:
        raise InputError(f"{folder} reads {card.fps:g} frames a second, but the data have {dataset.card.fps:g}: train it on these data")


def place(name: str) -> str:
    """The whole path of what lies here, since actors may run elsewhere; another name as it is."""
    return str(Path(name).absolute()) if name not in (OWN, FINGERSPELLING) and Path(name).exists() else name


def steps_swept(options: EvaluateCommand, entries: list[SystemUnderTest]) -> list[SystemUnderTest]:
    """The model from its first modality with each number of steps."""
    first = entries[1]
    if options.sweep and not first.steps:
        raise InputError(f"--sweep plots numbers of sampling steps, and a {first.kind} model has none: leave it out")
    return [with_steps(first, steps) for steps in sorted(set(options.sweep))]


def with_steps(entry: SystemUnderTest, steps: int) -> SystemUnderTest:
    return entry.model_copy(update={"options": entry.options.model_copy(update={"steps": steps})})


def measure(options: EvaluateCommand, dataset: Dataset, systems: list[SystemUnderTest], clips: JudgedClips) -> Measurements:
    """What was measured of all systems. Actors measure what an interrupted evaluation has not left."""
    scores = [score.name for score in motion_scores()]
    made_of = {"data": dataset.card.model_dump(mode="json"), "reader": StoragePath(options.back_translator).stamp(), "scores": scores}
    measured = Measurements(StoragePath(options.out) / ".measures", systems, clips, made_of)
    if missing := measured.missing():
        judge_missing(options, systems, clips, measured, missing)
    return measured


def judge_missing(
    options: EvaluateCommand, systems: list[SystemUnderTest], clips: JudgedClips, measured: Measurements, missing: Sequence[Part]
) -> None:
    start_ray()
    check_resources(options.workers, gpus=options.gpus_per_worker)
    folders = {
        f"the folder of {entry.name}": entry.source
        for entry in systems
        if entry.source and (is_uri(entry.source) or Path(entry.source).is_dir())
    }
    check_shared(
        read={"--data": options.data, "--back-translator": options.back_translator, **folders}, written={}, gpus=options.gpus_per_worker
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    numbers = {system: number for number, system in enumerate(systems)}
    tasks = [{"system": numbers[part.system], "start": part.start, "part": part.name} for part in missing]
    judged = ray.data.from_items(tasks, override_num_blocks=min(len(tasks), BLOCKS)).map_batches(
        JudgeActor,
        fn_constructor_args=(options, systems, clips),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(options.workers, len(tasks))),
        num_gpus=options.gpus_per_worker or None,
    )
    every = sum(len(system.seeds) for system in systems) * len(clips)
    left = sum(len(part.system.seeds) * min(TOGETHER, len(clips) - part.start) for part in missing)
    with tqdm(total=every, initial=every - left, desc="evaluate", unit="clip") as bar:
        watch(bar)
        for table in judged.iter_batches(batch_size=None, batch_format="pyarrow"):
            measured.add(table)
            bar.update(len(table))


def write(
    options: EvaluateCommand, report: Report, entries: list[SystemUnderTest], measured: Measurements, clips: JudgedClips, judge: Evaluator
) -> None:
    """All files of the evaluation; the gallery shows the model's worst, median and best clips as everybody signs them."""
    out = StoragePath(options.out)
    measured.write_table(out / "measures.parquet")
    own = next(measured.columns(entries[1]))

    def shown() -> Iterator[gallery.Entry]:
        for rank, id in tqdm(worst_median_best(own, report.reads, options.shown), desc="gallery", unit="clip"):
            number = clips.find(id)
            clip = clips[number]
            made = regenerate(judge, entries, clip)
            columns = [gallery.Column(e.label, poses, measured.first(e, number, "read")) for e, poses in made]
            yield gallery.Entry(clip.text, clip.speech, columns, note=rank)

    with (out / "gallery.html").writing() as temporary, temporary.open("w", encoding="utf-8") as file:
        order = "the likelihood of the text" if report.reads == "sentences" else f"the {report.reads} that are read"
        intro = INTRO.format(about=report.about, model=entries[1].label, order=order)
        file.writelines(gallery.gallery(report.title, intro, report.tables(), shown(), judge.dataset.skeleton))
    strip = [
        (f"{clip.text}\n{entry.label.replace(' from ', chr(10) + 'from ')}", poses)
        for clip in clips[:2]
        for entry, poses in regenerate(judge, entries[:3], clip)
    ]
    (out / "samples.png").write(strips(strip, judge.dataset.skeleton))
    report.write(out, options.options())


def tracked(options: EvaluateCommand) -> tuple[str, str | None]:
    """URI of MLflow, and the id there of the run that trained the model, None if it comes from none."""
    folder = StoragePath(options.model).parent
    known = folder / RUN_ID
    if not known.exists():
        return options.tracking or default_uri("runs"), None
    return options.tracking or default_uri(folder.parent), known.read_text()


def track(options: EvaluateCommand, report: Report) -> None:
    """Adds the scores to the MLflow run of the training, if this model comes from one."""
    uri, run_id = tracked(options)
    if run_id is None:
        return
    out = StoragePath(options.out)
    with kept_outboxes(out):
        # Not beside the model, which may be read-only, and which others may evaluate at the same time.
        tell(options, report, out, Tracker(uri, run_id, outboxes(out) / f"mlflow-{run_id}.jsonl"))


def tell(options: EvaluateCommand, report: Report, out: StoragePath, tracker: Tracker) -> None:
    tracker.metrics({f"{options.split}/{key}": value for key, value in report.flat().items()}, 0)
    for point in report.points:
        scores = {key: score.value for key, score in point.result.scores.items()} | {"latency": point.latency}
        tracker.metrics({f"{options.split}/by_steps/{key}": value for key, value in scores.items()}, point.steps)
    for name in ("gallery.html", "results.md", "results.json", "samples.png", "steps.png"):
        if (out / name).exists():
            tracker.artifact(out / name, "evaluation")


if __name__ == "__main__":
    main(EvaluateCommand, run)
