"""Judges a trained model on clips that it never saw, beside real signing and the trivial producers: a table and a gallery."""

import json
from pathlib import Path

from pydantic import Field
from tqdm import tqdm

from jobs.command import Command, Place, main
from ms2sl import backtranslation
from ms2sl.checkpoint import check_skeleton
from ms2sl.dataset import Dataset
from ms2sl.errors import InputError
from ms2sl.evaluation import Result, evaluate, markdown, recall_in_joint_space, table
from ms2sl.gallery import Column, Entry, gallery
from ms2sl.producers.baselines import MeanPose, NearestText, RandomClip, StaticPose, Training
from ms2sl.producers.ms2sl import MS2SLProducer
from ms2sl.rendering import strips
from ms2sl.tracking import Tracker, default_uri

INTRO = (
    "Clips that training never met. Each is shown as a person signed it, as MS2SL signs it from the text alone and from the speech alone, "
    "and as trivial producers would. Below each: what a reader, trained on real signing only, reads in it. The lower picture is the hands "
    "close up."
)


class EvaluateCommand(Command):
    """Scores a model on held-out clips and draws a gallery."""

    data: Place = Field("data/fingerspelling", description="folder of the prepared dataset, local or a URI")
    split: str = Field("test", description="split to judge on")
    model: Path = Field(Path("runs/quickstart/model"), description="folder of the trained model")
    reader: Path = Field(Path("runs/recogniser/model"), description="folder of the recogniser or back-translator to judge by")
    out: Path = Field(Path("runs/quickstart/evaluation"), description="folder for results.md, results.json and gallery.html")
    clips: int = Field(200, gt=1, description="clips to judge on, the first of the split")
    shown: int = Field(12, ge=0, description="clips in the gallery")
    steps: int = Field(8, gt=0, description="sampling steps")
    guidance: float = Field(1.0, ge=0, description="how strongly to follow the condition")
    seed: int = Field(0, description="seed of the samples")
    tracking: str | None = Field(None, description="MLflow tracking URI; an sqlite file in the folder of runs by default")


def run(options: EvaluateCommand) -> list[Result]:
    dataset = Dataset(options.data)
    producer = MS2SLProducer.load(options.model, steps=options.steps, guidance=options.guidance)
    check_skeleton(producer.card, dataset.skeleton, options.model)
    reader = backtranslation.load(options.reader)
    clips = [clip for clip in dataset.clips(options.split) if clip.text and clip.poses]
    spoken = [clip for clip in clips if clip.speech]
    clips = (spoken or clips)[: options.clips]
    if not clips:
        raise InputError(f"no clip of split '{options.split}' has both text and poses, so there is nothing to judge on")
    training = Training(dataset.clips("train"))
    producers = [(producer, "text"), *([(producer, "speech")] if spoken else [])]
    producers += [(NearestText(training), "text")] if dataset.card.splits["train"].with_text else []
    producers += [(kind(training), "") for kind in (RandomClip, StaticPose, MeanPose)]
    judged = evaluate(producers, clips, reader, dataset.skeleton, options.seed)
    results = []
    for result in tqdm(judged, total=len(producers) + 1, desc="evaluate", unit="producer"):
        if result.name == producer.name:
            result = result.with_recall(recall_in_joint_space(producer, clips, result.modality))
        results.append(result)
    write(options, results, clips[: options.shown], dataset)
    track(options, results)
    print(f"\n{len(clips)} clips of {options.split}, {options.steps} steps\n{markdown(results)}\n")
    return results


def write(options: EvaluateCommand, results: list[Result], shown: list, dataset: Dataset) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.md").write_text(markdown(results) + "\n")
    scores = {result.label: result.metrics() for result in results}
    (options.out / "results.json").write_text(json.dumps({"options": options.options(), "scores": scores}, indent=1))
    moments = [
        (f"{clip.text}\n{result.label.replace(' from ', chr(10) + 'from ')}", result.produced[i])
        for i, clip in enumerate(shown[:2])
        for result in results[:3]
    ]
    if moments:
        (options.out / "samples.png").write_bytes(strips(moments, dataset.skeleton))
    entries = [
        Entry(clip.text, clip.speech, [Column(result.label, result.produced[i], result.read[i]) for result in results])
        for i, clip in enumerate(shown)
    ]
    title, shown_entries = f"MS2SL: {dataset.card.name}, {options.split}", tqdm(entries, desc="gallery", unit="clip")
    pieces = gallery(title, INTRO, table(results), shown_entries, dataset.skeleton)
    with (options.out / "gallery.html").open("w", encoding="utf-8") as file:
        file.writelines(pieces)


def track(options: EvaluateCommand, results: list[Result]) -> None:
    """Adds the scores to the MLflow run of the training, if this model comes from one."""
    folder = options.model.absolute().parent
    known = folder / "mlflow_run_id"
    if not known.exists():
        return
    tracker = Tracker(options.tracking or default_uri(folder.parent), known.read_text())
    for result in results:
        tracker.metrics({f"{options.split}/{result.label.replace(' ', '_')}/{key}": value for key, value in result.metrics().items()}, 0)
    for name in ("gallery.html", "results.md", "samples.png"):
        if (options.out / name).exists():
            tracker.artifact(options.out / name, "evaluation")


if __name__ == "__main__":
    main(EvaluateCommand, run)
