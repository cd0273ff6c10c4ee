"""What makes a diffusion hold on signs of which there are many recordings: one change of the recipe at a time, the same budget for each.

    python -m benchmarks.sign_study --data data/signs --back-translator runs/reader/model --steps 600 --seeds 0,1,2

Trains in this process, a variant after the other (about ten minutes each on one core), and goes on where it was stopped. Each run keeps
its figures, so several processes may share the variants, and one that is given all of them then writes the table.
"""

import argparse
import itertools
import json
import os
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.common import machine, save
from ms2sl.data.batch_sampler import EpochPlan
from ms2sl.data.dataset import Dataset
from ms2sl.data.types import Clip, Poses
from ms2sl.inference.sampling_config import Sampling
from ms2sl.io.atomic import atomic_write
from ms2sl.metrics.distribution import frechet_distance
from ms2sl.metrics.motion import diversity, jerk, movement
from ms2sl.metrics.text import error_rate
from ms2sl.systems.ms2sl.config import ModelConfig
from ms2sl.systems.ms2sl.loss_weights import LossWeights
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from ms2sl.systems.ms2sl.task import MS2SLTask
from ms2sl.systems.recogniser import Recogniser, load
from ms2sl.training.checkpoint import ModelCard, fingerprint
from ms2sl.training.local import LocalReporter, local_batches
from ms2sl.training.loop import TrainingConfig, train

EARLIER = {"reordering_layers": 0, "guidance_from": 0}
VARIANTS = {
    "flow": {},
    "regression": {"schedule": "none"},
    "cosine": {"schedule": "cosine"},
    "velocity": {"prediction_type": "v_prediction"},
    "white noise": {"noise_length": 1} | EARLIER,
    "separate patches": {"overlap": False} | EARLIER,
    "all always seen": {"visibility": False} | EARLIER,
    "signers as one": {"signer_condition": False},
    "order of speech": EARLIER,
    "order without glosses": {"gloss_ctc": 0},
    "none of the three": {"visibility": False, "overlap": False, "noise_length": 1} | EARLIER,
    "none of the three, regression": {"visibility": False, "overlap": False, "noise_length": 1, "schedule": "none"} | EARLIER,
}
SAMPLINGS = [Sampling(steps=steps, guidance=guidance) for guidance in (1, 1.5) for steps in (1, 4, 8, 20, 50)]
AS_SIGNED = Sampling(steps=8, guidance=1.5)  # also with the signer of each clip asked for
SAMPLES, GROUPS = 3, 40  # of one text; texts with several recordings
SCORES = ("gloss error", "of monotone", "of reordered", "Fréchet", "diversity", "jerk", "speed", "length")


def recipe(variant: str) -> tuple[ModelConfig, LossWeights]:
    """Its changes are of options of the model or of weights of the loss."""
    changes = VARIANTS[variant].items()
    shape, weights = ({name: value for name, value in changes if name in of.model_fields} for of in (ModelConfig, LossWeights))
    return ModelConfig(**shape), LossWeights(**weights)


def trained(dataset: Dataset, variant: str, steps: int, seed: int, runs: Path) -> Path:
    """The checkpoint of a variant after so many steps."""
    torch.manual_seed(seed)
    config, weights = recipe(variant)
    whole = zlib.crc32(f"{config} {weights} {dataset.card.fingerprint}".encode())
    folder = runs / f"{variant.replace(' ', '-').replace(',', '')}-{steps}-{seed}-{whole:08x}"
    task = MS2SLTask(dataset, config, weights, ModelCard.of("ms2sl", config, dataset.card))
    training = TrainingConfig(steps=steps, seed=seed, log_every=50, checkpoint_every=100, validate_every=steps)
    plan, reporter = EpochPlan.of(dataset, training.batch_size, seed), LocalReporter(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def batches(step: int):
        with tqdm(total=steps, initial=step, desc=folder.name, unit="step") as bar:
            for batch in local_batches(plan, task.collate, step):
                yield batch
                bar.update()

    train(task, batches, training, reporter)
    latest = reporter.latest()
    assert latest is not None
    return latest


def reordered(clip: Clip) -> bool:
    """Whether its signs come in another order than the words that they are named after (book: books, iloveyou: i love you)."""
    words, places = clip.text.split(), []
    for sign in clip.gloss.split():
        name = sign.replace("-", "")
        places += [i for i in range(len(words)) if i not in places and "".join(words[i:]).startswith(name)][:1]
    return places != sorted(places)


class Judge:
    """What is read in signing, and how it moves, beside real clips of the same texts."""

    def __init__(self, dataset: Dataset, split: str, reader: Recogniser, most: int):
        self.skeleton, self.reader = dataset.skeleton, reader
        self.clips = [clip for clip in itertools.islice(dataset.clips(split), most) if clip.poses and clip.text and clip.gloss]
        self.real = [clip.poses for clip in self.clips]
        by_text: dict[str, list[Clip]] = defaultdict(list)
        for clip in self.clips:
            by_text[clip.text].append(clip)
        self.several = [some for some in by_text.values() if len(some) > 1][:GROUPS]
        self.own_diversity = np.mean([diversity([clip.poses for clip in some[:SAMPLES]], self.skeleton) for some in self.several])
        self.own_motion = self._motion(self.real)
        self.own_embeddings = reader.embeddings(self.real)

    def _motion(self, poses: Sequence[Poses]) -> list[float]:
        measures = (lambda one: jerk(one, self.skeleton), lambda one: movement(one, self.skeleton), lambda one: one.n_frames)
        return [float(np.mean([measure(each) for each in poses])) for measure in measures]

    def scores(self, poses: Sequence[Poses], samples: Sequence[Sequence[Poses]]) -> list[float]:
        """``SCORES``: errors in per cent, a distance, and shares of real signing. samples: several of each text of ``several``."""
        read = [text.split() for text in self.reader.read(poses)]
        pairs = [(said, clip.gloss.split(), reordered(clip)) for said, clip in zip(read, self.clips, strict=True)]
        of = ([pair[:2] for pair in pairs if pair[2] in orders] for orders in ((False, True), (False,), (True,)))
        errors = [error_rate(*zip(*some, strict=True)) if some else np.nan for some in of]
        near = abs(frechet_distance(self.reader.embeddings(poses), self.own_embeddings))
        varied = np.mean([diversity(each, self.skeleton) for each in samples]) / self.own_diversity
        moved = [one / real for one, real in zip(self._motion(poses), self.own_motion, strict=True)]
        return [float(value) for value in (*errors, near, varied, *moved)]

    def of(self, producer: MS2SLProducer, sampling: Sampling, as_signed: bool = False) -> list[float]:
        def produce(clips: Sequence[Clip], seed: int) -> list[Poses]:
            said = [replace(clip.utterance("text"), signer=clip.signer if as_signed else None) for clip in clips]
            return producer.produce(said, sampling, seed=seed)

        first = [some[0] for some in self.several]
        samples = zip(*(produce(first, seed) for seed in range(1, SAMPLES + 1)), strict=True)
        return self.scores(produce(self.clips, 0), list(samples))


def judged(judge: Judge, checkpoint: Path, by: str) -> dict[str, list[float]]:
    """The scores by what was asked for, in words; kept beside the checkpoint, with those of other judges. by: who judges, on what."""
    kept = checkpoint / f"sign_study-{zlib.crc32(by.encode()):08x}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    producer = MS2SLProducer.load(checkpoint)
    scores = {}
    for sampling in SAMPLINGS:
        if producer.model.config.schedule != "none" or sampling.steps == 1:
            scores[f"{sampling.steps} at {sampling.guidance:g}"] = judge.of(producer, sampling)
    if {clip.signer for clip in judge.clips} <= {*(producer.card.choices or {}).get("signer", ())}:
        asked = AS_SIGNED if producer.model.config.schedule != "none" else AS_SIGNED.model_copy(update={"steps": 1})
        scores[f"{asked.steps} at {asked.guidance:g}, of its signer"] = judge.of(producer, asked, as_signed=True)
    with atomic_write(kept) as temporary:
        temporary.write_text(json.dumps(scores))
    return scores


def cell(values: Sequence[float]) -> str:
    """The mean over seeds, and between what they lie."""
    digits = 1 if np.mean(values) > 5 else 2
    return f"{np.mean(values):.{digits}f}" + (f" ({min(values):.{digits}f}–{max(values):.{digits}f})" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--back-translator", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--runs", type=Path, default=Path("runs/sign_study"))
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    dataset = Dataset(arguments.data)
    judge = Judge(dataset, arguments.split, load(arguments.back_translator), arguments.clips)
    real = judge.scores(judge.real, [[clip.poses for clip in some[:SAMPLES]] for some in judge.several])
    rows = [("variant", "steps at guidance", *SCORES), ("real signing", "", *(cell([value]) for value in real))]
    print(*rows[-1], sep="  ", flush=True)
    by = f"{SAMPLINGS} {AS_SIGNED} {dataset.card.fingerprint} {arguments.split} {arguments.clips} {fingerprint(arguments.back_translator)}"
    for name in arguments.variants.split(","):
        found: dict[str, list[list[float]]] = defaultdict(list)
        for seed in map(int, arguments.seeds.split(",")):
            for asked, scores in judged(judge, trained(dataset, name, arguments.steps, seed, arguments.runs), by).items():
                found[asked].append(scores)
        for asked, of_seeds in found.items():
            rows.append((name, asked, *(cell(values) for values in zip(*of_seeds, strict=True))))
            print(*rows[-1], sep="  ", flush=True)
    budget = f"{arguments.steps} steps of training, seeds {arguments.seeds}: mean (least–most)"
    title = f"{len(judge.clips)} clips of {arguments.split}, {budget}. {machine()}"
    save("sign_study", title, rows)


if __name__ == "__main__":
    main()
