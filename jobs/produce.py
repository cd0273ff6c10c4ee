"""Produces signing for many utterances on Ray Data, or for one.

    python -m jobs.produce --model runs/quickstart/model --text hello
    python -m jobs.produce --model models:/ms2sl@champion --utterances words.csv --out signed

Run again, it makes only what is missing, or was made of another text or recording.
Status: 0 if all is there, 3 if some utterances could not be produced, 1 if none could.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise, repeat

import ray
import torch
from pydantic import Field
from tqdm import tqdm

from jobs.cli import NOTHING_DONE, SOME_FAILED, Command, main, start_ray
from jobs.machines import check_resources
from jobs.models import with_folders
from jobs.shared import check_shared
from jobs.threads import threads_of_one
from jobs.waiting import watch
from ms2sl.corpora.slrtp import export
from ms2sl.data.clip_counts import Counts, kind
from ms2sl.data.pose_format_io import to_bytes
from ms2sl.data.signed_language import SignedLanguage
from ms2sl.data.skeleton_registry import HOLISTIC_178X3
from ms2sl.data.types import Utterance
from ms2sl.errors import InputError
from ms2sl.inference.batch_output import OutputFolder, RemarksOn, Settings
from ms2sl.inference.producer import Producer
from ms2sl.inference.recordings import Recording, hidden, read_speech
from ms2sl.inference.utterance_input import counted, read_utterances, with_numbers
from ms2sl.inference.utterance_list import UtteranceList
from ms2sl.io.storage import StoragePath
from ms2sl.io.uri import PathOrModelUri, PathOrUri, Uri
from ms2sl.rendering import gif
from ms2sl.systems.options import chosen, with_call_options
from ms2sl.systems.registry import Context, load_producer, system
from ms2sl.training.checkpoint import ModelCard

SHOWN = 10  # remarks, and reasons of those that failed


@with_call_options
class ProduceCommand(Command):
    """Signs what is written or spoken: one --text or --speech, or a file or folder of --utterances."""

    model: PathOrModelUri = Field("runs/quickstart/model", description="folder of a trained model, or models:/name@alias of MLflow")
    text: str | None = Field(None, description="one text to sign")
    speech: PathOrUri | None = Field(None, description="one recording to sign (wav, flac, mp3, ogg, m4a, webm, …)")
    utterances: PathOrUri | None = Field(None, description="a .csv, .tsv, .jsonl, .parquet or .txt of texts, or a folder of recordings")
    out: PathOrUri = Field("produced", description="folder for .pose files, Parquet and GIF, local or a URI")
    seed: int = Field(0, description="the same seed gives the same signing")
    duration: float | None = Field(None, gt=0, description="length in seconds; by default the model decides")
    signed_language: SignedLanguage | None = Field(
        None, description="ISO 639-3 code of the language to sign in, such as ase, where a table does not say; by default the model decides"
    )
    signer: str | None = Field(
        None,
        min_length=1,
        description="a signer of the training data to sign like, where a table does not say; by default nobody in particular",
    )
    workers: int = Field(1, gt=0, description="actors that sample")
    gpus_per_worker: float = Field(0, ge=0, description="GPUs of each of them")
    slrtp: bool = Field(False, description="also write slrtp.pt, in the format of the SLRTP challenge's evaluation")
    batch_size: int = Field(32, gt=0, description="utterances a batch")
    tracking: Uri | None = Field(None, description="MLflow tracking URI, for models:/…; by default the database in runs")

    @classmethod
    def parse(cls, arguments: list[str]) -> "ProduceCommand":
        """``--text None`` is that word; for other options, None takes back what a recipe says."""
        command = super().parse(arguments)
        word = "--text=None" in arguments or ("--text", "None") in pairwise(arguments)
        return command.model_copy(update={"text": "None"}) if command.text is None and word else command


class Produce:
    """An actor with the model in memory: a batch of utterances → files on disk."""

    def __init__(self, options: ProduceCommand):
        torch.set_num_threads(threads_of_one(options.workers))
        self.options, self.folder = options, OutputFolder(options.out)
        self.producer = load(options)
        self.remarks_on = remarks_of(self.producer.card)

    def __call__(self, batch: dict) -> dict:
        outcome = self.folder.produce(self.producer, list(batch["utterance"]), seed=self.options.seed, remarks_on=self.remarks_on)
        return {name: [value] for name, value in outcome._asdict().items()}


def load(options: ProduceCommand) -> Producer:
    """The producer, with the options of its calls."""
    producer = load_producer(options.model, Context("cuda" if options.gpus_per_worker else "cpu"))
    producer.options = chosen(system(producer.card.kind), options)
    return producer


def remarks_of(card: ModelCard) -> RemarksOn:
    """What is odd about an utterance that the model signs."""
    return partial(system(card.kind).remarks, card)


def run(options: ProduceCommand) -> int:
    """The status of the command."""
    given = [name for name in ("text", "speech", "utterances") if getattr(options, name) is not None]
    if len(given) != 1:
        raise InputError("give one of --text, --speech and --utterances")
    if options.slrtp and options.utterances is None:
        raise InputError("--slrtp writes a file of many utterances: give --utterances")
    options = with_folders(options.model_copy(update={"out": StoragePath(options.out).uri}), "model", within=options.out)
    if options.utterances is not None:
        return produce_many(options)
    produce_one(options)
    return 0


def produce_one(options: ProduceCommand) -> None:
    producer = load(options)
    spoken, out = options.speech and StoragePath(options.speech), StoragePath(options.out)
    utterance = Utterance(spoken.stem, speech=read_speech(spoken)) if spoken else Utterance("--text", text=options.text)
    utterance = replace(utterance, seconds=options.duration, signed_language=options.signed_language, signer=options.signer)
    print_remarks(Counter(remarks_of(producer.card)(utterance)))
    poses = producer.produce([utterance], seed=options.seed)[0]
    content = spoken.read_bytes() if spoken else options.text.encode()
    name = OutputFolder(out).own_name(spoken.stem if spoken else options.text, content)
    files = {f"{name}.pose": to_bytes(poses, producer.skeleton), f"{name}.gif": gif(poses, producer.skeleton)}
    for file, content in files.items():
        (out / file).write(content)
    print(f"{poses.n_frames} frames, {poses.seconds:.1f} s: {' and '.join(str(out / file) for file in files)}")


def print_remarks(counts: Mapping[str, int], others: int = 0) -> None:
    """What was odd, and of how many utterances each was said, where of several; others: how many more remarks there are."""
    for remark, count in counts.items():
        print(f"remark: {remark}" + f" ({count} utterances)" * (count > 1))
    if others:
        print(f"and {others} more remarks")


class RemarkCounts:
    """What was odd about utterances, in memory that does not grow with them.

    shown: how often each of the first ten remarks was made. kinds: how many utterances have remarks of the same kinds.
    """

    def __init__(self) -> None:
        self.shown: Counter[str] = Counter()
        self.kinds: Counter[tuple[str, ...]] = Counter()
        self._others: set[int] = set()  # hashes

    def add(self, remarks: Iterable[Sequence[str]]) -> None:
        """remarks: of each utterance that was odd."""
        for some in remarks:
            self.kinds[tuple(dict.fromkeys(map(kind, some)))] += 1
            for remark in some:
                if remark in self.shown or len(self.shown) < SHOWN:
                    self.shown[remark] += 1
                else:
                    self._others.add(hash(remark))

    @property
    def others(self) -> int:
        return len(self._others)

    @property
    def total(self) -> int:
        """Utterances that were odd."""
        return self.kinds.total()


class Rows(Sequence[dict[str, Utterance | Recording]]):
    """Utterances as rows of Ray Data, which takes them block after block."""

    def __init__(self, utterances: UtteranceList):
        self.utterances = utterances

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index):
        return {"utterance": self.utterances[index]}


def produce_many(options: ProduceCommand) -> int:
    folder = OutputFolder(options.out)
    producer = load(options)  # a wrong model is an error here, not in the actors
    card = producer.card
    if options.slrtp and card.skeleton != HOLISTIC_178X3:
        raise InputError(f"--slrtp needs a model of skeleton {HOLISTIC_178X3.name}, and this one is of {card.skeleton.name}")
    if options.slrtp and card.placement is None:
        raise InputError("--slrtp needs a model that knows where its corpus stands: prepare the data again, and train")
    listed = StoragePath(options.utterances)
    given = read_utterances(listed, options.duration, options.signed_language, options.signer)
    folder.claim(Settings.of(options.model, producer.options, seed=options.seed, duration=options.duration))
    before = folder.made()
    utterances, unreadable, others = with_numbers(given, before.texts())
    missing = folder.missing(utterances, before)
    made, failed, remarks = 0, dict(unreadable), RemarkCounts()
    if len(missing):
        start_ray()
        check_resources(options.workers, gpus=options.gpus_per_worker)
        recordings = options.utterances if listed.is_folder() else None
        check_shared(
            read={"--model": options.model, "--utterances": recordings}, written={"--out": options.out}, gpus=options.gpus_per_worker
        )
        ray.data.DataContext.get_current().enable_progress_bars = False
        batches = -(-len(missing) // options.batch_size)
        produced = ray.data.from_items(Rows(missing), override_num_blocks=batches).map_batches(
            Produce,
            fn_constructor_args=(options,),
            batch_size=options.batch_size,
            compute=ray.data.ActorPoolStrategy(size=min(options.workers, batches)),
            num_gpus=options.gpus_per_worker or None,
        )
        with tqdm(total=len(missing), desc="produce", unit="utterance") as bar:
            watch(bar)
            for row in produced.iter_rows():
                made += row["made"]
                failed |= dict(row["failed"])
                remarks.add(row["remarks"])
                bar.update(row["made"] + len(row["failed"]))
    print_remarks(remarks.shown, remarks.others)
    if others:
        print(f"no recordings by their names, and left out: {counted(others)}")
    for name, reason in list(failed.items())[:SHOWN]:
        print(f"not produced: {name}: {reason}")
    folder.write_failures(failed)
    if options.slrtp:
        asked = set(utterances.ids.to_pylist())
        export(folder.path / "slrtp.pt", (clip for clip in folder.clips() if clip.id in asked), card.placement)
        if failed:
            print(f"slrtp.pt lacks {len(failed)} utterances; the challenge's evaluation wants all of its test set")
    plain = len(utterances) - len(missing) + made - remarks.total
    counts = Counts.of(chain(repeat((), plain), remarks.kinds.elements()), failed.values(), others + hidden(listed))
    print(*counts.lines("utterances"), sep="\n")
    if earlier := sorted(before.without(utterances.ids)):
        rest = f" and {len(earlier) - SHOWN} more" if len(earlier) > SHOWN else ""
        print(f"{len(earlier)} of an earlier list remain, and are of no line of this one: {', '.join(earlier[:SHOWN])}{rest}")
    print(f"{made} produced, {len(utterances) - len(missing)} were there already, {len(failed)} failed: {folder.path}")
    if not failed:
        return 0
    return SOME_FAILED if made or len(missing) < len(utterances) else NOTHING_DONE


if __name__ == "__main__":
    main(ProduceCommand, run)
