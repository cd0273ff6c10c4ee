"""What is in a dataset, for people: as text, as JSON and as a picture."""

import io
import json
from collections import Counter

import numpy as np
import pyarrow as pa

from ms2sl.config import Config
from ms2sl.data.dataset import Dataset
from ms2sl.extras import extra
from ms2sl.io.storage import StoragePath
from ms2sl.text_normalization import plain

COLUMNS = ["text", "gloss", "n_frames", "fps", "source_fps", "n_speech", "speech_source", "remarks"]


class SplitDescription(Config):
    """Lengths in seconds; modalities: clips that have just these; words: how many, how many different, and in how many texts."""

    clips: int
    hours: float
    seconds: dict[str, float]
    source_fps: dict[str, int]
    modalities: dict[str, int]
    speech_sources: dict[str, int]
    texts: int
    words: int
    vocabulary: int
    mended: int


class Description(Config):
    """``description.json``. unseen: share of training frames in which the joints of a part are not seen, in their mean."""

    name: str
    skeleton: str
    fps: float
    text: str
    speech: str
    splits: dict[str, SplitDescription]
    unseen: dict[str, float]
    rejected: int


def write_description(folder: StoragePath) -> str:
    """Writes ``description.json`` and ``description.png`` into a dataset's folder; returns the text of it."""
    dataset = Dataset(folder)
    tables = {split: pa.concat_tables(dataset.tables(split, COLUMNS)) for split in dataset.card.splits}
    description = report_on(dataset, tables)
    (folder / "description.json").write(json.dumps(description.model_dump(mode="json"), indent=1, ensure_ascii=False).encode())
    (folder / "description.png").write(picture(dataset, description, tables))
    return text(description)


def report_on(dataset: Dataset, tables: dict[str, pa.Table]) -> Description:
    card = dataset.card
    seen = np.array(card.statistics.seen)
    return Description(
        name=card.name,
        skeleton=f"{card.skeleton.name}: {card.skeleton.n_joints} joints × {card.skeleton.dims}",
        fps=card.fps,
        text=featurizer_name(card.text),
        speech=featurizer_name(card.speech),
        splits={split: _split(table) for split, table in tables.items()},
        unseen={part.name: round(float(1 - seen[card.skeleton.part(part.name)].mean()), 4) for part in card.skeleton.parts},
        rejected=card.rejected,
    )


def featurizer_name(features) -> str:
    return f"{features.featurizer} {features.weights}" if features.weights else features.featurizer


def _split(table: pa.Table) -> SplitDescription:
    frames, texts = table["n_frames"].to_numpy(), [text for text in table["text"].to_pylist() if text]
    words = [word for text in texts for word in plain(text).split()]
    seconds = lengths(table)
    at = {"shortest": 0, "median": 0.5, "95 %": 0.95, "longest": 1}
    return SplitDescription(
        clips=len(table),
        hours=float(seconds.sum() / 3600),
        seconds={name: round(float(np.quantile(seconds, share)), 2) for name, share in at.items()} if len(seconds) else {},
        source_fps={f"{fps:g}": n for fps, n in Counter(table["source_fps"].to_numpy()[frames > 0].round(2).tolist()).most_common()},
        modalities=dict(Counter(modalities(table)).most_common()),
        speech_sources=dict(Counter(source for source in table["speech_source"].to_pylist() if source).most_common()),
        texts=len(texts),
        words=len(words),
        vocabulary=len(set(words)),
        mended=len(table) - table["remarks"].null_count,
    )


def lengths(table: pa.Table) -> np.ndarray:
    """Seconds of the clips that have poses."""
    frames, fps = table["n_frames"].to_numpy(), table["fps"].to_numpy()
    return frames[frames > 0] / fps[frames > 0]


def modalities(table: pa.Table) -> list[str]:
    """What each clip has: ``text + speech + sign``, for example."""
    has = {
        "text": table["text"].is_valid().to_numpy(),
        "speech": table["n_speech"].to_numpy() > 0,
        "sign": table["n_frames"].to_numpy() > 0,
    }
    return [" + ".join(name for name, there in has.items() if there[i]) for i in range(len(table))]


def text(description: Description) -> str:
    """The description as lines."""
    lines = [
        f"{description.name}: {description.skeleton}, {description.fps:g} frames a second; text by {description.text}, "
        f"speech by {description.speech}"
    ]
    for name, split in description.splits.items():
        lines.append(f"{name}: {split.clips} clips, {split.hours:.2f} hours of signing")
        for title, numbers in (
            ("seconds", split.seconds),
            ("recorded at", split.source_fps),
            ("clips with", split.modalities),
            ("speech", split.speech_sources),
        ):
            if numbers:
                lines.append(f"  {title}: " + ", ".join(f"{key} {value}" for key, value in numbers.items()))
        if split.texts:
            lines.append(f"  texts: {split.texts}, {split.words} words, {split.vocabulary} different")
    lines.append("unseen joints: " + ", ".join(f"{part} {share:.1%}" for part, share in description.unseen.items()))
    return "\n".join([*lines, f"rejected: {description.rejected}"])


def picture(dataset: Dataset, description: Description, tables: dict[str, pa.Table]) -> bytes:
    """PNG: lengths, modalities, unseen joints and the mean pose of training."""
    with extra("render"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    (left, right), (below, mean) = figure.subplots(2, 2)
    figure.suptitle(f"{description.name}: {sum(split.clips for split in description.splits.values())} clips, {description.skeleton}")
    left.hist([lengths(table) for table in tables.values()], bins=30, stacked=True, label=list(tables))
    left.set(xlabel="seconds", ylabel="clips")
    left.legend()
    counts = sum((Counter(split.modalities) for split in description.splits.values()), Counter())
    right.barh(list(counts), list(counts.values()))
    right.set(xlabel="clips")
    below.barh(list(description.unseen), [100 * share for share in description.unseen.values()])
    below.set(xlabel="unseen joints, % of training frames", xlim=(0, 100))
    _mean_pose(mean, dataset)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()


def _mean_pose(axes, dataset: Dataset) -> None:
    skeleton, statistics = dataset.skeleton, dataset.card.statistics
    joints = np.array(statistics.mean)[:, :2]
    for part, wrist in skeleton.wrists.items():
        joints[skeleton.part(part)] += joints[skeleton.index(wrist)]
    seen = np.array(statistics.seen) > 0
    for a, b in skeleton.limbs:
        if seen[a] and seen[b]:
            axes.plot(*joints[[a, b]].T, color="0.3", linewidth=1)
    axes.invert_yaxis()
    axes.set(aspect="equal", title="mean pose of training", xlabel="shoulder widths")
