"""What every corpus must keep to, as a check that any corpus can be put through, one's own too."""

import copy
import json
from collections.abc import Iterable

import numpy as np

from ms2sl.clip import Clip
from ms2sl.corpora import Corpus
from ms2sl.errors import InputError
from ms2sl.fitting import FitConfig, fit


def check(corpus: Corpus, most: int = 50) -> tuple[int, dict[str, str]]:
    """Raises AssertionError where the corpus does not keep to the contract; looks at ``most`` clips at most.

    Returns how many clips are fit for learning, and of the others id and reason.
    """
    indices = [i for span in corpus.splits.values() for i in span]
    assert indices, "it has no clips"
    assert sorted(indices) == list(range(len(indices))), "its splits are not ranges that follow each other from 0"
    json.dumps(corpus.card())
    again = copy.deepcopy(corpus)  # by the same means by which it is sent to workers
    assert again.digest() == corpus.digest(), "it is another corpus after it was sent to a worker"
    good, rejected = 0, {}
    for index in _some(indices, most):
        name, split = corpus.id(index), next(split for split, span in corpus.splits.items() if index in span)
        assert isinstance(name, str), f"clip {index} has no name"
        assert name, f"clip {index} has no name"
        try:
            clip = corpus.clip(index)
            _check_clip(clip, name, split)
            fit(clip, corpus.skeleton, FitConfig(), corpus.fps)
            good += 1
        except InputError as error:
            rejected[name] = str(error)
            continue
        _check_same(clip, again.clip(index))
    return good, rejected


def _some(indices: list[int], most: int) -> Iterable[int]:
    return indices[:: max(1, len(indices) // most)][:most]


def _check_clip(clip: Clip, name: str, split: str) -> None:
    assert (clip.id, clip.split) == (name, split), f"clip {name} of {split} calls itself {clip.id} of {clip.split}"
    assert clip.spoken_language, f"{name} has no spoken language; und stands for one that is not known"
    assert clip.signed_language, f"{name} has no sign language; und stands for one that is not known"


def _check_same(clip: Clip, again: Clip) -> None:
    """Clips are the same whenever and wherever they are read."""
    assert (clip.text, clip.gloss) == (again.text, again.gloss), f"{clip.id} has another text when it is read again"
    for one, other in ((clip.poses, again.poses), (clip.speech, again.speech)):
        assert (one is None) == (other is None), f"{clip.id} has other modalities when it is read again"
    if clip.poses is not None:
        assert np.array_equal(clip.poses.joints, again.poses.joints, equal_nan=True), f"{clip.id} has other poses when it is read again"
    if clip.speech is not None:
        assert np.array_equal(clip.speech.waveform, again.speech.waveform), f"{clip.id} has other speech when it is read again"
