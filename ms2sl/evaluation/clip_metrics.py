"""What is measured of each clip that was produced: one row a clip, from which every score of a corpus follows."""

from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from ms2sl.data.skeleton import Skeleton
from ms2sl.data.types import Clip, Poses
from ms2sl.metrics.motion import hand_dtw, jerk, joint_dtw, mje_sums, movement, wrist_distance
from ms2sl.metrics.text import bleu_counts, sentence_rouge_l, words
from ms2sl.systems.back_translation import BackTranslator
from ms2sl.text_normalization import plain


def measure(clips: Sequence[Clip], produced: Sequence[Poses], reader: BackTranslator, skeleton: Skeleton) -> list[dict]:
    """Rows of plain values, in the order of the clips.

    id, text, read; letters and words of the text and edits of what is read; what BLEU is counted from; ROUGE-L; the likelihood of the
    text; DTW to the real clip (shoulder widths), of hands, of the body, and as sum and number of what DTW-MJE pools; seconds; speed of
    the hands and of each part, jerk of the hands; the way of each wrist; the reader's mean state.
    """
    said, read = [plain(clip.text) for clip in clips], reader.read(produced)
    return [
        motion | text | {"id": clip.id, "log_likelihood": likelihood, "state": state.tolist()}
        for clip, motion, text, likelihood, state in zip(
            clips,
            motion_rows(produced, [clip.poses for clip in clips], skeleton),
            _texts(read, said),
            reader.likelihoods(produced, said),
            reader.embeddings(produced),
            strict=True,
        )
    ]


def _texts(read: Sequence[str], said: Sequence[str]) -> list[dict]:
    return [
        {
            "text": text,
            "read": hypothesis,
            "letters": len(text),
            "letter_edits": Levenshtein.distance(hypothesis, text),
            "words": len(words(text)),
            "word_edits": Levenshtein.distance(words(hypothesis), words(text)),
            "bleu": counts.tolist(),
            "rouge_l": sentence_rouge_l(hypothesis, text),
        }
        for hypothesis, text, counts in zip(read, said, bleu_counts(read, said), strict=True)
    ]


def motion_rows(produced: Sequence[Poses], real: Sequence[Poses], skeleton: Skeleton) -> list[dict]:
    """What is measured without reading: see ``measure``."""
    hands, body = hand_dtw(produced, real, skeleton), joint_dtw(produced, real, skeleton.part("body"))
    return [
        {
            "hand_dtw": float(hand),
            "body_dtw": float(other),
            "mje_sum": float(total),
            "mje_count": float(count),
            "seconds": poses.seconds,
            "speed": movement(poses, skeleton),
            "jerk": jerk(poses, skeleton),
            "way": wrist_distance(poses, skeleton).tolist(),
        }
        | {f"speed_{part.name}": movement(poses, skeleton, part.name) for part in skeleton.parts}
        for poses, hand, other, (total, count) in zip(produced, hands, body, mje_sums(produced, real), strict=True)
    ]
