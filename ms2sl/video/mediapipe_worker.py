"""MediaPipe Holistic as a program of its own, since it cannot live in the environment of this package (``mediapipe_environment``).

It imports nothing of this package. From standard input it takes pictures, each as height and width (uint32, little endian) and RGB bytes;
a height of 0 begins another film. To standard output it writes for each picture float32 ``(543, 4)``: x, y, z and visibility of 33
landmarks of the body, 468 of the face and 21 of each hand, as fractions of the picture; NaN is unseen.
"""

import os
import struct
import sys

import numpy as np

BODY, FACE, HAND = 33, 468, 21


def main() -> None:
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is not among the landmarks
    from mediapipe.python.solutions.holistic import Holistic

    holistic = Holistic()
    while header := sys.stdin.buffer.read(8):
        height, width = struct.unpack("<II", header)
        if height:
            pixels = np.frombuffer(sys.stdin.buffer.read(3 * height * width), np.uint8).reshape(height, width, 3)
            output.write(landmarks(holistic.process(pixels)).tobytes())
            output.flush()
        else:
            holistic.reset()


def landmarks(found) -> np.ndarray:
    parts = (
        (found.pose_landmarks, BODY),
        (found.face_landmarks, FACE),
        (found.left_hand_landmarks, HAND),
        (found.right_hand_landmarks, HAND),
    )
    rows = np.full((BODY + FACE + 2 * HAND, 4), np.nan, np.float32)
    start = 0
    for part, size in parts:
        if part is not None:
            rows[start : start + size, :3] = [(each.x, each.y, each.z) for each in part.landmark[:size]]
            rows[start : start + size, 3] = [each.visibility for each in part.landmark] if part is found.pose_landmarks else 1
        start += size
    return rows


if __name__ == "__main__":
    main()
