"""Recordings whose headers lie: only what was decoded is there, and nothing of what was in memory before."""

import io
import re
import struct
from functools import cache

import av
import numpy as np
import pytest
import soundfile

from ms2sl.audio.decoding import decode
from ms2sl.audio.headers import sized
from ms2sl.audio.speech import Speech
from ms2sl.errors import InputError
from tests.serve.test_request_parsing import recording

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
        (lambda: wav(1), 0.0),
        (lambda: wav(48_000), 1.5),  # the program was stopped
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
    told = " of" if (promised or 0) > SECONDS else ", more than"
    assert found.remarks == (() if promised is None else (f"a file has 3.0 s{told} the {promised:.1f} s that its header promises",))


@pytest.mark.parametrize("kind", ["zeros", "noise"])
def test_what_is_damaged_of_a_recording_is_told_where_its_header_promises_nothing(kind):
    content, n = mp3(None), 600
    at = len(content) // 2
    damage = bytes(n) if kind == "zeros" else np.random.default_rng(0).bytes(n)
    whole, found = (heard(each, RATE) for each in (content, content[:at] + damage + content[at + n :]))
    lost = whole.seconds - found.seconds
    assert lost > 0.2
    [remark] = found.remarks
    told = re.fullmatch(r"a file is damaged, and packets of it are left out: (\d+), about (\d+\.\d) s", remark)
    assert int(told[1]) >= 1
    assert float(told[2]) == pytest.approx(lost, abs=0.2)
    assert whole.remarks == ()


def test_chunks_behind_the_samples_are_not_heard():
    note = b"LIST" + struct.pack("<I", 18) + b"INFOISFT" + struct.pack("<I", 6) + b"abcde\0"
    assert Speech.decode(wav(96_000, note)).seconds == SECONDS
    with pytest.raises(InputError, match="holds no samples"):
        Speech.decode(encoded("wav", speech()[:0]) + note)


@pytest.mark.parametrize(
    ("behind", "remarks"),
    [
        (b"id3 " + struct.pack("<I", 40_000) + np.random.default_rng(0).bytes(40_000), ()),
        (b"\0id3 " + struct.pack("<I", 40_000) + np.random.default_rng(0).bytes(40_000), ()),
        (b"TAG" + b"x" * 125, ()),
        (b"ID3\4" + np.random.default_rng(0).bytes(40_000), ()),
        (bytes(4001), ()),
        (b"\xff" + np.random.default_rng(0).bytes(4000), ("a file has 4001 bytes more than its header promises, which are left out",)),
    ],
)
def test_bytes_behind_the_samples_are_no_sound(behind, remarks):
    samples = np.round(128 + 100 * speech()[:8001]).astype(np.uint8).tobytes()  # of one byte, so that a chunk behind them is padded
    header = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + b"data" + struct.pack("<I", len(samples))
    found = Speech.decode(b"RIFF" + struct.pack("<I", len(header) + len(samples)) + header + samples + behind, "a file")
    assert np.array_equal(np.round(128 * found.waveform + 128), np.frombuffer(samples, np.uint8))
    assert found.remarks == remarks


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


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize(
    ("change", "divided"),
    [
        (lambda wave: wave * 32_768, "32768"),
        (lambda wave: np.round(wave * 32_767), "32768"),
        (lambda wave: wave / 0.3 * 127, "128"),
        (lambda wave: np.round(wave * 2**23), "8.38861e+06"),
        (lambda wave: np.round(wave * 2**31), "2.14748e+09"),
        (lambda wave: wave * 10, "3"),
    ],
)
@pytest.mark.parametrize("rate", [None, 8000])
def test_floats_that_are_no_fractions_are_divided_and_not_clipped(subtype, change, divided, rate):
    buffer = io.BytesIO()
    soundfile.write(buffer, change(speech().astype(np.float64)), RATE, format="WAV", subtype=subtype)
    found, clean = (Speech.decode(content, "a file", rate=rate) for content in (buffer.getvalue(), encoded("wav", speech())))
    gain = {"3": 1, "128": 127 / 128}.get(divided, 0.3) / 0.3
    assert np.abs(found.waveform - gain * clean.waveform).max() < 1e-3
    [remark] = found.remarks
    assert remark.endswith(f"where 1 is the loudest: divided by {divided}")


def test_what_lossy_formats_decode_beyond_the_loudest_is_no_fault():
    assert Speech.decode(encoded("mp3", (speech() / 0.3).clip(-1, 1))).remarks == ()


@pytest.mark.parametrize("share", [-1, -0.98, -0.6])
@pytest.mark.parametrize("rate", [None, 8000])
@pytest.mark.parametrize("kind", ["wav", "flac", "ogg"])
def test_where_channels_cancel_each_other_the_strongest_is_heard(share, rate, kind):
    both = np.stack([share * speech(), speech()], axis=1) + 1e-3 * np.random.default_rng(0).normal(size=(len(speech()), 2))
    found, clean = (Speech.decode(encoded(kind, wave), "a file", rate=rate) for wave in (both, speech()))
    n = min(len(found.waveform), len(clean.waveform))
    assert abs(np.corrcoef(found.waveform[:n], clean.waveform[:n])[0, 1]) > 0.99
    assert found.waveform.std() == pytest.approx(clean.waveform.std(), rel=0.05)
    [remark] = found.remarks
    assert remark.startswith("a file has 2 channels that cancel each other: number ")
    assert share == -1 or "number 2 alone is heard" in remark


@pytest.mark.parametrize("channels", [2, 6])
@pytest.mark.parametrize("spoken", [0, 1])
def test_a_voice_in_one_of_the_channels_is_heard_among_the_others(channels, spoken):
    wave = np.zeros((len(speech()), channels), np.float32)
    wave[:, spoken] = speech()
    found = Speech.decode(encoded("wav", wave))
    assert np.abs(found.waveform - speech() / channels).max() < 1e-4
    assert found.remarks == ()


def av_encoded(wave: np.ndarray, format: str, codec: str, **options: str) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=format, options=options) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(stream.codec_context.format, "mono", 48_000, stream.codec_context.frame_size or None)
        for each in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(each))
    return buffer.getvalue()


OTHERS = {"m4a": ("ipod", "aac"), "aac": ("adts", "aac"), "webm": ("webm", "libopus"), "mka": ("matroska", "libopus")}
OTHERS |= {"aiff": ("aiff", "pcm_s16be"), "caf": ("caf", "pcm_s16le"), "w64": ("w64", "pcm_s16le"), "au": ("au", "pcm_s16be")}
OPTIONS = {"rf64": {"rf64": "always"}}
OTHERS |= {"rf64": ("wav", "pcm_s16le")}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_of_recordings_are_heard_too_and_what_is_missing_of_them_is_told(kind):
    content = av_encoded(speech(), *OTHERS[kind], **OPTIONS.get(kind, {}))
    found = heard(content, RATE)
    assert found.seconds == pytest.approx(SECONDS, abs=0.1)
    assert found.remarks == ()
    at = np.correlate(found.waveform[:4000], speech()[1000:3000]).argmax() - 1000  # encoders pad in front
    n = len(speech()) - 2000
    assert np.corrcoef(found.waveform[at + 1000 :][:n], speech()[1000:][:n])[0, 1] > 0.95
    if kind == "m4a":  # its index is at the end
        with pytest.raises(InputError, match="a file is not audio that can be read"):
            heard(content[: len(content) // 2], RATE)
        return
    cut = heard(content[: len(content) // 2], RATE)
    assert 1 < cut.seconds < 2
    # AAC without a container promises nothing.
    assert len(cut.remarks) == (kind != "aac")
    assert all("header promises" in remark for remark in cut.remarks)


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
    resized, promised, _ = sized(content)
    assert (resized != content, promised > 1) == (found, found)
