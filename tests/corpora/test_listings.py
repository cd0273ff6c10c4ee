"""How often folders of files are listed: a store answers each time after a while."""

import pickle

import pytest

from ms2sl.corpora.posefiles import PoseFiles, PoseFilesConfig
from ms2sl.io.storage import StoragePath


def corpus(folder, **options) -> PoseFiles:
    return PoseFiles(PoseFilesConfig(source=str(folder), **options))


def test_clips_are_known_by_one_listing_a_folder_and_as_before(tmp_path, monkeypatch):
    for signer in ("anna", "ben"):
        (tmp_path / signer).mkdir()
        for i in range(20):
            (tmp_path / signer / f"{i}.pose").write_bytes(bytes(i))
    own = corpus(tmp_path, dev=0, test=0)
    expected = [f"{record.poses.name} {record.poses.stamp()}" for record in own.index]
    asked, listed = [], StoragePath._listing
    monkeypatch.setattr(StoragePath, "_info", lambda self: pytest.fail(f"{self} is asked about alone"))
    monkeypatch.setattr(StoragePath, "_listing", lambda self, **how: asked.append(self.name) or listed(self, **how))
    assert [own.stamp(record) for record in own.index] == expected
    assert [own.stamp(record) for record in sorted(own.index, key=lambda record: record.poses.name)], "in turn from either folder"
    assert asked == ["anna", "ben"]
    assert len(set(expected)) > 20, "by size and time"


def test_a_tree_is_listed_once_for_its_index(tmp_path, monkeypatch):
    (tmp_path / "a.pose").touch()
    listed, files = [], StoragePath.files
    monkeypatch.setattr(StoragePath, "files", lambda self, **how: listed.append(self) or files(self, **how))
    assert len(corpus(tmp_path).index) == 1
    assert len(listed) == 1


def test_what_was_listed_does_not_travel_to_workers(tmp_path):
    for i in range(200):
        (tmp_path / f"{i}.pose").touch()
    own = corpus(tmp_path)
    before = len(pickle.dumps(own))
    own.stamps.of(StoragePath(tmp_path / "0.pose"))
    assert len(pickle.dumps(own)) == before
