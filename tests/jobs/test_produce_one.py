"""One text or one recording, and lists of which all is made already, without Ray."""

import pytest
import soundfile

from jobs.produce import ProduceCommand, produce_many, run
from ms2sl.data import speech_synthesis
from ms2sl.data.pose_format_io import from_bytes
from ms2sl.data.skeleton_registry import HOLISTIC_49X2
from ms2sl.errors import InputError
from ms2sl.inference.batch_output import OutputFolder, Settings
from ms2sl.inference.sampling_config import Sampling
from ms2sl.inference.utterance_input import read_utterances, with_numbers
from ms2sl.systems.ms2sl.producer import MS2SLProducer


def test_texts_and_recordings_whose_files_would_have_one_name_do_not_overwrite_each_other(tiny_checkpoint, tmp_path, capsys):
    given, out = tmp_path / "given", tmp_path / "out"
    options = ProduceCommand(model=tiny_checkpoint, out=out, steps=1)
    for folder, word in (("a", "cab"), ("b", "fade")):
        (given / folder).mkdir(parents=True)
        speech = speech_synthesis.spell(word)
        soundfile.write(given / folder / "cab_bad.wav", speech.waveform, speech.rate)
    sources = [{"text": "cab bad"}, {"text": "cab-bad"}, *({"speech": given / folder / "cab_bad.wav"} for folder in "ab")]
    content = []
    for source in sources:
        run(options.model_copy(update=source))
        name = capsys.readouterr().out.split(": ")[1].split(" and ")[0]
        content.append((name, (out / name).read_bytes()))
    assert content[0][0].endswith("cab_bad.pose")
    assert len({name for name, _ in content}) == len(list(out.glob("*.pose"))) == len(list(out.glob("*.gif"))) == 4
    for name, encoded in content:
        assert (out / name).read_bytes() == encoded
        assert from_bytes(encoded, HOLISTIC_49X2).poses.n_frames > 0
    run(options.model_copy(update=sources[1]))
    assert len(list(out.glob("*.pose"))) == 4, "signed again, it replaces its own"


@pytest.mark.parametrize(("asked", "remarks"), [("ase", 0), (None, 0), ("bfi", 1)])
def test_of_a_language_that_the_model_did_not_learn_there_is_a_remark_and_it_signs_as_ever(
    tiny_checkpoint, tmp_path, capsys, asked, remarks
):
    run(ProduceCommand(model=tiny_checkpoint, out=tmp_path, steps=1, text="cab", signed_language=asked))
    said = capsys.readouterr().out
    assert (
        said.count("remark: signed_language bfi is ignored: the model signs as it learned, from ase\n") == said.count("remark") == remarks
    )
    run(ProduceCommand(model=tiny_checkpoint, out=tmp_path / "plain", steps=1, text="cab"))
    assert (tmp_path / "cab.pose").read_bytes() == (tmp_path / "plain" / "cab.pose").read_bytes()


@pytest.mark.parametrize("wrong", ["de", "ASE", "en-US", "american", ""])
def test_what_is_no_code_of_a_language_is_refused(wrong):
    with pytest.raises(InputError, match=f"^signed_language: '{wrong}' is no signed_language: write an ISO 639-3 code of three lower-case"):
        ProduceCommand.parse(["--text", "cab", "--signed-language", wrong])


def test_what_is_of_an_earlier_list_is_named_in_the_end(tiny_checkpoint, tmp_path, capsys):
    words, folder = tmp_path / "words.txt", OutputFolder(tmp_path / "out")
    folder.claim(Settings.of(tiny_checkpoint, Sampling(steps=1), seed=0, duration=None))
    producer = MS2SLProducer.load(tiny_checkpoint, options=Sampling(steps=1))
    for content in ("cab\ndab\nbad\n", "cab\nfade\nbad\n"):
        words.write_text(content)
        made = folder.made()
        folder.produce(producer, folder.missing(with_numbers(read_utterances(words), made.texts()).utterances, made), seed=0)
    options = ProduceCommand(model=tiny_checkpoint, utterances=words, out=folder.path, steps=1)
    assert produce_many(options) == 0
    assert "1 of an earlier list remain, and are of no line of this one: 000001\n" in capsys.readouterr().out
    assert (folder.path / "poses" / "000001.pose").exists(), "nothing is deleted that another list may have made"
    words.write_text("cab\nbad\nfade\ndab\n")
    assert produce_many(options) == 0
    assert "remain" not in capsys.readouterr().out
    words.write_text("cab\n")
    assert produce_many(options) == 0
    assert "3 of an earlier list remain, and are of no line of this one: 000001, 000002, 000003\n" in capsys.readouterr().out
