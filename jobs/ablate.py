"""What each part of MS2SL is worth: the same budget of training with one thing changed, judged alike.

Run again, it trains only what is missing.
"""

import json
import re
from itertools import product
from typing import Any

import numpy as np
from pydantic import Field
from tqdm import tqdm

from jobs import evaluate, train
from jobs.cli import main
from jobs.initial import TrainingCommand
from jobs.models import with_folders
from ms2sl.deprecated_names import formerly
from ms2sl.errors import InputError
from ms2sl.evaluation.aggregation import Result, summarise
from ms2sl.evaluation.evaluator import Evaluator, SystemUnderTest, real_signing
from ms2sl.evaluation.judged_clips import JudgedClips, judged_clips
from ms2sl.evaluation.retrieval import retrieval
from ms2sl.evaluation.steps import Point, latency, steps_plot, steps_table
from ms2sl.evaluation.tables import Table, cell, decisive, interval, markdown, title_of, with_interval
from ms2sl.io.storage import StoragePath, write_files
from ms2sl.io.uri import PathOrModelUri, PathOrUri, Uri
from ms2sl.systems import back_translation
from ms2sl.systems.back_translation import Reading
from ms2sl.systems.options import with_sections_of
from ms2sl.systems.registry import system
from ms2sl.tracking.tracker import Tracker, default_uri
from ms2sl.training.loop import TrainingConfig
from tune_spaces.ablations import FULL, KIND, SPACE

ABLATIONS = SPACE["variants"]


@with_sections_of(KIND)
class AblateCommand(TrainingCommand):
    """Trains MS2SL again and again, each time with one part changed, and compares."""

    data: PathOrUri = Field(
        "data/fingerspelling", description="folder of a prepared dataset; best one whose clips all have text and speech"
    )
    split: str = Field("test", description="split to judge on")
    clips: int = Field(200, gt=1, description="clips to judge on")
    back_translator: PathOrModelUri = Field(
        "runs/recogniser/model",
        description="folder, or models:/name@alias, of the recogniser or back-translator to judge by",
        json_schema_extra=formerly("reader"),
    )
    runs: PathOrUri = Field("runs/ablations", description="folder for the trained models and the results, local or a URI")
    only: tuple[str, ...] = Field(tuple(ABLATIONS), description=f"which of: {', '.join(ABLATIONS)}")
    seeds: int = Field(1, gt=0, description="trainings of each; one says nothing of how much is chance")
    sweep: tuple[evaluate.Steps, ...] = Field((1, 2, 4, 8, 16, 50), description="sampling steps of the first full model to compare")
    training: TrainingConfig = TrainingConfig()
    workers: int = Field(1, gt=0, description="DDP workers of a training")
    gpu: bool = Field(False, description="one GPU a worker")
    tracking: Uri | None = Field(None, description="MLflow tracking URI; an sqlite file in a local folder of runs by default")
    experiment: str = Field("ms2sl-ablations", description="MLflow experiment")


def run(options: AblateCommand) -> list[Result]:
    options = options.model_copy(update={"data": StoragePath(options.data).uri, "runs": StoragePath(options.runs).uri})
    unknown = set(options.only) - set(ABLATIONS)
    if unknown:
        raise InputError(f"there is no ablation '{unknown.pop()}'; there are: {', '.join(ABLATIONS)}")
    options = with_folders(options, "back_translator", "from", within=options.runs, runs=options.runs)
    dataset = evaluate.judged_data(options.data, options.back_translator)
    reads = back_translation.load(options.back_translator).reads
    clips = judged_clips(dataset, options.split, options.clips, reads)
    evaluate.check_reader(options.back_translator, dataset)
    if not len(clips) or not clips.spoken:
        raise InputError(f"the ablations need clips of split '{options.split}' with text, speech and poses")

    names = [name for name in ABLATIONS if name == FULL or name in options.only]  # all others are compared with the full model
    for name in names:
        training_of(options, name, 0).initial_card(dataset)
    models = {(name, seed): trained(options, name, seed) for name, seed in product(names, range(options.seeds))}
    entries = {
        (name, modality): [own(f"{name} {seed}", modality, models[name, seed]) for seed in range(options.seeds)]
        for name in names
        for modality in modalities(name)
    }
    swept = [evaluate.with_steps(entries[FULL, "text"][0], steps) for steps in sorted(set(options.sweep))]
    judging = evaluate.EvaluateCommand(
        data=options.data,
        split=options.split,
        clips=options.clips,
        back_translator=options.back_translator,
        out=options.runs,
        workers=options.workers,
        gpus_per_worker=float(options.gpu),
    )
    everyone = dict.fromkeys([real_signing(), *swept, *(entry for some in entries.values() for entry in some)])
    measured = evaluate.measure(judging, dataset, list(everyone), clips)
    (real,) = measured.columns(real_signing())

    def result(name: str, modality: str, trainings: list[SystemUnderTest]) -> Result:
        return summarise(name, modality, (next(measured.columns(entry)) for entry in trainings), real)

    results = {key: result(*key, some) for key, some in entries.items()}
    judge = Evaluator(dataset, None)
    found = {
        key: float(np.mean([found_signing(judge, entry, clips) for entry in some]))
        for key, some in tqdm(entries.items(), desc="retrieval", unit="model")
    }
    points = [
        Point(e.steps, result(FULL, "text", [e]), latency(judge.producer(e), (clip.utterance("text") for clip in clips))) for e in swept
    ]
    write(options, results, found, points, summarise(real_signing().name, "", [real], real), reads)
    measured.delete()
    return list(results.values())


def modalities(name: str) -> list[str]:
    """From which what an ablation makes is judged: what is not hidden from it, and from both the full model alone."""
    hidden = ABLATIONS[name].get("mask", {})
    learned = [modality for modality in ("text", "speech") if hidden.get(modality, 0) < 1]
    return [*learned, "both"] if name == FULL else learned


def own(name: str, modality: str, folder: StoragePath) -> SystemUnderTest:
    return SystemUnderTest(name=name, kind=KIND, modality=modality, source=folder.uri, options=system(KIND).Options())


def found_signing(judge: Evaluator, entry: SystemUnderTest, clips: JudgedClips) -> float:
    """R@1 of text or speech → real signing; NaN from both, which are no one vector of the joint space."""
    if entry.modality == "both":
        return float("nan")
    scores = retrieval(judge.producer(entry), clips, (entry.modality,))
    return scores.get(f"{entry.modality} → signing", {}).get("R@1", float("nan"))


def trained(options: AblateCommand, name: str, seed: int) -> StoragePath:
    """The folder of a model; it is trained if it is not there yet."""
    return train.run(training_of(options, name, seed))


def training_of(options: AblateCommand, name: str, seed: int) -> train.TrainCommand:
    folder, changed = re.sub(r"\W+", "-", name), ABLATIONS[name]
    recipe: dict[str, Any] = {key: getattr(options, key).model_dump() | changed.get(key, {}) for key in system(KIND).sections}
    training = options.training.model_copy(update={"seed": options.training.seed + seed, "validate_every": options.training.steps})
    return train.TrainCommand(
        data=options.data,
        runs=options.runs,
        name=f"{folder}-{seed}",
        training=training,
        workers=options.workers,
        gpu=options.gpu,
        tracking=options.tracking,
        experiment=options.experiment,
        candidate=False,
        **recipe | {"from": options.initial},
    )


def ablation_table(results: dict, found: dict, reads: Reading) -> Table:
    """Each ablation beside the full model from the same modality."""
    key, title = decisive(reads), title_of(reads)
    rows: Table = [("", "from", title, "95 %", "by training", "minus full", "hand DTW", "speed ratio", "length", "R@1 %")]
    for (name, modality), result in results.items():
        score = result.scores[key]
        gap = "" if name == FULL else with_interval(result.minus(results[FULL, modality], key), sign=True)
        motion = (cell(result, each, digits) for each, digits in (("hand_dtw", 3), ("amplitude", 2), ("length", 2)))
        recall = "" if np.isnan(found[name, modality]) else f"{found[name, modality]:.1f}"
        each = ", ".join(f"{value:.1f}" for value in score.seeds)
        rows.append((name, modality, f"{score.value:.1f}", interval(score), each, gap, *motion, recall))
    return rows


def write(options: AblateCommand, results: dict, found: dict, points: list[Point], ceiling: Result, reads: Reading) -> None:
    """``ablations.md``, ``ablations.json``, ``steps.png``, and a run in MLflow."""
    tables = [markdown(ablation_table(results, found, reads))]
    tables += [markdown(steps_table(points, reads))] if points else []
    plain = {result.label: {name: score.value for name, score in result.scores.items()} for result in results.values()}
    files = {
        "ablations.md": "\n\n".join(tables).encode() + b"\n",
        "ablations.json": json.dumps({"options": options.options(), "scores": plain}, indent=1).encode(),
    }
    files |= {"steps.png": steps_plot(points, ceiling, reads)} if points else {}
    tracker = Tracker.open(
        options.tracking or default_uri(options.runs), options.experiment, "ablations", params=options.options(), tags={"task": "ablate"}
    )
    for path in write_files(options.runs, files):
        tracker.artifact(path)
    tracker.metrics({f"{label}/{name}".replace(" ", "_"): value for label, some in plain.items() for name, value in some.items()}, 0)
    tracker.finish("FINISHED")
    print(f"\n{options.clips} clips of {options.split}, {options.training.steps} steps of training\n\n" + "\n\n".join(tables))
    print(f"\nablations: {StoragePath(options.runs) / 'ablations.md'}")


if __name__ == "__main__":
    main(AblateCommand, run)
