"""The pictures of a film, upright and each with its time. FFmpeg (PyAV) decodes."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath

SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".3gp", ".ogv")
FORMATS = "mp4,mov,webm,matroska,avi,mpeg,mpegts,mpegvideo,3gp,ogg"  # no playlists: they would open other files

MOST_ASPECT = 4  # of a pixel; what is beyond is a mistake of the file


@dataclass(frozen=True, slots=True)
class Picture:
    """seconds: from the first picture of the film. pixels: uint8 ``(height, width, 3)``, RGB, of square pixels."""

    seconds: float
    pixels: np.ndarray


def pictures(film: StoragePath, most_fps: float, most_pixels: int) -> Iterator[Picture]:
    """Those of a film in the order in which they are shown, turned as a phone says that it was held.

    most_fps: pictures a second; of films that have more, some are left out. most_pixels: of the shorter side; larger ones are made smaller.
    What is damaged is left out. Raises InputError if the film cannot be opened or has no picture.
    """
    with contextlib.ExitStack() as opened:
        try:
            source = str(film.local_path()) if film.is_local else opened.enter_context(film.open())
            container = opened.enter_context(av.open(source, options={"format_whitelist": FORMATS}))
        except (av.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"it is no film that can be opened ({reason})") from None
        streams = [stream for stream in container.streams.video if not stream.disposition & av.stream.Disposition.attached_pic]
        if not streams:
            raise InputError("it has no picture, sound alone" if container.streams.audio else "it has no picture")
        streams[0].thread_type = "AUTO"
        step = 1 / float(streams[0].average_rate or 25)
        now = before = shown = None  # seconds: of this picture, of the one before as the film says it, and of the last that was taken
        for frame in _frames(container, streams[0]):
            said = frame.time
            if now is None:
                now = 0.0
            elif said is None or before is None or said < before:  # no clock, or one that was set back
                now += step
            else:
                now += said - before
            before = said
            if shown is None or now - shown > 0.9 / most_fps:
                shown = now
                yield Picture(now, _upright(frame, streams[0].sample_aspect_ratio, most_pixels))
        if shown is None:
            raise InputError("it has no picture that can be decoded")


def _frames(container: "av.container.InputContainer", stream: "av.VideoStream") -> Iterator["av.VideoFrame"]:
    """Those that can be decoded."""
    with contextlib.suppress(av.FFmpegError, OSError):  # cut short
        for packet in container.demux(stream):
            with contextlib.suppress(av.FFmpegError):
                yield from packet.decode()


def _upright(frame: "av.VideoFrame", aspect: Fraction | None, most_pixels: int) -> np.ndarray:
    width, height = frame.width, frame.height
    if aspect and 1 / MOST_ASPECT < aspect < MOST_ASPECT:
        width = round(width * float(aspect))
    scale = min(1.0, most_pixels / min(width, height))
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    pixels = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))
