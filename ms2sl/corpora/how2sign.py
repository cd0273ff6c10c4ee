"""How2Sign (Duarte et al. 2021): American Sign Language with English text, as OpenPose keypoints of single sentences.

CC BY-NC 4.0. Its own audio is not redistributed; recordings by sentence name may be given, or speech synthesised.
"""

import cv2
from pydantic import Field

from ms2sl.clip import Poses, Signing
from ms2sl.config import Config
from ms2sl.corpora.openpose import read_frames
from ms2sl.corpora.records import Record, RecordCorpus, recordings, source
from ms2sl.errors import InputError
from ms2sl.skeletons import OPENPOSE_137X2
from ms2sl.tables import TAB, read_table
from ms2sl.uri import Place

SPLITS = {"train": "train", "val": "dev", "test": "test"}
COLUMNS = {"name": ("SENTENCE_NAME",), "text": ("SENTENCE",)}


class How2SignConfig(Config):
    """Where How2Sign lies. In patterns, {split} stands for train, val and test."""

    source: Place = Field("", description="folder of the corpus, local or a URI")
    texts: str = Field("how2sign_realigned_{split}.csv", description="tables of texts, tab-separated")
    poses: str = Field("json", description="folders with a folder of OpenPose JSON for each sentence")
    speech: str = Field("", description="folders with recordings, <SENTENCE_NAME>.wav, .flac, .mp3 or .ogg; by default none")
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
        needs = {"required": tuple(COLUMNS), "whole": ("name",), "kind": TAB}
        rows = [(split, row) for split, table in there for _, row in read_table(table, COLUMNS, **needs)]
        if not rows:
            raise InputError(f"{folder} has none of {', '.join(table.name for table in tables.values())}: see --how2sign.texts")
        places = {config.poses.format(split=split): split for split in SPLITS}
        posed = {clip.name: (clip, split) for place, split in places.items() for clip in folder.resolve(place).children()}
        spoken = dict.fromkeys(config.speech.format(split=split) for split in SPLITS) if config.speech else ()
        speech = {name: file for place in spoken for name, file in recordings(folder.resolve(place)).items()}
        named = {row["name"] for _, row in rows}
        self.without_poses = len(named - posed.keys())
        records = []
        for split, row in rows:
            name, text = row["name"], row.get("text")
            if name in posed:
                no_text = None if text else "its SENTENCE is empty"
                found = {"poses": posed[name][0], "speech": speech.get(name), "no_text": no_text}
                records.append(Record(name, SPLITS[split], text, **found))
        strangers = ((name, SPLITS[split]) for name, (_, split) in posed.items() if name not in named)
        return records + [Record(name, split, problem="no table of texts has a sentence of this name") for name, split in strangers]

    def read(self, record: Record) -> Signing:
        frames, remarks = read_frames(record.poses, self.config.width, self.config.height)
        poses = Poses(frames[..., :2], frames[..., 2].clip(0, 1), self._fps(record))
        return Signing(poses, self.config.width, self.config.height, remarks)

    def _fps(self, record: Record) -> float:
        if not self.config.videos:
            return self.config.fps
        split = next(theirs for theirs, ours in SPLITS.items() if ours == record.split)
        file = source(self.config, self.name).resolve(self.config.videos.format(split=split)) / f"{record.id}.mp4"
        fps = cv2.VideoCapture(str(file)).get(cv2.CAP_PROP_FPS)
        if not fps > 0:
            raise InputError(f"its frames a second cannot be told: {file} is missing or no video")
        return fps

    def card(self) -> dict:
        return super().card() | {"terms": "CC BY-NC 4.0", "clips": len(self.index), "sentences without poses": self.without_poses}
