import os
import pickle
import time
import unicodedata

import pytest
from pyarrow import fs

from ms2sl.errors import InputError
from ms2sl.io.storage import StoragePath


@pytest.fixture(params=["local", "s3"])
def folder(request, tmp_path) -> StoragePath:
    if request.param == "local":
        return StoragePath(tmp_path / "new")
    return StoragePath(request.getfixturevalue("s3")) / f"{request.node.name}-{time.time_ns()}"


def test_what_is_written_is_read(folder):
    (folder / "a" / "b.txt").write("größer".encode())
    assert (folder / "a/b.txt").read_text() == "größer"
    (folder / "a/b.txt").write(b"other")
    assert (folder / "a/b.txt").read_bytes() == b"other"


def test_listings_are_in_order_and_know_files_from_folders(folder):
    for name in ("z.txt", "a/2.txt", "a/1.txt"):
        (folder / name).write(b"x")
    assert [child.name for child in folder.children()] == ["a", "z.txt"]
    assert list(folder.files()) == ["a/1.txt", "a/2.txt", "z.txt"]
    assert (folder / "a").is_folder()
    assert not (folder / "z.txt").is_folder()
    assert not (folder / "nothing").exists()
    assert list((folder / "nothing").children()) == []


def test_a_file_can_be_read_anywhere_in_it(folder):
    (folder / "a").write(b"0123456789")
    with (folder / "a").open() as file:
        file.seek(7)
        assert file.read(2) == b"78"


def test_what_is_not_there_is_said(folder):
    with pytest.raises(InputError, match=r"missing\.txt(\?.*)? (does not exist|cannot be read)"):
        (folder / "missing.txt").read_bytes()


def test_a_location_can_be_sent_to_a_worker(folder):
    (folder / "a").write(b"x")
    again = pickle.loads(pickle.dumps(folder))
    assert again == folder
    assert (again / "a").read_bytes() == b"x"


def test_names_and_stems(folder):
    assert ((folder / "a.b.pose").name, (folder / "a.b.pose").stem) == ("a.b.pose", "a.b")


def test_local_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(StoragePath("data") / "other") == str(tmp_path / "data" / "other")
    assert str(StoragePath("data").resolve("../other")) == str(tmp_path / "other")
    assert str(StoragePath("data").resolve("/other")) == "/other"


def test_what_leads_out_of_a_folder_is_not_in_it(folder):
    (folder / "inside" / "a.txt").write(b"x")
    for name in ("../a.txt", "/a.txt", "b/../../a.txt", "", "."):
        with pytest.raises(InputError, match="names nothing within"):
            folder / "inside" / name
    assert (folder / "inside" / "b/../a.txt").read_bytes() == b"x"
    assert (folder / "inside").resolve("./a.txt").read_bytes() == b"x"
    assert (folder / "other").resolve(str(folder / "inside/a.txt")).read_bytes() == b"x"


def test_text_may_have_a_byte_order_mark_and_must_be_utf8(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfabc")
    assert StoragePath(tmp_path / "a").read_text() == "abc"
    (tmp_path / "a").write_bytes("ü".encode("latin-1"))
    with pytest.raises(InputError, match=r"is not UTF-8 text \(byte 0\)"):
        StoragePath(tmp_path / "a").read_text()


@pytest.mark.parametrize("name", ["with space", "größer", "100%", "a#b", "q?x=1", "[1]", "-fZc293MpJk_6-1-rgb_front.mp3"])
def test_any_name_will_do(folder, name):
    (folder / name).write(name.encode())
    assert (folder / name).read_text() == name
    assert [child.name for child in folder.children()] == [name]
    assert next(iter(folder.children())).read_text() == name
    assert list(folder.files()) == [name]


@pytest.mark.parametrize("uri", ["ftp://host/a", "s3://bucket/a?endpoint_override=127.0.0.1:9&scheme=http&retry=no"])
def test_a_store_that_nobody_knows_or_reaches_is_said(uri):
    with pytest.raises(InputError, match=r"names no store that pyarrow knows|cannot be read|cannot be reached"):
        StoragePath(uri).read_bytes()


@pytest.mark.parametrize("place", ["local", "s3"])
def test_names_are_the_same_however_accents_are_encoded_and_junk_is_not_listed(place, request, tmp_path):
    root = StoragePath(tmp_path if place == "local" else request.getfixturevalue("s3"))
    written = root / "bu\u0308cher" / "gr\u00fcn" / "a\u0308.txt"
    written.write(b"x")
    (root / "bu\u0308cher" / ".DS_Store").write(b"")
    (root / "bu\u0308cher" / "__MACOSX" / "x.txt").write(b"")
    other = root / "b\u00fccher"
    assert (other / "gru\u0308n" / "\u00e4.txt").read_bytes() == b"x"
    assert other.is_folder()
    assert list(other.files()) == ["gr\u00fcn/a\u0308.txt"]
    assert [child.name for child in other.children()] == [child.name for child in other.folders()] == ["gr\u00fcn"]
    assert not (other / "gru\u0308n" / "\u00e5.txt").exists()
    with pytest.raises(InputError, match="does not exist"):
        (other / "gru\u0308n" / "\u00e5.txt").read_bytes()


@pytest.fixture
def listed(monkeypatch) -> list[str]:
    """The folders that are listed."""
    told, selector = [], fs.FileSelector
    monkeypatch.setattr(fs, "FileSelector", lambda path, **options: told.append(path) or selector(path, **options))
    return told


@pytest.mark.parametrize("place", ["local", "s3"])
def test_a_folder_is_listed_once_for_many_names_in_another_normal_form(place, request, tmp_path, listed):
    root = StoragePath(tmp_path if place == "local" else request.getfixturevalue("s3")) / "gesten"
    names = [f"geb\u00e4rde {i}.pose" for i in range(12)]
    for name in names:
        (root / unicodedata.normalize("NFD", name)).write(name.encode())
    assert [(root / name).read_bytes().decode() for name in names] == names
    assert len({(root / name).stamp() for name in names} | {""}) == 13
    assert len(listed) == 1


def test_a_folder_is_listed_again_for_a_name_that_came_later(tmp_path, listed):
    wanted = StoragePath(tmp_path) / "gr\u00fcn.pose"
    assert not wanted.exists()
    (tmp_path / "gru\u0308n.pose").write_bytes(b"x")
    assert wanted.read_bytes() == b"x"
    (tmp_path / "gru\u0308n.pose").rename(tmp_path / wanted.name)
    assert wanted.read_bytes() == b"x"
    os.utime(tmp_path, (1e9, 1e9))
    assert not any((StoragePath(tmp_path) / f"\u00e4{i}").exists() for i in range(9))
    assert len(listed) <= 3, "once more at most, as long as the folder is as it was"


def test_names_that_are_not_utf8_are_listed_and_refused(tmp_path):
    folder = StoragePath(tmp_path)
    raw = os.fsencode(tmp_path)
    os.mkdir(raw + b"/B\xfccher")
    for name in (b"/a.pose", b"/caf\xe9.pose", b"/B\xfccher/b.pose"):
        with open(raw + name, "wb") as file:
            file.write(b"x")
    assert list(folder.files()) == [r"B\xfccher/b.pose", "a.pose", r"caf\xe9.pose"]
    assert [child.name for child in folder.folders()] == [r"B\xfccher"]
    assert folder.stamp()
    for name in list(folder.files())[::2]:
        with pytest.raises(InputError, match=r"\\x[a-z0-9.]+.* cannot be read: its name is not UTF-8: rename it"):
            (folder / name).read_bytes()
    with pytest.raises(InputError, match="its name is not UTF-8"):
        list((folder / r"B\xfccher").children())
    named = StoragePath(os.fsdecode(raw + b"/caf\xe9.pose"))
    assert named.local_path().read_bytes() == b"x"
    assert str(named).encode()
    with pytest.raises(InputError, match="its name is not UTF-8"):
        named.read_bytes()


def test_a_bucket_is_its_own_parent_and_is_called_without_keys():
    bucket = StoragePath("s3://KEY:SECRET@bucket?endpoint_override=host:9")
    assert (bucket.name, bucket.parent) == ("bucket", bucket)
    assert (bucket / "a").parent == bucket
    assert (bucket / "a b" / "c").parent.name == "a b"
    root = StoragePath("/")
    assert (root.uri, (root / "a").uri, (root / "a").parent) == ("/", "/a", root)
    assert pickle.loads(pickle.dumps(root)) == root


def test_what_lies_within_a_folder_does_not_depend_on_keys_or_quoting(tmp_path):
    folder = StoragePath("s3://bucket/my runs?endpoint_override=host:9")
    assert StoragePath("s3://KEY:SECRET@bucket/my%20runs/a?endpoint_override=host:9").is_within(folder)
    assert folder.is_within(folder)
    assert not StoragePath("s3://bucket/my runs 2/a?endpoint_override=host:9").is_within(folder)
    assert not StoragePath("s3://bucket/my runs/a?endpoint_override=other:9").is_within(folder)
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    assert StoragePath(tmp_path / "link" / "a").is_within(StoragePath(tmp_path / "runs"))


def test_a_folder_goes_to_a_store_and_back_as_it_was(s3, tmp_path):
    there = StoragePath(s3) / f"copied-{time.time_ns()}"
    for name in ("a.txt", "deep/er/b.txt"):
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_text(name)
    there.upload(tmp_path / "here", last="a.txt")
    assert list(there.files()) == ["a.txt", "deep/er/b.txt"]
    with there.reading() as copy:
        assert sorted(str(path.relative_to(copy)) for path in copy.rglob("*.txt")) == ["a.txt", "deep/er/b.txt"]
    assert not copy.exists()
    with (there / "c.bin").writing() as path:
        path.write_bytes(b"x")
    assert (there / "c.bin").read_bytes() == b"x"
    there.delete()
    assert not there.exists()
    there.delete()  # there is none any more
    with pytest.raises(TypeError, match="is no path of this machine"):
        os.fspath(there)


def test_a_place_of_this_machine_that_cannot_be_written_is_told_in_a_line(monkeypatch, s3):
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with (
        pytest.raises(InputError, match="no temporary folder can be made: No such file or directory; TMPDIR"),
        (StoragePath(s3) / "a").writing(),
    ):
        pass
