"""Prepares a corpus for training: import → normalise → featurize → shards, on Ray Data.

Run again, it makes only the shards that are missing.
"""

from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import ray
from pydantic import Field
from tqdm import tqdm

from jobs.command import Command, main, start_ray
from ms2sl.corpora import CORPORA, Corpus, CorpusName
from ms2sl.corpora.fingerspelling import FingerspellingConfig
from ms2sl.dataset import DatasetCard, describe, summary
from ms2sl.features import featurizer
from ms2sl.preparing import ShardPlan, featurize, fingerprint, import_rows, is_done, plan_shards
from ms2sl.shards import SCHEMA, Rejection, ShardHeader, write_shard

STAGED = SCHEMA.append(pa.field("file", pa.string())).append(pa.field("error", pa.string()))


class PrepareCommand(Command):
    """Makes training-ready shards of a corpus: poses, text, speech and their features."""

    corpus: CorpusName = Field("fingerspelling", description="where clips come from")
    out: Path = Field(Path("data/fingerspelling"), description="folder of the prepared dataset")
    fingerspelling: FingerspellingConfig = FingerspellingConfig()
    text_features: str = Field("bytes", description="featurizer of text")
    speech_features: str = Field("log-mel", description="featurizer of speech")
    shard_size: int = Field(256, gt=0, description="clips a shard")
    workers: int = Field(2, gt=0, description="actors that featurize")
    gpus_per_worker: float = Field(0, ge=0, description="GPUs of each of them")

    def open_corpus(self) -> Corpus:
        return CORPORA[self.corpus](getattr(self, self.corpus))

    @property
    def fingerprint(self) -> str:
        """Of all options that decide what the shards hold."""
        return fingerprint(self.model_dump(mode="json", include={"corpus", self.corpus, "text_features", "speech_features", "shard_size"}))


class Import:
    """Clips of one planned shard → rows, an Arrow block."""

    def __init__(self, options: PrepareCommand):
        self.corpus = options.open_corpus()

    def __call__(self, batch: dict) -> pa.Table:
        plan = ShardPlan(batch["file"][0], batch["start"][0], batch["stop"][0])
        rows, rejected = import_rows(self.corpus, plan)
        rows += [{"id": rejection.id, "error": rejection.reason} for rejection in rejected]
        return pa.Table.from_pylist([row | {"file": plan.file} for row in rows], STAGED)


class Featurize:
    """Fills in features; what cannot be featurized gets an error."""

    def __init__(self, options: PrepareCommand):
        self.text, self.speech = featurizer(options.text_features, "text"), featurizer(options.speech_features, "speech")

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        failed = [row for row in rows if row["error"]]
        good = [row for row in rows if not row["error"]]
        rejected = featurize(good, self.text, self.speech)
        failed += [{"id": rejection.id, "file": rows[0]["file"], "error": rejection.reason} for rejection in rejected]
        return pa.Table.from_pylist(good + failed, STAGED)


class Write:
    """A block of rows → a shard on disk; passes on its name and counts."""

    def __init__(self, out: Path, header: ShardHeader):
        self.out, self.header = out, header

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        rejected = tuple(Rejection(id=row["id"], reason=row["error"]) for row in rows if row["error"])
        accepted = [{name: row[name] for name in SCHEMA.names} for row in rows if not row["error"]]
        write_shard(self.out / rows[0]["file"], accepted, self.header.model_copy(update={"rejected": rejected}))
        return pa.table({"file": [rows[0]["file"]], "clips": [len(rows)]})


def prepare(options: PrepareCommand) -> DatasetCard:
    """Makes the missing shards and ``dataset.json``. Raises InputError if no training clip can be used."""
    featurizer(options.text_features, "text"), featurizer(options.speech_features, "speech")  # errors are for here, not for actors
    corpus, out, mark = options.open_corpus(), options.out.absolute(), options.fingerprint
    header = ShardHeader(
        fingerprint=mark, skeleton=corpus.skeleton, text_features=options.text_features, speech_features=options.speech_features
    )
    plans = plan_shards(corpus, options.shard_size)
    missing = [plan for plan in plans if not is_done(out / plan.file, mark)]
    if missing:
        _make(options, out, header, missing)
    return describe(corpus.name, out, [plan.file for plan in plans], corpus.fps, corpus.card())


def _make(options: PrepareCommand, out: Path, header: ShardHeader, plans: list) -> None:
    start_ray()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = None  # a block is a shard
    pool = ray.data.ActorPoolStrategy(size=min(options.workers, len(plans)))
    done = (
        ray.data.from_items([asdict(plan) for plan in plans], override_num_blocks=len(plans))
        .map_batches(Import, fn_constructor_args=(options,), batch_size=1, compute=pool)
        .map_batches(
            Featurize,
            fn_constructor_args=(options,),
            batch_size=None,
            batch_format="pyarrow",
            compute=pool,
            num_gpus=options.gpus_per_worker or None,
        )
        .map_batches(Write(out, header).__call__, batch_size=None, batch_format="pyarrow")
    )
    with tqdm(total=sum(plan.stop - plan.start for plan in plans), desc="prepare", unit="clip") as bar:
        for row in done.iter_rows():
            bar.update(row["clips"])


def run(options: PrepareCommand) -> None:
    card = prepare(options)
    print(*summary(card), f"dataset: {options.out}", sep="\n")


if __name__ == "__main__":
    main(PrepareCommand, run)
