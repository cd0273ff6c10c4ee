"""What is measured of each clip that was produced: one row a clip, from which every score of a corpus follows."""

from collections.abc import Callable, Sequence

from rapidfuzz.distance import Levenshtein

from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Clip, Poses
from ms2sl.evaluation.motion_scores import motion_rows
from ms2sl.metrics.text import bleu_counts, sentence_rouge_l, words
from ms2sl.systems.back_translation import BackTranslator
from ms2sl.text_normalization import plain


def measure(clips: Sequence[Clip], produced: Sequence[Poses], reader: BackTranslator, skeleton: Skeleton) -> list[dict]:
    """Rows of plain values, in the order of the clips.

    id, text (of a reader of glosses, those), read; letters and words of the text and edits of what is read; what BLEU is counted from;
    ROUGE-L; the likelihood of the text; what the scores of motion measure (``ms2sl.evaluation.motion_scores``); the reader's mean state.
    """
    glosses = reader.reads == "glosses"
    said, read = [clip.gloss if glosses else plain(clip.text) for clip in clips], reader.read(produced)
    return [
        motion | text | {"id": clip.id, "log_likelihood": likelihood, "state": state.tolist()}
        for clip, motion, text, likelihood, state in zip(
            clips,
            motion_rows(produced, [clip.poses for clip in clips], skeleton),
            _texts(read, said, str.split if glosses else words),
            reader.likelihoods(produced, said),
            reader.embeddings(produced),
            strict=True,
        )
    ]


def _texts(read: Sequence[str], said: Sequence[str], pieces: Callable[[str], list[str]]) -> list[dict]:
    return [
        {
            "text": text,
            "read": hypothesis,
            "letters": len(text),
            "letter_edits": Levenshtein.distance(hypothesis, text),
            "words": len(pieces(text)),
            "word_edits": Levenshtein.distance(pieces(hypothesis), pieces(text)),
            "bleu": counts.tolist(),
            "rouge_l": sentence_rouge_l(hypothesis, text),
        }
        for hypothesis, text, counts in zip(read, said, bleu_counts(read, said), strict=True)
    ]
