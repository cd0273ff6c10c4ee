"""How well a model hears recordings that are quiet, loud, narrow, coarse or noisy: letter or gloss error from speech, beside clean.

    python -m benchmarks.speech_conditions --data data/fingerspelling --model runs/quickstart/model --back-translator runs/recogniser/model

Every recording is written as a file of its kind and decoded as any other. Differences to clean are in points, with the 95 % interval
under resampling of clips in pairs.
"""

import argparse
import io
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import av
import numpy as np
import soundfile
import torch
from rapidfuzz.distance import Levenshtein

from benchmarks.common import machine, save
from ms2sl.audio.acoustics import add_noise, coloured_noise, reverberate
from ms2sl.audio.speech import SAMPLE_RATE, Speech
from ms2sl.data.dataset import Dataset
from ms2sl.data.types import Clip, Utterance
from ms2sl.inference.sampling_config import Sampling
from ms2sl.systems import back_translation
from ms2sl.systems.back_translation import BackTranslator
from ms2sl.systems.ms2sl.producer import MS2SLProducer

RESAMPLED = 1000  # times


def wav(speech: Speech, subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, speech.waveform, speech.rate, format="WAV", subtype=subtype)
    return buffer.getvalue()


def louder(decibels: float) -> Callable[[Speech], bytes]:
    """With what is beyond the loudest that a file can hold clipped."""
    return lambda speech: wav(replace(speech, waveform=np.clip(speech.waveform * 10 ** (decibels / 20), -1, 1)))


def mp3(speech: Speech, bits: int = 32_000) -> bytes:
    """bits: a second."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=speech.rate, layout="mono", bit_rate=bits)
        frame = av.AudioFrame.from_ndarray(speech.waveform[None], format="fltp", layout="mono")
        frame.sample_rate = speech.rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return buffer.getvalue()


def noisy(snr: float, exponent: float = 1.0) -> Callable[[Speech], bytes]:
    """With noise that falls with that power of the frequency, not the same for any two clips."""
    rng = np.random.default_rng(0)
    return lambda speech: wav(add_noise(speech, coloured_noise(len(speech.waveform), exponent, rng), snr))


def babble(snr: float) -> Callable[[Speech], bytes]:
    """With the recording before it, as if somebody else spoke."""
    last: list[np.ndarray] = [coloured_noise(SAMPLE_RATE, 1, np.random.default_rng(0))]

    def heard(speech: Speech) -> bytes:
        other, last[0] = last[0], speech.waveform
        return wav(add_noise(speech, other, snr))

    return heard


def room(rt60: float, drr: float) -> Callable[[Speech], bytes]:
    rng = np.random.default_rng(0)
    return lambda speech: wav(reverberate(speech, rt60, drr, rng))


CONDITIONS: dict[str, Callable[[Speech], bytes]] = {
    "clean": wav,
    "-30 dB": louder(-30),
    "-20 dB": louder(-20),
    "-10 dB": louder(-10),
    "+10 dB, clipped": louder(10),
    "8 kHz": lambda speech: wav(speech.resampled(8000)),
    "8 kHz, µ-law": lambda speech: wav(speech.resampled(8000), "ULAW"),
    "11 kHz": lambda speech: wav(speech.resampled(11_025)),
    "mp3, 32 kbit/s": mp3,
    "8 bit": lambda speech: wav(speech, "PCM_U8"),
    **{f"pink noise, {snr} dB": noisy(snr) for snr in (30, 20, 10, 5)},
    **{f"white noise, {snr} dB": noisy(snr, 0) for snr in (30, 20, 10)},
    **{f"other speech, {snr} dB": babble(snr) for snr in (20, 10)},
    "room, 0.4 s": room(0.4, 6),
}


def edits(clips: list[Clip], encode: Callable[[Speech], bytes], producer: MS2SLProducer, reader: BackTranslator) -> np.ndarray:
    """Wrong letters or glosses of each clip."""
    heard = [Utterance(clip.id, speech=Speech.decode(encode(clip.speech), clip.id)) for clip in clips]
    read = reader.read(producer.produce(heard, seed=0))
    cut = str.split if reader.reads == "glosses" else list
    return np.array([Levenshtein.distance(cut(one), pieces(clip, reader)) for one, clip in zip(read, clips, strict=True)])


def pieces(clip: Clip, reader: BackTranslator) -> list[str]:
    """What should be read."""
    return clip.gloss.split() if reader.reads == "glosses" else list(clip.text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/fingerspelling"))
    parser.add_argument("--model", type=Path, default=Path("runs/quickstart/model"))
    parser.add_argument("--back-translator", type=Path, default=Path("runs/recogniser/model"))
    parser.add_argument("--split", default="test")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS), help="clean comes first in any case")
    parser.add_argument("--name", default="speech_conditions", help="of the file of results")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    reader = back_translation.load(options.back_translator)
    producer = MS2SLProducer.load(options.model, options=Sampling(steps=8, guidance=options.guidance))
    usable = (clip for clip in Dataset(options.data).clips(options.split) if clip.speech and clip.text)
    clips = list(islice(usable, options.clips))
    letters = np.array([len(pieces(clip, reader)) for clip in clips])
    picks = np.random.default_rng(0).integers(len(clips), size=(RESAMPLED, len(clips)))
    rows, clean = [("", f"{reader.reads} wrong %", "minus clean", "95 %")], None
    for name in dict.fromkeys(["clean", *options.conditions]):
        wrong = edits(clips, CONDITIONS[name], producer, reader)
        clean = wrong if clean is None else clean
        more = 100 * (wrong - clean)
        spread = np.percentile(more[picks].sum(axis=1) / letters[picks].sum(axis=1), [2.5, 97.5])
        interval = f"{spread[0]:+.1f} to {spread[1]:+.1f}"
        rows.append((name, f"{100 * wrong.sum() / letters.sum():.1f}", f"{more.sum() / letters.sum():+.1f}", interval))
        print(*rows[-1], sep="  ", flush=True)
    save(options.name, f"{len(clips)} clips of {options.split}, {letters.sum()} {reader.reads}. {machine()}", rows)


if __name__ == "__main__":
    main()
