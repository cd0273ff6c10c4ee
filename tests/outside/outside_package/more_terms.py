"""A score of motion and a term of MS2SL's loss, from outside the project."""

import numpy as np

from ms2sl.evaluation.motion_scores import MotionScore, mean
from ms2sl.nn.losses import masked_mean
from ms2sl.systems.ms2sl.losses import Loss


def stillness(produced, real, skeleton):
    return {"stillness": [float(np.mean(np.abs(np.diff(poses.joints, axis=0)) < 1e-3)) for poses in produced]}


def smoothness(computed):
    mask = computed.known[:, 2:] & computed.known[:, 1:-1] & computed.known[:, :-2]
    return masked_mean(computed.predicted.diff(n=2, dim=1) ** 2, mask)


STILLNESS = MotionScore("stillness", "still", stillness, mean("stillness"), digits=4)
SMOOTHNESS = Loss("smoothness", 0.0, "squared acceleration of the predicted pose", smoothness)
