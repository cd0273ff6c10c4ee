import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from ms2sl.audio.speech import Speech
from ms2sl.data import speech_synthesis
from ms2sl.data.types import Utterance
from ms2sl.errors import InputError
from ms2sl.inference.batch_output import OutputFolder, Settings
from ms2sl.inference.recordings import read_in_groups
from ms2sl.inference.sampling_config import Sampling
from ms2sl.inference.utterance_input import counted, read_utterances, with_numbers
from ms2sl.inference.utterance_list import UtteranceList
from ms2sl.systems.ms2sl.producer import MS2SLProducer
from tests.data.test_shards import full_disk  # noqa: F401


@pytest.fixture(scope="module")
def producer(tiny_checkpoint) -> MS2SLProducer:
    return MS2SLProducer.load(tiny_checkpoint, options=Sampling(steps=1))


@pytest.fixture
def settings(tiny_checkpoint) -> Settings:
    return Settings.of(tiny_checkpoint, Sampling(steps=1), seed=0, duration=None)


def write(path, content: str):
    path.write_text(content, encoding="utf-8")
    return path


def test_a_text_file_has_an_utterance_a_line(tmp_path):
    utterances, _, _ = read_utterances(write(tmp_path / "a.txt", "\ufeffcab\n\n bad \n"), seconds=2.0)
    assert [(u.id, u.text, u.seconds) for u in utterances] == [("000000", "cab", 2.0), ("000001", "bad", 2.0)]


def test_csv_and_parquet_have_a_column_text_and_perhaps_id(tmp_path):
    utterances, _, _ = read_utterances(write(tmp_path / "a.csv", '\ufeffid,text\nx,"cab, please"\n'))
    assert [(u.id, u.text) for u in utterances] == [("x", "cab, please")]
    pq.write_table(pa.table({"text": ["cab", None]}), tmp_path / "a.parquet")
    utterances, _, _ = read_utterances(tmp_path / "a.parquet")
    assert [(u.id, u.text) for u in utterances] == [("000000", "cab"), ("000001", "")]


def recording(path, seconds: float = 0.5, word: str = "cab") -> None:
    speech = speech_synthesis.spell(word)
    soundfile.write(path, np.resize(speech.waveform, int(seconds * speech.rate)), speech.rate)


def test_of_a_folder_recordings_are_named_and_the_rest_is_counted(tmp_path):
    names = "one.wav two.flac six.m4a seven.OPUS eight.webm ._one.wav .DS_Store notes.txt film.mp4 list b.txt"
    for name in names.split():
        (tmp_path / name).write_bytes(b"nothing")
    (tmp_path / "more.wav").mkdir()
    utterances, unreadable, others = read_utterances(tmp_path, seconds=3.0)
    assert [(u.id, u.seconds) for u in utterances] == [(name, 3.0) for name in ("eight", "one", "seven", "six", "two")]
    assert unreadable == {}
    assert counted(others) == "2 .txt, 1 .mp4, 1 file without suffix, 1 folder"


def test_a_folder_is_found_however_accents_are_encoded(tmp_path):
    (tmp_path / "Bu\u0308cher").mkdir()
    recording(tmp_path / "Bu\u0308cher" / "gru\u0308n.wav")
    [found] = read_utterances(tmp_path / "B\u00fccher").utterances
    assert (found.id, found.read().speech is not None) == ("gr\u00fcn", True)


def test_a_folder_without_recordings_says_what_is_in_it(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"holds no recording, but 1 \.txt"):
        read_utterances(tmp_path)


def test_recordings_are_read_where_they_are_signed_and_what_cannot_be_is_told(producer, tmp_path, monkeypatch):
    given, out = tmp_path / "given", OutputFolder(tmp_path / "out")
    given.mkdir()
    for name in "abcde":
        recording(given / f"{name}.wav", 4.0)
    (given / "broken.mp3").write_bytes(b"no audio at all")
    (given / "d.wav").unlink()
    cut = (given / "c.wav").read_bytes()
    (given / "c.wav").write_bytes(cut[: len(cut) // 2])
    read, at_once = Speech.decode, []
    monkeypatch.setattr(Speech, "decode", lambda *args, **options: at_once.append(1) or read(*args, **options))
    utterances, unreadable, _ = read_utterances(given)
    assert at_once == []
    assert unreadable == {}
    made, failed, remarks = out.produce(producer, utterances, seed=0)
    assert made == 4
    assert [(name, reason.split(" (")[0]) for name, reason in failed] == [("broken", "broken.mp3 is not audio that can be read")]
    assert remarks == [("c.wav has 2.0 s of the 4.0 s that its header promises",)]
    assert set(out.made().ids.to_pylist()) == set("abce")


def test_no_more_recordings_are_unpacked_at_once_than_fit_in_memory(tmp_path):
    for i in range(7):
        recording(tmp_path / f"{i}.wav", 2.0)
    failed = []
    groups = list(read_in_groups([*read_utterances(tmp_path).utterances, Utterance("text", "cab")], failed, longest=5.0))
    assert [[u.id for u in group] for group in groups] == [["0", "1", "2"], ["3", "4", "5"], ["6", "text"]]
    assert {u.speech.rate for group in groups for u in group if u.speech} == {16_000}
    assert failed == []


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "id,word\nx,cab\n", "no column text; its columns, when it is split at ',', are: 'id', 'word'"),
        ("a.csv", "id,text\nx,cab\nx,bad\n", "'x' stands there twice"),
        ("a.csv", "id,text\n../../x,cab\n", "cannot name a file"),
        (
            "a.csv",
            "id,text\nx,cab\n../y,cab\nx,bad\nz,ace\nx,bee\n",
            r"line 3: the id '\.\./y' cannot name a file.*; .*line 4: the id 'x' stands there twice, first in line 2; "
            r".*line 6: the id 'x' stands there twice, first in line 2$",
        ),
        ("a.csv", "id,text\n" + "x,cab\n" * 9, "line 7: the id 'x' stands there twice, first in line 2; and 3 more like that$"),
        ("a.txt", "\n", "holds no utterance"),
        ("a.parquet", "no parquet", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_explained(tmp_path, name, content, reason):
    with pytest.raises(InputError, match=reason):
        read_utterances(write(tmp_path / name, content))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_utterances(tmp_path / "a.txt")


def test_a_folder_of_other_things_is_left_alone(tmp_path, settings):
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(InputError, match="not empty and holds no production"):
        OutputFolder(tmp_path).claim(settings)


def test_other_settings_are_refused(tmp_path, settings):
    OutputFolder(tmp_path / "out").claim(settings)
    OutputFolder(tmp_path / "out").claim(settings)
    with pytest.raises(InputError, match="another guidance, steps"):
        OutputFolder(tmp_path / "out").claim(settings._replace(options=settings.options | {"steps": 9, "guidance": 2.0}))
    with pytest.raises(InputError, match="another sampler:"):
        OutputFolder(tmp_path / "out").claim(settings._replace(options=settings.options | {"sampler": "dpm++"}))


def test_a_folder_of_before_there_were_two_samplers_goes_on_with_its_own_alone(tmp_path, settings):
    OutputFolder(tmp_path).claim(settings)
    record = tmp_path / "settings.json"
    old = json.loads(record.read_text())
    del old["sampler"]
    record.write_text(json.dumps(old))
    OutputFolder(tmp_path).claim(settings)
    with pytest.raises(InputError, match="another sampler:"):
        OutputFolder(tmp_path).claim(settings._replace(options=settings.options | {"sampler": "dpm++"}))


def test_a_batch_that_is_tried_again_leaves_each_utterance_once(tmp_path, producer, settings):
    folder = OutputFolder(tmp_path / "out")
    folder.claim(settings)
    batch = [Utterance("x", text="cab"), Utterance("y", text="ß"), Utterance("z", text="bad")]
    for _ in range(2):
        made, failed, _ = folder.produce(producer, batch, seed=0)
        assert made == 2
        assert [name for name, _ in failed] == ["y"]
    assert set(folder.made().ids.to_pylist()) == {"x", "z"}
    assert len(list((tmp_path / "out" / "parts").iterdir())) == 1
    assert sorted(path.name for path in (tmp_path / "out" / "poses").iterdir()) == ["x.pose", "z.pose"]


def sign(folder: OutputFolder, producer: MS2SLProducer, path) -> list[str]:
    """As the job does it; returns what was made anew."""
    given = with_numbers(read_utterances(path), folder.made().texts())
    missing = folder.missing(given.utterances, folder.made())
    outcome = folder.produce(producer, missing, seed=0)
    assert outcome.made == len(missing)
    assert not len(folder.missing(given.utterances, folder.made()))
    rows = [(clip.id, clip.text) for clip in folder.clips()]
    assert len(rows) == len({name for name, _ in rows}), "each is in one part"
    assert {path.stem for path in (Path(folder.path) / "poses").iterdir()} == {name for name, _ in rows}
    assert all(dict(rows)[each.id] == getattr(each, "text", None) for each in given.utterances), "the signing of each id is of its own text"
    return [each.id for each in missing]


def test_of_a_list_that_was_edited_what_changed_is_made_anew_and_the_rest_kept(tmp_path, producer):
    folder = OutputFolder(tmp_path / "out")
    assert sign(folder, producer, write(tmp_path / "a.txt", "cab\ndab\nbad\n")) == ["000000", "000001", "000002"]
    assert sign(folder, producer, write(tmp_path / "a.txt", "cab\ndab\nbad\n")) == []
    assert sign(folder, producer, write(tmp_path / "a.txt", "fade\ncab\nbad\ncab\n")) == ["000003", "000004"]
    assert sign(folder, producer, write(tmp_path / "a.txt", "dab\ncab\n")) == []
    assert sign(folder, producer, write(tmp_path / "a.csv", "id,text\nx,cab\ny,dab\nz,bad\n")) == ["x", "y", "z"]
    assert sign(folder, producer, write(tmp_path / "a.csv", "id,text\ny,dab\nx,bead\nz,bad\n")) == ["x"]


def test_a_recording_that_was_replaced_is_signed_anew(tmp_path, producer):
    folder, given = OutputFolder(tmp_path / "out"), tmp_path / "given"
    given.mkdir()
    for name in ("a.wav", "b.wav", "b.flac", "two words.wav", "gru\u0308n.wav"):
        recording(given / name)
    *first, last = sign(folder, producer, given)
    assert first == ["a", "b.flac", "b.wav", "gr\u00fcn"]
    assert last.startswith("two_words-")
    recording(given / "a.wav", word="fade")
    (given / "b.wav").touch()
    assert sign(folder, producer, given) == ["a"]


def test_a_text_that_is_asked_for_in_another_language_or_of_another_signer_is_signed_anew(tmp_path, producer):
    folder = OutputFolder(tmp_path / "out")
    assert sign(folder, producer, write(tmp_path / "a.csv", "id,text\nx,cab\ny,dab\n")) == ["x", "y"]
    assert sign(folder, producer, write(tmp_path / "a.csv", "id,text,signed_language\nx,cab,ase\ny,dab,\n")) == ["x"]
    assert sign(folder, producer, write(tmp_path / "a.csv", "id,text,signed_language\nx,cab,gsg\ny,dab,\n")) == ["x"]
    assert sign(folder, producer, write(tmp_path / "a.csv", "id,text,signed_language\nx,cab,gsg\ny,dab,\n")) == []
    assert sign(folder, producer, write(tmp_path / "a.csv", "id,text,signed_language,signer\nx,cab,gsg,\ny,dab,,anna\n")) == ["y"]


def test_a_folder_of_before_there_were_digests_goes_on(tmp_path, producer):
    folder = OutputFolder(tmp_path / "out")
    sign(folder, producer, write(tmp_path / "a.txt", "cab\ndab\n"))
    for part in (Path(folder.path) / "parts").iterdir():
        table = pq.read_table(part)
        pq.write_table(table.drop_columns(["digest"]), part)
    assert sign(folder, producer, write(tmp_path / "a.txt", "bad\ncab\ndab\n")) == ["000002"]
    given = UtteranceList.of([{"id": "000001", "text": "dad"}, {"id": "000000", "text": "cab"}])
    [changed] = folder.missing(given, folder.made())
    assert (changed.id, set(folder.made().ids.to_pylist())) == ("000001", {"000000", "000002"})


def test_single_texts_and_recordings_have_files_of_their_own(tmp_path):
    folder = OutputFolder(tmp_path)

    def name(title: str, content: str = "") -> str:
        made = folder.own_name(title, (content or title).encode())
        (tmp_path / f"{made}.pose").touch()
        return made

    titles = ["no no", "no-no", "no_no", "No no", "x" * 60 + "a", "x" * 60 + "b", "gr\u00fcn", "\u00fc" * 200, "\u00fc" * 201]
    names = [name(title) for title in titles]
    assert names[0] == "no_no"
    assert len({each.casefold() for each in names}) == len(titles)
    assert names == [name(title) for title in titles], "signed again, each replaces its own"
    assert name("no no", "a recording of this name") not in names
    (tmp_path / "old.pose").touch()  # of before there was a record of names
    assert name("old") != "old"


def test_failures_are_kept_and_forgotten_when_mended(tmp_path):
    folder = OutputFolder(tmp_path)
    folder.write_failures({"y": "unknown letters"})
    assert "unknown letters" in (tmp_path / "failed.json").read_text()
    folder.write_failures({})
    assert not (tmp_path / "failed.json").exists()


def test_a_full_output_folder_is_said(full_disk, producer, settings):  # noqa: F811
    folder = OutputFolder(full_disk / "out")
    folder.claim(settings)
    batch = [Utterance(f"u{i}", text="cab", seconds=20) for i in range(4)]
    with pytest.raises(InputError, match="cannot be written: No space left on device; free space"):
        folder.produce(producer, batch, seed=0)
    assert set(folder.made().ids.to_pylist()) == set()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'id,text\na,"good\nmorning"\nb,bye\n'),
        ("a.CSV", "id,text\na,good\u2028morning\nb,bye\n"),
        ("a.tsv", "id\ttext\na\tgood\x0bmorning\nb\tbye\n"),
        ("a.jsonl", '{"id": "a", "text": "good\\nmorning"}\n{"id": "b", "text": "bye"}\n'),
        ("a.Parquet", pa.table({"id": ["a", "b"], "text": ["good \r\n morning", "bye"]})),
    ],
)
def test_tables_are_read_as_what_they_are_and_texts_are_normalised(tmp_path, name, content):
    if isinstance(content, str):
        write(tmp_path / name, content)
    else:
        pq.write_table(content, tmp_path / name)
    utterances, unreadable, _ = read_utterances(tmp_path / name)
    assert [(u.id, u.text) for u in utterances] == [("a", "good morning"), ("b", "bye")]
    assert unreadable == {}


def test_a_table_says_in_which_language_to_sign_and_otherwise_the_flag_does(tmp_path):
    table = write(tmp_path / "a.csv", "id,text,Signed_Language\na,cab,bfi\nb,bad,\nc,dab,und\nd,ace,de\ne,fade,GSG\n")
    for flag in (None, "ase"):
        utterances, unreadable, _ = read_utterances(table, signed_language=flag)
        assert [(u.id, u.signed_language) for u in utterances] == [("a", "bfi"), ("b", flag), ("c", "und")]
        assert unreadable["d"].startswith("'de' is no signed_language: write an ISO 639-3 code of three lower-case letters, such as ase")
        assert unreadable["d"].endswith("that looks like a spoken language (BCP 47), and the one to sign in is asked for")
        assert unreadable["e"].startswith("'GSG' is no signed_language")
        assert "BCP" not in unreadable["e"]
    recording(tmp_path / "one.wav")
    (spoken,) = read_utterances(tmp_path, signed_language="ase").utterances
    assert spoken.read().signed_language == "ase"


def test_a_table_says_like_whom_to_sign_and_otherwise_the_flag_does(tmp_path):
    table = write(tmp_path / "a.csv", "id,text,signer\na,cab,anna\nb,bad,\n")
    for flag in (None, "ben"):
        assert [(u.id, u.signer) for u in read_utterances(table, signer=flag).utterances] == [("a", "anna"), ("b", flag)]
    recording(tmp_path / "one.wav")
    (spoken,) = read_utterances(tmp_path, signer="ben").utterances
    assert spoken.read().signer == "ben"


def test_lines_of_a_text_file_end_at_line_feeds_alone(tmp_path):
    utterances, _, _ = read_utterances(write(tmp_path / "a.txt", "good\u2028morning\nhello\x0bthere\r\nbye\x85now\x0c\n"))
    assert [u.text for u in utterances] == ["good morning", "hello there", "bye now"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", 'id,text\na,one\nb,"two he says\nc,three\n', "line 3 opens a quote that is not closed"),
        ("a.csv", "id,text\na,hello, world\nb,abc\n", "line 2 has 3 fields, but the first line has 2"),
        ("a.csv", 'id,text\na,"x\ny"\na,bad\n', "line 4: the id 'a' stands there twice"),
        ("a.json", '[{"text": "a"}]', "is of no kind that is read here"),
        ("words", "cab\n", "is of no kind that is read here"),
    ],
)
def test_nothing_is_cut_or_vanishes(tmp_path, name, content, reason):
    with pytest.raises(InputError, match=reason):
        read_utterances(write(tmp_path / name, content))


def test_numbers_are_texts_and_ids_and_what_is_missing_is_missing(tmp_path):
    pq.write_table(pa.table({"id": [0, 1, 2], "text": [5.0, float("nan"), None]}), tmp_path / "a.parquet")
    expected = [("0", "5"), ("1", ""), ("2", "")]
    assert [(u.id, u.text) for u in read_utterances(tmp_path / "a.parquet")[0]] == expected
    lines = write(tmp_path / "a.jsonl", '{"id": 0, "text": 5}\n{"id": 1, "text": NaN}\n{"id": 2}\n')
    assert [(u.id, u.text) for u in read_utterances(lines)[0]] == expected


def test_a_text_that_is_none_costs_itself_alone(tmp_path):
    utterances, unreadable, _ = read_utterances(write(tmp_path / "a.csv", "id,text\na,cab\nb,ca\ue000b\n"))
    assert [u.id for u in utterances] == ["a"]
    assert "private-use character" in unreadable["b"]
