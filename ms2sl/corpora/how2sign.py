"""How2Sign (Duarte et al. 2021): American Sign Language with English text, as OpenPose keypoints of single sentences.

CC BY-NC 4.0. Its own audio is not redistributed; recordings by sentence name may be given, or speech synthesised.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import partial

from pydantic import Field

from ms2sl.config import Config
from ms2sl.corpora.openpose import read_frames
from ms2sl.corpora.records import Record, RecordCorpus, audio_files, recordings, source
from ms2sl.data.skeleton_registry import OPENPOSE_137X2
from ms2sl.data.types import Poses, RawPoses
from ms2sl.errors import InputError
from ms2sl.extras import extra
from ms2sl.io.file_names import file_kind, nfc
from ms2sl.io.name_matching import by_name
from ms2sl.io.storage import StoragePath
from ms2sl.io.tables import TAB, read_table
from ms2sl.io.uri import PathOrUri

SPLITS = {"train": "train", "val": "dev", "test": "test"}
COLUMNS = {"name": ("SENTENCE_NAME",), "text": ("SENTENCE",)}


class How2SignConfig(Config):
    """Where How2Sign lies. In patterns, {split} stands for train, val and test."""

    source: PathOrUri = Field("", description="folder of the corpus, local or a URI")
    texts: str = Field("how2sign_realigned_{split}.csv", description="tables of texts, tab-separated")
    poses: str = Field("json", description="folders with a folder of OpenPose JSON for each sentence")
    speech: str = Field("", description="folders with recordings, <SENTENCE_NAME>.wav, .mp3, .m4a, …; by default none")
    videos: str = Field("", description="local folders with the clips' videos, from which their frames a second are read")
    fps: float = Field(24.0, gt=0, description="frames a second of all clips, where no videos are given")
    width: int = Field(1280, gt=0, description="pixels of the videos")
    height: int = Field(720, gt=0, description="pixels of the videos")


class How2Sign(RecordCorpus):
    """Clips are the sentences that have poses; sentences of the tables without poses are counted in the card."""

    name, Config = "how2sign", How2SignConfig
    skeleton = OPENPOSE_137X2
    spoken_language, signed_language = "en", "ase"

    def records(self) -> list[Record]:
        folder, config = source(self.config, self.name), self.config
        tables = {split: folder.resolve(config.texts.format(split=split)) for split in SPLITS}
        there = [(split, table) for split, table in tables.items() if table.exists()]
        read = partial(read_table, columns=COLUMNS, required=tuple(COLUMNS), whole=("name",), kind=TAB)
        rows = [(split, row) for split, table in there for _, row in read(table)]
        if not rows:
            raise InputError(f"{folder} has none of {', '.join(table.name for table in tables.values())}: see --how2sign.texts")
        posed, spoken = _Places(folder, config.poses, rows, _clip_folders), _Places(folder, config.speech, rows, recordings)
        named = {(split, nfc(row["name"])) for split, row in rows}
        records, without_poses = [], set()
        for split, row in rows:
            name, text = nfc(row["name"]), row.get("text")
            poses, problem = posed.find(split, name)
            if poses or problem:
                speech, no_speech = spoken.find(split, name)
                no_text = None if text else "its SENTENCE is empty"
                found = Record(name, SPLITS[split], text, poses=poses, speech=speech, problem=problem, no_text=no_text, no_speech=no_speech)
                records.append(found)
            else:
                without_poses.add((split, name))
        self.without_poses = len(without_poses)
        self.beside = dict(posed.beside(StoragePath.folders) + spoken.beside(audio_files))
        if without_speech := spoken.names() - {name for _, name in named}:
            self.beside["recordings of no sentence"] = len(without_speech)
        strangers = [(name, split) for split, name in posed.all() if not named & {(each, name) for each in posed.splits(split)}]
        return records + [Record(name, SPLITS[split], problem="no table of texts has a sentence of this name") for name, split in strangers]

    def read(self, record: Record) -> RawPoses:
        frames, remarks = read_frames(record.poses, self.config.width, self.config.height)
        poses = Poses(frames[..., :2], frames[..., 2].clip(0, 1), self._fps(record))
        return RawPoses(poses, self.config.width, self.config.height, remarks)

    def stamp(self, record: Record) -> str:
        video = self._video(record) if self.config.videos and record.poses else None
        return super().stamp(record) + (self.stamps.of(video) if video else "")

    def _fps(self, record: Record) -> float:
        if not self.config.videos:
            return self.config.fps
        file = self._video(record)
        with extra("corpora"):
            import cv2
        with file.reading() as here:
            fps = cv2.VideoCapture(str(here)).get(cv2.CAP_PROP_FPS)
        if not fps > 0:
            raise InputError(f"its frames a second cannot be told: {file} is missing or no video")
        return fps

    def _video(self, record: Record) -> StoragePath:
        split = next(theirs for theirs, ours in SPLITS.items() if ours == record.split)
        return source(self.config, self.name).resolve(self.config.videos.format(split=split)) / f"{record.poses.name}.mp4"

    def ignored(self) -> dict[str, int]:
        assert self.index
        return self.beside | ({"sentences without poses": self.without_poses} if self.without_poses else {})

    def card(self) -> dict:
        return super().card() | {"terms": "CC BY-NC 4.0", "clips": len(self.index), "sentences without poses": self.without_poses}


class _Places:
    """What lies in the folders of a pattern by the names of sentences: a folder for each split, or one for all of them."""

    def __init__(self, folder: StoragePath, pattern: str, rows: list[tuple[str, dict]], listing: Callable):
        self.shared = "{split}" not in pattern
        places = {} if not pattern else {split: folder.resolve(pattern.format(split=split)) for split in SPLITS}
        self.places = list(dict.fromkeys(places.values()))
        lists = {place: listing(place) for place in self.places}
        self.found = {split: lists[place] for split, place in places.items()}
        self.named: dict[str, set[str]] = defaultdict(set)
        for split, row in rows:
            self.named[nfc(row["name"])].add(split)

    def find(self, split: str, name: str) -> tuple[StoragePath | None, str | None]:
        """Of a sentence, or why it cannot be told which it is."""
        found, twins = self.found.get(split, ({}, {}))
        several = sorted(self.named[name]) if self.shared and len(self.named[name]) > 1 and (name in found or name in twins) else []
        if several:
            return None, f"sentences of {' and '.join(several)} have the name {name}, and all splits have one folder: give each its own"
        return found.get(name), twins.get(name)

    def splits(self, split: str) -> list[str]:
        """Those that have their folder in common with a split."""
        return list(SPLITS) if self.shared else [split]

    def names(self) -> set[str]:
        return {name for found, twins in self.found.values() for name in (*found, *twins)}

    def beside(self, of_clips: Callable[[StoragePath], Iterable[StoragePath]]) -> Counter[str]:
        """What else is there than what may be of clips, by kind."""
        known = {str(child) for place in self.places for child in of_clips(place)}
        children = (child for place in self.places for child in place.children(junk=True) if str(child) not in known)
        return Counter(file_kind(child.name) for child in children)

    def all(self) -> list[tuple[str, str]]:
        """Splits and names of all; of a folder for all splits, the last."""
        chosen = list(self.found)[-1:] if self.shared else list(self.found)
        return [(split, name) for split in chosen for name in (*self.found[split][0], *self.found[split][1])]


def _clip_folders(place: StoragePath) -> tuple[dict[str, StoragePath], dict[str, str]]:
    return by_name((clip.name, clip) for clip in place.folders())
