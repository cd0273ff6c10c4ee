"""Producers judged on real clips they never saw: one row a producer and modality."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ms2sl.backtranslation import Reader
from ms2sl.backtranslation.translator import Translator
from ms2sl.clip import Clip, Poses
from ms2sl.features.text_bytes import plain
from ms2sl.metrics.motion import hand_dtw, jerk, movement
from ms2sl.metrics.retrieval import recall_at
from ms2sl.metrics.text import bleu, chrf, letter_error_rate, rouge_l, word_error_rate
from ms2sl.producers import Producer
from ms2sl.producers.ms2sl import MS2SLProducer
from ms2sl.skeleton import Skeleton

REAL = "real signing"
MOTION = ("hand DTW", "amplitude", "length", "jerk", "R@1 %")
SENTENCES = {"BLEU-4": "bleu_4", "WER %": "word_error"}  # columns of a reader of sentences


@dataclass(frozen=True)
class Result:
    """What a producer made of each clip, and how it scores.

    letter_error: of what is read, in per cent. sentences: further scores of what a reader of sentences reads, by name.
    hand_dtw: mean of clips, in shoulder widths. amplitude, jerk: hand speed and third derivative, mean over clips, as a share of the real
    clips'. length: mean ratio of lengths. recall: R@1 of the condition among the real clips in the joint space, in per cent; MS2SL alone
    has one.
    """

    name: str
    modality: str
    produced: Sequence[Poses]
    read: Sequence[str]
    letter_error: float
    hand_dtw: float
    amplitude: float
    length: float
    jerk: float
    sentences: Mapping[str, float] = field(default_factory=dict)
    recall: float | None = None

    @property
    def label(self) -> str:
        return f"{self.name} from {self.modality}" if self.modality else self.name

    def with_recall(self, recall: float) -> "Result":
        return replace(self, recall=recall)

    def metrics(self) -> dict[str, float]:
        """By name, for tracking."""
        names = ("letter_error", "hand_dtw", "amplitude", "length", "jerk", "recall")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None} | dict(self.sentences)

    def cells(self) -> tuple[str, ...]:
        recall = "" if self.recall is None else f"{self.recall:.1f}"
        texts = [self.sentences[key] for key in SENTENCES.values()] if self.sentences else [self.letter_error]
        motion = (f"{self.hand_dtw:.3f}", f"{self.amplitude:.2f}", f"{self.length:.2f}", f"{self.jerk:.2f}")
        return (self.name, self.modality, *(f"{score:.1f}" for score in texts), *motion, recall)


def judge(name: str, modality: str, produced: Sequence[Poses], clips: Sequence[Clip], reader: Reader, skeleton: Skeleton) -> Result:
    """Scores of ``produced`` against the real clips, row by row."""
    real = [clip.poses for clip in clips]
    read, said = reader.read(produced), [plain(clip.text) for clip in clips]

    def ratio(measure) -> float:
        return float(np.mean([measure(poses, skeleton) for poses in produced]) / np.mean([measure(poses, skeleton) for poses in real]))

    return Result(
        name,
        modality,
        produced,
        read,
        letter_error=letter_error_rate(read, said),
        hand_dtw=float(np.mean([hand_dtw(a, b, skeleton) for a, b in zip(produced, real, strict=True)])),
        amplitude=ratio(movement),
        length=float(np.mean([a.seconds / b.seconds for a, b in zip(produced, real, strict=True)])),
        jerk=ratio(jerk),
        sentences=sentence_scores(reader, produced, read, said) if isinstance(reader, Translator) else {},
    )


def sentence_scores(reader: Translator, produced: Sequence[Poses], read: Sequence[str], said: Sequence[str]) -> dict[str, float]:
    """BLEU-1 to 4, chrF, ROUGE-L and word error of what is read, and the mean log-likelihood of a piece of what was to be said."""
    scores = {f"bleu_{order}": bleu(read, said, order) for order in (1, 2, 3, 4)}
    scores |= {"chrf": chrf(read, said), "rouge_l": rouge_l(read, said), "word_error": word_error_rate(read, said)}
    return scores | {"log_likelihood": float(np.mean(reader.likelihoods(produced, said)))}


def evaluate(producers: Iterable[tuple[Producer, str]], clips: Sequence[Clip], reader: Reader, skeleton: Skeleton, seed: int):
    """Yields a Result for the real clips, which is the ceiling, and one for each producer and the modality it is given.

    A producer sees the utterance alone: neither poses nor length nor gloss of the real clip.
    """
    yield judge(REAL, "", [clip.poses for clip in clips], clips, reader, skeleton)
    for producer, modality in producers:
        produced = producer.produce([clip.utterance(modality) for clip in clips], seed=seed)
        yield judge(producer.name, modality, produced, clips, reader, skeleton)


def recall_in_joint_space(producer: MS2SLProducer, clips: Sequence[Clip], modality: str) -> float:
    """R@1 of text → real signing or speech → real signing, in per cent."""
    return recall_at(1, *(vectors.numpy() for vectors in embeddings(producer, clips, modality)))


@torch.no_grad()
def embeddings(producer: MS2SLProducer, clips: Sequence[Clip], modality: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors ``(clips, embedding)`` of the conditions and of the real poses."""
    conditions, signs = [], []
    for start in range(0, len(clips), 64):
        some = clips[start : start + 64]
        features = [producer.features(clip.utterance(modality)) for clip in some]
        batch = producer.collate.batch([clip.poses for clip in some], *zip(*features, strict=True)).to(producer.device)
        conditions.append(producer.model.conditions(batch)[modality].embedding)
        signs.append(producer.model.embed_signs(batch))
    return torch.cat(conditions).cpu(), torch.cat(signs).cpu()


def table(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """A header and a row for each result."""
    texts = tuple(SENTENCES) if results[0].sentences else ("letter error %",)
    return [("", "from", *texts, *MOTION), *(result.cells() for result in results)]


def markdown(results: Sequence[Result]) -> str:
    """The results as a Markdown table."""
    rows = table(results)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row) -> str:
        cells = [cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))]
        return "| " + " | ".join(cells) + " |"

    rule = "| " + " | ".join("-" * width if i < 2 else "-" * (width - 1) + ":" for i, width in enumerate(widths)) + " |"
    return "\n".join([line(rows[0]), rule, *map(line, rows[1:])])
