"""Long texts by the size of the windows in which they are signed: what a recogniser reads wrong, jerk where windows meet, and speed.

python -m benchmarks.windows --model runs/quickstart/model --back-translator runs/recogniser/model
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import machine, save
from benchmarks.streaming import sentence
from ms2sl.data.resampling import joined
from ms2sl.data.types import Poses, Utterance
from ms2sl.inference.sampling_config import Sampling
from ms2sl.inference.segmentation import segment
from ms2sl.inference.sliding_window import WindowedGenerator
from ms2sl.metrics.text import letter_error_rate
from ms2sl.systems import back_translation
from ms2sl.systems.ms2sl.producer import MS2SLProducer

AROUND = 3  # frames on either side of where windows meet


def sign(producer: MS2SLProducer, text: str, size: int) -> list[Poses]:
    """The frames that each window finishes."""
    signing, parts = WindowedGenerator(segment(Utterance("text", text=text), producer.card), size, producer.card.fps, seed=0), []
    while True:
        while pieces := signing.pending_lengths():
            signing.set_lengths(producer.measure(pieces))
        window = signing.window()
        if window is None:
            return parts
        parts.append(signing.commit(producer.sample([window], Sampling())[0]))


def jerk_where_they_meet(parts: list[Poses], hands: np.ndarray) -> tuple[float, float]:
    """Mean size of the third difference of the hands around the meeting frames, and elsewhere."""
    sizes = np.linalg.norm(np.diff(joined(parts).joints[:, hands], n=3, axis=0), axis=-1).mean(axis=1)
    meeting = np.zeros(len(sizes), bool)
    for end in np.cumsum([part.n_frames for part in parts])[:-1]:
        meeting[max(0, end - AROUND) : end + 1] = True
    return float(sizes[meeting].mean()) if meeting.any() else float("nan"), float(sizes[~meeting].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("runs/quickstart/model"))
    parser.add_argument("--back-translator", type=Path, default=Path("runs/recogniser/model"))
    parser.add_argument("--texts", type=int, default=20)
    parser.add_argument("--words", type=int, default=12)
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    producer, reader, rng = MS2SLProducer.load(arguments.model), back_translation.load(arguments.back_translator), np.random.default_rng(0)
    texts = [sentence(rng, arguments.words) for _ in range(arguments.texts)]
    seen = producer.skeleton.hands[producer.model.space.seen.numpy()[producer.skeleton.hands]]
    longest = producer.card.longest
    rows = [("frames of a window", "letter error %", "jerk where windows meet, share of elsewhere", "ms a second of signing")]
    for name, size in ((f"{longest} (the longest clip of training)", longest), (str(2 * longest), 2 * longest), ("all at once", 10**6)):
        producer = MS2SLProducer.load(arguments.model)  # which remembers nothing yet
        began = time.perf_counter()
        made = [sign(producer, text, size) for text in texts]
        took = time.perf_counter() - began
        meeting, elsewhere = np.nanmean([jerk_where_they_meet(parts, seen) for parts in made], axis=0) if size < 10**6 else (np.nan, 1)
        read = reader.read([joined(parts) for parts in made])
        wrong = letter_error_rate(read, [text.replace(" ", "") for text in texts])
        signed = sum(part.seconds for parts in made for part in parts)
        smooth = "" if np.isnan(meeting) else f"{meeting / elsewhere:.2f}"
        rows.append((name, f"{wrong:.1f}", smooth, f"{1000 * took / signed:.1f}"))
    save("windows", f"{arguments.texts} texts of {arguments.words} words, 8 steps, one after another. {machine()}", rows)


if __name__ == "__main__":
    main()
