"""Recordings whose headers lie: only what was decoded is there, and nothing of what was in memory before."""

import io
import struct
from functools import cache

import numpy as np
import pytest
import soundfile

from ms2sl.audio import _sized, decode
from ms2sl.clip import Speech
from ms2sl.errors import InputError
from tests.serve.test_asking import recording

RATE, SECONDS = 16_000, 3.0
LOUD = 0.9  # of everything that was in memory before; the recordings are quieter
KINDS = ("wav", "flac", "mp3", "ogg", "opus")


def speech() -> np.ndarray:
    t = np.arange(int(RATE * SECONDS)) / RATE
    return (0.3 * np.sin(2 * np.pi * (200 + 100 * t) * t)).astype(np.float32)


def encoded(kind: str, wave: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    container, subtype = {"opus": ("OGG", "OPUS")}.get(kind, (kind.upper(), None))
    soundfile.write(buffer, wave, RATE, format=container, subtype=subtype)
    return buffer.getvalue()


def wav(promised: int, behind: bytes = b"") -> bytes:
    samples = (speech() * 32767).astype("<i2").tobytes()
    header = struct.pack("<IHHIIHH", 16, 1, 1, RATE, RATE * 2, 2, 16)
    size = (promised + 36) & 0xFFFFFFFF
    return b"RIFF" + struct.pack("<I", size) + b"WAVEfmt " + header + b"data" + struct.pack("<I", promised) + samples + behind


def flac(promised: int) -> bytes:
    """The number of samples is 36 bits in the first block."""
    content = bytearray(encoded("flac", speech()))
    content[21:26] = bytes([content[21] & 0xF0 | promised >> 32]) + struct.pack(">I", promised & 0xFFFFFFFF)
    return bytes(content)


def mp3(promised: int | None) -> bytes:
    """The number of frames stands in the first; None leaves it out, as in a stream."""
    content = bytearray(encoded("mp3", speech()))
    at = max(content.find(b"Xing"), content.find(b"Info"))
    assert at > 0
    if promised is None:
        content[at : at + 4] = bytes(4)
    else:
        content[at + 8 : at + 12] = struct.pack(">I", promised)
    return bytes(content)


@cache
def other() -> bytes:
    return encoded("mp3", np.where(np.sin(np.arange(10 * RATE) / 7) > 0, LOUD, -LOUD).astype(np.float32))


def poison() -> None:
    """Memory that is given back is full of another person's recording."""
    Speech.decode(other())
    for size in (1152, 4096, 48_000, 86_000, 144_000, 2**20, 2**20 + 1):
        buffers = [np.full(size, LOUD, np.float32) for _ in range(4)]
        del buffers


def heard(content: bytes, rate: int | None) -> Speech:
    poison()
    return Speech.decode(content, "a file", rate=rate)


@pytest.mark.parametrize("rate", [None, RATE, 8000])
@pytest.mark.parametrize("kind", KINDS)
def test_of_a_recording_that_is_cut_short_what_is_there_is_heard(kind, rate):
    # Pages of OGG are large: many seconds, or noise.
    whole = encoded(kind, np.tile(speech(), 5) + np.random.default_rng(0).uniform(-0.05, 0.05, 5 * len(speech())).astype(np.float32))
    seconds = 5 * SECONDS
    complete, cut = Speech.decode(whole, rate=rate), heard(whole[: len(whole) * 2 // 5], rate)
    assert 0.2 * seconds < cut.seconds < 0.5 * seconds
    assert np.abs(cut.waveform).max() < 0.5
    steady = len(cut.waveform) - cut.rate // 8  # the last frame of mp3 and ogg fades out
    assert np.abs(cut.waveform[:steady] - complete.waveform[:steady]).max() < 1e-3
    # A header of OGG promises nothing.
    promise = (f"a file has {cut.seconds:.1f} s of the {seconds:.1f} s that its header promises",)
    assert cut.remarks == (() if kind in ("ogg", "opus") else promise)
    assert complete.remarks == ()


@pytest.mark.parametrize("rate", [None, 8000])
@pytest.mark.parametrize(
    ("content", "promised"),
    [
        (lambda: wav(96_000 * 5), 15.0),
        (lambda: wav(0xFFFFFFFF), None),  # a pipe
        (lambda: wav(0x7FFFFFFF), None),
        (lambda: wav(0), None),
        (lambda: wav(1), None),
        (lambda: wav(48_000), None),
        (lambda: flac(48_000 * 5), 15.0),
        (lambda: flac(2**36 - 1), 4294967.3),
        (lambda: flac(0), None),  # a pipe
        (lambda: flac(24_000), None),
        (lambda: mp3(1500), 53.9),
        (lambda: mp3(0xFFFFFFFF), 154618822.5),
        (lambda: mp3(0), None),
        (lambda: mp3(10), None),
        (lambda: mp3(None), None),
    ],
)
def test_a_header_that_lies_changes_nothing_of_what_is_heard(content, promised, rate):
    found = heard(content(), rate)
    assert found.seconds == pytest.approx(SECONDS, abs=0.15)  # without its header an mp3 keeps the encoder's padding
    assert np.abs(found.waveform).max() < 0.4
    spectrum = np.abs(np.fft.rfft(found.waveform)[: int(2000 * found.seconds)]) ** 2
    inside = spectrum[int(150 * found.seconds) : int(850 * found.seconds)].sum()
    assert inside > 0.98 * spectrum.sum(), "there is something other than the sweep from 200 to 800 Hz"
    assert found.remarks == ((f"a file has 3.0 s of the {promised:.1f} s that its header promises",) if promised else ())


def test_chunks_behind_the_samples_are_not_heard():
    note = b"LIST" + struct.pack("<I", 18) + b"INFOISFT" + struct.pack("<I", 6) + b"abcde\0"
    assert Speech.decode(wav(96_000, note)).seconds == SECONDS
    with pytest.raises(InputError, match="holds no samples"):
        Speech.decode(encoded("wav", speech()[:0]) + note)


def test_two_recordings_in_one_file_are_heard_one_after_the_other():
    """Also where they differ in rate and channels."""
    both = encoded("mp3", speech()) + recording(1.0, 44_100, 2, format="MP3")
    waveform, rate, _ = decode(both, "a file", rate=8000)
    assert rate == 8000
    assert len(waveform) / rate == pytest.approx(SECONDS + 1, abs=0.2)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_numbers_of_all_kinds_are_fractions_of_the_largest(subtype):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([speech(), 0.5 * speech()], axis=1), RATE, format="WAV", subtype=subtype)
    assert np.abs(Speech.decode(buffer.getvalue()).waveform - 0.75 * speech()).max() < (0.01 if subtype == "PCM_U8" else 1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_recording_with_samples_that_are_no_numbers_is_refused(value):
    wave, buffer = speech(), io.BytesIO()
    wave[1000] = value
    soundfile.write(buffer, wave, RATE, format="WAV", subtype="FLOAT")
    with pytest.raises(InputError, match="a file holds NaN or infinite samples"):
        Speech.decode(buffer.getvalue(), "a file")


def test_tags_that_are_not_utf_8_do_no_harm():
    note = b"LIST" + struct.pack("<I", 18) + b"INFOINAM" + struct.pack("<I", 6) + b"\xfcber\0\0"
    assert Speech.decode(wav(96_000, note)).seconds == SECONDS


def test_a_playlist_opens_no_other_file(tmp_path):
    (tmp_path / "secret.wav").write_bytes(wav(96_000))
    for playlist in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{tmp_path}/secret.wav\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{tmp_path}/secret.wav'\n",
    ):
        with pytest.raises(InputError, match="is not audio"):
            Speech.decode(playlist.encode())


@pytest.mark.parametrize(("empty", "found"), [(100, True), (100_000, False)])
def test_samples_are_not_looked_for_behind_very_many_chunks(empty, found):
    lying = wav(2**20)
    content = lying[:12] + bytes(8 * empty) + lying[12:]
    sized, promised = _sized(content)
    assert (sized != content, promised > 1) == (found, found)
