"""Recordings as mono waveforms, decoded by FFmpeg (PyAV). What counts is what was decoded, never what a header says.

Headers lie: of recordings that were cut short (they promise more), came through a pipe (0, or 0xFFFFFFFF), or were edited.
"""

import io
from collections import Counter
from collections.abc import Iterator

import av
import numpy as np
import soxr

from ms2sl.errors import InputError

FORMATS = "wav,w64,aiff,au,caf,flac,ogg,mp3"  # no playlists: they would open other files
LONGEST = 600.0  # seconds
STEREO = 2 * 48_000  # numbers a second
UNKNOWN_SIZE = 0x7FFF0000  # bytes: programs that write wav into a pipe promise this much or more
MOST_CHUNKS = 500  # before the samples of a wav file, which has a few; empty ones would be millions
SHORT = 0.1  # seconds: encoders round to frames, so what is missing of less is not remarked


def decode(encoded: bytes, where: str, longest: float = LONGEST, rate: int | None = None) -> tuple[np.ndarray, int, tuple[str, ...]]:
    """Waveform float32 ``(samples,)``, its samples a second, and remarks: how much is missing of what the header promises.

    Channels are averaged. rate: samples a second to bring it to, by soxr; None keeps its own. It is unpacked piece by piece. Raises
    InputError if the bytes are no audio, hold no samples, NaN or infinity, or unpack to more than ``longest`` seconds or to more numbers
    than these have in stereo at 48 kHz.
    """
    pieces, numbers, seconds, resampler, own = [], 0, 0.0, None, 0
    samples: Counter[int] = Counter()  # by samples a second
    encoded, promised_times = _sized(encoded)
    try:
        with av.open(io.BytesIO(encoded), metadata_errors="ignore", options={"format_whitelist": FORMATS}) as container:
            if not container.streams.audio:
                raise InputError(f"{where} holds no sound")
            stream = container.streams.audio[0]
            promised = _promised(encoded, container.format.name, stream)
            for frame in _frames(container, stream):
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
                mono = _mono(frame)
                if not np.isfinite(mono).all():
                    raise InputError(f"{where} holds NaN or infinite samples")
                pieces.append(mono if resampler is None else resampler.resample_chunk(mono))
            pieces += _rest(resampler)
    except av.FFmpegError as error:
        raise InputError(f"{where} is not audio that can be read (wav, flac, mp3 or ogg): {error.strerror}") from None
    waveform = np.concatenate([np.zeros(0, np.float32), *pieces])
    if not len(waveform):
        raise InputError(f"{where} holds no samples: record at least one word")
    promised = max(promised, seconds * promised_times)
    missing = (f"{where} has {seconds:.1f} s of the {promised:.1f} s that its header promises",) if promised > seconds + SHORT else ()
    return waveform, rate, missing


def _frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    """What can be decoded; packets that are damaged are left out. Raises av.FFmpegError if nothing can."""
    decoded, damage = False, None
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:  # the file is damaged from here on
            packet, damage = None, error
        if packet is None:
            break
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            damage = error
            continue
        decoded = decoded or bool(frames)
        yield from frames
    if damage is not None and not decoded:
        raise damage


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """float32 ``(samples,)``; integers become fractions of the largest."""
    samples = frame.to_ndarray()  # planes, or one row with the channels in turn
    samples = samples.reshape(-1, frame.layout.nb_channels) if frame.format.is_packed else samples.T
    with np.errstate(all="ignore"):  # of infinite samples, which are refused
        mean = samples.mean(axis=1, dtype=np.float64 if samples.dtype.itemsize > 2 else np.float32)
        if samples.dtype == np.uint8:
            return ((mean - 128) / 128).astype(np.float32)
        largest = 1.0 if samples.dtype.kind == "f" else -float(np.iinfo(samples.dtype).min)
        return (mean / largest).astype(np.float32)


def _rest(resampler: soxr.ResampleStream | None) -> list[np.ndarray]:
    return [] if resampler is None else [resampler.resample_chunk(np.zeros(0, np.float32), last=True)]


def _promised(encoded: bytes, format: str, stream: av.AudioStream) -> float:
    """Seconds that the header of the file promises; 0 where it says nothing, and FFmpeg estimates."""
    if stream.duration is None or format == "wav":
        return 0.0
    if format == "mp3" and not _counts_frames(encoded):
        return 0.0
    return float(stream.duration * stream.time_base)


def _counts_frames(mp3: bytes) -> bool:
    """Whether its first frame says how many there are."""
    start = 10 + sum((byte & 0x7F) << 7 * (3 - i) for i, byte in enumerate(mp3[6:10])) if mp3.startswith(b"ID3") else 0
    head = mp3[start : start + 1024]
    at = max(head.find(b"Xing"), head.find(b"Info"))
    return at >= 0 and bool(head[at + 7] & 1) and any(head[at + 8 : at + 12])


def _sized(encoded: bytes) -> tuple[bytes, float]:
    """A wav file with the size of its samples in its header, and how many times as many bytes of them the header promised.

    Other files are returned as they are. Smaller sizes are wrong too, unless further chunks stand behind the samples.
    """
    if encoded[:4] != b"RIFF" or encoded[8:12] != b"WAVE":
        return encoded, 1.0
    at = 12
    for _ in range(MOST_CHUNKS):
        if encoded[at : at + 4] == b"data" or at + 8 > len(encoded):
            break
        at += 8 + _padded(encoded, at)
    if encoded[at : at + 4] != b"data":
        return encoded, 1.0
    start, size = at + 8, int.from_bytes(encoded[at + 4 : at + 8], "little")
    there = len(encoded) - start
    if size <= there and _is_chunk(encoded, at + 8 + _padded(encoded, at)):
        there = size
    sized = encoded[: at + 4] + min(there, 2**32 - 1).to_bytes(4, "little") + encoded[start : start + there]
    return sized, size / there if there and size < UNKNOWN_SIZE else 1.0


def _padded(encoded: bytes, at: int) -> int:
    """Bytes of the chunk that begins there, behind its name and size; they are even."""
    size = int.from_bytes(encoded[at + 4 : at + 8], "little")
    return size + size % 2


def _is_chunk(encoded: bytes, at: int) -> bool:
    """Whether a chunk of RIFF stands there, or nothing that would be long enough."""
    name = encoded[at : at + 4]
    return at + 8 > len(encoded) or (all(32 <= byte < 127 for byte in name) and at + 8 + _padded(encoded, at) <= len(encoded) + 1)
