"""Recordings as mono waveforms: the one way in for all of them. FFmpeg (PyAV) decodes; what counts is what was decoded, never what a
header says.

decode → check → channels that do not cancel → range → rate. The level is brought to one by featurizers (see ``Speech.at_level``).
"""

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
import soxr

from ms2sl.audio.headers import promised_seconds, sized
from ms2sl.errors import InputError

FORMATS = "wav,w64,aiff,au,caf,flac,ogg,mp3,aac,amr,mp4,webm,asf"  # no playlists: they would open other files
SUFFIXES = (".wav", ".wave", ".w64", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2")
SUFFIXES += (".aac", ".amr", ".m4a", ".m4b", ".webm", ".weba", ".mka", ".wma")  # of files that are recordings, and no films
USUAL = "wav, flac, mp3, ogg, opus, aiff, m4a, webm and others"
LONGEST = 600.0  # seconds
STEREO = 2 * 48_000  # numbers a second
SHORT = 0.1  # seconds: encoders round to frames, so what is missing of less is not remarked
CANCELS = 1 / 4  # of the power that the mean of unrelated channels has: a mean of less has lost what they have in common
INTEGERS = 32.0  # floats beyond are integers that were never divided, not a recording that is a little too loud
INTEGER_SCALES = (2.0**7, 2.0**15, 2.0**23, 2.0**31)


def decode(encoded: bytes, where: str, longest: float = LONGEST, rate: int | None = None) -> tuple[np.ndarray, int, tuple[str, ...]]:
    """Waveform float32 ``(samples,)`` in [-1, 1], its samples a second, and remarks: what is missing of what the header promises, was
    damaged, was out of range, or was not mixed.

    Channels are averaged; where they would cancel each other, the strongest is taken. Float samples beyond 1 are scaled. rate: samples a
    second to bring it to, by soxr; None keeps its own. It is unpacked piece by piece. Raises InputError if the bytes are no audio, hold no
    samples, NaN or infinity, or unpack to more than ``longest`` seconds or to more numbers than these have in stereo at 48 kHz.
    """
    encoded, promised_times, stray = sized(encoded)
    mix = _Mix()
    found = _unpack(encoded, where, longest, rate, mix)
    remarks = mix.choose(where)
    if remarks:  # rare, and to keep all channels meanwhile would take their number of times the memory
        found = _unpack(encoded, where, longest, rate, mix)
    waveform, rate, seconds, promised, loudest, packets = found
    if not len(waveform):
        raise InputError(f"{where} holds no samples: record at least one word")
    promised = max(promised, seconds * promised_times)
    if promised > seconds + SHORT:
        remarks = (f"{where} has {seconds:.1f} s of the {promised:.1f} s that its header promises", *remarks)
    elif (lost := seconds * packets.lost / max(1, packets.size)) > SHORT:
        remarks = (f"{where} is damaged, and packets of it are left out: {packets.damaged}, about {lost:.1f} s", *remarks)
    if promised_times < 1:
        remarks = (*remarks, f"{where} has {seconds:.1f} s, more than the {seconds * promised_times:.1f} s that its header promises")
    if stray:
        remarks = (*remarks, f"{where} has {stray} bytes more than its header promises, which are left out")
    if loudest > 1:
        scale = next((each for each in INTEGER_SCALES if loudest <= each), loudest) if loudest > INTEGERS else loudest
        waveform /= np.float32(scale)
        remarks = (*remarks, f"{where} has samples up to {loudest:.4g}, where 1 is the loudest: divided by {scale:g}")
    return waveform, rate, tuple(remarks)


def _unpack(
    encoded: bytes, where: str, longest: float, rate: int | None, mix: "_Mix"
) -> tuple[np.ndarray, int | None, float, float, float, "_Packets"]:
    """Waveform, its samples a second, seconds, the seconds that the header promises, of a file of floats the loudest sample, and how many
    packets are damaged."""
    packets = _Packets()
    pieces, numbers, seconds, loudest, resampler, own = [], 0, 0.0, 0.0, None, 0
    samples: Counter[int] = Counter()  # by samples a second
    try:
        with av.open(io.BytesIO(encoded), "r", metadata_errors="ignore", options={"format_whitelist": FORMATS}) as container:
            if not container.streams.audio:
                raise InputError(f"{where} holds no sound")
            stream = container.streams.audio[0]
            promised = promised_seconds(encoded, container, stream)
            is_float = stream.codec_context.name.startswith("pcm_f")
            for frame in _frames(container, stream, packets):
                numbers += frame.samples * frame.layout.nb_channels
                samples[frame.sample_rate] += frame.samples
                seconds = sum(count / each for each, count in samples.items())
                if seconds > longest:
                    raise InputError(f"{where} lasts longer than {longest:.0f} s: cut it into utterances")
                if numbers > longest * STEREO:
                    raise InputError(f"{where} holds too many samples: send it in mono, at 16000 a second")
                if frame.sample_rate != own:  # the first, or where recordings of two rates were joined
                    pieces += _rest(resampler)
                    own, rate = frame.sample_rate, rate or frame.sample_rate
                    resampler = soxr.ResampleStream(own, rate, 1) if own != rate else None
                mono = mix(_fractions(frame))
                if not np.isfinite(mono).all():
                    raise InputError(f"{where} holds NaN or infinite samples")
                if is_float:
                    loudest = max(loudest, float(np.abs(mono).max(initial=0)))
                pieces.append(mono if resampler is None else resampler.resample_chunk(mono))
            pieces += _rest(resampler)
    except av.FFmpegError as error:
        raise InputError(f"{where} is not audio that can be read ({USUAL}): {error.strerror}") from None
    return np.concatenate([np.zeros(0, np.float32), *pieces]), rate, seconds, promised, loudest, packets


@dataclass
class _Packets:
    """Bytes of those that were decoded; number and bytes of those that could not be."""

    size: int = 0
    damaged: int = 0
    lost: int = 0


class _Mix:
    """Several channels → one: their mean, or where it was chosen the strongest of so many channels."""

    def __init__(self):
        self.chosen: dict[int, int] = {}
        self.sums: dict[int, np.ndarray] = {}  # by the number of channels: their sums, sums of squares, and the number of samples

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """float64 ``(samples, channels)`` → float32 ``(samples,)``."""
        n, channels = samples.shape
        if channels in self.chosen:
            return samples[:, self.chosen[channels]].astype(np.float32)
        with np.errstate(all="ignore"):  # of infinite samples, which are refused
            mean = samples.mean(axis=1)
            if channels > 1:
                every = np.column_stack([samples, mean])
                sums = np.stack([every.sum(axis=0), np.square(every).sum(axis=0), np.full(channels + 1, n)])
                self.sums[channels] = self.sums.get(channels, 0) + sums
            return mean.astype(np.float32)

    def choose(self, where: str) -> tuple[str, ...]:
        """Chooses a channel where the mean has lost what they have in common; says so."""
        for channels, (total, squares, n) in self.sums.items():
            power = squares / n - np.square(total / n)
            if power[-1] < CANCELS * power[:-1].mean() / channels:
                self.chosen[channels] = int(power[:-1].argmax())
        return tuple(
            f"{where} has {channels} channels that cancel each other: number {channel + 1} alone is heard"
            for channels, channel in self.chosen.items()
        )


def _frames(container: av.container.InputContainer, stream: av.AudioStream, found: _Packets) -> Iterator[av.AudioFrame]:
    """What can be decoded; packets that are damaged are left out, and counted. Raises av.FFmpegError if nothing can be decoded."""
    decoded, damage, end = False, None, 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:  # the file is damaged from here on
            packet, damage = None, error
            found.damaged, found.lost = found.damaged + 1, found.lost + max(0, container.size - end)
        if packet is None:
            break
        end = max(end, (packet.pos or 0) + packet.size)
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            damage = error
            found.damaged, found.lost = found.damaged + 1, found.lost + packet.size
            continue
        found.size += packet.size
        decoded = decoded or bool(frames)
        yield from frames
    if damage is not None and not decoded:
        raise damage


def _fractions(frame: av.AudioFrame) -> np.ndarray:
    """float64 ``(samples, channels)``; integers become fractions of the largest."""
    samples = frame.to_ndarray()  # planes, or one row with the channels in turn
    samples = samples.reshape(-1, frame.layout.nb_channels) if frame.format.is_packed else samples.T
    if samples.dtype == np.uint8:
        return (samples.astype(np.float64) - 128) / 128
    largest = 1.0 if samples.dtype.kind == "f" else -float(np.iinfo(samples.dtype).min)
    return samples.astype(np.float64) / largest


def _rest(resampler: soxr.ResampleStream | None) -> list[np.ndarray]:
    return [] if resampler is None else [resampler.resample_chunk(np.zeros(0, np.float32), last=True)]
