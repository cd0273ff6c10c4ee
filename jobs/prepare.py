"""Prepares a corpus for training: import → check → normalise → speech → featurize → shards, on Ray Data.

    python -m jobs.prepare --corpus how2sign --how2sign.source /corpora/how2sign --out data/how2sign

Run again, it makes only the shards that are missing, or that have a clip whose files or texts are others than before. ``--out`` and the
source may be local or any URI of pyarrow (s3://, gs://, hdfs://).
"""

import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
import ray
from pydantic import AfterValidator, Field, create_model, field_validator
from tqdm import tqdm

from jobs.cli import Command, main, start_ray
from jobs.keypoints import find_keypoints
from jobs.machines import check_resources
from jobs.shared import check_shared
from jobs.waiting import watch
from ms2sl.config import changeable
from ms2sl.corpora import CORPORA
from ms2sl.corpora.records import flag
from ms2sl.data.corpus import Corpus
from ms2sl.data.dataset import READ_AHEAD, Dataset, DatasetCard, summary, write_dataset_card
from ms2sl.data.dataset_report import write_description
from ms2sl.data.ingest import (
    ShardPlan,
    SplitOverride,
    Synthesise,
    by_espeak,
    featurize,
    fingerprint,
    import_clips,
    is_done,
    plan_shards,
    shard_fingerprints,
    write_clips,
)
from ms2sl.data.kokoro import Kokoro, find_voices
from ms2sl.data.preprocessing import PreprocessConfig
from ms2sl.data.shards import ShardHeader
from ms2sl.data.speech_synthesis import espeak
from ms2sl.errors import InputError
from ms2sl.features import featurizer, same_featurizer
from ms2sl.features.base import SpeechConfig, TextConfig
from ms2sl.io.file_names import SplitName
from ms2sl.io.storage import StoragePath
from ms2sl.io.uri import PLACE, LocalPath, PathOrUri

STAGES, CPUS_PER_STAGE = 3, 0.3  # import, featurize and write together are a worker, and take a CPU


class PrepareOptions(Command):
    """Makes training-ready shards of a corpus: poses, text, speech and their features."""

    corpus: Literal[tuple(CORPORA)] = Field("fingerspelling", description="where clips come from")
    out: PathOrUri | None = Field(None, description="folder of the prepared dataset, local or a URI; by default data/<corpus>")
    text: TextConfig = TextConfig()
    speech: SpeechConfig = SpeechConfig()
    poses: PreprocessConfig = PreprocessConfig()
    split: SplitName | None = Field(None, description="put all clips in this split, whatever the corpus says")
    synthesise_speech: bool = Field(False, description="speak texts that have no recording with espeak-ng, marked as synthesised")
    kokoro_voices: Annotated[LocalPath, AfterValidator(Path.absolute)] | None = Field(
        None, description="with --synthesise-speech, a folder of voices of Kokoro-82M, which sound like people, in the place of espeak-ng's"
    )
    describe: bool = Field(False, description="print what is in the dataset, and write it as description.json and description.png")
    shard_size: int = Field(256, gt=0, description="clips a shard")
    workers: int = Field(2, gt=0, description="actors that import and featurize")
    gpus_per_worker: float = Field(0, ge=0, description="GPUs of each of them")

    @field_validator("corpus", mode="before")
    @classmethod
    def _spelled_as_a_flag(cls, value: object) -> object:
        return value.replace("-", "_") if isinstance(value, str) else value

    @property
    def folder(self) -> StoragePath:
        return StoragePath(self.out or f"data/{self.corpus}")

    @property
    def device(self) -> str:
        return "cuda" if self.gpus_per_worker else "cpu"

    def open_corpus(self) -> Corpus:
        """Raises InputError if it is not what it should be as a whole."""
        if self.kokoro_voices and not self.synthesise_speech:
            raise InputError("--kokoro-voices are to speak with --synthesise-speech: say both")
        self.synthesiser()  # what it lacks is an error now, and not clip by clip
        corpus = CORPORA[self.corpus](getattr(self, self.corpus))  # type: ignore[call-arg]
        return SplitOverride(corpus, self.split) if self.split else corpus  # type: ignore[return-value]

    def synthesiser(self) -> Synthesise | None:
        """Who speaks texts that have no recording. Raises InputError if that cannot be."""
        if not self.synthesise_speech:
            return None
        espeak()
        return Kokoro(self.kokoro_voices) if self.kokoro_voices else by_espeak

    def decisive(self, corpus: Corpus) -> dict:
        """All that decides what the dataset holds."""
        return self.deciding() | {"clips": corpus.digest()}

    def deciding(self) -> dict:
        """What decides it beside the clips of the corpus."""
        options = {"corpus", self.corpus, "text", "speech", "poses", "split", "synthesise_speech", "shard_size"}
        said = self.model_dump(mode="json", include=options, exclude={self.corpus: changeable(type(getattr(self, self.corpus)))})
        if self.kokoro_voices:
            said["kokoro_voices"] = {name: zlib.crc32(path.read_bytes()) for name, path in find_voices(self.kokoro_voices).items()}
        return said


# One group of options for each corpus in the registry.
PrepareCommand = create_model(
    "PrepareCommand", __base__=PrepareOptions, __module__=__name__, **{name: (kind.Config, kind.Config()) for name, kind in CORPORA.items()}
)


class Import:
    """Clips of one planned shard, an Arrow block."""

    def __init__(self, options: PrepareOptions, corpus: Corpus):
        self.options, self.corpus, self.synthesise = options, corpus, options.synthesiser()

    def __call__(self, batch: dict) -> pa.Table:
        plan = ShardPlan(batch["file"][0], batch["start"][0], batch["stop"][0])
        return import_clips(self.corpus, plan, self.options.poses, self.synthesise)


class Featurize:
    """Adds features to a block."""

    def __init__(self, header: ShardHeader, device: str):
        self.text, self.speech = same_featurizer(header.text, device), same_featurizer(header.speech, device)

    def __call__(self, table: pa.Table) -> pa.Table:
        return featurize(table, self.text, self.speech)


class Write:
    """A block → a shard on disk; passes on its name and counts."""

    def __init__(self, out: StoragePath, header: ShardHeader, marks: dict[str, str]):
        self.out, self.header, self.marks = out, header, marks

    def __call__(self, table: pa.Table) -> pa.Table:
        file = table["file"][0].as_py()
        rejected = write_clips(self.out / file, table, self.header.model_copy(update={"fingerprint": self.marks[file]}))
        return pa.table({"file": [file], "clips": [len(table)], "rejected": [rejected]})


def prepare(options: PrepareOptions) -> DatasetCard:
    """Makes the shards that are missing, or whose clips are others now, and ``dataset.json``.

    Raises InputError if no training clip can be used.
    """
    corpus, out = options.open_corpus(), options.folder
    _check_owner(out, corpus.name)
    mark = fingerprint(options.decisive(corpus))
    plans = plan_shards(corpus, options.shard_size)
    marks = shard_fingerprints(options.deciding(), corpus, plans)
    with ThreadPoolExecutor(READ_AHEAD) as pool:
        done = pool.map(lambda plan: is_done(out / plan.file, marks[plan.file]), plans)
        missing = [plan for plan, there in zip(plans, done, strict=True) if not there]
    if missing:
        # Made here first: what is wrong with their options is an error for here, not for actors.
        text, speech = featurizer(options.text, "text").features, featurizer(options.speech, "speech").features
        header = ShardHeader(fingerprint=mark, skeleton=corpus.skeleton, text=text, speech=speech)
        _make(options, corpus, Write(out, header, marks), missing)
    return write_dataset_card(corpus.name, out, [plan.file for plan in plans], options.poses.fps or corpus.fps, corpus.card(), mark)


def _check_owner(out: StoragePath, name: str) -> None:
    """Raises InputError if the folder holds the dataset of another corpus."""
    try:
        found = Dataset(out).card.name
    except InputError:
        return  # none, or one that is damaged and is made anew
    if found != name:
        raise InputError(f"{out} holds a dataset of {found}: choose another --out")


def _make(options: PrepareOptions, corpus: Corpus, write: Write, plans: list) -> None:
    start_ray()
    workers = min(options.workers, len(plans))
    check_resources(workers, CPUS_PER_STAGE * STAGES, options.gpus_per_worker, apart=True)  # a stage is a process
    config = getattr(options, options.corpus)
    places = [name for name, field in type(config).model_fields.items() if PLACE in field.metadata]
    named = {f"{flag(options.corpus)}.{name}": getattr(config, name) or None for name in places}
    written = {f"{flag(options.corpus)}.{name}" for name in getattr(config, "written", ())}
    voices = {"--kokoro-voices": options.kokoro_voices} if options.kokoro_voices else {}
    check_shared(
        read=voices | {option: where for option, where in named.items() if option not in written},
        written={"--out": write.out.uri} | {option: where for option, where in named.items() if option in written},
    )
    if hasattr(corpus, "detect"):
        find_keypoints(corpus, [index for plan in plans for index in range(plan.start, plan.stop)], options.workers)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = None  # a block is a shard
    pool = ray.data.ActorPoolStrategy(size=workers)
    done = (
        ray.data.from_items([asdict(plan) for plan in plans], override_num_blocks=len(plans))
        .map_batches(Import, fn_constructor_args=(options, corpus), batch_size=1, compute=pool, num_cpus=CPUS_PER_STAGE)
        .map_batches(
            Featurize,
            fn_constructor_args=(write.header, options.device),
            batch_size=None,
            batch_format="pyarrow",
            compute=pool,
            num_cpus=CPUS_PER_STAGE,
            num_gpus=options.gpus_per_worker or None,
        )
        .map_batches(write.__call__, batch_size=None, batch_format="pyarrow", num_cpus=CPUS_PER_STAGE)
    )
    rejected = 0
    with tqdm(total=sum(plan.stop - plan.start for plan in plans), desc="prepare", unit="clip") as bar:
        watch(bar)
        for row in done.iter_rows():
            rejected += row["rejected"]
            bar.set_postfix_str(f"{rejected} rejected" if rejected else "", refresh=False)
            bar.update(row["clips"])


def run(options: PrepareOptions) -> None:
    started = time.monotonic()
    card = prepare(options)
    if options.describe:
        print(write_description(options.folder))
    print(*summary(card), *card.counts.lines("clips"), f"dataset: {options.folder} ({time.monotonic() - started:.0f} s)", sep="\n")


if __name__ == "__main__":
    main(PrepareCommand, run)
