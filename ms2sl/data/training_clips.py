"""What a dataset has to learn from, for systems that copy it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ms2sl.data.dataset import Dataset
from ms2sl.data.pose_statistics import PoseStatistics, PoseSums
from ms2sl.data.shards import decode_poses, read_shard
from ms2sl.data.skeleton import Skeleton
from ms2sl.data.skeleton_reduction import read_reduced
from ms2sl.data.types import Clip, Poses, Utterance
from ms2sl.errors import InputError
from ms2sl.text_normalization import plain


@dataclass(frozen=True, eq=False)
class TrainingClips:
    """What the trivial producers know: the training clips that have poses. Texts are plain; poses are read when they are asked for.

    read: poses of the clips with these indices; statistics: of all of them. Raises InputError if there are no clips.
    """

    texts: Sequence[str | None]
    mean_seconds: float
    fps: float
    skeleton: Skeleton
    statistics: PoseStatistics
    read: Callable[[Sequence[int]], list[Poses]]

    def __post_init__(self):
        if not self.texts:
            raise InputError("the baselines need training clips with poses, and there are none")

    @classmethod
    def of_clips(cls, clips: Iterable[Clip], skeleton: Skeleton) -> "TrainingClips":
        """Clips in memory."""
        clips = [clip for clip in clips if clip.poses is not None]
        poses = [clip.poses for clip in clips]
        return cls(
            [clip.text and plain(clip.text) for clip in clips],
            float(np.mean([each.seconds for each in poses])) if poses else 0.0,
            poses[0].fps if poses else 0.0,
            skeleton,
            PoseSums.of(poses, skeleton).statistics(),
            lambda chosen: [poses[i] for i in chosen],
        )

    @classmethod
    def of_dataset(cls, dataset: Dataset) -> "TrainingClips":
        """The training split of a prepared dataset, its poses left on disk."""
        shards = [(path, read_shard(path, ["text", "n_frames", "fps"])) for path, _ in dataset.shards("train")]
        rows = [(path, i, row) for path, table in shards for i, row in enumerate(table.to_pylist()) if row["n_frames"]]

        def read(chosen: Sequence[int]) -> list[Poses]:
            found = {}
            for path in dict.fromkeys(rows[k][0] for k in chosen):
                wanted = sorted({rows[k][1] for k in chosen if rows[k][0] == path})
                some = read_reduced(path, dataset.skeleton, ["n_frames", "fps", "poses", "confidence"]).take(wanted).to_pylist()
                found |= {(path, i): decode_poses(row, dataset.skeleton) for i, row in zip(wanted, some, strict=True)}
            return [found[rows[k][:2]] for k in chosen]

        texts = [row["text"] and plain(row["text"]) for *_, row in rows]
        seconds = [row["n_frames"] / row["fps"] for *_, row in rows]
        mean_seconds = float(np.mean(seconds)) if rows else 0.0
        return cls(texts, mean_seconds, dataset.card.fps, dataset.skeleton, dataset.card.statistics, read)

    def frames(self, utterance: Utterance, fps: float) -> int:
        """As many as the user asks for, else as training clips last on average."""
        return max(1, round((self.mean_seconds if utterance.seconds is None else utterance.seconds) * fps))
