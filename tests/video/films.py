"""Films for tests: a portrait that ships with matplotlib (Grace Hopper, public domain), moved by known ways."""

from fractions import Fraction
from pathlib import Path

import av
import matplotlib
import numpy as np
from PIL import Image

from tests.corpora import builders

WIDTH, HEIGHT, TIME_BASE, RATE = 480, 360, 1000, 16000
PORTRAIT = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


def picture(shift: int = 0) -> np.ndarray:
    """uint8 ``(360, 480, 3)``: a person in the middle, ``shift`` pixels to the right."""
    portrait = np.asarray(Image.open(PORTRAIT).convert("RGB").resize((256, 300)))
    canvas = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)
    left = (WIDTH - 256) // 2 + shift
    canvas[30:330, left : left + 256] = portrait
    return canvas


def write(path: Path, pictures: list[np.ndarray], times: list[int] | None = None, fps: int = 25, sound: bool = False) -> Path:
    """times: milliseconds at which each is shown; by default at a constant rate. sound: whether a tone is heard for as long."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        codec = {".webm": "libvpx", ".mpg": "mpeg2video"}.get(path.suffix, "h264")
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, TIME_BASE)
        stream.codec_context.time_base = Fraction(1, TIME_BASE if times else fps)
        audio = container.add_stream("aac", rate=RATE) if sound else None
        for i, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = (times[i], Fraction(1, TIME_BASE)) if times else (i, Fraction(1, fps))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio:
            tone = np.sin(np.arange(len(pictures) * RATE // fps) * 0.2).astype(np.float32)[None] / 3
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            frame.sample_rate = RATE
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def folder(root: Path) -> Path:
    """Two films, a recording, a table of what is known of them, and a file that is none of these."""
    write(root / "wave.mp4", [picture(4 * i) for i in range(12)])
    write(root / "nod.mp4", [picture()] * 12)
    builders.speech(root / "speech.wav")
    rows = [
        {"id": "wave", "film": "wave.mp4", "speech": "", "text": "good morning", "gloss": "GOOD MORNING", "split": "train"},
        {"id": "nod", "film": "nod.mp4", "speech": "speech.wav", "text": "yes", "gloss": "YES", "split": "train"},
    ]
    builders.write_table(root / "clips.csv", rows, ",")
    (root / "notes.txt").write_text("")
    return root


def turned(path: Path, out: Path) -> Path:
    """The same film as of a phone that was held upright: to be shown a quarter turn to the right (the matrix of its track's header)."""
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd") + 4
    matrix = header + 40
    size = int.from_bytes(content[header + 76 : header + 80]) >> 16
    content[matrix : matrix + 36] = b"".join(
        value.to_bytes(4, signed=True) for value in (0, 1 << 16, 0, -(1 << 16), 0, 0, size << 16, 0, 1 << 30)
    )
    out.write_bytes(content)
    return out
