"""How much the header of a recording promises. Headers lie: of recordings that were cut short (they promise more), came through a pipe
(0, or 0xFFFFFFFF), or were edited."""

from typing import Literal

import av

UNKNOWN_SIZE = 0x7FFF0000  # bytes: programs that write wav into a pipe promise this much or more
TAGS = (b"TAG", b"ID3")  # of music, which some programs write behind the last chunk
MOST_CHUNKS = 500  # before the samples of a wav file, which has a few; empty ones would be millions
# Apple's CAF and Sony's Wave64: where the first chunk begins, bytes of its name, order of those of its size, to how many chunks are padded,
# and bytes of name and size that the size counts too.
CHUNKED: dict[bytes, tuple[int, int, Literal["big", "little"], int, int]] = {
    b"caff": (8, 4, "big", 1, 0),
    b"riff": (40, 16, "little", 8, 24),
}


def promised_seconds(encoded: bytes, container: av.container.InputContainer, stream: av.AudioStream) -> float:
    """What the header of the file says; 0 where it says nothing, and FFmpeg estimates."""
    name = container.format.name
    if "matroska" in name and container.duration is not None:  # which knows no length of a stream
        return container.duration / av.time_base
    if stream.duration is None or encoded[:4] == b"RIFF":  # of which `sized` says it
        return 0.0
    if name == "mp3" and not _counts_frames(encoded):
        return 0.0
    return float(stream.duration * stream.time_base)


def _counts_frames(mp3: bytes) -> bool:
    """Whether its first frame says how many there are."""
    start = 10 + sum((byte & 0x7F) << 7 * (3 - i) for i, byte in enumerate(mp3[6:10])) if mp3.startswith(b"ID3") else 0
    head = mp3[start : start + 1024]
    at = max(head.find(b"Xing"), head.find(b"Info"))
    return at >= 0 and bool(head[at + 7] & 1) and any(head[at + 8 : at + 12])


def sized(encoded: bytes) -> tuple[bytes, float, int]:
    """A wav file with the size of its samples in its header, how many times as many bytes of them the header promised, and how many bytes
    behind them were cut off that are nothing known.

    Other files are returned as they are. A size that the file has counts, unless as much or more is behind it that is no chunk and no tag:
    programs that are stopped leave the size of what they wrote first.
    """
    if encoded[:4] in CHUNKED:
        return encoded, _promised_times(encoded, *CHUNKED[encoded[:4]]), 0
    if encoded[:4] != b"RIFF" or encoded[8:12] != b"WAVE":
        return encoded, 1.0, 0
    at = 12
    for _ in range(MOST_CHUNKS):
        if encoded[at : at + 4] == b"data" or at + 8 > len(encoded):
            break
        at += 8 + _padded(encoded, at)
    if encoded[at : at + 4] != b"data":
        return encoded, 1.0, 0
    start, size = at + 8, int.from_bytes(encoded[at + 4 : at + 8], "little")
    there, stray = len(encoded) - start, 0
    if size <= there and _ends(encoded, start, size):
        there = size
    elif there / 2 < size <= there:
        there, stray = size, there - size
    resized = encoded[: at + 4] + min(there, 2**32 - 1).to_bytes(4, "little") + encoded[start : start + there]
    return resized, size / there if there and 0 < size < UNKNOWN_SIZE else 1.0, stray


def _promised_times(encoded: bytes, at: int, name: int, order: Literal["big", "little"], aligned: int, counted: int) -> float:
    """Of a file of chunks whose sizes have 8 bytes: how many times as many bytes of samples as there are it promises."""
    for _ in range(MOST_CHUNKS):
        start = at + name + 8
        size = int.from_bytes(encoded[start - 8 : start], order) - counted
        there = len(encoded) - start
        if encoded[at : at + 4] == b"data":
            return size / there if there > 0 and size < UNKNOWN_SIZE else 1.0
        if there <= 0:
            break
        at = start + max(0, size) + -max(0, size) % aligned
    return 1.0


def _padded(encoded: bytes, at: int) -> int:
    """Bytes of the chunk that begins there, behind its name and size; they are even."""
    size = int.from_bytes(encoded[at + 4 : at + 8], "little")
    return size + size % 2


def _ends(encoded: bytes, start: int, size: int) -> bool:
    """Whether what stands behind that many bytes of samples is no sound: chunks, where some programs forget to pad, tags, zeros."""
    end = start + size
    if size and (encoded[end : end + 3] in TAGS or not any(encoded[end:])):
        return True
    return any(_is_chunk(encoded, at) for at in {end, end + size % 2})


def _is_chunk(encoded: bytes, at: int) -> bool:
    """Whether a chunk of RIFF stands there, or nothing that would be long enough."""
    name = encoded[at : at + 4]
    return at + 8 > len(encoded) or (all(32 <= byte < 127 for byte in name) and at + 8 + _padded(encoded, at) <= len(encoded) + 1)
