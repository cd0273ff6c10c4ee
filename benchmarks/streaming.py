"""Streams of a running service: when the first frames come, how much faster than real time they are made, and whether ten minutes of speech
take more memory, or move less, at their end than at their beginning.

python -m benchmarks.streaming --model runs/quickstart/model --back-translator runs/recogniser/model
"""

import argparse
import io
import statistics
import time
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import numpy as np
import psutil
import soundfile

from benchmarks.common import machine, save
from benchmarks.service import running
from ms2sl.audio.speech import SAMPLE_RATE
from ms2sl.client import Client
from ms2sl.data import speech_synthesis
from ms2sl.data.resampling import joined
from ms2sl.data.types import Poses
from ms2sl.metrics.motion import movement
from ms2sl.metrics.text import letter_error_rate
from ms2sl.systems import back_translation
from ms2sl.training.checkpoint import read_card

WORDS = files("ms2sl.corpora").joinpath("words_en.txt").read_text(encoding="utf-8").split()
PAUSE = np.zeros(round(0.7 * SAMPLE_RATE), np.float32)


def sentence(rng: np.random.Generator, words: int) -> str:
    return " ".join(rng.choice(WORDS, words))


def spoken(rng: np.random.Generator, seconds: float) -> tuple[bytes, str]:
    """FLAC of words spelled aloud, one after another, and the words."""
    pieces, words, samples = [], [], 0
    while samples < (seconds - 5) * SAMPLE_RATE:
        words.append(str(rng.choice(WORDS)))
        pieces += [speech_synthesis.spell(words[-1]).waveform, PAUSE]
        samples += sum(map(len, pieces[-2:]))
    flac = io.BytesIO()
    soundfile.write(flac, np.concatenate(pieces), SAMPLE_RATE, format="FLAC")
    return flac.getvalue(), "".join(words)


def first_frames(client: Client, said: list, fps: float) -> tuple[list[float], float]:
    """Milliseconds to the first frames of each, and seconds of signing made a second."""
    first, signed, took = [], 0.0, 0.0
    for each in said:
        began = time.perf_counter()
        for number, poses in enumerate(client.stream(each, fps=fps)):
            if number == 0:
                first.append(1000 * (time.perf_counter() - began))
            signed += poses.seconds
        took += time.perf_counter() - began
    return first, signed / took


def memory() -> float:
    """MiB of all replicas of the service that this process has started."""
    used = 0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            used += process.memory_info().rss * ("ServeReplica" in " ".join(process.cmdline()))
    return used / 2**20


def minute(poses: Poses, number: int) -> Poses:
    part = slice(round(number * 60 * poses.fps), round((number + 1) * 60 * poses.fps))
    return Poses(poses.joints[part], poses.confidence[part], poses.fps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("runs/quickstart/model"))
    parser.add_argument("--back-translator", type=Path, default=Path("runs/recogniser/model"))
    parser.add_argument("--sentences", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=595, help="of the long speech")
    arguments = parser.parse_args()
    rng, skeleton = np.random.default_rng(0), read_card(arguments.model, "ms2sl").skeleton
    with running(arguments.model) as url:
        client = Client(url)
        rows = [("what streams", "first frames, ms: median", "p95", "times real time at 25 fps")]
        short = {
            "sentences of 9 words, written": [sentence(rng, 9) for _ in range(arguments.sentences)],
            "3 words, spelled aloud": [spoken(rng, 12)[0] for _ in range(arguments.sentences)],
        }
        for name, said in short.items():
            first_frames(client, said[:3], 25)
            first, speed = first_frames(client, said, 25)
            rows.append((name, f"{statistics.median(first):.0f}", f"{np.percentile(first, 95):.0f}", f"{speed:.0f}"))
        save("streaming-first", f"Streams one after another, 8 steps. {machine()}", rows)

        recording, words = spoken(rng, arguments.seconds)
        before, began, parts, used = memory(), time.perf_counter(), [], []
        for poses in client.stream(recording):
            parts.append(poses)
            used.append(memory() if len(parts) % 20 == 1 else used[-1])
        took = time.perf_counter() - began
    signing = joined(parts)
    minutes = int(signing.seconds // 60)
    moved = [movement(minute(signing, number), skeleton) for number in range(minutes)]
    reader = back_translation.load(arguments.back_translator)
    read = "".join(reader.read([minute(signing, number) for number in range(minutes + 1)]))
    rows = [
        ("speech, seconds", f"{arguments.seconds:.0f}"),
        ("signing, seconds", f"{signing.seconds:.0f}"),
        ("seconds it took", f"{took:.0f}"),
        ("memory of the replicas before, MiB", f"{before:.0f}"),
        ("after a tenth", f"{used[len(used) // 10]:.0f}"),
        ("half way", f"{used[len(used) // 2]:.0f}"),
        ("at the end", f"{used[-1]:.0f}"),
        ("movement of the last minute, share of the first", f"{moved[-1] / moved[0]:.2f}"),
        ("of the minutes between, least and most", f"{min(moved) / moved[0]:.2f} to {max(moved) / moved[0]:.2f}"),
        ("letters read wrong, % (read minute by minute)", f"{letter_error_rate([read], [words]):.1f}"),
    ]
    save("streaming-long", f"Speech streamed as one request. {machine()}", [("", ""), *rows])


if __name__ == "__main__":
    main()
