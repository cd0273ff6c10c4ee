"""What every corpus must keep to, as a check that any corpus can be put through, one's own too."""

import copy
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from importlib import import_module

import numpy as np

from ms2sl.data.corpus import Corpus
from ms2sl.data.preprocessing import PreprocessConfig, preprocess_clip
from ms2sl.data.types import Clip
from ms2sl.errors import InputError
from ms2sl.io.file_names import split_name

PROGRAM = "from ms2sl.corpora.contract import main; main()"


def check(corpus: Corpus, most: int = 50) -> tuple[int, dict[str, str]]:
    """Raises AssertionError where the corpus does not keep to the contract; looks at ``most`` clips at most.

    Clips, their order and the digest are compared with those of a second process in which strings have other hashes: what follows the
    order of a set differs there. The corpus must be defined in a module that can be imported, and keep its options as ``config``.
    Returns how many clips are fit for learning, and of the others id and reason.
    """
    for split in corpus.splits:
        assert split == split_name(split), f"its split '{split}' is called {split_name(split)} here"
    other = _in_another_process(corpus, most)
    try:
        found = _check_here(corpus, most)
        _compare(facts(corpus, most), other)
    finally:
        other.kill()
        other.communicate()
    return found


def _check_here(corpus: Corpus, most: int) -> tuple[int, dict[str, str]]:
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
            preprocess_clip(clip, corpus.skeleton, PreprocessConfig(), corpus.fps)
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
    assert (clip.text, clip.gloss, clip.signer) == (again.text, again.gloss, again.signer), (
        f"{clip.id} has another text, gloss or signer when it is read again"
    )
    for one, other in ((clip.poses, again.poses), (clip.speech, again.speech)):
        assert (one is None) == (other is None), f"{clip.id} has other modalities when it is read again"
    if clip.poses is not None:
        assert np.array_equal(clip.poses.joints, again.poses.joints, equal_nan=True), f"{clip.id} has other poses when it is read again"
    if clip.speech is not None:
        assert np.array_equal(clip.speech.waveform, again.speech.waveform), f"{clip.id} has other speech when it is read again"


def facts(corpus: Corpus, most: int) -> dict:
    """What must be the same in every process."""
    spans = {split: [span.start, span.stop] for split, span in corpus.splits.items()}
    indices = [i for span in corpus.splits.values() for i in span]
    return {
        "digest": corpus.digest(),
        "splits": spans,
        "order of ids": hashlib.blake2b("\n".join(map(corpus.id, indices)).encode()).hexdigest(),
        "content of clips": [_content(corpus, index) for index in _some(indices, most)],
    }


def _content(corpus: Corpus, index: int) -> str:
    try:
        clip = corpus.clip(index)
    except InputError as error:
        return str(error)
    content = hashlib.blake2b(repr((clip.text, clip.gloss, clip.signer, clip.remarks)).encode())
    poses, speech = clip.poses, clip.speech
    for array in (clip.gloss_times, poses and poses.joints, poses and poses.confidence, speech and speech.waveform):
        content.update(b"" if array is None else array.tobytes())  # type: ignore[union-attr]
    return content.hexdigest()


def _in_another_process(corpus: Corpus, most: int) -> subprocess.Popen:
    """Makes the corpus anew from its options, where strings have other hashes, and writes its facts."""
    kind, config = type(corpus), getattr(corpus, "config", None)
    assert config is not None, "it does not keep its options as config, so it cannot be made in another process"
    assert kind.__module__ != "__main__" and "<locals>" not in kind.__qualname__, "define it in a module that can be imported"  # noqa: PT018
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(place or os.getcwd() for place in sys.path)}
    order = json.dumps([kind.__module__, kind.__qualname__, config.model_dump_json(), most])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, text=True, **pipes)
    process.stdin.write(order)
    process.stdin.close()
    process.stdin = None
    return process


def _compare(here: dict, process: subprocess.Popen) -> None:
    said, wrong = process.communicate()
    assert process.returncode == 0, f"it cannot be made in another process: {wrong.strip().splitlines()[-1] if wrong.strip() else said}"
    there = json.loads(said.splitlines()[-1])
    different = [what for what in here if here[what] != there[what]]
    assert not different, f"its {', '.join(different)} differ in another process: an order of sets, files or times stands behind them"


def main() -> None:
    """The other process: reads which corpus from standard input."""
    module, name, config, most = json.loads(sys.stdin.read())
    kind = getattr(import_module(module), name)
    sys.stdout.write(json.dumps(facts(kind(kind.Config.model_validate_json(config)), most)) + "\n")
