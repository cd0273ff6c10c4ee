import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ms2sl.data.preprocessing import PreprocessConfig, preprocess_clip
from ms2sl.data.shards import (
    SCHEMA,
    ShardHeader,
    decode_joints,
    decode_joints_padded,
    read_header,
    read_shard,
    rows_table,
    to_clip,
    to_row,
    write_shard,
)
from ms2sl.errors import InputError
from tests.conftest import BYTES, LOG_MEL


def row(corpus, index: int) -> dict:
    return to_row(preprocess_clip(corpus.clip(index), corpus.skeleton, PreprocessConfig(), corpus.fps))


@pytest.fixture
def header(corpus) -> ShardHeader:
    return ShardHeader(fingerprint="f", skeleton=corpus.skeleton, text=BYTES, speech=LOG_MEL)


@pytest.fixture
def shard(corpus, header, tmp_path) -> Path:
    path = tmp_path / "train-00000.parquet"
    write_shard(path, rows_table([row(corpus, i) for i in range(6)]), header)
    return path


def test_a_clip_comes_back_within_a_tenth_of_a_pixel(corpus, shard):
    clip = corpus.clip(3)
    back = to_clip(read_shard(shard).to_pylist()[3], corpus.skeleton)
    expected = corpus.skeleton.normalise(clip.poses)
    assert (back.id, back.text, back.split, back.poses.fps) == (clip.id, clip.text, clip.split, 12.5)
    assert np.abs(back.poses.joints - expected.joints).max() <= 2**-11 + 1e-6
    assert np.array_equal(back.poses.confidence, expected.confidence)
    assert np.abs(back.speech.waveform - clip.speech.waveform).max() < 2**-14


def test_anyone_can_read_it(shard):
    assert pq.read_schema(shard).field("poses").type == pa.large_binary()
    frame = pd.read_parquet(shard)
    first = frame.iloc[0]
    steps = np.frombuffer(first.poses, np.int16).reshape(first.n_frames, 49, 2)
    assert np.array_equal(steps.cumsum(axis=0) / 1024, decode_joints(first.poses, (49, 2)))


def test_a_shard_written_with_binary_columns_reads_the_same(shard):
    written, columns = read_shard(shard), ["speech", "poses", "confidence", "text_features", "speech_features"]
    narrow = [field.with_type(pa.binary()) if field.name in columns else field for field in written.schema]
    earlier = shard.with_name("earlier.parquet")
    pq.write_table(written.cast(pa.schema(narrow, written.schema.metadata)), earlier)
    assert pq.read_schema(earlier).field("poses").type == pa.binary()
    assert read_shard(earlier).equals(written, check_metadata=True)
    assert {read_shard(earlier).schema.field(name).type for name in columns} == {pa.large_binary()}
    assert read_header(earlier) == read_header(shard)


def test_its_header_tells_what_it_is(shard, header):
    assert read_header(shard).model_copy(update={"sums": None}) == header


def test_a_missing_shard(tmp_path):
    with pytest.raises(InputError, match=r"train-00001\.parquet is missing"):
        read_shard(tmp_path / "train-00001.parquet")


@pytest.mark.parametrize("keep", [0, 100, -50])
def test_a_truncated_shard(shard, keep):
    shard.write_bytes(shard.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"train-00000\.parquet is damaged"):
        read_shard(shard)


def test_a_shard_damaged_in_the_middle(shard):
    content = bytearray(shard.read_bytes())
    content[200:20000] = bytes(19800)
    shard.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        read_shard(shard)


def test_parquet_that_is_no_shard(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="no shard of ms2sl"):
        read_header(tmp_path / "other.parquet")


def test_an_interrupted_write_leaves_nothing_of_that_name(corpus, header, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "x.parquet", rows_table([row(corpus, 0)]), header)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def full_disk(tmp_path):
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a file system of 64 KiB cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_said_and_leaves_no_half_file(corpus, header, full_disk):
    with pytest.raises(InputError, match=r"cannot be written: .*free space there or choose another folder"):
        write_shard(full_disk / "x.parquet", rows_table([row(corpus, i) for i in range(12)]), header)
    assert list(full_disk.iterdir()) == []


def test_a_folder_that_cannot_be_made(corpus, header, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_shard(tmp_path / "file" / "x.parquet", rows_table([row(corpus, 0)]), header)


def test_every_column_of_a_row_is_in_the_schema(corpus):
    assert list(row(corpus, 0)) == SCHEMA.names


def test_clips_decoded_together_are_as_each_alone_with_zeros_behind():
    rng = np.random.default_rng(0)
    steps = [rng.integers(-3, 4, (frames, 6, 3)).astype(np.int16) for frames in (5, 1, 9, 0)]
    steps[2][0] = 32767  # sums that wrap do so in both
    together = decode_joints_padded([*(pa.py_buffer(clip.tobytes()) for clip in steps), None], (6, 3), 12)
    assert (together.shape, together.dtype) == ((5, 12, 6, 3), np.float32)
    for joints, clip in zip(together, [*steps, steps[3]], strict=True):
        assert np.array_equal(joints[: len(clip)], decode_joints(clip.tobytes(), (6, 3)))
        assert not joints[len(clip) :].any()
